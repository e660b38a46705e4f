// Products of a tile, four rows decoded to integers, with activations. A tile's rows stand TILE_STRIDE bytes apart, which is
// no multiple of 4096, so that they do not meet in the same lines of a cache.
//
//   tile       row 0: i16 × 4096, then room │ row 1 … │ row 2 … │ row 3 …        as lookup.ts decodes it
//   sums       a, b, c, d: one vector for each row, its four lanes partial sums   folded to (Σa, Σb, Σc, Σd), i32
//
// Sums of a group are below 2^31 (activation.ts), so they are exact, and lanes may be folded in any order.

/** Bytes from one row of a tile to the next: 4096 i16 and what decoding writes beyond. */
export const TILE_STRIDE: usize = (4096 + 96) << 1;

/** The four lanes of each, added: (Σa, Σb, Σc, Σd). */
// @ts-ignore: decorator
@inline
export function fold(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

/** Adds the products of eight i16. */
// @ts-ignore: decorator
@inline
export function add8(sum: v128, a: v128, x: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(a, x));
}

/** Four rows of a tile of i16 times one activation: four i32 to `to`. `bytes` is a multiple of 64. */
export function words1(tile: usize, x: usize, bytes: usize, to: usize): void {
  let a = i32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  for (const end = x + bytes; x < end; x += 32, tile += 32) {
    const x0 = v128.load(x);
    a = add8(a, v128.load(tile), x0);
    b = add8(b, v128.load(tile, TILE_STRIDE), x0);
    c = add8(c, v128.load(tile, 2 * TILE_STRIDE), x0);
    d = add8(d, v128.load(tile, 3 * TILE_STRIDE), x0);
    const x1 = v128.load(x, 16);
    a = add8(a, v128.load(tile, 16), x1);
    b = add8(b, v128.load(tile, TILE_STRIDE + 16), x1);
    c = add8(c, v128.load(tile, 2 * TILE_STRIDE + 16), x1);
    d = add8(d, v128.load(tile, 3 * TILE_STRIDE + 16), x1);
  }
  v128.store(to, fold(a, b, c, d));
}

/** The same for two activations, `x` and `x + stride`: four i32 of the one, then four of the other. */
export function words2(tile: usize, x: usize, stride: usize, bytes: usize, to: usize): void {
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
    a0 = add8(a0, row, x0);
    a1 = add8(a1, row, x1);
    row = v128.load(tile, TILE_STRIDE);
    b0 = add8(b0, row, x0);
    b1 = add8(b1, row, x1);
    row = v128.load(tile, 2 * TILE_STRIDE);
    c0 = add8(c0, row, x0);
    c1 = add8(c1, row, x1);
    row = v128.load(tile, 3 * TILE_STRIDE);
    d0 = add8(d0, row, x0);
    d1 = add8(d1, row, x1);
    x0 = v128.load(x, 16);
    x1 = v128.load(other, 16);
    row = v128.load(tile, 16);
    a0 = add8(a0, row, x0);
    a1 = add8(a1, row, x1);
    row = v128.load(tile, TILE_STRIDE + 16);
    b0 = add8(b0, row, x0);
    b1 = add8(b1, row, x1);
    row = v128.load(tile, 2 * TILE_STRIDE + 16);
    c0 = add8(c0, row, x0);
    c1 = add8(c1, row, x1);
    row = v128.load(tile, 3 * TILE_STRIDE + 16);
    d0 = add8(d0, row, x0);
    d1 = add8(d1, row, x1);
  }
  v128.store(to, fold(a0, b0, c0, d0));
  v128.store(to, fold(a1, b1, c1, d1), 16);
}
