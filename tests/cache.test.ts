// Keys and values as codes: the kernels against their twins, and what models make of such a cache.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/decoder.debug.wasm';
import releaseBytes from '../build/decoder.wasm';
import { p1n16 } from '../src/grids/small.ts';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import { attendCodesScratchBytes, cacheCodesBytes, keepCodesScratchBytes } from '../src/kernels/decoder/sizes.ts';
import { estimateMemory, loadLanguage } from '../src/model/model.ts';
import * as twin from '../src/reference/cache.ts';
import { f32ToF16, floatBits } from '../src/reference/float.ts';
import { signs } from '../src/reference/hadamard.ts';
import { startThreads } from '../src/workers/node.ts';
import { loadAlone } from './alone.ts';
import { normals, sameBits, uniform } from './bits.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { referencesOf } from './references.ts';

const PAGES = 64;
const WIDTHS = [1, 2, 6, 15, 16, 17, 24, 48, 64, 80, 96, 128, 576];

function testKernels(build: string, kernels: DecoderExports, buffer: WebAssembly.Memory): void {
  const test = suite(`cache kernels (${build})`);
  const memory = arena(buffer, 1024);
  const { place, alloc, copy } = memory;
  test.before.each(() => memory.reset());

  // Levels of codes, however they are packed.
  function levelsAt(codes: number, dim: number, bits: number): Int8Array {
    const count = twin.filled(dim);
    const bytes = copy(Uint8Array, codes, cacheCodesBytes(dim, bits));
    if (bits === 8) return new Int8Array(bytes.buffer);
    return Int8Array.from({ length: count }, (_, i) => {
      const chunk = i - (i % 32);
      const half = chunk + 32 <= count ? 16 : 8;
      const pair = bytes[chunk / 2 + ((i - chunk) % half)];
      return twin.LEVELS[i - chunk < half ? pair & 15 : pair >> 4];
    });
  }

  test('keepCodes() equals its twin for every width, turned and not, and writes no byte more', () => {
    for (const dim of WIDTHS) {
      for (const bits of [8, 4] as const) {
        for (const factor of [1, 1e-6, 1e-12, 0, 1e5]) {
          for (const isTurned of [true, false]) {
            memory.reset();
            const x = normals(dim, dim).map((value) => value * factor);
            const masks = signs(3, Math.ceil(dim / 32) * 32);
            const bytes = cacheCodesBytes(dim, bits);
            const [from, mask, to, scale] = [place(x), place(masks), alloc(bytes + 16), alloc(16)];
            memory.bytes(to, bytes + 16).fill(0xa5);
            memory.bytes(scale, 16).fill(0xa5);
            const scratch = alloc(keepCodesScratchBytes(dim));
            kernels.keepCodes(from, dim, bits, isTurned ? mask : 0, to, scale, scratch);
            const wanted = twin.keep(x, bits, isTurned ? masks : undefined);
            const label = `${bits} bits of ${dim} elements times ${factor}`;
            assert.equal(levelsAt(to, dim, bits), wanted.levels, label);
            assert.is(copy(Uint16Array, scale, 1)[0], f32ToF16(floatBits(wanted.scale)), label);
            assert.ok(memory.bytes(to + bytes, 16).every((byte) => byte === 0xa5));
            assert.ok(memory.bytes(scale + 2, 14).every((byte) => byte === 0xa5));
            assert.equal(copy(Float32Array, from, dim), x, 'what is kept stays');
          }
        }
      }
    }
  });

  test('attendCodes() equals its twin for any head size, parts, tile, window and cap, with sinks or without', () => {
    for (const [dim, more, tokens, heads, first, window, tile, cap, hasSinks] of [
      [24, 0, 5, 3, 0, 0, 4, 0, false],
      [24, 0, 5, 3, 70, 0, 64, 0.5, true],
      [16, 0, 1, 1, 0, 0, 1, 0, true],
      [6, 0, 1, 2, 100, 0, 1, 0, false],
      [64, 0, 40, 2, 30, 0, 7, 2, false],
      [48, 16, 9, 3, 130, 0, 5, 0, false],
      [40, 6, 3, 2, 63, 0, 64, 0, false],
      [24, 0, 40, 3, 30, 33, 16, 0, true],
      [128, 0, 3, 1, 257, 0, 64, 0, false],
      [20, 0, 3, 1, 99, 1, 2, 0, true],
      [24, 0, 64, 2, 0, 40, 64, 0, false],
      [24, 0, 2, 1, 200, 131, 64, 0, false],
    ] as const) {
      for (const bits of [8, 4] as const) {
        for (const isTurned of [true, false]) {
          memory.reset();
          const positions = first + tokens;
          const wide = dim + more;
          const stride = (heads + 1) * wide; // another head lies behind these
          const q = normals(tokens * stride, wide);
          const masks = signs(0, Math.ceil(Math.max(dim, more) / 32) * 32);
          const turning = isTurned ? masks : undefined;
          const mask = isTurned ? place(masks) : 0;
          const row = cacheCodesBytes(dim, bits) + (more ? cacheCodesBytes(more, bits) : 0);
          const valueRow = cacheCodesBytes(dim, bits);
          const [keys, values] = [alloc(positions * row), alloc(positions * valueRow)];
          const [keyScales, moreScales, valueScales] = [0, 1, 2].map(() => alloc(positions * 2));
          const [narrow, beside] = [normals(positions * dim, 2), normals(positions * Math.max(1, more), 3)];
          const v = normals(positions * dim, 4);
          const scratch = alloc(Math.max(keepCodesScratchBytes(dim), keepCodesScratchBytes(more)));
          const keep = (x: Float32Array, to: number, scale: number) => {
            kernels.keepCodes(place(x), x.length, bits, mask, to, scale, scratch);
            return twin.keep(x, bits, turning);
          };
          const kept = Array.from({ length: positions }, (_, t) => {
            const parts = [keep(narrow.subarray(t * dim, (t + 1) * dim), keys + t * row, keyScales + 2 * t)];
            const second = keys + t * row + cacheCodesBytes(dim, bits);
            if (more) parts.push(keep(beside.subarray(t * more, (t + 1) * more), second, moreScales + 2 * t));
            const value = keep(v.subarray(t * dim, (t + 1) * dim), values + t * valueRow, valueScales + 2 * t);
            return { parts, value };
          });
          const span = positions + 4;
          const y = alloc(q.byteLength);
          memory.floats(y, q.length).fill(7);
          const sinks = normals(heads, 8);
          const [address, sunk] = [place(q), hasSinks ? place(sinks) : 0];
          const room = alloc(attendCodesScratchBytes(tile, span, dim, more) + 64);
          memory.bytes(room, attendCodesScratchBytes(tile, span, dim, more) + 64).fill(0xff); // NaN, and canaries
          kernels.attendCodes(
            ...([address, y, tokens, heads, stride, dim, more, keys, row, keyScales, more ? moreScales : 0] as const),
            ...([values, valueRow, valueScales, bits, mask, first, window, 0.2, cap, sunk, tile, span, room] as const),
          );
          const wanted = new Float32Array(q.length).fill(7);
          for (let j = 0; j < tokens; j++) {
            for (let head = 0; head < heads; head++) {
              const start = j * stride + head * wide;
              const query = [q.subarray(start, start + dim), q.subarray(start + dim, start + wide)].slice(
                0,
                more ? 2 : 1,
              );
              const attended = kept.slice(0, first + j + 1);
              const [k, v] = [attended.map(({ parts }) => parts), attended.map(({ value }) => value)];
              const sink = hasSinks ? sinks[head] : undefined;
              wanted.set(twin.attendCodes(query, k, v, turning, 0.2, window, cap, sink), start);
            }
          }
          const label = `attendCodes of ${bits} bits, head of ${dim} + ${more}, ${tokens} tokens, tile ${tile}`;
          sameBits(copy(Float32Array, y, q.length), wanted, label);
          const end = room + attendCodesScratchBytes(tile, span, dim, more);
          assert.ok(
            memory.bytes(end, 64).every((byte) => byte === 0xff),
            `${label}: scratch`,
          );
        }
      }
    }
  });

  test('attendCodes() gives NaN where a key or a query is NaN or infinite', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      for (const where of ['key', 'value', 'query'] as const) {
        for (const bits of [8, 4] as const) {
          memory.reset();
          const dim = 16;
          const masks = place(signs(0, 32));
          const [keys, values, keyScales, valueScales] = [alloc(16), alloc(16), alloc(16), alloc(16)];
          const vector = (value: string) => {
            const x = normals(dim, 5);
            if (value === where) x[3] = bad;
            return place(x);
          };
          const scratch = alloc(attendCodesScratchBytes(1, 8, dim, 0));
          kernels.keepCodes(vector('key'), dim, bits, masks, keys, keyScales, scratch);
          kernels.keepCodes(vector('value'), dim, bits, masks, values, valueScales, scratch);
          const y = alloc(dim * 4);
          const row = cacheCodesBytes(dim, bits);
          kernels.attendCodes(
            ...([vector('query'), y, 1, 1, dim, dim, 0, keys, row, keyScales, 0, values, row, valueScales] as const),
            ...([bits, masks, 0, 0, 0.2, 0, 0, 1, 8, scratch] as const),
          );
          assert.ok(copy(Float32Array, y, dim).every(Number.isNaN), `${bad} in a ${where}, ${bits} bits`);
        }
      }
    }
  });

  test.run();
}

const memory = createMemory(PAGES * 65536, false);
for (const [build, bytes] of [
  ['release', releaseBytes],
  ['debug', debugBytes],
] as const) {
  testKernels(build, await instantiateDecoder(bytes, memory), memory);
}

const test = suite('cache');

test('levels of 4 bits are p1n16 in units of the 127th of its largest point', () => {
  const most = p1n16.points[15];
  assert.equal(
    twin.LEVELS,
    Array.from(p1n16.points, (point) => Math.round((point / most) * 127)),
  );
});

const CONTEXT = 60;
/** Mean squared error of logits against those of a cache of f32, of their variance: twice what is measured of any of these families; routers that take another expert have most. */
const ERRORS = { q8: 0.03, q4: 0.2 } as const;

for (const [name, { config, model: file, logits }] of Object.entries(families)) {
  const folder = modelFolder(config, file);
  const [{ ids: begin }] = referencesOf(logits);
  const context = Math.min(CONTEXT, 2 * begin.length);
  const ids = [...begin, ...begin].slice(0, context);

  test(`codes give the same bits one id at a time, and in several memories: ${name}`, async () => {
    const plain = await loadAlone(folder, { context, cache: 'f32' });
    const exact = await plain.forward(ids, { logits: 'all' });
    for (const cache of ['q8', 'q4'] as const) {
      const options = { context, cache };
      const whole = await loadAlone(folder, options);
      const all = await whole.forward(ids, { logits: 'all' });
      await whole.forward(ids.slice(0, 1));
      const rows = [all.slice(0, all.length / ids.length)];
      for (let i = 1; i < ids.length; i++) rows.push(await whole.forward([ids[i]], { from: i }));
      sameBits(Float32Array.from(rows.flatMap((row) => [...row])), all, cache);
      const error = relativeError(all, exact);
      assert.ok(error <= ERRORS[cache], `${cache}: ${error}`);
      const { bytes } = await estimateMemory(folder, options);
      const parts = await loadAlone(folder, { ...options, memoryLimit: bytes - 1 });
      sameBits(await parts.forward(ids, { logits: 'all' }), all, `${cache}, several memories`);
      await parts.close();
      await whole.close();
    }
    await plain.close();
  });
}

for (const name of ['llama', 'gemma4_text', 'gpt_oss', 'deepseek_v3']) {
  const { config, model: file, logits } = families[name];
  const folder = modelFolder(config, file);
  const [{ ids }] = referencesOf(logits);

  test(`codes of sequences together, forked, truncated and moved have the bits that they have alone: ${name}`, async () => {
    for (const [cache, threads] of [
      ['q8', 1],
      ['q4', 3],
    ] as const) {
      const options = { context: 40, cache } as const;
      const lone = await loadAlone(folder, options);
      const together = await loadLanguage(folder, {
        ...{ ...options, cacheTokens: 3 * 40 },
        ...(threads > 1 && { threads: await startThreads(threads) }),
      });
      const random = uniform(7);
      const below = (n: number) => Math.floor(random() * n);
      const texts = [30, 12, 30, 5, 12, 25, 30, 1].map((first) =>
        [...ids.slice(0, first), ...ids.slice(3, 3 + below(40 - first))].slice(0, 40),
      );
      const wanted: Float32Array[] = [];
      for (const text of texts) wanted.push(await lone.forward(text, { logits: 'all' }));
      await Promise.all(
        texts.map(async (text, i) => {
          const width = wanted[i].length / text.length;
          const sequence = await together.open({ capacity: text.length, ids: text });
          while (sequence.ids.length < text.length) {
            const from = sequence.ids.length;
            const part = text.slice(from, from + 1 + below(below(2) * 20));
            const rows = await sequence.extend(part, { rows: 'all' });
            sameBits(rows, wanted[i].slice(from * width, (from + part.length) * width), `${cache}, text ${i}`);
            if (below(4) === 0) sequence.truncate(below(sequence.ids.length));
          }
          sequence.close();
        }),
      );
      await together.close();
      await lone.close();
    }
  });
}

test('a cache of codes takes what its bits and scales say', async () => {
  const { config, model: file } = families.llama;
  const folder = modelFolder(config, file);
  const bytesOf = async (cache: 'f16' | 'q8' | 'q4') => (await estimateMemory(folder, { context: 40, cache })).cache;
  const {
    head_dim: headDim,
    num_hidden_layers: layers,
    num_key_value_heads: kvHeads,
  } = config as Record<string, number>;
  const vectors = 2 * layers * kvHeads * 40;
  const filled = Math.ceil(headDim / 16) * 16;
  assert.is(await bytesOf('f16'), vectors * headDim * 2);
  assert.is(await bytesOf('q8'), vectors * (filled + 2));
  assert.is(await bytesOf('q4'), vectors * (filled / 2 + 2));
});

test.run();

// ‖found - wanted‖² / ‖wanted - its mean‖².
function relativeError(actual: Float32Array, wanted: Float32Array): number {
  const mean = wanted.reduce((sum, value) => sum + value, 0) / wanted.length;
  let [error, size] = [0, 0];
  for (const [i, value] of wanted.entries()) {
    error += (actual[i] - value) ** 2;
    size += (value - mean) ** 2;
  }
  return error / size;
}
