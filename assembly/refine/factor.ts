// A symmetric matrix as U D Uᵀ, U unit upper triangular, in f64, from the last column to the first:
//   d_k = h_kk,  u_jk = h_kj / d_k,  h_ij −= h_ki · u_jk for j ≤ i < k
// Row k of the lower triangle ends as the column k of U. Columns go in panels, whose updates of what is before them run together; each
// element still sees them one by one, from the last column on.

/** Columns of a panel. */
const PANEL: usize = 32;
/** f64 between a panel's columns, which would else share few sets of a cache where n is a power of two. */
const GAP: usize = 8;

// row −= factor · u, for the first `count` f64.
function subtract(row: usize, u: usize, factor: f64, count: usize): void {
  const f = f64x2.splat(factor);
  const end = row + ((count & ~1) << 3);
  for (; row < end; row += 16, u += 16) {
    v128.store(row, f64x2.sub(v128.load(row), f64x2.mul(f, v128.load(u))));
  }
  if (count & 1) store<f64>(row, load<f64>(row) - factor * load<f64>(u));
}

// One element, as subtractPanel.
// @ts-ignore: decorator
@inline
function subtractOne(at: usize, h: usize, u: usize, stride: usize, rows: usize): void {
  let x = load<f64>(at);
  for (let k: usize = 0; k < rows; k++, h += stride, u += stride) x -= load<f64>(h) * load<f64>(u);
  store<f64>(at, x);
}

// As subtract, for the rows `first` to `end` of a panel's `raw` and `scaled` ones, from the last: eight elements of row `i` at a time,
// from `j` on, which is a multiple of eight.
function subtractPanel(row: usize, i: usize, j: usize, raw: usize, scaled: usize, stride: usize, rows: usize): void {
  raw += i << 3;
  for (; j + 8 <= i + 1; j += 8) {
    const at = row + (j << 3);
    let a = v128.load(at);
    let b = v128.load(at, 16);
    let c = v128.load(at, 32);
    let d = v128.load(at, 48);
    let h = raw;
    let u = scaled + (j << 3);
    for (let k: usize = 0; k < rows; k++, h += stride, u += stride) {
      const f = v128.load64_splat(h);
      a = f64x2.sub(a, f64x2.mul(f, v128.load(u)));
      b = f64x2.sub(b, f64x2.mul(f, v128.load(u, 16)));
      c = f64x2.sub(c, f64x2.mul(f, v128.load(u, 32)));
      d = f64x2.sub(d, f64x2.mul(f, v128.load(u, 48)));
    }
    v128.store(at, a);
    v128.store(at, b, 16);
    v128.store(at, c, 32);
    v128.store(at, d, 48);
  }
  for (; j <= i; j++) subtractOne(row + (j << 3), raw, scaled + (j << 3), stride, rows);
}

// The same for row `i` and the next: each waits less for its own sums.
function subtractTwo(row: usize, apart: usize, i: usize, raw: usize, scaled: usize, stride: usize, rows: usize): void {
  const h1 = raw + (i << 3);
  let j: usize = 0;
  for (; j + 8 <= i + 1; j += 8) {
    const at = row + (j << 3);
    const next = at + apart;
    let a0 = v128.load(at);
    let b0 = v128.load(at, 16);
    let c0 = v128.load(at, 32);
    let d0 = v128.load(at, 48);
    let a1 = v128.load(next);
    let b1 = v128.load(next, 16);
    let c1 = v128.load(next, 32);
    let d1 = v128.load(next, 48);
    let h = h1;
    let u = scaled + (j << 3);
    for (let k: usize = 0; k < rows; k++, h += stride, u += stride) {
      const f0 = v128.load64_splat(h);
      const f1 = v128.load64_splat(h, 8);
      let x = v128.load(u);
      a0 = f64x2.sub(a0, f64x2.mul(f0, x));
      a1 = f64x2.sub(a1, f64x2.mul(f1, x));
      x = v128.load(u, 16);
      b0 = f64x2.sub(b0, f64x2.mul(f0, x));
      b1 = f64x2.sub(b1, f64x2.mul(f1, x));
      x = v128.load(u, 32);
      c0 = f64x2.sub(c0, f64x2.mul(f0, x));
      c1 = f64x2.sub(c1, f64x2.mul(f1, x));
      x = v128.load(u, 48);
      d0 = f64x2.sub(d0, f64x2.mul(f0, x));
      d1 = f64x2.sub(d1, f64x2.mul(f1, x));
    }
    v128.store(at, a0);
    v128.store(at, b0, 16);
    v128.store(at, c0, 32);
    v128.store(at, d0, 48);
    v128.store(next, a1);
    v128.store(next, b1, 16);
    v128.store(next, c1, 32);
    v128.store(next, d1, 48);
  }
  subtractPanel(row, i, j, raw, scaled, stride, rows);
  subtractPanel(row + apart, i + 1, j, raw, scaled, stride, rows);
}

/**
 * Factors (n, n) f64 at `h`, of which the lower triangle is read, in place: row k has u_0k … u_(k−1)k, then d_k on the diagonal.
 * `scratch` holds 64 · (n + 8) f64.
 * @returns n, or the first column from the last whose d is not above 0
 */
export function factorUdu(h: usize, n: usize, scratch: usize): usize {
  const stride = n << 3;
  const apart = (n + GAP) << 3;
  const raw = scratch;
  const scaled = scratch + PANEL * apart;
  for (let end = n; end > 0; ) {
    const first: usize = end > PANEL ? end - PANEL : 0;
    for (let k = end; k-- > first; ) {
      const row = h + k * stride;
      const d = load<f64>(row + (k << 3));
      if (!(d > 0)) return k;
      const h1 = raw + (end - 1 - k) * apart;
      const u1 = scaled + (end - 1 - k) * apart;
      memory.copy(h1, row, k << 3);
      for (let j: usize = 0; j < k; j++) store<f64>(u1 + (j << 3), load<f64>(row + (j << 3)) / d);
      memory.copy(row, u1, k << 3);
      for (let i = first; i < k; i++) subtract(h + i * stride, u1, load<f64>(h1 + (i << 3)), i + 1);
    }
    let i: usize = 0;
    for (; i + 2 <= first; i += 2) subtractTwo(h + i * stride, stride, i, raw, scaled, apart, end - first);
    if (i < first) subtractPanel(h + i * stride, i, 0, raw, scaled, apart, end - first);
    end = first;
  }
  return n;
}
