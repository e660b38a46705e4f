// Weighted sums of values, for one query or two: y += Σ p_t v_t in ascending t. A query's sums are its elements: columns go together that
// registers hold, and each is a chain of its own. Values of f16 are widened as scores.ts has it; weights are 2^112 of theirs then.
//
//   columns   0 … 31 │ 32 … 63 │ …      eight vectors of sums at a time, or four of each of two queries; the rest by fours
//   rows      t = 0, 1, …               the same order for each column: how many columns go together changes no bit

import { element, four, maskOf } from './scores';

// @ts-ignore: decorator
@inline
function add(sum: v128, weight: v128, v: v128): v128 {
  return f32x4.add(sum, f32x4.mul(weight, v));
}

/**
 * y0 += Σ p0_t v_t, and y1 of p1 if `two`, over `count` rows of `stride` bytes at `v`, `dim` elements of each, f16 if `narrow`.
 */
// @ts-ignore: decorator
@inline
function mixRows(
  two: bool, narrow: bool, p0: usize, p1: usize, v: usize, stride: usize, count: usize, dim: usize, y0: usize, y1: usize, mask: v128,
): void {
  const size: usize = narrow ? 1 : 2;
  const next: usize = narrow ? 8 : 16;
  const last = p0 + (count << 2);
  let i: usize = 0;
  if (!two) {
    for (; i + 32 <= dim; i += 32) {
      const y = y0 + (i << 2);
      let a = v128.load(y);
      let b = v128.load(y, 16);
      let c = v128.load(y, 32);
      let d = v128.load(y, 48);
      let e = v128.load(y, 64);
      let f = v128.load(y, 80);
      let g = v128.load(y, 96);
      let h = v128.load(y, 112);
      let at = v + (i << size);
      for (let p = p0; p < last; p += 4, at += stride) {
        const w = v128.load32_splat(p);
        a = add(a, w, four(at, narrow, mask));
        b = add(b, w, four(at + next, narrow, mask));
        c = add(c, w, four(at + 2 * next, narrow, mask));
        d = add(d, w, four(at + 3 * next, narrow, mask));
        e = add(e, w, four(at + 4 * next, narrow, mask));
        f = add(f, w, four(at + 5 * next, narrow, mask));
        g = add(g, w, four(at + 6 * next, narrow, mask));
        h = add(h, w, four(at + 7 * next, narrow, mask));
      }
      v128.store(y, a);
      v128.store(y, b, 16);
      v128.store(y, c, 32);
      v128.store(y, d, 48);
      v128.store(y, e, 64);
      v128.store(y, f, 80);
      v128.store(y, g, 96);
      v128.store(y, h, 112);
    }
  } else {
    for (; i + 16 <= dim; i += 16) {
      const y = y0 + (i << 2);
      const z = y1 + (i << 2);
      let a = v128.load(y);
      let b = v128.load(y, 16);
      let c = v128.load(y, 32);
      let d = v128.load(y, 48);
      let e = v128.load(z);
      let f = v128.load(z, 16);
      let g = v128.load(z, 32);
      let h = v128.load(z, 48);
      let at = v + (i << size);
      let r = p1;
      for (let p = p0; p < last; p += 4, r += 4, at += stride) {
        const w = v128.load32_splat(p);
        const u = v128.load32_splat(r);
        const va = four(at, narrow, mask);
        const vb = four(at + next, narrow, mask);
        const vc = four(at + 2 * next, narrow, mask);
        const vd = four(at + 3 * next, narrow, mask);
        a = add(a, w, va);
        b = add(b, w, vb);
        c = add(c, w, vc);
        d = add(d, w, vd);
        e = add(e, u, va);
        f = add(f, u, vb);
        g = add(g, u, vc);
        h = add(h, u, vd);
      }
      v128.store(y, a);
      v128.store(y, b, 16);
      v128.store(y, c, 32);
      v128.store(y, d, 48);
      v128.store(z, e);
      v128.store(z, f, 16);
      v128.store(z, g, 32);
      v128.store(z, h, 48);
    }
  }
  for (; i + 4 <= dim; i += 4) {
    let a = v128.load(y0 + (i << 2));
    let b = two ? v128.load(y1 + (i << 2)) : a;
    let at = v + (i << size);
    let r = p1;
    for (let p = p0; p < last; p += 4, r += 4, at += stride) {
      const x = four(at, narrow, mask);
      a = add(a, v128.load32_splat(p), x);
      if (two) b = add(b, v128.load32_splat(r), x);
    }
    v128.store(y0 + (i << 2), a);
    if (two) v128.store(y1 + (i << 2), b);
  }
  for (; i < dim; i++) {
    let a = load<f32>(y0 + (i << 2));
    let b = two ? load<f32>(y1 + (i << 2)) : a;
    let at = v + (i << size);
    let r = p1;
    for (let p = p0; p < last; p += 4, r += 4, at += stride) {
      const x = element(at, narrow);
      a += load<f32>(p) * x;
      if (two) b += load<f32>(r) * x;
    }
    store<f32>(y0 + (i << 2), a);
    if (two) store<f32>(y1 + (i << 2), b);
  }
}

/** As mixRows, of f32 or of f16. */
export function mixWide(p: usize, v: usize, stride: usize, count: usize, dim: usize, y: usize): void {
  mixRows(false, false, p, p, v, stride, count, dim, y, y, i32x4.splat(0));
}

/** mixWide of two queries that read the same values. */
export function mixWidePair(
  p0: usize, p1: usize, v: usize, stride: usize, count: usize, dim: usize, y0: usize, y1: usize,
): void {
  mixRows(true, false, p0, p1, v, stride, count, dim, y0, y1, i32x4.splat(0));
}

/** As mixRows, of f16: sums are of 2^-112 of the values. `room` is that of scores.ts, prepared. */
export function mixNarrow(p: usize, v: usize, stride: usize, count: usize, dim: usize, y: usize, room: usize): void {
  mixRows(false, true, p, p, v, stride, count, dim, y, y, maskOf(room));
}

/** mixNarrow of two queries that read the same values. */
export function mixNarrowPair(
  p0: usize, p1: usize, v: usize, stride: usize, count: usize, dim: usize, y0: usize, y1: usize, room: usize,
): void {
  mixRows(true, true, p0, p1, v, stride, count, dim, y0, y1, maskOf(room));
}
