// How each grid of p ≥ 2 is made. `npm run grids -- --seeds=1-9 p4n256` tries other seeds; a longer annealing mostly gains.
// Heat: 0.2 beat 0.1 on p2n256 (means .0077155, .0077326), 0.1 beat 0.2 on p4n4096 (.025229, .025286). Symmetry: the best of
// a handful tried on each grid; p2n1024 with order 3 .0019599 in 14 s, without .0019613 in 37 s. Orders 3 and 13 keep a point at
// the origin; even ones cannot in p = 4, which costs p4n256 0.2 %. Seeds differ by 0.1 % (p4n256: .09585 to .09597).

import { improperTurns, none, planeTurns, type Symmetry } from './symmetry.ts';

/** How a grid is made: where it starts, and how long it descends. */
export interface Recipe {
  /** Weights of a code: dimensions of the grid. */
  readonly p: 2 | 3 | 4;
  /** Points of the grid. */
  readonly n: number;
  /** One point is the origin if this divides n − 1. */
  readonly symmetry: Symmetry;
  /** Seed of the start and of the samples. */
  readonly seed: number;
  /** Steps of annealing. */
  readonly steps: number;
  /** Shake at the first step, in cell radii. */
  readonly heat: number;
  /** Directions ±u a cell while annealing; p ≥ 3. */
  readonly pairs?: number;
}

/** The recipe of each grid. */
export const RECIPES: Readonly<Record<string, Recipe>> = {
  p2n16: { p: 2, n: 16, symmetry: none(2), seed: 1, steps: 200, heat: 0.2 },
  p2n64: { p: 2, n: 64, symmetry: planeTurns(3, 1), seed: 1, steps: 300, heat: 0.2 },
  p2n256: { p: 2, n: 256, symmetry: planeTurns(3, 1), seed: 1, steps: 6000, heat: 0.2 },
  p2n1024: { p: 2, n: 1024, symmetry: planeTurns(3, 1), seed: 1, steps: 6000, heat: 0.2 },
  p3n512: { p: 3, n: 512, symmetry: improperTurns(4), seed: 1, steps: 8000, heat: 0.2, pairs: 32 },
  p3n4096: { p: 3, n: 4096, symmetry: improperTurns(4), seed: 1, steps: 2000, heat: 0.1, pairs: 32 },
  p4n256: { p: 4, n: 256, symmetry: none(4), seed: 1, steps: 6000, heat: 0.15, pairs: 40 },
  p4n1024: { p: 4, n: 1024, symmetry: planeTurns(3, 1, 1), seed: 2, steps: 3000, heat: 0.15, pairs: 32 },
  p4n4096: { p: 4, n: 4096, symmetry: planeTurns(13, 1, 5), seed: 1, steps: 4000, heat: 0.1, pairs: 32 },
};
