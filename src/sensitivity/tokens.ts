// Tokens that sensitivities are measured on: windows of a text, seeded random ones, or, by default where there is no text, tokens that
// the model itself samples, at temperature 1: like those that it knows, and so are the sensitivities on them. Some sequences take a
// step together, each in rows of its own, so that weights are read once for all. A resumed run puts the ids that are known through at once.

import type { Vocabulary } from '../families/architecture.ts';
import { exp } from '../numerics/exponential.ts';
import { USE, uniformStream } from '../numerics/stream.ts';
import { argmax } from '../text/sample.ts';
import type { TokenCounter } from './progress.ts';
import { pieceOf, type Session } from './session.ts';

/** Ids that go through the model. */
export interface TokenSequence {
  /** What goes through the model. */
  readonly ids: readonly number[];
  /** What the text has behind each id; none for random tokens. */
  readonly targets: readonly number[] | undefined;
}

/** `count` sequences of `tokens` ids, all of the vocabulary alike likely. */
export function randomSequences(
  { vocabSize }: Vocabulary,
  count: number,
  tokens: number,
  seed: number,
): TokenSequence[] {
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
  { bos }: Vocabulary,
  text: readonly number[],
  count: number,
  tokens: number,
): TokenSequence[] {
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
export function sequencesChecksum(sequences: readonly (TokenSequence | undefined)[]): number {
  let hash = 0x811c9dc5;
  for (const { ids, targets } of sequences.filter((sequence) => sequence !== undefined)) {
    for (const id of [...ids, ...(targets ?? [])]) hash = Math.imul(hash ^ id, 0x01000193);
  }
  return hash >>> 0;
}

/**
 * A step of some sequences: the ids of each from a place on, as many of each, to the logits behind the last, (sequences, vocabSize).
 * There is more than one at the beginning alone.
 */
export type SequenceStep = (place: number, ids: readonly (readonly number[])[]) => Promise<Float32Array>;

/** What is sampled, and how. */
interface SamplingTask {
  readonly vocabulary: Vocabulary;
  readonly tokens: number;
  readonly seed: number;
  readonly step: SequenceStep;
  readonly steps: TokenCounter;
  /** Ids that an earlier run sampled of sequences, by their index. */
  readonly begun: ReadonlyMap<number, readonly number[]>;
  /** Told of the ids so far, if an abort ends the sampling. */
  readonly onBegun: (first: number, ids: number[][]) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Samples sequences `first` to `end`. The first id is bos, or any of the vocabulary if the model has none. Where a text ends before the
 * sequence does, the next one begins behind it, with bos if the model has one.
 * @returns ids of each, `tokens` of them; they depend on seed and sequence alone
 */
export async function sampledIds(sampling: SamplingTask, first: number, end: number): Promise<number[][]> {
  const { vocabulary, tokens, seed, step, steps, begun, onBegun, signal } = sampling;
  const { vocabSize, bos, eos } = vocabulary;
  const sequences = Array.from({ length: end - first }, (_, j) => {
    const random = uniformStream(seed, USE.own << 24, first + j, 0);
    return { random, ids: [bos ?? Math.floor(random() * vocabSize)], known: begun.get(first + j) ?? [] };
  });
  const next = (ids: number[], pick: () => number) => {
    const last = ids.at(-1)!;
    const begins = bos !== undefined && last !== bos && eos.includes(last);
    ids.push(begins ? bos : pick());
  };
  // Known ids take their random numbers, as those did that chose them.
  const fewest = sequences.reduce((least, { known }) => Math.min(least, known.length), tokens);
  for (const { ids, random, known: all } of sequences) {
    const again = () => {
      random();
      return all[ids.length];
    };
    while (ids.length < fewest) next(ids, again);
  }
  let done = 0; // ids that went through the model
  try {
    while (sequences[0].ids.length < tokens) {
      const { length } = sequences[0].ids;
      const logits = await step(
        done,
        sequences.map(({ ids }) => ids.slice(done)),
      );
      for (const [j, { ids, random }] of sequences.entries()) {
        next(ids, () => sample(logits.subarray(j * vocabSize, (j + 1) * vocabSize), random()));
      }
      const count = length - done;
      done = length;
      await steps.next(count * sequences.length);
    }
  } catch (error) {
    const ids = sequences.map(({ ids }) => ids);
    if (signal?.aborted && ids[0].length > 1) onBegun(first, ids);
    throw error;
  }
  return sequences.map(({ ids }) => ids);
}

/** Steps of the model that is measured, at most as many sequences as there are caches for. */
export function sequenceStep({ measuring, run, bring, takesTurns }: Session): SequenceStep {
  const { state, floats, ints } = measuring;
  async function fill(sequence: number, ids: readonly number[]): Promise<void> {
    const all = { kind: 'fill', sequence, count: ids.length } as const;
    ints.set(ids, state.ids / 4);
    await bring(pieceOf.embedding);
    run({ ...all, ids: true, to: 0 });
    for (let block = 0; block < state.blocks.length; block++) {
      await bring(pieceOf.block(block));
      run({ ...all, from: block, to: block + 1 });
    }
  }
  return async (place, ids) => {
    const count = ids.length;
    const blocks = state.blocks.length;
    const before = ids[0].length - 1;
    for (const [sequence, sequenceIds] of ids.entries())
      if (before > 0) await fill(sequence, sequenceIds.slice(0, before));
    const all = { kind: 'step', first: place + before, count } as const;
    ints.set(
      ids.map((sequenceIds) => sequenceIds[before]),
      state.ids / 4,
    );
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
