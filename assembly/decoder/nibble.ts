// Codes of 4 bits that stand for one weight each: a swizzle turns 16 nibbles into 16 grid values u in 0 … 127, and a weight is
// step · (u - zero). 16 bytes of codes are 32 columns:
//
//   bytes            0                1                2                3              …
//   low nibbles      column 0         column 2         column 4         column 6       …
//   high nibbles     column 1         column 3         column 5         column 7       …
//   as i16           e + 256 · o of columns 0 and 2    of columns 4 and 6              …
//
// Without relaxed SIMD products take i16: o is the lane shifted by 8, and e is not cut out at all, as
//   (e + 256 · o) · x_e + o · (x_o - 256 · x_e) = e · x_e + o · x_o      with |x_o - 256 · x_e| < 2^15, sums modulo 2^32.
// With relaxed SIMD they take the bytes: u is below 128 and |x| too, so no machine saturates and all give the same sum.

import { narrowBytes } from './activation';
import { TILE_STRIDE, fold } from './tile';

// @ts-ignore: decorator
@inline
function valuesOf(nibbles: v128, table: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, nibbles) : i8x16.swizzle(table, nibbles);
}

// @ts-ignore: decorator
@inline
function low(codes: v128, table: v128): v128 {
  return valuesOf(v128.and(codes, i8x16.splat(15)), table);
}

// @ts-ignore: decorator
@inline
function high(codes: v128, table: v128): v128 {
  return valuesOf(v128.and(i16x8.shr_u(codes, 4), i8x16.splat(15)), table);
}

// @ts-ignore: decorator
@inline
function addByte(sum: v128, u: v128, x: v128): v128 {
  return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, u, sum);
}

// Adds the products of 32 columns.
// @ts-ignore: decorator
@inline
function add32(sum: v128, codes: v128, table: v128, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const u0 = low(codes, table);
  const u1 = high(codes, table);
  if (ASC_FEATURE_RELAXED_SIMD) return addByte(addByte(sum, u0, x0), u1, x1);
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(u0, x0));
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.shr_u(u0, 8), x1));
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(u1, x2));
  return i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.shr_u(u1, 8), x3));
}

// Bytes of 32 narrow slots.
// @ts-ignore: decorator
@inline
const RUN: usize = ASC_FEATURE_RELAXED_SIMD ? 32 : 64;

/** Four rows of codes times `slots` of a narrow activation, 32 or a multiple of 64: Σ u · x of each row, four i32 to `to`. */
export function nibbles1(a: usize, b: usize, c: usize, d: usize, values: usize, x: usize, slots: usize, to: usize): void {
  const table = v128.load(values);
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = x + narrowBytes(slots); x < end; ) {
    let x0 = v128.load(x);
    let x1 = v128.load(x, 16);
    let x2 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load(x, 32);
    let x3 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load(x, 48);
    s0 = add32(s0, v128.load(a), table, x0, x1, x2, x3);
    s1 = add32(s1, v128.load(b), table, x0, x1, x2, x3);
    s2 = add32(s2, v128.load(c), table, x0, x1, x2, x3);
    s3 = add32(s3, v128.load(d), table, x0, x1, x2, x3);
    if (slots == 32) break;
    x0 = v128.load(x, RUN);
    x1 = v128.load(x, RUN + 16);
    x2 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load(x, RUN + 32);
    x3 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load(x, RUN + 48);
    s0 = add32(s0, v128.load(a, 16), table, x0, x1, x2, x3);
    s1 = add32(s1, v128.load(b, 16), table, x0, x1, x2, x3);
    s2 = add32(s2, v128.load(c, 16), table, x0, x1, x2, x3);
    s3 = add32(s3, v128.load(d, 16), table, x0, x1, x2, x3);
    x += 2 * RUN;
    a += 32;
    b += 32;
    c += 32;
    d += 32;
  }
  v128.store(to, fold(s0, s1, s2, s3));
}

/** Decodes `count` columns of a row, and up to 31 more, to a row of a tile: i16, or bytes with relaxed SIMD, as add32 has them. */
export function nibbleRow(codes: usize, values: usize, tile: usize, count: usize): void {
  const table = v128.load(values);
  for (const end = codes + ((count + 1) >> 1); codes < end; codes += 16) {
    const v = v128.load(codes);
    const u0 = low(v, table);
    const u1 = high(v, table);
    if (ASC_FEATURE_RELAXED_SIMD) {
      v128.store(tile, u0);
      v128.store(tile, u1, 16);
      tile += 32;
    } else {
      v128.store(tile, u0);
      v128.store(tile, i16x8.shr_u(u0, 8), 16);
      v128.store(tile, u1, 32);
      v128.store(tile, i16x8.shr_u(u1, 8), 48);
      tile += 64;
    }
  }
}

/**
 * Four rows of a tile of bytes times two activations, `x` and `x + stride`: four i32 of the one, then four of the other.
 * `bytes` is a multiple of 32.
 */
export function bytes2(tile: usize, x: usize, stride: usize, bytes: usize, to: usize): void {
  let a0 = i32x4.splat(0);
  let b0 = a0;
  let c0 = a0;
  let d0 = a0;
  let a1 = a0;
  let b1 = a0;
  let c1 = a0;
  let d1 = a0;
  let other = x + stride;
  for (const end = x + bytes; x < end; x += 32, other += 32, tile += 32) {
    let x0 = v128.load(x);
    let x1 = v128.load(other);
    let row = v128.load(tile);
    a0 = addByte(a0, row, x0);
    a1 = addByte(a1, row, x1);
    row = v128.load(tile, TILE_STRIDE);
    b0 = addByte(b0, row, x0);
    b1 = addByte(b1, row, x1);
    row = v128.load(tile, 2 * TILE_STRIDE);
    c0 = addByte(c0, row, x0);
    c1 = addByte(c1, row, x1);
    row = v128.load(tile, 3 * TILE_STRIDE);
    d0 = addByte(d0, row, x0);
    d1 = addByte(d1, row, x1);
    x0 = v128.load(x, 16);
    x1 = v128.load(other, 16);
    row = v128.load(tile, 16);
    a0 = addByte(a0, row, x0);
    a1 = addByte(a1, row, x1);
    row = v128.load(tile, TILE_STRIDE + 16);
    b0 = addByte(b0, row, x0);
    b1 = addByte(b1, row, x1);
    row = v128.load(tile, 2 * TILE_STRIDE + 16);
    c0 = addByte(c0, row, x0);
    c1 = addByte(c1, row, x1);
    row = v128.load(tile, 3 * TILE_STRIDE + 16);
    d0 = addByte(d0, row, x0);
    d1 = addByte(d1, row, x1);
  }
  v128.store(to, fold(a0, b0, c0, d0));
  v128.store(to, fold(a1, b1, c1, d1), 16);
}
