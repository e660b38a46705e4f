// What the command line makes of its input: malformed checkpoints are refused in one line, odd ones go through (Node
// and what follows it only).

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { normals } from './bits.ts';
import { fileOf, memoryFolder, rawTensor, safetensors, type Tensor, tensorOf } from './checkpoints.ts';
import {
  fails,
  folder,
  hashes,
  higgs,
  NORM,
  nothingAt,
  output,
  Q,
  quantize,
  read,
  root,
  single,
  small,
  smallFiles,
  smallTensors,
  succeeds,
  temporaryRoot,
  weight,
} from './command.ts';
import { FAULTS } from './faults.ts';

temporaryRoot();

// --- malformed input

test('every malformed input: one line that names file and tensor, exit code 1, nothing written, input untouched', async () => {
  const wrong: string[] = [];
  await Promise.all(
    Object.entries(FAULTS).map(async ([label, { files, says, file = 'model.safetensors', tensor }]) => {
      const [input, out] = [await folder(files), output()];
      const before = await hashes(input);
      try {
        const line = await fails(quantize(input, out));
        assert.match(line, says);
        assert.ok(line.includes(file === '' ? input : join(input, file)), `${line} names ${file}`);
        if (tensor !== undefined)
          assert.ok(line.includes(`tensor ${JSON.stringify(tensor)}`), `${line} names ${tensor}`);
        nothingAt(out, `${out}.partial`);
        assert.equal(await hashes(input), before);
      } catch (error) {
        wrong.push(`${label}: ${(error as Error).message}`);
      }
    }),
  );
  assert.is(wrong.join('\n'), '');
});

test('faults that the headers and config.json tell are found before any work: planning has them all', async () => {
  const library = await load();
  const wrong: string[] = [];
  for (const [label, { files, says }] of Object.entries(FAULTS)) {
    if (/^(NaN|Inf|an RMS)/.test(label)) continue;
    const bytes = Object.entries(files).map(([name, content]) => [name, Uint8Array.from(Buffer.from(content))]);
    const message = await library.planCheckpoint(memoryFolder(Object.fromEntries(bytes))).then(
      () => 'no error',
      (error) => String(error.message),
    );
    if (!says.test(message)) wrong.push(`${label}: ${message}`);
  }
  assert.is(wrong.join('\n'), '');
});

test('what is not named as a weight passes through; weights that another method quantized are refused', async () => {
  const float = (...shape: number[]) => weight(shape[0], shape[1], 5, 'F16');
  const files = {
    'a.q_proj.scales': float(8, 64),
    'a.q_proj.qzeros': float(8, 64),
    'a.x.scale': float(56, 56),
    freqs_cos: float(64, 64),
    'a.rotary.cos_cached': float(64, 64),
    'a.up_proj.weight': float(64, 64),
    'experts.w1': float(64, 64),
    weight: float(64, 64),
  };
  const [input, out] = [await folder({ 'model.safetensors': safetensors(files) }), output()];
  const { stdout } = await succeeds(quantize(input, out, '--json'));
  const names = JSON.parse(stdout).tensors.map(({ name }: { name: string }) => name);
  assert.equal(names.sort(), ['a.up_proj.weight', 'experts.w1', 'weight']);
  const config = { 'config.json': '{"quantization_config": {"quant_method": "awq"}}' };
  const awq = await folder({ 'model.safetensors': safetensors(files), ...config });
  assert.match(
    await fails(quantize(awq, output())),
    /weights must not be quantized yet: config.json says that they are, by "awq"/,
  );
  assert.match(await fails(quantize(input, output(), '--include', '^zzz$'), 2), /--include must match a tensor/);
});

test('every verb refuses what is no checkpoint in one line', async () => {
  const cut = await folder({ 'model.safetensors': safetensors(smallTensors()).subarray(0, 1000) });
  const plain = await folder(smallFiles());
  const [missing, out] = [join(root, 'nowhere'), output()];
  const { out: quantized } = await small();
  const lines = await Promise.all([
    fails(higgs('inspect', cut)),
    fails(higgs('verify', cut)),
    fails(higgs('dequantize', cut, '-o', out)),
    fails(higgs('inspect', missing)),
    fails(higgs('verify', missing)),
    fails(higgs('dequantize', missing, '-o', out)),
    fails(quantize(missing, out)),
    fails(higgs('verify', plain)),
    fails(higgs('dequantize', plain, '-o', out)),
    fails(quantize(quantized, out)),
    fails(higgs('verify', quantized, '--against', missing)),
    fails(quantize('/dev/null', out)),
    fails(higgs('inspect', join(plain, 'config.json'))),
  ]);
  for (const line of lines.slice(3, 7))
    assert.is(line, `higgs: cannot read ${missing}: no such file or directory (ENOENT)\n`);
  for (const line of lines.slice(7, 9)) assert.match(line, /must be quantized by higgs/);
  assert.match(lines[9], /must not be quantized yet/);
  assert.match(lines[11], /not a regular file/);
  assert.ok(lines[12].includes(join(plain, 'config.json')));
  nothingAt(out, `${out}.partial`);
});

test('a file of the format that contradicts itself is refused by every verb that reads it', async () => {
  const { out } = await small();
  const file = readFileSync(join(out, 'model.safetensors'));
  const length = Number(file.readBigUInt64LE());
  const text = file.subarray(8, 8 + length).toString();
  // Same length, so that offsets stay.
  const edit = async (from: string, to: string) => {
    assert.ok(text.includes(from) && from.length === to.length, from);
    const edited = Buffer.concat([file.subarray(0, 8), Buffer.from(text.replace(from, to)), file.subarray(8 + length)]);
    return folder({ 'model.safetensors': edited });
  };
  const cases: [string, string, RegExp][] = [
    ['"higgs.format":"1"', '"higgs.format":"2"', /higgs.format must be 1, .*: it is "2"/],
    ['\\"grid\\":\\"t4\\"', '\\"grid\\":\\"t3\\"', /grid must be in the checkpoint: "t3" is missing/],
    ['\\"groupSize\\":64', '\\"groupSize\\":65', /groupSize must be a power of two/],
    ['\\"groupSize\\":64', '\\"groupSize\\":16', /shard must hold .*scales/],
    ['\\"seed\\":0', '\\"seed\\":x', /JSON/],
    ['\\"shape\\":[32,64]', '\\"shape\\":[32,65]', /shard must hold/],
    ['\\"shape\\":[32,64]', '\\"shape\\":[3,2e9]', /shard must hold|shape must be/],
    ['\\"shape\\":[32,64]', '\\"shape\\":[0,643]', /shape must be two or three positive integers/],
    ['"higgs.errors.0"', '"higgs.errorz.0"', /shard must hold higgs.errors|CRC-32 of the header/],
    ['"higgs.checksums.0"', '"higgs.checksumz.0"', /shard must hold higgs.checksums/],
    ['"higgs.grid.t4"', '"higgs.grid.t9"', /grid must be stored as U8 \[3, 16\]/],
    ['\\"t4\\":{\\"mse\\"', '\\"t4\\":{\\"msf\\"', /mse of a grid must be a number/],
    ['\\"t4\\":{\\"mse\\"', '\\"t7\\":{\\"mse\\"', /grid must be named p<p>n<n> .*, or t<bits>/],
    ['\\"t4\\":{\\"mse\\"', '\\"t3\\":{\\"mse\\"', /grid must be stored as U8 \[3, 16\]/],
    ['\\"zero\\":63', '\\"zero\\":-1', /zero of trellis t4 must be an integer from 0 to 127: got -1/],
    ['\\"step\\":0.0', '\\"step\\":0.1', /step of trellis t4 must be an f32 above 0/],
  ];
  const wrong: string[] = [];
  await Promise.all(
    cases.map(async ([from, to, says]) => {
      const input = await edit(from, to);
      try {
        const line = await fails(higgs('verify', '--workers', '1', input));
        assert.match(line, says);
        assert.ok(line.includes(input));
      } catch (error) {
        wrong.push(`${to}: ${(error as Error).message}`);
      }
    }),
  );
  assert.is(wrong.join('\n'), '');
  const [input, restored] = [await edit(cases[1][0], cases[1][1]), output()];
  await fails(higgs('inspect', input));
  await fails(higgs('dequantize', input, '-o', restored));
  nothingAt(restored, `${restored}.partial`);
});

// --- odd but valid input

const ODD_COLS = [1, 17, 33, 172, 576, 896, 1000, 4864];
const oddTensors = (): Record<string, Tensor> => ({
  ...Object.fromEntries(
    ODD_COLS.map((cols) => [`model.layers.${cols}.mlp.up_proj.weight`, weight(3, cols, cols, 'F32')]),
  ),
  'model.layers.0.mlp.down_proj.weight': weight(1, 576, 4, 'F16'),
  'model.layers.1.mlp.down_proj.weight': weight(300, 1, 4, 'F32'),
  'model.layers.2.mlp.down_proj.weight': weight(130, 200, 4, 'F8_E4M3'),
  'model.layers.2.mlp.down_proj.weight_scale_inv': tensorOf('F32', [2, 2], [0.5, 0.25, 2, 1]),
  'model.layers.3.mlp.experts.down_proj': tensorOf('BF16', [3, 4, 33], normals(3 * 4 * 33)),
  'model.layers.4.mlp.up_proj.weight': tensorOf('F16', [4, 64], new Float32Array(256)), // zeros
  'model.layers.5.mlp.up_proj.weight': rawTensor('I32', [2, 8], 64), // packed by someone else
  'empty.weight': rawTensor('F32', [0, 16], 0),
  'empty.proj.weight': rawTensor('BF16', [16, 0], 0),
  'nothing.weight': rawTensor('Q9_X', [0], 0),
  scalar: tensorOf('F32', [], [3]),
  vector: tensorOf('F16', [5], normals(5)),
  'conv.weight': tensorOf('F32', [2, 3, 4, 5], normals(120)),
  'odd.bytes': rawTensor(
    'Q9_X',
    [7, 9],
    [...'anything'].map((c) => c.charCodeAt(0)),
  ),
  'model.layers.0.norm.weight': rawTensor('WHATEVER', [4, 4], [1, 2, 3]),
  'ünï "cøde"\\\n.weight': rawTensor('U8', [3], [1, 2, 3]),
  constructor: rawTensor('BOOL', [3], [1, 0, 1]),
  '7': rawTensor('I64', [1], 8),
});
const ODD_QUANTIZED = [
  ...ODD_COLS.map((cols) => `model.layers.${cols}.mlp.up_proj.weight`),
  ...['0', '1', '2'].map((layer) => `model.layers.${layer}.mlp.down_proj.weight`),
  'model.layers.3.mlp.experts.down_proj',
  'model.layers.4.mlp.up_proj.weight',
];

test('odd but valid input: quantize, verify, dequantize; what is not quantized passes through bit by bit', async () => {
  const tensors = oddTensors();
  const input = await folder({ 'model.safetensors': safetensors(tensors, { format: 'pt' }) });
  const before = await hashes(input);
  for (const grid of ['p1n4', 'p2n256', 'p3n512', 'p4n256']) {
    const [out, twin, restored] = [output(), output(), output()];
    const [{ stdout }] = await Promise.all([
      succeeds(quantize(input, out, '--grid', grid, '--json')),
      succeeds(higgs('quantize', input, '-o', twin, '--workers', '2', '--grid', grid)),
    ]);
    assert.equal(await hashes(twin), await hashes(out), 'one worker or two');
    const report = JSON.parse(stdout);
    const quantized: string[] = report.tensors.map(({ name }: { name: string }) => name);
    const unshrunk: string[] = report.passed
      .filter(({ reason }: { reason: string }) => reason === 'would not shrink')
      .map(({ name }: { name: string }) => name);
    assert.equal([...quantized, ...unshrunk].sort(), [...ODD_QUANTIZED].sort());
    for (const name of unshrunk) assert.match(name, /^model\.layers\.1\./, 'only a width of 1 may not shrink');

    const [, { stdout: text }] = await Promise.all([
      succeeds(higgs('dequantize', out, '-o', restored, '--workers', '1')),
      succeeds(higgs('verify', out, '--against', input, '--workers', '1', '--json')),
    ]);
    const verified = JSON.parse(text);
    assert.is(verified.tensors.length, quantized.length);
    for (const [i, { name, relativeError, gridMse }] of verified.tensors.entries()) {
      const row = report.tensors.find((tensor: { name: string }) => tensor.name === name);
      assert.ok(Math.abs(relativeError - row.relativeError) <= 1e-3 * row.relativeError, name);
      assert.ok(relativeError < 4 * gridMse, `${name}, ${i}: ${relativeError}`);
    }
    const [stored, plain] = [read(out), read(restored)];
    assert.equal(plain.metadata, { format: 'pt' });
    const kept = Object.keys(tensors).filter((name) => !name.endsWith('_scale_inv'));
    assert.equal([...plain.tensors.keys()].sort(), kept.sort());
    for (const name of kept) {
      const { dtype, shape, bytes } = tensors[name];
      const actual = plain.tensors.get(name)!;
      assert.equal(actual.shape, shape);
      if (quantized.includes(name)) {
        assert.is(actual.dtype, dtype === 'F8_E4M3' ? 'BF16' : dtype);
      } else {
        for (const same of [actual, stored.tensors.get(name)!]) {
          assert.is(same.dtype, dtype);
          assert.ok(Buffer.compare(same.bytes, bytes) === 0, `${name} passes through`);
        }
      }
    }
  }
  assert.equal(await hashes(input), before);
});

test('a checkpoint without tensors, or with none to quantize, goes through', async () => {
  for (const tensors of [{}, { [NORM]: rawTensor('F32', [1], 4) }]) {
    const [input, out, restored] = [await folder({ 'model.safetensors': safetensors(tensors) }), output(), output()];
    await succeeds(quantize(input, out));
    await Promise.all([
      succeeds(higgs('verify', out, '--against', input)),
      succeeds(higgs('inspect', out)),
      succeeds(higgs('dequantize', out, '-o', restored)),
    ]);
    assert.equal([...read(restored).tensors.keys()], Object.keys(tensors));
  }
});

test('a pointer of Git LFS and a web page in place of a file are named', async () => {
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 5\n`;
  const page = '<!DOCTYPE html>\n<html><body>Sign in</body></html>';
  const said = async (files: Record<string, Uint8Array | string>, ...args: string[]) =>
    fails(higgs(args[0], await folder({ ...smallFiles(), ...files }), ...args.slice(1)));
  const out = ['quantize', '-o', output()];
  assert.match(await said({ 'model.safetensors': pointer }, ...out), /it is a pointer of Git LFS; git lfs pull/);
  assert.match(await said({ 'model.safetensors': page }, ...out), /it is a web page/);
  assert.match(await said({ 'config.json': page }, ...out), /config\.json: .*must be JSON: it is a web page/);
  assert.match(await said({ 'config.json': pointer }, 'generate', '-p', 'x'), /config\.json: .* pointer of Git LFS/);
});

test('inspect lists as many tensors as a header may have', async () => {
  const tensors = 300_000;
  const entries = Array.from(
    { length: tensors },
    (_, i) => `"model.layers.${i}.norm":{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}]}`,
  );
  const input = await folder({ 'model.safetensors': fileOf(`{${entries.join(',')}}`, tensors) });
  const { stdout } = await succeeds(higgs('inspect', input, '--all'));
  const lines = stdout.trimEnd().split('\n');
  assert.is(lines.length, tensors + 4);
  assert.match(lines.at(-1)!, /^300000 tensors, 300 k parameters, .* in 1 file$/);
});

test('every key of metadata and of config.json comes back from quantize and dequantize', async () => {
  const keys = ['constructor', 'toString', 'valueOf', 'hasOwnProperty', 'format', '7'];
  const metadata = Object.fromEntries(keys.map((key) => [key, `${key} is here`]));
  const config = '{"model_type":"llama","constructor":1,"toString":[2],"__proto__":{"valueOf":3}}';
  const input = await folder({
    'model.safetensors': safetensors(smallTensors(), metadata),
    'config.json': config,
  });
  const [out, restored] = [output(), output()];
  await succeeds(quantize(input, out, '--max-shard-size', '4kB'));
  await succeeds(higgs('dequantize', out, '-o', restored));
  assert.equal(Object.entries(read(restored).metadata).sort(), Object.entries(metadata).sort());
  assert.is(JSON.stringify(JSON.parse(readFileSync(join(restored, 'config.json'), 'utf8'))), config);
});

test('warnings: a weight that the transform does not make Gaussian is named, and the exit code stays 0', async () => {
  const spikes = new Float32Array(8 * 1024).map((_, i) => (i % 1024 === 5 ? 1 : 0));
  const input = await folder(single(Q, tensorOf('F32', [8, 1024], spikes)));
  const { stderr } = await succeeds(quantize(input, output(), '--grid', 'p2n256'));
  assert.match(stderr, /^higgs: warning: .*q_proj\.weight: t² is [\d.]+, [\d.]+ × the MSE of p2n256\n$/);
});

test.run();
