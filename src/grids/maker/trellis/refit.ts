// Lloyd's step of a trellis: the tables of least squared error for given codes. A value is a sum of entries, so this is a linear
// regression of the weights on indicators of entries. Constants may move between tables: a small ridge holds them.

import { ENTRIES, firsts, type TableShape } from './tables.ts';
import { forEachWindow, type Tally } from './tally.ts';

const RIDGE = 1e-6;

/** Tables of the shape that fit the tallied codes best; entries that occur nowhere stay. */
export function refit(shape: TableShape, counts: Tally, tables: Float64Array): Float64Array {
  const first = firsts(shape);
  const n = ENTRIES;
  const matrix = new Float64Array(n * n);
  const right = new Float64Array(n);
  let weights = 0;
  const add = (i: number, j: number, count: number) => {
    if (i < 0 || j < 0) return;
    matrix[i * n + j] = matrix[i * n + j] + count;
    if (i !== j) matrix[j * n + i] = matrix[j * n + i] + count;
  };
  forEachWindow(counts, (count, sum, a, b, c) => {
    weights += count;
    const rest = sum - count * (tables[a] + tables[b] + tables[c]);
    const [i, j, k] = [first[a], first[b], first[c]];
    for (const entry of [i, j, k]) {
      if (entry < 0) continue;
      right[entry] = right[entry] + rest;
      add(entry, entry, count);
    }
    add(i, j, count);
    add(i, k, count);
    add(j, k, count);
  });
  for (let i = 0; i < n; i++) matrix[i * n + i] = matrix[i * n + i] + RIDGE * weights;
  const move = solve(matrix, right);
  return tables.map((v, i) => (first[i] < 0 ? v : v + move[first[i]]));
}

/** x of A x = b by Cholesky's factors, A symmetric and positive definite; overwrites both. */
function solve(A: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let rest = A[i * n + j];
      for (let k = 0; k < j; k++) rest -= A[i * n + k] * A[j * n + k];
      A[i * n + j] = i === j ? Math.sqrt(rest) : rest / A[j * n + j];
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) b[i] = b[i] - A[i * n + k] * b[k];
    b[i] = b[i] / A[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) b[i] = b[i] - A[k * n + i] * b[k];
    b[i] = b[i] / A[i * n + i];
  }
  return b;
}
