// What the text side asks of a decoder: sequences of ids, and logits behind them. Sequences of many callers run together; each gives
// what it would give alone. This is the original of the shapes that src/model/sequences/batch.ts declares again: neither room knows the other, and
// src/decoder.ts, which joins them, fails to compile where they differ.

import { having, integer, list, member, needed, object, type Reader, tokenId, typedArray } from '../check.ts';

/** What a model's configuration says of its ids. */
export interface LanguageConfig {
  /** Number of ids; a row of logits has one for each. */
  readonly vocabSize: number;
  /** Most ids of a text. */
  readonly contextLength: number;
  /** Begins a text, if the model has such an id. */
  readonly bos: number | undefined;
  /** Any of these ends a text. */
  readonly eos: readonly number[];
}

/** What `extend` gives. */
export interface ExtendOptions {
  /** Rows of which ids are wanted: the last one's if left out. */
  rows?: 'last' | 'all' | 'none';
  /** Rows of what: logits if left out, or hidden states behind the last norm. */
  of?: 'logits' | 'hidden';
  /** Takes each row as soon as it is there, instead of the result; valid during the call only. @param index of the id among those given */
  each?: (index: number, row: Float32Array) => void;
  /** Ends the call between two passes; what went through stays in the sequence. */
  signal?: AbortSignal;
}

/** Ids with a place in the decoder's cache. One call at a time. */
export interface Sequence {
  /** The ids that are cached. */
  readonly ids: readonly number[];
  /**
   * Runs ids behind those that are there.
   * @returns (rows, vocabSize) logits of what comes behind each id, or (rows, dim) hidden states; the caller's to keep
   */
  extend(ids: ArrayLike<number>, options?: ExtendOptions): Promise<Float32Array>;
  /** Forgets the ids from `length` on. */
  truncate(length: number): void;
  /** Gives the place back. */
  close(): void;
}

/** What a sequence is to hold. */
export interface OpenOptions {
  /** Most ids that it will hold. */
  capacity: number;
  /** Ids that it will begin with: of what is cached already the sequence has a copy, but not of the last of them. */
  ids?: ArrayLike<number>;
  /** Ends the wait for a place. */
  signal?: AbortSignal;
}

/** A decoder over its weights and its cache. */
export interface Language {
  /** What the configuration says of ids and context. */
  readonly config: LanguageConfig;
  /** Threads that it runs on. */
  readonly threads: number;
  /** Bytes of linear memory: in all, and of that for weights and for the cache. */
  readonly memory: { readonly bytes: number; readonly weights: number; readonly cache: number };
  /** Of a model whose experts are not all in memory: how many were there when they were asked for, and what was read. */
  readonly paging?:
    | {
        readonly experts: number;
        readonly slots: number;
        readonly hits: number;
        readonly misses: number;
        readonly bytesRead: number;
        readonly prefetch?: { readonly hits: number; readonly misses: number; readonly bytesWasted: number };
      }
    | undefined;
  /** How many passes there were so far, by the sequences that went through together, if the decoder tells. */
  readonly passes?: readonly number[];
  /** Opens a sequence; waits for a place while the cache is full, in the order of the calls. */
  open(options: OpenOptions): Promise<Sequence>;
  /** Frees the weights and ends the threads. */
  close(): Promise<void>;
}

/** Most ids that end a text. */
const ENDS_LIMIT = 1000;

const languageLike = having<Language>('a language', ['open', 'close'], ', as that of loadModel()');
const sequenceLike = having<Sequence>('a sequence', ['extend', 'truncate', 'close']);
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

/** A new sequence of a language, which may be a caller's own. */
export async function openSequence(language: Language, options: OpenOptions): Promise<Sequence> {
  return sequenceLike('result of open()', await language.open(options));
}

/** Has `work` use a sequence, and closes it. */
export async function withSequence<T>(
  language: Language,
  options: OpenOptions,
  work: (sequence: Sequence) => Promise<T>,
): Promise<T> {
  const sequence = await openSequence(language, options);
  try {
    return await work(sequence);
  } finally {
    sequence.close();
  }
}

/** Logits of ids, (rows, vocabSize), as many as there must be. */
export async function logitsOf(
  { config }: Language,
  sequence: Sequence,
  ids: readonly number[],
  options: { rows: 'last' | 'all'; signal?: AbortSignal },
): Promise<Float32Array> {
  const rows = options.rows === 'all' ? ids.length : 1;
  const logits = await sequence.extend(ids, options);
  return typedArray(Float32Array, rows * config.vocabSize)('result of extend()', logits);
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
