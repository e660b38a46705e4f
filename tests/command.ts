// The command line as its tests run it: build/higgs.js as a child process, on folders below a temporary one, and the
// checkpoints that several of those files need (Node and what follows it only).

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { normals } from './bits.ts';
import { readSafetensors, safetensors, type Tensor, tensorOf } from './checkpoints.ts';

/** The command line, beside the folder of the bundled tests. */
export const CLI = fileURLToPath(new URL('../higgs.js', import.meta.url));

/** The temporary folder of this file of tests; empty before they begin. */
export let root = '';

/** Gives the tests of a file a `root` of their own, and removes it after them. */
export function temporaryRoot(): void {
  test.before(async () => {
    root = await mkdtemp(join(tmpdir(), 'higgs-cli-'));
  });
  test.after(() => rm(root, { recursive: true, force: true }));
}

// --- processes

/** How a process ended, and all it wrote. */
export interface Done {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

// At most two at a time, however many are asked for.
let free = 2;
const waiting: (() => void)[] = [];
async function enter(): Promise<void> {
  if (free > 0) free--;
  else await new Promise<void>((resolve) => waiting.push(resolve));
}
function leave(): void {
  const next = waiting.shift();
  if (next) next();
  else free++;
}

/** Runs a command to its end. `during` sees the child as soon as it runs. */
export async function execute(
  command: string,
  args: readonly string[],
  during?: (child: ChildProcess) => Promise<void> | void,
): Promise<Done> {
  await enter();
  try {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    const ended = new Promise<Done>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    });
    await during?.(child);
    return await ended;
  } finally {
    leave();
  }
}

/** Runs `higgs` with these arguments. */
export function higgs(...args: string[]): Promise<Done> {
  return execute(process.execPath, [CLI, ...args]);
}

/** Quantizes with one worker, which starts sooner; `out` last. */
export function quantize(input: string, out: string, ...args: string[]): Promise<Done> {
  return higgs('quantize', input, '-o', out, '--workers', '1', ...args);
}

/** Expects exit code 0. */
export async function succeeds(run: Promise<Done>): Promise<Done> {
  const done = await run;
  assert.is(done.code, 0, `exit code ${done.code} ${done.signal}: ${done.stderr}`);
  return done;
}

/** Expects exit code 1 and one line that starts with `higgs: `. @returns the line */
export async function fails(run: Promise<Done>, code = 1): Promise<string> {
  const { code: actual, signal, stdout, stderr } = await run;
  assert.is(actual, code, `exit code ${actual} ${signal}: ${stdout}${stderr}`);
  assert.match(stderr, /^higgs: [^\n]+\n$/, 'one line');
  assert.not.match(stderr, /\bat .*[:(]\d+:|TypeError|undefined|\[object/);
  assert.is(stdout, '');
  return stderr;
}

/** Expects that none of these paths exists. */
export function nothingAt(...paths: string[]): void {
  for (const path of paths) assert.not(existsSync(path), `${basename(path)} must not be there`);
}

// --- directories

let directories = 0;
/** A new directory with these files. */
export async function folder(files: Readonly<Record<string, Uint8Array | string>> = {}): Promise<string> {
  const path = join(root, `d${directories++}`);
  await mkdir(path);
  for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), content);
  return path;
}

/** The name of an output that is not there. */
export const output = () => join(root, `out${directories++}`);

/** SHA-256 of every file, by name. */
export async function hashes(path: string): Promise<Record<string, string>> {
  const names = (await readdir(path)).sort();
  const all = await Promise.all(
    names.map(async (name) =>
      createHash('sha256')
        .update(await readFile(join(path, name)))
        .digest('hex'),
    ),
  );
  return Object.fromEntries(names.map((name, i) => [name, all[i]]));
}

/** A file of safetensors in this folder. */
export const read = (path: string, name = 'model.safetensors') => readSafetensors(readFileSync(join(path, name)));

// --- checkpoints

export const Q = 'model.layers.0.self_attn.q_proj.weight';
export const K = 'model.layers.0.self_attn.k_proj.weight';
export const EMBEDDING = 'model.embed_tokens.weight';
export const NORM = 'model.norm.weight';

// Of a checkpoint in two shards.
export const shardFile = 'model-00001-of-00002.safetensors';
export const otherFile = 'model-00002-of-00002.safetensors';
export const INDEX = 'model.safetensors.index.json';

/** A tensor of Gaussian weights, rows × cols. */
export const weight = (rows: number, cols: number, seed = 1, dtype = 'BF16') =>
  tensorOf(
    dtype,
    [rows, cols],
    normals(rows * cols, seed).map((x) => x / 16),
  );

/** 10 247 parameters: two weights to quantize, an embedding, a norm. */
export const smallTensors = (): Record<string, Tensor> => ({
  [EMBEDDING]: weight(64, 64, 1),
  [K]: weight(32, 64, 2),
  [Q]: weight(64, 64, 3),
  [NORM]: tensorOf('BF16', [7], normals(7)),
});

/** A checkpoint of `smallTensors()`: its files. */
export const smallFiles = () => ({
  'model.safetensors': safetensors(smallTensors(), { format: 'pt' }),
  'config.json': '{"model_type": "llama", "tie_word_embeddings": true}',
  'tokenizer.json': '{"version": "1.0"}',
});

let shared: Promise<{ input: string; out: string }> | undefined;
/** A small checkpoint and its quantization, for tests that only read them. */
export function small(): Promise<{ input: string; out: string }> {
  shared ??= (async () => {
    const [input, out] = [await folder(smallFiles()), output()];
    await succeeds(quantize(input, out, '--embeddings', 'p1n16', '--group', '64'));
    return { input, out };
  })();
  return shared;
}

/** The file of a checkpoint with this tensor, and more. */
export const single = (name: string, tensor: Tensor, more: Record<string, Tensor> = {}) => ({
  'model.safetensors': safetensors({ [name]: tensor, ...more }),
});
