// Weights that trellises are fitted to and measured with: rows of N(0, 1).

import type { Random } from '../gaussian.ts';
import { normal, tail } from '../gaussian.ts';

/** Rows of four interleaved sequences. */
export interface SampleRows {
  /** Number of rows. */
  readonly count: number;
  /** Steps of each sequence: a row has 4 · steps weights. */
  readonly steps: number;
  /** The weights, (count, steps, 4). */
  readonly weights: Float32Array;
}

/** Independent draws. */
export function draws(count: number, steps: number, uniform: Random): SampleRows {
  return { count, steps, weights: Float32Array.from({ length: count * steps * 4 }, () => normal(uniform)) };
}

/** The quantiles of N(0, 1): a sample without the chance of its histogram. Shuffled they are fitted to. */
export function quantiles(count: number, steps: number): SampleRows {
  const weights = new Float32Array(count * steps * 4);
  const n = weights.length;
  let x = 0;
  for (let i = n / 2; i < n; i++) {
    const above = 1 - (i + 0.5) / n;
    // Newton's steps from the quantile before.
    for (let k = 0; k < 4; k++) {
      const q = tail(x);
      x += (q - above) / Math.exp(-0.5 * x * x) / 0.3989422804014327;
    }
    weights[i] = x;
    weights[n - 1 - i] = -x;
  }
  return { count, steps, weights };
}

/** Puts the weights into a random order. */
export function shuffle({ weights }: SampleRows, uniform: Random): void {
  for (let i = weights.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    const v = weights[i];
    weights[i] = weights[j];
    weights[j] = v;
  }
}
