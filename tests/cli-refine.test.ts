// higgs quantize --refine: interrupted anywhere and resumed to the same bytes, dry runs, refusals (Node and what follows it only).

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { takeLock } from '../src/disk/lock.ts';
import { uniform } from './bits.ts';
import { CLI, execute, fails, hashes, higgs, nothingAt, output, succeeds, temporaryRoot } from './command.ts';

temporaryRoot();

const BOOKS = 'models/books-llama';
const few = ['--refine-sequences', '3', '--bits', '3'];
const run = (out: string, ...args: string[]) => higgs('quantize', BOOKS, '-o', out, ...few, ...args);
const leftOf = (out: string) => [
  `${out}.statistics.partial`,
  `${out}.statistics.partial.next`,
  `${out}.statistics.partial.lock`,
  `${out}.tokens.partial`,
];

test('quantize --refine killed anywhere and resumed has the bytes of one run, by any workers', async () => {
  const whole = output();
  const began = performance.now();
  const { stdout } = await succeeds(run(whole, '--refine', '--workers', '1'));
  const lasted = performance.now() - began;
  assert.match(stdout, /gain +weighted ÷ expected/);
  assert.match(stdout, /predicted KL divergence [\d.]+ nats/);
  for (const left of leftOf(whole)) nothingAt(left);
  const expected = await hashes(whole);
  const next = uniform(7);
  const out = output();
  for (let kill = 0; kill < 10; kill++) {
    const after = next() * lasted;
    await execute(
      process.execPath,
      [CLI, 'quantize', BOOKS, '-o', out, ...few, '--refine', '--resume'],
      async (child) => {
        await new Promise((then) => setTimeout(then, after));
        child.kill('SIGKILL');
      },
    );
    if (existsSync(out)) break;
  }
  if (!existsSync(out)) await succeeds(run(out, '--refine', '--resume', '--workers', '2'));
  assert.equal(await hashes(out), expected);
  for (const left of leftOf(out).slice(1)) nothingAt(left);
});

test('quantize --refine gathers beside an output whose name ends in a slash', async () => {
  const out = output();
  await succeeds(run(`${out}/`, '--refine', 'inputs'));
  assert.ok(existsSync(`${out}/model.safetensors`));
  for (const left of leftOf(out)) nothingAt(left);
});

test('quantize --refine interrupted by Ctrl-C says what is kept, and wants --resume or --force', async () => {
  const out = output();
  const args = ['quantize', BOOKS, '-o', out, '--bits', '4', '--refine', '--refine-sequences', '40'];
  const interrupted = await execute(process.execPath, [CLI, ...args], async (child) => {
    while (child.exitCode === null && !existsSync(`${out}.tokens.partial`))
      await new Promise((then) => setTimeout(then, 2));
    child.kill('SIGINT');
  });
  assert.is(interrupted.code, 130, interrupted.stderr);
  assert.match(interrupted.stderr, /interrupted; what is gathered is kept in .*, run again with --resume to continue/);
  assert.match(await fails(higgs(...args)), /hold an interrupted run; give --resume to continue it, or --force/);
  assert.match(
    await fails(run(out, '--refine', '--resume')),
    /cannot resume .*\.tokens\.partial: it has other options or another model; give the same options, or --force/,
  );
  await succeeds(run(out, '--refine', 'inputs', '--force'));
  for (const left of leftOf(out)) nothingAt(left);
});

test('quantize --refine refuses an output for which another process gathers, and takes over what one left', async () => {
  const out = output();
  const lock = `${out}.statistics.partial.lock`;
  await (await takeLock(lock, 'gathers')).stop(); // this process runs
  assert.match(
    await fails(run(out, '--refine')),
    /\.lock.*: process \d+ gathers it; if that process is not higgs, remove/,
  );
  assert.ok(existsSync(lock));
  writeFileSync(lock, readFileSync(lock, 'utf8').replace(` ${process.pid} `, ' 999999999 '));
  await succeeds(run(out, '--refine', 'inputs'));
  nothingAt(lock);
});

test('quantize --refine --dry-run tells time and memory, and writes nothing', async () => {
  const out = output();
  const { stdout } = await succeeds(run(out, '--refine', '--dry-run'));
  assert.match(
    stdout,
    /To refine, statistics of 3 sequences of 256 tokens are gathered before: about .*, .* of memory, a file of/,
  );
  nothingAt(out);
  const { gathering } = JSON.parse((await succeeds(run(out, '--refine', 'inputs', '--dry-run', '--json'))).stdout);
  assert.equal([gathering.sequences, gathering.tokens], [3, 256]);
});

test('quantize --refine-text refines by a text, and a budget is planned by what feedback leaves', async () => {
  const [out, text] = [output(), `${output()}.txt`];
  await writeFile(text, readFileSync(`${BOOKS}/valid.txt`, 'utf8').slice(0, 20000));
  const args = ['quantize', BOOKS, '-o', out, '--refine-text', text, '--refine-sequences', '3', '--bpw', '3.06'];
  const report = JSON.parse((await succeeds(higgs(...args, '--json'))).stdout);
  assert.ok(report.bpw <= 3.06);
  assert.ok(report.predicted.delta > 0);
  const { stdout } = await succeeds(higgs('inspect', out));
  assert.match(stdout, /42 weights refined by inputs and gradients of 3 sequences of 256 tokens of a text, seed 0/);
  const { stdout: verified } = await succeeds(higgs('verify', out, '--against', BOOKS));
  assert.match(verified, /checksums hold/);
});

test('quantize refuses options that contradict refining', async () => {
  for (const [args, message] of [
    [['--refine', '--scale-search'], /--scale-search must come without --refine/],
    [['--refine', 'outputs'], /--refine/],
    [['--refine-text', 'no-such.txt'], /no-such\.txt/],
    [['--refine', '--refine-sequences', '0'], /--refine-sequences/],
    [['--refine-sequences', '5'], /--refine-sequences must come with --refine/],
    [['--refine', '--plan', 'no-such.json'], /no-such\.json/],
    [['--bits', 'toString'], /--bits/],
  ] as const) {
    const out = output();
    const { code, stderr } = await higgs('quantize', BOOKS, '-o', out, ...args);
    assert.ok(code === 1 || code === 2);
    assert.match(stderr, message);
    for (const left of leftOf(out)) nothingAt(left);
  }
});

test.run();
