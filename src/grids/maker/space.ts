// p = 3, 4: cells weighed along rays. A cell is star-shaped around its point c: in direction u it ends at radius R with
// 1/R = max over neighbours d of 2 d·u/‖d‖². Its integrals are means over u of ∫₀^R φ(c + r u) r^(p−1+k) dr, k = 0, 1, 2,
// each by Gauss quadrature. Only directions are sampled, in pairs ±u: 24 million rays give the MSE of p3n4096 to a
// relative 8e−6 (p4n4096: 3e−5), 24 million normal vectors to 1e−4.

import { type Cells, findNeighbours, type Neighbours, sortByDistance, type Weigh } from './cells.ts';
import { normal, type Random } from './gaussian.ts';
import { gaussRule, type QuadratureRule } from './quadrature.ts';
import { expand, type PointShape, representatives } from './symmetry.ts';

/** Neighbours listed per point: more than any cell of these grids has. */
const NEIGHBOURS = { 3: 72, 4: 128 } as const;
/** A ray is cut where the density has fallen by e^−CUT along it. */
const CUT = 26;

/** Ray lengths up to `reach` take `nodes` quadrature nodes. */
const RULES = [
  { reach: 0.7, nodes: 4 },
  { reach: 1.6, nodes: 7 },
  { reach: 3.2, nodes: 12 },
  { reach: Infinity, nodes: 24 },
] as const;

/**
 * Weighs cells by rays; every call turns the directions anew.
 * @param pairs directions ±u a cell
 * @param refresh calls from one search for the lists of neighbours to the next
 */
export function rays(p: 3 | 4, shape: PointShape, pairs: number, refresh: number, uniform: Random): Weigh {
  const base = p === 3 ? directions3(pairs) : directions4(pairs);
  const turned = new Float64Array(pairs * 4);
  const rules: QuadratureRule[] = RULES.map(({ nodes }) => gaussRule(nodes, p - 1));
  // The normal density's factor (2π)^(−p/2) times the sphere's area, over the number of directions.
  const area = p === 3 ? 4 * Math.PI : 2 * Math.PI ** 2;
  const share = ((2 * Math.PI) ** (-p / 2) * area) / (2 * pairs);
  // Of one cell's neighbours: 2 d/‖d‖² and its length 2/‖d‖.
  const ends = new Float64Array(NEIGHBOURS[p] * 4);
  const bound = new Float64Array(NEIGHBOURS[p]);
  const point = new Float64Array(4);
  let neighbours: Neighbours | undefined;
  let calls = 0;

  return (seeds: Float64Array, cells: Cells): number => {
    const n = seeds.length / p;
    const points = expand(seeds, p, shape);
    const rows = representatives(n, shape);
    if (!neighbours || calls % refresh === 0) neighbours = findNeighbours(points, p, NEIGHBOURS[p], rows);
    calls++;
    rotate(base, pairs, p, uniform, turned);
    const { count, index } = neighbours;
    const key = new Float64Array(points.length / p);
    let total = 0;
    for (let i = 0; i < rows.length; i++) {
      const copies = i < n ? shape.symmetry.length : 1;
      point.fill(0);
      for (let k = 0; k < p; k++) point[k] = points[rows[i] * p + k];
      const row = index.subarray(i * count, (i + 1) * count);
      for (let j = 0; j < count; j++) {
        const other = row[j] * p;
        let square = 0;
        for (let k = 0; k < p; k++) square += (points[other + k] - point[k]) ** 2;
        key[row[j]] = square;
      }
      sortByDistance(row, key);
      for (let j = 0; j < count; j++) {
        const other = row[j] * p;
        const square = key[row[j]];
        for (let k = 0; k < p; k++) ends[4 * j + k] = (2 * (points[other + k] - point[k])) / square;
        bound[j] = 2 / Math.sqrt(square);
      }
      const [c0, c1, c2, c3] = [point[0], point[1], point[2], point[3]];
      let mass = 0;
      let distortion = 0;
      let m0 = 0;
      let m1 = 0;
      let m2 = 0;
      let m3 = 0;
      for (let q = 0; q < pairs; q++) {
        const u0 = turned[4 * q];
        const u1 = turned[4 * q + 1];
        const u2 = turned[4 * q + 2];
        const u3 = turned[4 * q + 3];
        let ahead = 0;
        let behind = 0;
        for (let j = 0; j < count; j++) {
          // Neighbours come nearest first and cannot reach beyond their bound.
          const most = bound[j];
          if (most <= ahead && most <= behind) break;
          const dot = u0 * ends[4 * j] + u1 * ends[4 * j + 1] + u2 * ends[4 * j + 2] + u3 * ends[4 * j + 3];
          if (dot > ahead) ahead = dot;
          else if (-dot > behind) behind = -dot;
        }
        const slope = u0 * c0 + u1 * c1 + u2 * c2 + u3 * c3;
        let along = 0;
        for (let side = 0; side < 2; side++) {
          const b = side === 0 ? slope : -slope;
          const inverse = side === 0 ? ahead : behind;
          const far = Math.sqrt(b * b + 2 * CUT) - b;
          const reach = inverse * far > 1 ? 1 / inverse : far;
          let r = 0;
          while (reach > RULES[r].reach) r++;
          const { nodes, weights } = rules[r];
          let s0 = 0;
          let s1 = 0;
          let s2 = 0;
          for (let k = 0; k < nodes.length; k++) {
            const t = reach * nodes[k];
            const f = weights[k] * Math.exp(-t * (b + 0.5 * t));
            s0 += f;
            s1 += f * t;
            s2 += f * t * t;
          }
          const volume = p === 3 ? reach * reach * reach : reach * reach * reach * reach;
          mass += s0 * volume;
          along += side === 0 ? s1 * volume : -s1 * volume;
          distortion += s2 * volume;
        }
        m0 += along * u0;
        m1 += along * u1;
        m2 += along * u2;
        m3 += along * u3;
      }
      const density = copies * share * Math.exp(-0.5 * (c0 * c0 + c1 * c1 + c2 * c2 + c3 * c3));
      total += distortion * density;
      if (i === n) break;
      cells.mass[i] = mass * density;
      cells.distortion[i] = distortion * density;
      cells.centroid[i * p] = c0 + m0 / mass;
      cells.centroid[i * p + 1] = c1 + m1 / mass;
      cells.centroid[i * p + 2] = c2 + m2 / mass;
      if (p === 4) cells.centroid[i * p + 3] = c3 + m3 / mass;
    }
    return total / p;
  };
}

/** One half of a Fibonacci sphere of 2·pairs points; the other half are the opposites. */
function directions3(pairs: number): Float64Array {
  const golden = Math.PI * (3 - Math.sqrt(5));
  const u = new Float64Array(pairs * 4);
  for (let i = 0; i < pairs; i++) {
    const z = 1 - (i + 0.5) / pairs;
    const r = Math.sqrt(1 - z * z);
    u.set([r * Math.cos(golden * i), r * Math.sin(golden * i), z, 0], 4 * i);
  }
  return u;
}

/** Super-Fibonacci spirals on the 3-sphere (Alexa, CVPR 2022), which spreads rotations, that is pairs ±u. */
function directions4(pairs: number): Float64Array {
  const psi = 1.5337511687552043; // the positive root of x⁴ = x + 4
  const u = new Float64Array(pairs * 4);
  for (let i = 0; i < pairs; i++) {
    const t = (i + 0.5) / pairs;
    const r = Math.sqrt(t);
    const s = Math.sqrt(1 - t);
    const a = (2 * Math.PI * (i + 0.5)) / Math.SQRT2;
    const b = (2 * Math.PI * (i + 0.5)) / psi;
    u.set([r * Math.sin(a), r * Math.cos(a), s * Math.sin(b), s * Math.cos(b)], 4 * i);
  }
  return u;
}

/** Turns `base` by a random orthogonal matrix: Gram–Schmidt of normal vectors. */
function rotate(base: Float64Array, pairs: number, p: number, uniform: Random, turned: Float64Array): void {
  const axes = Array.from({ length: p }, () => Array.from({ length: p }, () => normal(uniform)));
  for (let i = 0; i < p; i++) {
    const axis = axes[i];
    for (let j = 0; j < i; j++) {
      const dot = axis.reduce((sum, v, k) => sum + v * axes[j][k], 0);
      for (let k = 0; k < p; k++) axis[k] = axis[k] - dot * axes[j][k];
    }
    const length = Math.hypot(...axis);
    for (let k = 0; k < p; k++) axis[k] = axis[k] / length;
  }
  for (let q = 0; q < pairs; q++) {
    for (let i = 0; i < p; i++) {
      let sum = 0;
      for (let k = 0; k < p; k++) sum += axes[i][k] * base[4 * q + k];
      turned[4 * q + i] = sum;
    }
  }
}
