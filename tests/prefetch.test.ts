// Experts that are read ahead: what is asked for, when, and that it changes no bit. A source here is slow by computing, so that reads
// count as waiting for a disk: tests of what that leads to need a clock that goes on meanwhile.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { estimateMemory } from '../src/model/model.ts';
import { type Prefetched, readAhead, type Span } from '../src/model/paging/ahead.ts';
import { openFile, openFolder } from '../src/source/file.ts';
import type { Folder } from '../src/source/source.ts';
import { startThreads } from '../src/workers/node.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryOutput } from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { referencesOf } from './references.ts';

const test = suite('prefetch');
const directory = await mkdtemp(join(tmpdir(), 'higgs-prefetch-'));
test.after(() => rm(directory, { recursive: true, force: true }));

const SLOW = 1000; // milliseconds: no copy takes so long
const QUICK = 0;

/** Pages of 100 bytes in two parts, and what was asked for of them. */
function pagesOf(count: number, mayAsk = true) {
  const asked: number[] = [];
  const pages = Array.from({ length: count }, (_, i) => {
    const tensor = { prefetch: () => void asked.push(i) } as unknown as Span['tensor'];
    return {
      spans: [
        { tensor, start: 0, end: 60 },
        { tensor, start: 60, end: 100 },
      ],
    };
  });
  const counts: Prefetched = { hits: 0, misses: 0, foreseen: 0, mistaken: 0, bytesWasted: 0 };
  return {
    pages,
    told: counts,
    asked: () => asked.splice(0),
    ahead: readAhead<(typeof pages)[number]>(counts, mayAsk),
  };
}

test('readAhead() asks for nothing while reads are copies, or where a source cannot be asked', () => {
  for (const [ms, mayAsk] of [
    [QUICK, true],
    [SLOW, false],
  ] as const) {
    const { pages, told: counts, asked, ahead } = pagesOf(4, mayAsk);
    ahead.read(pages[0], ms);
    assert.not(ahead.waits());
    ahead.together(pages);
    assert.equal(asked(), []);
    for (const page of pages) ahead.read(page, ms);
    assert.equal(counts, { hits: 0, misses: 5, foreseen: 0, mistaken: 0, bytesWasted: 0 });
  }
});

test('readAhead() asks for all of a layer but the first, once reads wait, each once', () => {
  const { pages, told: counts, asked, ahead } = pagesOf(4);
  ahead.read(pages[3], SLOW);
  assert.ok(ahead.waits());
  ahead.together(pages.slice(0, 3));
  assert.equal(asked(), [1, 1, 2, 2]);
  ahead.together(pages.slice(0, 3));
  assert.equal(asked(), []);
  for (const page of pages.slice(0, 3)) ahead.read(page, SLOW);
  assert.equal(counts, { hits: 2, misses: 2, foreseen: 0, mistaken: 0, bytesWasted: 0 });
  ahead.read(pages[0], QUICK); // the system's cache has it by now
  assert.not(ahead.waits());
});

test('readAhead() follows guesses while most come true, and counts what was asked for in vain', () => {
  const { pages, told: counts, asked, ahead } = pagesOf(8);
  ahead.read(pages[0], SLOW);
  const layer = (guesses: number[], wanted: number[]) => {
    ahead.guess(guesses.map((i) => pages[i]));
    const early = asked();
    ahead.wanted(wanted.map((i) => pages[i]));
    for (const i of wanted) ahead.read(pages[i], SLOW);
    ahead.settle();
    return [...new Set(early)];
  };
  for (let i = 0; i < 5; i++) assert.equal(layer([1, 2], [1, 2]).slice(0, i < 3 ? 0 : 2), i < 3 ? [] : [1, 2]);
  assert.is(counts.foreseen, 10);
  assert.is(counts.bytesWasted, 0);
  assert.equal(layer([3, 4], [3, 5]), [3, 4]);
  assert.is(counts.bytesWasted, 100);
  assert.is(counts.mistaken, 1);
  for (let i = 0; i < 12; i++) layer([6, 7], [5]);
  assert.equal(layer([6, 7], [5]), []);
});

/** A folder whose reads at once take long, and that notes what it is asked for ahead. */
function slowed(folder: Folder, asked: [start: number, end: number][]): Folder {
  const open = async (name: string) => {
    const buffer = (await folder.open(name)) as ArrayBuffer;
    return {
      byteLength: buffer.byteLength,
      slice: async (start: number, end: number) => buffer.slice(start, end),
      sliceSync(start: number, end: number) {
        for (const until = performance.now() + 1; performance.now() < until; );
        return buffer.slice(start, end);
      },
      prefetch: (start: number, end: number) => void asked.push([start, end]),
    };
  };
  return { ...folder, open };
}

for (const name of ['qwen3_moe', 'deepseek_v3', 'gemma4_experts', 'mixtral']) {
  test(`experts are asked for ahead and no bit changes, on 1 and 2 threads: ${name}`, async () => {
    const output = memoryOutput();
    const { config, model: file, logits } = families[name];
    const input = modelFolder(config, file);
    await (await load()).quantizeCheckpoint(input, output, { grid: 't4', groupSize: 16, embeddings: 't4' });
    const [{ ids }] = referencesOf(logits);
    const context = ids.length;
    const whole = await loadAlone(output.folder(), { context });
    const wanted = await whole.forward(ids, { logits: 'all' });
    await whole.close();
    const asked: [number, number][] = [];
    const folder = slowed(output.folder(), asked);
    const { bytes, experts } = await estimateMemory(folder, { context });
    const memory = bytes - Math.floor(experts.bytes / 2);
    for (const count of [1, 2]) {
      asked.length = 0;
      const threads = await startThreads(count);
      const model = await loadAlone(folder, { context, memory, threads });
      const rows: number[] = [];
      for (const [i, id] of ids.entries()) rows.push(...(await model.forward([id], { from: i })));
      sameBits(Float32Array.from(rows), wanted);
      sameBits(await model.forward(ids, { logits: 'all' }), wanted);
      const { misses, prefetch } = model.paging!;
      assert.is(prefetch.hits + prefetch.misses, misses);
      assert.ok(prefetch.hits > 0, 'none was asked for');
      assert.ok(prefetch.foreseen > 0, 'no guess came true');
      assert.ok(asked.length > 0 && asked.every(([start, end]) => start < end));
      await model.close();
    }
  });
}

test('prefetch() of files gives nothing, does not fail, and files are closed behind it', async () => {
  const path = join(directory, 'file');
  await writeFile(path, new Uint8Array(3 << 20).fill(7));
  const folder = await openFolder(directory);
  const sources = [await openFile(path), await folder.open('file')];
  for (const { byteLength, prefetch, sliceSync } of sources) {
    assert.is(prefetch!(0, byteLength), undefined);
    assert.is(prefetch!(byteLength - 1, byteLength + 100), undefined);
    assert.is(prefetch!(5, 5), undefined);
    assert.equal(new Uint8Array(sliceSync!(100, 102)), Uint8Array.of(7, 7));
  }
  await (sources[0] as Awaited<ReturnType<typeof openFile>>).close();
  await folder.close();
  for (const { prefetch } of sources) assert.is(prefetch!(0, 1), undefined);
  assert.throws(() => sources[1].sliceSync!(0, 1), /must be open: it is closed$/);
});

test.run();
