// The command line as a person meets it: child processes on temporary directories (Node and what follows it only).

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { normals } from './bits.ts';
import {
  fileOf,
  indexOf,
  memoryFolder,
  rawTensor,
  readSafetensors,
  safetensors,
  type Tensor,
  tensorOf,
} from './checkpoints.ts';

const CLI = fileURLToPath(new URL('../higgs.js', import.meta.url));

let root = '';
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), 'higgs-cli-'));
});
test.after(() => rm(root, { recursive: true, force: true }));

// --- processes

interface Done {
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
async function execute(
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

function higgs(...args: string[]): Promise<Done> {
  return execute(process.execPath, [CLI, ...args]);
}

/** Quantizes with one worker, which starts sooner; `out` last. */
function quantize(input: string, out: string, ...args: string[]): Promise<Done> {
  return higgs('quantize', input, '-o', out, '--workers', '1', ...args);
}

async function succeeds(run: Promise<Done>): Promise<Done> {
  const done = await run;
  assert.is(done.code, 0, `exit code ${done.code} ${done.signal}: ${done.stderr}`);
  return done;
}

/** Expects exit code 1 and one line that starts with `higgs: `. @returns the line */
async function fails(run: Promise<Done>, code = 1): Promise<string> {
  const { code: found, signal, stdout, stderr } = await run;
  assert.is(found, code, `exit code ${found} ${signal}: ${stdout}${stderr}`);
  assert.match(stderr, /^higgs: [^\n]+\n$/, 'one line');
  assert.not.match(stderr, /\bat .*[:(]\d+:|TypeError|undefined|\[object/);
  assert.is(stdout, '');
  return stderr;
}

function nothingAt(...paths: string[]): void {
  for (const path of paths) assert.not(existsSync(path), `${basename(path)} must not be there`);
}

// --- directories

let directories = 0;
/** A new directory with these files. */
async function folder(files: Readonly<Record<string, Uint8Array | string>> = {}): Promise<string> {
  const path = join(root, `d${directories++}`);
  await mkdir(path);
  for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), content);
  return path;
}

/** The name of an output that is not there. */
const output = () => join(root, `out${directories++}`);

/** SHA-256 of every file, by name. */
async function hashes(path: string): Promise<Record<string, string>> {
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

const read = (path: string, name = 'model.safetensors') => readSafetensors(readFileSync(join(path, name)));

// --- checkpoints

const Q = 'model.layers.0.self_attn.q_proj.weight';
const K = 'model.layers.0.self_attn.k_proj.weight';
const EMBEDDING = 'model.embed_tokens.weight';
const NORM = 'model.norm.weight';

const weight = (rows: number, cols: number, seed = 1, dtype = 'BF16') =>
  tensorOf(
    dtype,
    [rows, cols],
    normals(rows * cols, seed).map((x) => x / 16),
  );

const smallTensors = (): Record<string, Tensor> => ({
  [EMBEDDING]: weight(64, 64, 1),
  [K]: weight(32, 64, 2),
  [Q]: weight(64, 64, 3),
  [NORM]: tensorOf('BF16', [7], normals(7)),
});

const smallFiles = () => ({
  'model.safetensors': safetensors(smallTensors(), { format: 'pt' }),
  'config.json': '{"model_type": "llama", "tie_word_embeddings": true}',
  'tokenizer.json': '{"version": "1.0"}',
});

let shared: Promise<{ input: string; out: string }> | undefined;
/** A small checkpoint and its quantization, for tests that only read them. */
function small(): Promise<{ input: string; out: string }> {
  shared ??= (async () => {
    const [input, out] = [await folder(smallFiles()), output()];
    await succeeds(quantize(input, out, '--embeddings', 'p1n16', '--group', '64'));
    return { input, out };
  })();
  return shared;
}

// --- malformed input

const header = (text: string, data: Uint8Array | number = 0, length?: bigint) => ({
  'model.safetensors': fileOf(text, data, length),
});
const entry = (dtype: string, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });
const single = (name: string, tensor: Tensor, more: Record<string, Tensor> = {}) => ({
  'model.safetensors': safetensors({ [name]: tensor, ...more }),
});
const without = (dtype: string, at: number, value: number) => {
  const values = Array.from(normals(4 * 64, 5));
  values[at] = value;
  return single(Q, tensorOf(dtype, [4, 64], values));
};
const shardFile = 'model-00001-of-00002.safetensors';
const otherFile = 'model-00002-of-00002.safetensors';
const INDEX = 'model.safetensors.index.json';

interface Fault {
  files: Record<string, Uint8Array | string>;
  says: RegExp;
  /** The file that the message must name; model.safetensors by default, '' for the directory. */
  file?: string;
  tensor?: string;
}

const FAULTS: Record<string, Fault> = {
  'an empty file': { files: { 'model.safetensors': '' }, says: /it is empty/ },
  '7 bytes': { files: { 'model.safetensors': '1234567' }, says: /at least the 8 bytes.*it has 7/ },
  'a header cut short': {
    files: header('{"a":', 0, 500n),
    says: /must end within the file: 500 bytes long, 5 are left/,
  },
  'a header length of 2^63': {
    files: header('{}', 0, 2n ** 63n),
    says: /at most 100000000 bytes.*9223372036854775808/,
  },
  'a header length of 2^64 - 1': { files: header('{}', 0, 2n ** 64n - 1n), says: /18446744073709551615/ },
  'a header of no bytes': { files: header('', 8), says: /header must be a JSON object: it is empty/ },
  'a header that is not JSON': { files: header('{"a" 1}'), says: /JSON/ },
  'a header that is not UTF-8': {
    files: { 'model.safetensors': fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)) },
    says: /UTF-8/,
  },
  'a header that is an array': { files: header('[]'), says: /must be a JSON object/ },
  'a header that is a string': { files: header('"{}"'), says: /must be a JSON object/ },
  'a header that is nested without end': { files: header('{"a":'.repeat(100_000)), says: /deep|nest/ },
  'an entry that is null': { files: header('{"a":null}'), says: /entry must be an object: got null/, tensor: 'a' },
  'an entry without a shape': {
    files: header('{"a":{"dtype":"F32","data_offsets":[0,0]}}'),
    says: /shape is missing/,
    tensor: 'a',
  },
  'overlapping tensors': {
    files: header(`{"a":${entry('U8', [4], [0, 4])},"b":${entry('U8', [4], [2, 6])}}`, 6),
    says: /must not overlap tensor "a"/,
    tensor: 'b',
  },
  'a hole between tensors': {
    files: header(`{"a":${entry('U8', [2], [0, 2])},"b":${entry('U8', [2], [3, 5])}}`, 5),
    says: /must leave no hole after tensor "a"/,
    tensor: 'b',
  },
  'bytes behind the last tensor': {
    files: header(`{"a":${entry('U8', [2], [0, 2])}}`, 3),
    says: /must end with tensor "a"/,
  },
  'fractional offsets': {
    files: header(`{"a":${entry('U8', [2], [0.5, 2.5])}}`, 3),
    says: /two integers/,
    tensor: 'a',
  },
  'offsets in reverse': { files: header(`{"a":${entry('U8', [2], [2, 0])}}`, 2), says: /backwards/, tensor: 'a' },
  'offsets beyond the file': {
    files: header(`{"a":${entry('U8', [9], [0, 9])}}`, 2),
    says: /within the data/,
    tensor: 'a',
  },
  'a size that is not shape × dtype': {
    files: header(`{"a":${entry('F32', [2, 3], [0, 23])}}`, 23),
    says: /must span F32 \[2,\s?3\], 24 bytes: got .* 23 bytes/,
    tensor: 'a',
  },
  'a negative shape': {
    files: header(`{"a":${entry('F32', [-2, -3], [0, 24])}}`, 24),
    says: /integers from 0.*-2/,
    tensor: 'a',
  },
  'a shape beyond all bounds': {
    files: header(`{"a":${entry('F32', [2 ** 40, 2 ** 40], [0, 24])}}`, 24),
    says: /at most 2\^53/,
    tensor: 'a',
  },
  'a tensor named twice': {
    files: header(`{"a":${entry('U8', [2], [0, 2])},"a":${entry('U8', [2], [2, 4])}}`, 4),
    says: /must not repeat a key: "a" again/,
    tensor: 'a',
  },
  'a tensor named __proto__': { files: header(`{"__proto__":${entry('U8', [2], [0, 2])}}`, 2), says: /__proto__/ },
  'metadata that is no text': { files: header('{"__metadata__":{"a":1}}'), says: /__metadata__ must map strings/ },
  'an unknown dtype of a tensor to be quantized': {
    files: single(Q, rawTensor('Q4_K', [4, 64], 144)),
    says: /dtype must be one of F32, F16, BF16, F8_E4M3 to be quantized: .*Q4_K/,
    tensor: Q,
  },
  'a name that belongs to the format': {
    files: single('higgs.grid.p2n256', rawTensor('U8', [4], 4)),
    says: /reserved/,
    tensor: 'higgs.grid.p2n256',
  },
  'NaN in F32': { files: without('F32', 3 * 64 + 63, Number.NaN), says: /finite: \[3, 63\] is NaN/, tensor: Q },
  'NaN in F16': { files: without('F16', 0, Number.NaN), says: /finite: \[0, 0\] is NaN/, tensor: Q },
  'NaN in BF16': { files: without('BF16', 70, Number.NaN), says: /finite: \[1, 6\] is NaN/, tensor: Q },
  'NaN in F8_E4M3': { files: without('F8_E4M3', 129, Number.NaN), says: /finite: \[2, 1\] is NaN/, tensor: Q },
  'Inf in F32': { files: without('F32', 1, Number.POSITIVE_INFINITY), says: /finite: \[0, 1\] is Infinity/, tensor: Q },
  'Inf in F16': {
    files: without('F16', 1, Number.NEGATIVE_INFINITY),
    says: /finite: \[0, 1\] is -Infinity/,
    tensor: Q,
  },
  'Inf in BF16': {
    files: without('BF16', 1, Number.NEGATIVE_INFINITY),
    says: /finite: \[0, 1\] is -Infinity/,
    tensor: Q,
  },
  'an RMS above f16': {
    files: single(Q, tensorOf('F32', [4, 64], new Float32Array(256).fill(1e6))),
    says: /RMS of every group must be at most 65504.*row 0/,
    tensor: Q,
  },
  'NaN in a later block of a later tensor': {
    files: single(K, weight(4, 64), {
      [Q]: (() => {
        const values = new Float32Array(1100 * 1024).fill(0.25);
        values[1099 * 1024 + 5] = Number.NaN;
        return tensorOf('BF16', [1100, 1024], values);
      })(),
    }),
    says: /finite: \[1099, 5\] is NaN/,
    tensor: Q,
  },
  'factors of the wrong shape': {
    files: single(Q, weight(4, 200, 1, 'F8_E4M3'), { [`${Q}_scale_inv`]: tensorOf('F32', [1, 1], [1]) }),
    says: /_scale_inv must be F32 or BF16 \[1, 2\]: it is F32 \[1, 1\]/,
    tensor: Q,
  },
  'factors of the wrong dtype': {
    files: single(Q, weight(4, 128, 1, 'F8_E4M3'), { [`${Q}_scale_inv`]: tensorOf('F16', [1, 1], [1]) }),
    says: /must be F32 or BF16 \[1, 1\]: it is F16/,
    tensor: Q,
  },
  'factors of another kind': {
    files: single(Q, weight(4, 128, 1, 'F8_E4M3'), { [`${Q}_scale`]: tensorOf('F32', [1], [1]) }),
    says: /F8 scales must be 128 × 128 blocks/,
    tensor: Q,
  },
  'an index that names a missing shard': {
    files: {
      [INDEX]: indexOf({ [shardFile]: [Q], [otherFile]: [K] }),
      [shardFile]: safetensors({ [Q]: weight(4, 64) }),
    },
    says: /"model-00002-of-00002.safetensors" is missing/,
    file: INDEX,
  },
  'a shard that lacks a tensor': {
    files: { [INDEX]: indexOf({ [shardFile]: [Q, K] }), [shardFile]: safetensors({ [Q]: weight(4, 64) }) },
    says: /"model-00001-of-00002.safetensors" lacks it/,
    file: INDEX,
    tensor: K,
  },
  'a tensor in two shards': {
    files: {
      [INDEX]: indexOf({ [shardFile]: [Q], [otherFile]: [K] }),
      [shardFile]: safetensors({ [Q]: weight(4, 64) }),
      [otherFile]: safetensors({ [Q]: weight(4, 64), [K]: weight(4, 64) }),
    },
    says: /in one shard only/,
    file: otherFile,
    tensor: Q,
  },
  'a shard cut short': {
    files: {
      [INDEX]: indexOf({ [shardFile]: [Q] }),
      [shardFile]: safetensors({ [Q]: weight(4, 64) }).subarray(0, -1),
    },
    says: /within the data/,
    file: shardFile,
    tensor: Q,
  },
  'an index that is not JSON': { files: { [INDEX]: '{' }, says: /JSON/, file: INDEX },
  'an index without weight_map': { files: { [INDEX]: '{}' }, says: /weight_map must be an object/, file: INDEX },
  'an index that leads elsewhere': {
    files: { [INDEX]: indexOf({ '../x.safetensors': [Q] }) },
    says: /in the same folder/,
    file: INDEX,
    tensor: Q,
  },
  'two files and no index': {
    files: { 'a.safetensors': '', 'b.safetensors': '' },
    says: /2 \*\.safetensors and no index/,
    file: '',
  },
  'no weights': { files: { 'config.json': '{}' }, says: /none is there/, file: '' },
  'weights that are not safetensors': {
    files: { 'pytorch_model.bin': '' },
    says: /not safetensors \(pytorch_model.bin\)/,
    file: '',
  },
  'a config.json that is not JSON': {
    files: { ...single(Q, weight(4, 64)), 'config.json': '{"a": ' },
    says: /must be JSON/,
    file: 'config.json',
  },
  'a config.json that is not an object': {
    files: { ...single(Q, weight(4, 64)), 'config.json': '[1]' },
    says: /must be a JSON object/,
    file: 'config.json',
  },
};

test('every malformed input: one line that names file and tensor, exit code 1, nothing written, input untouched', async () => {
  const wrong: string[] = [];
  await Promise.all(
    Object.entries(FAULTS).map(async ([what, { files, says, file = 'model.safetensors', tensor }]) => {
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
        wrong.push(`${what}: ${(error as Error).message}`);
      }
    }),
  );
  assert.is(wrong.join('\n'), '');
});

test('faults that the headers and config.json tell are found before any work: planning has them all', async () => {
  const library = await load();
  const wrong: string[] = [];
  for (const [what, { files, says }] of Object.entries(FAULTS)) {
    if (/^(NaN|Inf|an RMS)/.test(what)) continue;
    const bytes = Object.entries(files).map(([name, content]) => [name, Uint8Array.from(Buffer.from(content))]);
    const message = await library.planCheckpoint(memoryFolder(Object.fromEntries(bytes))).then(
      () => 'no error',
      (error) => String(error.message),
    );
    if (!says.test(message)) wrong.push(`${what}: ${message}`);
  }
  assert.is(wrong.join('\n'), '');
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
    ['\\"grid\\":\\"p2n256\\"', '\\"grid\\":\\"p4n256\\"', /grid must be in the checkpoint: "p4n256" is not/],
    ['\\"groupSize\\":64', '\\"groupSize\\":65', /groupSize must be a power of two/],
    ['\\"groupSize\\":64', '\\"groupSize\\":16', /shard must hold .*scales/],
    ['\\"seed\\":0', '\\"seed\\":x', /JSON/],
    ['\\"shape\\":[32,64]', '\\"shape\\":[32,65]', /shard must hold/],
    ['\\"shape\\":[32,64]', '\\"shape\\":[3,2e9]', /shard must hold|shape must be/],
    ['\\"shape\\":[32,64]', '\\"shape\\":[0,643]', /shape must be two or three positive integers/],
    ['"higgs.errors.0"', '"higgs.errorz.0"', /shard must hold higgs.errors|CRC-32 of the header/],
    ['"higgs.checksums.0"', '"higgs.checksumz.0"', /shard must hold higgs.checksums/],
    ['"higgs.grid.p2n256"', '"higgs.grid.p2n255"', /grid must be stored as F32 \[256, 2\]/],
    ['\\"p2n256\\":{\\"mse\\"', '\\"p2n256\\":{\\"msf\\"', /mse of a grid must be a number/],
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

// --- the command line itself

test('wrong command lines: exit code 2, the option named, no stack, nothing written', async () => {
  const { input } = await small();
  const out = output();
  const cases: [string[], RegExp][] = [
    [['explode'], /unknown command 'explode'/],
    [['quantize'], /missing required argument 'input'/],
    [['quantize', input], /--output must be given/],
    [['quantize', input, 'other', '-o', out], /too many arguments/],
    [['quantize', input, '-o', out, '--colour'], /unknown option '--colour'/],
    [['quantize', input, '-o', out, '--bits', '5'], /--bits.*integer from 2 to 4/],
    [['quantize', input, '-o', out, '--bits', '4', '--grid', 'p1n4'], /--grid.*cannot be used with.*--bits/],
    [['quantize', input, '-o', out, '--grid', 'p9n9'], /--grid.*p9n9.*p1n4.*p4n4096/],
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
  const verbs = [[], ['quantize'], ['inspect'], ['dequantize'], ['verify']];
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
  const row = { name: Q, grid: 'p2n256', groupSize: 64, bpw: 4.25, shape: [64, 64], dtype: 'BF16', seed: 0 };
  const has = (found: Record<string, unknown>, expected: Record<string, unknown>) => {
    for (const [key, value] of Object.entries(expected)) assert.equal(found[key], value, key);
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
    const own = report.tensors.find(({ name }: { name: string }) => name === Q);
    has(own, row);
    assert.ok(own.relativeError > 0.006 && own.relativeError < 0.009);
    assert.ok(own.gridMse > 0.0076 && own.gridMse < 0.0078);
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
      ['inspect', out],
      ['inspect', input],
      ['verify', out, '--against', input],
      ['quantize', input, '--dry-run'],
    ].map((args) => succeeds(higgs(...args))),
  );
  assert.match(inspected.stdout, /q_proj\.weight +BF16 +64 × 64 +p2n256 g64 +4\.25 +2\.18 kB +0\.00/);
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

test('a reader that goes away early, as head does, is no fault', async () => {
  const tensors = Array.from({ length: 3000 }, (_, i) => [`model.layers.${i}.norm.weight`, rawTensor('U8', [1], 1)]);
  const input = await folder({ 'model.safetensors': safetensors(Object.fromEntries(tensors)) });
  const piped = ['pipefail', `"$0" "$1" inspect "$2" | head -n 1`];
  for (const args of [
    ['inspect', input],
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
      const own = report.tensors.find((tensor: { name: string }) => tensor.name === name);
      assert.ok(Math.abs(relativeError - own.relativeError) <= 1e-3 * own.relativeError, name);
      assert.ok(relativeError < 4 * gridMse, `${name}, ${i}: ${relativeError}`);
    }
    const [stored, plain] = [read(out), read(restored)];
    assert.equal(plain.metadata, { format: 'pt' });
    const kept = Object.keys(tensors).filter((name) => !name.endsWith('_scale_inv'));
    assert.equal([...plain.tensors.keys()].sort(), kept.sort());
    for (const name of kept) {
      const { dtype, shape, bytes } = tensors[name];
      const found = plain.tensors.get(name)!;
      assert.equal(found.shape, shape);
      if (quantized.includes(name)) {
        assert.is(found.dtype, dtype === 'F8_E4M3' ? 'BF16' : dtype);
      } else {
        for (const same of [found, stored.tensors.get(name)!]) {
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

test('warnings: a weight that the transform does not make Gaussian is named, and the exit code stays 0', async () => {
  const spikes = new Float32Array(8 * 1024).map((_, i) => (i % 1024 === 5 ? 1 : 0));
  const input = await folder(single(Q, tensorOf('F32', [8, 1024], spikes)));
  const { stderr } = await succeeds(quantize(input, output(), '--grid', 'p2n256'));
  assert.match(stderr, /^higgs: warning: .*q_proj\.weight: t² is [\d.]+, [\d.]+ × the MSE of p2n256\n$/);
});

// --- which tensors

test('--include, --exclude and --embeddings choose; a tied embedding is quantized once, a head of its own as well', async () => {
  const tied = await folder(smallFiles());
  const untied = await folder(single('lm_head.weight', weight(64, 64, 9), smallTensors()));
  const chosen = async (input: string, ...args: string[]) => {
    const report = JSON.parse((await succeeds(higgs('quantize', input, '--dry-run', '--json', ...args))).stdout);
    return report.tensors.map(({ name, grid }: Record<string, string>) => `${name} ${grid}`).sort();
  };
  const [q, k, e, h] = [`${Q} p2n256`, `${K} p2n256`, `${EMBEDDING} p4n256`, 'lm_head.weight p4n256'];
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
    [[k, q], [e, k, q], [k, q], [h, e, k, q], [e, q], [q], [h, e, q], [k], [`${EMBEDDING} p2n256`], [`${Q} p2n16`]].map(
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

// --- files and directories

test('a single file becomes a single file, of any name', async () => {
  const dir = await folder({ 'some model.safetensors': safetensors(smallTensors()), 'config.json': 'not read' });
  const input = join(dir, 'some model.safetensors');
  const before = await hashes(dir);
  const out = join(dir, 'small.safetensors');
  const restored = join(dir, 'restored.safetensors');
  await succeeds(quantize(input, out, '--max-shard-size', '1kB'));
  await succeeds(higgs('verify', out, '--against', input));
  await succeeds(higgs('dequantize', out, '-o', restored));
  assert.equal(
    (await readdir(dir)).sort(),
    [...Object.keys(before), 'restored.safetensors', 'small.safetensors'].sort(),
  );
  assert.match(await fails(quantize(input, out)), /there already; give --force/);
  await succeeds(quantize(input, out, '--force', '--bits', '2'));
  assert.match((await succeeds(higgs('inspect', out))).stdout, /p2n16/);
  const asFolder = output();
  await succeeds(quantize(input, asFolder));
  assert.equal(await readdir(asFolder), ['model.safetensors']);
  for (const [name, hash] of Object.entries(before)) assert.is((await hashes(dir))[name], hash);
});

test('an existing output is refused, replaced with --force if it is a checkpoint, and kept when the run fails', async () => {
  const { input } = await small();
  const out = output();
  await succeeds(quantize(input, out));
  const first = await hashes(out);
  assert.is(
    await fails(quantize(input, out, '--bits', '2')),
    `higgs: cannot write ${out}: it is there already; give --force to replace it\n`,
  );
  assert.equal(await hashes(out), first);

  const faulty = await folder(FAULTS['NaN in BF16'].files);
  assert.match(await fails(quantize(faulty, out, '--force')), /finite/);
  assert.equal(await hashes(out), first, 'a failed run with --force leaves the old output');
  nothingAt(`${out}.partial`, `${out}.replaced`);

  await succeeds(quantize(input, out, '--bits', '2', '--force'));
  assert.not.equal(await hashes(out), first);
  nothingAt(`${out}.partial`, `${out}.replaced`);

  // An empty directory may be written to; one with other files is never replaced.
  const empty = await folder();
  await succeeds(quantize(input, empty));
  assert.equal(await hashes(empty), first);
  const home = await folder({ 'thesis.doc': 'years of work' });
  const mixed = await folder({ 'model.safetensors': '', 'thesis.doc': 'years of work' });
  const deep = await folder({ 'model.safetensors': '' });
  await mkdir(join(deep, 'below'));
  const file = join(home, 'thesis.doc');
  for (const target of [home, mixed, deep, file]) {
    assert.match(await fails(quantize(input, target, '--force')), /no checkpoint, and so never replaced/);
  }
  assert.is(readFileSync(file, 'utf8'), 'years of work');
  assert.ok(existsSync(join(mixed, 'thesis.doc')) && existsSync(join(deep, 'below')));
});

test('output equal to, inside or around the input is refused, links and dots seen through; the input is untouched', async () => {
  const parent = await folder();
  const input = join(parent, 'model');
  await mkdir(input);
  for (const [name, content] of Object.entries(smallFiles())) await writeFile(join(input, name), content);
  await symlink(input, join(parent, 'link'));
  const before = await hashes(input);
  const file = join(input, 'model.safetensors');
  const cases: [string, string, RegExp][] = [
    [input, input, /--output must not be the input/],
    [input, `${input}/`, /must not be the input/],
    [input, join(parent, 'link'), /must not be the input/],
    [join(parent, 'link'), input, /must not be the input/],
    [input, `${parent}/./model/../model`, /must not be the input/],
    [input, join(input, 'out'), /must not be inside the input/],
    [input, join(parent, 'link', 'out'), /must not be inside the input/],
    [input, parent, /must not contain the input/],
    [input, '/', /must not contain the input/],
    [file, file, /must not be the input/],
    [file, join(parent, 'link', 'model.safetensors'), /must not be the input/],
    [file, input, /must not contain the input/],
    [input, join(parent, 'x.safetensors'), /must be a directory/],
  ];
  for (const force of [[], ['--force']]) {
    await Promise.all(
      cases.map(async ([from, to, says]) => assert.match(await fails(quantize(from, to, ...force), 2), says)),
    );
  }
  const { out } = await small();
  assert.match(await fails(higgs('dequantize', out, '-o', out, '--force'), 2), /must not be the input/);
  assert.equal(await hashes(input), before);
  assert.equal((await readdir(parent)).sort(), ['link', 'model']);
});

test('an output that cannot be written (no such parent, a parent that is a file, a .partial that is a file; modes do not bind root, these do)', async () => {
  const { input, out: quantized } = await small();
  const dir = await folder({ file: 'x', 'taken.partial': 'x' });
  const cases: [string, RegExp][] = [
    [join(dir, 'file', 'out'), /cannot write .*file\/out: a part of the path is not a directory/],
    [join(dir, 'no', 'such', 'out'), /cannot write .*such\/out: no such file or directory/],
    [join(dir, 'taken'), /cannot (read|create|write) .*taken\.partial: /],
    [join(dir, `${'x'.repeat(300)}`), /name is too long/],
  ];
  const before = await hashes(dir);
  for (const [out, says] of cases) {
    assert.match(await fails(quantize(input, out)), says);
    assert.match(await fails(higgs('dequantize', quantized, '-o', out)), says);
  }
  assert.equal(await hashes(dir), before);
});

test('sharded output: --max-shard-size, an index that is right, and every verb reads it; sharded input gives the same weights', async () => {
  const tensors = smallTensors();
  const names = Object.keys(tensors);
  const part = (own: string[]) => safetensors(Object.fromEntries(own.map((name) => [name, tensors[name]])));
  const whole = await folder({ 'model.safetensors': safetensors(tensors) });
  const sharded = await folder({
    [INDEX]: indexOf({ [shardFile]: names.slice(0, 2), [otherFile]: names.slice(2) }),
    [shardFile]: part(names.slice(0, 2)),
    [otherFile]: part(names.slice(2)),
    'stray.safetensors': 'not in the index, not read',
  });
  const outs = [output(), output(), output()];
  await Promise.all([
    succeeds(quantize(whole, outs[0], '--max-shard-size', '4kB')),
    succeeds(quantize(sharded, outs[1], '--max-shard-size', '4kB')),
    succeeds(quantize(sharded, outs[2])),
  ]);
  assert.equal(await hashes(outs[1]), await hashes(outs[0]));
  const files = (await readdir(outs[0])).filter((name) => name.endsWith('.safetensors'));
  assert.ok(files.length > 2);
  const index = JSON.parse(readFileSync(join(outs[0], INDEX), 'utf8'));
  const all = files.flatMap((file) => [...read(outs[0], file).tensors.keys()].map((name) => [name, file]));
  const listed = all.filter(([name]) => !name.startsWith('higgs.padding.'));
  assert.equal(Object.entries(index.weight_map).sort(), listed.sort());
  assert.is(
    index.metadata.total_size,
    listed.reduce((sum, [name, file]) => sum + read(outs[0], file).tensors.get(name)!.bytes.length, 0),
  );
  const single = read(outs[2]);
  for (const [name, file] of listed) {
    if (/^higgs\.(errors|checksums)/.test(name)) continue;
    assert.ok(
      Buffer.compare(read(outs[0], file).tensors.get(name)!.bytes, single.tensors.get(name)!.bytes) === 0,
      name,
    );
  }
  const restored = [output(), output()];
  await Promise.all([
    succeeds(higgs('verify', outs[0], '--against', whole)),
    succeeds(higgs('verify', outs[2], '--against', sharded)),
    succeeds(higgs('inspect', outs[0])),
    succeeds(higgs('dequantize', outs[0], '-o', restored[0])),
    succeeds(higgs('dequantize', outs[2], '-o', restored[1], '--max-shard-size', '9kB')),
  ]);
  const plain = read(restored[0]).tensors;
  const back = JSON.parse(readFileSync(join(restored[1], INDEX), 'utf8')).weight_map;
  assert.equal(Object.keys(back).sort(), [...names].sort());
  for (const [name, file] of Object.entries<string>(back)) {
    assert.ok(Buffer.compare(read(restored[1], file).tensors.get(name)!.bytes, plain.get(name)!.bytes) === 0, name);
  }
});

// --- verify

test('verify detects one flipped bit wherever it is, a truncated file, another original, and swapped metadata', async () => {
  const { out } = await small();
  const file = readFileSync(join(out, 'model.safetensors'));
  const { tensors } = readSafetensors(file);
  const damaged = async (change: (bytes: Buffer) => Buffer | undefined) => {
    const copy = Buffer.from(file);
    return folder({ 'model.safetensors': change(copy) ?? copy });
  };
  const flipped = (name: string, at: number) =>
    damaged((bytes) => {
      bytes[tensors.get(name)!.start + at] ^= 16;
      return undefined;
    });
  const other = smallTensors();
  other[Q] = weight(64, 64, 77);
  const changed = smallTensors();
  changed[NORM].bytes[3] ^= 1;
  const { [K]: _, ...fewer } = smallTensors();
  const wider = { ...smallTensors(), [Q]: weight(64, 65) };
  const { [NORM]: __, ...noNorm } = smallTensors();
  const originals = [other, changed, fewer, wider, noNorm, { ...smallTensors(), extra: rawTensor('U8', [1], 1) }];
  const [wrong, normed, lacking, wide, normless, more] = await Promise.all(
    originals.map((own) => folder({ 'model.safetensors': safetensors(own) })),
  );
  const length = Number(file.readBigUInt64LE());
  const metadataChanged = (edit: (text: string) => string) =>
    damaged((bytes) => {
      const text = edit(bytes.subarray(8, 8 + length).toString());
      assert.is(Buffer.byteLength(text), length);
      bytes.write(text, 8);
      return undefined;
    });
  // p1n16 and p2n256 take the same room: every size is as it should be.
  const swapped = await metadataChanged((text) =>
    text.replace(/(\\"grid\\":\\")p1n16(.*)p2n256(\\",\\"groupSize)/, '$1p2n256$2p1n16$3'),
  );
  const reseeded = await metadataChanged((text) => text.replace('\\"seed\\":0', '\\"seed\\":1'));
  const CRC = /CRC-32(?: of the header)? must be [0-9a-f]{8}, as noted when it was written: it is [0-9a-f]{8}/;
  const cases: [string, string | undefined, RegExp, string?][] = [
    [await flipped(`${Q}.packed`, 1000), undefined, CRC, `${Q}.packed`],
    [await flipped(`${Q}.scales`, 11), undefined, CRC, `${Q}.scales`],
    [await flipped(NORM, 13), undefined, CRC, NORM],
    [await flipped('higgs.grid.p2n256', 2047), undefined, /CRC-32|finite/, 'higgs.grid.p2n256'],
    [await flipped('higgs.errors.0', 20), undefined, CRC, 'higgs.errors.0'],
    [await flipped('higgs.checksums.0', 0), undefined, CRC],
    [await damaged((bytes) => bytes.subarray(0, -1)), undefined, /within the data/],
    [await damaged((bytes) => bytes.subarray(0, 2000)), undefined, /within/],
    [await damaged((bytes) => Buffer.concat([bytes, Buffer.of(0)])), undefined, /must end with/],
    [out, wrong, /t² must be .* so this is not the original/, Q],
    [out, normed, /bytes must be those of the original, for it passed through: they differ/, NORM],
    [out, lacking, /original must be BF16 \[32, 64\]: there is none/, K],
    [out, wide, /original must be BF16 \[64, 64\]: it is BF16 \[64, 65\]/, Q],
    [out, normless, /original must be BF16 \[7\]: there is none/, NORM],
    [out, more, /tensor must be in the quantized checkpoint too: it is not/, 'extra'],
    [reseeded, undefined, /CRC-32 of the header must be/],
    [swapped, undefined, /CRC-32 of the header must be/],
  ];
  const failures: string[] = [];
  await Promise.all(
    cases.map(async ([path, against, says, tensor], i) => {
      try {
        const line = await fails(higgs('verify', path, '--workers', '1', ...(against ? ['--against', against] : [])));
        assert.match(line, says);
        if (tensor) assert.ok(line.includes(`tensor ${JSON.stringify(tensor)}`), line);
      } catch (error) {
        failures.push(`${i}, ${says}: ${(error as Error).message}`);
      }
    }),
  );
  assert.is(failures.join('\n'), '');
});

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
      const found = entriesOf(out);
      assert.ok(found >= entries, `${found} entries in the journal`);
      if (found < LARGE_TENSORS) return done;
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
  assert.is(stderr, `higgs: interrupted; what is done is kept in ${out}.partial; run again with --resume to go on\n`);
  assert.is(stdout, '');
  const before = await hashes(`${out}.partial`);
  const other = /an interrupted run had other options or another input: start again with --force/;
  assert.match(await fails(resume(input, out, '--grid', 'p1n8')), other);
  assert.match(await fails(resume(input, out, '--seed', '4')), other);
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
  assert.match(await fails(quantize(input, out, '--resume')), /other options or another input/);
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
  assert.equal(await readdir(out), ['config.json', 'model.safetensors']);
  await succeeds(higgs('verify', out, '--against', input));
  // dequantize has nothing to resume: it leaves nothing.
  const restored = output();
  const failed = await limited('dequantize', out, '-o', restored);
  assert.is(failed.code, 1);
  assert.match(failed.stderr, /^higgs: cannot write .*EFBIG\)\n$/);
  nothingAt(restored, `${restored}.partial`);
});

test.run();
