// p = 1: the Lloyd–Max quantizer of N(0, 1), by Newton's method on "every point is the mean of its cell".
// Symmetric, so only the positive half is solved: cells [a_i, b_i] with a_0 = 0, b_last = ∞ and edges midway between points.
// A cell's mass is Q(a) − Q(b), its mean (φ(a) − φ(b)) / mass. log φ is concave: the optimum is the only stationary grid.

import { density, tail } from './gaussian.ts';

/** @returns the `n` optimal points, ascending; n even. */
export function line(n: number): Float64Array {
  const half = n / 2;
  // Start where the optimal point density φ^(1/3), that of N(0, 3), puts them.
  const x = Float64Array.from({ length: half }, (_, i) => Math.sqrt(3) * upperQuantile((half - i - 0.5) / n));
  for (let round = 0; round < 100; round++) {
    // Newton: (I − ∂mean/∂x)·step = mean − x, tridiagonal, by Thomas's elimination.
    const upper = new Float64Array(half);
    const step = new Float64Array(half);
    for (let i = 0; i < half; i++) {
      const a = i === 0 ? 0 : (x[i - 1] + x[i]) / 2;
      const b = i === half - 1 ? Infinity : (x[i] + x[i + 1]) / 2;
      const [fa, fb] = [density(a), density(b)];
      const mass = tail(a) - (b < Infinity ? tail(b) : 0);
      const mean = (fa - fb) / mass;
      const pullA = i === 0 ? 0 : (fa * (mean - a)) / mass / 2;
      const pullB = b === Infinity ? 0 : (fb * (b - mean)) / mass / 2;
      const pivot = 1 - pullA - pullB + (i > 0 ? pullA * upper[i - 1] : 0);
      upper[i] = -pullB / pivot;
      step[i] = (mean - x[i] + (i > 0 ? pullA * step[i - 1] : 0)) / pivot;
    }
    for (let i = half - 2; i >= 0; i--) step[i] = step[i] - upper[i] * step[i + 1];
    let largest = 0;
    for (let i = 0; i < half; i++) {
      x[i] = x[i] + step[i];
      largest = Math.max(largest, Math.abs(step[i]));
    }
    if (largest < 1e-13) break;
  }
  return Float64Array.from({ length: n }, (_, i) => (i < half ? -x[half - 1 - i] : x[i - half]));
}

/** Mean squared error of ascending `points`: ∫ (x − g)² φ over each cell is (1 + g²)·mass + [(2g − x)·φ(x)] from a to b. */
export function lineError(points: Float64Array): number {
  const n = points.length;
  // Q(a) − Q(b) without cancellation on either side of 0.
  const mass = (a: number, b: number): number =>
    b <= 0 ? mass(-b, -a) : a < 0 ? 1 - tail(-a) - tail(b) : tail(a) - (b < Infinity ? tail(b) : 0);
  const edge = (g: number, x: number) => (Math.abs(x) < Infinity ? (2 * g - x) * density(x) : 0);
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const g = points[i];
    const a = i === 0 ? -Infinity : (points[i - 1] + g) / 2;
    const b = i === n - 1 ? Infinity : (g + points[i + 1]) / 2;
    sum += (1 + g * g) * mass(a, b) + edge(g, b) - edge(g, a);
  }
  return sum;
}

/** The x ≥ 0 with Q(x) = `q`, by bisection. */
function upperQuantile(q: number): number {
  let [low, high] = [0, 10];
  for (let halving = 0; halving < 50; halving++) {
    const middle = (low + high) / 2;
    if (tail(middle) > q) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
