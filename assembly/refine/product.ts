// What errors feed back: c += a · b, by blocks of rows and by single ones.
//   c (m, n)   a (m, k), by strides   b (k, n)
//
// Single rows have products in f32: a sum runs over 128 terms in their order, from 0, then is added to c; then come the next 128.
//
// Blocks have products of 16-bit integers, about half the time of f32, packing included. Each row of b is divided by its scale, its largest value by 32767.
// Each row of a, times these scales, has a scale of its own for 128 terms, so that sums of products stay below 2^31:
//   b_kj ≈ s_k · B_kj      a_ik · s_k ≈ A_ik / t_i      c_ij += f32(Σ_k A_ik · B_kj) / t_i
// Sums of integers are exact in any order. The integers of b lie in panels of eight columns, those of two rows side by side in pairs.

const DEPTH: usize = 128;

// One row, eight columns.
// @ts-ignore: decorator
@inline
function tile1(c: usize, a: usize, colStride: usize, b: usize, ldb: usize, k: usize): void {
  let c0 = f32x4.splat(0);
  let c1 = c0;
  for (let i: usize = 0; i < k; i++, a += colStride, b += ldb) {
    const x = v128.load32_splat(a);
    c0 = f32x4.add(c0, f32x4.mul(x, v128.load(b)));
    c1 = f32x4.add(c1, f32x4.mul(x, v128.load(b, 16)));
  }
  v128.store(c, f32x4.add(v128.load(c), c0));
  v128.store(c, f32x4.add(v128.load(c, 16), c1), 16);
}

// One element.
// @ts-ignore: decorator
@inline
function single(c: usize, a: usize, colStride: usize, b: usize, ldb: usize, k: usize): void {
  let sum: f32 = 0;
  for (let i: usize = 0; i < k; i++, a += colStride, b += ldb) sum += load<f32>(a) * load<f32>(b);
  store<f32>(c, load<f32>(c) + sum);
}

/** c += a · b for `m` rows one by one, in f32. Strides `ldc`, `rowStride` and `colStride` of a, and `ldb` are in elements. */
export function accumulate(
  c: usize, ldc: usize, a: usize, rowStride: usize, colStride: usize, b: usize, ldb: usize,
  m: usize, k: usize, n: usize,
): void {
  ldc <<= 2;
  rowStride <<= 2;
  colStride <<= 2;
  ldb <<= 2;
  for (let start: usize = 0; start < k; start += DEPTH) {
    const depth = min(DEPTH, k - start);
    const a0 = a + start * colStride;
    const b0 = b + start * ldb;
    for (let row: usize = 0; row < m; row++) {
      const at = c + row * ldc;
      const ar = a0 + row * rowStride;
      let j: usize = 0;
      for (; j + 8 <= n; j += 8) tile1(at + (j << 2), ar, colStride, b0 + (j << 2), ldb, depth);
      for (; j < n; j++) single(at + (j << 2), ar, colStride, b0 + (j << 2), ldb, depth);
    }
  }
}

/** The largest integer, and the most that those of a row of a come to in 128 terms: 32767 · (65000 + 128 / 2) is below 2^31. */
const LARGEST: f32 = 32767;
const MOST: f32 = 65000;
/** What is smaller counts as 0. */
const LEAST: f32 = 1e-30;
/** Bytes of a pair in a panel. */
const PAIR: usize = 32;

// The largest magnitude of `n` f32.
function largestOf(at: usize, n: usize): f32 {
  let most = f32x4.splat(0);
  const end = at + ((n & ~3) << 2);
  for (; at < end; at += 16) most = f32x4.pmax(most, f32x4.abs(v128.load(at)));
  let largest: f32 = max(
    max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
  for (const stop = end + ((n & 3) << 2); at < stop; at += 4) largest = max<f32>(largest, abs(load<f32>(at)));
  return largest;
}

// Integers of a row to its places in pairs: `count` of a panel.
function packEight(from: usize, inverse: f32, count: usize, to: usize): void {
  for (let i: usize = 0; i < 8; i++, from += 4, to += 4) {
    store<i16>(to, i < count ? <i16>(<i32>nearest(load<f32>(from) * inverse)) : 0);
  }
}

/**
 * Makes integers of `k` rows of b, (k, n) f32, `ldb` elements apart. Rows go to the pairs from `first` on, of `pairs` in each panel at `to`,
 * their scales to `scales`, f32. An odd last row has zeros beside it.
 */
export function packPairs(
  b: usize, ldb: usize, k: usize, n: usize, to: usize, pairs: usize, first: usize, scales: usize,
): void {
  const panel = pairs * PAIR;
  to += first * PAIR;
  for (let row: usize = 0; row < k + (k & 1); row++) {
    const from = b + row * (ldb << 2);
    const largest: f32 = row < k ? largestOf(from, n) : 0;
    const isZero = largest < LEAST;
    const inverse: f32 = isZero ? 0 : LARGEST / largest;
    if (row < k) store<f32>(scales + (row << 2), isZero ? 0 : largest / LARGEST);
    let at = to + (row >> 1) * PAIR + ((row & 1) << 1);
    for (let j: usize = 0; j < n; j += 8, at += panel) packEight(from + (j << 2), inverse, row < k ? min<usize>(8, n - j) : 0, at);
  }
}

/**
 * Makes integers of a, (m, k) f32 by strides in elements, times `scales` of the rows of b: i16 at `to`, rows of k rounded up to 128 side by
 * side; for each row and 128 terms 1 / t to `factors`, f32.
 */
export function packFactors(
  a: usize, rowStride: usize, colStride: usize, m: usize, k: usize, scales: usize, to: usize, factors: usize,
): void {
  for (let row: usize = 0; row < m; row++) {
    for (let start: usize = 0; start < k; start += DEPTH, factors += 4, to += DEPTH << 1) {
      const depth = min(DEPTH, k - start);
      const from = a + ((row * rowStride + start * colStride) << 2);
      let sum: f32 = 0;
      let largest: f32 = 0;
      for (let i: usize = 0; i < depth; i++) {
        const x = abs(load<f32>(from + ((i * colStride) << 2)) * load<f32>(scales + ((start + i) << 2)));
        sum += x;
        largest = max(largest, x);
      }
      const t: f32 = largest < LEAST ? 0 : min<f32>(MOST / sum, LARGEST / largest);
      store<f32>(factors, t > 0 ? 1 / t : 0);
      for (let i: usize = 0; i < DEPTH; i++) {
        const x: f32 = i < depth ? load<f32>(from + ((i * colStride) << 2)) * load<f32>(scales + ((start + i) << 2)) : 0;
        store<i16>(to + (i << 1), <i16>(<i32>nearest(x * t)));
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function addTo(c: usize, sum: v128, factor: v128): void {
  v128.store(c, f32x4.add(v128.load(c), f32x4.mul(f32x4.convert_i32x4_s(sum), factor)));
}

// Four rows of a by a panel, `pairs` pairs deep.
// @ts-ignore: decorator
@inline
function panel4(c: usize, ldc: usize, a: usize, lda: usize, factors: usize, apart: usize, b: usize, pairs: usize): void {
  let c00 = i32x4.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  const a2 = lda << 1;
  const a3 = a2 + lda;
  for (const end = b + pairs * PAIR; b < end; b += PAIR, a += 4) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load32_splat(a);
    c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, b0));
    c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a + lda);
    c10 = i32x4.add(c10, i32x4.dot_i16x8_s(x, b0));
    c11 = i32x4.add(c11, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a + a2);
    c20 = i32x4.add(c20, i32x4.dot_i16x8_s(x, b0));
    c21 = i32x4.add(c21, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a + a3);
    c30 = i32x4.add(c30, i32x4.dot_i16x8_s(x, b0));
    c31 = i32x4.add(c31, i32x4.dot_i16x8_s(x, b1));
  }
  let factor = v128.load32_splat(factors);
  addTo(c, c00, factor);
  addTo(c + 16, c01, factor);
  c += ldc;
  factor = v128.load32_splat(factors + apart);
  addTo(c, c10, factor);
  addTo(c + 16, c11, factor);
  c += ldc;
  factor = v128.load32_splat(factors + (apart << 1));
  addTo(c, c20, factor);
  addTo(c + 16, c21, factor);
  c += ldc;
  factor = v128.load32_splat(factors + 3 * apart);
  addTo(c, c30, factor);
  addTo(c + 16, c31, factor);
}

// One row by `count` columns of a panel.
function panel1(c: usize, a: usize, factor: f32, b: usize, pairs: usize, count: usize): void {
  for (let j: usize = 0; j < count; j++, c += 4, b += 4) {
    let sum: i32 = 0;
    for (let p: usize = 0; p < pairs; p++) {
      const x = a + (p << 2);
      const y = b + p * PAIR;
      sum += <i32>load<i16>(x) * <i32>load<i16>(y) + <i32>load<i16>(x, 2) * <i32>load<i16>(y, 2);
    }
    store<f32>(c, load<f32>(c) + <f32>sum * factor);
  }
}

/** c += a · b of integers, as packFactors and packPairs made them, of b's first `k` rows. @param pairs of each panel of b */
export function addProducts(
  c: usize, ldc: usize, a: usize, factors: usize, b: usize, pairs: usize, m: usize, k: usize, n: usize,
): void {
  ldc <<= 2;
  const blocks = (k + DEPTH - 1) / DEPTH;
  const lda = blocks * (DEPTH << 1);
  const apart = blocks << 2;
  for (let block: usize = 0; block < blocks; block++) {
    const depth = (min(DEPTH, k - block * DEPTH) + 1) >> 1;
    const a0 = a + block * (DEPTH << 1);
    const f0 = factors + (block << 2);
    let from = b + block * (DEPTH >> 1) * PAIR;
    for (let j: usize = 0; j < n; j += 8, from += pairs * PAIR) {
      const at = c + (j << 2);
      const count = min<usize>(8, n - j);
      let row: usize = 0;
      if (count == 8) {
        for (; row + 4 <= m; row += 4) panel4(at + row * ldc, ldc, a0 + row * lda, lda, f0 + row * apart, apart, from, depth);
      }
      for (; row < m; row++) panel1(at + row * ldc, a0 + row * lda, load<f32>(f0 + row * apart), from, depth, count);
    }
  }
}
