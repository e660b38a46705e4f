// How each trellis is made.

import type { Annealing } from './anneal.ts';
import type { Shape } from './tables.ts';

export interface TrellisRecipe extends Annealing {
  readonly shape: Shape;
  /** Of the tables' first entries, σ. */
  readonly spread: readonly [number, number, number];
  readonly seed: number;
  /** Rows of 4096 weights that each step of the annealing encodes. */
  readonly rows: number;
}

const spread = [0.7, 0.4, 0.4] as const;

export const TRELLIS_RECIPES: Readonly<Record<string, TrellisRecipe>> = {
  t4: { shape: { bits: 4, used: [4, 4, 0] }, spread, seed: 1, steps: 1500, heat: 0.04, rows: 4 },
  t4c: { shape: { bits: 4, used: [4, 2, 2] }, spread, seed: 1, steps: 1500, heat: 0.04, rows: 4 },
  t4f: { shape: { bits: 4, used: [4, 2, 0] }, spread, seed: 1, steps: 1500, heat: 0.04, rows: 4 },
  t4q: { shape: { bits: 4, used: [4, 3, 3] }, spread, seed: 1, steps: 1500, heat: 0.04, rows: 4 },
  t3: { shape: { bits: 3, used: [3, 3, 3] }, spread, seed: 1, steps: 1500, heat: 0.06, rows: 4 },
  t3c: { shape: { bits: 3, used: [3, 2, 2] }, spread, seed: 1, steps: 1500, heat: 0.06, rows: 4 },
  t3f: { shape: { bits: 3, used: [3, 3, 0] }, spread, seed: 1, steps: 1500, heat: 0.06, rows: 4 },
  t2: { shape: { bits: 2, used: [4, 0, 4] }, spread, seed: 1, steps: 1500, heat: 0.06, rows: 4 },
  t2c: { shape: { bits: 2, used: [4, 4, 0] }, spread, seed: 1, steps: 1500, heat: 0.06, rows: 4 },
};
