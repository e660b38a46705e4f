// Products with a quantized matrix in f32: each row's codes become points of the grid once, for all vectors.
//   y_row = Σ over groups, in order, of σ · (grid[codes] · x̃), each inner product by the rule for sums; as matvec.ts

import { codesPerRow, lookup } from '../dequantize';
import { fromF16 } from '../float';
import { dot, nextGroup } from '../lanes';
import { unpack } from '../pack';

/**
 * y = Ŵ x for `count` vectors, from codes and scales of `rows` rows and the rotated activations `x`, (count, cols) f32; element r
 * of vector j goes to y[j · stride + r]. `table` as by writeRows; `scratch` holds (cols + 64) f32 and (cols + 64) u16.
 */
export function codeRows(
  packed: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize, p: usize, bits: u32,
  x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const values = scratch;
  const codes = values + ((cols + 64) << 2);
  const vectors = codesPerRow(cols, p);
  const rowBytes = (vectors * bits + 7) >> 3;
  for (let row: usize = 0; row < rows; row++) {
    unpack(packed, vectors, bits, codes);
    lookup(codes, vectors, table, p, (<usize>1) << bits, values);
    let next = scales;
    for (let j: usize = 0; j < count; j++) {
      const vector = x + ((j * cols) << 2);
      let sum: f32 = 0;
      next = scales;
      for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
        g = nextGroup(cols - start, groupSize);
        sum += fromF16(load<u16>(next)) * dot(values + (start << 2), vector + (start << 2), g);
        next += 2;
      }
      store<f32>(y + ((j * stride) << 2), sum);
    }
    scales = next;
    packed += rowBytes;
    y += 4;
  }
}
