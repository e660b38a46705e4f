// Y = X Wᵀ for weights that are not quantized, f32, f16 or bf16, in f32: each inner product by the rule for sums in lanes.ts, for
// any width. Two rows go together. Narrow weights are widened on the way for one activation, for several once, in scratch.
// Four activations go together, or, with two activations, four rows: a product is the same either way round. A processor has too few
// registers for all their sums, so columns go by quarters: of each sixteen four, which add to sums of their own. All quarters of some
// columns follow one another, while a cache holds them.
//
// Scratch:   sums of two rows and four activations, quarter by quarter, (4, 2, 4, 4) f32 | four widened rows
//
// The last 1 to 15 columns: sixteen are read, and the products beyond the width are cleared. Sums start at +0, so that adding
// +0 to one changes nothing.

import { BF16, F16, F32, widen, widen16 } from '../float';
import { fold } from '../lanes';

// Columns 8 · half to 8 · half + 7 of a run of sixteen, as f32: first four, last four.
// @ts-ignore: decorator
@inline
function first4(w: usize, half: usize, dtype: u32): v128 {
  if (dtype == F32) return v128.load(w + (half << 5));
  const h = v128.load(w + (half << 4));
  if (dtype == F16) return widen16(i32x4.extend_low_i16x8_u(h));
  return v128.shuffle<i16>(i32x4.splat(0), h, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function last4(w: usize, half: usize, dtype: u32): v128 {
  if (dtype == F32) return v128.load(w + (half << 5) + 16);
  const h = v128.load(w + (half << 4));
  if (dtype == F16) return widen16(i32x4.extend_high_i16x8_u(h));
  return v128.shuffle<i16>(i32x4.splat(0), h, 4, 12, 5, 13, 6, 14, 7, 15);
}

// Four products, those from `rest` on cleared.
// @ts-ignore: decorator
@inline
function productsBelow(a: v128, b: v128, rest: i32): v128 {
  return v128.and(f32x4.mul(a, b), i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(rest)));
}

// Two rows times one activation: f32 to `y`, and to `other` for the second.
// @ts-ignore: decorator
@inline
function twoRows(a: usize, b: usize, dtype: u32, cols: usize, x: usize, y: usize, other: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  const bytes: usize = dtype == F32 ? 64 : 32;
  for (const end = x + ((cols & ~15) << 2); x < end; x += 64, a += bytes, b += bytes) {
    const x0 = v128.load(x);
    a0 = f32x4.add(a0, f32x4.mul(first4(a, 0, dtype), x0));
    b0 = f32x4.add(b0, f32x4.mul(first4(b, 0, dtype), x0));
    const x1 = v128.load(x, 16);
    a1 = f32x4.add(a1, f32x4.mul(last4(a, 0, dtype), x1));
    b1 = f32x4.add(b1, f32x4.mul(last4(b, 0, dtype), x1));
    const x2 = v128.load(x, 32);
    a2 = f32x4.add(a2, f32x4.mul(first4(a, 1, dtype), x2));
    b2 = f32x4.add(b2, f32x4.mul(first4(b, 1, dtype), x2));
    const x3 = v128.load(x, 48);
    a3 = f32x4.add(a3, f32x4.mul(last4(a, 1, dtype), x3));
    b3 = f32x4.add(b3, f32x4.mul(last4(b, 1, dtype), x3));
  }
  const rest = <i32>(cols & 15);
  if (rest > 0) {
    const x0 = v128.load(x);
    a0 = f32x4.add(a0, productsBelow(first4(a, 0, dtype), x0, rest));
    b0 = f32x4.add(b0, productsBelow(first4(b, 0, dtype), x0, rest));
    const x1 = v128.load(x, 16);
    a1 = f32x4.add(a1, productsBelow(last4(a, 0, dtype), x1, rest - 4));
    b1 = f32x4.add(b1, productsBelow(last4(b, 0, dtype), x1, rest - 4));
    const x2 = v128.load(x, 32);
    a2 = f32x4.add(a2, productsBelow(first4(a, 1, dtype), x2, rest - 8));
    b2 = f32x4.add(b2, productsBelow(first4(b, 1, dtype), x2, rest - 8));
    const x3 = v128.load(x, 48);
    a3 = f32x4.add(a3, productsBelow(last4(a, 1, dtype), x3, rest - 12));
    b3 = f32x4.add(b3, productsBelow(last4(b, 1, dtype), x3, rest - 12));
  }
  store<f32>(y, fold(a0, a1, a2, a3));
  store<f32>(other, fold(b0, b1, b2, b3));
}

// Bytes of the sums of a quarter, and of all.
const QUARTER: usize = 128;
const SUMS: usize = 4 * QUARTER;
// Bytes of a vector's columns that go together.
const TOGETHER: usize = 2048;

// Adds products of a quarter of `bytes` of columns, and of `rest` columns behind them: two rows times four activations.
// @ts-ignore: decorator
@inline
function addQuarter(
  a: usize, b: usize, x0: usize, x1: usize, x2: usize, x3: usize, bytes: usize, rest: i32, sums: usize,
): void {
  let a0 = v128.load(sums);
  let a1 = v128.load(sums, 16);
  let a2 = v128.load(sums, 32);
  let a3 = v128.load(sums, 48);
  let b0 = v128.load(sums, 64);
  let b1 = v128.load(sums, 80);
  let b2 = v128.load(sums, 96);
  let b3 = v128.load(sums, 112);
  for (let i: usize = 0; i < bytes; i += 64) {
    const u = v128.load(a + i);
    const v = v128.load(b + i);
    let x = v128.load(x0 + i);
    a0 = f32x4.add(a0, f32x4.mul(u, x));
    b0 = f32x4.add(b0, f32x4.mul(v, x));
    x = v128.load(x1 + i);
    a1 = f32x4.add(a1, f32x4.mul(u, x));
    b1 = f32x4.add(b1, f32x4.mul(v, x));
    x = v128.load(x2 + i);
    a2 = f32x4.add(a2, f32x4.mul(u, x));
    b2 = f32x4.add(b2, f32x4.mul(v, x));
    x = v128.load(x3 + i);
    a3 = f32x4.add(a3, f32x4.mul(u, x));
    b3 = f32x4.add(b3, f32x4.mul(v, x));
  }
  if (rest > 0) {
    const u = v128.load(a + bytes);
    const v = v128.load(b + bytes);
    let x = v128.load(x0 + bytes);
    a0 = f32x4.add(a0, productsBelow(u, x, rest));
    b0 = f32x4.add(b0, productsBelow(v, x, rest));
    x = v128.load(x1 + bytes);
    a1 = f32x4.add(a1, productsBelow(u, x, rest));
    b1 = f32x4.add(b1, productsBelow(v, x, rest));
    x = v128.load(x2 + bytes);
    a2 = f32x4.add(a2, productsBelow(u, x, rest));
    b2 = f32x4.add(b2, productsBelow(v, x, rest));
    x = v128.load(x3 + bytes);
    a3 = f32x4.add(a3, productsBelow(u, x, rest));
    b3 = f32x4.add(b3, productsBelow(v, x, rest));
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, a3, 48);
  v128.store(sums, b0, 64);
  v128.store(sums, b1, 80);
  v128.store(sums, b2, 96);
  v128.store(sums, b3, 112);
}

// @ts-ignore: decorator
@inline
function foldQuarters(sums: usize): f32 {
  return fold(v128.load(sums), v128.load(sums, QUARTER), v128.load(sums, 2 * QUARTER), v128.load(sums, 3 * QUARTER));
}

// Two rows of f32 times one to four activations, one behind the other: f32 to `y`, and to `other` for the second row, those of an
// activation `stride` f32 behind those of the one before it.
function twoTimesFour(
  a: usize, b: usize, cols: usize, x: usize, count: usize, y: usize, other: usize, stride: usize, sums: usize,
): void {
  // Beyond the last activation, the last again.
  const x1 = x + (cols << 2) * min<usize>(1, count - 1);
  const x2 = x + (cols << 2) * min<usize>(2, count - 1);
  const x3 = x + (cols << 2) * min<usize>(3, count - 1);
  memory.fill(sums, 0, SUMS);
  for (let at: usize = 0, end = cols << 2; at < end; at += TOGETHER) {
    const bytes = min((end - at) & ~63, TOGETHER);
    const rest: i32 = bytes < TOGETHER ? <i32>(cols & 15) : 0;
    for (let i: usize = at, q: usize = 0; q < 4; i += 16, q++) {
      addQuarter(a + i, b + i, x + i, x1 + i, x2 + i, x3 + i, bytes, rest - 4 * <i32>q, sums + q * QUARTER);
    }
  }
  for (let j: usize = 0; j < count; j++) {
    store<f32>(y + ((j * stride) << 2), foldQuarters(sums + (j << 4)));
    store<f32>(other + ((j * stride) << 2), foldQuarters(sums + 64 + (j << 4)));
  }
}

// All rows times two activations, four rows at a time.
// @ts-ignore: decorator
@inline
function rowsOfTwo(
  w: usize, dtype: u32, rows: usize, cols: usize, x: usize, y: usize, stride: usize, scratch: usize,
): void {
  const rowBytes = cols << (dtype == F32 ? 2 : 1);
  const wide = scratch + SUMS;
  for (let row: usize = 0; row < rows; row += 4) {
    const some = min<usize>(4, rows - row);
    let from = w + row * rowBytes;
    if (dtype != F32) {
      for (let i: usize = 0; i < some; i++) widen(from + i * rowBytes, dtype, 0, cols, wide + i * (cols << 2));
      from = wide;
    }
    const to = y + (row << 2);
    twoTimesFour(x, x + (cols << 2), cols, from, some, to, to + (stride << 2), 1, scratch);
  }
}

// @ts-ignore: decorator
@inline
function rowsOf(
  w: usize, dtype: u32, rows: usize, cols: usize, x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const rowBytes = cols << (dtype == F32 ? 2 : 1);
  const wide = scratch + SUMS;
  if (count == 2) {
    rowsOfTwo(w, dtype, rows, cols, x, y, stride, scratch);
    return;
  }
  for (let row: usize = 0; row < rows; row += 2) {
    const next = min(row + 1, rows - 1); // beyond the last row, the last again
    let a = w + row * rowBytes;
    let b = w + next * rowBytes;
    if (dtype != F32 && count == 1) {
      twoRows(a, b, dtype, cols, x, y + (row << 2), y + (next << 2));
      continue;
    }
    if (dtype != F32) {
      const other = wide + ((cols + 16) << 2);
      widen(a, dtype, 0, cols, wide);
      widen(b, dtype, 0, cols, other);
      a = wide;
      b = other;
    }
    for (let j: usize = 0; j < count; j += 4) {
      const some = min<usize>(4, count - j);
      const from = x + ((j * cols) << 2);
      const to = y + ((j * stride + row) << 2);
      const beside = y + ((j * stride + next) << 2);
      if (some == 1) twoRows(a, b, F32, cols, from, to, beside);
      else twoTimesFour(a, b, cols, from, some, to, beside, stride, scratch);
    }
  }
}

/**
 * y = W x for `count` activations: `w` is (rows, cols) of `dtype` (float.ts numbers them), `x` (count, cols) f32; element r of
 * activation j goes to y[j · stride + r]. `scratch` holds 128 + 4 · (cols + 16) f32; it is used for several activations.
 */
export function denseRows(
  w: usize, dtype: u32, rows: usize, cols: usize, x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  if (dtype == F32) rowsOf(w, F32, rows, cols, x, count, y, stride, scratch);
  else if (dtype == F16) rowsOf(w, F16, rows, cols, x, count, y, stride, scratch);
  else rowsOf(w, BF16, rows, cols, x, count, y, stride, scratch);
}
