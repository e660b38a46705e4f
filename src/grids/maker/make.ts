// Follows a recipe: scatter, anneal, settle, expand, round to f32, sort, weigh what is stored.
// p = 2 settles on exact cells; p = 3, 4 on ever finer rays with an ever shorter step, which averages their sampling out.

import { newCells } from './cells.ts';
import { annealPoints, scatter, settle } from './descent.ts';
import { random } from './gaussian.ts';
import { line, lineError } from './line.ts';
import { COARSE, FINE, polygons } from './plane.ts';
import type { Recipe } from './recipes.ts';
import { rays } from './space.ts';
import { expand, none, type PointShape } from './symmetry.ts';

/** A grid, and its error. */
export interface MadeGrid {
  /** The points as they are stored, (n, p), rows sorted. */
  readonly points: Float32Array;
  /** Mean squared error per weight of N(0, 1). */
  readonly mse: number;
  /** Standard error of `mse`; 0 where it is exact. */
  readonly error: number;
}

/** Share of the last move that is repeated. */
const MOMENTUM = 0.8;
/** Rays that measure a grid of p ≥ 3, in this many independent turns of the directions. */
const PROOF = { rays: 24e6, turns: 8, seed: 20240521 };

/** p = 1: the optimum. */
export function makeLine(n: number): MadeGrid {
  const points = Float32Array.from(line(n));
  return { points, mse: lineError(Float64Array.from(points)), error: 0 };
}

/** p ≥ 2: the recipe's grid. */
export function make(recipe: Recipe): MadeGrid {
  const { p, n, symmetry, seed, steps, heat, pairs = 32 } = recipe;
  const shape = { symmetry, centre: n % symmetry.length === 1 };
  const uniform = random(seed);
  const seeds = scatter(Math.floor(n / symmetry.length), p, uniform);
  const hot = { steps, heat, momentum: MOMENTUM };
  if (p === 2) {
    annealPoints(seeds, p, polygons(shape, COARSE, 4), hot, uniform);
    settle(seeds, p, polygons(shape, COARSE, 1), 100, 1e-5);
    settle(seeds, p, polygons(shape, FINE, 1), 1000, 1e-10);
  } else {
    annealPoints(seeds, p, rays(p, shape, pairs, 8, uniform), hot, uniform);
    annealPoints(seeds, p, rays(p, shape, 200, 8, uniform), { steps: 100, heat: 0, momentum: MOMENTUM }, uniform);
    annealPoints(
      seeds,
      p,
      rays(p, shape, 800, 8, uniform),
      { steps: 40, heat: 0, momentum: MOMENTUM, calm: true },
      uniform,
    );
  }
  // Adding 0 makes −0 into 0.
  const points = sorted(
    Float32Array.from(expand(seeds, p, shape), (v) => v + 0),
    p,
  );
  return { points, ...gridError(points, p) };
}

/** MSE per weight of the stored points, whatever their symmetry. */
function gridError(points: Float32Array, p: 2 | 3 | 4): { mse: number; error: number } {
  const free: PointShape = { symmetry: none(p), centre: false };
  const n = points.length / p;
  const exact = Float64Array.from(points);
  const cells = newCells(n, p);
  if (p === 2) return { mse: polygons(free, FINE, 1)(exact, cells), error: 0 };
  const { turns } = PROOF;
  const weigh = rays(p, free, Math.ceil(PROOF.rays / 2 / turns / n), turns, random(PROOF.seed));
  const values = Array.from({ length: turns }, () => weigh(exact, cells));
  const mse = values.reduce((sum, v) => sum + v, 0) / turns;
  const spread = values.reduce((sum, v) => sum + (v - mse) ** 2, 0) / (turns - 1);
  return { mse, error: Math.sqrt(spread / turns) };
}

/** Rows in lexicographic order. */
function sorted(points: Float32Array, p: number): Float32Array {
  const rows = Array.from({ length: points.length / p }, (_, i) => points.subarray(i * p, (i + 1) * p));
  rows.sort((a, b) => {
    const k = a.findIndex((v, i) => v !== b[i]);
    return k < 0 ? 0 : a[k] - b[k];
  });
  const result = new Float32Array(points.length);
  rows.forEach((row, i) => {
    result.set(row, i * p);
  });
  return result;
}
