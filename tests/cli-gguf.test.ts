// The command line on GGUF: by the file, a part of it, or the directory (Node and what follows it only).

import { existsSync, readdirSync } from 'node:fs';
import { cp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseGgufHeader } from '../src/checkpoint/gguf/header.ts';
import {
  CLI,
  execute,
  fails,
  folder,
  hashes,
  higgs,
  nothingAt,
  output,
  quantize,
  succeeds,
  temporaryRoot,
} from './command.ts';
import { EMBEDDING, fileOf, ggufOf, llamaTwin, pairsOf } from './gguf/read.ts';

temporaryRoot();
const misuses = (done: ReturnType<typeof higgs>) => fails(done, 2);
const books = llamaTwin('models/books-llama', 'BF16');
const qwen = fileOf('qwen3.gguf');

test('quantize writes the same from the file as from its directory, and leaves the input alone', async () => {
  const input = await folder({ 'model.gguf': qwen, LICENSE: 'MIT' });
  const before = await hashes(input);
  const [one, other] = [output(), output()];
  await succeeds(quantize(join(input, 'model.gguf'), one, '--group', '16'));
  await succeeds(quantize(input, other, '--group', '16'));
  const [ofFile, ofDirectory] = [await hashes(one), await hashes(other)];
  assert.equal(Object.keys(ofFile), ['README.md', 'config.json', 'model.safetensors']);
  assert.equal({ ...ofDirectory, LICENSE: undefined }, { ...ofFile, LICENSE: undefined });
  assert.ok('LICENSE' in ofDirectory && !('LICENSE' in ofFile));
  assert.equal(await hashes(input), before);
  await succeeds(higgs('verify', one, '--against', join(input, 'model.gguf')));
});

test('a model runs from its file, with the text of the original', async () => {
  const input = await folder({ 'books.gguf': books });
  const run = (path: string) =>
    succeeds(higgs('generate', path, '-p', 'The natural selection of species', '-n', '8', '--temperature', '0'));
  const [fromGguf, original] = [await run(join(input, 'books.gguf')), await run('models/books-llama')];
  assert.ok(fromGguf.stdout.trim().length > 0);
  assert.is(fromGguf.stdout, original.stdout);
});

test('what is measured of a file is kept beside it', async () => {
  const input = await folder({ 'model.gguf': qwen });
  const file = join(input, 'model.gguf');
  const args = ['plan', file, '--bpw', '6', '--group', '16'];
  const first = await succeeds(higgs(...args));
  assert.match(first.stderr, /sensitivities measured in .* kept in .*higgs-alphas\.json/);
  assert.ok('higgs-alphas.json' in (await hashes(input)));
  const second = await succeeds(higgs(...args));
  assert.match(second.stderr, /sensitivities of .*higgs-alphas\.json/);
  assert.is(second.stdout, first.stdout);
});

test('export writes a file that runs as the model did, and export of a quantized one', async () => {
  const out = `${output()}.gguf`;
  const answer = await succeeds(higgs('export', 'models/books-llama', '--format', 'gguf', '-o', out));
  assert.match(answer.stdout, /^56 tensors, 10\.5 MB in .* s: .*\.gguf$/m);
  const run = (path: string) =>
    succeeds(higgs('generate', path, '-p', 'The natural selection of species', '-n', '8', '--temperature', '0'));
  assert.is((await run(out)).stdout, (await run('models/books-llama')).stdout);
  assert.match(
    await fails(higgs('export', 'models/books-llama', '--format', 'gguf', '-o', out)),
    /it already exists; give --force to replace it/,
  );
  const small = output();
  await succeeds(quantize('models/books-llama', small, '--grid', 't4'));
  const args = ['export', small, '--format', 'gguf', '--dtype', 'q8_0', '-o', out, '--force', '--json'];
  const { dtype, bytesOut } = JSON.parse((await succeeds(higgs(...args))).stdout);
  assert.is(dtype, 'Q8_0');
  assert.is((await stat(out)).size, bytesOut);
  await succeeds(higgs('inspect', out));
  const [again, stale] = [`${output()}.gguf`, `${out}.99999999.partial`];
  const ofCodes = await succeeds(higgs('export', out, '--format', 'gguf', '-o', again, '--json'));
  assert.is(JSON.parse(ofCodes.stdout).dtype, 'F16');
  await writeFile(stale, 'of a process that died');
  await succeeds(higgs(...args));
  nothingAt(stale);
  const before = await readFile(out);
  assert.match(
    await misuses(higgs('export', out, '--format', 'gguf', '-o', out, '--force')),
    /--output must not be the input/,
  );
  assert.equal(await readFile(out), before);
  assert.match(await misuses(higgs('export', small, '-o', out)), /--format must be given/);
  assert.match(await misuses(higgs('export', small, '--format', 'gguf', '-o', 'x.bin')), /--output must end in \.gguf/);
});

test('plan --format gguf writes types for llama-quantize', async () => {
  const out = `${output()}.txt`;
  const args = ['plan', 'models/books-llama', '--format', 'gguf', '--uniform', '--bpw', '4.5', '-o', out];
  const { stdout, stderr } = await succeeds(higgs(...args));
  assert.match(stdout, /^Q4_K_M +4\.887 +3\.26 MB/m);
  assert.match(stderr, /no importance matrix: with --uniform nothing is measured; --imatrix FILE makes one/);
  nothingAt(out.replace('.txt', '.imatrix.gguf'));
  assert.match(stdout, /llama-quantize --tensor-type-file .*\.txt MODEL\.gguf OUT\.gguf Q4_K_M/);
  assert.match(await readFile(out, 'utf8'), /^\^token_embd\\\.weight\$=\w+\n\^blk\\\.0\\\./);
  assert.match(
    await misuses(higgs(...args, '--force', '--grids', 't4')),
    /--grids must be left out with --format gguf/,
  );
  assert.match(
    await misuses(higgs(...args.slice(0, 2), '--bpw', '4', '--imatrix')),
    /--imatrix must come with --format gguf/,
  );
  assert.match(
    await misuses(higgs(...args.slice(0, 2), '--bpw', '4', '--no-imatrix')),
    /--imatrix must come with --format gguf/,
  );
  assert.match(await misuses(higgs(...args.slice(0, -4), '--force')), /--bpw or --size must be given/);
});

test('plan --format gguf writes an importance matrix beside the types, unless it is told otherwise', async () => {
  const input = join(await folder({ 'model.gguf': qwen }), 'model.gguf');
  const args = ['plan', input, '--format', 'gguf', '--bpw', '20', '--json'];
  const plainly = args.filter((arg) => arg !== '--json');
  const planned = async (...more: string[]) => JSON.parse((await succeeds(higgs(...args, ...more))).stdout);
  const directory = await folder({});
  const at = (name: string) => join(directory, name);
  const first = await planned('-o', at('types.txt'));
  assert.equal([first.plan.isWeighted, first.imatrix], [true, at('types.imatrix.gguf')]);
  assert.equal(readdirSync(directory).sort(), ['types.imatrix.gguf', 'types.txt']);
  const named = await planned('-o', at('again.txt'), '--imatrix', at('named.gguf'));
  assert.equal(named, { plan: first.plan, imatrix: at('named.gguf') });
  assert.equal(await readFile(at('named.gguf')), await readFile(at('types.imatrix.gguf')));
  const without = await planned('-o', at('plain.txt'), '--no-imatrix');
  assert.equal([without.plan.isWeighted, without.imatrix], [false, null]);
  assert.equal(readdirSync(directory).sort(), [
    'again.txt',
    'named.gguf',
    'plain.txt',
    'types.imatrix.gguf',
    'types.txt',
  ]);
  // Without -o nothing is gathered: here all matrices of layers have importances, so the plan is the same.
  assert.equal(await planned(), { plan: first.plan, imatrix: null });
  const { stdout } = await succeeds(higgs(...plainly));
  assert.match(stdout, /^-o FILE writes the types for llama-quantize, and an importance matrix beside them$/m);
  // Neither of the two is replaced unasked.
  await rm(at('types.txt'));
  assert.match(
    await fails(higgs(...plainly, '-o', at('types.txt'))),
    /types\.imatrix\.gguf.*give --force to replace it/,
  );
  nothingAt(at('types.txt'));
  const text = await succeeds(higgs(...plainly, '-o', at('types.txt'), '--force'));
  assert.match(text.stdout, /llama-quantize --tensor-type-file \S+types\.txt --imatrix \S+types\.imatrix\.gguf MODEL/);
});

test('plan --imatrix writes a matrix of all layers, the same each time, and plans by it', async () => {
  const input = await folder({ 'model.gguf': qwen });
  const [out, again] = [`${output()}.gguf`, `${output()}.gguf`];
  const args = [
    'plan',
    join(input, 'model.gguf'),
    '--format',
    'gguf',
    '--uniform',
    '--bpw',
    '20',
    '--json',
    '--imatrix',
  ];
  const { stdout } = await succeeds(higgs(...args, out));
  const { plan } = JSON.parse(stdout);
  assert.is(plan.isWeighted, true);
  const bytes = new Uint8Array(await readFile(out));
  const { pairs, tensors } = parseGgufHeader(bytes, out, bytes.length)!;
  assert.is(pairs.get('general.type'), 'imatrix');
  const layers = plan.tensors
    .map(({ name }: { name: string }) => name)
    .filter((name: string) => name.startsWith('blk.'));
  const wanted = layers.flatMap((name: string) => [`${name}.counts`, `${name}.in_sum2`]).sort();
  assert.equal(tensors.map(({ name }) => name).sort(), wanted);
  for (const { start, end, name } of tensors) {
    const values = new Float32Array(bytes.slice(start, end).buffer);
    assert.ok(values.every((value) => value >= 0 && Number.isFinite(value)) && values.some((value) => value > 0), name);
  }
  nothingAt(`${out}.statistics.partial`);
  await succeeds(higgs(...args, again));
  assert.equal(await readFile(again), await readFile(out));
  assert.match(
    await misuses(higgs(...args.filter((arg) => arg !== '--json'), out, '-o', out, '--force')),
    /--output and --imatrix must be two files/,
  );
});

test('plan --imatrix leaves nothing when it is interrupted, and refuses first what cannot be', async () => {
  const directory = await folder({});
  const [out, again] = ['imatrix.gguf', 'again.gguf'].map((name) => join(directory, name));
  const of = (model: string) => ['plan', model, '--format', 'gguf', '--uniform', '--bpw', '6', '--imatrix'];
  const books = await folder({});
  await cp('models/books-llama', books, { recursive: true });
  const args = of(books).filter((arg) => arg !== '--uniform');
  // The matrix takes about as long as the sensitivities, which are kept before.
  const { code, stderr } = await execute(process.execPath, [CLI, ...args, out, '--threads', '1'], async (child) => {
    while (child.exitCode === null && !existsSync(join(books, 'higgs-alphas.json'))) await pause(20);
    await pause(1500);
    child.kill('SIGINT');
  });
  assert.is(code, 130, stderr);
  assert.equal(readdirSync(directory), []);
  const input = join(await folder({ 'model.gguf': qwen }), 'model.gguf');
  const before = await readFile(input);
  assert.match(await misuses(higgs(...of(input), input, '--force')), /--imatrix must not be the input/);
  assert.match(await misuses(higgs(...of(input), again, '-o', input, '--force')), /--output must not be the input/);
  assert.equal(await readFile(input), before);
  const same = `${directory}/./again.gguf`;
  assert.match(await misuses(higgs(...of(input), again, '-o', same)), /--output and --imatrix must be two files/);
  // Nothing is measured for types that there are not.
  const measured = ['plan', input, '--format', 'gguf', '--bpw', '6', '--imatrix', again];
  assert.match(await fails(higgs(...measured, '--types', 'q9_K')), /types must be among .*: got q9_K/);
  assert.match(await fails(higgs(...measured, '--bpw', '1')), /bits per weight must be at least/);
  nothingAt(join(dirname(input), 'higgs-alphas.json'));
  assert.equal(readdirSync(directory), []);
});

test('sensitivities that another release kept are refused', async () => {
  const input = await folder({ 'model.gguf': qwen });
  const args = ['plan', join(input, 'model.gguf'), '--bpw', '6', '--group', '16'];
  await succeeds(higgs(...args));
  const kept = await readFile(join(input, 'higgs-alphas.json'), 'utf8');
  const file = await folder({ 'own.json': kept, 'old.json': kept.replace('"definition":2', '"definition":1') });
  await succeeds(higgs(...args, '--alphas', join(file, 'own.json')));
  assert.match(
    await misuses(higgs(...args, '--alphas', join(file, 'old.json'))),
    /--alphas must be sensitivities as this release defines them: .*old\.json is of another release/,
  );
});

test('sensitivities in a file of one’s own say how they define α, and a file that does not is told of', async () => {
  const path = join(await folder({ 'model.gguf': qwen }), 'model.gguf');
  const [current, old] = [`${output()}.json`, `${output()}.json`];
  await succeeds(higgs('sensitivity', path, '-o', current, '--sequences', '1', '--tokens', '8'));
  const content = await readFile(current, 'utf8');
  await writeFile(old, content.replace(',"definition":2', ''));
  const args = ['plan', path, '--bpw', '6', '--group', '16', '--alphas'];
  assert.is((await succeeds(higgs(...args, current))).stderr, '');
  const { stderr } = await succeeds(higgs(...args, old));
  assert.ok(stderr.endsWith(`${old} does not say how it defines α: embeddings and head may count otherwise\n`), stderr);
});

test('faults of a file are one line, and nothing is written', async () => {
  const whole = ggufOf(pairsOf('llama'));
  const input = await folder({
    'cut.gguf': whole.subarray(0, 100),
    'q2.gguf': ggufOf(pairsOf('llama'), [EMBEDDING, { ...EMBEDDING, name: 'blk.0.ffn_up.weight', type: 10 }]),
    'm-00001-of-00002.gguf': whole,
    'model.txt': 'text',
  });
  for (const [name, says] of Object.entries({
    'cut.gguf': /cut\.gguf: header must end within the file: the file has 100 bytes/,
    'q2.gguf': /q2\.gguf: tensor "blk\.0\.ffn_up\.weight": weights must be one of F32.*: got Q2_K/,
    'm-00001-of-00002.gguf': /m-00002-of-00002\.gguf: no such file/,
    'model.txt': /input must be a directory, a \.safetensors or a \.gguf file: this file is of another kind/,
  })) {
    const out = output();
    assert.match(await fails(quantize(join(input, name), out)), says, name);
    nothingAt(out, `${out}.partial`);
  }
  assert.match(
    await fails(higgs('inspect', input)),
    new RegExp(`${basename(input)}: folder must have one model in GGUF`),
  );
});

test.run();
