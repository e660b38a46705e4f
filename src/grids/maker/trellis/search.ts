// Finds tables: random starts are annealed a little, the best of them again and longer. Which optimum a start reaches differs by
// several per cent and shows early.

import type { Random } from '../gaussian.ts';
import { annealTables, type TableAnnealing } from './anneal.ts';
import type { Coder } from './coder.ts';
import { quantiles, shuffle } from './sample.ts';
import { type Integers, scattered, type TableShape, toIntegers, toReals } from './tables.ts';
import { tableError, tally } from './tally.ts';

/** One round of fitting from many tables. */
export interface Round extends TableAnnealing {
  /** Tables that enter it. */
  readonly tables: number;
}

/** Steps of the rows that tables are fitted to: long, as the warm-up of each row costs 64 more. */
const STEPS = 1024;
/** Rows that each step of the annealing encodes, and rows that rank the tables. */
const [FIT_ROWS, RANK_ROWS] = [2, 32];

/** The best integers after the last round. `spread` is how wide the tables' first entries are, σ. */
export function search(
  shape: TableShape,
  spread: readonly number[],
  rounds: readonly Round[],
  code: Coder,
  uniform: Random,
): Integers {
  const fit = quantiles(FIT_ROWS, STEPS);
  const rank = quantiles(RANK_ROWS, STEPS);
  shuffle(rank, uniform);
  const ranked = (candidate: Float64Array) => {
    const trellis = toIntegers(shape, candidate);
    return { found: candidate, trellis, error: tableError(tally(rank, code(rank, trellis), shape), toReals(trellis)) };
  };
  let field = Array.from({ length: rounds[0].tables }, () => ranked(scattered(shape, spread, uniform)));
  for (const { tables, ...annealing } of rounds) {
    field = field
      .slice(0, tables)
      .map(({ found }) => ranked(annealTables(shape, found, annealing, fit, code, uniform)));
    field.sort((a, b) => a.error - b.error);
  }
  return field[0].trellis;
}
