// y = Ŵ x from packed codes and the rotated activation x̃ (hadamard.ts, rotate): the matrix is never rotated back.
//   y_row = Σ over groups, in order, of σ · (grid[codes] · x̃), each inner product by the rule for sums in lanes.ts
// That is allowed because the transform R of a group is orthogonal up to √g: (v R) · x = v · (R x). So x is rotated once, for all rows.
// A row at a time: its codes are unpacked (pack.ts), looked up (dequantize.ts), multiplied. The decoder's products of integers are
// decoder/bands.ts and decoder/lookup.ts; this one in f32 is what the library offers, and what the tests compare those with.

import { dot, nextGroup } from './lanes';
import { fromF16 } from './float';
import { codesPerRow, lookup } from './dequantize';
import { unpack } from './pack';

/**
 * `rows` elements of y from `packed` and `scales` (as encode writes them) and the rotated activation `x` of `cols` f32.
 * `scratch` holds (cols + 64) f32 and (cols + 64) u16.
 */
export function matvec(
  packed: usize, scales: usize, rows: usize, cols: usize, groupSize: usize,
  table: usize, p: usize, bits: u32, x: usize, y: usize, scratch: usize,
): void {
  const values = scratch;
  const codes = values + ((cols + 64) << 2);
  const vectors = codesPerRow(cols, p);
  const rowBytes = (vectors * bits + 7) >> 3;
  for (let row: usize = 0; row < rows; row++) {
    unpack(packed, vectors, bits, codes);
    lookup(codes, vectors, table, p, (<usize>1) << bits, values);
    let sum: f32 = 0;
    for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
      g = nextGroup(cols - start, groupSize);
      sum += fromF16(load<u16>(scales)) * dot(values + (start << 2), x + (start << 2), g);
      scales += 2;
    }
    store<f32>(y, sum);
    y += 4;
    packed += rowBytes;
  }
}
