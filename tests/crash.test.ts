// Whatever operation of the file system fails, wherever the process dies or the power goes: a later run has the same bytes as one without
// interruption, old outputs are never lost, nothing lies about, and every refusal is one sentence (Node and what follows it only).

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import workerThreads, { type Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../src/cli/index.ts';
import { load } from '../src/higgs.ts';
import { uniformStream } from '../src/numerics/stream.ts';
import { createFolder, openFolder } from '../src/source/file.ts';
import { safetensors } from './checkpoints.ts';
import { smallFiles, smallTensors } from './command.ts';
import { changesFiles, type Fault, withFault } from './faulty-files.ts';
import { type Config, configs, randomFile } from './models.ts';

const test = suite('crash');
let root = '';
// Starting a worker takes longer than all else of a run: they are kept from one to the next.
const RealWorker = workerThreads.Worker;
interface Kept {
  worker: Worker;
  /** Those of its present user. */
  listeners: [event: string, listener: (data: unknown) => void][];
  /** Jobs without an answer. */
  jobs: number;
}
const idle: Kept[] = [];
class KeptWorker {
  readonly #kept: Kept;

  constructor(url: URL) {
    this.#kept = idle.pop() ?? this.#start(url);
  }
  #start(url: URL): Kept {
    const kept: Kept = { worker: new RealWorker(url), listeners: [], jobs: 0 };
    for (const event of ['message', 'error', 'exit']) {
      kept.worker.on(event, (data) => {
        if (event === 'message') kept.jobs--;
        for (const [name, listener] of kept.listeners) if (name === event) listener(data);
      });
    }
    return kept;
  }
  on(event: string, listener: (data: unknown) => void) {
    this.#kept.listeners.push([event, listener]);
  }
  postMessage(message: object, transfer: ArrayBuffer[]) {
    if ('job' in message) this.#kept.jobs++;
    this.#kept.worker.postMessage(message, transfer);
  }
  async terminate() {
    this.#kept.listeners = [];
    if (this.#kept.jobs === 0) idle.push(this.#kept);
    else await this.#kept.worker.terminate();
  }
}

test.before(() => {
  root = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'higgs-crash-')));
  Object.assign(workerThreads, { Worker: KeptWorker });
  syncBuiltinESMExports();
});
test.after(async () => {
  Object.assign(workerThreads, { Worker: RealWorker });
  syncBuiltinESMExports();
  await Promise.all(idle.map(({ worker }) => worker.terminate()));
  fs.rmSync(root, { recursive: true, force: true });
});

// --- scenarios: words of a command line that begin with `in` or `out` are paths

interface Scenario {
  /** Files by their paths. */
  files: Record<string, Uint8Array | string>;
  /** What makes the old outputs that there are before. */
  before?: string[][];
  args: string[];
  /** The old output that is to be replaced. */
  old?: string;
  /** Its reads are those of other scenarios, in which each fails: here only what changes files does. */
  onlyChanges?: boolean;
}

const config: Config = { ...configs.llama, num_hidden_layers: 1, vocab_size: 32, max_position_embeddings: 4 };
const model = { 'in/model.safetensors': randomFile(config), 'in/config.json': JSON.stringify(config) };
const small = Object.fromEntries(Object.entries(smallFiles()).map(([name, content]) => [`in/${name}`, content]));
const single = { 'in.safetensors': safetensors(smallTensors()) };
const options = ['--workers', '1', '--grid', 'p1n4'];
const quantize = ['quantize', 'in', '-o', 'out', ...options];
const quantizeFile = ['quantize', 'in.safetensors', '-o', 'out.safetensors', ...options];
const sensitivity = ['sensitivity', 'in', '-o', 'out.json', '--sequences', '3', '--threads', '1'];
const plan = ['plan', 'in', '--bpw', '4', '--uniform', '-o', 'out.json', '--plot', 'out.svg'];

const parts = (args: string[], ...more: string[]) => ['1/2', '2/2'].map((part) => [...args, ...more, '--part', part]);

const scenarios: Record<string, Scenario> = {
  quantize: { files: small, args: quantize },
  'quantize --force, to shards, over an old output': {
    files: small,
    before: [[...quantize, '--seed', '7']],
    args: [...quantize, '--max-shard-size', '6kB', '--force'],
    old: 'out',
  },
  'quantize, one file': { files: single, args: quantizeFile },
  'quantize --force, one file over an old one': {
    files: single,
    before: [[...quantizeFile, '--seed', '7']],
    args: [...quantizeFile, '--force'],
    old: 'out.safetensors',
  },
  dequantize: {
    files: small,
    before: [['quantize', 'in', '-o', 'input', ...options]],
    args: ['dequantize', 'input', '-o', 'out', '--workers', '1'],
  },
  'dequantize --force over an old output': {
    files: small,
    before: [['quantize', 'in', '-o', 'input', ...options], quantize],
    args: ['dequantize', 'input', '-o', 'out', '--workers', '1', '--force'],
    old: 'out',
  },
  sensitivity: { files: model, args: sensitivity },
  'sensitivity --force over an old file': {
    files: model,
    before: [[...sensitivity, '--seed', '7']],
    args: [...sensitivity, '--force'],
    old: 'out.json',
  },
  plan: { files: model, args: plan },
  'plan --force over old files': {
    files: model,
    before: [[...plan, '--embeddings', 'any']],
    args: [...plan, '--force'],
    old: 'out.json',
  },
  'quantize --bpw, with sensitivities that are measured and kept': {
    files: model,
    args: ['quantize', 'in', '-o', 'out', '--bpw', '3', '--group', '64', '--grids', 'p1n4,p1n16', '--workers', '1'],
    onlyChanges: true,
  },
  'quantize --part, of which nothing is kept': {
    files: small,
    args: [...quantize, '--part', '1/2'],
    onlyChanges: true,
  },
  'quantize --part --resume': { files: small, args: [...quantize, '--part', '1/2', '--resume'] },
  'quantize --part --force over an old part': {
    files: small,
    before: [[...quantize, '--part', '2/2', '--seed', '7']],
    args: [...quantize, '--part', '2/2', '--force'],
    onlyChanges: true,
  },
  'merge, to shards': { files: small, before: parts(quantize, '--max-shard-size', '6kB'), args: ['merge', 'out'] },
  'merge --force over an old output': {
    files: small,
    before: [[...quantize, '--seed', '7'], ...parts([...quantize, '--force'])],
    args: ['merge', 'out', '--force'],
    old: 'out',
    onlyChanges: true,
  },
  'sensitivity --part': { files: model, args: [...sensitivity, '--part', '1/2'], onlyChanges: true },
  'merge of sensitivities': { files: model, before: parts(sensitivity), args: ['merge', 'out.json'] },
};

// --- what must hold

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a command line in this process. */
async function command(dir: string, args: readonly string[]): Promise<Outcome> {
  const named = args.map((word) => (/^(in|input|out)(\.\w+)?$/.test(word) ? join(dir, word) : word));
  const outcome = { code: -1, stdout: '', stderr: '' };
  const streams = [process.stdout, process.stderr] as const;
  const before = streams.map(({ write, isTTY }) => ({ write, isTTY }));
  const capture = (key: 'stdout' | 'stderr') => (text: string | Uint8Array) => {
    outcome[key] += text;
    return true;
  };
  Object.assign(process.stdout, { write: capture('stdout'), isTTY: false });
  Object.assign(process.stderr, { write: capture('stderr'), isTTY: false });
  try {
    outcome.code = await run(named);
  } finally {
    for (const [i, stream] of streams.entries()) Object.assign(stream, before[i]);
  }
  return outcome;
}

async function prepare(dir: string, { files, before = [] }: Scenario): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(dirname(join(dir, name)), { recursive: true });
    fs.writeFileSync(join(dir, name), content);
  }
  for (const args of before) assert.is((await command(dir, args)).code, 0, args.join(' '));
}

/** All files below a directory, by their paths, as text of their bytes. */
function contentOf(dir: string): Record<string, string> {
  const names = fs.readdirSync(dir, { recursive: true, encoding: 'utf8' }).sort();
  const attempts: string[] = []; // at parts, which have names of chance
  return Object.fromEntries(
    names.map((name) => {
      const path = join(dir, name);
      const [attempt] = /part-\d+-of-\d+\.[0-9a-f]{8}/.exec(name) ?? [];
      if (attempt && !attempts.includes(attempt)) attempts.push(attempt);
      const shown = attempt ? name.replace(/\.[0-9a-f]{8}/, `.${attempts.indexOf(attempt)}`) : name;
      return [shown, fs.statSync(path).isDirectory() ? '' : fs.readFileSync(path, 'latin1')];
    }),
  );
}

/** The files of one output, their paths counted from it. */
function below(content: Record<string, string>, path: string): string {
  const entries = Object.entries(content).filter(([name]) => name === path || name.startsWith(`${path}/`));
  return JSON.stringify(entries.map(([name, bytes]) => [name.slice(path.length), bytes]));
}

/** A refusal is a sentence or two that a person can act on. */
function checkRefusal({ code, stdout, stderr }: Outcome, point: string): void {
  const isClean =
    /^(higgs: [^\n]+\n){1,3}$/.test(stderr) && !/\bat .*[:(]\d+:|TypeError|undefined|\[object|Died/.test(stderr);
  assert.ok((code === 1 || code === 2) && isClean && stdout === '', `${point}: exit code ${code}: ${stderr}${stdout}`);
}

/** The old output is at its name, or where it was moved, unless the new one is in its place. */
function checkOld(
  dir: string,
  old: string | undefined,
  before: Record<string, string>,
  after: Record<string, string>,
  point: string,
): void {
  if (old === undefined) return;
  const now = contentOf(dir);
  const isPlain = (name: string) => !/higgs\.(journal|lock)$/.test(name);
  const files = Object.fromEntries(Object.entries(now).filter(([name]) => isPlain(name)));
  const aside = Object.keys(now).find((name) => name.startsWith(`${old}.replaced-`) && !name.includes('/'));
  const places = [old, ...(aside === undefined ? [] : [aside])];
  const actual = places.some((place) => below(files, place) === below(before, old));
  assert.ok(actual || below(files, old) === below(after, old), `${point}: the old output is lost: ${Object.keys(now)}`);
}

/** Runs until it is done, with the options that the messages name. */
async function rerun(
  dir: string,
  args: readonly string[],
  prefers: '--resume' | '--force',
  check: (at: string) => void,
  point: string,
) {
  const said: string[] = [];
  let flags: string[] = [];
  for (let attempt = 0; attempt < 4; attempt++) {
    const outcome = await command(dir, [...args, ...flags.filter((flag) => !args.includes(flag))]);
    said.push(`${flags.join(' ')} → ${outcome.code} ${outcome.stderr}`);
    if (outcome.code === 0) return said;
    checkRefusal(outcome, `${point}, again with ${flags.join(' ')}`);
    check(`${point}, again with ${flags.join(' ')}`);
    const offered = ['--resume', '--force'].filter((flag) => outcome.stderr.includes(flag) && !flags.includes(flag));
    const next = offered.includes(prefers) ? prefers : offered[0];
    if (next === undefined) break;
    flags =
      /--resume with --force|--force with --resume/.test(outcome.stderr) && prefers === '--resume'
        ? ['--resume', '--force']
        : [next];
  }
  return assert.unreachable(`${point}: no way out:\n${said.join('\n')}`) as never;
}

/** Of those that went wrong. */
const FAULTS_SHOWN = 12;
let points = 0;
const only = process.env.ONLY; // a part of a scenario's name, to look at it alone
for (const [name, scenario] of Object.entries(scenarios)) {
  if (only && !name.includes(only)) continue;
  test(`${name}: after any fault the files are those of a run without one`, async () => {
    const base = join(root, String(Object.keys(scenarios).indexOf(name)));
    const template = join(base, 'template');
    await prepare(template, scenario);
    const before = contentOf(template);
    // Every point has the same path, and files of the same dates: an input is known by them.
    const dir = join(base, 'here');
    const reset = () => {
      fs.rmSync(dir, { recursive: true, force: true });
      fs.cpSync(template, dir, { recursive: true, preserveTimestamps: true });
    };
    reset();
    const first = { code: -1, stderr: '' };
    const operations = await withFault(dir, undefined, async () => {
      Object.assign(first, await command(dir, scenario.args));
    });
    assert.is(first.code, 0, first.stderr);
    const after = contentOf(dir);
    const faults: string[] = [];
    let isDone = false;

    for (const kind of ['fails', 'dies', 'power'] as const) {
      for (const [i, operation] of operations.entries()) {
        if ((kind !== 'fails' || scenario.onlyChanges) && !changesFiles(operation)) continue;
        const path = `${kind} at ${i + 1}, ${operation}`;
        for (const prefers of ['--resume', '--force'] as const) {
          if (prefers === '--force' && kind !== 'dies') continue;
          reset();
          points++;
          try {
            await checkPoint(path, { at: i + 1, kind, seed: i }, prefers);
          } catch (error) {
            faults.push((error as Error).message.slice(0, 1000));
          }
          // Where nothing went wrong, nothing is to be chosen.
          if (kind === 'fails' && isDone) break;
        }
      }
    }
    assert.is(faults.length, 0, `${faults.length} faults\n${faults.slice(0, FAULTS_SHOWN).join('\n')}`);

    async function checkPoint(point: string, fault: Fault, prefers: '--resume' | '--force'): Promise<void> {
      const check = (moment: string) => checkOld(dir, scenario.old, before, after, moment);
      const outcome = { code: -1, stdout: '', stderr: '' };
      await withFault(dir, fault, async () => {
        Object.assign(outcome, await command(dir, scenario.args));
      });
      isDone = fault.kind === 'fails' && outcome.code === 0;
      check(point);
      if (fault.kind === 'fails' && !isDone) checkRefusal(outcome, point);
      // Sensitivities that cannot be kept are no reason to fail, but to say so.
      const isWhole = isDone && !/, not kept: | is left: /.test(outcome.stderr);
      const said = isWhole ? [] : await rerun(dir, scenario.args, prefers, check, point);
      const actual = contentOf(dir);
      const story = `${point}\n${outcome.stderr}\n${said.join('\n')}`;
      assert.is(Object.keys(actual).join(), Object.keys(after).join(), story);
      for (const [file, bytes] of Object.entries(after)) assert.ok(actual[file] === bytes, `${file} differs: ${story}`);
    }
  });
}

// --- damage

/** Bytes that are changed of each kind of partial output. */
const SAMPLES = 110;

for (const [name, last] of [
  ['quantize', 'write out.partial/model.safetensors'],
  ['quantize --force, to shards, over an old output', 'rename out.partial'],
] as const) {
  if (only && !name.includes(only)) continue;
  test(`${name} --resume notices any byte that was changed in what a run left that died at ${last}`, async () => {
    const scenario = scenarios[name];
    const base = join(root, `damage-${last.length}`);
    const [template, dir] = [join(base, 'template'), join(base, 'here')];
    const reset = (from: string, to: string) => {
      fs.rmSync(to, { recursive: true, force: true });
      fs.cpSync(from, to, { recursive: true, preserveTimestamps: true });
    };
    await prepare(template, scenario);
    reset(template, dir);
    const operations = await withFault(dir, undefined, async () => {
      assert.is((await command(dir, scenario.args)).code, 0);
    });
    const after = contentOf(dir);
    reset(template, dir);
    const fault = { at: operations.lastIndexOf(last) + 1, kind: 'dies', seed: 0 } as const;
    assert.ok(fault.at > 0, operations.join());
    await withFault(dir, fault, async () => void (await command(dir, scenario.args)));
    const interrupted = join(base, 'interrupted');
    reset(dir, interrupted);

    // Each line of the journal, the headers, and bytes of anywhere.
    const partial = join(interrupted, 'out.partial');
    const names = fs.readdirSync(partial).filter((file) => file !== 'higgs.lock');
    const journal = fs.readFileSync(join(partial, 'higgs.journal'));
    const places: [string, number][] = [];
    for (let at = 0; at < journal.length; at = journal.indexOf(10, at) + 1) {
      for (const place of [at, at + 8, at + 12, journal.indexOf(10, at)]) places.push(['higgs.journal', place]);
    }
    const random = uniformStream(1, 2, 3, 4);
    while (places.length < SAMPLES) {
      const file = names[Math.floor(random() * names.length)];
      const { size } = fs.statSync(join(partial, file));
      if (size > 0) places.push([file, Math.floor(random() * (places.length % 3 === 0 ? Math.min(size, 1500) : size))]);
    }
    for (const [file, place] of places) {
      reset(interrupted, dir);
      const path = join(dir, 'out.partial', file);
      const bytes = fs.readFileSync(path);
      bytes[place] ^= 1 << Math.floor(random() * 8);
      fs.writeFileSync(path, bytes);
      const damage = `${file}, byte ${place}`;
      const first = await command(dir, [...scenario.args, '--resume']);
      if (first.code !== 0) {
        checkRefusal(first, damage);
        await rerun(dir, scenario.args, '--force', () => {}, damage);
      }
      const actual = contentOf(dir);
      assert.is(Object.keys(actual).join(), Object.keys(after).join(), damage);
      for (const [own, content] of Object.entries(after))
        assert.ok(actual[own] === content, `${damage}: ${own} differs`);
    }
  });
}

test('quantize --resume takes a complete output without a journal for its own, unless it is of another input or damaged', async () => {
  const scenario = scenarios.quantize;
  const dir = join(root, 'bare');
  await prepare(dir, scenario);
  await command(dir, quantize);
  const after = contentOf(join(dir, 'out'));
  fs.renameSync(join(dir, 'out'), join(dir, 'out.partial'));
  checkRefusal(await command(dir, quantize), 'plain');
  const done = await command(dir, [...quantize, '--resume']);
  assert.is(done.code, 0, done.stderr);
  assert.equal(contentOf(join(dir, 'out')), after);
  assert.not(fs.existsSync(join(dir, 'out.partial')));

  fs.renameSync(join(dir, 'out'), join(dir, 'out.partial'));
  const path = join(dir, 'out.partial/model.safetensors');
  const bytes = fs.readFileSync(path);
  bytes[bytes.length - 3000] ^= 1;
  fs.writeFileSync(path, bytes);
  const refused = await command(dir, [...quantize, '--resume']);
  checkRefusal(refused, 'damaged');
  assert.match(refused.stderr, /CRC-32/);
  assert.is((await command(dir, [...quantize, '--force'])).code, 0);
  assert.equal(contentOf(join(dir, 'out')), after);
});

test('an input that is written to while it is read is refused, and leaves no output', async () => {
  const dir = join(root, 'changed');
  await prepare(dir, { files: small, args: [] });
  const file = join(dir, 'in/model.safetensors');
  const higgs = await load();
  const touch = () => fs.utimesSync(file, new Date(), new Date(2e12));
  const says = /model\.safetensors: it was changed while it was read/;
  const failure = (work: Promise<unknown>) =>
    work.then(
      () => 'done',
      (error) => `${error.name}: ${error.message}`,
    );
  const input = await openFolder(join(dir, 'in'));
  const output = await createFolder(join(dir, 'out'));
  assert.match(await failure(higgs.quantizeCheckpoint(input, output, { onProgress: touch })), says);
  await input.close();

  const whole = await openFolder(join(dir, 'in'));
  await higgs.quantizeCheckpoint(whole, await createFolder(join(dir, 'whole')));
  for (const work of ['dequantize', 'verify'] as const) {
    const stored = await openFolder(join(dir, 'whole'));
    const options = { onProgress: () => fs.utimesSync(join(dir, 'whole/model.safetensors'), new Date(), new Date()) };
    fs.utimesSync(join(dir, 'whole/model.safetensors'), new Date(), new Date(1e12));
    const run =
      work === 'verify'
        ? higgs.verifyCheckpoint(stored, options)
        : higgs.dequantizeCheckpoint(stored, await createFolder(join(dir, work)), options);
    assert.match(await failure(run), says);
    await stored.close();
  }
  await whole.close();
});

test('the points are many', () => {
  console.log(`${points} points`);
  assert.ok(only || points >= 300, `${points}`);
});

test.run();
