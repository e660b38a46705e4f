// How each trellis is made. Which optimum a search finds is chance: single starts of t4 end between .0058 and .0061. The stored trellises
// are the best of several searches, improved (improve.ts). Before they are polished, which gains up to 0.6 %, the recipes end at
// t4 .00595, t4c .00573, t4f .00668, t4q .00524, t3 .02099, t2 .0804.

import type { Round } from './search.ts';
import type { TableShape } from './tables.ts';

/** How a trellis is fitted: its tables' form, the start, the rounds. */
export interface TrellisRecipe {
  /** Which bits of codes its tables depend on. */
  readonly shape: TableShape;
  /** Of the tables' first entries, σ; by labels the last is that of a code's fifth bit. */
  readonly spread: readonly [number, number, number];
  /** Seed of the start and of the samples. */
  readonly seed: number;
  /** Annealing, one round after the other, on ever larger samples. */
  readonly rounds: readonly Round[];
}

const spread = [0.7, 0.4, 0.4] as const;

/** Heat in σ: about half the RMS error. */
function rounds(heat: number): readonly Round[] {
  return [
    { tables: 24, steps: 150, heat },
    { tables: 6, steps: 300, heat },
    { tables: 2, steps: 2000, heat },
  ];
}

/** A trellis by labels of two codes, or of three. */
function labelled(
  bits: TableShape['bits'],
  kept: readonly number[],
  spread: TrellisRecipe['spread'],
  heat: number,
): TrellisRecipe {
  return { shape: { bits, used: [Math.min(bits, 4), 3, 0], kept }, spread, seed: 1, rounds: rounds(heat) };
}

/** The recipe of each trellis. */
export const TRELLIS_RECIPES: Readonly<Record<string, TrellisRecipe>> = {
  t4: { shape: { bits: 4, used: [4, 4, 0] }, spread, seed: 1, rounds: rounds(0.04) },
  t4c: { shape: { bits: 4, used: [4, 2, 2] }, spread: [1, 0.4, 0.3], seed: 1, rounds: rounds(0.04) },
  t4f: { shape: { bits: 4, used: [4, 2, 0] }, spread: [1.5, 0.4, 0], seed: 1, rounds: rounds(0.02) },
  t4q: { shape: { bits: 4, used: [4, 3, 3] }, spread, seed: 1, rounds: rounds(0.02) },
  t4x: labelled(4, [3, 3], [1, 0.5, 0], 0.02),
  t4z: labelled(4, [3, 3, 2], [1, 0.5, 0], 0.02),
  t5: labelled(5, [3, 3], [0.9, 0.4, 0.9], 0.01),
  t5z: labelled(5, [3, 3, 2], [0.9, 0.4, 0.9], 0.01),
  t6: labelled(6, [3, 3], [0.6, 0.4, 0.5], 0.005),
  t6z: labelled(6, [3, 3, 2], [0.6, 0.4, 0.5], 0.005),
  t3: { shape: { bits: 3, used: [3, 3, 3] }, spread, seed: 1, rounds: rounds(0.06) },
  t3c: { shape: { bits: 3, used: [3, 2, 2] }, spread, seed: 1, rounds: rounds(0.06) },
  t3f: { shape: { bits: 3, used: [3, 3, 0] }, spread, seed: 1, rounds: rounds(0.06) },
  t3z: labelled(3, [3, 3, 2], [1, 0.7, 0], 0.04),
  t2: { shape: { bits: 2, used: [4, 0, 4] }, spread, seed: 1, rounds: rounds(0.06) },
  t2c: { shape: { bits: 2, used: [4, 4, 0] }, spread, seed: 1, rounds: rounds(0.06) },
  t2q: { shape: { bits: 2, used: [4, 4, 4] }, spread: [0.7, 0.2, 0.4], seed: 1, rounds: rounds(0.06) },
};
