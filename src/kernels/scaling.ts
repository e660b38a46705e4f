// Scales of groups where errors are fed back. Rounding is best where what is rounded has an RMS of 1, and that is the target: the weight with
// what is fed back to it. At 3 bits and more errors are small, and the RMS of the weights is as good; with 2 bits targets are up to a third larger.
//
//   what rows before feed back is known (targetScales of assembly/refine/rows.ts)
//   what columns before will: errors e have residuals c = e U, so e = c U⁻¹, and squares of targets are 1 + MSE (Σ_j (U⁻¹)_jk² − 1)

import { exp, log } from '../numerics/exponential.ts';
import { uniform } from '../numerics/random.ts';
import type { CodeGrid } from './layout.ts';
import type { Matrix } from './operands.ts';
import type { ColumnPart } from './weighing.ts';

/** Bits a weight from which scales are the RMS of the weights. */
const RMS_BITS = 2.5;
/** The MSE of a grid of R bits a weight is about this over 4^R. */
const MSE_OF_BITS = 1.2;
/** The most that feedback is taken to be of the squares of targets. */
const MOST_FED = 0.5;
/** Draws of residuals that tell how errors grow. */
const DRAWS = 16;

/** What is alike for a group in all rows. */
export interface Groups {
  /** By what scales are larger than the RMS. */
  readonly factors: Float32Array<ArrayBuffer>;
  /** Sums of D. */
  readonly diagonals: Float64Array;
  /** Sums of the diagonal of R H Rᵀ + λ. */
  readonly own: Float64Array;
}

/** Whether scales of groups are by their targets. */
export function isByTargets({ bits, p }: CodeGrid): boolean {
  return bits / p < RMS_BITS;
}

/** @returns what is alike for each group; the factor is the mean of what its columns ask for, of logarithms and by D */
export function byGroups({ cols, grid, groupSize }: Matrix, parts: readonly ColumnPart[]): Groups {
  const groupOf = groupsOfColumns(cols, groupSize);
  const count = groupOf[cols - 1] + 1;
  const [sums, diagonals, own] = [0, 1, 2].map(() => new Float64Array(count));
  const mse = MSE_OF_BITS * exp((-2 * Math.LN2 * grid.bits) / grid.p);
  for (const part of parts) {
    const growth = isByTargets(grid) ? growthOf(part) : undefined;
    for (let i = 0; i < part.width; i++) {
      const group = groupOf[part.start + part.order[i]];
      if (growth) sums[group] -= (part.diagonal[i] * log(1 - Math.min(MOST_FED, mse * (growth[i] - 1)))) / 2;
      diagonals[group] += part.diagonal[i];
      own[group] += part.own[i];
    }
  }
  return { factors: Float32Array.from(sums, (sum, g) => exp(sum / diagonals[g])), diagonals, own };
}

// Means of e² by place, where residuals e U are ±1 at random: a column's target has the errors before in it, and passes them on in its own.
function growthOf({ width: n, upper }: ColumnPart): Float64Array {
  const next = uniform(n);
  const fed = Array.from({ length: DRAWS }, () => new Float64Array(n));
  const growth = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    const row = upper.subarray(k * n, k * n + n);
    for (const sums of fed) {
      const error = (next() < 0.5 ? -1 : 1) - sums[k];
      growth[k] += (error * error) / DRAWS;
      for (let j = k + 1; j < n; j++) sums[j] += error * row[j];
    }
  }
  return growth;
}

/** The group of each column. */
export function groupsOfColumns(cols: number, groupSize: number): Int32Array {
  const groups = new Int32Array(cols);
  for (let [start, width, group] = [0, groupSize, 0]; start < cols; ) {
    if (width > cols - start) width /= 2;
    else {
      groups.fill(group++, start, start + width);
      start += width;
    }
  }
  return groups;
}
