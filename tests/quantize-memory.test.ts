// What quantize holds does not grow with a matrix: buffers of weights, codes that are not written yet, linear memories of workers.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { loadKernels } from '../src/kernels/load.ts';
import type { Folder } from '../src/source/source.ts';
import { localPool, type Pool } from '../src/workers/pool.ts';
import { memoryOutput } from './checkpoints.ts';

const test = suite('memory of quantize');
const WORKERS = 2;
const COLS = 1024;
/** Rows that are cut into more blocks than are under way at once. */
const ROWS = 16 << 10;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A checkpoint of one BF16 matrix that is made as it is read. @param made told of each new buffer */
function folderOf(rows: number, made: (byteLength: number) => void): Folder {
  const byteLength = rows * COLS * 2;
  const tensor = { dtype: 'BF16', shape: [rows, COLS], data_offsets: [0, byteLength] };
  const json = new TextEncoder().encode(JSON.stringify({ 'a.weight': tensor }).padEnd(128));
  const header = new Uint8Array(8 + json.length);
  new DataView(header.buffer).setUint32(0, json.length, true);
  header.set(json, 8);
  return {
    name: 'made',
    list: async () => ['model.safetensors'],
    open: async () => ({
      byteLength: header.length + byteLength,
      async slice(start, end, spare) {
        if (end <= header.length) return header.slice(start, end).buffer;
        const isSpare = spare?.byteLength === end - start;
        if (!isSpare) made(end - start);
        const buffer = isSpare ? spare : new ArrayBuffer(end - start);
        const weights = new Uint16Array(buffer);
        for (let i = 0; i < weights.length; i++) weights[i] = 0x3f00 | (((i * 40503) >>> 4) & 0x7f);
        return buffer;
      },
    }),
  };
}

/** Most bytes that a run holds, and what of them are scales, which stay until their tensor ends. */
async function heldBy(rows: number): Promise<{ most: number; scales: number; memories: number }> {
  let [held, most, scales] = [0, 0, 0];
  const hold = (bytes: number) => {
    held += bytes;
    most = Math.max(most, held);
  };
  const exports = await Promise.all(Array.from({ length: WORKERS }, () => loadKernels()));
  const pools = exports.map((each) => localPool(wrapKernels(each)));
  const results = new Set<ArrayBufferLike>();
  let jobs = 0;
  const pool: Pool = {
    size: WORKERS,
    async run(job) {
      const worker = pools[jobs++ % WORKERS];
      await turn();
      const result = await worker.run(job);
      if (typeof result !== 'object' || !('packed' in result)) return result;
      results.add(result.packed.buffer);
      hold(result.packed.byteLength + result.scales.byteLength + result.sums.byteLength);
      scales += result.scales.byteLength + result.sums.byteLength;
      return result;
    },
    close: async () => {},
  };
  const output = memoryOutput();
  const higgs = await load();
  const slow = {
    async create(name: string) {
      const sink = await output.create(name);
      return {
        ...sink,
        // A disk that is slow: what is encoded waits.
        async write(bytes: Uint8Array) {
          for (let i = 0; i < 20; i++) await turn();
          if (results.delete(bytes.buffer)) held -= bytes.byteLength;
        },
      };
    },
  };
  await higgs.quantizeCheckpoint(folderOf(rows, hold), slow, { grid: 'p1n16', pool });
  assert.is(results.size, 0, 'all was written');
  return { most, scales, memories: exports.reduce((sum, { memory }) => sum + memory.buffer.byteLength, 0) };
}

test('of eight times the rows quantize holds no more, but for their scales', async () => {
  const small = await heldBy(ROWS);
  const large = await heldBy(8 * ROWS);
  assert.is(large.scales, 8 * small.scales);
  const bytes = ({ most, scales }: typeof small) => most - scales;
  const text = `${bytes(small)} and ${bytes(large)} bytes`;
  assert.ok(Math.abs(bytes(large) - bytes(small)) <= small.scales, text);
  // 3 · workers + 1 blocks are under way, each of a million weights in BF16 and of their codes of four bits.
  assert.ok(bytes(large) <= (3 * WORKERS + 1) * 2.5 * 2 ** 20, text);
  assert.is(large.memories, small.memories);
  assert.ok(large.most + large.memories <= 50e6, `${large.most} bytes and ${large.memories} of linear memory`);
});

test.run();
