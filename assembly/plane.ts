// The nearest grid point of pairs of weights. Tables over [-R, R]²:
//
//   cells   a u32 each: the codes, 10 bits, of the up to three points that compete in the cell, the last ones repeating the first
//   fine    FINE² cells, a u16 each: the code of the only point there, or CONTESTED
//   places  for each byte the places of its set bits, eight bytes
//
// Most vectors are done by one look at the fine cells. The contested ones are noted in a list, and then compared by four with the
// points of their cells: no branch depends on a single weight.

import { every2 } from './every';
import { blurOf, cellOf, cellsOf, placeOf, reachOf, rowsOf, slackOf, writeHeader } from './rows';

const FINE: usize = 512;
const CONTESTED: u32 = 0xffff;
const PLACES_BYTES: usize = 2048;
// How far the cells reach at least: one pair in fifty thousand lies beyond.
const REACH: f64 = 4.25;
// Points that a grid may have for its codes to fit.
const POINTS_LIMIT: usize = 1024;
// Vectors that are searched at once, numbered by u16.
const BATCH: usize = 32768;

// No cell meets more than three points, a corner of their Voronoi diagram, if cells are this small.
// @ts-ignore: decorator
@inline
function cellsAlong(n: usize): usize {
  return n <= 64 ? 128 : 256;
}

// @ts-ignore: decorator
@inline
function fineOf(table: usize, n: usize): usize {
  return cellsOf(table, 2, n) + ((cellsAlong(n) * cellsAlong(n)) << 2);
}

// @ts-ignore: decorator
@inline
function placesOf(table: usize, n: usize): usize {
  return fineOf(table, n) + FINE * FINE * 2;
}

/** Bytes of the cells, and of the room to build them in: lists of points, one a level of division. */
export function planeBytes(n: usize): usize {
  return ((cellsAlong(n) * cellsAlong(n)) << 2) + FINE * FINE * 2 + PLACES_BYTES + n * 2 * 11;
}

/** Builds the cells of a table that has its rows; where more than three points compete in one of them there are none. */
export function planeCells(table: usize, n: usize): void {
  if (n > POINTS_LIMIT) return;
  const reach = max(REACH, <f64>reachOf(table, 2, n));
  const places = placesOf(table, n);
  for (let byte: usize = 0; byte < 256; byte++) {
    let address = places + (byte << 3);
    store<u64>(address, 0);
    for (let bit: usize = 0; bit < 8; bit++) if ((byte >> bit) & 1) store<u8>(address++, <u8>bit);
  }
  const list = places + PLACES_BYTES;
  for (let j: usize = 0; j < n; j++) store<u16>(list + (j << 1), <u16>j);
  writeHeader(table, cellsAlong(n), reach);
  if (!divide(table, n, slackOf(2, reach), reach, list, n, 1, 0, 0)) store<u32>(table, 0);
}

// Fills the square (ix, iy) of side² squares, where the `count` points of the list compete. A point competes unless another one beats
// it all over the square by more than the slack: a difference of scores is linear, so its least value is at a corner.
function divide(table: usize, n: usize, slack: f64, reach: f64, list: usize, count: usize, side: usize, ix: usize, iy: usize): bool {
  const rows = rowsOf(table);
  const width = (2 * reach) / <f64>side;
  const x = -reach + (<f64>ix + 0.5) * width;
  const y = -reach + (<f64>iy + 0.5) * width;
  const half = width / 2 + blurOf(reach);
  let best = rowAt(rows, list, 0);
  for (let i: usize = 1; i < count; i++) {
    const row = rowAt(rows, list, i);
    if (advantage(row, best, x, y, 0) > 0) best = row;
  }
  const kept = list + (count << 1);
  let survivors: usize = 0;
  for (let i: usize = 0; i < count; i++) {
    const row = rowAt(rows, list, i);
    let beaten = advantage(row, best, x, y, half) < -slack;
    // Many points are compared with the best one alone; the squares inside will see to the rest.
    for (let k: usize = 0; count <= 16 && k < count && !beaten; k++) {
      beaten = k != i && advantage(row, rowAt(rows, list, k), x, y, half) < -slack;
    }
    if (beaten) continue;
    store<u16>(kept + (survivors << 1), load<u16>(list + (i << 1)));
    survivors++;
  }
  const along = cellsAlong(n);
  if (side == along) {
    if (survivors > 3) return false;
    const first = <u32>load<u16>(kept);
    const second = survivors > 1 ? <u32>load<u16>(kept, 2) : first;
    const third = survivors > 2 ? <u32>load<u16>(kept, 4) : first;
    store<u32>(cellsOf(table, 2, n) + ((ix + iy * along) << 2), first | (second << 10) | (third << 20));
  }
  if (side == FINE) {
    // What lies beyond the reach is sent to the outermost cells.
    const inner = ix > 0 && iy > 0 && ix < FINE - 1 && iy < FINE - 1;
    store<u16>(fineOf(table, n) + ((ix + iy * FINE) << 1), <u16>(inner && survivors == 1 ? <u32>load<u16>(kept) : CONTESTED));
    return true;
  }
  for (let quarter: usize = 0; quarter < 4; quarter++) {
    if (!divide(table, n, slack, reach, kept, survivors, side << 1, (ix << 1) + (quarter & 1), (iy << 1) + (quarter >> 1))) return false;
  }
  return true;
}

// @ts-ignore: decorator
@inline
function rowAt(rows: usize, list: usize, i: usize): usize {
  return rows + (<usize>load<u16>(list + (i << 1)) << 4);
}

// The most by which the score of the point at `row` exceeds that at `other` within `half` of (x, y).
// @ts-ignore: decorator
@inline
function advantage(row: usize, other: usize, x: f64, y: f64, half: f64): f64 {
  const dx = <f64>load<f32>(row) - <f64>load<f32>(other);
  const dy = <f64>load<f32>(row, 4) - <f64>load<f32>(other, 4);
  return x * dx + y * dy - (<f64>load<f32>(row, 8) - <f64>load<f32>(other, 8)) + half * (abs(dx) + abs(dy));
}

/** As nearest1, for `count` vectors of p = 2 weights. `scratch` holds a u16 for each of up to BATCH and eight more. */
export function nearest2(z: usize, count: usize, table: usize, n: usize, codes: usize, scratch: usize): void {
  if (load<u32>(table) == 0) {
    every2(z, count, table, n, codes);
    return;
  }
  for (; count > BATCH; count -= BATCH) {
    batch(z, BATCH, table, n, codes, scratch);
    z += BATCH << 3;
    codes += BATCH << 1;
  }
  batch(z, count, table, n, codes, scratch);
}

function batch(z: usize, count: usize, table: usize, n: usize, codes: usize, scratch: usize): void {
  const fine = fineOf(table, n);
  const perUnit = f32x4.splat(load<f32>(table, 8) * <f32>(FINE / load<u32>(table)));
  const centre = f32x4.splat((<f32>FINE - 1) * <f32>0.5);
  const last = i16x8.splat(<i16>(FINE - 1));
  const strides = i32x4.splat(<i32>((FINE << 17) | 2)); // i16 lanes 2, 2 · FINE: bytes
  let pair = z;
  let out = codes;
  for (let i: usize = 0; i < count; i += 4) {
    const p = placeOf(v128.load(pair), perUnit, centre);
    const q = placeOf(v128.load(pair, 16), perUnit, centre);
    const cell = i32x4.dot_i16x8_s(i16x8.min_s(i16x8.max_s(i16x8.narrow_i32x4_s(p, q), i16x8.splat(0)), last), strides);
    const low = <u64>i64x2.extract_lane(cell, 0);
    const high = <u64>i64x2.extract_lane(cell, 1);
    const c0 = <u32>load<u16>(fine + <usize>low);
    const c1 = <u32>load<u16>(fine + <usize>(low >> 32));
    const c2 = <u32>load<u16>(fine + <usize>high);
    const c3 = <u32>load<u16>(fine + <usize>(high >> 32));
    store<u16>(out, <u16>c0);
    store<u16>(out, <u16>c1, 2);
    store<u16>(out, <u16>c2, 4);
    store<u16>(out, <u16>c3, 6);
    pair += 32;
    out += 8;
  }
  settle(z, table, n, codes, scratch, note(codes, count, placesOf(table, n), scratch));
}

// Lists the contested vectors, eight codes a round; returns the list's end.
// @ts-ignore: decorator
@inline
function note(codes: usize, count: usize, places: usize, list: usize): usize {
  const contested = i16x8.splat(<i16>CONTESTED);
  let first = i16x8.splat(0);
  for (const end = codes + (count << 1); codes < end; codes += 16) {
    const contestedBits = <u32>i16x8.bitmask(i16x8.eq(v128.load(codes), contested));
    v128.store(list, i16x8.add(v128.load8x8_u(places + (<usize>contestedBits << 3)), first));
    list += <usize>popcnt<u32>(contestedBits) << 1;
    first = i16x8.add(first, i16x8.splat(8));
  }
  return list;
}

// The contested vectors of a list, four a round; the last round repeats one.
function settle(z: usize, table: usize, n: usize, codes: usize, list: usize, end: usize): void {
  const reach = v128.load32_splat(table, 4);
  const perUnit = v128.load32_splat(table, 8);
  const along = load<u32>(table);
  const centre = f32x4.splat((<f32>along - 1) * <f32>0.5);
  const shift = ctz(along);
  const rows = rowsOf(table);
  const cells = cellsOf(table, 2, n);
  for (; list < end; list += 8) {
    const i0 = <usize>load<u16>(list);
    const i1 = list + 2 < end ? <usize>load<u16>(list, 2) : i0;
    const i2 = list + 4 < end ? <usize>load<u16>(list, 4) : i0;
    const i3 = list + 6 < end ? <usize>load<u16>(list, 6) : i0;
    const p = v128.load64_lane(z + (i1 << 3), v128.load64_zero(z + (i0 << 3)), 1);
    const q = v128.load64_lane(z + (i3 << 3), v128.load64_zero(z + (i2 << 3)), 1);
    if (i32x4.all_true(f32x4.lt(f32x4.max(f32x4.abs(p), f32x4.abs(q)), reach))) {
      const code = four(v128.shuffle<f32>(p, q, 0, 2, 4, 6), v128.shuffle<f32>(p, q, 1, 3, 5, 7), perUnit, centre, shift, cells, rows);
      v128.store16_lane(codes + (i0 << 1), code, 0);
      v128.store16_lane(codes + (i1 << 1), code, 2);
      v128.store16_lane(codes + (i2 << 1), code, 4);
      v128.store16_lane(codes + (i3 << 1), code, 6);
    } else {
      one(z, i0, rows, n, codes);
      one(z, i1, rows, n, codes);
      one(z, i2, rows, n, codes);
      one(z, i3, rows, n, codes);
    }
  }
}

// One vector against every point.
function one(z: usize, i: usize, rows: usize, n: usize, codes: usize): void {
  const z0 = load<f32>(z + (i << 3));
  const z1 = load<f32>(z + (i << 3), 4);
  let best: f32 = -Infinity;
  let code: usize = 0;
  for (let j: usize = 0; j < n; j++, rows += 16) {
    const sum = z0 * load<f32>(rows) + z1 * load<f32>(rows, 4) - load<f32>(rows, 8);
    if (sum > best) {
      best = sum;
      code = j;
    }
  }
  store<u16>(codes + (i << 1), <u16>code);
}

// Four vectors, each against the three points of its cell.
// @ts-ignore: decorator
@inline
function four(z0: v128, z1: v128, perUnit: v128, centre: v128, shift: i32, cells: usize, rows: usize): v128 {
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
