// What errors feed back: c += a · b in f32, for blocks of rows.
//   c (m, n)   a (m, k), by strides   b (k, n)
// A sum runs over 128 terms in their order, from 0, then is added to c; then come the next 128.

const DEPTH: usize = 128;

// Four rows, eight columns.
// @ts-ignore: decorator
@inline
function tile4(c: usize, ldc: usize, a: usize, rowStride: usize, colStride: usize, b: usize, ldb: usize, k: usize): void {
  let c00 = f32x4.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  const a2 = rowStride << 1;
  const a3 = a2 + rowStride;
  for (let i: usize = 0; i < k; i++, a += colStride, b += ldb) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load32_splat(a);
    c00 = f32x4.add(c00, f32x4.mul(x, b0));
    c01 = f32x4.add(c01, f32x4.mul(x, b1));
    x = v128.load32_splat(a + rowStride);
    c10 = f32x4.add(c10, f32x4.mul(x, b0));
    c11 = f32x4.add(c11, f32x4.mul(x, b1));
    x = v128.load32_splat(a + a2);
    c20 = f32x4.add(c20, f32x4.mul(x, b0));
    c21 = f32x4.add(c21, f32x4.mul(x, b1));
    x = v128.load32_splat(a + a3);
    c30 = f32x4.add(c30, f32x4.mul(x, b0));
    c31 = f32x4.add(c31, f32x4.mul(x, b1));
  }
  v128.store(c, f32x4.add(v128.load(c), c00));
  v128.store(c, f32x4.add(v128.load(c, 16), c01), 16);
  c += ldc;
  v128.store(c, f32x4.add(v128.load(c), c10));
  v128.store(c, f32x4.add(v128.load(c, 16), c11), 16);
  c += ldc;
  v128.store(c, f32x4.add(v128.load(c), c20));
  v128.store(c, f32x4.add(v128.load(c, 16), c21), 16);
  c += ldc;
  v128.store(c, f32x4.add(v128.load(c), c30));
  v128.store(c, f32x4.add(v128.load(c, 16), c31), 16);
}

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

/** c += a · b. Strides `ldc`, `rowStride` and `colStride` of a, and `ldb` are in elements. */
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
    let j: usize = 0;
    for (; j + 8 <= n; j += 8) {
      const bj = b0 + (j << 2);
      let row: usize = 0;
      for (; row + 4 <= m; row += 4) {
        tile4(c + row * ldc + (j << 2), ldc, a0 + row * rowStride, rowStride, colStride, bj, ldb, depth);
      }
      for (; row < m; row++) tile1(c + row * ldc + (j << 2), a0 + row * rowStride, colStride, bj, ldb, depth);
    }
    for (; j < n; j++) {
      for (let row: usize = 0; row < m; row++) {
        single(c + row * ldc + (j << 2), a0 + row * rowStride, colStride, b0 + (j << 2), ldb, depth);
      }
    }
  }
}
