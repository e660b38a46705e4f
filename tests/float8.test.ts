// Models whose weights are F8 in blocks, as DeepSeek-V3 is released: they run, they are quantized, compared and measured.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import { type Folder, load } from '../src/index.ts';
import { asBf16 } from '../src/quantize/float8.ts';
import { measureSensitivity } from '../src/sensitivity/measure.ts';
import { loadAlone } from './alone.ts';
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
import { config, deepseek } from './deepseek.ts';
import { modelFolder } from './models.ts';

const test = suite('float8');
const higgs = await load();
const forms = deepseek();
const ids = Array.from({ length: 40 }, (_, i) => (i * 37 + 11) % 100);

async function logits(folder: Folder, activations: 'int8' | 'f32' = 'f32'): Promise<Float32Array> {
  const model = await loadAlone(folder, { context: ids.length, activations });
  const all = await model.forward(ids, { logits: 'all' });
  await model.close();
  return all;
}

async function tensorsOf(folder: Folder): Promise<Record<string, Tensor>> {
  const source = await folder.open('model.safetensors');
  return Object.fromEntries(readSafetensors(new Uint8Array(await source.slice(0, source.byteLength))).tensors);
}

async function quantized(from: Folder, options: object = { grid: 't4' }) {
  const output = memoryOutput();
  const report = await (await higgs.open(from)).quantize(output, { groupSize: 16, ...options });
  return { report, files: output.files, folder: output.folder() };
}

test('a model in F8 has the bits of its weights rounded to BF16, and is close to them in f32', async () => {
  const fromF8 = await logits(forms.f8);
  sameBits(fromF8, await logits(forms.bf16));
  const exact = await logits(forms.f32);
  const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  const error = norm(fromF8.map((x, i) => x - exact[i])) / norm(exact);
  assert.ok(error > 0 && error < 0.02, `relative error ${error}`);
});

test('several memories give the bits of one', async () => {
  const model = await loadAlone(forms.f8, { context: ids.length });
  const { bytes } = model.memory;
  const wanted = await model.forward(ids);
  await model.close();
  const other = await loadAlone(forms.f8, { context: ids.length, memoryLimit: bytes - 1 });
  sameBits(await other.forward(ids), wanted);
  await other.close();
});

test('F8 and f32 are quantized to the same codes, which verify against the original', async () => {
  const [fromF8, exact] = [await quantized(forms.f8), await quantized(forms.f32)];
  const [a, b] = [fromF8, exact].map(({ files }) => readSafetensors(files.get('model.safetensors')!).tensors);
  for (const [name, { bytes }] of a) if (/\.(packed|scales)$/.test(name)) assert.equal(bytes, b.get(name)!.bytes, name);
  for (const activations of ['int8', 'f32'] as const)
    sameBits(await logits(fromF8.folder, activations), await logits(exact.folder, activations));
  const report = await higgs.verifyCheckpoint(fromF8.folder, { against: forms.f8 });
  assert.is(report.tensors.length, fromF8.report.tensors.length);
  const config = new TextDecoder().decode(fromF8.files.get('config.json'));
  assert.is(JSON.parse(config).quantization_config.quant_method, 'higgs-wasm');
});

test('F8 weights that are excluded stay, run with the same bits, and keep their checksums', async () => {
  const exclude = /o_proj|experts\.1\./;
  const fromF8 = await quantized(forms.f8, { grid: 't4', exclude });
  const [exact, rounded] = await Promise.all([forms.f32, forms.bf16].map(tensorsOf));
  const mixed = Object.fromEntries(
    Object.keys(exact).map((name) => [name, exclude.test(name) ? rounded[name] : exact[name]]),
  );
  const twin = await quantized(modelFolder(config, safetensors(mixed)), { grid: 't4', exclude });
  sameBits(await logits(fromF8.folder), await logits(twin.folder));
  const name = 'model.layers.1.mlp.experts.1.up_proj.weight';
  const bytes = fromF8.files.get('model.safetensors')!.slice();
  const { dtype, start } = readSafetensors(bytes).tensors.get(name)!;
  assert.is(dtype, 'F8_E4M3');
  bytes[start + 5] ^= 1;
  const damaged = memoryFolder({ ...Object.fromEntries(fromF8.files), 'model.safetensors': bytes });
  assert.match(
    await logits(damaged).then(String, String),
    new RegExp(`${name.replaceAll('.', '\\.')}": CRC-32 must be`),
  );
});

test('sensitivities of F8 weights are those of BF16', async () => {
  const settings = { tokens: 16, sequences: 2, draws: 1, source: 'random' } as const;
  const [fromF8, other] = await Promise.all(
    [forms.f8, forms.bf16].map((folder) => measureSensitivity(folder, settings)),
  );
  assert.equal(fromF8.tensors, other.tensors);
  assert.ok(fromF8.tensors.get('model.layers.1.mlp.shared_experts.up_proj.weight')!.alpha > 0);
});

test('asBf16() reads any part of a stack, and what has no factors', async () => {
  const shape = [2, 130, 260];
  const codes = tensorOf(
    'F8_E4M3',
    shape,
    Float32Array.from({ length: 2 * 130 * 260 }, (_, i) => ((i * 7919) % 801) / 2 - 200),
  );
  const factors = Float32Array.from({ length: 12 }, (_, i) => 2 ** (i - 6));
  const [name, bare] = ['mlp.experts.down_proj', 'mlp.down_proj.weight'];
  const folder = memoryFolder({
    'model.safetensors': safetensors({
      [name]: codes,
      [`${name}_scale_inv`]: tensorOf('F32', [2, 2, 3], factors),
      [bare]: codes,
    }),
  });
  const checkpoint = await openCheckpoint(folder);
  const values = valuesOf(codes);
  const expected = values.map((x, i) => {
    const [expert, row, col] = [Math.floor(i / 33800), Math.floor((i % 33800) / 260), i % 260];
    return x * factors[expert * 6 + Math.floor(row / 128) * 3 + Math.floor(col / 128)];
  });
  for (const [actual, wanted] of [
    [name, expected],
    [bare, values],
  ] as const) {
    const tensor = asBf16(checkpoint.get(actual)!);
    assert.equal([tensor.dtype, tensor.byteLength], ['BF16', 2 * 2 * 130 * 260]);
    for (const [start, end] of [
      [0, tensor.byteLength],
      [518, 522],
      [67_000, 68_300],
      [2 * 259, 2 * 33_801],
      [7, 1003],
    ]) {
      const [first, last] = [Math.floor(start / 2), Math.ceil(end / 2)];
      const bf16 = tensorOf('BF16', [last - first], wanted.slice(first, last)).bytes; // exact: factors are powers of two
      const read = new Uint8Array(await tensor.read(start, end));
      assert.equal(read, bf16.slice(start - first * 2, end - first * 2));
    }
  }
});

test.run();
