// Threads that share memory, for one model: each is sent one message, and runs until it is ended. They are free, then a model's, then
// closed: a second model would wait for them for ever, so it is refused.

import { member, type Reader, refuseKind } from '../check.ts';
import { closed, StateError } from '../errors.ts';
import { type Starting, startAll } from './start.ts';

/** Threads to run a model on; they belong to the model that is loaded with them. */
export interface Threads {
  /** Threads, the caller's among them. */
  readonly size: number;
  /** Whether they were closed: who waits for them would wait for ever. */
  readonly isClosed: boolean;
  /** Claims them for one model. @throws {StateError} when another has them, or they are closed */
  take(): void;
  /** Sends each of the others its message, by its index from 1 on; resolves when all have answered. One model after the other. */
  start(messageOf: (index: number) => unknown): Promise<void>;
  /** Ends the others. */
  close(): Promise<void>;
}

/** What a thread answers: once when it is there, once when it has taken its message. */
export type ThreadAnswer = { ready: true } | { name: string; message: string };

/** A thread of whatever kind the runtime has. */
interface ThreadHandle {
  post(message: unknown): void;
  /** Keeps the process alive, and does not from `release` on. */
  hold(): void;
  release(): void;
  terminate(): unknown;
}

/** Starts a thread; `answer` gets its answers, `fail` what ended it. */
export type SpawnThread = (answer: (answer: ThreadAnswer) => void, fail: (reason: Error) => void) => ThreadHandle;

// Each bundle of the package has a registry of its own: threads are known by a mark. What is only like them never ends a pass.
const MARK = Symbol.for('higgs-wasm threads');

/** Threads of `startThreads`. */
export const givenThreads: Reader<Threads> = (subject, value) => {
  const isObject = typeof value === 'object' && value !== null;
  if (isObject && member(subject, value, MARK) === true) return value as Threads;
  return refuseKind(subject, 'threads, as startThreads() of higgs-wasm/workers gives', value);
};

/** Threads, or what starts them once they are needed. */
export type ThreadsOrStart = Threads | (() => Threads | Promise<Threads>);

/** Threads, or a function that starts them. */
export const givenThreadsOrStart: Reader<ThreadsOrStart> = (subject, value) =>
  typeof value === 'function' ? (value as () => Promise<Threads>) : givenThreads(subject, value);

/** Starts threads, and claims them. @throws what the caller's function throws, and as `takeThreads` */
export async function startAndTake(start: () => Threads | Promise<Threads>): Promise<Threads> {
  const threads = givenThreads('result of threads()', await start());
  threads.take();
  return threads;
}

/**
 * The threads of an options object, claimed: whoever calls this ends them if it fails.
 * @param mayStart whether there may be a function instead, which starts them later
 * @throws {TypeError} when they are none @throws {StateError} when another model has them, or they are closed
 */
export function takeThreads(options: unknown, mayStart = false): Threads | undefined {
  const isObject = typeof options === 'object' && options !== null;
  const given = isObject ? member('options', options, 'threads') : undefined;
  if (given === undefined || (mayStart && typeof given === 'function')) return undefined;
  const threads = givenThreads('threads', given);
  threads.take();
  return threads;
}

/** Threads for a model that comes before another: whoever closes them leaves them to the next. */
export function lendThreads(threads: Threads): Threads {
  const { size, start } = threads;
  const lent: Threads = {
    size,
    get isClosed() {
      return threads.isClosed;
    },
    take() {},
    start,
    close: async () => {},
  };
  return Object.defineProperty(lent, MARK, { value: true });
}

/**
 * Starts `size - 1` threads beside the caller's, and waits until they are there.
 * @throws {RangeError} when one does not start; none is left then
 */
export async function threadsOf(size: number, spawn: SpawnThread): Promise<Threads> {
  const { threads, ready } = startingThreads(size, spawn);
  await ready;
  return threads;
}

/**
 * Starts `size - 1` threads beside the caller's, and does not wait until they are there: who loads a model with them plans it meanwhile.
 * Where one does not start, that model is refused with the RangeError of `threadsOf`.
 */
export function beginThreads(size: number, spawn: SpawnThread): Threads {
  return startingThreads(size, spawn).threads;
}

function startingThreads(
  size: number,
  spawn: SpawnThread,
): { readonly threads: Threads; readonly ready: Promise<unknown> } {
  const others: ReturnType<typeof threadOf>[] = [];
  const ready = startAll(size - 1, 'threads', () => threadOf(spawn), others);
  ready.catch(() => {}); // told to who waits for it
  let state: 'free' | 'taken' | 'started' | 'closed' = 'free';
  const mustBe = (...states: readonly string[]) => {
    if (state === 'closed') throw closed('threads');
    if (!states.includes(state)) throw new StateError('threads must be free: a model has them');
  };
  let ended: Promise<void> | undefined;
  const end = async () => {
    // Who waits for their end is still there when it comes.
    for (const { handle } of others) handle.hold();
    await Promise.all(others.map(({ handle }) => handle.terminate()));
  };
  const threads: Threads = {
    size,
    get isClosed() {
      return state === 'closed';
    },
    take() {
      mustBe('free');
      state = 'taken';
    },
    start: async (messageOf) => {
      mustBe('free', 'taken', 'started');
      state = 'started';
      for (const [i, { handle }] of others.entries()) {
        handle.hold();
        handle.post(messageOf(i + 1)); // it waits there for a thread that is on its way
      }
      try {
        await ready;
        await Promise.all(others.map(({ answered }) => answered()));
      } catch (reason) {
        throw threads.isClosed ? closed('threads') : reason; // a thread that is closed as it starts ends early
      }
      // Closed meanwhile, they are held until they have ended: else the process may end before.
      if (state === 'started') for (const { handle } of others) handle.release();
    },
    close: () => {
      state = 'closed';
      ended ??= end();
      return ended;
    },
  };
  Object.defineProperty(threads, MARK, { value: true });
  return { threads, ready };
}

function threadOf(spawn: SpawnThread): Starting & { handle: ThreadHandle; answered(): Promise<void> } {
  const answers: (Error | undefined)[] = [];
  let waiting: ((answer: Error | undefined) => void) | undefined;
  const take = (answer: Error | undefined) => {
    if (!waiting) {
      answers.push(answer);
      return;
    }
    waiting(answer);
    waiting = undefined;
  };
  const handle = spawn(
    (answer) => take('ready' in answer ? undefined : new Error(`${answer.name} in a thread: ${answer.message}`)),
    take,
  );
  const answered = () =>
    new Promise<void>((resolve, reject) => {
      const settle = (answer: Error | undefined) => (answer ? reject(answer) : resolve());
      if (answers.length > 0) settle(answers.shift());
      else waiting = settle;
    });
  return { handle, answered, ready: answered(), terminate: () => handle.terminate() };
}
