// Checkpoints that other programs quantized: each weight is decoded to the bits of an independent decoder (tests/packed/make.py), whatever
// part of it is read; they quantize and run as plain ones, and what is wrong with them is said in one sentence.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import { type Folder, FormatError, load } from '../src/index.ts';
import { sameBits } from './bits.ts';
import {
  memoryFolder,
  memoryOutput,
  readSafetensors,
  safetensors,
  type Tensor,
  tensorOf,
  valuesOf,
} from './checkpoints.ts';

const test = suite('packed');
const goldens = readSafetensors(new Uint8Array(readFileSync('tests/packed/goldens.safetensors'))).tensors;

const gptq = (more: object = {}) => ({ quant_method: 'gptq', bits: 4, group_size: 16, ...more });
const groups = (num_bits: number, more: object = {}) => ({
  config_groups: { group_0: { weights: { num_bits, ...more } } },
});
const compressed = (format: string, bits: number, more: object = {}) => ({
  ...{ quant_method: 'compressed-tensors', format, ...groups(bits, more) },
});
const CONFIGS: Readonly<Record<string, object>> = {
  awq: { quant_method: 'awq', bits: 4, group_size: 16, version: 'gemm' },
  ...{ gptq2: gptq({ bits: 2 }), gptq4: gptq(), gptq8: gptq({ bits: 8 }), 'gptq-order': gptq({ desc_act: true }) },
  'gptq-second': gptq({ desc_act: true, checkpoint_format: 'gptq_v2' }),
  ...{ nf4: { quant_method: 'bitsandbytes', load_in_4bit: true }, 'nf4-nested': { quant_method: 'bitsandbytes' } },
  ...{ int4: compressed('pack-quantized', 4), 'int4-zeros': compressed('pack-quantized', 4) },
  ...{ fp8: compressed('float-quantized', 8), 'fp8-rows': compressed('float-quantized', 8) },
  'fp8-blocks': compressed('float-quantized', 8, { block_structure: [8, 16] }),
  nvfp4: compressed('nvfp4-pack-quantized', 4),
};
const MODULE = 'model.layers.0.mlp.up_proj';

// The parts of a golden, as those of a weight.
function partsOf(name: string): Record<string, Tensor> {
  const parts = [...goldens].filter(([part]) => part.startsWith(`${name}/`) && !part.endsWith('/wanted'));
  return Object.fromEntries(parts.map(([part, tensor]) => [part.replace(`${name}/`, `${MODULE}.`), tensor]));
}

const wantedOf = (name: string) => Float32Array.from(valuesOf(goldens.get(`${name}/wanted`)!));

function folderOf(quantization_config: object | undefined, tensors: Record<string, Tensor>): Folder {
  const config = { model_type: 'llama', ...(quantization_config && { quantization_config }) };
  return memoryFolder({
    'config.json': new TextEncoder().encode(JSON.stringify(config)),
    'model.safetensors': safetensors({ 'model.norm.weight': tensorOf('F32', [4], [1, 2, 3, 4]), ...tensors }),
  });
}

for (const [name, config] of Object.entries(CONFIGS)) {
  test(`weights are decoded to the bits of another decoder: ${name}`, async () => {
    const { tensors } = await openCheckpoint(folderOf(config, partsOf(name)));
    assert.equal(
      tensors.map(({ name, dtype, shape }) => [name, dtype, shape]).sort(),
      [
        ['model.norm.weight', 'F32', [4]],
        [`${MODULE}.weight`, 'F32', [16, 64]],
      ].sort(),
    );
    const tensor = tensors.find(({ name }) => name !== 'model.norm.weight')!;
    const wanted = wantedOf(name);
    sameBits(new Float32Array(await tensor.read()), wanted, name);
    for (const [start, end] of [
      [0, 4],
      [5, 2000],
      [256, 512],
      [4090, 4096],
    ]) {
      const part = new Uint8Array(await tensor.read(start, end));
      sameBits(part, new Uint8Array(wanted.buffer.slice(start, end)), `${start} to ${end}`);
    }
    assert.ok(tensor.encoded!.byteLength < 2 * 16 * 64);
  });
}

test('whole numbers of eight bits: scales and zeros of all, of rows, of blocks', async () => {
  const codes = Int8Array.of(-128, 127, 3, -4, 0, 1, 100, -100);
  const integers = (shape: number[], values: readonly number[]): Tensor => {
    return { dtype: 'I8', shape, bytes: new Uint8Array(Int8Array.from(values).buffer) };
  };
  for (const [shape, scales, zeros, wanted] of [
    [[1], [0.5], undefined, [-64, 63.5, 1.5, -2, 0, 0.5, 50, -50]],
    [[1], [0.5], [-3], [-62.5, 65, 3, -0.5, 1.5, 2, 51.5, -48.5]],
    [
      [2, 1],
      [0.5, 2],
      [-3, 7],
      [-62.5, 65, 3, -0.5, -14, -12, 186, -214],
    ],
    [
      [1, 2],
      [0.5, 2],
      [-3, 7],
      [-62.5, 65, -8, -22, 1.5, 2, 186, -214],
    ],
  ] as const) {
    const parts = {
      [`${MODULE}.weight`]: integers([2, 4], [...codes]),
      [`${MODULE}.weight_scale`]: tensorOf('F32', [...shape], [...scales]),
      ...(zeros && { [`${MODULE}.weight_zero_point`]: integers([...shape], zeros) }),
    };
    const { tensors } = await openCheckpoint(
      folderOf(compressed('int-quantized', 8, { block_structure: [2, 2] }), parts),
    );
    assert.is(tensors.length, 2);
    const tensor = tensors.find(({ name }) => name === `${MODULE}.weight`)!;
    sameBits(new Float32Array(await tensor.read()), Float32Array.from(wanted), `scales ${shape}, zeros ${zeros}`);
  }
});

test('packed words of eight bits hold four weights', async () => {
  const parts = {
    [`${MODULE}.weight_packed`]: { dtype: 'I32', shape: [1, 2], bytes: Uint8Array.of(0, 128, 255, 129, 1, 2, 3, 4) },
    [`${MODULE}.weight_scale`]: tensorOf('F32', [1, 2], [1, 2]),
  };
  const { tensors } = await openCheckpoint(folderOf(compressed('pack-quantized', 8), parts));
  const tensor = tensors.find(({ name }) => name === `${MODULE}.weight`)!;
  sameBits(
    new Float32Array(await tensor.read()),
    Float32Array.of(-128, 0, 127, 1, -254, -252, -250, -248),
    'eight bits',
  );
});

test('groups of any size in any order, of outputs that fill no word of zeros', async () => {
  const [inputs, outputs, groups] = [16, 5, 3]; // of a last group that is shorter
  const groupOf = Int32Array.from({ length: inputs }, (_, i) => [2, 0, 1][i % 3]);
  const q = (input: number, output: number) => (7 * input + 3 * output) & 15;
  const zero = (group: number, output: number) => 1 + ((group + 2 * output) % 15);
  const words = new Uint32Array((inputs / 8) * outputs);
  for (let i = 0; i < inputs; i++)
    for (let o = 0; o < outputs; o++) words[Math.floor(i / 8) * outputs + o] |= q(i, o) << (4 * (i % 8));
  const zeros = new Uint32Array(groups);
  for (let g = 0; g < groups; g++) for (let o = 0; o < outputs; o++) zeros[g] |= (zero(g, o) - 1) << (4 * o);
  const scales = Float32Array.from({ length: groups * outputs }, (_, i) => 1 + i);
  const whole = (shape: number[], { buffer }: { buffer: ArrayBufferLike }): Tensor => {
    return { dtype: 'I32', shape, bytes: new Uint8Array(buffer as ArrayBuffer) };
  };
  const parts = {
    [`${MODULE}.qweight`]: whole([inputs / 8, outputs], words),
    [`${MODULE}.qzeros`]: whole([groups, 1], zeros),
    [`${MODULE}.scales`]: tensorOf('F32', [groups, outputs], [...scales]),
    [`${MODULE}.g_idx`]: whole([inputs], groupOf),
  };
  const { tensors } = await openCheckpoint(folderOf(gptq({ desc_act: true, group_size: 6 }), parts));
  const tensor = tensors.find(({ name }) => name === `${MODULE}.weight`)!;
  assert.equal(tensor.shape, [outputs, inputs]);
  const wanted = Float32Array.from({ length: outputs * inputs }, (_, index) => {
    const [o, i] = [Math.floor(index / inputs), index % inputs];
    const g = groupOf[i];
    return (q(i, o) - zero(g, o)) * scales[g * outputs + o];
  });
  sameBits(new Float32Array(await tensor.read()), wanted, 'whole');
  sameBits(new Float32Array(await tensor.read(4 * inputs, 12 * inputs)), wanted.slice(inputs, 3 * inputs), 'two rows');
});

test('what is decoded is quantized as the same weights in F32 would be', async () => {
  const higgs = await load();
  for (const name of ['awq', 'gptq-order', 'nf4-nested', 'int4-zeros', 'nvfp4']) {
    const [output, other] = [memoryOutput(), memoryOutput()];
    const plain = { [`${MODULE}.weight`]: tensorOf('F32', [16, 64], wantedOf(name)) };
    await higgs.quantizeCheckpoint(folderOf(CONFIGS[name], partsOf(name)), output, { grid: 't4', groupSize: 64 });
    await higgs.quantizeCheckpoint(folderOf(undefined, plain), other, { grid: 't4', groupSize: 64 });
    sameBits(output.files.get('model.safetensors')!, other.files.get('model.safetensors')!, name);
    const { quantization_config } = JSON.parse(new TextDecoder().decode(output.files.get('config.json')));
    assert.is(quantization_config.quant_method, 'higgs-wasm');
  }
});

test('a config.json too large to be read is told of, and codes are not taken for weights', async () => {
  const large = { ...CONFIGS.awq, note: ' '.repeat(1 << 20) };
  const error = await openCheckpoint(folderOf(large, partsOf('awq'))).catch((error) => error);
  assert.instance(error, FormatError);
  assert.match(
    error.message,
    /config\.json: config must have at most 1048576 bytes where tensors are codes, .* it has 10\d{5}/,
  );
});

test('faults are told by name', async () => {
  const refusal = (config: object, tensors: Record<string, Tensor>) =>
    openCheckpoint(folderOf(config, tensors))
      .then(
        async ({ tensors }) => {
          for (const tensor of tensors) await tensor.read();
          return 'read';
        },
        ({ message }) => message,
      )
      .catch(({ message }) => message);
  const without = (name: string, part: string) => {
    const { [`${MODULE}.${part}`]: _, ...rest } = partsOf(name);
    return rest;
  };
  const with_ = (name: string, part: string, tensor: Tensor) => ({ ...partsOf(name), [`${MODULE}.${part}`]: tensor });
  for (const [config, tensors, message] of [
    [
      CONFIGS.awq,
      without('awq', 'qzeros'),
      /up_proj\.qweight": weights must come with "model.*qzeros", I32 \[4, 2\]: it is missing/,
    ],
    [
      CONFIGS.gptq4,
      with_('gptq4', 'scales', tensorOf('F16', [4, 8], new Float32Array(32))),
      /scales", F16 or BF16 or F32 \[4, 16\]: it is F16 \[4, 8\]/,
    ],
    [
      CONFIGS.gptq4,
      with_('gptq4', 'g_idx', { dtype: 'I32', shape: [64], bytes: new Uint8Array(256).fill(9) }),
      /groups of inputs must be below 4: one is 151587081/,
    ],
    [
      CONFIGS.int4,
      with_('int4', 'weight_g_idx', {
        dtype: 'I32',
        shape: [64],
        bytes: new Uint8Array(Int32Array.from({ length: 64 }, (_, i) => i - 1).map((i) => Math.min(i, 3)).buffer),
      }),
      /groups of inputs must be below 4: one is -1/,
    ],
    [gptq({ bits: 3 }), partsOf('gptq4'), /config\.json: bits of gptq must be 2, 4, 8: it is 3/],
    [{ ...CONFIGS.awq, version: 'gemv' }, partsOf('awq'), /version of AWQ must be gemm: it is gemv/],
    [{ ...CONFIGS.nf4, load_in_8bit: true }, partsOf('nf4'), /bits of bitsandbytes must be 4: it is 8/],
    [CONFIGS.nf4, without('nf4', 'weight.absmax'), /absmax", F32 or U8 \[16\]: it is missing/],
    [
      CONFIGS.nf4,
      with_('nf4', 'weight.quant_state.bitsandbytes__nf4', { dtype: 'U8', shape: [2], bytes: Uint8Array.of(123, 125) }),
      /shape must be two sizes: got nothing/,
    ],
    [
      compressed('marlin-24', 4),
      partsOf('int4'),
      /format of compressed-tensors must be pack-quantized, .*: it is marlin-24/,
    ],
    [compressed('x'.repeat(1000), 4), partsOf('int4'), /nvfp4-pack-quantized: it is x{80}…$/],
    [
      compressed('pack-quantized', 3),
      partsOf('int4'),
      /num_bits of compressed-tensors must be 4 or 8, the same for all: it is \[3\]/,
    ],
    [
      CONFIGS.int4,
      with_('int4', 'weight_shape', { dtype: 'I64', shape: [2], bytes: new Uint8Array(16) }),
      /weight_shape must be the 16 × 64 of whole words: it is \[0, 0\]/,
    ],
    [
      CONFIGS.fp8,
      with_('fp8', 'weight_scale', tensorOf('F32', [3], [1, 2, 3])),
      /must have one scale for all weights, for each row or for a block/,
    ],
  ] as const) {
    assert.match(await refusal(config, tensors), message);
  }
});

test.run();
