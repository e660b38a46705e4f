// Packed codes and f16 scales back to rows of f32 weights, group by group:
//   ŵ = s ∘ (H · grid[codes]) · c,  c = f32(σ · f32(1 / f32(√g)))

import { flip, hadamard, scaleBy } from './hadamard';
import { fromF16 } from './float';
import { nextGroup } from './lanes';
import { unpack } from './pack';
import { rowsOf, rowStride } from './table';

/**
 * The grid points that `vectors` codes (u16) stand for, one after the other: p · vectors f32 to `y`, and for p = 3 one more, of no
 * meaning. `table` as by gridTable.
 */
// @ts-ignore: decorator
@inline
export function lookup(codes: usize, vectors: usize, table: usize, p: usize, y: usize): void {
  const rows = rowsOf(table);
  const end = codes + (vectors << 1);
  if (p == 1) {
    for (; codes < end; codes += 2, y += 4) store<u32>(y, load<u32>(rows + ((<usize>load<u16>(codes)) << 4)));
  } else if (p == 2) {
    for (; codes < end; codes += 2, y += 8) store<u64>(y, load<u64>(rows + ((<usize>load<u16>(codes)) << 4)));
  } else if (p == 3) {
    for (; codes < end; codes += 2, y += 12) v128.store(y, v128.load(rows + ((<usize>load<u16>(codes)) << 4)));
  } else {
    for (; codes < end; codes += 2, y += 16) v128.store(y, v128.load(rows + <usize>load<u16>(codes) * rowStride(4)));
  }
}

/**
 * Decodes `rows` rows to `y`, (rows, cols) f32. `packed`, `scales`, `masks`, `table` as encode writes and reads them.
 * `scratch` holds (cols + 64) f32 and (cols + 64) u16.
 */
export function dequantize(
  packed: usize, scales: usize, rows: usize, cols: usize, masks: usize, groupSize: usize,
  table: usize, p: usize, bits: u32, y: usize, scratch: usize,
): void {
  const values = scratch;
  const codes = values + ((cols + 64) << 2);
  const vectors = (cols + p - 1) / p;
  const rowBytes = (vectors * bits + 7) >> 3;
  for (let row: usize = 0; row < rows; row++) {
    unpack(packed, vectors, bits, codes);
    lookup(codes, vectors, table, p, values);
    for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
      g = nextGroup(cols - start, groupSize);
      const group = values + (start << 2);
      hadamard(group, g);
      scaleBy(group, fromF16(load<u16>(scales)) * (<f32>1 / sqrt<f32>(<f32>g)), g);
      scales += 2;
    }
    flip(values, masks, y, cols);
    packed += rowBytes;
    y += cols << 2;
  }
}
