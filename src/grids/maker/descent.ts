// Lloyd's iteration x ← centroid with momentum, annealed: every step also shakes each point by `heat` times the RMS
// radius of its cell, heat falling to 0. Cells of equal distortion weigh ∝ 1/radius², so this is the noise a gradient
// flow with Lloyd's steps has at one common temperature: the grid crystallises instead of freezing where it started.

import { newCells, type Weigh } from './cells.ts';
import { normal, type Random } from './gaussian.ts';

/** How points are shaken while they descend. */
interface PointAnnealing {
  /** Steps of the descent. */
  readonly steps: number;
  /** Shake at the first step, in cell radii. */
  readonly heat: number;
  /** Share of the last move that is repeated. */
  readonly momentum: number;
  /** Shortens Lloyd's step evenly to 0, to average a sampled `weigh` out. */
  readonly calm?: boolean;
}

/** `n` draws from N(0, spread)^p: spread (p + 2) / p is the optimal point density of large n. */
export function scatter(n: number, p: number, uniform: Random): Float64Array {
  const width = Math.sqrt((p + 2) / p);
  return Float64Array.from({ length: n * p }, () => width * normal(uniform));
}

/** Anneals `points` in place. */
export function annealPoints(
  points: Float64Array,
  p: number,
  weigh: Weigh,
  { steps, heat, momentum, calm = false }: PointAnnealing,
  uniform: Random,
): void {
  const n = points.length / p;
  const cells = newCells(n, p);
  const velocity = new Float64Array(n * p);
  for (let step = 0; step < steps; step++) {
    weigh(points, cells);
    const rate = calm ? 1 - step / steps : 1;
    const shake = heat * (1 - step / steps);
    for (let i = 0; i < n; i++) {
      // A start so far out that its cell weighs nothing goes towards the origin.
      const empty = !(cells.mass[i] > 0);
      const radius = empty ? 0 : Math.sqrt(cells.distortion[i] / (cells.mass[i] * p));
      for (let k = i * p; k < (i + 1) * p; k++) {
        const pull = (empty ? 0 : cells.centroid[k]) - points[k];
        velocity[k] = momentum * velocity[k] + rate * pull;
        points[k] = points[k] + velocity[k] + (shake > 0 ? shake * radius * normal(uniform) : 0);
      }
    }
  }
}

/** L-BFGS pairs kept. */
const MEMORY = 12;

/**
 * Brings `points` to the nearest stationary grid in place, where every point is its cell's centroid to `tolerance`:
 * L-BFGS on the energy p·MSE with Lloyd's step as its metric. For an exact `weigh` only.
 */
export function settle(points: Float64Array, p: number, weigh: Weigh, rounds: number, tolerance: number): void {
  const size = points.length;
  const cells = newCells(size / p, p);
  const gradient = new Float64Array(size);
  const evaluate = () => {
    const energy = p * weigh(points, cells);
    for (let i = 0; i < size; i++) {
      gradient[i] = 2 * cells.mass[Math.floor(i / p)] * (points[i] - cells.centroid[i]);
    }
    return energy;
  };
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const pairs: { step: Float64Array; change: Float64Array; rho: number }[] = [];
  let energy = evaluate();
  for (let round = 0; round < rounds; round++) {
    let largest = 0;
    for (let i = 0; i < size; i++) largest = Math.max(largest, Math.abs(points[i] - cells.centroid[i]));
    if (largest < tolerance) break;

    const direction = gradient.map((g) => -g);
    const alpha: number[] = [];
    for (let k = pairs.length - 1; k >= 0; k--) {
      const { step, change, rho } = pairs[k];
      alpha[k] = rho * dot(step, direction);
      for (let i = 0; i < size; i++) direction[i] = direction[i] - alpha[k] * change[i];
    }
    for (let i = 0; i < size; i++) direction[i] = direction[i] / (2 * cells.mass[Math.floor(i / p)]);
    for (let k = 0; k < pairs.length; k++) {
      const { step, change, rho } = pairs[k];
      const beta = rho * dot(change, direction);
      for (let i = 0; i < size; i++) direction[i] = direction[i] + (alpha[k] - beta) * step[i];
    }

    const slope = dot(gradient, direction);
    if (slope >= 0) {
      pairs.length = 0;
      continue;
    }
    const before = points.slice();
    const old = gradient.slice();
    let length = 1;
    let next = energy;
    for (let halving = 0; halving < 20; halving++, length /= 2) {
      for (let i = 0; i < size; i++) points[i] = before[i] + length * direction[i];
      next = evaluate();
      if (next <= energy + 1e-4 * length * slope + 1e-15) break;
    }
    const step = points.map((v, i) => v - before[i]);
    const change = gradient.map((v, i) => v - old[i]);
    const curvature = dot(step, change);
    energy = next;
    if (curvature > 0) pairs.push({ step, change, rho: 1 / curvature });
    if (pairs.length > MEMORY) pairs.shift();
  }
}
