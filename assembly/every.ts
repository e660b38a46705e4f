// The nearest grid point by comparing every point: what the cells of table.ts save, and what a grid without cells needs.
// Eight vectors a round, one in each lane of two vectors of four.
//
//   ‖z − g‖² = ‖z‖² − 2 · (z · g − ½‖g‖²)      so the nearest point has the largest score z · g − ½‖g‖², and ½‖g‖² stands in the table
//
// A later point wins only by a larger score, so of equals the lowest code is taken. The searches by cells (line.ts, plane.ts, space.ts)
// compare a few points, and find the same codes.

import { rowsOf } from './rows';

/** As nearest1, every point of the grid compared. */
export function every1(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  const rows = rowsOf(table);
  const end = rows + (n << 4);
  for (let i: usize = 0; i < count; i += 8) {
    const a = v128.load(z);
    const b = v128.load(z, 16);
    z += 32;
    let bestA = f32x4.splat(-Infinity);
    let bestB = bestA;
    let codeA = i32x4.splat(0);
    let codeB = codeA;
    let code = codeA;
    for (let row = rows; row < end; row += 16) {
      const g = v128.load32_splat(row);
      const half = v128.load32_splat(row, 4);
      const scoreA = f32x4.sub(f32x4.mul(a, g), half);
      const scoreB = f32x4.sub(f32x4.mul(b, g), half);
      codeA = v128.bitselect(code, codeA, f32x4.gt(scoreA, bestA));
      codeB = v128.bitselect(code, codeB, f32x4.gt(scoreB, bestB));
      bestA = f32x4.pmax(bestA, scoreA);
      bestB = f32x4.pmax(bestB, scoreB);
      code = i32x4.add(code, i32x4.splat(1));
    }
    v128.store(codes + (i << 1), i16x8.narrow_i32x4_u(codeA, codeB));
  }
}

/** As nearest2, every point of the grid compared. */
export function every2(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  const rows = rowsOf(table);
  const end = rows + (n << 4);
  for (let i: usize = 0; i < count; i += 8) {
    const p = v128.load(z);
    const q = v128.load(z, 16);
    const r = v128.load(z, 32);
    const s = v128.load(z, 48);
    z += 64;
    const a0 = v128.shuffle<f32>(p, q, 0, 2, 4, 6);
    const a1 = v128.shuffle<f32>(p, q, 1, 3, 5, 7);
    const b0 = v128.shuffle<f32>(r, s, 0, 2, 4, 6);
    const b1 = v128.shuffle<f32>(r, s, 1, 3, 5, 7);
    let bestA = f32x4.splat(-Infinity);
    let bestB = bestA;
    let codeA = i32x4.splat(0);
    let codeB = codeA;
    let code = codeA;
    for (let row = rows; row < end; row += 16) {
      const g0 = v128.load32_splat(row);
      const g1 = v128.load32_splat(row, 4);
      const half = v128.load32_splat(row, 8);
      const scoreA = f32x4.sub(f32x4.add(f32x4.mul(a0, g0), f32x4.mul(a1, g1)), half);
      const scoreB = f32x4.sub(f32x4.add(f32x4.mul(b0, g0), f32x4.mul(b1, g1)), half);
      codeA = v128.bitselect(code, codeA, f32x4.gt(scoreA, bestA));
      codeB = v128.bitselect(code, codeB, f32x4.gt(scoreB, bestB));
      bestA = f32x4.pmax(bestA, scoreA);
      bestB = f32x4.pmax(bestB, scoreB);
      code = i32x4.add(code, i32x4.splat(1));
    }
    v128.store(codes + (i << 1), i16x8.narrow_i32x4_u(codeA, codeB));
  }
}

//   p, q, r = z0 z1 z2 z0 | z1 z2 z0 z1 | z2 z0 z1 z2: four vectors of three weights
// @ts-ignore: decorator
@inline
function score3(z0: v128, z1: v128, z2: v128, row: usize): v128 {
  const sum = f32x4.add(f32x4.mul(z0, v128.load32_splat(row)), f32x4.mul(z1, v128.load32_splat(row, 4)));
  return f32x4.sub(f32x4.add(sum, f32x4.mul(z2, v128.load32_splat(row, 8))), v128.load32_splat(row, 12));
}

/** As nearest3, every point of the grid compared. */
export function every3(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  const rows = rowsOf(table);
  const end = rows + (n << 4);
  for (let i: usize = 0; i < count; i += 8) {
    let p = v128.load(z);
    let q = v128.load(z, 16);
    let r = v128.load(z, 32);
    const a0 = v128.shuffle<f32>(v128.shuffle<f32>(p, q, 0, 3, 6, 6), r, 0, 1, 2, 5);
    const a1 = v128.shuffle<f32>(v128.shuffle<f32>(p, q, 1, 4, 7, 7), r, 0, 1, 2, 6);
    const a2 = v128.shuffle<f32>(v128.shuffle<f32>(p, q, 2, 5, 5, 5), r, 0, 1, 4, 7);
    p = v128.load(z, 48);
    q = v128.load(z, 64);
    r = v128.load(z, 80);
    const b0 = v128.shuffle<f32>(v128.shuffle<f32>(p, q, 0, 3, 6, 6), r, 0, 1, 2, 5);
    const b1 = v128.shuffle<f32>(v128.shuffle<f32>(p, q, 1, 4, 7, 7), r, 0, 1, 2, 6);
    const b2 = v128.shuffle<f32>(v128.shuffle<f32>(p, q, 2, 5, 5, 5), r, 0, 1, 4, 7);
    z += 96;
    let bestA = f32x4.splat(-Infinity);
    let bestB = bestA;
    let codeA = i32x4.splat(0);
    let codeB = codeA;
    let code = codeA;
    for (let row = rows; row < end; row += 16) {
      const scoreA = score3(a0, a1, a2, row);
      const scoreB = score3(b0, b1, b2, row);
      codeA = v128.bitselect(code, codeA, f32x4.gt(scoreA, bestA));
      codeB = v128.bitselect(code, codeB, f32x4.gt(scoreB, bestB));
      bestA = f32x4.pmax(bestA, scoreA);
      bestB = f32x4.pmax(bestB, scoreB);
      code = i32x4.add(code, i32x4.splat(1));
    }
    v128.store(codes + (i << 1), i16x8.narrow_i32x4_u(codeA, codeB));
  }
}

// @ts-ignore: decorator
@inline
function score4(z0: v128, z1: v128, z2: v128, z3: v128, row: usize): v128 {
  let sum = f32x4.add(f32x4.mul(z0, v128.load32_splat(row)), f32x4.mul(z1, v128.load32_splat(row, 4)));
  sum = f32x4.add(sum, f32x4.mul(z2, v128.load32_splat(row, 8)));
  return f32x4.sub(f32x4.add(sum, f32x4.mul(z3, v128.load32_splat(row, 12))), v128.load32_splat(row, 16));
}

/** As nearest4, every point of the grid compared. */
export function every4(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  const rows = rowsOf(table);
  const end = rows + n * 20;
  for (let i: usize = 0; i < count; i += 8) {
    let p = v128.load(z);
    let q = v128.load(z, 16);
    let r = v128.load(z, 32);
    let s = v128.load(z, 48);
    let low = v128.shuffle<f32>(p, q, 0, 4, 1, 5);
    let high = v128.shuffle<f32>(p, q, 2, 6, 3, 7);
    let low2 = v128.shuffle<f32>(r, s, 0, 4, 1, 5);
    let high2 = v128.shuffle<f32>(r, s, 2, 6, 3, 7);
    const a0 = v128.shuffle<f32>(low, low2, 0, 1, 4, 5);
    const a1 = v128.shuffle<f32>(low, low2, 2, 3, 6, 7);
    const a2 = v128.shuffle<f32>(high, high2, 0, 1, 4, 5);
    const a3 = v128.shuffle<f32>(high, high2, 2, 3, 6, 7);
    p = v128.load(z, 64);
    q = v128.load(z, 80);
    r = v128.load(z, 96);
    s = v128.load(z, 112);
    low = v128.shuffle<f32>(p, q, 0, 4, 1, 5);
    high = v128.shuffle<f32>(p, q, 2, 6, 3, 7);
    low2 = v128.shuffle<f32>(r, s, 0, 4, 1, 5);
    high2 = v128.shuffle<f32>(r, s, 2, 6, 3, 7);
    const b0 = v128.shuffle<f32>(low, low2, 0, 1, 4, 5);
    const b1 = v128.shuffle<f32>(low, low2, 2, 3, 6, 7);
    const b2 = v128.shuffle<f32>(high, high2, 0, 1, 4, 5);
    const b3 = v128.shuffle<f32>(high, high2, 2, 3, 6, 7);
    z += 128;
    let bestA = f32x4.splat(-Infinity);
    let bestB = bestA;
    let codeA = i32x4.splat(0);
    let codeB = codeA;
    let code = codeA;
    for (let row = rows; row < end; row += 20) {
      const scoreA = score4(a0, a1, a2, a3, row);
      const scoreB = score4(b0, b1, b2, b3, row);
      codeA = v128.bitselect(code, codeA, f32x4.gt(scoreA, bestA));
      codeB = v128.bitselect(code, codeB, f32x4.gt(scoreB, bestB));
      bestA = f32x4.pmax(bestA, scoreA);
      bestB = f32x4.pmax(bestB, scoreB);
      code = i32x4.add(code, i32x4.splat(1));
    }
    v128.store(codes + (i << 1), i16x8.narrow_i32x4_u(codeA, codeB));
  }
}
