// A decoder of a few lines for tests of what stands around it: logits are a hash of all ids up to the position, so that a wrong
// cache, a wrong position or two calls at once change them.

import * as assert from 'uvu/assert';
import type { Language } from '../src/text/language.ts';

/** What a fake decoder can be asked beside. */
export interface FakeLanguage extends Language {
  /** Ids run so far, by all calls. */
  readonly ran: number;
  /** The longest call. */
  readonly longest: number;
}

/** Logits of a fake, from the ids up to a position. */
export type FakeLogits = (ids: readonly number[], vocabSize: number) => Float32Array;

/** Logits in [-4, 4), a hash of the ids and of `seed`. */
export function hashed(seed = 1): FakeLogits {
  return (ids, vocabSize) => {
    let h = seed;
    for (const id of ids) h = mix(h ^ (id + 1));
    return Float32Array.from({ length: vocabSize }, (_, i) => mix(h ^ Math.imul(i + 1, 0x9e3779b9)) / 2 ** 29 - 4);
  };
}

/** Logits that make these ids the most likely ones, in order, behind a prompt of `promptLength`. */
export function scripted(script: readonly number[], promptLength: number): FakeLogits {
  return (ids, vocabSize) => {
    const row = new Float32Array(vocabSize).fill(-1);
    row[script[ids.length - promptLength] ?? 0] = 5;
    return row;
  };
}

export function fakeLanguage({
  vocabSize = 40,
  contextLength = 64,
  bos = undefined as number | undefined,
  eos = [] as number[],
  logitsOf = hashed(),
} = {}): FakeLanguage {
  let cached: number[] = [];
  let busy = false;
  let [ran, longest] = [0, 0];
  // One buffer, as a decoder in linear memory has: what a caller keeps is overwritten.
  const memory = new Float32Array(vocabSize * contextLength);

  async function alone<T>(work: () => T, signal?: AbortSignal): Promise<T> {
    assert.not(busy, 'one call at a time');
    busy = true;
    try {
      await new Promise((resolve) => setTimeout(resolve, 0));
      signal?.throwIfAborted();
      return work();
    } finally {
      busy = false;
    }
  }

  return {
    config: { vocabSize, contextLength, bos, eos },
    threads: 1,
    memory: { bytes: 0, weights: 0, cache: 0 },
    get cached() {
      return cached;
    },
    get ran() {
      return ran;
    },
    get longest() {
      return longest;
    },
    forward: (ids, { from = 0, logits = 'last', signal } = {}) =>
      alone(() => {
        assert.ok(ids.length > 0 && from <= cached.length && from + ids.length <= contextLength);
        cached = [...cached.slice(0, from), ...Array.from(ids)];
        ran += ids.length;
        longest = Math.max(longest, ids.length);
        const first = logits === 'all' ? from : logits === 'last' ? cached.length - 1 : cached.length;
        for (let i = first; i < cached.length; i++) {
          memory.set(logitsOf(cached.slice(0, i + 1), vocabSize), (i - first) * vocabSize);
        }
        return memory.subarray(0, (cached.length - first) * vocabSize);
      }, signal),
    hidden: (ids) =>
      alone(() => {
        cached = [];
        return Float32Array.from({ length: ids.length * 3 }, (_, i) => ids[Math.floor(i / 3)] * ((i % 3) + 1));
      }),
    close: async () => {},
  };
}

function mix(word: number): number {
  let h = word >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
