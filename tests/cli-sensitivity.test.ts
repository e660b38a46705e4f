// higgs sensitivity, on the embedded model (Node and what follows it only).

import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readStatistics } from '../src/decoder.ts';
import { readAlphas } from '../src/linearity/alphas.ts';
import { CLI, execute, fails, higgs, nothingAt, output, small, succeeds, temporaryRoot } from './command.ts';

temporaryRoot();

const BOOKS = 'models/books-llama';
const few = ['--tokens', '32', '--sequences', '4', '--draws', '1', '--threads', '1'];
const run = (out: string, ...args: string[]) => higgs('sensitivity', BOOKS, '-o', out, ...few, ...args);

test('sensitivity writes a file of all linear weights, and prints the largest', async () => {
  const out = output();
  const { stdout } = await succeeds(run(out));
  const alphas = readAlphas(readFileSync(out), out);
  assert.equal([alphas.model.name, alphas.estimator, alphas.loss], ['books-llama', 'fisher', 'kl']);
  assert.is(alphas.tensors.size, 43); // with the embeddings, which are the head too
  assert.ok([...alphas.tensors.values()].every(({ alpha, error }) => alpha > 0 && error! > 0));
  assert.match(stdout, /^tensor +α +± +share +R²\n/);
  assert.match(stdout, /\nmodel\.layers\.0\.mlp\.down_proj\.weight +0\.\d+ /);
  assert.match(stdout, /\nand 33 more \(--all\), Σα \d.*, loss is KL divergence in nats; .* written in [\d.]+ s\n$/);
  nothingAt(`${out}.partial`);
  const again = output();
  const { stdout: json } = await succeeds(run(again, '--json', '--threads', '2'));
  assert.is(json, readFileSync(out, 'utf8'));
  assert.is(json, readFileSync(again, 'utf8'));
});

test('sensitivity --source random measures on random tokens, and the file says so', async () => {
  const [sampled, random] = [output(), output()];
  await succeeds(run(sampled));
  await succeeds(run(random, '--source', 'random'));
  const actual = [sampled, random].map((out) => readAlphas(readFileSync(out), out));
  assert.equal(
    actual.map(({ settings }) => settings.source),
    ['model', 'random'],
  );
  const [a, b] = actual.map(({ tensors }) => tensors.get('model.layers.0.self_attn.q_proj.weight')!.alpha);
  assert.is.not(a, b);
  const { stdout } = await succeeds(higgs('sensitivity', BOOKS, '--dry-run', '--source', 'random'));
  assert.match(stdout, /12 sequences of 128 random tokens, 2 draws/);
});

test('sensitivity --resume goes on with an interrupted run, and the file is the same', async () => {
  const [whole, out] = [output(), output()];
  const args = ['sensitivity', BOOKS, '--tokens', '8', '--sequences', '150', '--draws', '1', '--threads', '1'];
  await succeeds(higgs(...args, '-o', whole));
  const interrupted = await execute(process.execPath, [CLI, ...args, '-o', out], async (child) => {
    while (child.exitCode === null && !existsSync(`${out}.partial`)) await new Promise((then) => setTimeout(then, 5));
    child.kill('SIGINT');
  });
  assert.is(interrupted.code, 130, interrupted.stderr);
  const kept =
    /^higgs: interrupted; what is measured is kept in (\S+)( and \S+)?; run again with --resume to continue\n$/;
  const [, first, second = ` and ${out}.partial.sequence`] = kept.exec(interrupted.stderr) ?? [];
  assert.equal([first, second], [`${out}.partial`, ` and ${out}.partial.sequence`], interrupted.stderr);
  nothingAt(out);
  const results = readFileSync(`${out}.partial`, 'utf8')
    .split('\n')
    .filter((line) => line[9] === '[');
  assert.ok(results.length < 150, `${results.length} sequences`);
  assert.match(await fails(run(out)), /holds an interrupted run; give --resume to continue it, or --force/);
  assert.match(await fails(run(out, '--resume')), /must be of the same model and settings/);
  await succeeds(higgs(...args, '-o', out, '--resume'));
  assert.is(readFileSync(out, 'utf8'), readFileSync(whole, 'utf8'));
  nothingAt(`${out}.partial`);
  nothingAt(`${out}.partial.sequence`);
});

test('sensitivity by noise of a text has perplexity, levels and R²', async () => {
  const out = output();
  const text = ['--text', `${BOOKS}/valid.txt`, '--estimator', 'noise', '--levels', '0.01,0.02'];
  const { stdout } = await succeeds(run(out, ...text, '--tokens', '8', '--sequences', '2'));
  const { loss, base, tensors } = readAlphas(readFileSync(out), out);
  assert.is(loss, 'perplexity');
  assert.ok(base! > 1);
  for (const { levels } of tensors.values())
    assert.equal(
      levels.map(({ t2 }) => t2),
      [0.01, 0.02],
    );
  assert.match(stdout, /loss is perplexity, which is \d/);
});

test('sensitivity --dry-run tells what a run would take, and writes nothing', async () => {
  const { stdout } = await succeeds(higgs('sensitivity', BOOKS, '--dry-run'));
  assert.match(
    stdout,
    /^fisher: 42 matrices of 4\.72 M weights, 12 sequences of 128 tokens from the model, 2 draws\nabout .* on \d+ threads?, .* of memory\n(the weights are read once: about [1-9]\d* s more\n)?$/,
  );
  const { stdout: json } = await succeeds(
    higgs('sensitivity', BOOKS, '--dry-run', '--json', '--estimator', 'noise', '--threads', '1'),
  );
  const cost = JSON.parse(json);
  assert.equal([cost.estimator, cost.source, cost.weights, cost.threads], ['noise', 'model', 4718592, 1]);
  assert.ok(cost.seconds > 0 && cost.readSeconds > 0 && cost.copySeconds === 0);
});

test('sensitivity refuses existing files, quantized checkpoints and missing texts', async () => {
  const out = output();
  await writeFile(out, 'mine');
  assert.match(await fails(run(out)), /it already exists; give --force to replace it/);
  assert.is(readFileSync(out, 'utf8'), 'mine');
  assert.match(await fails(run(output(), '--text', 'no-such.txt')), /cannot read no-such\.txt/);
  const { out: quantized } = await small();
  const refused = fails(higgs('sensitivity', quantized, '-o', output()));
  assert.match(await refused, /^higgs: /);
  const cases: [string[], RegExp][] = [
    [[BOOKS], /--output must be given, or --dry-run/],
    [[BOOKS, '-o', out, '--levels', '0.1'], /--levels must come with --estimator noise/],
    [[BOOKS, '-o', out, '--levels', 'a'], /--levels/],
    [[BOOKS, '-o', out, '--source', 'books'], /--source/],
    [[BOOKS, '-o', out, '--source', 'random', '--text', `${BOOKS}/valid.txt`], /--source must come without --text/],
    [[BOOKS, '-o', out, '--estimator', 'hessian'], /--estimator/],
    [[BOOKS, '-o', out, '--tokens', '1'], /--tokens/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr, stdout } = await higgs('sensitivity', ...args);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.is(stdout, '');
  }
});

const gathering = ['--tokens', '16', '--sequences', '3', '--draws', '1'];

test('sensitivity --statistics writes statistics too; sensitivities are the same', async () => {
  const [alone, out, stats, inputs] = [output(), output(), output(), output()];
  await succeeds(higgs('sensitivity', BOOKS, '-o', alone, ...gathering));
  const { stdout } = await succeeds(higgs('sensitivity', BOOKS, '-o', out, ...gathering, '--statistics', stats));
  assert.is(readFileSync(out, 'utf8'), readFileSync(alone, 'utf8'));
  assert.match(stdout, /\n.*: statistics, [\d.]+ MB\n$/);
  const { about, weights, inputs: read } = await readStatistics(bytesOf(stats), stats);
  assert.equal(
    [about.mode, about.source, about.tokens, about.sequences, about.groupSize],
    ['both', 'model', 16, 3, 1024],
  );
  assert.is(weights.size, 42);
  assert.equal((await read('model.layers.0.self_attn.q_proj.weight'))[0].length, 256 * 256);
  const args = ['--statistics', inputs, '--statistics-mode', 'inputs', '--group', '256'];
  await succeeds(higgs('sensitivity', BOOKS, ...gathering, ...args));
  const statistics = await readStatistics(bytesOf(inputs), inputs);
  assert.equal(statistics.weights.get('model.layers.0.mlp.down_proj.weight')!.parts, [256, 256, 256]);
  for (const file of [out, stats, inputs]) {
    for (const left of ['.partial', '.partial.next', '.tokens.partial']) nothingAt(file + left);
  }
  const { stdout: cost } = await succeeds(
    higgs('sensitivity', BOOKS, '--dry-run', ...gathering, '--statistics', stats),
  );
  const [, size] = /statistics: a file of ([\d.]+ MB)\n$/.exec(cost)!;
  assert.match(stdout, new RegExp(`: statistics, ${size.replace('.', '\\.')}\n$`));
});

test('sensitivity --statistics refuses what would be lost, and options that contradict each other', async () => {
  const [out, stats] = [output(), output()];
  await writeFile(stats, 'mine');
  const args = ['-o', out, ...gathering, '--statistics', stats];
  assert.match(await fails(higgs('sensitivity', BOOKS, ...args)), /it already exists; give --force to replace it/);
  assert.is(readFileSync(stats, 'utf8'), 'mine');
  await succeeds(higgs('sensitivity', BOOKS, ...args, '--force'));
  await writeFile(`${stats}.partial`, 'an interrupted run');
  assert.match(
    await fails(higgs('sensitivity', BOOKS, ...args)),
    /holds an interrupted run; give --resume with --force/,
  );
  assert.match(await fails(higgs('sensitivity', BOOKS, ...args, '--force', '--resume')), /header/);
  await succeeds(higgs('sensitivity', BOOKS, ...args, '--force'));
  nothingAt(`${stats}.partial`);
  for (const [given, message] of [
    [['-o', out, '--statistics-mode', 'both'], /--statistics-mode and --group must come with --statistics/],
    [['-o', out, '--group', '64'], /--statistics-mode and --group must come with --statistics/],
    [['-o', out, '--statistics', stats, '--estimator', 'noise'], /--statistics must come with --estimator fisher/],
    [
      ['-o', out, '--statistics', stats, '--statistics-mode', 'inputs'],
      /--output must come without --statistics-mode inputs/,
    ],
    [['--statistics', stats], /--output must be given, or --dry-run/],
  ] as const) {
    assert.match((await higgs('sensitivity', BOOKS, ...given)).stderr, message);
  }
});

test('sensitivity --statistics --resume goes on with an interrupted run, and both files are the same', async () => {
  const [whole, out] = [output(), output()];
  const [wholeStats, stats] = [`${whole}.safetensors`, `${out}.safetensors`];
  const args = ['sensitivity', BOOKS, '--tokens', '8', '--sequences', '40', '--draws', '1', '--threads', '1'];
  await succeeds(higgs(...args, '-o', whole, '--statistics', wholeStats));
  const interrupted = await execute(
    process.execPath,
    [CLI, ...args, '-o', out, '--statistics', stats],
    async (child) => {
      while (child.exitCode === null && !existsSync(`${stats}.partial.next`))
        await new Promise((then) => setTimeout(then, 2));
      child.kill('SIGINT');
    },
  );
  assert.is(interrupted.code, 130, interrupted.stderr);
  assert.match(interrupted.stderr, /interrupted; what is measured is kept in .*; run again with --resume to continue/);
  for (const file of [out, stats, `${stats}.partial.next`]) nothingAt(file);
  await succeeds(higgs(...args, '-o', out, '--statistics', stats, '--resume'));
  assert.is(readFileSync(out, 'utf8'), readFileSync(whole, 'utf8'));
  assert.ok(readFileSync(stats).equals(readFileSync(wholeStats)));
  for (const file of [out, stats]) nothingAt(`${file}.partial`);
});

// A buffer of its own: what is read may be a part of another.
function bytesOf(file: string): ArrayBuffer {
  return new Uint8Array(readFileSync(file)).buffer;
}

test.run();
