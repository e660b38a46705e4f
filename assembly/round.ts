// A rotated row to codes and to what they stand for.

import { lookup, TRELLIS } from './dequantize';
import { fromF16 } from './float';
import { distance } from './lanes';
import { nearest1 } from './line';
import { nearest2 } from './plane';
import { nearest3, nearest4 } from './space';
import { viterbi } from './trellis/viterbi';

/**
 * The codes of a row `z`, padded with 64 zeros, and their values to `rounded`. `slices` is what viterbi takes.
 */
export function round(
  z: usize, vectors: usize, table: usize, p: usize, n: usize, codes: usize, rounded: usize, slices: usize,
): void {
  if (p == TRELLIS) viterbi(z, vectors >> 2, table, codes, rounded, slices);
  else if (p == 1) nearest1(z, vectors, table, n, codes);
  else if (p == 2) nearest2(z, vectors, table, n, codes, rounded);
  else if (p == 3) nearest3(z, vectors, table, n, codes);
  else nearest4(z, vectors, table, n, codes);
  lookup(codes, vectors, table, p, n, rounded);
}

/** Squared error of a group of scale `scale`, f16 bits. */
// @ts-ignore: decorator
@inline
export function errorOf(z: usize, rounded: usize, g: usize, scale: u32): f64 {
  const sigma = <f64>fromF16(scale);
  return sigma * sigma * <f64>distance(z, rounded, g);
}
