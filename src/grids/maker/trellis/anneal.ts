// Lloyd's steps with momentum on ever new samples, the entries shaken before each by a heat that falls to 0.

import { normal, type Random } from '../gaussian.ts';
import type { Coder } from './coder.ts';
import { refit } from './refit.ts';
import { type SampleRows, shuffle } from './sample.ts';
import { ENTRIES, firsts, type TableShape, toIntegers, toReals } from './tables.ts';
import { tally } from './tally.ts';

/** Share of the last move that is repeated. */
const MOMENTUM = 0.8;

/** How tables are shaken while they are fitted. */
export interface TableAnnealing {
  /** Steps in all, each on a new sample. */
  readonly steps: number;
  /** Shake at the first step, σ. */
  readonly heat: number;
}

/** Anneals `tables`. Shuffles `sample`. */
export function annealTables(
  shape: TableShape,
  tables: Float64Array,
  { steps, heat }: TableAnnealing,
  sample: SampleRows,
  code: Coder,
  uniform: Random,
): Float64Array {
  const first = firsts(shape);
  let best = tables;
  let velocity = new Float64Array(ENTRIES);
  for (let step = 0; step < steps; step++) {
    shuffle(sample, uniform);
    const shake = heat * (1 - step / steps);
    const moves = Float64Array.from({ length: ENTRIES }, () => shake * normal(uniform));
    const shaken = best.map((v, i) => (first[i] < 0 ? v : v + moves[first[i]]));
    const integers = toIntegers(shape, shaken);
    const rounded = toReals(integers);
    const fitted = refit(shape, tally(sample, code(sample, integers), shape), rounded);
    // The reals keep what rounding loses: a step moves them by less than an integer.
    velocity = velocity.map((v, i) => MOMENTUM * v + fitted[i] - rounded[i]);
    best = shaken.map((v, i) => v + velocity[i]);
  }
  return best;
}
