// What the text side asks of a decoder: logits of ids at positions, over a cache of the ids before them.

import { having, integer, list, member, needed, object, type Reader, tokenId, typedArray } from '../check.ts';

/** What a model's configuration says of its ids. */
export interface LanguageConfig {
  readonly vocabSize: number;
  /** Ids that the cache has room for. */
  readonly contextLength: number;
  /** Begins a text, if the model has such an id. */
  readonly bos: number | undefined;
  /** Any of these ends a text. */
  readonly eos: readonly number[];
}

/** How `forward` runs. */
export interface PassOptions {
  /** How many ids of the cache the given ones follow; 0 if left out. */
  from?: number;
  /** Rows of logits: of every id, of the last one (if left out), none. */
  logits?: 'last' | 'all' | 'none';
  signal?: AbortSignal;
}

/** A decoder over its weights and its cache. One call at a time. */
export interface Language {
  readonly config: LanguageConfig;
  readonly threads: number;
  /** Bytes of linear memory: in all, and of that for weights and for the cache. */
  readonly memory: { readonly bytes: number; readonly weights: number; readonly cache: number };
  /** Ids whose keys and values are cached. */
  readonly cached: readonly number[];
  /** @returns (rows, vocabSize): logits of what comes behind each id */
  forward(ids: ArrayLike<number>, options?: PassOptions): Promise<Float32Array>;
  /** @returns (ids.length, dim): hidden states behind the last norm */
  hidden(ids: ArrayLike<number>): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Most ids that end a text. */
const ENDS_LIMIT = 1000;

const languageLike = having<Language>('a language', ['forward', 'hidden', 'close'], ', as that of loadModel()');
const configOf = object<Pick<LanguageConfig, 'vocabSize' | 'contextLength' | 'eos'> & { bos?: number }>('an object', {
  vocabSize: needed(integer(1)),
  contextLength: needed(integer(1)),
  eos: needed(list(tokenId, ENDS_LIMIT)),
  bos: tokenId,
});

/** A language as a caller gives it. */
export const givenLanguage: Reader<Language> = (subject, value) => {
  const language = languageLike(subject, value);
  configOf(`config of ${subject}`, member(subject, language, 'config'));
  return language;
};

/** Logits of ids, (rows, vocabSize), as many as there must be: a language may be a caller's own. */
export async function logitsOf(
  language: Language,
  ids: readonly number[],
  options: PassOptions & { logits: 'last' | 'all' },
): Promise<Float32Array> {
  const rows = options.logits === 'all' ? ids.length : 1;
  const logits = await language.forward(ids, options);
  return typedArray(Float32Array, rows * language.config.vocabSize)('result of forward()', logits);
}

/** @throws {RangeError} when there are no ids, too many, or one that the vocabulary has not */
export function checkIds(subject: string, ids: ArrayLike<number>, { config }: Language): void {
  if (ids.length === 0) throw new RangeError(`${subject} must have at least one token: it is empty`);
  if (ids.length > config.contextLength) {
    throw new RangeError(`${subject} must fit the context of ${config.contextLength} tokens: got ${ids.length} tokens`);
  }
  checkVocabulary(subject, ids, config);
}

/** @throws {RangeError} when the vocabulary has not one of the ids */
export function checkVocabulary(subject: string, ids: ArrayLike<number>, { vocabSize }: LanguageConfig): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw new RangeError(`${subject} must be token ids from 0 to ${vocabSize - 1}: got ${id} at ${i}`);
    }
  }
}

/** A thread lets its other work run about this often, in milliseconds: a page stays alive, a signal arrives. */
const PAUSE_AFTER = 20;
/** And at least this often, in calls: the clocks of edge workers stand still while they compute. */
const PAUSE_CALLS = 32;
let paused = 0;
let calls = 0;

/** Lets other work of the thread run, if none could for a while. */
export async function pause(): Promise<void> {
  if (++calls % PAUSE_CALLS !== 0 && performance.now() - paused < PAUSE_AFTER) return;
  await new Promise((resolve) => setTimeout(resolve));
  paused = performance.now();
}

const turns = new WeakMap<Language, Promise<unknown>>();

/** Runs `work` when all that was asked of the model before has ended: its cache has one user at a time. */
export function inTurn<T>(language: Language, work: () => Promise<T>): Promise<T> {
  const turn = (turns.get(language) ?? Promise.resolve()).then(work, work);
  turns.set(
    language,
    turn.catch(() => {}),
  );
  return turn;
}

/**
 * Logits behind the last of `ids`; what the cache already holds of them is not run again.
 * @returns logits (vocabSize) and how many ids were cached; undefined when aborted
 */
export function lastLogits(
  language: Language,
  ids: readonly number[],
  signal?: AbortSignal,
): Promise<{ logits: Float32Array; reused: number } | undefined> {
  return inTurn(language, async () => {
    const from = Math.min(commonPrefix(language.cached, ids), ids.length - 1);
    try {
      signal?.throwIfAborted();
      const logits = await logitsOf(language, ids.slice(from), { from, logits: 'last', ...(signal && { signal }) });
      return { logits: logits.slice(), reused: from }; // the model's own memory is the next caller's
    } catch (error) {
      if (signal?.aborted) return undefined;
      throw error;
    }
  });
}

/** How many ids both begin with. */
export function commonPrefix(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
