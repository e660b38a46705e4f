// The models that a server has: some loaded, others loaded when they are asked for. What has not been used for longest makes room, and
// never while a request uses it.

import { excerpt } from '../excerpt.ts';
import type { Model } from '../text/textmodel.ts';
import { HttpError } from './errors.ts';
import { forgetGrammars } from './structured/constraint.ts';

/** A model that is loaded when it is asked for. */
export interface ModelLoader {
  /** Loads it. A server that needs the memory closes what this gives, and calls it again. */
  load(): Promise<Model>;
  /** Bytes of memory that it will take, if they are known before. */
  bytes?(): Promise<number>;
}

/** The models of a server. */
export interface Shelf {
  /** Names of all models, loaded or not. */
  readonly names: readonly string[];
  /** Names of those that are loaded, and their bytes. */
  readonly loaded: ReadonlyMap<string, number>;
  /** Models loaded, and closed to make room, since the server began. */
  readonly counts: { loads: number; evictions: number };
  /** Passes of all models so far, by the texts that went through together. */
  readonly passes: readonly number[];
  /** The name that a request means. @throws {HttpError} 404 when there is no such model */
  nameOf(asked: string | undefined): string;
  /** Takes a model until `release` is called. @throws {HttpError} 503 when it does not fit in the memory */
  take(name: string, signal: AbortSignal): Promise<{ model: Model; release: () => void }>;
  /** Closes what it loaded. */
  close(): Promise<void>;
}

interface Book {
  readonly loader: ModelLoader | undefined; // undefined of a model that was given
  model: Model | undefined;
  users: number;
  lastUse: number;
  /** Bytes that it took when it was loaded last. */
  taken: number;
  /** The load under way, which all who ask for the model wait for. */
  loading: Promise<void> | undefined;
}

// A model that cannot be loaded is no fault of the request.
async function explained<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!OURS.has((error as Error).name)) throw error;
    const message = `model ${excerpt(name)} cannot be loaded: ${(error as Error).message}`;
    throw new HttpError(503, message, { code: 'model_not_loaded' });
  }
}
const OURS = new Set(['FileError', 'FormatError', 'UnsupportedError', 'RangeError', 'StateError']);

// What a promise gives, unless the signal comes first.
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    const settled = () => signal.removeEventListener('abort', abort);
    work.then(resolve, reject).finally(settled);
  });
}

/** @param memory bytes of all that are loaded at once */
export function openShelf(given: ReadonlyMap<string, Model | ModelLoader>, memory: number): Shelf {
  const books = new Map<string, Book>();
  for (const [name, each] of given) {
    const isLoader = 'load' in each;
    books.set(name, {
      loader: isLoader ? each : undefined,
      model: isLoader ? undefined : each,
      ...{ users: 0, lastUse: 0, taken: 0, loading: undefined },
    });
  }
  const counts = { loads: 0, evictions: 0 };
  let clock = 0;
  let turn: Promise<unknown> = Promise.resolve(); // one model is loaded at a time
  const released: (() => void)[] = [];
  let isClosed = false;

  const bytesOf = ({ model }: Book) => model?.language.memory.bytes ?? 0;
  const total = () => [...books.values()].reduce((sum, book) => sum + bytesOf(book), 0);

  const fixed = total(); // what was given is never closed

  function checkSize(name: string, bytes: number): void {
    if (fixed + bytes <= memory) return;
    const [needed, free] = [Math.ceil(bytes / 1e6), Math.max(0, Math.floor((memory - fixed) / 1e6))];
    const message = `model ${excerpt(name)} needs ${needed} MB of memory: the server has ${free} MB for models`;
    throw new HttpError(503, message, { code: 'model_too_large' });
  }

  const closed: number[] = []; // passes of models that were closed
  const count = (to: number[], passes: readonly number[] = []) =>
    passes.forEach((each, size) => {
      to[size] = (to[size] ?? 0) + each;
    });

  async function unload(book: Book): Promise<void> {
    const { model } = book;
    book.model = undefined;
    count(closed, model!.language.passes);
    await forgetGrammars(model!);
    await model!.close();
  }

  // Waits until `bytes` more fit, as long as somebody waits for the book.
  async function makeRoom(name: string, book: Book, bytes: number): Promise<void> {
    checkSize(name, bytes);
    while (total() + bytes > memory) {
      const [idle] = [...books.values()]
        .filter(({ loader, model, users }) => loader && model && users === 0)
        .sort((a, b) => a.lastUse - b.lastUse);
      if (idle) {
        counts.evictions++;
        await unload(idle);
      } else if (book.users === 0) throw new HttpError(499, 'the client has gone');
      else await new Promise<void>((resolve) => released.push(resolve));
    }
  }

  async function ready(name: string, book: Book): Promise<void> {
    const loader = book.loader!;
    try {
      const said = (await explained(name, async () => loader.bytes?.())) ?? 0;
      await makeRoom(name, book, Math.max(said, book.taken));
      if (isClosed) throw new HttpError(503, 'the server is shutting down');
      book.model = await explained(name, () => loader.load());
      counts.loads++;
      book.taken = bytesOf(book);
      // It may be larger than it said.
      try {
        checkSize(name, book.taken);
      } catch (error) {
        await unload(book);
        throw error;
      }
      await makeRoom(name, book, 0);
    } finally {
      book.loading = undefined;
    }
  }

  function load(name: string, book: Book): Promise<void> {
    if (!book.loading) {
      book.loading = turn.then(() => ready(name, book));
      turn = book.loading.catch(() => {});
    }
    return book.loading;
  }

  async function take(name: string, signal: AbortSignal): Promise<{ model: Model; release: () => void }> {
    const book = books.get(name)!;
    book.users++; // nobody closes it from now on
    const release = () => {
      book.users--;
      book.lastUse = ++clock;
      for (const resolve of released.splice(0)) resolve();
    };
    try {
      signal.throwIfAborted();
      while (book.loading || !book.model) await unlessAborted(load(name, book), signal);
      signal.throwIfAborted();
      let isReleased = false;
      const once = () => {
        if (!isReleased) release();
        isReleased = true;
      };
      return { model: book.model, release: once };
    } catch (error) {
      release();
      throw error;
    }
  }

  return {
    names: [...books.keys()],
    get loaded() {
      return new Map([...books].filter(([, { model }]) => model).map(([name, book]) => [name, bytesOf(book)]));
    },
    counts,
    get passes() {
      const all = [...closed];
      for (const { model } of books.values()) count(all, model?.language.passes);
      return all;
    },
    nameOf(asked) {
      const names = [...books.keys()];
      if (asked === undefined && names.length === 1) return names[0];
      if (asked !== undefined && books.has(asked)) return asked;
      const requested = asked === undefined ? 'none' : JSON.stringify(excerpt(asked));
      const message = `model must be one of ${names.map((name) => JSON.stringify(name)).join(', ')}: got ${requested}`;
      throw new HttpError(asked === undefined ? 400 : 404, message, { param: 'model', code: 'model_not_found' });
    },
    take,
    async close() {
      isClosed = true;
      await turn;
      for (const book of books.values()) {
        if (book.loader && book.model) await unload(book);
      }
    },
  };
}
