// What a grid's Voronoi cells weigh: the quantities every step of the maker is computed from.
// Energy = Σ distortion = p × MSE, and its gradient in a point is 2·mass·(point − centroid) (Newman; Du, Faber, Gunzburger).

/** The Voronoi cells of n points: what of N(0, 1)^p falls into each. */
export interface Cells {
  /** Probability of each cell, (n). */
  readonly mass: Float64Array; // (n)
  /** Mean of each cell, (n, p). */
  readonly centroid: Float64Array;
  /** ∫ ‖x − point‖² over the cell. */
  readonly distortion: Float64Array; // (n)
}

/** Weighs the cells of `points` into `cells`; returns the MSE per weight. */
export type Weigh = (points: Float64Array, cells: Cells) => number;

/** Cells of nothing, to be added to. */
export function newCells(n: number, p: number): Cells {
  return { mass: new Float64Array(n), centroid: new Float64Array(n * p), distortion: new Float64Array(n) };
}

/** Lists of some points' nearest others. */
export interface Neighbours {
  /** Neighbours of each point. */
  readonly count: number;
  /** Numbers of the neighbours, the nearest first, (rows, count). */
  readonly index: Int32Array;
}

/** @returns the `count` nearest other points of each of the points `rows`, nearest first. */
export function findNeighbours(points: Float64Array, p: number, count: number, rows: Int32Array): Neighbours {
  const n = points.length / p;
  const kept = Math.min(count, n - 1);
  const index = new Int32Array(rows.length * kept);
  const distance = new Float64Array(n);
  const order = new Int32Array(n);
  rows.forEach((i, r) => {
    distancesFrom(i, points, p, distance);
    distance[i] = Infinity;
    for (let j = 0; j < n; j++) order[j] = j;
    select(order, distance, kept);
    const row = index.subarray(r * kept, (r + 1) * kept);
    row.set(order.subarray(0, kept));
    sortByDistance(row, distance);
  });
  return { count: kept, index };
}

function distancesFrom(i: number, points: Float64Array, p: number, distance: Float64Array): void {
  const n = distance.length;
  for (let j = 0; j < n; j++) {
    let sum = 0;
    for (let k = 0; k < p; k++) {
      const d = points[j * p + k] - points[i * p + k];
      sum += d * d;
    }
    distance[j] = sum;
  }
}

/** Brings the `count` entries of `order` with the least key to its front (Hoare's selection). */
function select(order: Int32Array, key: Float64Array, count: number): void {
  let low = 0;
  let high = order.length - 1;
  while (low < high) {
    const pivot = key[order[(low + high) >> 1]];
    let i = low;
    let j = high;
    while (i <= j) {
      while (key[order[i]] < pivot) i++;
      while (key[order[j]] > pivot) j--;
      if (i <= j) {
        const swap = order[i];
        order[i++] = order[j];
        order[j--] = swap;
      }
    }
    if (count <= j) high = j;
    else if (count > i) low = i;
    else return;
  }
}

/** Sorts `row` by ascending key; insertion, because rows are short and nearly sorted. */
export function sortByDistance(row: Int32Array, key: Float64Array): void {
  for (let i = 1; i < row.length; i++) {
    const entry = row[i];
    const distance = key[entry];
    let j = i - 1;
    for (; j >= 0 && key[row[j]] > distance; j--) row[j + 1] = row[j];
    row[j + 1] = entry;
  }
}
