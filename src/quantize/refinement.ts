// Refinement: weights are encoded with error feedback, by what errors cost (kernels/refine.ts). A checkpoint notes what was gathered for it,
// and of each refined weight the error that counts: weighted by the statistics, relative to the weights weighted alike without feedback.
// The linearity theorem holds for that error as it does for t² of plain encoding; t² itself grows.

import type { Weighing } from '../kernels/weighing.ts';

/** What a refined checkpoint says of its statistics. */
export interface RefinementNote {
  /** Of inputs weighted by gradients and of gradients, or of inputs alone. */
  readonly mode: 'both' | 'inputs';
  /** Whether inputs are weighted by gradients: of `both`, and where their statistics are used by inputs alone. */
  readonly weighted: boolean;
  /** What the tokens are: sampled by the model, any alike, or of a text. */
  readonly source: 'model' | 'random' | 'text';
  /** Tokens of a sequence. */
  readonly tokens: number;
  /** Sequences that went through the model. */
  readonly sequences: number;
  /** Label draws of a sequence. */
  readonly draws: number;
  /** Seed of tokens and draws. */
  readonly seed: number;
  /** A checksum of the tokens, but for those that the model sampled. */
  readonly ids: number;
  /** Errors that a path of a trellis feeds back itself. */
  readonly window: number;
}

/** What errors of weights cost, by the names of tensors. */
export interface Refinement {
  /** What the checkpoint says of the statistics. */
  readonly note: RefinementNote;
  /**
   * Whether there are statistics of a weight.
   * @throws {RangeError} when they are cut in groups of another size
   */
  has(name: string, rows: number, cols: number, groupSize: number): boolean;
  /** What errors of a weight cost. Throws as `has` does. */
  weighing(name: string): Promise<Weighing>;
}

/** The error of a refined weight that counts. */
export interface WeightedError {
  /** Σ d D (e U)² / Σ G H w², of all weights w: the linearity theorem's t². */
  readonly error: number;
  /** By what feedback lowers that, whatever the grid: expected is gain · MSE. */
  readonly gain: number;
}

/** @param weighted as `refine` gives it: the error, what it would be of errors as large as the weights, and without feedback */
export function weightedError([error, expected, alone]: Float64Array): WeightedError {
  return alone > 0 ? { error: error / alone, gain: expected / alone } : { error: 0, gain: 1 };
}

/** Lets some works run at a time; others wait in their order. */
export type Turns = <T>(work: () => Promise<T>) => Promise<T>;

/** @returns what runs at most `count` works at once; the others wait in order */
export function takingTurns(count: number): Turns {
  let free = count;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}
