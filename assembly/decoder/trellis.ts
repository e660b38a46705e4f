// Codes of a trellis to integers u in 0 … 127, and products with them, from bands of four rows (band.ts). With n_i the index of step
// i, its code or with 2 bits c_{i-1} | c_i << 2, and swizzles of 16 lanes:
//
//   u_i = T0[n_i] + T1[n_{i-1}] + T2[n_{i-2}]         bit 3 of an index of 3 bits does not matter: tables have its entries twice
//
// A table that is all zeros is not looked up. Four columns of four rows times four activations are one vector of sums.

import { narrowBytes } from './activation';
import { turn } from './band';
import { TILE_STRIDE } from './tile';

// @ts-ignore: decorator
@inline
function valuesOf(indices: v128, table: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, indices) : i8x16.swizzle(table, indices);
}

// Vectors of eight steps, so that codes of 3 and 4 bits stand alike: two steps in each.
// @ts-ignore: decorator
@inline
function fourth(at: usize, v0: v128, v1: v128, v2: v128, bits: u32): v128 {
  if (bits == 4) return v128.load(at, 48);
  const third = i8x16.splat(<i8>0x88);
  const low = i16x8.shr_u(v128.and(v0, third), 3);
  const middle = i16x8.shr_u(v128.and(v1, third), 2);
  return v128.or(v128.or(low, middle), i16x8.shr_u(v128.and(v2, third), 1));
}

// Index of step `k` of eight; `before` is that of the step before.
// @ts-ignore: decorator
@inline
function indexOf(k: u32, v0: v128, v1: v128, v2: v128, v3: v128, before: v128, bits: u32): v128 {
  const nibble = i8x16.splat(15);
  if (bits == 2) {
    const v = k < 4 ? v0 : v1;
    if ((k & 3) == 0) {
      const carried = v128.and(i16x8.shr_u(before, 2), i8x16.splat(3));
      return v128.or(carried, v128.and(i16x8.shl(v, 2), i8x16.splat(12)));
    }
    return v128.and((k & 3) == 1 ? v : i16x8.shr_u(v, ((k & 3) - 1) << 1), nibble);
  }
  const v = k < 2 ? v0 : k < 4 ? v1 : k < 6 ? v2 : v3;
  return v128.and((k & 1) == 0 ? v : i16x8.shr_u(v, 4), nibble);
}

// u of an index and the two before it. `lags`: bit 0 for T1, bit 1 for T2.
// @ts-ignore: decorator
@inline
function integers(n: v128, before: v128, before2: v128, t0: v128, t1: v128, t2: v128, lags: u32): v128 {
  let u = valuesOf(n, t0);
  if (lags & 1) u = i8x16.add(u, valuesOf(before, t1));
  if (lags & 2) u = i8x16.add(u, valuesOf(before2, t2));
  return u;
}

// Bytes that four slots take of an activation as stepOrder has it.
// @ts-ignore: decorator
@inline
const STEP: usize = ASC_FEATURE_RELAXED_SIMD ? 4 : 8;

// Adds the products of four columns to `sum`, or stores the integers where `x` says.
// @ts-ignore: decorator
@inline
function take(sum: v128, u: v128, x: usize, k: usize, keep: bool): v128 {
  if (keep) {
    v128.store(x + (k << 4), u);
    return sum;
  }
  x += k * STEP;
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(v128.load32_splat(x), u, sum);
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(u, v128.load32_splat(x)));
  return i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.shr_u(u, 8), v128.load32_splat(x, 4)));
}

// Steps by eight from `at` on; `before` are the eight before. Products with `x` to its end, or integers to `x`.
// @ts-ignore: decorator
@inline
function run(at: usize, before: usize, values: usize, bits: u32, lags: u32, x: usize, end: usize, keep: bool): v128 {
  const t0 = v128.load(values);
  const t1 = v128.load(values, 16);
  const t2 = v128.load(values, 32);
  const last = bits == 2
    ? v128.load(before, 16)
    : fourth(before, v128.load(before), v128.load(before, 16), v128.load(before, 32), bits);
  let n6 = indexOf(6, last, last, last, last, last, bits);
  let n7 = indexOf(7, last, last, last, last, last, bits);
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (; x < end; x += keep ? 128 : 8 * STEP, at += bits << 4) {
    const v0 = v128.load(at);
    const v1 = v128.load(at, 16);
    const v2 = bits == 2 ? v1 : v128.load(at, 32);
    const v3 = bits == 2 ? v1 : fourth(at, v0, v1, v2, bits);
    const n0 = indexOf(0, v0, v1, v2, v3, n7, bits);
    s0 = take(s0, integers(n0, n7, n6, t0, t1, t2, lags), x, 0, keep);
    const n1 = indexOf(1, v0, v1, v2, v3, n0, bits);
    s1 = take(s1, integers(n1, n0, n7, t0, t1, t2, lags), x, 1, keep);
    const n2 = indexOf(2, v0, v1, v2, v3, n1, bits);
    s2 = take(s2, integers(n2, n1, n0, t0, t1, t2, lags), x, 2, keep);
    const n3 = indexOf(3, v0, v1, v2, v3, n2, bits);
    s3 = take(s3, integers(n3, n2, n1, t0, t1, t2, lags), x, 3, keep);
    const n4 = indexOf(4, v0, v1, v2, v3, n3, bits);
    s0 = take(s0, integers(n4, n3, n2, t0, t1, t2, lags), x, 4, keep);
    const n5 = indexOf(5, v0, v1, v2, v3, n4, bits);
    s1 = take(s1, integers(n5, n4, n3, t0, t1, t2, lags), x, 5, keep);
    n6 = indexOf(6, v0, v1, v2, v3, n5, bits);
    s2 = take(s2, integers(n6, n5, n4, t0, t1, t2, lags), x, 6, keep);
    n7 = indexOf(7, v0, v1, v2, v3, n6, bits);
    s3 = take(s3, integers(n7, n6, n5, t0, t1, t2, lags), x, 7, keep);
  }
  return i32x4.add(i32x4.add(s0, s1), i32x4.add(s2, s3));
}

/**
 * Four rows of codes, of `bits` bits, times `slots` of an activation in the order of steps, a multiple of 32: four i32 to `to`. `at`
 * and `before` are the band's bytes of the first eight steps and of those before.
 */
export function trellis1(at: usize, before: usize, values: usize, bits: u32, x: usize, slots: usize, to: usize): void {
  const end = x + narrowBytes(slots);
  const second = v128.any_true(v128.load(values, 16));
  const third = v128.any_true(v128.load(values, 32));
  let sum: v128;
  if (bits == 4) {
    if (third) sum = run(at, before, values, 4, 3, x, end, false);
    else sum = run(at, before, values, 4, 1, x, end, false);
  } else if (bits == 3) {
    if (third) sum = run(at, before, values, 3, 3, x, end, false);
    else sum = run(at, before, values, 3, 1, x, end, false);
  } else if (!third) sum = run(at, before, values, 2, 1, x, end, false);
  else if (!second) sum = run(at, before, values, 2, 2, x, end, false);
  else sum = run(at, before, values, 2, 3, x, end, false);
  v128.store(to, sum);
}

/** Decodes `count` columns of a band, and up to 31 more, to a tile as nibbleRow does. `block` holds 256 bytes. */
export function trellisRows(
  at: usize, before: usize, values: usize, bits: u32, tile: usize, count: usize, block: usize,
): void {
  for (const end = tile + narrowBytes(count); tile < end; tile += narrowBytes(32)) {
    if (bits == 4) run(at, before, values, 4, 3, block, block + 128, true);
    else if (bits == 3) run(at, before, values, 3, 3, block, block + 128, true);
    else run(at, before, values, 2, 3, block, block + 128, true);
    before = at;
    at += bits << 4;
    turn(block, block + 128);
    for (let row: usize = 0; row < 4; row++) {
      const to = tile + row * TILE_STRIDE;
      const even = v128.load(block + (row << 5));
      const odd = v128.load(block + (row << 5), 16);
      if (ASC_FEATURE_RELAXED_SIMD) {
        v128.store(to, even);
        v128.store(to, odd, 16);
      } else {
        v128.store(to, even);
        v128.store(to, i16x8.shr_u(even, 8), 16);
        v128.store(to, odd, 32);
        v128.store(to, i16x8.shr_u(odd, 8), 48);
      }
    }
  }
}

/**
 * A narrow activation of `slots` to the order of steps, at `to`. Of four columns: i16 4i, then 4i + 1, then 4i + 2 (less 256 times
 * 4i), then 4i + 3 (less ...); or i8 4i, 4i + 2, 4i + 1, 4i + 3 with relaxed SIMD.
 */
export function stepOrder(x: usize, slots: usize, to: usize): void {
  for (const end = x + narrowBytes(slots); x < end; ) {
    if (ASC_FEATURE_RELAXED_SIMD) {
      const even = v128.load(x);
      const odd = v128.load(x, 16);
      v128.store(to, v128.shuffle<i16>(even, odd, 0, 8, 1, 9, 2, 10, 3, 11));
      v128.store(to, v128.shuffle<i16>(even, odd, 4, 12, 5, 13, 6, 14, 7, 15), 16);
      x += 32;
      to += 32;
    } else {
      const x0 = v128.load(x);
      const x2 = v128.load(x, 16);
      const x1 = v128.load(x, 32);
      const x3 = v128.load(x, 48);
      const low0 = v128.shuffle<i16>(x0, x1, 0, 8, 1, 9, 2, 10, 3, 11);
      const low1 = v128.shuffle<i16>(x2, x3, 0, 8, 1, 9, 2, 10, 3, 11);
      const high0 = v128.shuffle<i16>(x0, x1, 4, 12, 5, 13, 6, 14, 7, 15);
      const high1 = v128.shuffle<i16>(x2, x3, 4, 12, 5, 13, 6, 14, 7, 15);
      v128.store(to, v128.shuffle<i32>(low0, low1, 0, 4, 1, 5));
      v128.store(to, v128.shuffle<i32>(low0, low1, 2, 6, 3, 7), 16);
      v128.store(to, v128.shuffle<i32>(high0, high1, 0, 4, 1, 5), 32);
      v128.store(to, v128.shuffle<i32>(high0, high1, 2, 6, 3, 7), 48);
      x += 64;
      to += 64;
    }
  }
}
