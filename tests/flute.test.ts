// HIGGS of other programs, written and read: the layout of FLUTE, by a reader of its own that follows the published rules one by one, signs
// as a part of the weights, and tinyquant.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOnce } from '../src/checkpoint/checkpoint.ts';
import { packPairs } from '../src/checkpoint/flute/words.ts';
import { readArchitecture } from '../src/families/family.ts';
import type { PointGrid } from '../src/grids/grid.ts';
import { smallGrids } from '../src/grids/small.ts';
import { load } from '../src/index.ts';
import { exportHiggs, type HiggsOptions } from '../src/interop/higgs.ts';
import { withSigns } from '../src/interop/signs.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { localPool } from '../src/workers/pool.ts';
import { sameBits, uniform } from './bits.ts';
import {
  memoryFolder,
  memoryOutput,
  readSafetensors,
  safetensors,
  type Tensor,
  tensorOf,
  valuesOf,
} from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder, randomFile, randomIds } from './models.ts';
import { farthest, logitsOf, referencesOf } from './references.ts';

const test = suite('HIGGS of others');
const utf8 = new TextEncoder();
const pool = localPool(wrapKernels(await loadKernels()));
const SIZES = {
  hidden_size: 512,
  intermediate_size: 1024,
  num_attention_heads: 8,
  num_key_value_heads: 8,
  head_dim: 64,
};
const config = {
  ...SIZES,
  ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', num_hidden_layers: 1, vocab_size: 64 },
  ...{
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    attention_bias: true,
    tie_word_embeddings: false,
  },
  ...{ bos_token_id: 1, eos_token_id: 2, torch_dtype: 'float32', hidden_act: 'silu' },
};
const gridOf = (name: string) => smallGrids.find((grid) => grid.name === name)! as PointGrid;
const ids = randomIds(12, 64);
const options = (grid: string, more: Partial<HiggsOptions> = {}) => {
  return { grid: gridOf(grid), hadamardSize: 512, groupSize: 256, pool, ...more };
};

// Pairs of a packed matrix, as the three formulas of the layout have them, word by word.
function pairsOf(words: Uint32Array, rows: number, cols: number, bits: number): Uint8Array {
  const pairs = new Uint8Array(rows * cols);
  const word = (row: number, kk: number) => BigInt(words[row * cols + kk]);
  for (let n = 0; n < rows; n++) {
    const q = n % 32;
    for (let kk = 0; kk < cols; kk++) {
      if (bits === 4) {
        const c = Math.floor(n / 128);
        pairs[n * cols + kk] = Number((word(c * 32 + q, kk) >> BigInt(8 * Math.floor((n % 128) / 32))) & 255n);
      } else if (bits === 2) {
        const c = Math.floor(n / 256);
        pairs[n * cols + kk] = Number((word(c * 32 + q, kk) >> BigInt(4 * Math.floor((n % 256) / 32))) & 15n);
      } else {
        const [c, i] = [Math.floor(n / 512), Math.floor((n % 512) / 32)];
        const places = [c * 32 + q, rows / 16 + c * 64 + q, rows / 16 + c * 64 + 32 + q];
        const [j, t] = [i % 3, Math.floor(i / 3)];
        pairs[n * cols + kk] =
          i < 15
            ? Number((word(places[j], kk) >> BigInt(6 * t)) & 63n)
            : places.reduce((pair, place, k) => pair | (Number(word(place, kk) >> 30n) << (2 * k)), 0);
      }
    }
  }
  return pairs;
}

test('packPairs() gives the words of the published layout', () => {
  // Of 128 outputs, one pair each, the number of the output: outputs 0, 32, 64 and 96 share a word, the first in its lowest byte.
  const four = packPairs(
    Uint8Array.from({ length: 128 }, (_, n) => n),
    128,
    1,
    4,
  );
  assert.equal([...four.subarray(0, 2)], [0x60402000, 0x61412101]);
  // Of 256, the number of their run of 32: eight of four bits.
  const two = packPairs(
    Uint8Array.from({ length: 256 }, (_, n) => n >> 5),
    256,
    1,
    2,
  );
  assert.equal([...two], Array(32).fill(0x76543210));
  // Of 512: 0 3 6 9 12 in word 0, 1 4 7 10 13 in word 1, 2 5 8 11 14 in word 2, and of 15 two bits in each.
  const three = packPairs(
    Uint8Array.from({ length: 512 }, (_, n) => n >> 5),
    512,
    1,
    3,
  );
  const six = (values: number[], top: number) => values.reduce((sum, value, t) => sum + value * 64 ** t, top * 2 ** 30);
  assert.is(three[0], six([0, 3, 6, 9, 12], 3));
  assert.is(three[32], six([1, 4, 7, 10, 13], 3));
  assert.is(three[64], six([2, 5, 8, 11, 14], 0));
  for (const bits of [2, 3, 4] as const) {
    const next = uniform(bits);
    const pairs = Uint8Array.from({ length: 1024 * 6 }, () => Math.floor(next() * 4 ** bits));
    sameBits(pairsOf(packPairs(pairs, 1024, 6, bits), 1024, 6, bits), pairs);
  }
});

for (const name of ['p2n256', 'p2n64', 'p2n16', 'p1n16', 'p1n8', 'p1n4']) {
  test(`an export has codes, scales and tables where transformers looks for them, and reads back: ${name}`, async () => {
    const original = randomFile(config);
    const folder = modelFolder(config, original);
    const { checkpoint } = await openOnce(folder);
    const output = memoryOutput();
    const { grid, ...means } = options(name);
    const report = await exportHiggs(checkpoint, output, { grid, ...means });
    const bits = Math.log2(grid.n) / grid.p;
    const { tensors } = readSafetensors(output.files.get('model.safetensors')!);
    const higgs = await load();
    for (const module of ['self_attn.q_proj', 'mlp.down_proj'].map((part) => `model.layers.0.${part}`)) {
      const weight = readSafetensors(original).tensors.get(`${module}.weight`)!;
      const [rows, cols] = weight.shape as [number, number];
      const of = (part: string) => tensors.get(`${module}.${part}`)!;
      assert.equal([of('weight').dtype, ...of('weight').shape], ['I16', (rows * bits) / 16, cols]);
      assert.equal([of('scales').dtype, ...of('scales').shape], ['F16', rows, cols / 256]);
      const matrix = higgs.quantize(Float32Array.from(valuesOf(weight)), {
        rows,
        cols,
        grid: name,
        groupSize: 512,
        signs: 'none',
      } as never);
      const stored = new Uint16Array(Uint8Array.from(of('scales').bytes).buffer);
      sameBits(
        stored,
        Uint16Array.from(stored, (_, i) => matrix.scales[i >> 1]),
      );
      // Points by the published rule: of a pair the row of tables2 is the first code, the column the second.
      const pairs = pairsOf(new Uint32Array(Uint8Array.from(of('weight').bytes).buffer), rows, cols / 2, bits);
      const points = valuesOf(of('tables2'));
      const single = valuesOf(of('tables'));
      const restored = higgs.dequantize(matrix);
      const row = Float64Array.from({ length: 512 }, (_, i) => points[2 * pairs[i >> 1] + (i & 1)]);
      if (grid.p === 1)
        assert.ok(row.every((value, i) => value === single[(pairs[i >> 1] >> (i & 1 ? 0 : bits)) & (2 ** bits - 1)]));
      const scale = valuesOf(of('scales'))[0];
      for (let i = 0; i < 512; i += 37) {
        let sum = 0;
        for (let j = 0; j < 512; j++) sum += row[j] * (parity(i & j) ? -1 : 1);
        const apart = Math.abs((sum * scale) / Math.sqrt(512) - restored[i]) / scale;
        assert.ok(apart < 2e-3, `${module}[0, ${i}]: ${apart}`);
      }
    }
    assert.is(tensors.get('model.norm.weight')!.dtype, 'F16');
    assert.equal(report.biased.length, 4);
    const { tune_metadata: tuned, ...about } = report.config as { tune_metadata: Record<string, object> };
    assert.equal(about, {
      ...{ quant_method: 'higgs', bits, p: grid.p, modules_to_not_convert: ['lm_head'] },
      ...{ hadamard_size: 512, group_size: 256 },
    });
    assert.equal(tuned['model.layers.0.mlp.up_proj'], {
      ...{ M: 1, N: 1024, K: 512, num_bits: bits, group_size: 256, num_sms: 108 },
      ...{ dtype: 'torch.float16', device: 'cuda:0', template_id: bits === 4 ? 32 : 8 },
    });
    // Read as any other checkpoint: the same predictions as of weights that are quantized here without signs.
    const back = memoryFolder({
      'config.json': utf8.encode(JSON.stringify({ ...config, quantization_config: report.config })),
      'model.safetensors': output.files.get('model.safetensors')!,
    });
    const restored = memoryOutput();
    await higgs.quantizeCheckpoint(folder, restored, { grid: name, groupSize: 512, signs: 'none' } as never);
    const reference = { context: 12, ids, logits: new Float64Array() };
    const actual = await logitsOf(back, reference);
    assert.ok(
      farthest(actual, await logitsOf(restored.folder(), reference)) < 0.02,
      'F16 of tables and of what passes through',
    );
    const plain = memoryOutput();
    await higgs.dequantizeCheckpoint(back, plain);
    sameBits(await logitsOf(plain.folder(), reference), actual);
    const again = memoryOutput();
    const { tensors: second } = await higgs.quantizeCheckpoint(back, again, { grid: 't4' });
    assert.is(second.length, 7);
  });
}

test('rows are padded to whole transforms, and read without that', async () => {
  const small = {
    ...config,
    hidden_size: 384,
    head_dim: 48,
    intermediate_size: 640,
    num_attention_heads: 8,
    num_key_value_heads: 8,
  };
  const folder = modelFolder(small, randomFile(small));
  const output = memoryOutput();
  const means = options('p2n256', { groupSize: 64 });
  const { config: about } = await exportHiggs((await openOnce(folder)).checkpoint, output, means);
  const { tensors } = readSafetensors(output.files.get('model.safetensors')!);
  assert.equal(tensors.get('model.layers.0.self_attn.q_proj.weight')!.shape, [96, 512]);
  const back = memoryFolder({
    'config.json': utf8.encode(JSON.stringify({ ...small, quantization_config: about })),
    'model.safetensors': output.files.get('model.safetensors')!,
  });
  const { checkpoint } = await openOnce(back);
  assert.equal(checkpoint.get('model.layers.0.self_attn.q_proj.weight')!.shape, [384, 384]);
  assert.equal(checkpoint.get('model.layers.0.mlp.down_proj.weight')!.shape, [384, 640]);
});

test('what the layout cannot hold is refused by name', async () => {
  const refused = async (more: object, grid = 'p2n256', means = {}) => {
    const other = { ...config, ...more };
    const { checkpoint } = await openOnce(modelFolder(other, randomFile(other)));
    return exportHiggs(checkpoint, memoryOutput(), options(grid, means)).then(
      () => 'written',
      ({ name, message }: Error) => `${name}: ${message}`,
    );
  };
  assert.match(
    await refused({ num_key_value_heads: 1 }),
    /UnsupportedError: .*k_proj\.weight.* 64 rows are not a multiple of 128/,
  );
  assert.match(
    await refused({ intermediate_size: 768 }, 'p2n64'),
    /up_proj|gate_proj.* 768 rows are not a multiple of 512/,
  );
  assert.match(
    await refused({ hidden_size: 384, head_dim: 48 }, 'p2n256'),
    /384 columns are not a multiple of the 256 of a group/,
  );
  const { model, config: mixed } = families.mixtral;
  const { checkpoint } = await openOnce(modelFolder(mixed, model));
  await exportHiggs(checkpoint, memoryOutput(), options('p2n256', { exclude: /self_attn/ })).then(
    () => assert.unreachable('written'),
    ({ message }: Error) => assert.match(message, /FLUTE has no layout of experts/),
  );
});

for (const name of [
  'llama',
  'mistral',
  'qwen2',
  'qwen3',
  'phi3',
  'smollm3',
  'granite',
  'seed_oss',
  'ernie4_5',
  'ministral3',
]) {
  test(`signs as a part of the weights leave the logits: ${name}`, async () => {
    const { config, model, logits } = families[name];
    const folder = await openOnce(modelFolder(config, model));
    const signed = withSigns(folder.checkpoint, await readArchitecture(folder), 7);
    let changed = 0;
    for (const [i, tensor] of signed.tensors.entries()) {
      const before = new Uint8Array(await folder.checkpoint.tensors[i].read());
      const after = new Uint8Array(await tensor.read());
      if (after.some((byte, index) => byte !== before[index])) changed++;
      const [start, end] = [3, Math.min(before.length, 41)];
      sameBits(new Uint8Array(await tensor.read(start, end)), after.slice(start, end));
    }
    assert.ok(changed >= folder.checkpoint.tensors.length / 2, `${changed} tensors`);
    const other = { ...folder, checkpoint: signed };
    for (const reference of referencesOf(logits)) {
      const most = farthest(await logitsOf(other, reference), await logitsOf(folder, reference));
      assert.ok(most <= 1e-5, `${most}`);
    }
  });
}

test('signs that would not be exact are refused by the name of the family', async () => {
  const reasons: Record<string, RegExp> = {
    gemma2: /gemma2: layer 0 has norms that add 1/,
    olmo2: /olmo2: layer 0 has no norm before a block/,
    deepseek_v2: /deepseek_v2: layer 0 has a block of another kind, latent/,
    mixtral: /mixtral: layer 0 has a block of another kind, experts/,
    arcee: /arcee: layer 0 has no gate beside up/,
    lfm2: /lfm2: layer 0 has a block of another kind, convolution/,
  };
  for (const [name, reason] of Object.entries(reasons)) {
    const { config, model } = families[name];
    const folder = await openOnce(modelFolder(config, model));
    const architecture = await readArchitecture(folder);
    assert.throws(() => withSigns(folder.checkpoint, architecture, 7), reason);
  }
});

// One weight of tinyquant, (4, 32) in groups of 16, with what may be wrong with it.
function tinyquant(change: Partial<Record<string, Tensor>> = {}, meta: object = {}): Uint8Array {
  const next = uniform(3);
  const about = { group_size: 16, quantization_method: 'higgs', in_features: 32, out_features: 4, ...meta };
  const bytes = utf8.encode(JSON.stringify(about));
  const codes = Uint8Array.from({ length: 64 }, () => Math.floor(next() * 256));
  const parts: Record<string, Tensor> = {
    quantized: { dtype: 'U8', shape: [64], bytes: codes },
    scales: tensorOf(
      'F16',
      [4, 2],
      Array.from({ length: 8 }, (_, i) => 0.5 + i / 8),
    ),
    grid: tensorOf('F32', [256, 2], gridOf('p2n256').points),
    meta: { dtype: 'U8', shape: [bytes.length], bytes },
    bias: tensorOf('F16', [4], [1, 2, 3, 4]),
    ...change,
  } as Record<string, Tensor>;
  const named = Object.entries(parts).map(([part, tensor]) => [
    `model.layers.0.mlp.up_proj.tq_tensors.${part}`,
    tensor,
  ]);
  return safetensors({ ...Object.fromEntries(named), 'model.norm.weight': tensorOf('F32', [2], [1, 2]) });
}

test('tinyquant: weights are points, rotated back, times scales', async () => {
  const file = tinyquant();
  const { checkpoint } = await openOnce(memoryFolder({ 'model.safetensors': file }));
  assert.equal(checkpoint.tensors.map(({ name, dtype, shape }) => `${name} ${dtype} ${shape}`).sort(), [
    'model.layers.0.mlp.up_proj.bias F16 4',
    'model.layers.0.mlp.up_proj.weight F32 4,32',
    'model.norm.weight F32 2',
  ]);
  const actual = new Float32Array(await checkpoint.get('model.layers.0.mlp.up_proj.weight')!.read());
  const codes = readSafetensors(file).tensors.get('model.layers.0.mlp.up_proj.tq_tensors.quantized')!.bytes;
  const { points } = gridOf('p2n256');
  for (let i = 0; i < 128; i++) {
    const group = Math.floor(i / 16);
    let sum = 0;
    for (let j = 0; j < 16; j++)
      sum += points[2 * codes[group * 8 + (j >> 1)] + (j & 1)] * (parity((i % 16) & j) ? -1 : 1);
    assert.ok(Math.abs((sum / 4) * (0.5 + group / 8) - actual[i]) < 1e-5, `[${i}]`);
  }
});

test('faulty checkpoints of others are refused by tensor and reason', async () => {
  const open = (files: Record<string, Uint8Array>) =>
    openOnce(memoryFolder(files as never)).then(
      () => 'opened',
      ({ name, message }: Error) => `${name}: ${message}`,
    );
  const tiny = (change: Partial<Record<string, Tensor>>, meta?: object) =>
    open({ 'model.safetensors': tinyquant(change, meta) });
  assert.match(
    await tiny({}, { group_size: 24 }),
    /group_size must be a power of two that divides in_features: got 24 and 32/,
  );
  assert.match(await tiny({}, { quantization_method: 'nf4' }), /quantization_method must be higgs: got "nf4"/);
  assert.match(await tiny({}, { out_features: 5 }), /quantized" must be \[80\]/);
  assert.match(await tiny({ meta: { dtype: 'U8', shape: [1], bytes: utf8.encode('{') } }), /meta must be JSON/);
  assert.match(await tiny({ meta: { dtype: 'U8', shape: [5000], bytes: new Uint8Array(5000) } }), /at most 4096 bytes/);
  const part = (shape: number[], dtype = 'F16') =>
    tensorOf(dtype, shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));
  const flute = (about: object | string, change: Record<string, Tensor> = {}) => {
    const weight = { dtype: 'I16', shape: [32, 512], bytes: new Uint8Array(32 * 512 * 2) };
    const tensors = {
      'a.weight': weight,
      'a.scales': part([128, 2]),
      'a.tables': part([16]),
      'a.tables2': part([16, 16, 2]),
      ...change,
    };
    const text = typeof about === 'string' ? about : JSON.stringify({ quantization_config: about });
    return open({ 'config.json': utf8.encode(text), 'model.safetensors': safetensors(tensors) });
  };
  assert.match(await flute('{'), /config.json: config must be JSON/);
  assert.match(await flute({ bits: 5 }), /bits must be 2, 3 or 4: got 5/);
  assert.match(await flute({ group_size: 512 }), /group_size must be 64, 128 or 256: got 512/);
  assert.match(await flute({ hadamard_size: 768 }), /hadamard_size must be a power of two .* got 768/);
  assert.match(await flute({ bits: 2 }), /whole tiles of 256 rows|scales must be/);
  assert.match(await flute({}, { 'a.scales': part([128, 3]) }), /scales must be \[128, 2\]/);
  assert.match(await flute({}, { 'a.tables2': part([4, 4, 2]) }), /tables2 must be \[16, 16, 2\]/);
});

test.run();

function parity(x: number): number {
  let odd = 0;
  for (let rest = x; rest > 0; rest &= rest - 1) odd ^= 1;
  return odd;
}
