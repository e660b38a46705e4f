// The nearest grid point of single weights: sixteen at a time in 16-bit fixed point, where there are up to 16 points. One byte shuffle
// finds the code that a weight's cell starts with, another the step where the next code begins; weights within a step of a border are
// compared by their scores. Two tables, the first one for every ascending grid, the second one for up to 16 points:
//
//   cells   1024 of 16 bytes: g, ½g² of each of the two neighbours that compete in a cell; then a u16 for each, the first one's code
//   steps   32 vectors' bytes of fixed-point search: the code that a cell of 2048 steps starts with (32 bytes), then for each code one
//           more than the step where the next code may begin (16 low bytes, 16 high bytes)

import { every1 } from './every';
import { blurOf, cellOf, cellsOf, placeOf, reachOf, rowsOf, slackOf, writeHeader } from './rows';

const CELLS: usize = 1024;
const STEPS_BYTES: usize = 80;
// The steps where the first and the last code end: the middle of the first and the last of 32 cells.
const END: f64 = 31744;

/** Bytes of the cells and steps. */
export function lineBytes(): usize {
  return CELLS * 18 + STEPS_BYTES;
}

// @ts-ignore: decorator
@inline
function stepsOf(table: usize, n: usize): usize {
  return cellsOf(table, 1, n) + CELLS * 18;
}

/** Builds the cells of a table that has its rows; where the points do not ascend there are none. */
export function lineCells(table: usize, n: usize): void {
  const rows = rowsOf(table);
  for (let j: usize = 1; j < n; j++) if (!(load<f32>(rows + j * 16) > load<f32>(rows + j * 16 - 16))) return;
  const reach = <f64>reachOf(table, 1, n);
  const width = (2 * reach) / <f64>CELLS;
  const slack = slackOf(1, reach);
  const cells = cellsOf(table, 1, n);
  const codes = cells + CELLS * 16;
  // Between neighbours a < b the score's difference is (b - a) z - (b² - a²) / 2; it decides wherever it exceeds the slack.
  let first: usize = 0;
  for (let cell: usize = 0; cell < CELLS; cell++) {
    const low = -reach + <f64>cell * width - blurOf(reach);
    const high = low + width + 2 * blurOf(reach);
    while (cell > 0 && first + 1 < n && margin(rows + first * 16, low) > slack) first++;
    let second = first;
    if (first + 1 < n && (cell + 1 == CELLS || margin(rows + first * 16, high) >= -slack)) second = first + 1;
    if (second + 1 < n && (cell + 1 == CELLS || margin(rows + second * 16, high) >= -slack)) return;
    v128.store(cells + cell * 16, v128.shuffle<f64>(v128.load(rows + first * 16), v128.load(rows + second * 16), 0, 2));
    store<u16>(codes + (cell << 1), <u16>first);
  }
  writeHeader(table, CELLS, reach);
  store<u32>(table, n <= 16 && lineSteps(table, n, slack) ? 1 : 0, 12);
}

// By how much the next point's score is above this one's at z.
function margin(row: usize, z: f64): f64 {
  const a = <f64>load<f32>(row);
  const b = <f64>load<f32>(row, 16);
  return (b - a) * z - (<f64>load<f32>(row, 20) - <f64>load<f32>(row, 4));
}

// Where the score of the next point overtakes.
function border(row: usize): f64 {
  const a = <f64>load<f32>(row);
  const b = <f64>load<f32>(row, 16);
  return (<f64>load<f32>(row, 20) - <f64>load<f32>(row, 4)) / (b - a);
}

// As eightSteps, of one weight.
function stepAt(z: f64, steps: f32, offset: f32): i32 {
  return i32x4.extract_lane(placeOf(f32x4.splat(<f32>z), f32x4.splat(steps), f32x4.splat(offset)), 0);
}

// Steps are so small that between two codes at most two of them are in doubt, t and t + 1. The table has t + 1.
function lineSteps(table: usize, n: usize, slack: f64): bool {
  const rows = rowsOf(table);
  const from = border(rows);
  const to = border(rows + (n - 2) * 16);
  const steps = <f32>((2 * END) / (to - from));
  const offset = <f32>(-END - from * <f64>steps);
  const cells = stepsOf(table, n);
  store<f32>(cells, steps);
  store<f32>(cells, offset, 4);
  let passed: usize = 0; // borders that lie wholly below the cell
  for (let cell: i32 = 0; cell < 32; cell++) {
    const start = (cell - 16) * 2048;
    while (passed + 1 < n && doubt(rows, passed, steps, offset, slack) + 1 < start) passed++;
    if (passed + 1 == n) return false;
    if (passed + 2 < n && doubt(rows, passed + 1, steps, offset, slack) <= start + 2047) return false;
    store<u8>(cells + 16 + cell, <u8>passed);
  }
  for (let j: usize = 0; j + 1 < n; j++) {
    const t = doubt(rows, j, steps, offset, slack);
    if (t == i32.MIN_VALUE) return false;
    store<u8>(cells + 48 + j, <u8>(t + 1));
    store<u8>(cells + 64 + j, <u8>((t + 1) >> 8));
  }
  return true;
}

// The lower of the two steps that are in doubt between codes j and j + 1; the least i32 if there are more.
function doubt(rows: usize, j: usize, steps: f32, offset: f32, slack: f64): i32 {
  const row = rows + (j << 4);
  const z = border(row);
  const around = slack / (<f64>load<f32>(row, 16) - <f64>load<f32>(row)) + abs(z) * (1.0 / 4194304);
  const low = stepAt(z - around, steps, offset);
  return stepAt(z + around, steps, offset) - low <= 1 ? low : i32.MIN_VALUE;
}

/**
 * Codes (u16) of `count` weights at `z`, none above 512. Reads `z` and writes `codes` up to the next multiple of 16. `table` as by
 * gridTable, p = 1.
 */
export function nearest1(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  if (load<u32>(table) == 0) every1(z, count, table, n, codes);
  else if (load<u32>(table, 12)) bySteps(z, count, table, n, codes);
  else byCells(z, count, table, n, codes);
}

function byCells(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  const reach = v128.load32_splat(table, 4);
  const perUnit = v128.load32_splat(table, 8);
  const cells = cellsOf(table, 1, n);
  for (let i: usize = 0; i < count; i += 8) {
    const low = four(v128.load(z), reach, perUnit, cells);
    const high = four(v128.load(z, 16), reach, perUnit, cells);
    v128.store(codes + (i << 1), i16x8.narrow_i32x4_u(low, high));
    z += 32;
  }
}

// Four weights, each against the two points of its cell.
// @ts-ignore: decorator
@inline
function four(z: v128, reach: v128, perUnit: v128, cells: usize): v128 {
  const centre = f32x4.splat((<f32>CELLS - 1) * <f32>0.5);
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
  const firsts = cells + CELLS * 16;
  let first = v128.load16_splat(firsts + i0);
  first = v128.load16_lane(firsts + i1, first, 2);
  first = v128.load16_lane(firsts + i2, first, 4);
  first = v128.load16_lane(firsts + i3, first, 6);
  // The second point has the next code; where it has the larger score the mask is -1.
  return i32x4.sub(v128.and(first, i32x4.splat(0xffff)), f32x4.gt(scoreB, scoreA));
}

// Eight weights in fixed point, saturated to i16.
// @ts-ignore: decorator
@inline
function eightSteps(a: v128, b: v128, steps: v128, offset: v128): v128 {
  return i16x8.narrow_i32x4_s(placeOf(a, steps, offset), placeOf(b, steps, offset));
}

// Sixteen weights a round: a table tells the code that a weight's cell starts with, another one whether the weight is beyond it.
// Where any weight is in doubt, which is one round in a hundred, the scores of all are compared.
function bySteps(z: usize, count: usize, table: usize, n: usize, codes: usize): void {
  const reach = v128.load32_splat(table, 4);
  const perUnit = v128.load32_splat(table, 8);
  const cells = cellsOf(table, 1, n);
  const header = stepsOf(table, n);
  const steps = v128.load32_splat(header);
  const offset = v128.load32_splat(header, 4);
  const below = v128.load(header, 16);
  const above = v128.load(header, 32);
  const lows = v128.load(header, 48);
  const highs = v128.load(header, 64);
  const one = i16x8.splat(1);
  for (let i: usize = 0; i < count; i += 16) {
    const a = eightSteps(v128.load(z), v128.load(z, 16), steps, offset);
    const b = eightSteps(v128.load(z, 32), v128.load(z, 48), steps, offset);
    const cell = i8x16.narrow_i16x8_s(i16x8.shr_s(a, 11), i16x8.shr_s(b, 11)); // -16 … 15
    const first = v128.or(i8x16.swizzle(below, i8x16.add(cell, i8x16.splat(16))), i8x16.swizzle(above, cell));
    const low = i8x16.swizzle(lows, first);
    const high = i8x16.swizzle(highs, first);
    const ta = v128.shuffle<i8>(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const tb = v128.shuffle<i8>(low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const doubtA = v128.or(i16x8.eq(a, ta), i16x8.eq(i16x8.add(a, one), ta));
    const doubtB = v128.or(i16x8.eq(b, tb), i16x8.eq(i16x8.add(b, one), tb));
    if (v128.any_true(v128.or(doubtA, doubtB))) {
      byCells(z, 16, table, n, codes);
    } else {
      const code = i8x16.sub(first, i8x16.narrow_i16x8_s(i16x8.gt_s(a, ta), i16x8.gt_s(b, tb)));
      v128.store(codes, i16x8.extend_low_i8x16_u(code));
      v128.store(codes, i16x8.extend_high_i8x16_u(code), 16);
    }
    z += 64;
    codes += 32;
  }
}
