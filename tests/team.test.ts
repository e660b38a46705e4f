// Work of a step that threads take in parts: one JavaScript thread plays all of them here, in orders of its own choice.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { inParts, joinTeam, SYNC_BYTES, type Thread } from '../src/model/team.ts';

const test = suite('work in parts');

interface Part {
  readonly thread: number;
  readonly first: number;
  readonly end: number;
}

function threadsOf(count: number): Thread[] {
  const buffer = new SharedArrayBuffer(SYNC_BYTES);
  return Array.from({ length: count }, (_, i) => joinTeam({} as DecoderExports, buffer, 0, i, count).thread);
}

/** What all threads do of some work, one after the other; `others` begin while the first one has its first part. */
function take(
  threads: readonly Thread[],
  [total, apart, least]: readonly number[],
  others: readonly Thread[] = [],
): Part[] {
  const parts: Part[] = [];
  const run = (thread: Thread, within?: () => void) => {
    inParts(thread, total, apart, least, (first, end) => {
      parts.push({ thread: thread.index, first, end });
      within?.();
      within = undefined;
    });
  };
  threads.forEach((thread, i) => {
    const begin = () => {
      for (const other of others) run(other);
    };
    run(thread, i === 0 ? begin : undefined);
  });
  return parts;
}

function isWhole(parts: readonly Part[], total: number, apart: number): void {
  let at = 0;
  for (const { first, end } of [...parts].sort((a, b) => a.first - b.first)) {
    assert.is(first, at);
    assert.is(first % apart, 0);
    assert.ok(end > first);
    at = end;
  }
  assert.is(at, total);
}

const works = [
  [1, 1, 1],
  [5, 16, 1],
  [1000, 16, 1],
  [1024, 16, 256],
  [1024, 16, 1e6],
  [151_936, 16, 73.14],
  [17, 1, 0.5],
] as const;

for (const count of [1, 2, 3, 8]) {
  test(`${count} threads do each item once`, () => {
    for (const work of works) isWhole(take(threadsOf(count), work), work[0], work[1]);
    for (const work of works) isWhole(take(threadsOf(count).reverse(), work), work[0], work[1]);
  });
}

test('threads that are free do what is left', () => {
  for (const [total, apart, least] of works.slice(2, 4)) {
    const [first, ...others] = threadsOf(4);
    const parts = take([first], [total, apart, least], others);
    isWhole(parts, total, apart);
    assert.is(parts.filter(({ thread }) => thread === 0).length, 1);
  }
});

test('a thread that has no more parts of a work goes on with those of the next', () => {
  const [a, b] = threadsOf(2);
  const one: Part[] = [];
  const two: Part[] = [];
  const into =
    (parts: Part[], { index: thread }: Thread) =>
    (first: number, end: number) => {
      parts.push({ thread, first, end });
    };
  inParts(a, 64, 16, 16, (first, end) => {
    into(one, a)(first, end);
    if (one.length > 1) return;
    inParts(b, 64, 16, 16, into(one, b));
    inParts(b, 100, 16, 16, into(two, b));
  });
  inParts(a, 100, 16, 16, into(two, a));
  isWhole(one, 64, 16);
  isWhole(two, 100, 16);
  assert.ok(one.some(({ thread }) => thread === 1) && two.every(({ thread }) => thread === 1));
});

test('a thread’s first part is the same one in any order', () => {
  for (const threads of [threadsOf(3), threadsOf(3).reverse()]) {
    const parts = take(threads, [4096, 16, 64]).sort((a, b) => a.first - b.first);
    assert.equal(
      parts.slice(0, 3).map(({ thread }) => thread),
      [0, 1, 2],
    );
  }
});

test.run();
