// The nearest grid point of vectors of three or four weights: cells, each with the list of the blocks of four points that compete in it.
//
// The table's cells are n / 4 blocks of neighbours, four points by coordinate: g0 ×4, g1 ×4, …, ½‖g‖² ×4, code ×4; then for each cell,
// and one for all that is beyond the cells, a u32, where its list starts, and one more for the end; then the lists, u16 blocks.

import { every3, every4 } from './every';
import { blurOf, cellOf, cellsOf, reachOf, rowsOf, rowStride, slackOf, writeHeader } from './rows';

// 16³ = 8⁴ cells over [-REACH, REACH]; one weight in 700 lies beyond.
const CELLS: usize = 4096;
const REACH: f64 = 3.2;
// Room for the lists of the cells; the stored grids fill a quarter of it at most.
const LIST_LIMIT: usize = CELLS * 64;
// Points of a cell that are compared with one another; the stored grids have a thousand at most.
const CANDIDATES_LIMIT: usize = 2048;

// Bytes of a block of four points.
// @ts-ignore: decorator
@inline
function blockSize(p: usize): usize {
  return (p + 2) << 4;
}

// Where the starts of the cells' lists are.
// @ts-ignore: decorator
@inline
function startsOf(table: usize, p: usize, n: usize): usize {
  return cellsOf(table, p, n) + (n >> 2) * blockSize(p);
}

/** Bytes of the cells, and of the room to build them in. */
export function spaceBytes(p: usize, n: usize): usize {
  return (n >> 2) * blockSize(p) + (CELLS + 2) * 4 + LIST_LIMIT * 2 + n * 9;
}

/** Builds the cells of a table that has its rows; where their lists are too long there are none. */
export function spaceCells(table: usize, p: usize, n: usize): void {
  const along: usize = p == 3 ? 16 : 8;
  const width = (2 * REACH) / <f64>along;
  const slack = slackOf(p, max(REACH, <f64>reachOf(table, p, n)));
  const half = width / 2 + blurOf(REACH);
  const blocks = cellsOf(table, p, n);
  const size = blockSize(p);
  const starts = startsOf(table, p, n);
  const lists = starts + (CELLS + 2) * 4;
  const scratch = lists + LIST_LIMIT * 2 + n;
  gather(table, p, n, blocks, scratch);

  let length: usize = 0;
  let x0: f64 = 0, x1: f64 = 0, x2: f64 = 0, x3: f64 = 0;
  for (let cell: usize = 0; cell < CELLS; cell++) {
    store<u32>(starts + (cell << 2), <u32>length);
    x0 = -REACH + (<f64>(cell % along) + 0.5) * width;
    x1 = -REACH + (<f64>((cell / along) % along) + 0.5) * width;
    x2 = -REACH + (<f64>((cell / along / along) % along) + 0.5) * width;
    x3 = p == 4 ? -REACH + (<f64>(cell / along / along / along) + 0.5) * width : 0;
    let nearest = blocks;
    for (let b: usize = 0; b < n; b++) {
      const point = pointOf(blocks, size, b);
      if (lead(point, nearest, p, x0, x1, x2, x3, 0) > 0) nearest = point;
    }
    let candidates: usize = 0;
    for (let b: usize = 0; b < n; b++) {
      if (lead(pointOf(blocks, size, b), nearest, p, x0, x1, x2, x3, half) < -slack) continue;
      store<u32>(scratch + (candidates << 2), <u32>b);
      candidates++;
    }
    if (candidates > CANDIDATES_LIMIT) return;
    let last: usize = usize.MAX_VALUE;
    for (let i: usize = 0; i < candidates; i++) {
      const b = <usize>load<u32>(scratch + (i << 2));
      if (b >> 2 == last) continue;
      const point = pointOf(blocks, size, b);
      let beaten = false;
      for (let k: usize = 0; k < candidates && !beaten; k++) {
        const other = pointOf(blocks, size, <usize>load<u32>(scratch + (k << 2)));
        beaten = k != i && lead(point, other, p, x0, x1, x2, x3, half) < -slack;
      }
      if (beaten) continue;
      if (length == LIST_LIMIT) return;
      last = b >> 2;
      store<u16>(lists + (length << 1), <u16>last);
      length++;
    }
  }
  store<u32>(starts + (CELLS << 2), <u32>length);
  for (let block: usize = 0; block < n >> 2; block++) store<u16>(lists + ((length + block) << 1), <u16>block);
  store<u32>(starts + ((CELLS + 1) << 2), <u32>(length + (n >> 2)));
  writeHeader(table, along, REACH);
}

// Point number b in the order of the blocks: its first coordinate; the next one is 16 bytes further.
// @ts-ignore: decorator
@inline
function pointOf(blocks: usize, size: usize, b: usize): usize {
  return blocks + (b >> 2) * size + ((b & 3) << 2);
}

// As `advantage`, for points in blocks.
function lead(a: usize, b: usize, p: usize, x0: f64, x1: f64, x2: f64, x3: f64, half: f64): f64 {
  const d0 = <f64>load<f32>(a) - <f64>load<f32>(b);
  const d1 = <f64>load<f32>(a, 16) - <f64>load<f32>(b, 16);
  const d2 = <f64>load<f32>(a, 32) - <f64>load<f32>(b, 32);
  let sum = x0 * d0 + x1 * d1 + x2 * d2 + half * (abs(d0) + abs(d1) + abs(d2));
  if (p == 3) return sum - (<f64>load<f32>(a, 48) - <f64>load<f32>(b, 48));
  const d3 = <f64>load<f32>(a, 48) - <f64>load<f32>(b, 48);
  sum += x3 * d3 + half * abs(d3);
  return sum - (<f64>load<f32>(a, 64) - <f64>load<f32>(b, 64));
}

// Fills the blocks with points that lie together: in the order of their coordinates' bits, interleaved (Morton's curve).
function gather(table: usize, p: usize, n: usize, blocks: usize, scratch: usize): void {
  const rows = rowsOf(table);
  const stride = rowStride(p);
  for (let j: usize = 0; j < n; j++) {
    let key: u64 = 0;
    for (let bit = 7; bit >= 0; bit--) {
      for (let i: usize = 0; i < p; i++) {
        const place = (load<f32>(rows + j * stride + (i << 2)) + 4.5) * (256.0 / 9.0);
        const eight = <u32>max<f32>(0, min<f32>(255, <f32>place));
        key = (key << 1) | ((eight >> bit) & 1);
      }
    }
    store<u64>(scratch + (j << 3), (key << 16) | j);
  }
  // Shell's sort, Ciura's gaps.
  for (let gap: usize = 1750; gap > 0; gap = gap > 701 ? 701 : gap > 301 ? 301 : gap > 132 ? 132 : gap > 57 ? 57 : gap > 23 ? 23 : gap > 10 ? 10 : gap > 4 ? 4 : gap > 1 ? 1 : 0) {
    for (let i = gap; i < n; i++) {
      const item = load<u64>(scratch + (i << 3));
      let position = i;
      for (; position >= gap && load<u64>(scratch + ((position - gap) << 3)) > item; position -= gap) {
        store<u64>(scratch + (position << 3), load<u64>(scratch + ((position - gap) << 3)));
      }
      store<u64>(scratch + (position << 3), item);
    }
  }
  for (let b: usize = 0; b < n; b++) {
    const code = <usize>(load<u64>(scratch + (b << 3)) & 0xffff);
    const point = pointOf(blocks, blockSize(p), b);
    for (let i: usize = 0; i <= p; i++) store<f32>(point + (i << 4), load<f32>(rows + code * stride + (i << 2)));
    store<u32>(point + ((p + 1) << 4), <u32>code);
  }
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
    let cell = CELLS;
    if (far < reach) {
      const cells = cellOf(v, perUnit, centre);
      cell = i32x4.extract_lane(cells, 0) + (i32x4.extract_lane(cells, 1) << 4) + (i32x4.extract_lane(cells, 2) << 8);
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
    let cell = CELLS;
    if (i32x4.all_true(f32x4.lt(f32x4.abs(v), reach))) {
      const cells = cellOf(v, perUnit, centre);
      cell = i32x4.extract_lane(cells, 0) + (i32x4.extract_lane(cells, 1) << 3);
      cell += (i32x4.extract_lane(cells, 2) << 6) + (i32x4.extract_lane(cells, 3) << 9);
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
  const lists = starts + (CELLS + 2) * 4;
  let address = lists + (<usize>load<u32>(starts + (cell << 2)) << 1);
  const end = lists + (<usize>load<u32>(starts + (cell << 2), 4) << 1);
  for (; address < end; address += 2) {
    const b = blocks + <usize>load<u16>(address) * 80;
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
  const lists = starts + (CELLS + 2) * 4;
  let address = lists + (<usize>load<u32>(starts + (cell << 2)) << 1);
  const end = lists + (<usize>load<u32>(starts + (cell << 2), 4) << 1);
  for (; address < end; address += 2) {
    const b = blocks + <usize>load<u16>(address) * 96;
    let sum = f32x4.add(f32x4.mul(z0, v128.load(b)), f32x4.mul(z1, v128.load(b, 16)));
    sum = f32x4.add(sum, f32x4.mul(z2, v128.load(b, 32)));
    const score = f32x4.sub(f32x4.add(sum, f32x4.mul(z3, v128.load(b, 48))), v128.load(b, 64));
    const next = v128.load(b, 80);
    code = v128.bitselect(next, code, better(score, best, next, code));
    best = f32x4.pmax(best, score);
  }
  return winner(best, code);
}

