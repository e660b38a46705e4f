// Hops from a good trellis to a better one near it: anneal it a little, polish, keep what errs less on the sample.

import type { Random } from '../gaussian.ts';
import { annealTables } from './anneal.ts';
import type { Coder } from './coder.ts';
import { type Polished, polish } from './polish.ts';
import { quantiles, type SampleRows } from './sample.ts';
import { type Integers, type TableShape, toIntegers, toReals } from './tables.ts';

/** Steps and rows of a hop's annealing, sweeps of its polishing. */
const HOP = { steps: 300, rows: 2, rowSteps: 1024, sweeps: 3 };

/** @param heat of the hottest hop, σ; the others are cooler */
export function improve(
  shape: TableShape,
  start: Integers,
  sample: SampleRows,
  heat: number,
  hops: number,
  code: Coder,
  uniform: Random,
): Polished {
  const fit = quantiles(HOP.rows, HOP.rowSteps);
  let best = polish(shape, start, sample, code, HOP.sweeps);
  for (let hop = 0; hop < hops; hop++) {
    const annealing = { steps: HOP.steps, heat: (heat * (1 + (hop % 4))) / 4 };
    const annealed = annealTables(shape, toReals(best.trellis), annealing, fit, code, uniform);
    const trial = polish(shape, toIntegers(shape, annealed), sample, code, HOP.sweeps);
    if (trial.error < best.error) best = trial;
  }
  return best;
}
