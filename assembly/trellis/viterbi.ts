// The best codes of a row: of each of its four sequences the cheapest path that starts and ends in the seam's state (FORMAT.md). The seam's
// state is where the cheapest path over the last steps, then the first ones, crosses it. Viterbi's algorithm (IEEE Trans. IT 13, 1967):
//
//   1. seam      steps   … last 32 │ first 32 …    start in any state; the path that ends cheapest is traced back to │
//   2. forward   steps   0, 1, …, last             start in the seam's state; of all paths into a state the cheapest stays (steps.ts)
//   3. back      steps   last, …, 1, 0             from the seam's state by the choices that slices hold: windows, then codes
//
// A path that ends where it starts need not be the best of all such: trying every start would cost as many searches as there are states.
// Time is steps · states · codes, memory a slice a step. A row is four sequences, so each vector has one number of each.

import { costs, EXCLUDED, oldCost, run, sliceBytes } from './steps';

// Steps on either side of the seam.
const WARM_UP: usize = 32;

// Inputs as run takes them: y = z / step + zero, in 1/128 and within −64 … 192. A lane has two:
//   bits 31 … 16  input of the next step, whose old part a state pays in advance      bits 15 … 0  input of this step
// The first step follows the last one.
function writeInputs(z: usize, steps: usize, table: usize, inputs: usize): void {
  const factor = v128.load32_splat(table, 8);
  const offset = v128.load32_splat(table, 12);
  const end = inputs + (steps << 4);
  let first = i32x4.splat(0);
  let old = first;
  for (let at = inputs; at < end; at += 16, z += 16) {
    const y = f32x4.add(f32x4.mul(v128.load(z), factor), offset);
    const held = f32x4.pmax(f32x4.pmin(y, f32x4.splat(24575)), f32x4.splat(-8192));
    const input = i32x4.trunc_sat_f32x4_s(f32x4.nearest(held));
    if (at == inputs) first = input;
    else v128.store(at - 16, pair(old, input));
    old = input;
  }
  v128.store(end - 16, pair(old, first));
}

// @ts-ignore: decorator
@inline
function pair(now: v128, next: v128): v128 {
  return v128.or(v128.and(now, i32x4.splat(0xffff)), i32x4.shl(next, 16));
}

// The slice before the first step: all states cost nothing, but for `excluded` of those that are not `only`.
function begin(slice: usize, inputs: usize, table: usize, only: v128, excluded: i32): void {
  const y = v128.load(inputs);
  const states = <usize>load<u32>(table, 76);
  for (let state: usize = 0; state < states; state++) {
    const extra = v128.andnot(i32x4.splat(excluded), i32x4.eq(only, i32x4.splat(<i32>state)));
    v128.store(slice + (state << 4), i32x4.add(oldCost(table, state, y), extra));
  }
}

// The cheapest state of each lane, before a step with the input in the low half of `y`. States are tried with the last code lowest.
function cheapest(slice: usize, y: v128, table: usize): v128 {
  const m = load<u32>(table, 64);
  const states = load<u32>(table, 76);
  let least = i32x4.splat(i32.MAX_VALUE);
  let best = i32x4.splat(0);
  for (let number: u32 = 0; number < states; number++) {
    let state: u32 = 0;
    for (let rest: u32 = 1, digits = number; rest < states; rest <<= m, digits >>= m) {
      state = (state << m) | (digits & ((1 << m) - 1));
    }
    const here = costs(v128.load(slice + (<usize>state << 4)));
    const cost = i32x4.sub(here, oldCost(table, state, y));
    best = v128.bitselect(i32x4.splat(state), best, i32x4.lt_s(cost, least));
    least = i32x4.min_s(least, cost);
  }
  return best;
}

// Goes back `count` steps from the states `ends` at `slice` and writes windows (u16), the last ones before `windows`; returns the states
// there. A window is a state and below it four bits of choice: shifted by one code it has the state before.
function trace(slice: usize, count: usize, ends: v128, table: usize, windows: usize): v128 {
  const bytes = sliceBytes(table);
  const m = load<u32>(table, 64);
  const mask = <usize>(load<u32>(table, 76) - 1) << 4;
  let a = <usize>i32x4.extract_lane(ends, 0) << 4;
  let b = <usize>i32x4.extract_lane(ends, 1) << 4;
  let c = <usize>i32x4.extract_lane(ends, 2) << 4;
  let d = <usize>i32x4.extract_lane(ends, 3) << 4;
  for (; count > 0; count--, slice -= bytes) {
    windows -= 8;
    a |= load<u32>(slice + a) & 15;
    b |= load<u32>(slice + b, 4) & 15;
    c |= load<u32>(slice + c, 8) & 15;
    d |= load<u32>(slice + d, 12) & 15;
    store<u16>(windows, <u16>a);
    store<u16>(windows, <u16>b, 2);
    store<u16>(windows, <u16>c, 4);
    store<u16>(windows, <u16>d, 6);
    a = (a << m) & mask;
    b = (b << m) & mask;
    c = (c << m) & mask;
    d = (d << m) & mask;
  }
  const first = i32x4.replace_lane(i32x4.splat(<u32>a), 1, <u32>b);
  return i32x4.shr_u(i32x4.replace_lane(i32x4.replace_lane(first, 2, <u32>c), 3, <u32>d), 4);
}

// Windows to codes, in place: the low bits are those of the state, the high ones those of the choice.
function codesOf(windows: usize, count: usize, table: usize): void {
  const m = load<u32>(table, 64);
  const groups = load<u32>(table, 68);
  const highs = load<u32>(table, 72);
  const high = i16x8.sub(i16x8.shl(i16x8.splat(1), highs), i16x8.splat(1));
  for (const end = windows + (count << 1); windows < end; windows += 16) {
    const window = v128.load(windows);
    const upper = v128.and(i16x8.shr_u(window, 4 - m - highs), high);
    v128.store(windows, v128.or(i16x8.shr_u(window, 4 + groups), i16x8.shl(upper, m)));
  }
}

/**
 * Codes (u16) of a row of `steps` · 4 weights at `z`, with zeros behind `cols`. `table` as by trellisTable; `inputs` holds 4 · steps f32,
 * `slices` 16 · states · (max(steps, 64) + 1) bytes.
 */
export function viterbi(z: usize, steps: usize, table: usize, codes: usize, inputs: usize, slices: usize): void {
  if (steps == 0) return;
  writeInputs(z, steps, table, inputs);
  const half = min(steps, WARM_UP);
  let seam = i32x4.splat(0);
  if (steps >= 3) {
    const last = inputs + ((steps - half) << 4);
    begin(slices, last, table, seam, 0);
    const end = run(run(slices, last, half, table), inputs, half, table);
    const next = i32x4.shr_u(v128.load(inputs + ((half - 1) << 4)), 16);
    seam = trace(end, half, cheapest(end, next, table), table, codes + (half << 3));
  }
  begin(slices, inputs, table, seam, EXCLUDED);
  trace(run(slices, inputs, steps, table), steps, seam, table, codes + (steps << 3));
  codesOf(codes, steps << 2, table);
}
