// Text from a prompt, token by token.

import { callback, flag, integer, list, optionsOf, type Schema, signalOf, text as textOf } from '../check.ts';
import type { TextStream } from './bytes.ts';
import { checkIds, givenLanguage, type Language, logitsOf, openSequence, type Sequence } from './language.ts';
import { checkSameVocabulary, divergenceOf } from './perplexity.ts';
import { type SamplingOptions, samplerOf, samplingMembers } from './sample.ts';
import { stopFilter } from './stop.ts';

/** How to generate. */
export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to generate; 256 by default. */
  maxTokens?: number;
  /** Ends the text where one of these would begin; none of it is given out, even if tokens split it. */
  stop?: string | readonly string[];
  /** Goes on behind tokens that end a text. */
  ignoreEos?: boolean;
  /** Writes special tokens out; they are left out by default. */
  special?: boolean;
  /** Where the context is full, goes on behind the first token and the later half of the others, instead of ending. */
  contextShift?: boolean;
  /** Ends the generation between two tokens: not an error. */
  signal?: AbortSignal | undefined;
  /**
   * Called before every choice with the row of logits that it is made from, which may be changed: −∞ rules a token out. Ends the text
   * where it gives `false`, or a promise of it.
   */
  onLogits?: (logits: Float32Array) => unknown;
  /** Called with every token, and the text that it completes. */
  onToken?: (id: number, piece: string) => void;
  /** Another model of the same vocabulary, usually the original: it is run over the same tokens, and `onDivergence` told. */
  against?: Language;
  /** Called before every choice with KL(other ‖ this) of the next token, in nats. */
  onDivergence?: (kl: number) => void;
}

/** Most stop strings: each is looked for after every token. */
const STOPS_LIMIT = 1000;
const stops = list(textOf, STOPS_LIMIT, 'a string or a list of strings');

/** Members of options that say how to generate. */
export const generateMembers: Schema<Omit<GenerateOptions, 'against'>> = {
  ...samplingMembers,
  maxTokens: integer(1),
  stop: (subject, value) => (typeof value === 'string' ? value : stops(subject, value)),
  ignoreEos: flag,
  special: flag,
  contextShift: flag,
  signal: signalOf,
  onLogits: callback,
  onToken: callback,
  onDivergence: callback,
};
const generateOptions = optionsOf<GenerateOptions>({ ...generateMembers, against: givenLanguage });

/** Why a generation ended: a token that ends texts, a stop string, `maxTokens` or the context, the signal. */
export type FinishReason = 'eos' | 'stop' | 'length' | 'aborted';

/** What a generation made. */
export interface GenerationResult {
  /** Tokens of the prompt. */
  promptIds: readonly number[];
  /** Tokens generated, without the one that ended the text. */
  ids: readonly number[];
  /** The pieces, joined. */
  text: string;
  /** Why the text ended. */
  finishReason: FinishReason;
  /** Tokens of the prompt that the cache held already. */
  reused: number;
  /** From the call to the first token, in milliseconds. */
  promptMs: number;
  /** From the first token to the end, in milliseconds. */
  generateMs: number;
}

/** Pieces of text as they come; `result` is there when the last one has come. */
export interface Generation extends AsyncGenerator<string, GenerationResult, void> {
  /** What was made; undefined until the last piece has come. */
  readonly result: GenerationResult | undefined;
}

/** Turns ids into text; starts behind the ids of the prompt. */
type StreamText = (behind: readonly number[], options: { special: boolean }) => TextStream;

/**
 * Generates behind a prompt. Several generations on one model go through it together: each gives what it would give alone. One that
 * is neither read to its end nor left (`break`, `return()`) keeps its place in the cache for some seconds.
 * @param promptIds between one token and as many as the context
 * @param ends ids that end a text
 * @throws {TypeError} when an option is not known, or of another kind
 * @throws {RangeError} when the prompt is empty, too long or not of this vocabulary, or an option is out of range
 */
export function generate(
  language: Language,
  streamText: StreamText,
  promptIds: readonly number[],
  ends: ReadonlySet<number>,
  given: GenerateOptions = {},
): Generation {
  const { signal, onLogits, onToken, against, onDivergence, ...options } = generateOptions('options', given);
  checkIds('prompt', promptIds, language);
  const { maxTokens = 256, stop = [], ignoreEos = false, special = false, contextShift = false } = options;
  if (against) checkSameVocabulary(language.config.vocabSize, against.config.vocabSize);
  if (against && contextShift)
    throw new RangeError('contextShift must be left out beside against: the two models would see other texts');
  const filter = stopFilter(typeof stop === 'string' ? [stop] : stop);
  const sample = samplerOf(options);
  let result: GenerationResult | undefined;

  async function* run(): AsyncGenerator<string, GenerationResult, void> {
    const began = performance.now();
    let first: number | undefined;
    const ids = [...promptIds];
    const occurred = new Set(ids);
    const stream = streamText(promptIds, { special });
    const { contextLength } = language.config;
    // The last token of all is never run, and so needs no place in the context.
    const most = contextShift
      ? promptIds.length + maxTokens
      : Math.min(promptIds.length + maxTokens, contextLength + 1);
    let visible = ids; // what the model sees of them
    const open = (): Promise<Sequence | undefined> => {
      const capacity = Math.min(visible.length + most - ids.length - 1, contextLength);
      return aborted(openSequence(language, { ids: visible, capacity, ...ending }), signal);
    };
    let text = '';
    let reused = 0;
    let finishReason: FinishReason = 'length';
    const ending = signal && { signal };
    let sequence: Sequence | undefined;
    let other: Sequence | undefined;
    try {
      sequence = await open();
      reused = sequence?.ids.length ?? 0;
      if (sequence && against)
        other = await aborted(openSequence(against, { ids, capacity: most - 1, ...ending }), signal);
      while (sequence && !other === !against && ids.length < most) {
        if (visible.length > contextLength) {
          sequence.close();
          visible = shifted(visible);
          sequence = await open();
          if (!sequence) break;
        }
        const next = visible.slice(sequence.ids.length);
        const logits = await aborted(logitsOf(language, sequence, next, { rows: 'last', ...ending }), signal);
        if (!logits) break;
        first ??= performance.now();
        if (other)
          onDivergence?.(
            divergenceOf(await logitsOf(against!, other, ids.slice(other.ids.length), { rows: 'last' }), logits),
          );
        if (onLogits && (await onLogits(logits)) === false) {
          finishReason = 'eos';
          break;
        }
        const id = sample(logits, occurred);
        if (!ignoreEos && ends.has(id)) {
          finishReason = 'eos';
          break;
        }
        ids.push(id);
        if (visible !== ids) visible.push(id);
        occurred.add(id);
        const { text: piece, stopped } = filter.push(stream.push(id));
        onToken?.(id, piece);
        text += piece;
        if (stopped) finishReason = 'stop';
        if (piece !== '') yield piece;
        if (stopped) break;
      }
    } finally {
      sequence?.close();
      other?.close();
    }
    if (signal?.aborted && ids.length < most && finishReason === 'length') finishReason = 'aborted';
    if (finishReason !== 'stop') {
      const { text: cut, stopped } = filter.push(stream.end());
      if (stopped) finishReason = 'stop';
      const rest = cut + filter.end();
      text += rest;
      if (rest !== '') yield rest;
    }
    const ended = performance.now();
    first ??= ended;
    const generated = ids.slice(promptIds.length);
    result = {
      promptIds: [...promptIds],
      ids: generated,
      text,
      finishReason,
      reused,
      promptMs: first - began,
      generateMs: ended - first,
    };
    return result;
  }

  return Object.defineProperty(run(), 'result', { get: () => result }) as Generation;
}

// The first of ids, which texts begin with, and the later half of the others.
const shifted = (ids: readonly number[]) => [ids[0], ...ids.slice(1 + (ids.length >> 1))];

// What a call gives; undefined when the signal ended it.
async function aborted<T>(call: Promise<T>, signal: AbortSignal | undefined): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (signal?.aborted) return undefined;
    throw error;
  }
}
