// Packed codes and f16 scales back to rows of f32 weights, group by group:
//   ŵ = s ∘ (H · grid[codes]) · c,  c = f32(σ · f32(1 / f32(√g)))

import { flip, scaledHadamard } from './hadamard';
import { fromF16 } from './float';
import { nextGroup } from './lanes';
import { unpack } from './pack';
import { bytesOf, rowsOf, rowStride } from './rows';
import { LABELS, labelValues } from './trellis/labels';
import { trellisValues } from './trellis/values';

/** Stands for the weights of a code where a grid is a trellis. */
// @ts-ignore: decorator
@inline
export const TRELLIS: usize = 0;

/** Codes in a row: one for each p weights; of a trellis one a weight, to a multiple of 4. */
// @ts-ignore: decorator
@inline
export function codesPerRow(cols: usize, p: usize): usize {
  return p == TRELLIS || p == LABELS ? (cols + 3) & ~3 : (cols + p - 1) / p;
}

// As lookup, for single weights and at most 16 points whose bytes stand in four vectors: sixteen weights a round.
// @ts-ignore: decorator
@inline
function lookup16(codes: usize, end: usize, bytes: usize, y: usize): void {
  const plane0 = v128.load(bytes);
  const plane1 = v128.load(bytes, 16);
  const plane2 = v128.load(bytes, 32);
  const plane3 = v128.load(bytes, 48);
  for (; codes < end; codes += 32, y += 64) {
    const code = i8x16.narrow_i16x8_u(v128.load(codes), v128.load(codes, 16));
    const b0 = i8x16.swizzle(plane0, code);
    const b1 = i8x16.swizzle(plane1, code);
    const b2 = i8x16.swizzle(plane2, code);
    const b3 = i8x16.swizzle(plane3, code);
    const low01 = v128.shuffle<i8>(b0, b1, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const low23 = v128.shuffle<i8>(b2, b3, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const high01 = v128.shuffle<i8>(b0, b1, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const high23 = v128.shuffle<i8>(b2, b3, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    v128.store(y, v128.shuffle<i16>(low01, low23, 0, 8, 1, 9, 2, 10, 3, 11));
    v128.store(y, v128.shuffle<i16>(low01, low23, 4, 12, 5, 13, 6, 14, 7, 15), 16);
    v128.store(y, v128.shuffle<i16>(high01, high23, 0, 8, 1, 9, 2, 10, 3, 11), 32);
    v128.store(y, v128.shuffle<i16>(high01, high23, 4, 12, 5, 13, 6, 14, 7, 15), 48);
  }
}

/**
 * The grid points that `vectors` codes (u16) stand for, one after the other: p · vectors f32 to `y`, and up to 15 more, of no
 * meaning. Reads `codes` up to the next multiple of 16. `table` as by gridTable; of a trellis (p = 0) as by trellisTable, of one by labels
 * (p = 5) as by labelTable.
 */
export function lookup(codes: usize, vectors: usize, table: usize, p: usize, n: usize, y: usize): void {
  const rows = rowsOf(table);
  const end = codes + (vectors << 1);
  if (p == TRELLIS) {
    trellisValues(codes, vectors, n, table, y);
  } else if (p == LABELS) {
    labelValues(codes, vectors, table, y);
  } else if (p == 1 && n <= 16) {
    lookup16(codes, end, bytesOf(table, n), y);
  } else if (p == 1) {
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
  const vectors = codesPerRow(cols, p);
  const rowBytes = (vectors * bits + 7) >> 3;
  for (let row: usize = 0; row < rows; row++) {
    unpack(packed, vectors, bits, codes);
    lookup(codes, vectors, table, p, (<usize>1) << bits, values);
    for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
      g = nextGroup(cols - start, groupSize);
      const group = values + (start << 2);
      scaledHadamard(group, g, fromF16(load<u16>(scales)) * (<f32>1 / sqrt<f32>(<f32>g)));
      scales += 2;
    }
    flip(values, masks, y, cols);
    packed += rowBytes;
    y += cols << 2;
  }
}
