// The command line on GGUF: by the file, a part of it, or the directory (Node and what follows it only).

import { readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fails, folder, hashes, higgs, nothingAt, output, quantize, succeeds, temporaryRoot } from './command.ts';
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
  const [own, original] = [await run(join(input, 'books.gguf')), await run('models/books-llama')];
  assert.ok(own.stdout.trim().length > 0);
  assert.is(own.stdout, original.stdout);
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
  const told = await succeeds(higgs('export', 'models/books-llama', '--format', 'gguf', '-o', out));
  assert.match(told.stdout, /^56 tensors, 10\.5 MB in .* s: .*\.gguf$/m);
  const run = (path: string) =>
    succeeds(higgs('generate', path, '-p', 'The natural selection of species', '-n', '8', '--temperature', '0'));
  assert.is((await run(out)).stdout, (await run('models/books-llama')).stdout);
  assert.match(
    await fails(higgs('export', 'models/books-llama', '--format', 'gguf', '-o', out)),
    /it is there already; give --force to replace it/,
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
  const { stdout } = await succeeds(higgs(...args));
  assert.match(stdout, /^Q4_K_M +4\.887 +3\.26 MB/m);
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
  assert.match(await misuses(higgs(...args.slice(0, -4), '--force')), /--bpw or --size must be given/);
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
    'cut.gguf': /cut\.gguf: header must end within the file: it has 100 bytes/,
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
