// The command line itself, as a person meets it: its options, help, JSON, tables, dry runs and pipes; which tensors it
// chooses (Node and what follows it only).

import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { normals } from './bits.ts';
import { rawTensor, safetensors, tensorOf } from './checkpoints.ts';
import {
  CLI,
  EMBEDDING,
  execute,
  folder,
  higgs,
  K,
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

temporaryRoot();

test('wrong command lines: exit code 2, the option named, no stack, nothing written', async () => {
  const { input } = await small();
  const out = output();
  const cases: [string[], RegExp][] = [
    [['implode'], /unknown command 'implode'/],
    [['quantize'], /missing required argument 'input'/],
    [['quantize', input], /--output must be given/],
    [['quantize', input, 'other', '-o', out], /too many arguments/],
    [['quantize', input, '-o', out, '--colour'], /unknown option '--colour'/],
    [['quantize', input, '-o', out, '--bits', '7'], /--bits.*must be 2, 3, 4, 5 or 6\. .*--grid p1n256 has 8 bits/],
    [['quantize', input, '-o', out, '--bits', '4', '--grid', 'p1n4'], /--grid.*cannot be used with.*--bits/],
    [
      ['quantize', input, '-o', out, '--grid', 'p9n9'],
      /^higgs: --grid must be a grid such as t4, .*: got p9n9\. higgs grids lists them/,
    ],
    [['quantize', input, '-o', out, '--grid', 'p2n265'], /Did you mean p2n256\? higgs grids/],
    [['quantize', input, '-o', out, '--grid', 'int8'], /Did you mean p1n256\?/],
    [['quantize', input, '-o', out, '--embeddings', 'p3n8'], /--embeddings.*p3n8/],
    [['quantize', input, '-o', out, '--group', '100'], /--group must be a power of two.*100/],
    [['quantize', input, '-o', out, '--group', '8'], /--group.*from 16 to 4096/],
    [['quantize', input, '-o', out, '--seed', '-1'], /--seed.*from 0 to 4294967295/],
    [['quantize', input, '-o', out, '--seed', '0x10'], /--seed/],
    [['quantize', input, '-o', out, '--signs', 'maybe'], /--signs.*random, none/],
    [['quantize', input, '-o', out, '--workers', '0'], /--workers.*from 1 to 256/],
    [['quantize', input, '-o', out, '--workers', '1e9'], /--workers/],
    [['quantize', input, '-o', out, '--max-shard-size', 'large'], /--max-shard-size.*such as 500MB/],
    [['quantize', input, '-o', out, '--include', '('], /--include.*regular expression/],
    [['dequantize', input], /required option '-o, --output/],
    [['dequantize', input, '-o', out, '--dtype', 'i8'], /--dtype.*f16, bf16, f32/],
    [['verify', input, '--against'], /argument missing/],
    [[], /Usage: higgs/],
  ];
  const wrong: string[] = [];
  await Promise.all(
    cases.map(async ([args, says]) => {
      const { code, stdout, stderr } = await higgs(...args);
      const lines = stderr.trimEnd().split('\n');
      const ok = code === 2 && says.test(stderr) && stdout === '' && !/\n {4}at /.test(stderr);
      if (!ok || (args.length > 0 && lines.length > 2)) wrong.push(`${args.join(' ')}: ${code} ${stdout}${stderr}`);
    }),
  );
  assert.is(wrong.join('\n'), '');
  nothingAt(out, `${out}.partial`);
});

test('--help of every verb has examples; --version is that of the package', async () => {
  const verbs = [
    [],
    ['quantize'],
    ['inspect'],
    ['dequantize'],
    ['verify'],
    ['sensitivity'],
    ['generate'],
    ['chat'],
    ['perplexity'],
    ['bench'],
  ];
  const all = await Promise.all(verbs.map((verb) => succeeds(higgs(...verb, '--help'))));
  for (const [i, { stdout }] of all.entries()) {
    assert.match(stdout, /\nExamples:\n {2}\$ higgs /);
    assert.match(stdout, new RegExp(`^Usage: higgs ${verbs[i][0] ?? ''}`));
    for (const line of stdout.split('\n')) assert.ok(line.length <= 120, line);
  }
  assert.match((await succeeds(higgs('--version'))).stdout, /^\d+\.\d+\.\d+\n$/);
});

test('--json of every verb parses and has the documented fields', async () => {
  const { input, out } = await small();
  const [again, restored] = [output(), output()];
  const run = async (...args: string[]) => JSON.parse((await succeeds(higgs(...args, '--json'))).stdout);
  const [quantized, dry, inspected, plain, verified, compared, dequantized] = await Promise.all([
    run('quantize', input, '-o', again, '--embeddings', 'p1n16', '--group', '64'),
    run('quantize', input, '--dry-run'),
    run('inspect', out),
    run('inspect', input),
    run('verify', out),
    run('verify', out, '--against', input),
    run('dequantize', out, '-o', restored),
  ]);
  const row = { name: Q, grid: 't4', groupSize: 64, bpw: 4.25, shape: [64, 64], dtype: 'BF16', seed: 0 };
  const has = (actual: Record<string, unknown>, expected: Record<string, unknown>) => {
    for (const [key, value] of Object.entries(expected)) assert.equal(actual[key], value, key);
  };
  const sizes = {
    in: smallFiles()['model.safetensors'].length,
    out: readFileSync(join(out, 'model.safetensors')).length,
  };
  for (const report of [quantized, verified, compared]) {
    assert.type(report.seconds, 'number');
    assert.is(report.bytesOut, sizes.out);
    assert.ok(Math.abs(report.bpw - 4.25) < 1e-12);
    assert.is(report.tensors.length, 3);
    const tensor = report.tensors.find(({ name }: { name: string }) => name === Q);
    has(tensor, row);
    assert.ok(tensor.relativeError > 0.005 && tensor.relativeError < 0.007);
    assert.ok(tensor.gridMse > 0.0058 && tensor.gridMse < 0.006);
  }
  for (const report of [quantized, compared]) assert.ok(report.bytesIn > 0 && report.bytesIn < sizes.in);
  assert.equal(
    quantized.passed.map(({ name, reason }: Record<string, string>) => [name, reason]),
    [[NORM, 'rank 1']],
  );
  assert.ok(Array.isArray(quantized.warnings) && Array.isArray(verified.warnings));
  assert.ok(verified.checked > 8);
  assert.is(inspected.quantized, true);
  has(
    inspected.tensors.find(({ name }: { name: string }) => name === Q),
    { ...row, bytes: 64 * 32 + 64 * 2 },
  );
  assert.is(plain.quantized, false);
  assert.equal(
    plain.tensors.map(({ name }: { name: string }) => name),
    Object.keys(smallTensors()),
  );
  assert.is(plain.parameters, 64 * 64 * 2 + 32 * 64 + 7);
  assert.is(dry.weights, 96 * 64);
  assert.is(dry.tensors.length, 2);
  assert.equal(
    dry.passed.map(({ reason }: { reason: string }) => reason),
    ['embedding', 'rank 1'],
  );
  assert.is(dequantized.tensors.length, 4);
  assert.is(dequantized.bytesIn, sizes.out);
  assert.is(dequantized.bytesOut, readFileSync(join(restored, 'model.safetensors')).length);
});

test('without --json a person reads tables', async () => {
  const { input, out } = await small();
  const [inspected, plain, verified, dry] = await Promise.all(
    [
      ['inspect', out, '--all'],
      ['inspect', input],
      ['verify', out, '--against', input],
      ['quantize', input, '--dry-run'],
    ].map((args) => succeeds(higgs(...args))),
  );
  assert.match(inspected.stdout, /q_proj\.weight +BF16 +64 × 64 +t4 g64 +4\.25 +2\.18 kB +0\.00/);
  assert.match(inspected.stdout, /4 tensors, 10\.2 k parameters, .* at 4\.25 bits per weight\n$/);
  assert.match(plain.stdout, /model\.norm\.weight +BF16 +7 /);
  assert.match(verified.stdout, /\d+ checksums hold, t² recomputed against the original; 4\.25 bits per weight/);
  assert.match(dry.stdout, /Nothing was written\.\n$/);
  for (const { stdout } of [inspected, plain, verified, dry]) assert.not.match(stdout, /undefined|NaN|\[object/);
});

test('--dry-run writes nothing, with or without --output', async () => {
  const { input } = await small();
  const out = output();
  const before = await readdir(root);
  await Promise.all([
    succeeds(higgs('quantize', input, '--dry-run')),
    succeeds(higgs('quantize', input, '-o', out, '--dry-run', '--json')),
  ]);
  nothingAt(out, `${out}.partial`);
  assert.equal(await readdir(root), before);
});

test('--dry-run tells what running the result would take, or why it would not run', async () => {
  const other = await folder({
    'model.safetensors': safetensors({ 'model.layers.0.mlp.up_proj.weight': tensorOf('F32', [64, 64], normals(4096)) }),
    'config.json': '{"model_type": "strange"}',
  });
  const [runs, refused, json] = await Promise.all([
    ...['models/books-llama', other].map((input) => succeeds(higgs('quantize', input, '--dry-run'))),
    succeeds(higgs('quantize', 'models/books-llama', '--dry-run', '--json', '--grid', 't4q', '--scale-search')),
  ]);
  assert.match(runs.stdout, /\d file, about \d+ s on \d+ workers?\. Nothing was written\.\n/);
  const { seconds, run } = JSON.parse(json.stdout);
  assert.ok(seconds > 0 && run.bytes > 0 && run.memories === 1 && run.leastBytes === undefined);
  assert.match(
    runs.stdout,
    /Nothing was written\.\nTo run, it takes [\d.]+ MB of memory, at a context of 512 tokens\.\n$/,
  );
  assert.match(
    refused.stdout,
    /Nothing was written\.\nIt does not run here: .*model_type must be of a family that runs.*\n$/,
  );
});

test('a reader that goes away early, as head does, is no fault', async () => {
  const tensors = Array.from({ length: 3000 }, (_, i) => [`model.layers.${i}.norm.weight`, rawTensor('U8', [1], 1)]);
  const input = await folder({ 'model.safetensors': safetensors(Object.fromEntries(tensors)) });
  const piped = ['pipefail', `"$0" "$1" inspect "$2" --all | head -n 1`];
  for (const args of [
    ['inspect', input, '--all'],
    ['inspect', input, '--json'],
  ]) {
    const { code, signal, stderr } = await execute(process.execPath, [CLI, ...args], (child) => {
      child.stdout!.once('data', () => child.stdout!.destroy());
    });
    assert.equal({ code, signal, stderr }, { code: 0, signal: null, stderr: '' }, piped[1]);
  }
  const head = await execute('sh', ['-c', piped[1], process.execPath, CLI, input]);
  assert.is(head.stderr, '');
  assert.match(head.stdout, /^tensor +dtype/);
});

test('--scale-search errs less in the same bits, and config.json says so', async () => {
  const input = await folder(smallFiles());
  const [plain, searched] = await Promise.all(
    [[], ['--scale-search']].map(async (extra) => {
      const out = output();
      const report = JSON.parse((await succeeds(quantize(input, out, '--json', ...extra))).stdout);
      const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'));
      await succeeds(higgs('verify', out, '--against', input));
      return { ...report, noted: config.quantization_config.scale_search };
    }),
  );
  assert.equal([plain.noted, searched.noted], [undefined, true]);
  assert.is(searched.bytesOut - plain.bytesOut, 0);
  assert.ok(searched.relativeError < plain.relativeError * 0.98, `${searched.relativeError}`);
});

// --- which tensors

test('--include, --exclude and --embeddings choose; a tied embedding is quantized once, a head of its own as well', async () => {
  const tied = await folder(smallFiles());
  const untied = await folder(single('lm_head.weight', weight(64, 64, 9), smallTensors()));
  const chosen = async (input: string, ...args: string[]) => {
    const report = JSON.parse((await succeeds(higgs('quantize', input, '--dry-run', '--json', ...args))).stdout);
    return report.tensors.map(({ name, grid }: Record<string, string>) => `${name} ${grid}`).sort();
  };
  const [q, k, e, h] = [`${Q} t4`, `${K} t4`, `${EMBEDDING} p4n256`, 'lm_head.weight p4n256'];
  assert.equal(
    await Promise.all([
      chosen(tied),
      chosen(tied, '--embeddings', 'p4n256'),
      chosen(untied),
      chosen(untied, '--embeddings', 'p4n256'),
      chosen(untied, '--embeddings', 'p4n256', '--exclude', 'lm_head|k_proj'),
      chosen(untied, '--include', 'q_proj'),
      chosen(untied, '--include', 'q_proj', '--embeddings', 'p4n256'),
      chosen(untied, '--include', 'proj', '--exclude', '\\.0\\..*q_'),
      chosen(untied, '--include', 'embed'),
      chosen(untied, '--bits', '2', '--exclude', 'k_proj'),
    ]),
    [[k, q], [e, k, q], [k, q], [h, e, k, q], [e, q], [q], [h, e, q], [k], [`${EMBEDDING} t4`], [`${Q} t2`]].map(
      (names) => names.sort(),
    ),
  );
  const [out, restored] = [output(), output()];
  await succeeds(quantize(tied, out, '--embeddings', 'p4n256'));
  await succeeds(higgs('dequantize', out, '-o', restored, '--dtype', 'f32'));
  assert.equal([...read(restored).tensors.keys()], Object.keys(smallTensors()));
  assert.is(read(restored).tensors.get(EMBEDDING)!.dtype, 'F32');
  assert.is(read(restored).tensors.get(NORM)!.dtype, 'BF16');
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'));
  assert.is(config.tie_word_embeddings, true);
  assert.is(config.quantization_config.quant_method, 'higgs-wasm');
  assert.is(readFileSync(join(out, 'tokenizer.json'), 'utf8'), smallFiles()['tokenizer.json']);
});

test.run();
