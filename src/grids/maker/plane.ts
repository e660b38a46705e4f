// p = 2: exact Voronoi cells. A cell is a square cut by the bisectors towards its neighbours, nearest first, until the next
// one is twice as far as the cell's farthest corner. Its integrals are sums over the triangles (point, corner, corner):
// x = c + t(e(s) − c), e(s) on the edge, Gauss quadrature in s and, with weight t, in t.

import { type Cells, findNeighbours, type Neighbours, sortByDistance, type Weigh } from './cells.ts';
import { gaussRule, type QuadratureRule } from './quadrature.ts';
import { expand, type PointShape, representatives } from './symmetry.ts';

/** How finely the plane is integrated. */
interface Precision {
  /** Half the side of the square that stands for the plane. */
  readonly box: number;
  /** Lengths up to `reach` take `nodes` quadrature nodes. */
  readonly rules: readonly { readonly reach: number; readonly nodes: number }[];
}

/** Mass beyond the square: 8e−8. For annealing. */
export const COARSE: Precision = {
  box: 5.5,
  rules: [
    { reach: 0.5, nodes: 4 },
    { reach: 1.5, nodes: 7 },
    { reach: Infinity, nodes: 12 },
  ],
};

/** Mass beyond the square: 2e−15; the MSE is good to 1e−13. */
export const FINE: Precision = {
  box: 8,
  rules: [
    { reach: 0.3, nodes: 7 },
    { reach: 1, nodes: 11 },
    { reach: 3, nodes: 20 },
    { reach: Infinity, nodes: 40 },
  ],
};

const NEIGHBOURS = 48;

/**
 * Weighs cells by polygons.
 * @param refresh calls from one search for the lists of neighbours to the next
 */
export function polygons(shape: PointShape, { box, rules }: Precision, refresh: number): Weigh {
  const along: QuadratureRule[] = rules.map(({ nodes }) => gaussRule(nodes, 0));
  const across: QuadratureRule[] = rules.map(({ nodes }) => gaussRule(nodes, 1));
  const ruleFor = (length: number) => rules.findIndex(({ reach }) => length <= reach);
  let neighbours: Neighbours | undefined;
  let calls = 0;
  // Corners relative to the point: (x, y) pairs, and the polygon being cut from them.
  let corners = new Float64Array(256);
  let cut = new Float64Array(256);

  return (seeds: Float64Array, cells: Cells): number => {
    const n = seeds.length / 2;
    const points = expand(seeds, 2, shape);
    const rows = representatives(n, shape);
    if (!neighbours || calls % refresh === 0) neighbours = findNeighbours(points, 2, NEIGHBOURS, rows);
    calls++;
    const { count, index } = neighbours;
    const key = new Float64Array(points.length / 2);
    let total = 0;
    for (let i = 0; i < rows.length; i++) {
      const cx = points[2 * rows[i]];
      const cy = points[2 * rows[i] + 1];
      const row = index.subarray(i * count, (i + 1) * count);
      for (let j = 0; j < count; j++) {
        const other = row[j];
        key[other] = (points[2 * other] - cx) ** 2 + (points[2 * other + 1] - cy) ** 2;
      }
      sortByDistance(row, key);

      let size = 4;
      corners.set([-box - cx, -box - cy, box - cx, -box - cy, box - cx, box - cy, -box - cx, box - cy]);
      let farthest = Infinity;
      for (let j = 0; j < count && key[row[j]] < 4 * farthest; j++) {
        const other = row[j];
        const dx = points[2 * other] - cx;
        const dy = points[2 * other + 1] - cy;
        const middle = key[other] / 2;
        let kept = 0;
        farthest = 0;
        for (let k = 0; k < size; k++) {
          const next = k + 1 < size ? k + 1 : 0;
          const [ax, ay, bx, by] = [corners[2 * k], corners[2 * k + 1], corners[2 * next], corners[2 * next + 1]];
          const a = ax * dx + ay * dy - middle;
          const b = bx * dx + by * dy - middle;
          if (a <= 0) {
            cut[2 * kept] = ax;
            cut[2 * kept++ + 1] = ay;
            farthest = Math.max(farthest, ax * ax + ay * ay);
          }
          if (a < 0 !== b < 0 && a !== 0 && b !== 0) {
            const share = a / (a - b);
            const x = ax + share * (bx - ax);
            const y = ay + share * (by - ay);
            cut[2 * kept] = x;
            cut[2 * kept++ + 1] = y;
            farthest = Math.max(farthest, x * x + y * y);
          }
        }
        [corners, cut] = [cut, corners];
        size = kept;
      }

      let mass = 0;
      let mx = 0;
      let my = 0;
      let distortion = 0;
      for (let k = 0; k < size; k++) {
        const next = k + 1 < size ? k + 1 : 0;
        const [ax, ay, bx, by] = [corners[2 * k], corners[2 * k + 1], corners[2 * next], corners[2 * next + 1]];
        const area = ax * by - ay * bx;
        const edge = along[ruleFor(Math.hypot(bx - ax, by - ay))];
        const depth = across[ruleFor(Math.sqrt(Math.max(ax * ax + ay * ay, bx * bx + by * by)))];
        for (let s = 0; s < edge.nodes.length; s++) {
          const ex = ax + edge.nodes[s] * (bx - ax);
          const ey = ay + edge.nodes[s] * (by - ay);
          const b = ex * cx + ey * cy;
          const square = ex * ex + ey * ey;
          let s0 = 0;
          let s1 = 0;
          let s2 = 0;
          for (let k = 0; k < depth.nodes.length; k++) {
            const t = depth.nodes[k];
            const f = depth.weights[k] * Math.exp(-t * (b + 0.5 * t * square));
            s0 += f;
            s1 += f * t;
            s2 += f * t * t;
          }
          const weight = edge.weights[s] * area;
          mass += weight * s0;
          mx += weight * s1 * ex;
          my += weight * s1 * ey;
          distortion += weight * s2 * square;
        }
      }
      const copies = i < n ? shape.symmetry.length : 1;
      const density = (copies * Math.exp(-0.5 * (cx * cx + cy * cy))) / (2 * Math.PI);
      total += distortion * density;
      if (i === n) break;
      cells.mass[i] = mass * density;
      cells.distortion[i] = distortion * density;
      cells.centroid[2 * i] = cx + mx / mass;
      cells.centroid[2 * i + 1] = cy + my / mass;
    }
    return total / 2;
  };
}
