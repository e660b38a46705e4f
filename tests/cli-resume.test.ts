// The command line interrupted: kill -9, Ctrl-C, a full disk, and --resume to the same bytes as one run by one worker
// (Node and what follows it only).

import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { normals, uniform } from './bits.ts';
import { indexOf, safetensors, type Tensor, tensorOf } from './checkpoints.ts';
import {
  CLI,
  type Done,
  execute,
  fails,
  folder,
  hashes,
  higgs,
  INDEX,
  NORM,
  nothingAt,
  otherFile,
  output,
  Q,
  quantize,
  shardFile,
  small,
  succeeds,
  temporaryRoot,
  weight,
} from './command.ts';

temporaryRoot();

// --- interruptions: 42 M weights in two shards, written to several

interface Large {
  input: string;
  /** Of the input, and of the output of a run without interruption. */
  inputHashes: Record<string, string>;
  outputHashes: Record<string, string>;
}
const LARGE_OPTIONS = ['--grid', 'p1n16', '--max-shard-size', '6MB', '--seed', '3'];
const LARGE_TENSORS = 20;

let largeCheckpoint: Promise<Large> | undefined;
function large(): Promise<Large> {
  largeCheckpoint ??= (async () => {
    const tensors = Array.from({ length: LARGE_TENSORS }, (_, i): [string, Tensor] => {
      const words = new Uint32Array(1024 * 1024);
      let state = i + 1;
      for (let k = 0; k < words.length; k++) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        words[k] = (state & 0x80ff80ff) | 0x3c003c00; // two bf16 of either sign and from 2^-7 to 2^-5
      }
      const bytes = new Uint8Array(words.buffer);
      return [`model.layers.${i}.mlp.up_proj.weight`, { dtype: 'BF16', shape: [1024, 2048], bytes }];
    });
    const halves = [tensors.slice(0, LARGE_TENSORS / 2), tensors.slice(LARGE_TENSORS / 2)];
    const input = await folder({
      [INDEX]: indexOf({ [shardFile]: halves[0].map(([name]) => name), [otherFile]: halves[1].map(([name]) => name) }),
      [shardFile]: safetensors(Object.fromEntries(halves[0])),
      [otherFile]: safetensors({ ...Object.fromEntries(halves[1]), [NORM]: tensorOf('BF16', [7], normals(7)) }),
      'config.json': '{}',
    });
    const out = output();
    await succeeds(higgs('quantize', input, '-o', out, '--workers', '2', ...LARGE_OPTIONS));
    return { input, inputHashes: await hashes(input), outputHashes: await hashes(out) };
  })();
  return largeCheckpoint;
}

// Entries of the journal of a run that is under way: a line each, after the first.
function entriesOf(out: string): number {
  try {
    return readFileSync(join(`${out}.partial`, 'higgs.journal'), 'utf8').split('\n').length - 2;
  } catch {
    return 0;
  }
}

/** Starts a run and ends it by `signal` once its journal has `entries`; again, if it was too late. */
async function interrupt(input: string, out: string, signal: NodeJS.Signals, entries: number): Promise<Done> {
  for (let attempt = 0; attempt < 5; attempt++) {
    await rm(out, { recursive: true, force: true });
    await rm(`${out}.partial`, { recursive: true, force: true });
    const args = [CLI, 'quantize', input, '-o', out, '--workers', '2', ...LARGE_OPTIONS];
    const done = await execute(process.execPath, args, async (child) => {
      while (child.exitCode === null && entriesOf(out) < entries)
        await new Promise((resolve) => setTimeout(resolve, 2));
      child.kill(signal);
    });
    const interrupted = signal === 'SIGKILL' ? done.signal === signal : done.code !== 0;
    if (interrupted && !existsSync(out)) {
      const actual = entriesOf(out);
      assert.ok(actual >= entries, `${actual} entries in the journal`);
      if (actual < LARGE_TENSORS) return done;
    }
  }
  return assert.unreachable('five runs ended before they could be interrupted') as never;
}

const resume = (input: string, out: string, ...args: string[]) =>
  higgs('quantize', input, '-o', out, '--workers', '2', ...LARGE_OPTIONS, '--resume', ...args);

test('the same bytes from one worker, from two, and twice in a row', async () => {
  const { input, outputHashes } = await large();
  const files = Object.keys(outputHashes);
  assert.ok(files.length > 4 && files.includes(INDEX), `${files}`);
  const [one, two] = [output(), output()];
  await Promise.all([
    succeeds(higgs('quantize', input, '-o', one, '--workers', '1', ...LARGE_OPTIONS)),
    succeeds(higgs('quantize', input, '-o', two, '--workers', '2', ...LARGE_OPTIONS)),
  ]);
  assert.equal(await hashes(one), outputHashes);
  assert.equal(await hashes(two), outputHashes);
});

test('kill -9 in the middle, then --resume: the same bytes as without', async () => {
  const { input, inputHashes, outputHashes } = await large();
  for (const entries of [2, 9]) {
    const out = output();
    await interrupt(input, out, 'SIGKILL', entries);
    assert.match(
      await fails(higgs('quantize', input, '-o', out, ...LARGE_OPTIONS)),
      /holds an interrupted run; give --resume .*--force/,
    );
    await succeeds(resume(input, out));
    assert.equal(await hashes(out), outputHashes);
    nothingAt(`${out}.partial`);
  }
  assert.equal(await hashes(input), inputHashes);
});

test('twenty times kill -9 at a moment of chance, then --resume or --force: the same bytes, and nothing beside them', async () => {
  const { input } = await small();
  const [wanted, parent] = [output(), await folder()];
  const args = ['--workers', '1', '--max-shard-size', '6kB', '--grid', 'p1n16'];
  await succeeds(higgs('quantize', input, '-o', wanted, ...args));
  const out = join(parent, 'out');
  const next = uniform(20);
  for (let kill = 0; kill < 20; kill++) {
    const flags = kill % 4 === 3 ? ['--force'] : ['--resume', '--force'];
    // An old output is there in every other round.
    await execute(process.execPath, [CLI, 'quantize', input, '-o', out, ...args, ...flags], async (child) => {
      await new Promise((resolve) => setTimeout(resolve, 60 + 200 * next()));
      child.kill('SIGKILL');
    });
    if (kill % 2 === 0) continue;
    await succeeds(higgs('quantize', input, '-o', out, ...args, ...flags));
    assert.equal(await hashes(out), await hashes(wanted), `kill ${kill}`);
    assert.equal(await readdir(parent), ['out'], `kill ${kill}`);
  }
});

test('--resume does not trust what it finds: a torn journal, damaged and shortened files are written again', async () => {
  const { input, outputHashes } = await large();
  const first = output();
  await interrupt(input, first, 'SIGKILL', 6);
  const partial = `${first}.partial`;
  const journal = readFileSync(join(partial, 'higgs.journal'), 'utf8').split('\n');
  const shard = (await readdir(partial)).filter((name) => name.endsWith('.safetensors')).sort()[0];
  const data = readFileSync(join(partial, shard));
  const flipped = Buffer.from(data);
  flipped[data.length - 100_000] ^= 1;
  const damage: Record<string, Uint8Array | string>[] = [
    { 'higgs.journal': `${journal.slice(0, 4).join('\n')}\n${journal[4].slice(0, 9)}` },
    { [shard]: flipped },
    { [shard]: data.subarray(0, data.length / 2) },
    { 'higgs.journal': '' },
  ];
  await Promise.all(
    damage.map(async (files) => {
      const out = output();
      await cp(partial, `${out}.partial`, { recursive: true });
      for (const [name, content] of Object.entries(files)) await writeFile(join(`${out}.partial`, name), content);
      await succeeds(resume(input, out));
      assert.equal(await hashes(out), outputHashes, Object.keys(files)[0]);
    }),
  );
});

test('Ctrl-C: exit code 130, a line that tells of --resume; other options are refused, then the same go on', async () => {
  const { input, outputHashes } = await large();
  const out = output();
  const { code, stderr, stdout } = await interrupt(input, out, 'SIGINT', 1);
  assert.is(code, 130);
  assert.is(
    stderr,
    `higgs: interrupted; what is done is kept in ${out}.partial; run again with --resume to continue\n`,
  );
  assert.is(stdout, '');
  const before = await hashes(`${out}.partial`);
  const other = /an interrupted run had other options or another input: start again with --force/;
  assert.match(await fails(resume(input, out, '--grid', 'p1n8')), other);
  assert.match(await fails(resume(input, out, '--seed', '4')), other);
  assert.match(await fails(resume(input, out, '--scale-search')), other);
  assert.match(await fails(resume(input, out, '--exclude', 'layers.3')), other);
  const { input: another } = await small();
  assert.match(await fails(resume(another, out)), other);
  assert.equal(await hashes(`${out}.partial`), before, 'what is done is kept');
  await succeeds(resume(input, out));
  assert.equal(await hashes(out), outputHashes);
});

test('--force starts an interrupted run anew, --resume without one just runs, a .partial with other files stays', async () => {
  const { input } = await small();
  const [out, fresh] = [output(), output()];
  await mkdir(`${out}.partial`);
  await writeFile(join(`${out}.partial`, 'higgs.journal'), '{"identity":"?","layout":1}\n');
  assert.match(await fails(quantize(input, out)), /give --resume .* or --force/);
  assert.match(
    await fails(quantize(input, out, '--resume')),
    /begin with a line whose seal holds.*start again with --force/,
  );
  await succeeds(quantize(input, out, '--force'));
  await succeeds(quantize(input, fresh, '--resume'));
  assert.equal(await hashes(out), await hashes(fresh));
  const foreign = output();
  await mkdir(`${foreign}.partial`);
  await writeFile(join(`${foreign}.partial`, 'thesis.doc'), 'years of work');
  await fails(quantize(input, foreign));
  assert.match(await fails(quantize(input, foreign, '--force')), /files that higgs did not write/);
  assert.equal(await readdir(`${foreign}.partial`), ['thesis.doc']);
});

test('--resume tells a file from another one that its link points to meanwhile', async () => {
  const blob = (seed: number) => safetensors({ [Q]: weight(1024, 256, seed) });
  const place = await folder({ aaa: blob(1), bbb: blob(2) });
  const [link, out] = [join(place, 'model.safetensors'), join(place, 'out.safetensors')];
  await symlink(join(place, 'aaa'), link);
  const limited = await execute('sh', [
    '-c',
    `ulimit -f 100; exec "$@"`,
    'sh',
    process.execPath,
    CLI,
    'quantize',
    link,
    '-o',
    out,
  ]);
  assert.match(limited.stderr, /run again with --resume/);
  await rm(link);
  await symlink(join(place, 'bbb'), link);
  assert.match(await fails(quantize(link, out, '--resume')), /had other options or another input/);
  await succeeds(quantize(link, out, '--force'));
  await succeeds(higgs('verify', out, '--against', link));
});

test('a full disk (a limit on file sizes, which binds root too): a clear error, the input untouched, and --resume goes on', async () => {
  const { input, inputHashes } = await large();
  const out = output();
  const options = ['--grid', 'p1n16', '--max-shard-size', '60MB'];
  // 6000 blocks are 3 MB, or 6 MB where the shell counts in 1024 bytes; the output has 21 MB.
  const limited = (...args: string[]) =>
    execute('sh', ['-c', 'ulimit -f 6000; exec "$@"', 'sh', process.execPath, CLI, ...args]);
  const { code, stderr, stdout } = await limited('quantize', input, '-o', out, ...options);
  assert.is(code, 1, stderr);
  assert.is(stdout, '');
  const file = join(`${out}.partial`, 'model.safetensors');
  assert.ok(stderr.includes(`cannot write ${file}: too large for the file system (EFBIG)`), stderr);
  assert.match(stderr, /run again with --resume/);
  assert.ok(stderr.trimEnd().split('\n').length <= 2 && !/\n {4}at /.test(stderr), stderr);
  nothingAt(out);
  assert.equal(await hashes(input), inputHashes);
  await succeeds(higgs('quantize', input, '-o', out, ...options, '--resume'));
  assert.equal(await readdir(out), ['README.md', 'config.json', 'model.safetensors']);
  await succeeds(higgs('verify', out, '--against', input));
  // dequantize has nothing to resume: it leaves nothing.
  const restored = output();
  const failed = await limited('dequantize', out, '-o', restored);
  assert.is(failed.code, 1);
  assert.match(failed.stderr, /^higgs: cannot write .*EFBIG\)\n$/);
  nothingAt(restored, `${restored}.partial`);
});

test.run();
