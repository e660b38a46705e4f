// How well a model predicts a text: −ln p of its tokens, in windows of fixed length; and beside another model, how far the
// predictions of the two are apart. Sums are f64 in the order of the text.

import { anyNumber, callback, integer, nullable, number, type Schema, signalOf, tokenId } from '../check.ts';
import { exp, logSumExp } from '../numerics/exponential.ts';
import { checkVocabulary, type Language, logitsOf, openSequence, type Sequence } from './language.ts';
import { argmax, finiteLogit } from './sample.ts';

/** How a text is cut and scored. */
export interface PerplexityOptions {
  /** Tokens of a window, the one that begins it included; by default 256, or the model's context if that is less. */
  context?: number;
  /** Tokens from one window to the next; by default all that a window holds. Less gives tokens more context, in more time. */
  stride?: number;
  /** Begins each window; by default the model's own. `null` for none: then a text's first token cannot be scored. */
  bos?: number | null;
  /** Bytes of the text in UTF-8, for bits per byte. */
  bytes?: number;
  /** The model to compare with, of the same vocabulary: usually the original. */
  against?: Language;
  /** Stops between two windows. */
  signal?: AbortSignal | undefined;
  /** Called after every window. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

/** Members of options that say how a text is cut and scored. */
export const perplexityMembers: Schema<Omit<PerplexityOptions, 'against'>> = {
  context: anyNumber, // its range depends on the models
  stride: anyNumber,
  bos: nullable(tokenId),
  bytes: number(0, Number.MAX_SAFE_INTEGER, true),
  signal: signalOf,
  onProgress: callback,
};

/** Figures of a text. */
export interface Perplexity {
  /** Mean of −ln p, in nats, and its standard error over tokens. */
  meanNll: number;
  /** Standard error of `meanNll`. */
  standardError: number;
  /** e to the mean, and its standard error to first order. */
  perplexity: number;
  /** Standard error of `perplexity`, to first order. */
  perplexityError: number;
  /** Tokens scored, of how many, in how many windows of which size and step. */
  tokensScored: number;
  /** Tokens of the text. */
  tokens: number;
  /** Windows that the text was cut into. */
  windows: number;
  /** Tokens of a window. */
  context: number;
  /** Tokens from one window to the next. */
  stride: number;
  /** The id that begins each window; null for none. */
  bos: number | null;
  /** If the bytes were given. */
  bitsPerByte: number | undefined;
  /** If there was a model to compare with. */
  against: Divergence | undefined;
}

/** How far a model's predictions are from another's, over the same tokens. */
export interface Divergence {
  /** Of the other model. */
  meanNll: number;
  /** e to the power of `meanNll`. */
  perplexity: number;
  /** This perplexity over the other's, and its standard error to first order: −ln p is subtracted token by token. */
  ratio: number;
  /** Standard error of `ratio`. */
  ratioError: number;
  /** Mean of KL(other ‖ this), in nats, and its standard error over tokens. */
  meanKl: number;
  /** Standard error of `meanKl`. */
  standardError: number;
  /** Of the KL of single tokens: the smallest that this share of tokens does not exceed. */
  percentiles: { p50: number; p90: number; p95: number; p99: number; max: number };
  /** Share of tokens for which both have the same most likely one. */
  top1Agreement: number;
}

/** Context of a window unless another is asked for. */
export const DEFAULT_CONTEXT = 256;
/** Floats of logits asked for in one call. */
const CALL_FLOATS = 1 << 22;

/**
 * Scores a text. By default windows do not overlap: [bos] and the next context − 1 ids, each scored once.
 * @param ids of the whole text, without special tokens
 * @throws {RangeError} when there is nothing to score or an option is out of range
 */
export async function perplexity(
  language: Language,
  ids: ArrayLike<number>,
  options: PerplexityOptions = {},
): Promise<Perplexity> {
  const { vocabSize } = language.config;
  const { against, signal, onProgress, bytes } = options;
  const most = Math.min(language.config.contextLength, (against ?? language).config.contextLength);
  const { context = Math.min(DEFAULT_CONTEXT, most), bos = language.config.bos ?? null } = options;
  integer(2, most)('context', context);
  const begin = bos === null ? [] : [bos];
  const room = context - begin.length;
  const { stride = room } = options;
  integer(1, room)('stride', stride);
  checkVocabulary('text', ids, language.config);
  checkVocabulary('bos', begin, language.config);
  if (ids.length + begin.length < 2) {
    throw new RangeError(`text must have a token to score: it has ${ids.length}`);
  }
  if (against) checkSameVocabulary(vocabSize, against.config.vocabSize);

  const [first, others, differences, divergences] = [new Mean(), new Mean(), new Mean(), new Mean()];
  const kls: number[] = [];
  let agreed = 0;
  let windows = 0;
  const sequences: Sequence[] = [];
  try {
    for (const each of [language, ...(against ? [against] : [])]) {
      sequences.push(await openSequence(each, { capacity: context, ...(signal && { signal }) }));
    }
    for (let start = 0, scored = 0; scored < ids.length; start += stride) {
      const end = Math.min(start + room, ids.length);
      const tokens = [...begin, ...Array.prototype.slice.call(ids, start, end)];
      // Row i of the logits predicts tokens[i + 1].
      const firstRow = Math.max(begin.length - 1 + scored - start, 0);
      await eachRow(language, sequences, tokens.slice(0, -1), firstRow, signal, (i, rows) => {
        const [row, other] = rows;
        const target = tokens[i + 1];
        const sum = logSum(row);
        const nll = sum - finiteLogit(row, target);
        first.add(nll);
        if (!other) return;
        const otherSum = logSum(other);
        const otherNll = otherSum - finiteLogit(other, target);
        others.add(otherNll);
        differences.add(nll - otherNll);
        const kl = divergence(other, otherSum, row, sum);
        divergences.add(kl);
        kls.push(kl);
        if (argmax(row) === argmax(other)) agreed++;
      });
      scored = end;
      windows++;
      onProgress?.({ done: end, total: ids.length });
    }
  } finally {
    for (const sequence of sequences) sequence.close();
  }

  const value = exp(first.mean);
  const ratio = exp(differences.mean);
  return {
    meanNll: first.mean,
    standardError: first.standardError(),
    perplexity: value,
    perplexityError: value * first.standardError(),
    tokensScored: first.count,
    tokens: ids.length,
    windows,
    context,
    stride,
    bos,
    bitsPerByte: bytes === undefined ? undefined : (first.mean * first.count) / (Math.LN2 * bytes),
    against: against && {
      meanNll: others.mean,
      perplexity: exp(others.mean),
      ratio,
      ratioError: ratio * differences.standardError(),
      meanKl: divergences.mean,
      standardError: divergences.standardError(),
      percentiles: percentilesOf(kls),
      top1Agreement: agreed / first.count,
    },
  };
}

// The rows of logits from `firstRow` on, of all the sequences, a bounded number at a time.
async function eachRow(
  language: Language,
  sequences: readonly Sequence[],
  ids: readonly number[],
  firstRow: number,
  signal: AbortSignal | undefined,
  use: (i: number, rows: readonly Float32Array[]) => void,
): Promise<void> {
  if (ids.length === 0) return; // a window of one token, which nothing predicts
  const { vocabSize } = language.config;
  const aborted = signal && { signal };
  const step = Math.max(1, Math.floor(CALL_FLOATS / vocabSize));
  const cuts = [0];
  for (let at = firstRow; at < ids.length; at += step) if (at > 0) cuts.push(at);
  for (const sequence of sequences) sequence.truncate(0);
  for (const [k, from] of cuts.entries()) {
    const part = ids.slice(from, cuts[k + 1] ?? ids.length);
    if (from < firstRow) {
      await Promise.all(sequences.map((sequence) => sequence.extend(part, { rows: 'none', ...aborted })));
      continue;
    }
    const results = await Promise.all(
      sequences.map((sequence) => logitsOf(language, sequence, part, { rows: 'all', ...aborted })),
    );
    for (let i = 0; i < part.length; i++) {
      use(
        from + i,
        results.map((logits) => logits.subarray(i * vocabSize, (i + 1) * vocabSize)),
      );
    }
  }
}

// ln Σ eˣ of logits; the search for the largest names what is broken.
function logSum(row: Float32Array): number {
  const sum = logSumExp(row);
  if (!Number.isFinite(sum)) argmax(row);
  return sum;
}

// KL(p ‖ q) of two rows of logits; rounding must not make it negative.
function divergence(p: Float32Array, pSum: number, q: Float32Array, qSum: number): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const logP = p[i] - pSum;
    const probability = exp(logP);
    if (probability > 0) sum += probability * (logP - (finiteLogit(q, i) - qSum));
  }
  return Math.max(0, sum);
}

/** KL(p ‖ q) of two rows of logits, in nats. @throws {RangeError} when a logit is not finite */
export function divergenceOf(p: Float32Array, q: Float32Array): number {
  return divergence(p, logSum(p), q, logSum(q));
}

/** @throws {RangeError} when two vocabularies differ */
export function checkSameVocabulary(first: number, other: number): void {
  if (first === other) return;
  throw new RangeError(`both models must have the same vocabulary: they have ${first} and ${other} tokens`);
}

function percentilesOf(values: readonly number[]): Divergence['percentiles'] {
  const sorted = Float64Array.from(values).sort();
  const quantile = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  return { p50: quantile(0.5), p90: quantile(0.9), p95: quantile(0.95), p99: quantile(0.99), max: quantile(1) };
}

// Mean and variance as they come, by Welford's update.
class Mean {
  count = 0;
  mean = 0;
  private squares = 0;

  add(x: number): void {
    this.count++;
    const before = x - this.mean;
    this.mean += before / this.count;
    this.squares += before * (x - this.mean);
  }

  /** Of the mean; 0 for a single value. */
  standardError(): number {
    return this.count < 2 ? 0 : Math.sqrt(this.squares / (this.count - 1) / this.count);
  }
}
