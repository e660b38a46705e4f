// Prompts that are kept beyond a model's life: another model of the same weights goes on from them, with the same bits, and what is not as it
// was written is computed again.

import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadModel, type ModelOptions, type PromptStore } from '../src/decoder.ts';
import { openPromptDirectory } from '../src/disk/prompts.ts';
import { estimateMemory, loadLanguage } from '../src/model/model.ts';
import { createServer } from '../src/server/server.ts';
import type { Model } from '../src/text/textmodel.ts';
import { sameBits } from './bits.ts';
import { memoryFolder } from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { referencesOf } from './references.ts';
import { servedFiles } from './served.ts';
import { byteLevelTokenizer } from './tokenizers.ts';

const test = suite('prompts');
const folders: string[] = [];
const directory = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'prompts-')));
  return folders.at(-1)!;
};
test.after(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

/** A store in memory that tells what was asked of it. */
function memoryStore(identity = 'a model', files = new Map<string, Uint8Array<ArrayBuffer>>()) {
  const read: string[] = [];
  const store: PromptStore = {
    identity,
    has: (name) => files.has(name),
    async read(name) {
      read.push(name);
      return files.get(name);
    },
    write: async (name, bytes) => void files.set(name, bytes),
    remove: async (name) => void files.delete(name),
  };
  return { store, files, read };
}

const open = (options: ModelOptions, files = servedFiles()): Promise<Model> =>
  loadModel(memoryFolder(files), { context: 512, cacheTokens: 1024, ...options });
const prompt = 'It was a dark and stormy night; the rain fell in torrents, except at occasional intervals. '.repeat(2);

async function generated(
  model: Model,
  text = prompt,
): Promise<{ text: string; reused: number; ids: readonly number[] }> {
  const generation = model.generate(text, { maxTokens: 12, seed: 1, temperature: 1 });
  for await (const _ of generation);
  const { text: completion, reused, ids } = generation.result!;
  return { text: completion, reused, ids };
}

/** What a model with this store makes, when it is new and closed afterwards. */
async function once(options: ModelOptions, text = prompt) {
  const model = await open(options);
  try {
    return await generated(model, text);
  } finally {
    await model.close();
  }
}

for (const cache of ['f16', 'f32', 'q8', 'q4'] as const) {
  test(`a new model goes on from what another has kept, with the same bits (${cache})`, async () => {
    const { store, files } = memoryStore();
    const alone = await once({ cache });
    assert.equal(await once({ cache, prompts: store }), alone);
    assert.ok(files.size >= 2, `${files.size} pieces`);
    const again = await once({ cache, prompts: store });
    assert.equal({ ...again, reused: 0 }, { ...alone, reused: 0 });
    assert.is(again.reused, Math.floor((prompt.length - 1) / 64) * 64);
  });
}

test('prompts with one beginning keep it once, and another end uses it', async () => {
  const { store, files } = memoryStore();
  await once({ prompts: store });
  const pieces = files.size;
  const other = `${prompt.slice(0, 140)}and then${prompt.slice(140)}`;
  const alone = await once({}, other);
  const got = await once({ prompts: store }, other);
  assert.equal({ ...got, reused: 0 }, alone);
  assert.is(got.reused, 128);
  // The last token is never run.
  const length = byteLevelTokenizer().encode(other).length + got.ids.length - 1;
  assert.is(files.size, pieces + Math.floor(length / 64) - 2);
});

for (const name of ['llama', 'gemma4_text', 'deepseek_v3']) {
  test(`of a model in several memories, and of one in one, the pieces are the same: ${name}`, async () => {
    const { config, model: file, logits } = families[name];
    const [{ ids: begin }] = referencesOf(logits);
    const ids = Array.from({ length: 150 }, (_, i) => begin[i % begin.length]);
    const folder = modelFolder({ ...config, max_position_embeddings: 256 }, file);
    const { store } = memoryStore();
    const options = { context: 150 };
    const { bytes } = await estimateMemory(folder, options);
    const rows: Float32Array[] = [];
    const lengths: number[] = [];
    for (let run = 0; run < 4; run++) {
      const memory = run % 2 === 0 ? {} : { memoryLimit: bytes - 1 };
      const language = await loadLanguage(folder, { ...options, ...memory, ...(run > 0 && { prompts: store }) });
      const sequence = await language.open({ capacity: 150, ids });
      lengths.push(sequence.ids.length);
      rows.push(await sequence.extend(ids.slice(sequence.ids.length)));
      sequence.close();
      await language.close();
    }
    assert.equal(lengths, [0, 0, 128, 128]);
    for (const row of rows) sameBits(row, rows[0]);
  });
}

test('a model with recurrent states keeps nothing, and works', async () => {
  const { config, model: file, logits } = families.qwen3_next;
  const [{ ids }] = referencesOf(logits);
  const { store, files } = memoryStore();
  const language = await loadLanguage(modelFolder(config, file), { context: 40, prompts: store });
  const sequence = await language.open({ capacity: 40, ids });
  await sequence.extend(ids);
  sequence.close();
  await language.close();
  assert.is(files.size, 0);
});

test('what another model, another cache or other activations wrote is not found', async () => {
  const { store, files } = memoryStore();
  await once({ prompts: store });
  const others: ModelOptions[] = [
    { prompts: memoryStore('another', files).store },
    { prompts: store, cache: 'f32' },
    { prompts: store, activations: 'f32' },
  ];
  for (const options of others) assert.is((await once(options)).reused, 0);
});

test('keys that another context turned otherwise are not found', async () => {
  const files = servedFiles();
  const config = JSON.parse(new TextDecoder().decode(files['config.json']));
  const factors = (factor: number) => Array.from({ length: config.head_dim / 2 }, () => factor);
  const rope_scaling = { rope_type: 'longrope', short_factor: factors(1), long_factor: factors(4) };
  const stretched = { ...config, rope_scaling, original_max_position_embeddings: 400 };
  files['config.json'] = new TextEncoder().encode(JSON.stringify(stretched));
  const { store } = memoryStore();
  const texts: string[] = [];
  for (const context of [400, 512]) {
    const [alone, kept] = [{ context }, { context, prompts: store }];
    const models = [await open(alone, files), await open(kept, files)];
    const [one, other] = [await generated(models[0]), await generated(models[1])];
    assert.equal(other, one);
    texts.push(one.text);
    for (const model of models) await model.close();
  }
  assert.is.not(texts[0], texts[1]);
});

test('a piece that was changed or cut is computed again, and written anew', async () => {
  const path = directory();
  const store = async () => (await openPromptDirectory(path, 1e9, assert.unreachable)).of('a model');
  const alone = await once({ prompts: await store() });
  const names = readdirSync(path).map((name) => join(path, name));
  const contents = names.map((name) => readFileSync(name));
  const harms: ((name: string) => void)[] = [
    (name) => truncateSync(name, 100),
    (name) => writeFileSync(name, ''),
    (name) => writeFileSync(name, readFileSync(name).fill(7, 5000, 5001)),
    (name) => rmSync(name),
  ];
  for (const harm of harms) {
    for (const name of names) {
      harm(name);
      const got = await once({ prompts: await store() });
      assert.equal({ ...got, reused: 0 }, alone);
      for (const [i, name] of names.entries()) assert.ok(readFileSync(name).equals(contents[i]));
    }
  }
  assert.ok((await once({ prompts: await store() })).reused > 0);
});

test('a directory stays within its bytes: what was not used for longest is removed', async () => {
  const path = directory();
  const bytes = (fill: number) => new Uint8Array(1000).fill(fill);
  const name = (i: number) => String(i).repeat(64);
  const first = (await openPromptDirectory(path, 3000, assert.unreachable)).of('a model');
  for (const i of [1, 2, 3]) await first.write(name(i), bytes(i));
  assert.ok(await first.has(name(1)));
  await first.write(name(4), bytes(4));
  assert.equal(
    readdirSync(path).sort(),
    [1, 3, 4].map((i) => `${name(i)}.rows`),
  );
  // A new process goes by the files' times.
  for (const [i, time] of [
    [1, 300],
    [3, 100],
    [4, 200],
  ])
    utimesSync(join(path, `${name(i)}.rows`), time, time);
  writeFileSync(join(path, 'x.txt'), 'not ours');
  const second = (await openPromptDirectory(path, 2500, assert.unreachable)).of('a model');
  await second.write(name(5), bytes(5));
  assert.equal(readdirSync(path).sort(), [`${name(1)}.rows`, `${name(5)}.rows`, 'x.txt']);
  await second.write(name(6), new Uint8Array(2501));
  assert.not(await second.has(name(6)));
  assert.equal(await second.read(name(5)), bytes(5));
});

test('processes that share a directory keep to its bytes together, but for an eighth each', async () => {
  const path = directory();
  const stores = [];
  for (let i = 0; i < 2; i++) stores.push((await openPromptDirectory(path, 32_000, assert.unreachable)).of('a model'));
  for (let i = 0; i < 80; i++) {
    await stores[i % 7 < 3 ? 0 : 1].write(String(i).padStart(64, '0'), new Uint8Array(1000));
    assert.ok(readdirSync(path).length <= 32 + 2 * 4, `${i}: ${readdirSync(path).length}`);
  }
  assert.ok(await stores[0].has(String(79).padStart(64, '0')));
});

test('a store that fails costs no text, and tells once', async () => {
  const fails = async () => {
    throw new Error('ENOSPC: no space left on device');
  };
  const { store } = memoryStore();
  const alone = await once({});
  assert.equal(await once({ prompts: { ...store, write: fails } }), alone);
  assert.equal(await once({ prompts: { ...store, has: fails, read: fails } }), alone);
  const path = directory();
  const lines: string[] = [];
  const gone = (await openPromptDirectory(join(path, 'in'), 1e9, ({ message }) => lines.push(message))).of('a model');
  rmSync(join(path, 'in'), { recursive: true });
  assert.equal(await once({ prompts: gone }), alone);
  assert.is(lines.length, 1);
});

test('a server that is started again counts what was kept as cached', async () => {
  const { store } = memoryStore();
  const body = JSON.stringify({ prompt, max_tokens: 8, temperature: 0 });
  const pieces: { text: string; cached: number }[] = [];
  for (let run = 0; run < 2; run++) {
    const model = await open({ prompts: store });
    const server = createServer({ models: { tiny: model } });
    const { choices, usage } = await (await server.request('/v1/completions', { method: 'POST', body })).json();
    pieces.push({ text: choices[0].text, cached: usage.prompt_tokens_details.cached_tokens });
    await server.close();
    await model.close();
  }
  assert.is(pieces[0].cached, 0);
  assert.ok(pieces[1].cached > 0);
  assert.is(pieces[1].text, pieces[0].text);
});

test.run();
