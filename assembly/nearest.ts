// The nearest grid point of each vector, exactly:
//   code = the first j with the largest score_j = ((z_0·g_j0 + z_1·g_j1) + …) - ½‖g_j‖², in f32, left to right.
// The table's cells (table.ts) leave two points to compare for p = 1, three for p = 2, a list of blocks for p = 3 and 4.

import { every1, every2, every3, every4 } from './every';
import { cellsOf, rowsOf, SPACE_CELLS, startsOf } from './table';

/** Codes (u16) of `count` weights at `z`. Reads `z` and writes `codes` up to the next multiple of 8. `table` as by gridTable, p = 1. */
export function nearest1(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  const along = load<u32>(table);
  if (along == 0) {
    every1(z, count, table, n, codes);
    return;
  }
  const reach = v128.load32_splat(table, 4);
  const perUnit = v128.load32_splat(table, 8);
  const centre = f32x4.splat((<f32>along - 1) * <f32>0.5);
  const cells = cellsOf(table, 1, n);
  const firsts = cells + (along << 4);
  for (let i: usize = 0; i < count; i += 8) {
    const low = line(v128.load(z), reach, perUnit, centre, cells, firsts);
    const high = line(v128.load(z, 16), reach, perUnit, centre, cells, firsts);
    v128.store(codes + (i << 1), i16x8.narrow_i32x4_u(low, high));
    z += 32;
  }
}

// Number of the cell along one axis, for |z| ≤ reach. Adding 1.5 · 2^23 rounds to an integer and leaves it in the low bits; at the
// border of two cells either will do, for cells take in a little of their surroundings.
// @ts-ignore: decorator
@inline
function cellOf(z: v128, perUnit: v128, centre: v128): v128 {
  const place = f32x4.add(f32x4.mul(z, perUnit), centre);
  return v128.and(f32x4.add(place, f32x4.splat(12582912)), i32x4.splat(0xffff));
}

// Four weights, each against the two points of its cell.
// @ts-ignore: decorator
@inline
function line(z: v128, reach: v128, perUnit: v128, centre: v128, cells: usize, firsts: usize): v128 {
  const cell = i32x4.shl(cellOf(f32x4.pmax(f32x4.pmin(z, reach), f32x4.neg(reach)), perUnit, centre), 1);
  const i0 = <usize>i32x4.extract_lane(cell, 0);
  const i1 = <usize>i32x4.extract_lane(cell, 1);
  const i2 = <usize>i32x4.extract_lane(cell, 2);
  const i3 = <usize>i32x4.extract_lane(cell, 3);
  const c0 = v128.load(cells + (i0 << 3));
  const c1 = v128.load(cells + (i1 << 3));
  const c2 = v128.load(cells + (i2 << 3));
  const c3 = v128.load(cells + (i3 << 3));
  const a01 = v128.shuffle<f32>(c0, c1, 0, 4, 1, 5); // g g ½g² ½g² of the first point
  const a23 = v128.shuffle<f32>(c2, c3, 0, 4, 1, 5);
  const b01 = v128.shuffle<f32>(c0, c1, 2, 6, 3, 7);
  const b23 = v128.shuffle<f32>(c2, c3, 2, 6, 3, 7);
  const scoreA = f32x4.sub(
    f32x4.mul(z, v128.shuffle<f32>(a01, a23, 0, 1, 4, 5)),
    v128.shuffle<f32>(a01, a23, 2, 3, 6, 7),
  );
  const scoreB = f32x4.sub(
    f32x4.mul(z, v128.shuffle<f32>(b01, b23, 0, 1, 4, 5)),
    v128.shuffle<f32>(b01, b23, 2, 3, 6, 7),
  );
  let first = v128.load16_splat(firsts + i0);
  first = v128.load16_lane(firsts + i1, first, 2);
  first = v128.load16_lane(firsts + i2, first, 4);
  first = v128.load16_lane(firsts + i3, first, 6);
  // The second point has the next code; where it has the larger score the mask is -1.
  return i32x4.sub(v128.and(first, i32x4.splat(0xffff)), f32x4.gt(scoreB, scoreA));
}

/** As nearest1, for `count` vectors of p = 2 weights. */
export function nearest2(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  const along = load<u32>(table);
  if (along == 0) {
    every2(z, count, table, n, codes);
    return;
  }
  const reach = v128.load32_splat(table, 4);
  const perUnit = v128.load32_splat(table, 8);
  const rows = rowsOf(table);
  const cells = cellsOf(table, 2, n);
  const centre = f32x4.splat((<f32>along - 1) * <f32>0.5);
  const shift = ctz(along);
  for (let i: usize = 0; i < count; i += 8) {
    const p = v128.load(z);
    const q = v128.load(z, 16);
    const r = v128.load(z, 32);
    const s = v128.load(z, 48);
    const a0 = v128.shuffle<f32>(p, q, 0, 2, 4, 6);
    const a1 = v128.shuffle<f32>(p, q, 1, 3, 5, 7);
    const b0 = v128.shuffle<f32>(r, s, 0, 2, 4, 6);
    const b1 = v128.shuffle<f32>(r, s, 1, 3, 5, 7);
    const far = f32x4.max(f32x4.max(f32x4.abs(p), f32x4.abs(q)), f32x4.max(f32x4.abs(r), f32x4.abs(s)));
    if (i32x4.all_true(f32x4.lt(far, reach))) {
      const low = plane(a0, a1, perUnit, centre, shift, cells, rows);
      const high = plane(b0, b1, perUnit, centre, shift, cells, rows);
      v128.store(codes + (i << 1), i16x8.narrow_i32x4_u(low, high));
    } else {
      every2(z, 8, table, n, codes + (i << 1)); // one vector in thousands is beyond the cells
    }
    z += 64;
  }
}

// Four vectors, each against the three points of its cell.
// @ts-ignore: decorator
@inline
function plane(z0: v128, z1: v128, perUnit: v128, centre: v128, shift: i32, cells: usize, rows: usize): v128 {
  const ix = cellOf(z0, perUnit, centre);
  const iy = cellOf(z1, perUnit, centre);
  const cell = i32x4.shl(i32x4.add(ix, i32x4.shl(iy, shift)), 2);
  const e0 = load<u32>(cells + <usize>i32x4.extract_lane(cell, 0));
  const e1 = load<u32>(cells + <usize>i32x4.extract_lane(cell, 1));
  const e2 = load<u32>(cells + <usize>i32x4.extract_lane(cell, 2));
  const e3 = load<u32>(cells + <usize>i32x4.extract_lane(cell, 3));
  // Rows are g0 g1 ½‖g‖² code: transposed, four of each.
  let r0 = v128.load(rows + ((e0 & 1023) << 4));
  let r1 = v128.load(rows + ((e1 & 1023) << 4));
  let r2 = v128.load(rows + ((e2 & 1023) << 4));
  let r3 = v128.load(rows + ((e3 & 1023) << 4));
  let g01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  let g23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  let h01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  let h23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  let best = score(z0, z1, g01, g23, h01, h23);
  let code = v128.shuffle<f32>(h01, h23, 2, 3, 6, 7);

  r0 = v128.load(rows + (((e0 >> 10) & 1023) << 4));
  r1 = v128.load(rows + (((e1 >> 10) & 1023) << 4));
  r2 = v128.load(rows + (((e2 >> 10) & 1023) << 4));
  r3 = v128.load(rows + (((e3 >> 10) & 1023) << 4));
  g01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  g23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  h01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  h23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  let next = score(z0, z1, g01, g23, h01, h23);
  code = v128.bitselect(v128.shuffle<f32>(h01, h23, 2, 3, 6, 7), code, f32x4.gt(next, best));
  best = f32x4.pmax(best, next);

  r0 = v128.load(rows + ((e0 >> 20) << 4));
  r1 = v128.load(rows + ((e1 >> 20) << 4));
  r2 = v128.load(rows + ((e2 >> 20) << 4));
  r3 = v128.load(rows + ((e3 >> 20) << 4));
  g01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  g23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  h01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  h23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  next = score(z0, z1, g01, g23, h01, h23);
  return v128.bitselect(v128.shuffle<f32>(h01, h23, 2, 3, 6, 7), code, f32x4.gt(next, best));
}

// @ts-ignore: decorator
@inline
function score(z0: v128, z1: v128, g01: v128, g23: v128, h01: v128, h23: v128): v128 {
  const x = v128.shuffle<f32>(g01, g23, 0, 1, 4, 5);
  const y = v128.shuffle<f32>(g01, g23, 2, 3, 6, 7);
  return f32x4.sub(f32x4.add(f32x4.mul(z0, x), f32x4.mul(z1, y)), v128.shuffle<f32>(h01, h23, 0, 1, 4, 5));
}

/** As nearest1, for `count` vectors of p = 3 weights. */
export function nearest3(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  if (load<u32>(table) == 0) {
    every3(z, count, table, n, codes);
    return;
  }
  const perUnit = v128.load32_splat(table, 8);
  const centre = f32x4.splat(7.5);
  const reach = load<f32>(table, 4);
  const blocks = cellsOf(table, 3, n);
  const starts = startsOf(table, 3, n);
  for (let i: usize = 0; i < count; i++) {
    const v = v128.load(z);
    const far = max(max(abs(f32x4.extract_lane(v, 0)), abs(f32x4.extract_lane(v, 1))), abs(f32x4.extract_lane(v, 2)));
    let cell = SPACE_CELLS;
    if (far < reach) {
      const at = cellOf(v, perUnit, centre);
      cell = i32x4.extract_lane(at, 0) + (i32x4.extract_lane(at, 1) << 4) + (i32x4.extract_lane(at, 2) << 8);
    }
    store<u16>(codes + (i << 1), <u16>space3(v, blocks, starts, cell));
    z += 12;
  }
}

/** As nearest1, for `count` vectors of p = 4 weights. */
export function nearest4(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  if (load<u32>(table) == 0) {
    every4(z, count, table, n, codes);
    return;
  }
  const perUnit = v128.load32_splat(table, 8);
  const centre = f32x4.splat(3.5);
  const reach = v128.load32_splat(table, 4);
  const blocks = cellsOf(table, 4, n);
  const starts = startsOf(table, 4, n);
  for (let i: usize = 0; i < count; i++) {
    const v = v128.load(z);
    let cell = SPACE_CELLS;
    if (i32x4.all_true(f32x4.lt(f32x4.abs(v), reach))) {
      const at = cellOf(v, perUnit, centre);
      cell = i32x4.extract_lane(at, 0) + (i32x4.extract_lane(at, 1) << 3);
      cell += (i32x4.extract_lane(at, 2) << 6) + (i32x4.extract_lane(at, 3) << 9);
    }
    store<u16>(codes + (i << 1), <u16>space4(v, blocks, starts, cell));
    z += 16;
  }
}

// The lane with the largest score; of equals the lowest code.
// @ts-ignore: decorator
@inline
function winner(best: v128, code: v128): u32 {
  let score = f32x4.extract_lane(best, 0);
  let first = <u32>i32x4.extract_lane(code, 0);
  const s1 = f32x4.extract_lane(best, 1);
  const c1 = <u32>i32x4.extract_lane(code, 1);
  if (s1 > score || (s1 == score && c1 < first)) {
    score = s1;
    first = c1;
  }
  const s2 = f32x4.extract_lane(best, 2);
  const c2 = <u32>i32x4.extract_lane(code, 2);
  if (s2 > score || (s2 == score && c2 < first)) {
    score = s2;
    first = c2;
  }
  const s3 = f32x4.extract_lane(best, 3);
  const c3 = <u32>i32x4.extract_lane(code, 3);
  return s3 > score || (s3 == score && c3 < first) ? c3 : first;
}

// Blocks come in no order of their codes, so that a tie needs the codes compared.
// @ts-ignore: decorator
@inline
function better(score: v128, best: v128, next: v128, code: v128): v128 {
  return v128.or(f32x4.gt(score, best), v128.and(f32x4.eq(score, best), i32x4.lt_u(next, code)));
}

function space3(v: v128, blocks: usize, starts: usize, cell: usize): u32 {
  const z0 = v128.shuffle<f32>(v, v, 0, 0, 0, 0);
  const z1 = v128.shuffle<f32>(v, v, 1, 1, 1, 1);
  const z2 = v128.shuffle<f32>(v, v, 2, 2, 2, 2);
  let best = f32x4.splat(-Infinity);
  let code = i32x4.splat(-1);
  const lists = starts + (SPACE_CELLS + 2) * 4;
  let at = lists + (<usize>load<u32>(starts + (cell << 2)) << 1);
  const end = lists + (<usize>load<u32>(starts + (cell << 2), 4) << 1);
  for (; at < end; at += 2) {
    const b = blocks + <usize>load<u16>(at) * 80;
    const sum = f32x4.add(f32x4.mul(z0, v128.load(b)), f32x4.mul(z1, v128.load(b, 16)));
    const score = f32x4.sub(f32x4.add(sum, f32x4.mul(z2, v128.load(b, 32))), v128.load(b, 48));
    const next = v128.load(b, 64);
    code = v128.bitselect(next, code, better(score, best, next, code));
    best = f32x4.pmax(best, score);
  }
  return winner(best, code);
}

function space4(v: v128, blocks: usize, starts: usize, cell: usize): u32 {
  const z0 = v128.shuffle<f32>(v, v, 0, 0, 0, 0);
  const z1 = v128.shuffle<f32>(v, v, 1, 1, 1, 1);
  const z2 = v128.shuffle<f32>(v, v, 2, 2, 2, 2);
  const z3 = v128.shuffle<f32>(v, v, 3, 3, 3, 3);
  let best = f32x4.splat(-Infinity);
  let code = i32x4.splat(-1);
  const lists = starts + (SPACE_CELLS + 2) * 4;
  let at = lists + (<usize>load<u32>(starts + (cell << 2)) << 1);
  const end = lists + (<usize>load<u32>(starts + (cell << 2), 4) << 1);
  for (; at < end; at += 2) {
    const b = blocks + <usize>load<u16>(at) * 96;
    let sum = f32x4.add(f32x4.mul(z0, v128.load(b)), f32x4.mul(z1, v128.load(b, 16)));
    sum = f32x4.add(sum, f32x4.mul(z2, v128.load(b, 32)));
    const score = f32x4.sub(f32x4.add(sum, f32x4.mul(z3, v128.load(b, 48))), v128.load(b, 64));
    const next = v128.load(b, 80);
    code = v128.bitselect(next, code, better(score, best, next, code));
    best = f32x4.pmax(best, score);
  }
  return winner(best, code);
}

