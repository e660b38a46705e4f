// Products of integers for attention over codes: queries of i16 with keys of i8, and weights of i16 with values of i8, for one row or two at
// once. All sums are exact, so their order is free.
//
//   score    s_t = f32(Σ_i q_i k_ti) · f32(scale_t · factor)       codeattention.ts makes q and w, and says in which units
//   mixed    y_i = y_i + f32(Σ_t w_t v_ti) · factor                t over the positions of a block
//
// Four keys go together: their scales are one load, and their sums fold to one vector, whose lanes are the keys.

import { widen16 } from '../float';

// @ts-ignore: decorator
@inline
function add(sum: v128, a: v128, b: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(a, b));
}

// Sums of the four lanes of each.
// @ts-ignore: decorator
@inline
function folded(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

/** Four f16 scales at `at`, whatever follows the last. */
// @ts-ignore: decorator
@inline
export function fourScales(at: usize): v128 {
  return widen16(v128.load16x4_u(at));
}

// @ts-ignore: decorator
@inline
function put(to: usize, sums: v128, factors: v128, more: bool): void {
  const s = f32x4.mul(f32x4.convert_i32x4_s(sums), factors);
  v128.store(to, more ? f32x4.add(v128.load(to), s) : s);
}

// Scores of keys 0 to `count`, `row` bytes apart, to `to0`, and to `to1` if `two`: (q · k) · (scale · factor), added to what is there if
// `more`. `q0` and `q1` are i16, `dim` of them, a multiple of 16. Scores are written up to the next multiple of four.
// @ts-ignore: decorator
@inline
function codeScores(
  two: bool, q0: usize, q1: usize, keys: usize, row: usize, scales: usize, count: usize, dim: usize, factor0: f32, factor1: f32,
  to0: usize, to1: usize, more: bool,
): void {
  const f0 = f32x4.splat(factor0);
  const f1 = f32x4.splat(factor1);
  const last = keys + (count - 1) * row;
  const end = q0 + (dim << 1);
  for (let t: usize = 0; t < count; t += 4, keys += row << 2, scales += 8, to0 += 16, to1 += 16) {
    let a = keys;
    let b = min(a + row, last);
    let c = min(b + row, last);
    let d = min(c + row, last);
    let a0 = i32x4.splat(0);
    let b0 = a0;
    let c0 = a0;
    let d0 = a0;
    let a1 = a0;
    let b1 = a0;
    let c1 = a0;
    let d1 = a0;
    let y = q1;
    for (let x = q0; x < end; x += 32, y += 32, a += 16, b += 16, c += 16, d += 16) {
      let p = v128.load(x);
      let r = two ? v128.load(y) : p;
      let k = v128.load8x8_s(a);
      a0 = add(a0, p, k);
      if (two) a1 = add(a1, r, k);
      k = v128.load8x8_s(b);
      b0 = add(b0, p, k);
      if (two) b1 = add(b1, r, k);
      k = v128.load8x8_s(c);
      c0 = add(c0, p, k);
      if (two) c1 = add(c1, r, k);
      k = v128.load8x8_s(d);
      d0 = add(d0, p, k);
      if (two) d1 = add(d1, r, k);
      p = v128.load(x, 16);
      r = two ? v128.load(y, 16) : p;
      k = v128.load8x8_s(a, 8);
      a0 = add(a0, p, k);
      if (two) a1 = add(a1, r, k);
      k = v128.load8x8_s(b, 8);
      b0 = add(b0, p, k);
      if (two) b1 = add(b1, r, k);
      k = v128.load8x8_s(c, 8);
      c0 = add(c0, p, k);
      if (two) c1 = add(c1, r, k);
      k = v128.load8x8_s(d, 8);
      d0 = add(d0, p, k);
      if (two) d1 = add(d1, r, k);
    }
    const s = fourScales(scales);
    put(to0, folded(a0, b0, c0, d0), f32x4.mul(s, f0), more);
    if (two) put(to1, folded(a1, b1, c1, d1), f32x4.mul(s, f1), more);
  }
}

/** codeScores of one query. */
export function oneCodeScores(
  q: usize, keys: usize, row: usize, scales: usize, count: usize, dim: usize, factor: f32, to: usize, more: bool,
): void {
  codeScores(false, q, q, keys, row, scales, count, dim, factor, factor, to, to, more);
}

/** codeScores of two queries that read the same keys. */
export function twoCodeScores(
  q0: usize, q1: usize, keys: usize, row: usize, scales: usize, count: usize, dim: usize, factor0: f32, factor1: f32, to0: usize,
  to1: usize, more: bool,
): void {
  codeScores(true, q0, q1, keys, row, scales, count, dim, factor0, factor1, to0, to1, more);
}

// y += sums · factor, four of them.
// @ts-ignore: decorator
@inline
function addScaled(y: usize, sums: v128, factor: v128): void {
  v128.store(y, f32x4.add(v128.load(y), f32x4.mul(f32x4.convert_i32x4_s(sums), factor)));
}

// Values of two positions, each pair of elements side by side.
// @ts-ignore: decorator
@inline
function low(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function high(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

/**
 * y += (Σ w_t v_t) · factor over `count` values, `row` bytes apart, `dim` elements of each, a multiple of 16. Weights are i16, zero
 * behind the last up to an even number.
 */
export function mixCodes(w: usize, factor: f32, values: usize, row: usize, count: usize, dim: usize, y: usize): void {
  const f = f32x4.splat(factor);
  const end = w + (count << 1);
  let i: usize = 0;
  for (; i + 32 <= dim; i += 32) {
    let a = i32x4.splat(0);
    let b = a;
    let c = a;
    let d = a;
    let e = a;
    let g = a;
    let h = a;
    let j = a;
    let v = values + i;
    for (let p = w; p < end; p += 4, v += row << 1) {
      const u = p + 2 < end ? v + row : v;
      const weights = v128.load32_splat(p);
      let x = v128.load8x8_s(v);
      let z = v128.load8x8_s(u);
      a = add(a, low(x, z), weights);
      b = add(b, high(x, z), weights);
      x = v128.load8x8_s(v, 8);
      z = v128.load8x8_s(u, 8);
      c = add(c, low(x, z), weights);
      d = add(d, high(x, z), weights);
      x = v128.load8x8_s(v, 16);
      z = v128.load8x8_s(u, 16);
      e = add(e, low(x, z), weights);
      g = add(g, high(x, z), weights);
      x = v128.load8x8_s(v, 24);
      z = v128.load8x8_s(u, 24);
      h = add(h, low(x, z), weights);
      j = add(j, high(x, z), weights);
    }
    const to = y + (i << 2);
    addScaled(to, a, f);
    addScaled(to + 16, b, f);
    addScaled(to + 32, c, f);
    addScaled(to + 48, d, f);
    addScaled(to + 64, e, f);
    addScaled(to + 80, g, f);
    addScaled(to + 96, h, f);
    addScaled(to + 112, j, f);
  }
  if (i < dim) mixSixteen(false, w, w, factor, factor, values + i, row, count, y + (i << 2), y);
}

/** As mixCodes, of two rows of weights. */
export function mixCodesPair(
  w0: usize, w1: usize, factor0: f32, factor1: f32, values: usize, row: usize, count: usize, dim: usize, y0: usize, y1: usize,
): void {
  for (let i: usize = 0; i < dim; i += 16) {
    mixSixteen(true, w0, w1, factor0, factor1, values + i, row, count, y0 + (i << 2), y1 + (i << 2));
  }
}

// @ts-ignore: decorator
@inline
function mixSixteen(
  two: bool, w0: usize, w1: usize, factor0: f32, factor1: f32, v: usize, row: usize, count: usize, y0: usize, y1: usize,
): void {
  const end = w0 + (count << 1);
  let a = i32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  let e = a;
  let g = a;
  let h = a;
  let j = a;
  let q = w1;
  for (let p = w0; p < end; p += 4, q += 4, v += row << 1) {
    const u = p + 2 < end ? v + row : v;
    const weights = v128.load32_splat(p);
    const others = two ? v128.load32_splat(q) : weights;
    let x = v128.load8x8_s(v);
    let z = v128.load8x8_s(u);
    let lower = low(x, z);
    let higher = high(x, z);
    a = add(a, lower, weights);
    b = add(b, higher, weights);
    if (two) {
      e = add(e, lower, others);
      g = add(g, higher, others);
    }
    x = v128.load8x8_s(v, 8);
    z = v128.load8x8_s(u, 8);
    lower = low(x, z);
    higher = high(x, z);
    c = add(c, lower, weights);
    d = add(d, higher, weights);
    if (two) {
      h = add(h, lower, others);
      j = add(j, higher, others);
    }
  }
  const f0 = f32x4.splat(factor0);
  addScaled(y0, a, f0);
  addScaled(y0 + 16, b, f0);
  addScaled(y0 + 32, c, f0);
  addScaled(y0 + 48, d, f0);
  if (two) {
    const f1 = f32x4.splat(factor1);
    addScaled(y1, e, f1);
    addScaled(y1 + 16, g, f1);
    addScaled(y1 + 32, h, f1);
    addScaled(y1 + 48, j, f1);
  }
}
