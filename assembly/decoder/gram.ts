// Sums of outer products of vectors with themselves, S += Σ_t w_t x_t x_tᵀ. S is symmetric, so its lower triangle stands for it, row by
// row without gaps: element (i, j ≤ i) is the one at i (i + 1) / 2 + j. Tiles of 64 rows and 64 columns take 64 vectors at a time, which
// are copied together first: columns of a wide matrix lie so far apart that a cache would hold few of them.
//   s_ij += Σ (w_t x_ti) x_tj     of 64 vectors, from zero in ascending order, then the next 64

const TILE: usize = 64;
const TILE_BYTES: usize = TILE << 2;

// `some` columns of `deep` vectors, times their weights if there are any, to (deep, 64).
// @ts-ignore: decorator
@inline
function pack(x: usize, deep: usize, stride: usize, some: usize, weights: usize, to: usize): void {
  for (let t: usize = 0; t < deep; t++, x += stride << 2, to += TILE_BYTES) {
    if (weights == 0) {
      memory.copy(to, x, some << 2);
      continue;
    }
    const w = load<f32>(weights + (t << 2));
    const factor = f32x4.splat(w);
    let i: usize = 0;
    for (; i + 4 <= some; i += 4) v128.store(to + (i << 2), f32x4.mul(factor, v128.load(x + (i << 2))));
    for (; i < some; i++) store<f32>(to + (i << 2), w * load<f32>(x + (i << 2)));
  }
}

// y += v, four elements.
// @ts-ignore: decorator
@inline
function addTo(y: usize, v: v128): void {
  v128.store(y, f32x4.add(v128.load(y), v));
}

/**
 * Rows `from` to `to` of S, at `s`, += Σ w_t x_t x_tᵀ of `count` vectors `x`, (count, stride) f32. `weights` are (count) f32, 0 for ones.
 * `scratch` holds 2 · 64 · 64 + 32 f32.
 */
export function addGram(
  x: usize, count: usize, stride: usize, weights: usize, from: usize, to: usize, s: usize, scratch: usize,
): void {
  assert(from <= to && to <= stride);
  const a = scratch;
  const b = scratch + TILE * TILE_BYTES;
  const edge = b + TILE * TILE_BYTES;
  for (let r = from; r < to; r += TILE) {
    const rows = min(TILE, to - r);
    for (let c: usize = 0; c < r + rows; c += TILE) {
      const cols = min(TILE, r + rows - c);
      for (let t: usize = 0; t < count; t += TILE) {
        const deep = min(TILE, count - t);
        const first = x + ((t * stride) << 2);
        pack(first + (r << 2), deep, stride, rows, weights == 0 ? 0 : weights + (t << 2), a);
        pack(first + (c << 2), deep, stride, cols, 0, b);
        addTile(a, b, deep, r, rows, c, cols, s, edge);
      }
    }
  }
}

// Rows `r` to `r + rows` and columns `c` to `c + cols` of S, of packed vectors: four rows and eight columns at a time.
function addTile(
  a: usize, b: usize, deep: usize, r: usize, rows: usize, c: usize, cols: usize, s: usize, edge: usize,
): void {
  for (let i: usize = 0; i < rows; i += 4) {
    const row = r + i;
    const y0 = s + ((((row * (row + 1)) >> 1) + c) << 2);
    const y1 = y0 + ((row + 1) << 2);
    const y2 = y1 + ((row + 2) << 2);
    const y3 = y2 + ((row + 3) << 2);
    for (let j: usize = 0; j < cols && c + j < row + 4; j += 8) {
      let s00 = f32x4.splat(0);
      let s01 = s00;
      let s10 = s00;
      let s11 = s00;
      let s20 = s00;
      let s21 = s00;
      let s30 = s00;
      let s31 = s00;
      let p = a + (i << 2);
      let q = b + (j << 2);
      for (const end = p + deep * TILE_BYTES; p < end; p += TILE_BYTES, q += TILE_BYTES) {
        const v0 = v128.load(q);
        const v1 = v128.load(q, 16);
        const u0 = v128.load32_splat(p);
        s00 = f32x4.add(s00, f32x4.mul(u0, v0));
        s01 = f32x4.add(s01, f32x4.mul(u0, v1));
        const u1 = v128.load32_splat(p, 4);
        s10 = f32x4.add(s10, f32x4.mul(u1, v0));
        s11 = f32x4.add(s11, f32x4.mul(u1, v1));
        const u2 = v128.load32_splat(p, 8);
        s20 = f32x4.add(s20, f32x4.mul(u2, v0));
        s21 = f32x4.add(s21, f32x4.mul(u2, v1));
        const u3 = v128.load32_splat(p, 12);
        s30 = f32x4.add(s30, f32x4.mul(u3, v0));
        s31 = f32x4.add(s31, f32x4.mul(u3, v1));
      }
      const at = j << 2;
      if (i + 4 <= rows && c + j + 7 <= row) {
        addTo(y0 + at, s00);
        addTo(y0 + at + 16, s01);
        addTo(y1 + at, s10);
        addTo(y1 + at + 16, s11);
        addTo(y2 + at, s20);
        addTo(y2 + at + 16, s21);
        addTo(y3 + at, s30);
        addTo(y3 + at + 16, s31);
        continue;
      }
      // At the diagonal, or below the last row: what is no element of the triangle is dropped.
      v128.store(edge, s00);
      v128.store(edge, s01, 16);
      v128.store(edge, s10, 32);
      v128.store(edge, s11, 48);
      v128.store(edge, s20, 64);
      v128.store(edge, s21, 80);
      v128.store(edge, s30, 96);
      v128.store(edge, s31, 112);
      let y = y0 + at;
      for (let k: usize = 0; k < min(4, rows - i); k++) {
        for (let l: usize = 0; l < min(8, cols - j) && c + j + l <= row + k; l++) {
          store<f32>(y + (l << 2), load<f32>(y + (l << 2)) + load<f32>(edge + (k << 5) + (l << 2)));
        }
        y += (row + k + 1) << 2;
      }
    }
  }
}
