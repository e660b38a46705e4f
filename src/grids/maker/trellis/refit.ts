// Lloyd's step of a trellis: the tables of least squared error for given codes. A value is a sum of entries, so this is a linear
// regression of the weights on indicators of entries. Constants may move between tables: a small ridge holds them.

import { ENTRIES, firsts, type Shape } from './tables.ts';
import { entriesOf, type Tally } from './tally.ts';

const RIDGE = 1e-6;

/** Tables of the shape that fit the tallied codes best; entries that occur nowhere stay. */
export function refit(shape: Shape, { bits, count, sum }: Tally, tables: Float64Array): Float64Array {
  const first = firsts(shape);
  const n = ENTRIES;
  const matrix = new Float64Array(n * n);
  const right = new Float64Array(n);
  let weights = 0;
  for (let w = 0; w < count.length; w++) {
    if (count[w] === 0) continue;
    weights += count[w]!;
    const entries = entriesOf(w, bits);
    const value = tables[entries[0]]! + tables[entries[1]]! + tables[entries[2]]!;
    const rest = sum[w]! - count[w]! * value;
    for (const a of entries) {
      const i = first[a]!;
      if (i < 0) continue;
      right[i] = right[i]! + rest;
      for (const b of entries) if (first[b]! >= 0) matrix[i * n + first[b]!] = matrix[i * n + first[b]!]! + count[w]!;
    }
  }
  for (let i = 0; i < n; i++) matrix[i * n + i] = matrix[i * n + i]! + RIDGE * weights;
  const move = solve(matrix, right);
  return tables.map((v, i) => (first[i]! < 0 ? 0 : v + move[first[i]!]!));
}

/** x of A x = b by Cholesky's factors, A symmetric and positive definite; overwrites both. */
function solve(A: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let rest = A[i * n + j]!;
      for (let k = 0; k < j; k++) rest -= A[i * n + k]! * A[j * n + k]!;
      A[i * n + j] = i === j ? Math.sqrt(rest) : rest / A[j * n + j]!;
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) b[i] = b[i]! - A[i * n + k]! * b[k]!;
    b[i] = b[i]! / A[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) b[i] = b[i]! - A[k * n + i]! * b[k]!;
    b[i] = b[i]! / A[i * n + i]!;
  }
  return b;
}
