// Sensitivities that the library keeps in a store, and budgets that measure them when they are wanted.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type Folder,
  type KeptNews,
  load,
  priorAlphas,
  readAlphas,
  type SensitivityOptions,
  type Store,
  uniformAlphas,
  writeAlphas,
} from '../src/index.ts';
import { digestOf, sha256Text } from '../src/sensitivity/digest.ts';
import { memoryFolder, memoryOutput } from './checkpoints.ts';
import { type Config, configs, randomFile } from './models.ts';

const higgs = await load();
const NAME = 'higgs-alphas.json';
const UNFINISHED = `${NAME}.partial`;
const config: Config = { ...configs.llama, num_hidden_layers: 1, vocab_size: 32, max_position_embeddings: 8 };
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const budget = { bpw: 4.5, groupSize: 64 };

function model(changes: Record<string, Uint8Array> = {}): Folder {
  return memoryFolder({ 'model.safetensors': randomFile(config), 'config.json': json(config), ...changes });
}

/** A store in memory, and how often each of its files was written. */
function memoryStore(faults: Partial<Store> = {}) {
  const files = new Map<string, string>();
  const writes: string[] = [];
  const store: Store = {
    name: 'memory',
    read: async (name) => files.get(name),
    write: async (name, content) => {
      writes.push(name);
      files.set(name, content);
    },
    remove: async (name) => void files.delete(name),
    ...faults,
  };
  return { store, files, writes };
}

/** What a call tells of what is kept, a word each. */
function news() {
  const reported: KeptNews[] = [];
  const words = () => reported.map((each) => (each.kind === 'not used' ? `${each.kind}: ${each.reason}` : each.kind));
  return { told: reported, words, onKept: (each: KeptNews) => void reported.push(each) };
}

async function wordsOf(folder: Folder, store: Store, options: SensitivityOptions = {}): Promise<string> {
  const { onKept, words } = news();
  await (await higgs.open(folder)).sensitivity({ store, onKept, ...options });
  return words().join();
}

async function rejects(promise: Promise<unknown>, pattern: RegExp, name = 'RangeError'): Promise<void> {
  const error = await promise.then(
    () => assert.unreachable(`it went on, and not: ${pattern}`) as never,
    (reason: Error) => reason,
  );
  assert.match(error.message, pattern);
  assert.is(error.name, name);
}

const filesOf = async (folder: Folder) => {
  const names = await folder.list();
  return Promise.all(
    names.map(async (name) => {
      const source = await folder.open(name);
      return [name, [...new Uint8Array(await source.slice(0, source.byteLength))].join()];
    }),
  );
};

test('quantize() for a budget measures sensitivities, or takes them, or what makes them', async () => {
  const checkpoint = await higgs.open(model());
  const [measured, given, copied, planned] = [memoryOutput(), memoryOutput(), memoryOutput(), memoryOutput()];
  const report = await checkpoint.quantize(measured, budget);
  const alphas = await checkpoint.sensitivity();
  await checkpoint.quantize(given, { ...budget, alphas });
  const names: string[][] = [];
  const maker = async (tensors: readonly { name: string }[]) => {
    names.push(tensors.map(({ name }) => name));
    return alphas;
  };
  await checkpoint.quantize(copied, { ...budget, alphas: maker });
  const bits = await checkpoint.planBits(undefined, budget);
  await checkpoint.quantize(planned, { plan: bits });
  for (const other of [given, copied, planned]) {
    assert.equal(await filesOf(other.folder()), await filesOf(measured.folder()));
  }
  assert.equal(names, [report.tensors.map(({ name }) => name)]);
  assert.is(report.predicted!.loss, 'kl');
  assert.ok(report.bpw <= budget.bpw && report.bpw > 4, String(report.bpw));
  assert.equal(await checkpoint.planBits(alphas, budget), bits);

  const byPrior = await checkpoint.quantize(memoryOutput(), { ...budget, alphas: priorAlphas });
  assert.is(byPrior.predicted!.estimator, 'prior');
  const size = Math.floor((report.bytesOut + byPrior.bytesOut) / 2);
  const small = await checkpoint.plan({ size, groupSize: 64, alphas: uniformAlphas });
  assert.ok(small.bytesOut <= size);
  const again = memoryOutput();
  const run = await checkpoint.quantize(again, {
    ...budget,
    alphas,
    planned: await checkpoint.plan({ ...budget, alphas }),
  });
  assert.equal(await filesOf(again.folder()), await filesOf(measured.folder()));
  assert.equal(run.predicted, report.predicted);
});

test('sensitivities are measured once, then those that are kept are used', async () => {
  const { store, files, writes } = memoryStore();
  const checkpoint = await higgs.open(model());
  const [first, second] = [news(), news()];
  const outputs = [memoryOutput(), memoryOutput(), memoryOutput()];
  assert.is(await checkpoint.keptSensitivity({ store }), undefined);
  await checkpoint.quantize(outputs[0], { ...budget, sensitivity: { store, onKept: first.onKept } });
  assert.is(first.words().join(), 'measured');
  assert.equal([...files.keys()], [NAME]);
  assert.is(writes.at(-1), NAME);
  assert.is(writes[0], UNFINISHED);

  const count = writes.length;
  let started = 0;
  const threads = () => {
    started++;
    throw new Error('nothing is measured');
  };
  await checkpoint.quantize(outputs[1], { ...budget, sensitivity: { store, threads, onKept: second.onKept } });
  assert.is(second.words().join(), 'used');
  assert.equal([started, writes.length], [0, count]);
  await checkpoint.quantize(outputs[2], budget);
  for (const output of outputs) assert.equal(await filesOf(output.folder()), await filesOf(outputs[0].folder()));

  const [report] = first.told;
  assert.ok(
    report.kind === 'measured' && report.isKept && report.fault === undefined && report.file === `memory/${NAME}`,
  );
  const kept = (await checkpoint.keptSensitivity({ store }))!;
  assert.is(writeAlphas(kept), files.get(NAME));
  assert.is(writeAlphas({ ...kept, settings: report.alphas.settings }), writeAlphas(report.alphas));
  assert.is(await wordsOf(model(), store, { sequences: 2 }), 'not used: settings,measured');
  assert.is(await wordsOf(model(), store, { sequences: 2 }), 'used');
  assert.is(await checkpoint.keptSensitivity({ store }), undefined);
  await rejects(checkpoint.sensitivity({ store, sequences: 3, threads }), /^nothing is measured$/, 'Error');
});

test('what is kept of other weights, another configuration or other ends of text, or is damaged, is measured again', async () => {
  const { store, files } = memoryStore();
  assert.is(await wordsOf(model(), store), 'measured');
  const whole = files.get(NAME)!;
  const edits: [Folder, string, string][] = [
    [model({ 'model.safetensors': randomFile(config, undefined, 2) }), whole, 'weights'],
    [model({ 'config.json': json({ ...config, rms_norm_eps: 0.01 }) }), whole, 'weights'],
    [model({ 'generation_config.json': json({ eos_token_id: 3 }) }), whole, 'weights'],
    [model({ 'more.safetensors': new Uint8Array() }), whole, 'weights'],
    [model(), whole.slice(0, 500), 'damaged'],
    [model(), whole.replace(/"alpha":\d/, (text) => `"alpha":${(Number(text.at(-1)) + 1) % 10}`), 'damaged'],
    [model(), whole.replace('"content"', '"contenu"'), 'damaged'],
    [model(), `${whole}\n`, 'damaged'],
  ];
  for (const [folder, content, reason] of edits) {
    files.set(NAME, content);
    assert.is(await wordsOf(folder, store), `not used: ${reason},measured`, reason);
    assert.is(await wordsOf(folder, store), 'used');
  }
  assert.is(files.get(NAME), whole);
  files.set(NAME, whole);
  assert.is(await wordsOf(model({ 'README.md': json('other files do not count') }), store), 'used');
});

test("somebody's own file is left as it is, and so is one that cannot be read", async () => {
  const { store, files, writes } = memoryStore();
  const alphas = await (await higgs.open(model())).sensitivity();
  const settings = [
    [writeAlphas({ ...alphas, settings: { tokens: 7 } }), 'own'],
    ['{"a": 1}', 'unreadable'],
    ['{"higgs.alphas": 2}', 'unreadable'],
  ];
  for (const [content, reason] of settings) {
    files.set(NAME, content);
    const { onKept, told, words } = news();
    await (await higgs.open(model())).sensitivity({ store, onKept });
    assert.is(words().join(), `not used: ${reason},measured`);
    assert.ok(told[1].kind === 'measured' && !told[1].isKept && told[1].fault === undefined);
    assert.is(files.get(NAME), content);
  }
  assert.equal(writes, []);
  const broken = memoryStore({ read: () => Promise.reject(new Error('cannot read memory')) });
  const { onKept, told } = news();
  await (await higgs.open(model())).sensitivity({ store: broken.store, onKept });
  assert.ok(told[0].kind === 'not used' && told[0].message === 'cannot read memory');
  assert.equal(broken.writes, []);
});

test('where they cannot be kept, that is told, and they are used all the same', async () => {
  const { onKept, told } = news();
  const full = memoryStore({ write: () => Promise.reject(new Error('memory is full')) });
  const checkpoint = await higgs.open(model());
  const alphas = await checkpoint.sensitivity({ store: full.store, onKept });
  assert.ok(told[0].kind === 'measured' && !told[0].isKept && told[0].fault === 'memory is full');
  assert.is(writeAlphas(alphas), writeAlphas(await checkpoint.sensitivity()));

  const stuck = memoryStore({ remove: () => Promise.reject(new Error('memory is stuck')) });
  const other = news();
  await checkpoint.sensitivity({ store: stuck.store, onKept: other.onKept });
  assert.is(other.words().join(), 'left,measured');
  assert.is(await wordsOf(model(), stuck.store), 'used');
});

test('an interrupted measurement is gone on with, unless what it left is of another run or damaged', async () => {
  const whole = memoryStore();
  await wordsOf(model(), whole.store);
  const { store, files } = memoryStore();
  const checkpoint = await higgs.open(model());
  const abort = new AbortController();
  let most = 0;
  const onProgress = ({ done, total }: { done: number; total: number }) => {
    most = total;
    if (done > 0.6 * total) abort.abort(new Error('stopped'));
  };
  const options = { ...budget, sensitivity: { store, onProgress } };
  await rejects(checkpoint.quantize(memoryOutput(), { ...options, signal: abort.signal }), /^stopped$/, 'Error');
  const left = files.get(UNFINISHED)!;
  assert.not(files.has(NAME));
  const results = left.split('\n').filter((line) => line[9] === '[');
  assert.ok(results.length > 0 && results.length < 12, `${results.length} sequences`);

  const steps: number[] = [];
  await checkpoint.sensitivity({ store, onProgress: ({ done }) => steps.push(done) });
  assert.ok(steps[0] > 0.4 * most, `it begins at ${steps[0]} of ${most}`);
  assert.equal([...files], [...whole.files]);
  for (const other of [left.slice(0, 300), left.replace('crc32 ', 'crc32 0'), 'something else']) {
    files.clear();
    files.set(UNFINISHED, other);
    assert.is(await wordsOf(model(), store), 'measured');
    assert.equal([...files], [...whole.files]);
  }
  files.set(UNFINISHED, left); // as of a run that ended before it removed it
  assert.is(await wordsOf(model(), store), 'used');
  assert.equal([...files.keys()], [NAME]);
});

test('what a plan cannot be made from is told before anything is measured', async () => {
  const { store, writes } = memoryStore({ read: () => assert.unreachable('nothing is looked for') as never });
  const headless = await higgs.open(
    model({
      'model.safetensors': randomFile({ ...config, tie_word_embeddings: false }),
      'config.json': json({ ...config, tie_word_embeddings: true }),
    }),
  );
  const checkpoint = await higgs.open(model());
  const sensitivity = { store };
  await rejects(checkpoint.quantize(memoryOutput(), { bpw: 1, sensitivity }), /^bits per weight must be at least/);
  await rejects(checkpoint.planBits(undefined, { size: 100, sensitivity }), /^size must be at least \d+ bytes/);
  await rejects(
    headless.plan({ ...budget, embeddings: 'any', sensitivity }),
    /^tensors whose sensitivity is not measured must have a grid: "lm_head\.weight" has none$/,
  );
  await rejects(
    (await higgs.open(model({ 'config.json': json({ ...config, architectures: ['GemmaForCausalLM'] }) }))).plan({
      ...budget,
      sensitivity,
    }),
    /GemmaForCausalLM/,
    'UnsupportedError',
  );
  assert.equal(writes, []);
  const nothing = await checkpoint.plan({ ...budget, include: /^nothing$/, sensitivity });
  assert.is(nothing.weights, 0);
});

test('options that exclude one another are refused by name', async () => {
  const checkpoint = await higgs.open(model());
  const { store } = memoryStore();
  const alphas = uniformAlphas(await checkpoint.planTensors());
  const plan = await checkpoint.planBits(alphas, budget);
  const cases: [object, RegExp][] = [
    [{ ...budget, grid: 't4' }, /^grid must be left out: a budget chooses the grids$/],
    [{ ...budget, plan }, /^plan must be left out: a budget chooses the grids$/],
    [{ bpw: 4, size: 1e6 }, /^bpw must be the only budget: got size too$/],
    [{ ...budget, alphas, sensitivity: {} }, /^sensitivity must be left out: alphas are given$/],
    [{ plan, embeddings: 't4' }, /^a plan must be the only choice of tensors and grids: got embeddings too$/],
    ...Object.entries({
      alphas,
      sensitivity: {},
      grids: ['t4'],
      scales: true,
      minBits: 2,
      maxBits: 4,
      experts: 'each',
      keep: [],
    }).map(([key, value]): [object, RegExp] => [
      { [key]: value },
      new RegExp(`^${key} must come with a budget: bpw or size$`),
    ]),
    ...Object.entries({ text: 'x', levels: [0.1], partial: 'x', onPartial: () => {} }).map(
      ([key, value]): [object, RegExp] => [
        { ...budget, sensitivity: { store, [key]: value } },
        new RegExp(`^${key} must be left out: a store keeps none of it$`),
      ],
    ),
  ];
  for (const [options, says] of cases) {
    await rejects(checkpoint.plan(options), says);
    await rejects(checkpoint.quantize(memoryOutput(), options), says);
  }
  await rejects(checkpoint.planBits(alphas, { ...budget, sensitivity: {} }), /^sensitivity must be left out/);
  await rejects(checkpoint.planBits(alphas, {} as { bpw: number }), /must have bpw or size/, 'TypeError');
  const odd = memoryStore({ read: async () => 7 as never });
  await rejects(
    checkpoint.sensitivity({ store: odd.store }),
    /^result of read\(\) of store must be a string/,
    'TypeError',
  );
  const planning = checkpoint.plan({ ...budget, alphas: () => 'none' as never });
  await rejects(planning, /^result of alphas\(\) must be sensitivities/, 'TypeError');
});

test('the digest is SHA-256 of names, lengths and digests of pieces; the seal is that of the file', async () => {
  assert.is(await sha256Text('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  const big = Uint8Array.from({ length: (2 << 20) + 3 }, (_, i) => i % 251);
  const folder = memoryFolder({
    'tokenizer.json': json('left out'),
    'b.safetensors': big,
    'config.json': json({}),
    'a.safetensors': new Uint8Array(),
  });
  const hash = async (bytes: Uint8Array<ArrayBuffer>) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const line = (text: string) => new TextEncoder().encode(text);
  const parts = [
    line('a.safetensors 0\n'),
    line(`b.safetensors ${big.length}\n`),
    await hash(big.slice(0, 2 << 20)),
    await hash(big.slice(2 << 20)),
    line('config.json 2\n'),
    await hash(json({})),
  ];
  const done: number[] = [];
  const actual = await digestOf(folder, { onCheck: ({ bytesDone, bytes }) => done.push(bytesDone / bytes) });
  const all = await hash(Uint8Array.from(parts.flatMap((part) => [...part])));
  assert.is(actual, [...all].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
  assert.equal([done.length, done.at(-1)], [3, 1]);

  const { store, files } = memoryStore();
  await wordsOf(model(), store);
  const content = files.get(NAME)!;
  const { settings } = readAlphas(content, NAME);
  assert.is(settings.files, `sha256 ${await digestOf(model(), {})}`);
  const blank = content.replace(String(settings.content), `sha256 ${'0'.repeat(64)}`);
  assert.is(settings.content, `sha256 ${await sha256Text(blank)}`);
});

test.run();
