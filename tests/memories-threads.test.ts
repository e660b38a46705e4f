// A trained model in several memories and on several threads, and measured in pieces: the same bits as whole on one thread.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { estimateMemory } from '../src/model/model.ts';
import { measureSensitivity } from '../src/sensitivity/measure.ts';
import { createFolder, openFolder } from '../src/source/file.ts';
import { startThreads } from '../src/workers/node.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryOutput } from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder, randomIds } from './models.ts';
import { referencesOf } from './references.ts';

const test = suite('memories and threads');
const books = await openFolder('models/books-llama');
test.after(() => books.close());
const ids = randomIds(150, 2048);

test('books-llama, plain and quantized, in memories of uneven sizes, 1 and 3 threads', async () => {
  const output = memoryOutput();
  await (await load()).quantizeCheckpoint(books, output, { grid: 't4', embeddings: 't4' });
  for (const folder of [books, output.folder()]) {
    const whole = await loadAlone(folder, { context: 160 });
    const wanted = await whole.forward(ids, { logits: 'all' });
    await whole.close();
    const { bytes } = whole.memory;
    for (const memoryLimit of [bytes - 1, Math.ceil(0.85 * bytes)]) {
      for (const count of [1, 3]) {
        const options = { context: 160, memoryLimit };
        const model = await loadAlone(folder, { ...options, ...(count > 1 && { threads: await startThreads(count) }) });
        assert.ok(model.memory.bytes > bytes, 'it lies in one');
        sameBits(await model.forward(ids, { logits: 'all' }), wanted);
        // One id at a time, behind a part that stays.
        const rows = [];
        for (let i = 140; i < 150; i++) rows.push(...(await model.forward([ids[i]], { from: i })));
        sameBits(Float32Array.from(rows), wanted.subarray(140 * 2048));
        await model.close();
      }
    }
  }
});

test('experts that share slots, read from files by 2 threads, give the bits of all in memory', async () => {
  const { config, model: file } = families.qwen3_moe;
  const path = await mkdtemp(join(tmpdir(), 'higgs-paging-'));
  const output = await createFolder(path);
  await (await load()).quantizeCheckpoint(modelFolder(config, file), output, { grid: 't4', groupSize: 16 });
  await output.close();
  const folder = await openFolder(path);
  const [{ ids: all }] = referencesOf(families.qwen3_moe.logits);
  const whole = await loadAlone(folder, { context: all.length });
  const wanted = await whole.forward(all, { logits: 'all' });
  await whole.close();
  for (const part of [0.95, 0.5]) {
    for (const count of [1, 2]) {
      const options = { context: all.length, ...(count > 1 && { threads: await startThreads(count) }) };
      const { bytes, experts } = await estimateMemory(folder, options);
      const model = await loadAlone(folder, { ...options, memory: Math.floor(bytes - part * experts.bytes) });
      sameBits(await model.forward(all, { logits: 'all' }), wanted);
      assert.ok(model.paging!.misses > 0);
      await model.close();
    }
  }
  const { bytes, experts } = await estimateMemory(folder, { context: all.length });
  const model = await loadAlone(folder, { context: all.length, memory: bytes - Math.floor(0.95 * experts.bytes) });
  await folder.close();
  const message = await model.forward(all).then(String, String);
  assert.match(message, /^StateError: folder .* must be open/);
  await model.close();
  await rm(path, { recursive: true });
});

test('sensitivities of books-llama in pieces, on 1 and 2 threads, are those of the whole model', async () => {
  const settings = { tokens: 24, sequences: 2, draws: 1 };
  const wanted = await measureSensitivity(books, settings);
  for (const count of [1, 2]) {
    const loaded: number[] = [];
    const actual = await measureSensitivity(books, {
      ...settings,
      memoryLimit: 14 << 20,
      threads: await startThreads(count),
      onLoad: ({ bytesDone }) => loaded.push(bytesDone),
    });
    assert.equal(actual, wanted);
    assert.ok(loaded.every((bytes, i) => i === 0 || bytes > loaded[i - 1]));
  }
});

test('a measurement in pieces that is interrupted goes on to the same result', async () => {
  const settings = { tokens: 16, sequences: 3, draws: 1, memoryLimit: 14 << 20 };
  const wanted = await measureSensitivity(books, settings);
  let partial: string | undefined;
  let runs = 0;
  for (;;) {
    const abort = new AbortController();
    const result = await measureSensitivity(books, {
      ...settings,
      ...(partial !== undefined && { partial }),
      signal: abort.signal,
      onPartial: (text) => {
        partial = text;
        abort.abort(new Error('enough'));
      },
    }).catch((error) => {
      assert.is(error.message, 'enough');
      return undefined;
    });
    runs++;
    if (!result) continue;
    assert.equal(result, wanted);
    break;
  }
  assert.is(runs, 4); // sampled tokens, and a sequence each
});

test.run();
