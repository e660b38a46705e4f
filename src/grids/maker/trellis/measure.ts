// The error of a trellis: fresh draws, encoded by the kernels.

import type { Random } from '../gaussian.ts';
import type { Coder } from './coder.ts';
import { draws } from './sample.ts';
import { type Integers, toReals } from './tables.ts';
import { tableError, tally } from './tally.ts';

/** Weights of a batch, of which the standard error is computed. */
const BATCH = 2 ** 16;

/** Mean squared error per weight and its standard error, of `batches` · 65536 draws in rows of `4 · steps`. */
export function trellisError(
  trellis: Integers,
  steps: number,
  batches: number,
  code: Coder,
  uniform: Random,
): { mse: number; error: number } {
  const tables = toReals(trellis);
  const values = Array.from({ length: batches }, () => {
    const rows = draws(Math.ceil(BATCH / 4 / steps), steps, uniform);
    return tableError(tally(rows, code(rows, trellis), trellis), tables);
  });
  const mse = values.reduce((sum, v) => sum + v, 0) / batches;
  const spread = values.reduce((sum, v) => sum + (v - mse) ** 2, 0) / (batches - 1);
  return { mse, error: Math.sqrt(spread / batches) };
}
