// Tokens that sensitivities are measured on: windows of a text, seeded random ones, or, by default where there is no text, tokens that
// the model itself samples, at temperature 1: like those that it knows, and so are the sensitivities on them. Some sequences take a
// step together, each in rows of its own, so that weights are read once for all. A resumed run samples again and gets the same ids.

import type { Vocabulary } from '../families/architecture.ts';
import { exp } from '../numerics/exponential.ts';
import { USE, uniformStream } from '../numerics/stream.ts';
import { argmax } from '../text/sample.ts';
import type { Steps } from './progress.ts';
import type { Session } from './session.ts';

export interface Sequence {
  readonly ids: readonly number[];
  /** What the text has behind each id; none for random tokens. */
  readonly targets: readonly number[] | undefined;
}

/** `count` sequences of `tokens` ids, all of the vocabulary alike likely. */
export function randomSequences({ vocabSize }: Vocabulary, count: number, tokens: number, seed: number): Sequence[] {
  return Array.from({ length: count }, (_, sequence) => {
    const random = uniformStream(seed, USE.tokens << 24, sequence, 0);
    return { ids: Array.from({ length: tokens }, () => Math.floor(random() * vocabSize)), targets: undefined };
  });
}

/**
 * Windows of a text at equal distances, each beginning with the model's first token, if it has one.
 * @param text its ids
 * @returns at most `count`: no more than there are windows that do not overlap
 * @throws {RangeError} when the text has not enough for one
 */
export function textSequences({ bos }: Vocabulary, text: readonly number[], count: number, tokens: number): Sequence[] {
  const needed = bos === undefined ? tokens + 1 : tokens;
  if (text.length < needed) {
    throw new RangeError(`text must have a window of ${needed} tokens: it has ${text.length}`);
  }
  const windows = Math.min(count, Math.floor(text.length / needed));
  return Array.from({ length: windows }, (_, i) => {
    const start = windows === 1 ? 0 : Math.floor((i * (text.length - needed)) / (windows - 1));
    const targets = text.slice(start + needed - tokens, start + needed);
    return { ids: [bos ?? text[start], ...targets.slice(0, -1)], targets };
  });
}

/** Tells sequences from others: FNV-1a of their ids, where they are known. */
export function checksumOf(sequences: readonly (Sequence | undefined)[]): number {
  let hash = 0x811c9dc5;
  for (const { ids, targets } of sequences.filter((sequence) => sequence !== undefined)) {
    for (const id of [...ids, ...(targets ?? [])]) hash = Math.imul(hash ^ id, 0x01000193);
  }
  return hash >>> 0;
}

/**
 * Samples sequences `first` to `end`, not more than there are caches for. The first id is bos, or any of the vocabulary if the model
 * has none. Where a text ends before the sequence does, the next one begins behind it, with bos if the model has one.
 * @returns ids of each, as many as sequences have; they depend on seed and sequence alone
 */
export async function sampledIds(
  session: Session,
  seed: number,
  first: number,
  end: number,
  steps: Steps,
): Promise<number[][]> {
  const { measuring, run } = session;
  const { state, workspace, floats, ints } = measuring;
  const { vocabSize, bos, eos } = session.vocabulary;
  const count = end - first;
  const own = Array.from({ length: count }, (_, j) => {
    const random = uniformStream(seed, USE.own << 24, first + j, 0);
    return { random, ids: [bos ?? Math.floor(random() * vocabSize)] };
  });
  for (let token = 0; token + 1 < workspace.tokens; token++) {
    for (const [j, { ids }] of own.entries()) ints[state.ids / 4 + j] = ids[token];
    run({ kind: 'step', first: token, count, logits: true });
    for (const [j, { ids, random }] of own.entries()) {
      const row = state.logits / 4 + j * vocabSize;
      const begins = bos !== undefined && ids[token] !== bos && eos.includes(ids[token]);
      ids.push(begins ? bos : sample(floats.subarray(row, row + vocabSize), random()));
    }
    await steps.next(count);
  }
  return own.map(({ ids }) => ids);
}

/**
 * The first id up to which more than `share` of the probability lies.
 * @throws {RangeError} when logits are not finite numbers
 */
export function sample(logits: Float32Array, share: number): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) top = Math.max(top, logits[id]);
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let id = 0; id < logits.length; id++) {
    weights[id] = exp(logits[id] - top);
    total += weights[id];
  }
  if (Number.isNaN(total)) argmax(logits); // names what is broken
  let sum = 0;
  for (let id = 0; id < weights.length; id++) {
    sum += weights[id];
    if (sum > share * total) return id;
  }
  return weights.length - 1;
}
