// Tokens that sensitivities are measured on: windows of a text, seeded random ones, or, by default where there is no text, tokens that
// the model itself samples, at temperature 1: like those that it knows, and so are the sensitivities on them. Some sequences take a
// step together, each in rows of its own, so that weights are read once for all. A resumed run samples again and gets the same ids.

import type { Vocabulary } from '../families/architecture.ts';
import { exp } from '../numerics/exponential.ts';
import { USE, uniformStream } from '../numerics/stream.ts';
import { argmax } from '../text/sample.ts';
import type { Steps } from './progress.ts';
import { pieceOf, type Session } from './session.ts';

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

/** One step of some sequences: their ids at a place to the logits of each, (sequences, vocabSize). */
export type Step = (place: number, ids: readonly number[]) => Promise<Float32Array>;

/**
 * Samples sequences `first` to `end`. The first id is bos, or any of the vocabulary if the model has none. Where a text ends before the
 * sequence does, the next one begins behind it, with bos if the model has one.
 * @returns ids of each, `tokens` of them; they depend on seed and sequence alone
 */
export async function sampledIds(
  { vocabSize, bos, eos }: Vocabulary,
  tokens: number,
  seed: number,
  first: number,
  end: number,
  step: Step,
  steps: Steps,
): Promise<number[][]> {
  const own = Array.from({ length: end - first }, (_, j) => {
    const random = uniformStream(seed, USE.own << 24, first + j, 0);
    return { random, ids: [bos ?? Math.floor(random() * vocabSize)] };
  });
  for (let token = 0; token + 1 < tokens; token++) {
    const logits = await step(
      token,
      own.map(({ ids }) => ids[token]),
    );
    for (const [j, { ids, random }] of own.entries()) {
      const begins = bos !== undefined && ids[token] !== bos && eos.includes(ids[token]);
      ids.push(begins ? bos : sample(logits.subarray(j * vocabSize, (j + 1) * vocabSize), random()));
    }
    await steps.next(own.length);
  }
  return own.map(({ ids }) => ids);
}

/** Steps of the model that is measured, at most as many sequences as there are caches for. */
export function ownStep({ measuring, run, bring, takesTurns }: Session): Step {
  const { state, floats, ints } = measuring;
  return async (place, ids) => {
    const count = ids.length;
    const all = { kind: 'step', first: place, count } as const;
    const blocks = state.blocks.length;
    ints.set(ids, state.ids / 4);
    if (takesTurns) {
      await bring(pieceOf.embedding);
      run({ ...all, ids: true, to: 0 });
      for (let block = 0; block < blocks; block++) {
        await bring(pieceOf.block(block));
        run({ ...all, from: block, to: block + 1 });
      }
      await bring(pieceOf.end(state));
    }
    run({ ...all, ids: !takesTurns, from: takesTurns ? blocks : 0, to: blocks, logits: true });
    return floats.subarray(state.logits / 4, state.logits / 4 + count * state.vocabSize);
  };
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
