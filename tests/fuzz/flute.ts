// HIGGS of other programs: what their config.json and notes say, and tensors that do not fit it. Weights that are opened can be read.

import { openOnce } from '../../src/checkpoint/checkpoint.ts';
import { byteLengthOf } from '../../src/checkpoint/safetensors/dtype.ts';
import { safetensors, type Tensor } from '../checkpoints.ts';
import type { Files } from './checkpoint.ts';
import { expect } from './oracle.ts';
import { aFewTimes, NUMBERS, type Random, TEXTS } from './random.ts';
import { folderOfCase, type Target } from './target.ts';

const WIDTHS: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2, I16: 2, U8: 1, F64: 8 };
const MODULE = 'model.layers.0.mlp.up_proj';
const utf8 = new TextEncoder();

function tensorOf(dtype: string, shape: number[], random: Random): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return { dtype, shape, bytes: random.bytes(count * WIDTHS[dtype]) };
}

// A number, a text, or what should stand there.
function said<T>(usual: T, random: Random): unknown {
  if (random.chance(0.8)) return usual;
  return random.chance(0.7) ? random.pick(NUMBERS) : random.pick([...TEXTS, null, true, [], {}]);
}

function spoilt(tensors: Record<string, Tensor>, random: Random): Record<string, Tensor> {
  if (random.chance(0.4)) return tensors;
  aFewTimes(random, () => {
    const name = random.pick(Object.keys(tensors));
    const { shape, dtype } = tensors[name] ?? { shape: [2], dtype: 'U8' };
    if (random.chance(0.2) && Object.keys(tensors).length > 1) delete tensors[name];
    else {
      const sizes = shape.map((size) => (random.chance(0.3) ? random.between(0, 2 * size) : size));
      if (random.chance(0.1)) sizes.push(random.between(0, 3));
      tensors[name] = tensorOf(random.chance(0.2) ? random.pick(Object.keys(WIDTHS)) : dtype, sizes, random);
    }
  });
  return tensors;
}

function fluteFiles(random: Random): Files {
  const bits = random.pick([2, 3, 4]);
  const rows = { 2: 256, 3: 512, 4: 128 }[bits]!;
  const [cols, group] = [random.pick([64, 128]), 64];
  const config = {
    ...{ hidden_size: said(cols, random), intermediate_size: said(cols, random), num_attention_heads: said(2, random) },
    quantization_config: {
      ...{ quant_method: 'higgs', bits: said(bits, random), group_size: said(group, random) },
      hadamard_size: said(64, random),
    },
  };
  const tensors = {
    [`${MODULE}.weight`]: tensorOf('I16', [(rows * bits) / 16, cols], random),
    [`${MODULE}.scales`]: tensorOf('F16', [rows, cols / group], random),
    [`${MODULE}.tables`]: tensorOf('F16', [2 ** bits], random),
    [`${MODULE}.tables2`]: tensorOf('F16', [2 ** bits, 2 ** bits, 2], random),
  };
  const text = random.chance(0.9) ? JSON.stringify(config) : random.pick(TEXTS);
  return { 'config.json': utf8.encode(text), 'model.safetensors': safetensors(spoilt(tensors, random)) };
}

function tinyquantFiles(random: Random): Files {
  const about = {
    ...{ group_size: said(16, random), quantization_method: said('higgs', random) },
    ...{ in_features: said(32, random), out_features: said(4, random) },
  };
  const note = utf8.encode(random.chance(0.9) ? JSON.stringify(about) : random.pick(TEXTS));
  const parts = {
    quantized: tensorOf('U8', [64], random),
    scales: tensorOf('F16', [4, 2], random),
    grid: tensorOf('F32', [256, 2], random),
    bias: tensorOf('F16', [4], random),
  };
  const spoiltParts: Record<string, Tensor> = spoilt(parts, random);
  if (random.chance(0.95)) spoiltParts.meta = { dtype: 'U8', shape: [note.length], bytes: note };
  const named = Object.entries(spoiltParts).map(([part, tensor]) => [`${MODULE}.tq_tensors.${part}`, tensor]);
  return { 'model.safetensors': safetensors(Object.fromEntries(named)) };
}

export const flute: Target = {
  name: 'flute',
  make: (random) => (random.chance(0.6) ? fluteFiles(random) : tinyquantFiles(random)),
  async run(files) {
    const { checkpoint } = await openOnce(folderOfCase(files));
    for (const { dtype, shape, byteLength, read } of checkpoint.tensors) {
      expect(byteLengthOf(dtype, shape) === byteLength, 'a tensor has the bytes of its shape');
      const [start, end] = [Math.floor(byteLength / 3), Math.min(byteLength, Math.floor(byteLength / 3) + 100)];
      expect((await read(start, end)).byteLength === end - start, 'a part has the bytes that were asked for');
    }
  },
};
