// A decoder of a few lines for tests of what stands around it: logits are a hash of all ids up to the position, so that a wrong
// cache or a wrong position changes them.

import * as assert from 'uvu/assert';
import type { Language, Sequence } from '../src/text/language.ts';

/** What a fake decoder can be asked beside. */
export interface FakeLanguage extends Language {
  /** Ids run so far, by all calls. */
  readonly ran: number;
  /** The longest call. */
  readonly longest: number;
  /** What sequences held when they were closed. */
  readonly closed: readonly (readonly number[])[];
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
  let [ran, longest] = [0, 0];
  const closed: (readonly number[])[] = []; // what sequences held

  function sequenceOf(begin: readonly number[], capacity: number): Sequence {
    let ids = [...begin];
    let [isBusy, isOpen] = [false, true];
    return {
      get ids() {
        return ids;
      },
      async extend(more, { rows = 'last', of = 'logits', each, signal } = {}) {
        assert.ok(isOpen && !isBusy, 'one call at a time');
        assert.ok(more.length > 0 && ids.length + more.length <= capacity);
        isBusy = true;
        try {
          signal?.throwIfAborted();
          await new Promise((resolve) => setTimeout(resolve, 0));
          signal?.throwIfAborted();
          const before = ids.length;
          ids = [...ids, ...Array.from(more)];
          ran += more.length;
          longest = Math.max(longest, more.length);
          const first = rows === 'all' ? before : rows === 'last' ? ids.length - 1 : ids.length;
          const actual: Float32Array[] = [];
          for (let i = first; i < ids.length; i++) {
            const row =
              of === 'hidden'
                ? Float32Array.of(ids[i], 2 * ids[i], 3 * ids[i])
                : logitsOf(ids.slice(0, i + 1), vocabSize);
            if (each) each(i - before, row);
            else actual.push(row);
          }
          return Float32Array.from(actual.flatMap((row) => [...row]));
        } finally {
          isBusy = false;
        }
      },
      truncate(length) {
        ids = ids.slice(0, length);
      },
      close() {
        if (isOpen) closed.push(ids);
        isOpen = false;
      },
    };
  }

  return {
    config: { vocabSize, contextLength, bos, eos },
    threads: 1,
    memory: { bytes: 0, weights: 0, cache: 0 },
    get closed() {
      return closed;
    },
    get ran() {
      return ran;
    },
    get longest() {
      return longest;
    },
    async open({ capacity, ids = [], signal }) {
      signal?.throwIfAborted();
      assert.ok(capacity > 0 && capacity <= contextLength);
      const shared = closed.map((held) => held.findIndex((id, i) => i + 1 >= ids.length || id !== ids[i]));
      const best = closed.reduce((most, held, k) => Math.max(most, shared[k] < 0 ? held.length : shared[k]), 0);
      return sequenceOf(Array.from(ids).slice(0, Math.min(best, Math.max(0, ids.length - 1))), capacity);
    },
    close: async () => {},
  };
}

function mix(word: number): number {
  let h = word >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
