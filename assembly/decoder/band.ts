// Codes of trellises and of grids of 16 values in memory: bands of four rows, interleaved, so that the code before one stands in the
// same place of the vector before. Two bands make a pair: their vectors take turns, so that a matrix is read strictly forward.
// A vector of 16 bytes has a place for each row and sequence; eight steps, 32 columns, take 16 · bits bytes of a band:
//
//   place          0        1        2        3        4        5      …   15
//   row            0        0        0        0        1        1          3
//   column         4i       4i + 2   4i + 1   4i + 3   4i       4i + 2     4i + 3        (step i; the order of activation.ts)
//
//   bits 4         vectors k = 0 … 3      c_2k | c_2k+1 << 4                                    c_i: code of step i of eight
//   bits 3         vectors k = 0 … 2      c_2k | c_2k+1 << 4 | bit k of c_6 << 3 | bit k of c_7 << 7
//   bits 2         vectors k = 0, 1       c_4k | c_4k+1 << 2 | c_4k+2 << 4 | c_4k+3 << 6
//
//   bits 5         as bits 4, of c & 15; then a vector whose bit i is bit 4 of c_i
//   bits 6         as bits 4; then two whose bits 2i and 2i + 1 are bits 4 and 5 of c_i, and of c_4+i
//
//   pair           A0  B0  A1  B1  …      vector k of band A, rows 0 … 3, and of band B, rows 4 … 7
//
// A row of T steps, if T is no multiple of eight, is padded by three steps at least, and the last three repeat steps T-3 … T-1:
// so the codes before step 0 are always those of the last vectors. A pair's scales stand side by side: eight f16 a group.

import { pack, unpack } from '../pack';

/** Times eight steps that a row of `cols` columns takes in memory. */
// @ts-ignore: decorator
@inline
export function octsOf(cols: usize): usize {
  const steps = (cols + 3) >> 2;
  return (steps & 7) == 0 ? steps >> 3 : (steps + 10) >> 3;
}

// @ts-ignore: decorator
@inline
function lower(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function upper(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** Eight vectors of i16 at `at` to `to`: lane j of vector k to lane k of vector j. */
export function transpose(at: usize, to: usize): void {
  const a0 = v128.load(at);
  const a1 = v128.load(at, 16);
  const a2 = v128.load(at, 32);
  const a3 = v128.load(at, 48);
  const a4 = v128.load(at, 64);
  const a5 = v128.load(at, 80);
  const a6 = v128.load(at, 96);
  const a7 = v128.load(at, 112);
  const b0 = lower(a0, a4);
  const b1 = upper(a0, a4);
  const b2 = lower(a1, a5);
  const b3 = upper(a1, a5);
  const b4 = lower(a2, a6);
  const b5 = upper(a2, a6);
  const b6 = lower(a3, a7);
  const b7 = upper(a3, a7);
  const c0 = lower(b0, b4);
  const c1 = upper(b0, b4);
  const c2 = lower(b1, b5);
  const c3 = upper(b1, b5);
  const c4 = lower(b2, b6);
  const c5 = upper(b2, b6);
  const c6 = lower(b3, b7);
  const c7 = upper(b3, b7);
  v128.store(to, lower(c0, c4));
  v128.store(to, upper(c0, c4), 16);
  v128.store(to, lower(c1, c5), 32);
  v128.store(to, upper(c1, c5), 48);
  v128.store(to, lower(c2, c6), 64);
  v128.store(to, upper(c2, c6), 80);
  v128.store(to, lower(c3, c7), 96);
  v128.store(to, upper(c3, c7), 112);
}

// Vectors of steps `k`, a multiple of two, and k + 1: their nibbles in one.
// @ts-ignore: decorator
@inline
function nibbles(steps: usize, k: usize): v128 {
  const mask = i8x16.splat(15);
  const high = v128.and(v128.load(steps + (k << 4), 16), mask);
  return v128.or(v128.and(v128.load(steps + (k << 4)), mask), i16x8.shl(high, 4));
}

// Bits above the fourth of steps `k` on, `width` each.
// @ts-ignore: decorator
@inline
function highs(steps: usize, k: usize, width: usize): v128 {
  let all = i8x16.splat(0);
  for (let i: usize = 0; i < 8 / width; i++) {
    all = v128.or(all, i8x16.shl(i8x16.shr_u(v128.load(steps + ((k + i) << 4)), 4), <i32>(i * width)));
  }
  return all;
}

// Bit `k` of steps 6 and 7, as 3 bits have it.
// @ts-ignore: decorator
@inline
function thirds(last: v128, k: i32): v128 {
  return v128.and(i16x8.shl(last, 3 - k), i8x16.splat(<i8>0x88));
}

/**
 * Turns `rows` rows of `codes` packed codes, as FORMAT.md has them, into pairs of bands at `to`; rows that the last pair lacks are
 * zeros. `scratch` holds (4, octsOf · 32) u16 and 256 bytes.
 */
export function bandRows(packed: usize, rows: usize, codes: usize, bits: u32, to: usize, scratch: usize): void {
  const octs = octsOf(codes);
  const steps = (codes + 3) >> 2;
  const rowBytes = (codes * bits + 7) >> 3;
  const octBytes: usize = bits << 5;
  const stride = octs << 6;
  memory.fill(scratch, 0, stride << 2);
  for (let row: usize = 0; row < ((rows + 7) & ~7); row += 4) {
    const band = to + ((row & 4) << 2);
    if (bits == 4 && (steps & 7) == 0 && row + 4 <= rows) {
      nibblesOf(packed + row * rowBytes, rowBytes, octs, band);
    } else {
      for (let r: usize = 0; r < 4; r++) {
        const at = scratch + r * stride;
        if (row + r < rows) unpack(packed + (row + r) * rowBytes, codes, bits, at);
        else memory.fill(at, 0, stride);
        for (let back: usize = 1; back < 4; back++) {
          store<u64>(at + stride - (back << 3), load<u64>(at + ((steps * 3 - back) % steps << 3)));
        }
      }
      bandOf(scratch, octs, bits, band, scratch + (stride << 2));
    }
    if (row & 4) to += octs * octBytes;
  }
}

// Two steps of a row, eight nibbles, from the order of the columns to that of a band, in lanes of 32 bits:
//   of the columns   c7 c6 c5 c4 c3 c2 c1 c0      (highest bits first)
//   of a band        c7 c3 c5 c1 c6 c2 c4 c0
// @ts-ignore: decorator
@inline
function twoSteps(v: v128): v128 {
  const stay = v128.and(v, i32x4.splat(0xf0f00f0f));
  const down = v128.and(i32x4.shr_u(v, 12), i32x4.splat(0xf0f0));
  return v128.or(v128.or(stay, down), v128.and(i32x4.shl(v, 12), i32x4.splat(0x0f0f0000)));
}

// Four whole rows of packed nibbles, `octs` times eight steps, to every other vector from `to` on.
function nibblesOf(packed: usize, rowBytes: usize, octs: usize, to: usize): void {
  for (const end = packed + (octs << 4); packed < end; packed += 16, to += 128) {
    const a = v128.load(packed);
    const b = v128.load(packed + rowBytes);
    const c = v128.load(packed + 2 * rowBytes);
    const d = v128.load(packed + 3 * rowBytes);
    const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
    const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
    v128.store(to, twoSteps(v128.shuffle<i64>(ab, cd, 0, 2)));
    v128.store(to, twoSteps(v128.shuffle<i64>(ab, cd, 1, 3)), 32);
    const ab2 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd2 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    v128.store(to, twoSteps(v128.shuffle<i64>(ab2, cd2, 0, 2)), 64);
    v128.store(to, twoSteps(v128.shuffle<i64>(ab2, cd2, 1, 3)), 96);
  }
}

// Codes of four rows, (4, octs · 32) u16, to every other vector from `to` on.
function bandOf(rows: usize, octs: usize, bits: u32, to: usize, block: usize): void {
  const vectors = block + 128;
  const stride = octs << 6;
  for (let oct: usize = 0; oct < octs; oct++) {
    for (let r: usize = 0; r < 4; r++) {
      const codes = rows + r * stride + (oct << 6);
      const low = i8x16.narrow_i16x8_u(v128.load(codes), v128.load(codes, 16));
      const high = i8x16.narrow_i16x8_u(v128.load(codes, 32), v128.load(codes, 48));
      const even = v128.shuffle<i8>(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
      const odd = v128.shuffle<i8>(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
      v128.store(block + (r << 5), even);
      v128.store(block + (r << 5), odd, 16);
    }
    transpose(block, vectors);
    if (bits == 2) {
      v128.store(to, v128.or(nibbles2(vectors, 0), i16x8.shl(nibbles2(vectors, 2), 4)));
      v128.store(to, v128.or(nibbles2(vectors, 4), i16x8.shl(nibbles2(vectors, 6), 4)), 32);
    } else if (bits == 3) {
      const last = nibbles(vectors, 6);
      v128.store(to, v128.or(nibbles(vectors, 0), thirds(last, 0)));
      v128.store(to, v128.or(nibbles(vectors, 2), thirds(last, 1)), 32);
      v128.store(to, v128.or(nibbles(vectors, 4), thirds(last, 2)), 64);
    } else {
      for (let k: usize = 0; k < 8; k += 2) v128.store(to + (k << 4), nibbles(vectors, k));
      if (bits == 5) v128.store(to, highs(vectors, 0, 1), 128);
      if (bits == 6) {
        v128.store(to, highs(vectors, 0, 2), 128);
        v128.store(to, highs(vectors, 4, 2), 160);
      }
    }
    to += bits << 5;
  }
}

// As nibbles, of codes of two bits.
// @ts-ignore: decorator
@inline
function nibbles2(steps: usize, k: usize): v128 {
  return v128.or(v128.load(steps + (k << 4)), i16x8.shl(v128.load(steps + (k << 4), 16), 2));
}

/** Row `row` of bands back to `count` packed codes as FORMAT.md has them. `scratch` holds (count + 16) u16. */
export function unbandRow(bands: usize, row: usize, count: usize, bits: u32, packed: usize, scratch: usize): void {
  const octBytes: usize = bits << 5;
  const band = bands + (row >> 3) * octsOf(count) * octBytes + ((row & 7) << 2);
  for (let column: usize = 0; column < count; column++) {
    const place = ((column & 1) << 1) | ((column >> 1) & 1);
    const at = band + (column >> 5) * octBytes + place;
    const k = (column >> 2) & 7;
    let code: u32;
    if (bits == 2) {
      code = (load<u8>(at + ((k >> 2) << 5)) >> <u8>((k & 3) << 1)) & 3;
    } else if (bits == 3 && k > 5) {
      const bit = <u8>(k == 6 ? 3 : 7);
      code = ((load<u8>(at) >> bit) & 1) | (((load<u8>(at, 32) >> bit) & 1) << 1) | (((load<u8>(at, 64) >> bit) & 1) << 2);
    } else {
      code = (load<u8>(at + ((k >> 1) << 5)) >> <u8>((k & 1) << 2)) & ((1 << min<u32>(bits, 4)) - 1);
      if (bits == 5) code |= ((load<u8>(at, 128) >> <u8>k) & 1) << 4;
      if (bits == 6) code |= ((load<u8>(at + ((k >> 2) << 5), 128) >> <u8>((k & 3) << 1)) & 3) << 4;
    }
    store<u16>(scratch + (column << 1), <u16>code);
  }
  pack(scratch, count, bits, packed);
}

/** Scales of `rows` rows, (rows, groups) f16, to the order of pairs: (pairs, groups, 8); those of rows that the last lacks are zeros. */
export function bandScales(scales: usize, rows: usize, groups: usize, to: usize): void {
  for (let row: usize = 0; row < rows; row += 8) {
    for (let k: usize = 0; k < groups; k++) {
      for (let i = row; i < row + 8; i++, to += 2) {
        store<u16>(to, i < rows ? load<u16>(scales + ((i * groups + k) << 1)) : 0);
      }
    }
  }
}

/** Row `row` of such scales back to (groups) f16. */
export function unbandScales(scales: usize, row: usize, groups: usize, to: usize): void {
  const from = scales + ((((row >> 3) * groups << 3) + (row & 7)) << 1);
  for (let k: usize = 0; k < groups; k++) store<u16>(to + (k << 1), load<u16>(from + (k << 4)));
}
