// A row of a trellis by labels to a tile of i16, to be multiplied with wide activations: integers of six bits are too large for narrow ones,
// and the narrow ones' error would show beside theirs. Codes stand as in the file.

import { unpack } from '../pack';
import { codesBefore, labelled } from '../trellis/labels';

/** Stands for the weights of an index where codes are by labels. */
export const LABEL_WEIGHTS: usize = 5;

/**
 * Integers less `zero` of columns `from` to `from + count` of a row of `cols` columns, and up to 15 more, i16 to `tile`. `from` is a multiple
 * of 32. `values` are T0, T1 and sixteen times the bits of the third code; `scratch` holds (count + 40) u16.
 */
export function labelRow(
  row: usize, cols: usize, from: usize, count: usize, bits: u32, values: usize, zero: i32, tile: usize, scratch: usize,
): void {
  const total = (cols + 3) & ~3;
  const first = v128.load(values);
  const second = v128.load(values, 16);
  const third = v128.load(values, 32);
  const less = i16x8.splat(<i16>zero);
  // The codes before: of the first ones the last, from a multiple of eight on, which a byte begins.
  const end = from > 0 ? from : total;
  const start = end > 24 ? (end - 16) & ~7 : 0;
  unpack(row + (start * bits >> 3), end - start, bits, scratch);
  let old = codesBefore(scratch, end - start);
  const codes = min(count, total - from);
  unpack(row + (from * bits >> 3), codes, bits, scratch);
  for (const stop = scratch + (codes << 1); scratch < stop; scratch += 32, tile += 32) {
    const now = i8x16.narrow_i16x8_u(v128.load(scratch), v128.load(scratch, 16));
    const u = labelled(old, now, first, second, third);
    v128.store(tile, i16x8.sub(i16x8.extend_low_i8x16_u(u), less));
    v128.store(tile, i16x8.sub(i16x8.extend_high_i8x16_u(u), less), 16);
    old = now;
  }
}
