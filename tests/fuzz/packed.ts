// Checkpoints of other programs: configurations of any value, parts of any dtype, shape and content. What is taken reads as it says.

import { readFileSync } from 'node:fs';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.ts';
import { readSafetensors, safetensors, type Tensor } from '../checkpoints.ts';
import { changeBytes } from './bytes.ts';
import type { Files } from './checkpoint.ts';
import { expect } from './oracle.ts';
import { aFewTimes, NUMBERS, type Random } from './random.ts';
import { encode, folderOfCase, type Target } from './target.ts';

const goldens = [...readSafetensors(new Uint8Array(readFileSync('tests/packed/goldens.safetensors'))).tensors];
const METHODS: Readonly<Record<string, string>> = {
  ...{
    awq: 'awq',
    gptq4: 'gptq',
    'gptq-order': 'gptq',
    gptq8: 'gptq',
    nf4: 'bitsandbytes',
    'nf4-nested': 'bitsandbytes',
  },
  ...{ int4: 'compressed-tensors', 'int4-zeros': 'compressed-tensors', 'fp8-rows': 'compressed-tensors' },
  ...{ 'fp8-blocks': 'compressed-tensors', nvfp4: 'compressed-tensors' },
};
const FORMATS = ['pack-quantized', 'float-quantized', 'int-quantized', 'nvfp4-pack-quantized', 'dense', '', 4];

// A number that is near what stands there, or any.
const numberLike = (random: Random, usual: number) =>
  random.chance(0.7) ? usual : random.chance(0.5) ? random.pick([0, 1, 2, 3, 8, 16]) : random.pick(NUMBERS);

function randomConfig(random: Random, method: string): unknown {
  const bits = numberLike(random, random.pick([4, 4, 8]));
  return {
    quant_method: random.chance(0.9) ? method : random.pick([...Object.values(METHODS), 'other', 4, null]),
    ...(random.chance(0.9) && { bits, format: random.pick(FORMATS) }),
    ...(random.chance(0.2) && {
      version: random.pick(['gemm', 'gemv', 4]),
      load_in_8bit: random.pick([true, false, 4]),
    }),
    ...(random.chance(0.3) && { checkpoint_format: random.pick(['gptq', 'gptq_v2', null]) }),
    ...(random.chance(0.9) && {
      config_groups: random.pick<unknown>([
        {
          group_0: {
            weights: { num_bits: bits, block_structure: random.pick<unknown>([null, [8, 16], [0, 1], ['a']]) },
          },
        },
        { a: { weights: { num_bits: 4 } }, b: { weights: null } },
        [],
        null,
      ]),
    }),
  };
}

function changed(random: Random, tensor: Tensor): Tensor {
  const shape = tensor.shape.map((size) => Math.abs(Math.trunc(numberLike(random, size))) % 1000);
  const dtype = random.chance(0.8) ? tensor.dtype : random.pick(['I32', 'U8', 'I8', 'F16', 'F32', 'F8_E4M3', 'I64']);
  const width = { I32: 4, U8: 1, I8: 1, F16: 2, F32: 4, F8_E4M3: 1, I64: 8 }[dtype] ?? 1;
  const length = shape.reduce((product, size) => product * size, width);
  const from = random.chance(0.5) ? changeBytes(tensor.bytes, random) : tensor.bytes;
  const bytes = new Uint8Array(length);
  bytes.set(from.subarray(0, length));
  return { dtype, shape, bytes };
}

/** What other programs wrote: AWQ, GPTQ, bitsandbytes, compressed-tensors. */
export const packed: Target = {
  name: 'packed',
  subjects: ['memory'],
  make(random): Files {
    const name = random.pick(Object.keys(METHODS));
    const parts = goldens.filter(([part]) => part.startsWith(`${name}/`) && !part.endsWith('/wanted'));
    const tensors = Object.fromEntries(
      parts.map(([part, tensor]): [string, Tensor] => [part.replace(`${name}/`, 'a.'), tensor]),
    );
    aFewTimes(random, () => {
      const part = random.pick(Object.keys(tensors)) as string | undefined;
      if (part === undefined) return;
      if (random.chance(0.2)) delete tensors[part];
      else tensors[part] = changed(random, tensors[part]);
    });
    return {
      'config.json': encode(JSON.stringify({ quantization_config: randomConfig(random, METHODS[name]) })),
      'model.safetensors': safetensors(tensors),
    };
  },
  async run(files) {
    const { tensors } = await openCheckpoint(folderOfCase(files));
    for (const { name, shape, dtype, byteLength, read } of tensors) {
      const count = shape.reduce((product, size) => product * size, 1);
      if (count > 1 << 20) continue;
      const bytes = await read();
      expect(bytes.byteLength === byteLength, `${name} must have ${byteLength} bytes: it has ${bytes.byteLength}`);
      if (dtype === 'F32') expect(byteLength === 4 * count, `${name} must be ${count} numbers`);
    }
  },
};
