// The best codes of two rows of a trellis by labels: as viterbi.ts, eight sequences in the eight lanes, costs in 16 bits (FORMAT.md).
// A step costs (y − u)² in units that `gain` makes fine enough, 32767 at most; a path costs 65535 more than the best at most.
// It depends on the code's low bits and the label alone, once its high bits are the nearest: 64 numbers for 64 or 256 states.
// A slice has a vector for each state, then what was last taken off all of them. Choices are not kept: going back finds them again.

import { baseOf, groupOf, labelAt, labelsAt, lessLabels, nearestCodes, placeOf, valuesAt } from './labels';

// Steps on either side of the seam.
const WARM_UP: usize = 32;

// @ts-ignore: decorator
@inline
function sliceBytes(table: usize): usize {
  return ((<usize>load<u32>(table, 68)) << 7) + 16;
}

// Four columns as integers.
// @ts-ignore: decorator
@inline
function inputOf(z: usize, table: usize): v128 {
  const y = f32x4.add(f32x4.mul(v128.load(z), v128.load32_splat(table, 8)), v128.load32_splat(table, 12));
  const held = f32x4.pmax(f32x4.pmin(y, v128.load32_splat(table, 84)), v128.load32_splat(table, 80));
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(held));
}

// Distance of `y` from the nearest of the values at `values`, within a step's bounds, as q15mulr wants it.
// @ts-ignore: decorator
@inline
function nearest(y: v128, values: usize, codes: usize, most: v128): v128 {
  let least = i16x8.abs(i16x8.sub_sat_s(y, v128.load(values)));
  if (codes > 1) least = i16x8.min_u(least, i16x8.abs(i16x8.sub_sat_s(y, v128.load(values, 16))));
  if (codes > 2) {
    least = i16x8.min_u(least, i16x8.abs(i16x8.sub_sat_s(y, v128.load(values, 32))));
    least = i16x8.min_u(least, i16x8.abs(i16x8.sub_sat_s(y, v128.load(values, 48))));
  }
  if (codes > 4) {
    least = i16x8.min_u(least, i16x8.abs(i16x8.sub_sat_s(y, v128.load(values, 64))));
    least = i16x8.min_u(least, i16x8.abs(i16x8.sub_sat_s(y, v128.load(values, 80))));
    least = i16x8.min_u(least, i16x8.abs(i16x8.sub_sat_s(y, v128.load(values, 96))));
    least = i16x8.min_u(least, i16x8.abs(i16x8.sub_sat_s(y, v128.load(values, 112))));
  }
  return i16x8.min_u(least, most);
}

// @ts-ignore: decorator
@inline
function cost(distance: v128, gain: i32): v128 {
  const d = i16x8.shl(distance, gain);
  return i16x8.q15mulr_sat_s(d, d);
}

// What a step of input `y` costs by low bits q and label x: (8, 8) vectors.
// @ts-ignore: decorator
@inline
function writeCosts(y: v128, table: usize, codes: usize, to: usize): void {
  const gain = load<i32>(table, 76);
  const most = i16x8.splat(<i16>(<i32>32767 >> gain));
  const y0 = i16x8.sub_sat_s(y, v128.load(labelAt(table, 0)));
  const y1 = i16x8.sub_sat_s(y, v128.load(labelAt(table, 1)));
  const y2 = i16x8.sub_sat_s(y, v128.load(labelAt(table, 2)));
  const y3 = i16x8.sub_sat_s(y, v128.load(labelAt(table, 3)));
  const y4 = i16x8.sub_sat_s(y, v128.load(labelAt(table, 4)));
  const y5 = i16x8.sub_sat_s(y, v128.load(labelAt(table, 5)));
  const y6 = i16x8.sub_sat_s(y, v128.load(labelAt(table, 6)));
  const y7 = i16x8.sub_sat_s(y, v128.load(labelAt(table, 7)));
  let values = valuesAt(table, 0, codes);
  for (const end = to + 1024; to < end; to += 128, values += codes << 4) {
    v128.store(to, cost(nearest(y0, values, codes, most), gain));
    v128.store(to, cost(nearest(y1, values, codes, most), gain), 16);
    v128.store(to, cost(nearest(y2, values, codes, most), gain), 32);
    v128.store(to, cost(nearest(y3, values, codes, most), gain), 48);
    v128.store(to, cost(nearest(y4, values, codes, most), gain), 64);
    v128.store(to, cost(nearest(y5, values, codes, most), gain), 80);
    v128.store(to, cost(nearest(y6, values, codes, most), gain), 96);
    v128.store(to, cost(nearest(y7, values, codes, most), gain), 112);
  }
}

// The cheapest way to a state: `f` are costs of the eight states before, by label; `costs` those of the step.
// @ts-ignore: decorator
@inline
function best(
  f0: v128, f1: v128, f2: v128, f3: v128, f4: v128, f5: v128, f6: v128, f7: v128, costs: usize,
): v128 {
  let v = i16x8.add_sat_u(f0, v128.load(costs));
  v = i16x8.min_u(v, i16x8.add_sat_u(f1, v128.load(costs, 16)));
  v = i16x8.min_u(v, i16x8.add_sat_u(f2, v128.load(costs, 32)));
  v = i16x8.min_u(v, i16x8.add_sat_u(f3, v128.load(costs, 48)));
  v = i16x8.min_u(v, i16x8.add_sat_u(f4, v128.load(costs, 64)));
  v = i16x8.min_u(v, i16x8.add_sat_u(f5, v128.load(costs, 80)));
  v = i16x8.min_u(v, i16x8.add_sat_u(f6, v128.load(costs, 96)));
  return i16x8.min_u(v, i16x8.add_sat_u(f7, v128.load(costs, 112)));
}

// One step from the slice at `slice` to the one behind it.
function step(slice: usize, table: usize, groups: usize, costs: usize): void {
  const next = slice + (groups << 7) + 16;
  const stride = groups << 4;
  for (let group: usize = 0; group < groups; group++) {
    const address = slice + (group << 7);
    const base = baseOf(table, group) << 4;
    const f0 = v128.load(address + base);
    const f1 = v128.load(address + (base ^ 16));
    const f2 = v128.load(address + (base ^ 32));
    const f3 = v128.load(address + (base ^ 48));
    const f4 = v128.load(address + (base ^ 64));
    const f5 = v128.load(address + (base ^ 80));
    const f6 = v128.load(address + (base ^ 96));
    const f7 = v128.load(address + (base ^ 112));
    let to = next + (placeOf(table, group) << 4);
    for (let m = costs; m < costs + 1024; m += 256, to += stride << 1) {
      v128.store(to, best(f0, f1, f2, f3, f4, f5, f6, f7, m));
      v128.store(to + stride, best(f0, f1, f2, f3, f4, f5, f6, f7, m + 128));
    }
  }
  v128.store(next + (groups << 7), i16x8.splat(0));
}

// Takes the least cost off all, and notes it.
function rebase(slice: usize, groups: usize): void {
  const end = slice + (groups << 7);
  let least = v128.load(slice);
  for (let at = slice + 16; at < end; at += 16) least = i16x8.min_u(least, v128.load(at));
  for (let at = slice; at < end; at += 16) v128.store(at, i16x8.sub(v128.load(at), least));
  v128.store(end, least);
}

function writeCosts8(y: v128, table: usize, to: usize): void {
  writeCosts(y, table, 8, to);
}

function writeCosts4(y: v128, table: usize, to: usize): void {
  writeCosts(y, table, 4, to);
}

function writeCosts2(y: v128, table: usize, to: usize): void {
  writeCosts(y, table, 2, to);
}

function writeCosts1(y: v128, table: usize, to: usize): void {
  writeCosts(y, table, 1, to);
}

// Runs `count` steps from the slice at `slice`; their slices follow it. `done` steps went before, of the same path. Returns the last slice.
function run(slice: usize, inputs: usize, count: usize, done: usize, table: usize, costs: usize): usize {
  const bytes = sliceBytes(table);
  const groups = <usize>load<u32>(table, 68);
  const codes = load<u32>(table, 72);
  for (let i: usize = 0; i < count; i++) {
    const y = v128.load(inputs + (i << 4));
    if (codes == 2) writeCosts2(y, table, costs);
    else if (codes == 4) writeCosts4(y, table, costs);
    else if (codes == 8) writeCosts8(y, table, costs);
    else writeCosts1(y, table, costs);
    step(slice, table, groups, costs);
    slice += bytes;
    if (((i + done) & 7) == 7) rebase(slice, groups);
  }
  return slice;
}

// The slice before the first step: costs of all states 0.
function beginFree(slice: usize, groups: usize): void {
  memory.fill(slice, 0, (groups << 7) + 16);
}

// The slice before the first step: only the states of `seams`, u16 a lane, cost nothing.
function beginAt(slice: usize, groups: usize, seams: usize): void {
  memory.fill(slice, 255, groups << 7);
  v128.store(slice + (groups << 7), i16x8.splat(0));
  for (let lane: usize = 0; lane < 16; lane += 2) {
    store<u16>(slice + (<usize>load<u16>(seams + lane) << 4) + lane, 0);
  }
}

// The cheapest state of each lane, the lowest of equals, u16.
function cheapest(slice: usize, groups: usize, states: usize): void {
  let least = v128.load(slice);
  let which = i16x8.splat(0);
  for (let state: usize = 1; state < groups << 3; state++) {
    const here = v128.load(slice + (state << 4));
    which = v128.bitselect(i16x8.splat(<i16>state), which, i16x8.lt_u(here, least));
    least = i16x8.min_u(least, here);
  }
  v128.store(states, which);
}

// The state of lane `lane` (its bytes' offset) from which it came into `state` at `slice`, by a step of input `input`.
// @ts-ignore: decorator
@inline
function back(slice: usize, state: usize, lane: usize, input: usize, table: usize, groups: usize, codes: usize, gain: i32): usize {
  const group = groupOf(table, state & (groups - 1));
  const values = valuesAt(table, state >> (groups == 8 ? 3 : 5), codes);
  const y = i16x8.sub_sat_s(v128.load16_splat(input + lane), v128.load(labelsAt(table, baseOf(table, group))));
  const all = <u32>load<u16>(slice + (state << 4) + lane) + <u32>load<u16>(slice + (groups << 7) + lane);
  const address = slice - ((groups << 7) + 16) + (group << 7) + lane;
  let f = v128.load16_splat(address);
  f = v128.load16_lane(address, f, 1, 16);
  f = v128.load16_lane(address, f, 2, 32);
  f = v128.load16_lane(address, f, 3, 48);
  f = v128.load16_lane(address, f, 4, 64);
  f = v128.load16_lane(address, f, 5, 80);
  f = v128.load16_lane(address, f, 6, 96);
  f = v128.load16_lane(address, f, 7, 112);
  const reached = i16x8.add_sat_u(f, cost(nearest(y, values, codes, i16x8.splat(<i16>(<i32>32767 >> gain))), gain));
  return (group << 3) | <usize>ctz<i32>(i16x8.bitmask(i16x8.eq(reached, i16x8.splat(<i16>all))));
}

// Goes back `count` steps from `states` (u16 a lane) at `slice`; inputs end at `inputs`. What is before becomes the states; the low bits of
// the codes go to vectors that end at `lows`.
// @ts-ignore: decorator
@inline
function traceOf(
  slice: usize, count: usize, states: usize, inputs: usize, table: usize, groups: usize, codes: usize, lows: usize,
): void {
  const gain = load<i32>(table, 76);
  const shift: usize = groups == 8 ? 3 : 5;
  for (; count > 0; count--, slice -= (groups << 7) + 16) {
    inputs -= 16;
    lows -= 16;
    for (let lane: usize = 0; lane < 16; lane += 2) {
      const state = <usize>load<u16>(states + lane);
      store<u16>(lows + lane, <u16>(state >> shift));
      store<u16>(states + lane, <u16>back(slice, state, lane, inputs, table, groups, codes, gain));
    }
  }
}

function trace8(slice: usize, count: usize, states: usize, inputs: usize, table: usize, groups: usize, lows: usize): void {
  traceOf(slice, count, states, inputs, table, groups, 8, lows);
}

function trace4(slice: usize, count: usize, states: usize, inputs: usize, table: usize, groups: usize, lows: usize): void {
  traceOf(slice, count, states, inputs, table, groups, 4, lows);
}

function trace2(slice: usize, count: usize, states: usize, inputs: usize, table: usize, groups: usize, lows: usize): void {
  traceOf(slice, count, states, inputs, table, groups, 2, lows);
}

function trace1(slice: usize, count: usize, states: usize, inputs: usize, table: usize, groups: usize, lows: usize): void {
  traceOf(slice, count, states, inputs, table, groups, 1, lows);
}

function trace(slice: usize, count: usize, states: usize, inputs: usize, table: usize, lows: usize): void {
  const groups = <usize>load<u32>(table, 68);
  const codes = load<u32>(table, 72);
  if (codes == 8) trace8(slice, count, states, inputs, table, groups, lows);
  else if (codes == 4) trace4(slice, count, states, inputs, table, groups, lows);
  else if (codes == 2) trace2(slice, count, states, inputs, table, groups, lows);
  else trace1(slice, count, states, inputs, table, groups, lows);
}

// Low bits, vectors of two rows, to the codes of the rows: by the label of each step they are the nearest ones.
function writeCodes(lows: usize, inputs: usize, steps: usize, table: usize, codes0: usize, codes1: usize): void {
  const third = v128.and(v128.load(table, 48), i16x8.splat(0xff));
  let first = v128.load(lows + ((2 * steps - 1) % steps << 4));
  let second = v128.load(lows + ((4 * steps - 2) % steps << 4));
  let last = v128.load(lows + ((6 * steps - 3) % steps << 4));
  for (const end = lows + (steps << 4); lows < end; lows += 16, inputs += 16, codes0 += 8, codes1 += 8) {
    const low = v128.load(lows);
    const labels = v128.xor(v128.xor(first, second), v128.and(last, third));
    const codes = nearestCodes(lessLabels(v128.load(inputs), labels, table), low, table);
    v128.store64_lane(codes0, codes, 0);
    v128.store64_lane(codes1, codes, 1);
    last = second;
    second = first;
    first = low;
  }
}

/**
 * Codes (u16) of two rows of `steps` · 4 weights at `z0` and `z1`, which may be the same, with zeros behind their columns. `table` as by
 * labelTable; `scratch` holds 1280 + 32 · steps + (16 · states + 16) · (max(steps, 64) + 1) bytes.
 */
export function labelPaths(
  z0: usize, z1: usize, steps: usize, table: usize, codes0: usize, codes1: usize, scratch: usize,
): void {
  if (steps == 0) return;
  const groups = <usize>load<u32>(table, 68);
  const costs = scratch;
  const seams = costs + 1024;
  const ends = seams + 16;
  const inputs = scratch + 1280;
  const lows = inputs + (steps << 4);
  const slices = lows + (steps << 4);
  for (let i: usize = 0; i < steps << 4; i += 16) {
    v128.store(inputs + i, i16x8.narrow_i32x4_s(inputOf(z0 + i, table), inputOf(z1 + i, table)));
  }
  v128.store(seams, i16x8.splat(0));
  if (steps >= 3) {
    const half = min(steps, WARM_UP);
    beginFree(slices, groups);
    const middle = run(slices, inputs + ((steps - half) << 4), half, 0, table, costs);
    const end = run(middle, inputs, half, half, table, costs);
    cheapest(end, groups, seams);
    trace(end, half, seams, inputs + (half << 4), table, lows + (half << 4));
  }
  beginAt(slices, groups, seams);
  v128.store(ends, v128.load(seams));
  const end = run(slices, inputs, steps, 0, table, costs);
  trace(end, steps, ends, inputs + (steps << 4), table, lows + (steps << 4));
  writeCodes(lows, inputs, steps, table, codes0, codes1);
}
