// Y = X Wᵀ for weights that are not quantized, f32, f16 or bf16, in f32: each inner product by the rule for sums in lanes.ts, for
// any width. Two rows go together. Narrow weights are widened on the way for one activation, for several once, in scratch.
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

// @ts-ignore: decorator
@inline
function rowsOf(
  w: usize, dtype: u32, rows: usize, cols: usize, x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const rowBytes = cols << (dtype == F32 ? 2 : 1);
  for (let row: usize = 0; row < rows; row += 2) {
    const next = min(row + 1, rows - 1); // beyond the last row, the last again
    let a = w + row * rowBytes;
    let b = w + next * rowBytes;
    if (dtype != F32 && count == 1) {
      twoRows(a, b, dtype, cols, x, y + (row << 2), y + (next << 2));
      continue;
    }
    if (dtype != F32) {
      const other = scratch + ((cols + 16) << 2);
      widen(a, dtype, 0, cols, scratch);
      widen(b, dtype, 0, cols, other);
      a = scratch;
      b = other;
    }
    for (let j: usize = 0; j < count; j++) {
      const to = y + ((j * stride) << 2);
      twoRows(a, b, F32, cols, x + ((j * cols) << 2), to + (row << 2), to + (next << 2));
    }
  }
}

/**
 * y = W x for `count` activations: `w` is (rows, cols) of `dtype` (float.ts numbers them), `x` (count, cols) f32; element r of
 * activation j goes to y[j · stride + r]. `scratch` holds 2 · (cols + 16) f32; it is used for narrow weights and several activations.
 */
export function denseRows(
  w: usize, dtype: u32, rows: usize, cols: usize, x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  if (dtype == F32) rowsOf(w, F32, rows, cols, x, count, y, stride, scratch);
  else if (dtype == F16) rowsOf(w, F16, rows, cols, x, count, y, stride, scratch);
  else rowsOf(w, BF16, rows, cols, x, count, y, stride, scratch);
}
