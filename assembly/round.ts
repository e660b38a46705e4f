// A rotated row to codes and to what they stand for: the one place that knows which search belongs to which grid.
//
//   p = 1, 2, 3, 4     the nearest point, by cells          line.ts, plane.ts, space.ts
//   TRELLIS            the cheapest path                    trellis/viterbi.ts
//   LABELS             the same, of two rows at once        trellis/labelpaths.ts
//
// Rows are padded with 64 zeros, so that searches take whole vectors of weights. What they find for the padding is not packed.

import { codesPerRow, lookup, TRELLIS } from './dequantize';
import { fromF16 } from './float';
import { distance } from './lanes';
import { nearest1 } from './line';
import { nearest2 } from './plane';
import { nearest3, nearest4 } from './space';
import { labelPaths } from './trellis/labelpaths';
import { LABELS } from './trellis/labels';
import { viterbi } from './trellis/viterbi';

// The codes of a row `z`, padded with 64 zeros, and their values to `rounded`, of all but labels.
function round(
  z: usize, vectors: usize, table: usize, p: usize, n: usize, codes: usize, rounded: usize, slices: usize,
): void {
  if (p == TRELLIS) viterbi(z, vectors >> 2, table, codes, rounded, slices);
  else if (p == 1) nearest1(z, vectors, table, n, codes);
  else if (p == 2) nearest2(z, vectors, table, n, codes, rounded);
  else if (p == 3) nearest3(z, vectors, table, n, codes);
  else nearest4(z, vectors, table, n, codes);
  lookup(codes, vectors, table, p, n, rounded);
}

/** Rows that are rounded together. */
// @ts-ignore: decorator
@inline
export function rowsTogether(p: usize): usize {
  return p == LABELS ? 2 : 1;
}

/**
 * The codes of `count` rows, at most rowsTogether, and their values to `rounded`. Rows at `z` and `rounded` are of cols + 64, those of `z` with
 * 64 zeros behind, rows of `codes` `apart` bytes apart. `slices` is what viterbi takes, or labelPaths.
 */
export function roundTogether(
  z: usize, count: usize, cols: usize, table: usize, p: usize, n: usize, codes: usize, apart: usize, rounded: usize,
  slices: usize,
): void {
  const vectors = codesPerRow(cols, p);
  const stride = (cols + 64) << 2;
  if (p != LABELS) {
    round(z, vectors, table, p, n, codes, rounded, slices);
    return;
  }
  const other: usize = count > 1 ? 1 : 0;
  labelPaths(z, z + other * stride, vectors >> 2, table, codes, codes + other * apart, slices);
  for (let row: usize = 0; row < count; row++) lookup(codes + row * apart, vectors, table, p, n, rounded + row * stride);
}

/** Squared error of a group of scale `scale`, f16 bits. */
// @ts-ignore: decorator
@inline
export function errorOf(z: usize, rounded: usize, g: usize, scale: u32): f64 {
  const sigma = <f64>fromF16(scale);
  return sigma * sigma * <f64>distance(z, rounded, g);
}
