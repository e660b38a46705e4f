// Loss = α t², fitted through the origin over the noise levels at which it is still linear in t²; means with standard errors.

import type { AlphaLevel } from '../../linearity/alphas.ts';

/** How far a level may be from the line of those below it: this share, or twice its standard error. */
const TOLERANCE = 0.1;

interface Fit {
  readonly alpha: number;
  readonly error: number | null;
  /** Of the used levels, about zero: 1 − Σ (Δ − α t²)² / Σ Δ². */
  readonly r2: number | null;
  readonly levels: readonly AlphaLevel[];
}

/**
 * @param t2 levels, ascending
 * @param deltas of each cluster (independent sequences) and each level: (clusters, levels)
 */
export function fitLevels(t2: readonly number[], deltas: readonly (readonly number[])[]): Fit {
  const means = t2.map((_, j) => meanOf(deltas.map((row) => row[j])));
  let used = 1;
  while (used < t2.length) {
    const expected =
      slope(
        t2,
        means.map(({ mean }) => mean),
        used,
      ) * t2[used];
    const { mean, error } = means[used];
    if (Math.abs(mean - expected) > Math.max(TOLERANCE * Math.abs(expected), 2 * (error ?? 0))) break;
    used++;
  }
  const all = means.map(({ mean }) => mean);
  const alpha = slope(t2, all, used);
  const { error } = meanOf(deltas.map((row) => slope(t2, row, used)));
  let [left, total] = [0, 0];
  for (let j = 0; j < used; j++) {
    const off = all[j] - alpha * t2[j];
    left += off * off;
    total += all[j] * all[j];
  }
  return {
    alpha,
    error,
    r2: used < 2 || total === 0 ? null : 1 - left / total,
    levels: means.map(({ mean, error }, j) => ({ t2: t2[j], delta: mean, error, used: j < used })),
  };
}

// Least squares through the origin over the first `used` levels.
function slope(t2: readonly number[], deltas: readonly number[], used: number): number {
  let [product, square] = [0, 0];
  for (let j = 0; j < used; j++) {
    product += deltas[j] * t2[j];
    square += t2[j] * t2[j];
  }
  return product / square;
}

/** Mean of independent values and its standard error, which one value has not. */
export function meanOf(values: readonly number[]): { mean: number; error: number | null } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (values.length < 2) return { mean, error: null };
  const squares = values.reduce((sum, value) => sum + (value - mean) * (value - mean), 0);
  return { mean, error: Math.sqrt(squares / (values.length - 1) / values.length) };
}
