// Round to 16 levels in [-1, 1] at any distances, scaled by the group's largest magnitude (NF4: bench/levels.ts).
// A weight becomes q = round(x · 32767 / s) in i16; its code is the number of borders, the means of neighbouring levels in
// the same unit, that q is above. The line is cut into 32 cells with one border at most:
//   cell = (q + 32768) >> 11;  code = first[cell] + (q > border[cell])
// The table is six vectors: borders' low bytes (cells 0-15, 16-31), their high bytes (the same), first (the same).

import { fromF16, toF16 } from '../../assembly/float';
import { eight, largest, storeCodes, widened } from './group';

/**
 * Builds the table of 96 bytes from 15 borders, i16, ascending.
 * @returns 1 if it could be, 0 if two borders lie in one cell.
 */
export function levelCells(borders: usize, table: usize): i32 {
  let next: i32 = 0;
  for (let cell: i32 = 0; cell < 32; cell++) {
    const end = -32768 + ((cell + 1) << 11);
    store<u8>(table + cell, 0xff);
    store<u8>(table + cell, 0x7f, 32); // no q is above 0x7fff
    store<u8>(table + cell, <u8>next, 64);
    if (next < 15 && <i32>load<i16>(borders + (next << 1)) < end) {
      const border = load<u16>(borders + (next << 1));
      store<u8>(table + cell, <u8>border);
      store<u8>(table + cell, <u8>(border >> 8), 32);
      next++;
      if (next < 15 && <i32>load<i16>(borders + (next << 1)) < end) return 0;
    }
  }
  return 1;
}

// Entry of each cell from a table of 32 bytes; indices from 16 on give 0.
// @ts-ignore: decorator
@inline
function entries(low: v128, high: v128, cells: v128, cellsAbove: v128): v128 {
  return v128.or(i8x16.swizzle(low, cells), i8x16.swizzle(high, cellsAbove));
}

// @ts-ignore: decorator
@inline
function sixteen(w: usize, factor: v128, table: usize): v128 {
  const a = eight(w, factor);
  const b = eight(w + 32, factor);
  const bias = i16x8.splat(-32768);
  const cells = i8x16.narrow_i16x8_u(i16x8.shr_u(v128.xor(a, bias), 11), i16x8.shr_u(v128.xor(b, bias), 11));
  const above = i8x16.sub(cells, i8x16.splat(16));
  const low = entries(v128.load(table), v128.load(table, 16), cells, above);
  const high = entries(v128.load(table, 32), v128.load(table, 48), cells, above);
  const first = entries(v128.load(table, 64), v128.load(table, 80), cells, above);
  const passedA = i16x8.gt_s(a, v128.shuffle<i8>(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
  const passedB = i16x8.gt_s(b, v128.shuffle<i8>(low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
  return i8x16.sub(first, i8x16.narrow_i16x8_s(passedA, passedB));
}

/**
 * Encodes `count` weights at `x`, f32 or bf16: half a byte each to `packed`, an f16 a group to `scales`. `groupSize` is a
 * multiple of 32 that divides `count`; `scratch` holds as many f32; `table` by levelCells.
 */
export function levels16(
  x: usize, bf16: bool, count: usize, groupSize: usize, table: usize, packed: usize, scales: usize, scratch: usize,
): void {
  const stride = bf16 ? groupSize << 1 : groupSize << 2;
  for (; count > 0; count -= groupSize) {
    const w = widened(x, bf16, groupSize, scratch);
    const scale = toF16(largest(w, groupSize));
    store<u16>(scales, <u16>scale);
    const s = fromF16(scale);
    const factor = f32x4.splat(s == 0 ? 0 : <f32>32767 / s);
    for (let i: usize = 0; i < groupSize; i += 32) {
      const address = w + (i << 2);
      storeCodes(packed, sixteen(address, factor, table), sixteen(address + 64, factor, table));
      packed += 16;
    }
    scales += 2;
    x += stride;
  }
}
