// Tokens that sensitivities are measured on, where they are known before: seeded random ones, or windows of a text.

import type { ModelConfig } from '../model/config.ts';
import { USE, uniformStream } from '../numerics/stream.ts';

export interface Sequence {
  readonly ids: readonly number[];
  /** What the text has behind each id; none for random tokens. */
  readonly targets: readonly number[] | undefined;
}

/** `count` sequences of `tokens` ids, all of the vocabulary alike likely. */
export function randomSequences({ vocabSize }: ModelConfig, count: number, tokens: number, seed: number): Sequence[] {
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
export function textSequences(
  { bos }: ModelConfig,
  text: readonly number[],
  count: number,
  tokens: number,
): Sequence[] {
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
