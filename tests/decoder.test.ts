// The embedded model against its reference numbers (torch, f64), and what a loaded model promises: cache, threads, errors.

import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load, StateError } from '../src/index.ts';
import type { ModelOptions } from '../src/model/model.ts';
import { startThreads } from '../src/workers/node.ts';
import { type LoneModel, loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryFolder, memoryOutput } from './checkpoints.ts';
import { configs, modelFolder, randomFile, randomIds } from './models.ts';
import { oracleOf, tensorsOf } from './oracle.ts';

interface Prompt {
  ids: number[];
  last: { logits_first8: number[]; top5_ids: number[]; top5_logits: number[] };
  per_position_argmax: number[];
  per_position_logsumexp: number[];
  greedy: { new_tokens: number; ids: number[] };
}

const test = suite('decoder');
const FOLDER = 'models/books-llama';
const reference = JSON.parse(readFileSync(`${FOLDER}/reference.json`, 'utf8'));
const prompts: Prompt[] = reference.prompts;
const names = ['config.json', 'generation_config.json', 'model.safetensors'];
const books = memoryFolder(
  Object.fromEntries(names.map((name) => [name, new Uint8Array(readFileSync(`${FOLDER}/${name}`))])),
);

test('the oracle agrees with the reference to 1e-9', () => {
  const config = JSON.parse(readFileSync(`${FOLDER}/config.json`, 'utf8'));
  const oracle = oracleOf(config, tensorsOf(readFileSync(`${FOLDER}/model.safetensors`)));
  for (const prompt of prompts) {
    const logits = oracle.logits(prompt.ids);
    const last = logits.at(-1)!;
    for (const [i, value] of prompt.last.logits_first8.entries()) assert.ok(Math.abs(last[i] - value) < 1e-9);
    for (const [t, row] of logits.entries()) {
      assert.ok(Math.abs(logSumExp(row) - prompt.per_position_logsumexp[t]) < 1e-9);
    }
  }
});

for (const cache of ['f16', 'f32'] as const) {
  test(`forward() agrees with the reference within 1e-3, and greedy text is equal: cache ${cache}`, async () => {
    const model = await loadAlone(books, { cache });
    const { vocabSize } = model.config;
    for (const { ids, last, per_position_argmax, per_position_logsumexp, greedy } of prompts) {
      const logits = await model.forward(ids, { logits: 'all' });
      const rowOf = (t: number) => logits.subarray(t * vocabSize, (t + 1) * vocabSize);
      const end = rowOf(ids.length - 1);
      for (const [i, value] of last.logits_first8.entries()) assert.ok(Math.abs(end[i] - value) < 1e-3);
      for (const [i, id] of last.top5_ids.entries()) assert.ok(Math.abs(end[id] - last.top5_logits[i]) < 1e-3);
      for (const t of ids.keys()) {
        assert.is(argmax(rowOf(t)), per_position_argmax[t]);
        assert.ok(Math.abs(logSumExp(rowOf(t)) - per_position_logsumexp[t]) < 1e-3);
      }
      const text = [argmax(end)];
      while (text.length < greedy.new_tokens) {
        text.push(argmax(await model.forward(text.slice(-1), { from: model.cached.length })));
      }
      assert.equal(text, greedy.ids);
    }
    await model.close();
  });
}

test('extend() gives the reference its perplexity on the first windows of test.txt, within 0.01 %', async () => {
  const model = await loadAlone(books);
  const [tokenizer, settings] = ['tokenizer', 'tokenizer_config'].map((name) =>
    JSON.parse(readFileSync(`${FOLDER}/${name}.json`, 'utf8')),
  );
  const text = readFileSync(`${FOLDER}/test.txt`, 'utf8');
  const { ids } = new Tokenizer(tokenizer, settings).encode(text.slice(0, 8000), { add_special_tokens: false });
  assert.equal(ids.slice(0, 16), reference.perplexity_test.first_16_ids);
  for (const [i, wanted] of reference.perplexity_test.nll_sum_first_4_windows.entries()) {
    const window = [1, ...ids.slice(i * 255, (i + 1) * 255)];
    let sum = 0;
    const each = (t: number, logits: Float32Array) => {
      if (t + 1 < window.length) sum += logSumExp(logits) - logits[window[t + 1]];
    };
    assert.is((await model.forward(window, { logits: 'all', each })).length, 0);
    assert.ok(Math.abs(sum - wanted) / 255 < 1e-4, `window ${i}: ${sum}, not ${wanted}`);
  }
  await model.close();
});

test('config holds what config.json and generation_config.json say', async () => {
  const { config, memory } = await loadAlone(books);
  assert.is(config.vocabSize, 2048);
  assert.is(config.contextLength, 512);
  assert.is(config.bos, 1);
  assert.equal(config.eos, [2]);
  assert.is(memory.cache, 6 * 2 * 2 * 512 * 64 * 2);
  assert.ok(memory.bytes - memory.cache - memory.weights < 64 * 2 ** 20);
});

const tiny = (options: ModelOptions = {}): Promise<LoneModel> => {
  const config = configs.llama;
  return loadAlone(modelFolder(config, randomFile(config)), { context: 200, ...options });
};
const ids = randomIds(150, 361, 3);

for (const size of [2, 3]) {
  test(`forward() gives the same bits on ${size} threads as on one`, async () => {
    const higgs = await load();
    for (const [i, config] of Object.values(configs).entries()) {
      const output = memoryOutput();
      let folder = modelFolder(config, randomFile(config));
      if (i % 2 === 0) {
        await higgs.quantizeCheckpoint(folder, output, { grid: 'p2n16', groupSize: 16, embeddings: 'p1n16' });
        folder = output.folder();
      }
      const alone = await loadAlone(folder);
      const team = await loadAlone(folder, { threads: await startThreads(size) });
      assert.is(team.threads, size);
      sameBits(await team.forward(ids, { logits: 'all' }), await alone.forward(ids, { logits: 'all' }));
      sameBits(await team.forward([5], { from: 150 }), await alone.forward([5], { from: 150 }));
      sameBits(await team.hidden(ids), await alone.hidden(ids));
      await team.close();
    }
  });
}

test('more threads than a pass has room for tokens give the same bits', async () => {
  const config = configs.llama;
  const folder = modelFolder(config, randomFile(config));
  const alone = await loadAlone(folder, { context: 2 });
  const team = await loadAlone(folder, { context: 2, threads: await startThreads(3) });
  for (const [from, id] of [7, 8].entries()) {
    sameBits(await team.forward([id], { from }), await alone.forward([id], { from }));
  }
  await team.close();
});

test('extend() with `from` keeps the cache up to there, and gives the bits of a new start', async () => {
  const [model, other] = [await tiny(), await tiny()];
  await model.forward(ids, { logits: 'none' });
  assert.equal(model.cached, ids);
  const next = [...ids.slice(0, 90), 7, 8, 9];
  sameBits(await model.forward(next.slice(90), { from: 90 }), await other.forward(next));
  assert.equal(model.cached, next);
});

test('extend() gives last, all or no logits, to the result or to `each`', async () => {
  const model = await tiny();
  const all = await model.forward(ids, { logits: 'all' });
  sameBits(await model.forward(ids), all.slice(149 * 361));
  assert.is((await model.forward(ids, { logits: 'none' })).length, 0);
  const rows = new Float32Array(all.length);
  const order: number[] = [];
  const each = (index: number, logits: Float32Array) => {
    order.push(index);
    rows.set(logits, index * 361);
  };
  await model.forward(ids, { logits: 'all', each });
  sameBits(rows, all);
  assert.equal(order, [...ids.keys()]);
});

test('extend() refuses ids and places that are wrong, and is unharmed', async () => {
  const model = await tiny();
  const before = await model.forward([1, 2, 3]);
  await refused(model.forward([]), RangeError, 'ids must have at least one token: got none');
  await refused(model.forward([1, 361]), RangeError, 'ids[1] must be an integer from 0 to 360: got 361');
  await refused(model.forward([-1]), RangeError, 'ids[0] must be an integer from 0 to 360: got -1');
  await refused(model.forward([0.5]), RangeError, 'ids[0] must be an integer from 0 to 360: got 0.5');
  const long = new Array(201).fill(1);
  await refused(model.forward(long), RangeError, 'ids must fit the 200 of the sequence: they end at 201');
  await model.forward([1, 2, 3]);
  sameBits(await model.forward([3], { from: 2 }), before);
});

test('extend() refuses a second call at once, and any after close()', async () => {
  const model = await loadAlone(books);
  const long = randomIds(400, 2048);
  const first = model.forward(long);
  await refused(model.sequence.extend([1]), StateError, 'sequence must be idle: a call is under way');
  sameBits(await first, await model.forward(long));
  await model.close();
  await refused(model.forward([1]), StateError, 'model must be open: it is closed');
  await refused(model.open({ capacity: 1 }), StateError, 'model must be open: it is closed');
});

test('extend() stops at an abort between batches, and the cache holds what was done', async () => {
  const model = await loadAlone(books);
  const long = randomIds(512, 2048);
  const controller = new AbortController();
  const each = () => controller.abort();
  await endsWith(model.forward(long, { logits: 'all', each, signal: controller.signal }), 'AbortError');
  const done = model.cached.length;
  assert.ok(done > 0 && done < 512 && done % 64 === 0, `${done}`);
  sameBits(await model.forward(long.slice(done), { from: done }), await model.forward(long));
});

test('loadModel() checks its options', async () => {
  await refused(tiny({ context: 513 }), RangeError, 'context must be an integer from 1 to 512: got 513');
  await refused(tiny({ context: 0 }), RangeError, 'context must be an integer from 1 to 512: got 0');
  const cache = 'f8' as 'f16';
  await refused(tiny({ cache }), RangeError, 'cache must be "f16" or "f32" or "q8" or "q4": got "f8"');
  assert.is((await tiny({ context: 1 })).config.contextLength, 1);
});

test('loadModel() tells of its progress, and stops at an abort', async () => {
  const controller = new AbortController();
  const counts: number[] = [];
  let bytes = 0;
  await loadAlone(books, {
    onProgress: (progress) => {
      counts.push(progress.bytesDone);
      bytes = progress.bytes;
    },
  });
  assert.is(counts.at(-1), bytes);
  const onProgress = () => controller.abort();
  await endsWith(loadAlone(books, { signal: controller.signal, onProgress }), 'AbortError');
});

test.run();

function argmax(row: Float32Array): number {
  return row.reduce((best, value, i) => (value > row[best] ? i : best), 0);
}

function logSumExp(row: ArrayLike<number>): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < row.length; i++) most = Math.max(most, row[i]);
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Math.exp(row[i] - most);
  return most + Math.log(sum);
}

async function refused(run: Promise<unknown>, kind: new (message: string) => Error, message: string): Promise<void> {
  const error = await run.then(
    () => assert.unreachable(`must be refused: ${message}`),
    (reason: Error) => reason,
  );
  assert.instance(error, kind);
  assert.is((error as unknown as Error).message, message);
}

async function endsWith(run: Promise<unknown>, name: string): Promise<void> {
  const error = await run.then(
    () => assert.unreachable(`must end with ${name}`),
    (reason: Error) => reason,
  );
  assert.is((error as unknown as Error).name, name);
}
