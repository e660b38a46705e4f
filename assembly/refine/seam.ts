// Where a sequence begins and ends: a state that its last codes make, and that the values of its first steps depend on.
//
//   seamOf     before the search: by the last steps and the first ones, without feedback
//   seamAnew   after it: what its errors feed back to the last steps is known now. Each state has its survivor, and its cost. The first
//              codes stay; from another state they have other values there, other errors by δ. With the residuals r of a path, and H = U D Uᵀ,
//              that adds 2 Σ_h δ_h (Σ_k D_k r_k U_hk) + Σ_hi δ_h δ_i H_hi, where k is of the first steps alone

import { choiceBytes, FEW_STATES, groupsLog, membersLog, newsAt, oldsAt, placeOf, statesOf, turnedOf } from './edges';
import { integerOf, stateBefore, valueOf } from './path';
import { beginSteps, costAt, EXCLUDED, setStep, takeAlike } from './steps';

/** Steps on either side of the seam. */
export const WARM_UP: usize = 32;
/** Steps whose values a state has a part in. */
const HEAD: usize = 3;
/** Steps whose residuals say what it costs to change these: those of all steps gain little more (DECISIONS.md). */
export const EARLY: usize = 8;

// The cheapest state, of several the one whose number is lowest, its last digit first.
function cheapestState(work: usize, table: usize): usize {
  const digit = load<u32>(table, 16);
  const states = <u32>statesOf(table);
  let best: usize = 0;
  let least = i32.MAX_VALUE;
  for (let number: u32 = 0; number < states; number++) {
    let state: u32 = 0;
    for (let rest: u32 = 1, digits = number; rest < states; rest <<= digit, digits >>= digit) {
      state = (state << digit) | (digits & ((1 << digit) - 1));
    }
    const cost = costAt(work, placeOf(table, state));
    if (cost < least) {
      least = cost;
      best = state;
    }
  }
  return best;
}

/** The seam's state before the search. `t` are targets of `steps`, i16, `ds` D; `work` that of steps, and `rows` a row of choices of each. */
export function seamOf(t: usize, ds: usize, steps: usize, table: usize, work: usize, rows: usize): i32 {
  if (steps < 3) return 0;
  const half = min(steps, WARM_UP);
  const bytes = choiceBytes(table);
  beginSteps(work, table, -1);
  for (let i: usize = 0; i < 2 * half; i++) {
    const k = i < half ? steps - half + i : i - half;
    setStep(work, load<i32>(ds + (k << 2)), t + (k << 1));
    takeAlike(work, table, rows + i * bytes);
  }
  let state = cheapestState(work, table);
  for (let i: usize = 2 * half; i-- > half; ) state = stateBefore(table, state, load<u8>(rows + i * bytes + state));
  return <i32>state;
}

/**
 * What seamAnew reads, to `to`: where U of the first step to those after it stands, f32, the bytes from a row to the next, the steps that
 * errors of the first are weighed with, u32 each; then H of the first steps, f64, by `ds`.
 */
export function prepareSeam(u: usize, stride: usize, reach: usize, ds: usize, to: usize): void {
  store<u32>(to, <u32>u);
  store<u32>(to, <u32>stride, 4);
  // Where the first error is fed to no step, all is as seamOf took it.
  let isFed = false;
  for (let k: usize = 1; k < reach; k++) isFed = isFed || load<f32>(u + (k << 2)) != 0;
  store<u32>(to, isFed && reach >= EARLY ? <u32>reach : 0, 8);
  for (let h: usize = 0; h < HEAD; h++) {
    for (let i: usize = 0; i < HEAD; i++) {
      let sum: f64 = 0;
      for (let k: usize = 0; k < reach; k++) {
        sum += <f64>load<i32>(ds + (k << 2)) * <f64>load<f32>(u + h * stride + (k << 2)) * <f64>load<f32>(u + i * stride + (k << 2));
      }
      store<f64>(to + ((h * HEAD + i) << 3), sum, 16);
    }
  }
}

/**
 * The seam's state after the search, which began at `seam`. `first`: as by prepareSeam. `aims`: targets of steps but for what survivors feed
 * back, i16; `feds`: that, a row by place of each EARLY step. Of the cheapest path the state after each step, u8 at `path`, its integer, u8
 * at `integers`, and its codes, u16 at `codes`, `stride` elements apart.
 */
export function seamAnew(
  seam: usize, first: usize, ds: usize, aims: usize, feds: usize, path: usize, integers: usize, codes: usize, stride: usize, table: usize,
  work: usize,
): usize {
  const u = <usize>load<u32>(first);
  const rowBytes = <usize>load<u32>(first, 4);
  const fedBytes = choiceBytes(table) << 1;
  const middle = <i32>load<f32>(table, 36);
  // Slopes of the cost at the first errors of the path.
  let slope0: f64 = 0;
  let slope1: f64 = 0;
  let slope2: f64 = 0;
  let state = seam;
  for (let k: usize = 0; k < EARLY; k++) {
    const fed = <i32>load<i16>(feds + k * fedBytes + (placeOf(table, state) << 1));
    const target = max<i32>(min<i32>(<i32>load<i16>(aims + (k << 1)) + fed, i16.MAX_VALUE), i16.MIN_VALUE);
    const residual = <f64>(load<i32>(ds + (k << 2)) * (target + middle - (<i32>load<u8>(integers + k) << 7)));
    slope0 += residual * <f64>load<f32>(u + (k << 2));
    slope1 += residual * <f64>load<f32>(u + rowBytes + (k << 2));
    slope2 += residual * <f64>load<f32>(u + (rowBytes << 1) + (k << 2));
    state = <usize>load<u8>(path + k);
  }
  // What each state costs, and errors that change by d in 1/128 step. Where a code leads to, and its integers, by groups turned.
  const m = membersLog(table);
  const code0 = <usize>load<u16>(codes);
  const code1 = <usize>load<u16>(codes + (stride << 1));
  const code2 = <usize>load<u16>(codes + (stride << 2));
  const low = (<usize>1 << m) - 1;
  const after0 = (code0 & low) << groupsLog(table);
  const after1 = (code1 & low) << groupsLog(table);
  const news0 = newsAt(table, code0 >> m) + (code0 & low);
  const news1 = newsAt(table, code1 >> m) + (code1 & low);
  const news2 = newsAt(table, code2 >> m) + (code2 & low);
  const integer0 = <i32>load<u8>(integers);
  const integer1 = <i32>load<u8>(integers, 1);
  const integer2 = <i32>load<u8>(integers, 2);
  const h00 = load<f64>(first, 16);
  const h01 = load<f64>(first, 24);
  const h02 = load<f64>(first, 32);
  const h11 = load<f64>(first, 48);
  const h12 = load<f64>(first, 56);
  const h22 = load<f64>(first, 80);
  const olds = oldsAt(table);
  let best = seam;
  let least: f64 = Infinity;
  for (let begin: usize = 0, states = statesOf(table); begin < states; begin++) {
    const cost = costAt(work, placeOf(table, begin));
    if (cost >= EXCLUDED) continue;
    const turned0 = turnedOf(table, begin >> m);
    const turned1 = turnedOf(table, (after0 | turned0) >> m);
    const turned2 = turnedOf(table, (after1 | turned1) >> m);
    const d0 = <f64>((integer0 - <i32>load<u8>(news0 + (turned0 << m)) - <i32>load<u8>(olds + begin)) << 7);
    const d1 = <f64>((integer1 - <i32>load<u8>(news1 + (turned1 << m)) - <i32>load<u8>(olds + (after0 | turned0))) << 7);
    const d2 = <f64>((integer2 - <i32>load<u8>(news2 + (turned2 << m)) - <i32>load<u8>(olds + (after1 | turned1))) << 7);
    const all =
      256 * <f64>cost +
      (2 * (d0 * slope0 + d1 * slope1 + d2 * slope2) +
        (d0 * (d0 * h00 + 2 * (d1 * h01 + d2 * h02)) + d1 * (d1 * h11 + 2 * d2 * h12) + d2 * d2 * h22));
    if (all < least) {
      least = all;
      best = begin;
    }
  }
  return best;
}

/** Whether the seam is chosen anew: where states are few, it gains little. */
export function isSeamChosen(steps: usize, first: usize, table: usize): bool {
  return steps >= WARM_UP && load<u32>(first, 8) > 0 && <u32>statesOf(table) > FEW_STATES;
}

/** Values of the first steps from `state`, f32 of unit RMS, by their `codes`, u16, `stride` elements apart. */
export function writeHead(state: usize, table: usize, codes: usize, stride: usize, values: usize): void {
  const m = membersLog(table);
  for (let k: usize = 0; k < HEAD; k++) {
    const code = <usize>load<u16>(codes + k * stride * 2);
    const after = ((code & ((<usize>1 << m) - 1)) << groupsLog(table)) | turnedOf(table, state >> m);
    store<f32>(values + (k << 2), valueOf(table, integerOf(table, after, state, <u32>(code >> m))));
    state = after;
  }
}
