// A team of threads runs one program over one memory and meets at barriers. What lies between two barriers is a step. Of short work each
// thread has a fixed share. Products are cut in parts, and a thread takes the next one as soon as it is free: cores are seldom equally quick.
// Words of shared memory, each on a cache line of its own:
//
//   0  passes begun        64  threads at the barrier        128  barriers passed        192  1: a thread failed, 2: it is over
//   256  the pass          4   threads that have come to wait for the first pass, on the line of passes begun
//   320  parts of the step that are taken, but for each thread's first

import type { DecoderExports } from '../kernels/decoder/exports.ts';

/** Bytes of the region that threads wait at. */
export const SYNC_BYTES = 384;
const BEGUN = 0;
const JOINED = 1;
const ARRIVED = 16;
const PASSED = 32;
const END = 48;
const PASS = 64;
const TAKEN = 80;
/** Words that tell what a pass does. */
const PASS_WORDS = 16;
const FAILED = 1;
const OVER = 2;
/** What all threads take at once of what is left: the rest makes up for unequal ones. */
const AT_ONCE = 0.8;
/** Looks at a word before a thread sleeps: some tens of microseconds, the length of a step. */
const SPINS = 4000;

/** One thread of a team. */
export interface Thread {
  /** The thread's own instance. */
  readonly kernels: DecoderExports;
  /** From 0, which is the caller's. */
  readonly index: number;
  /** Threads of the team. */
  readonly count: number;
  /** View of the memory. */
  readonly ints: Int32Array;
  /** Returns when every thread has come here. */
  barrier(): void;
  /** Parts of the step, of a team of several: one object for all seats of the thread. */
  readonly parts?: Parts;
  /**
   * Has experts of a block in slots: of thread 0, where a memory has not room for all. paging/pager.ts has it.
   * @param tokens of the pass, with the last experts that it asks for; 0 before
   */
  readonly fetch?: (block: number, experts: readonly number[], tokens: number) => void;
}

/** Parts of a step, counted through all work of it that is cut, in the order in which every thread comes to it. */
interface Parts {
  /** The part that this thread has next. */
  own: number;
  /** Parts of the work before. */
  before: number;
  /** Takes one that nobody has. */
  take(): number;
}

/** Threads that run passes together. */
export interface Team {
  /** The calling thread. */
  readonly thread: Thread;
  /** Whether all other threads wait for a pass, or have one: it takes no turn of the event loop to know. */
  isThere(): boolean;
  /** Has the other threads begin a pass, told by at most PASS_WORDS words; the caller runs it, too. */
  begin(pass: ArrayLike<number>): void;
  /** Waits for the next pass's words; undefined when there is none any more. @throws when another thread failed */
  next(): Int32Array | undefined;
  /** Has the other threads come to their end. Some runtimes do not end a thread that waits. */
  end(): void;
  /** Lets every thread know that this one failed. */
  fail(): void;
}

/**
 * Thread `index` of `count` in a team.
 * @param buffer the memory's
 * @param sync address of SYNC_BYTES zeros
 */
export function joinTeam(
  kernels: DecoderExports,
  buffer: ArrayBufferLike,
  sync: number,
  index: number,
  count: number,
): Team {
  const words = new Int32Array(buffer, sync, SYNC_BYTES / 4);
  const sleeps = count > 1 && maySleep(words);
  let begun = 0;
  let joined = false;

  function waitWhile(word: number, value: number): void {
    for (let spin = 0; Atomics.load(words, word) === value; spin++) {
      if (spin > SPINS && sleeps) Atomics.wait(words, word, value);
    }
    if (Atomics.load(words, END) === FAILED) throw new Error('a thread of the model failed');
  }

  const parts: Parts = { own: index, before: 0, take: () => count + Atomics.add(words, TAKEN, 1) };

  function barrier(): void {
    if (count === 1) return;
    parts.own = index;
    parts.before = 0;
    const passed = Atomics.load(words, PASSED);
    if (Atomics.add(words, ARRIVED, 1) < count - 1) waitWhile(PASSED, passed);
    else {
      Atomics.store(words, TAKEN, 0);
      Atomics.store(words, ARRIVED, 0);
      Atomics.add(words, PASSED, 1);
      Atomics.notify(words, PASSED);
    }
  }

  function wake(reason: number): void {
    Atomics.store(words, END, reason);
    for (const word of [BEGUN, PASSED]) {
      Atomics.add(words, word, 1);
      Atomics.notify(words, word);
    }
  }

  return {
    thread: { kernels, index, count, ints: new Int32Array(buffer), barrier, parts },
    isThere: () => Atomics.load(words, JOINED) === count - 1,
    begin(pass) {
      if (count === 1) return;
      words.set(pass, PASS);
      Atomics.add(words, BEGUN, 1);
      Atomics.notify(words, BEGUN);
    },
    next() {
      if (!joined) Atomics.add(words, JOINED, 1);
      joined = true;
      waitWhile(BEGUN, begun);
      if (Atomics.load(words, END) === OVER) return undefined;
      begun++;
      return words.slice(PASS, PASS + PASS_WORDS);
    },
    end: () => wake(OVER),
    fail: () => wake(FAILED),
  };
}

/**
 * Has `work` done on `total` items, from `first` to `end` at a time, until no part is left. Every thread calls it with equal arguments, as
 * often and in the same order between two barriers, and runs the parts that it takes. Works between two barriers must not need one another:
 * a thread may begin the next while others end this one. Parts begin at multiples of `apart` and become smaller, to about `least` items.
 * A thread's first part is always the same one.
 */
export function inParts(
  thread: Thread,
  total: number,
  apart: number,
  least: number,
  work: (first: number, end: number) => void,
): void {
  const { count } = thread;
  if (count === 1) {
    if (total > 0) work(0, total);
    return;
  }
  const parts = thread.parts!;
  let part = parts.before;
  let [size, left] = [0, 0]; // of a round, which has a part for each thread
  for (let first = 0; first < total; part++, left--) {
    if (left === 0) {
      const rest = total - first;
      const isLast = rest * (1 - AT_ONCE) < least * count;
      size = Math.ceil(((isLast ? 1 : AT_ONCE) * rest) / count / apart) * apart;
      left = count;
    }
    const end = Math.min(total, first + size);
    if (part === parts.own) {
      work(first, end);
      parts.own = parts.take();
    }
    first = end;
  }
  parts.before = part;
}

/** The part of `total` items that thread `index` works on; parts begin at multiples of `apart`. */
export function share(index: number, count: number, total: number, apart: number): number {
  const units = Math.ceil(total / apart);
  return Math.min(total, Math.floor((units * index) / count) * apart);
}

// A page's main thread may not sleep.
function maySleep(words: Int32Array): boolean {
  try {
    Atomics.wait(words, END, FAILED, 0);
    return true;
  } catch {
    return false;
  }
}
