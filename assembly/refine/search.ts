// The cheapest path of one sequence with error feedback. At step k a path whose errors so far are e costs D_k (y − v)² more, where
//   y = t_k + Σ_j e_j U_jk  is its own target: every state has its survivor's (survivors.ts). Its errors are those against t: e_k = t_k − v.
//
// Costs are integers; D of 64 is what a plain search has. Without feedback, and all D 64, paths are those of the plain search of viterbi.ts.

import { firstsAt, groupsLog, highsLog, membersLog, newsAt, oldsAt, placeOf, statesOf } from './edges';
import { bestEdges, costsAt, EXCLUDED, prepare, prepareAlike, setStep, settle, STEP_BYTES } from './steps';
import { beginSurvivors, BLOCK, commit, endBlock, recordsAt, survive, SURVIVOR_BYTES } from './survivors';

/** Steps on either side of the seam. */
const WARM_UP: usize = 32;
/** Bytes of a block's coefficients: of 36 errors, each for four steps. */
const COEFFICIENTS: usize = 36 << 4;

// Workspace: that of steps, that of survivors, then a row of choices for each step, u8 by state, one of targets by place, and targets alike.
const ROWS: usize = STEP_BYTES + SURVIVOR_BYTES;

// @ts-ignore: decorator
@inline
function rowsOf(steps: usize): usize {
  return max(steps, 2 * WARM_UP);
}

/** Bytes of a row of choices. */
// @ts-ignore: decorator
@inline
function rowBytes(table: usize): usize {
  return max<usize>(16, statesOf(table));
}

/** Bytes of workspace of a sequence of `steps`. */
export function refineScratchBytes(steps: usize, table: usize): usize {
  return ROWS + rowsOf(steps) * (5 * rowBytes(table) + 4) + 16;
}

function start(work: usize, table: usize, only: i32): void {
  for (let state: usize = 0, end = statesOf(table); state < end; state++) {
    store<i32>(costsAt(work) + (placeOf(table, state) << 2), only < 0 || state == <usize>only ? 0 : EXCLUDED);
  }
}

// The target of a step but for what a survivor feeds back, in units of 1/128 step from the middle; operands are where they stand.
// @ts-ignore: decorator
@inline
function targetOf(z: usize, fed: usize, inverse: usize, table: usize): f32 {
  const y = load<f32>(z) + load<f32>(fed) * load<f32>(inverse);
  return y * load<f32>(table, 24) + load<f32>(table, 28) - load<f32>(table, 36);
}

// The state before `state`, by its choice in a row.
// @ts-ignore: decorator
@inline
function stateBefore(table: usize, state: usize, choice: u32): usize {
  return <usize>load<u8>(firstsAt(table) + state) + <usize>(choice >> highsLog(table));
}

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
    const cost = load<i32>(costsAt(work) + (placeOf(table, state) << 2));
    if (cost < least) {
      least = cost;
      best = state;
    }
  }
  return best;
}

// The seam's state, by the last steps and the first ones, without feedback.
function seamOf(t: usize, ds: usize, steps: usize, table: usize, work: usize): i32 {
  if (steps < 3) return 0;
  const half = min(steps, WARM_UP);
  const bytes = rowBytes(table);
  const rows = work + ROWS;
  start(work, table, -1);
  for (let i: usize = 0; i < 2 * half; i++) {
    const k = i < half ? steps - half + i : i - half;
    setStep(work, load<i32>(ds + (k << 2)), 0, load<f32>(t + (k << 2)));
    prepareAlike(work, table);
    bestEdges(work, table);
    settle(work, table, rows + i * bytes);
  }
  let state = cheapestState(work, table);
  for (let i: usize = 2 * half; i-- > half; ) state = stateBefore(table, state, load<u8>(rows + i * bytes + state));
  return <i32>state;
}

/**
 * The best codes of a sequence of `steps`: to `codes`, u16, `stride` elements apart; what they stand for to `values`, and what each missed
 * of its own target to `missed`, f32, of unit RMS.
 * `z`: the rotated weights, of unit RMS. `fed`: what errors elsewhere feed back, in the weights' units; it is changed. `own`: what errors
 * are counted against, of unit RMS. `inverses` and `sigmas`: 1/σ and σ of each step. `ds`: D, 64 being the middle, i32. `coefficients`: for
 * each block of four steps U of 36 errors, from 32 steps before it on, each for its four steps; 1 for its own. `rows`, `ends`: of each step
 * where its row of U stands, as if from step 0 on, and the step behind its part. `table` as by refineTable.
 */
export function refineSequence(
  steps: usize, z: usize, fed: usize, own: usize, inverses: usize, sigmas: usize, ds: usize,
  coefficients: usize, rows: usize, ends: usize, table: usize,
  codes: usize, stride: usize, values: usize, missed: usize, work: usize,
): void {
  const bytes = rowBytes(table);
  const choices = work + ROWS;
  const targets = choices + rowsOf(steps) * bytes;
  const alike = targets + rowsOf(steps) * bytes * 4;
  for (let k: usize = 0; k < steps << 2; k += 4) {
    store<f32>(alike + k, targetOf(z + k, fed + k, inverses + k, table));
  }
  const seam = seamOf(alike, ds, steps, table, work);
  const survivors = work + STEP_BYTES;
  start(work, table, seam);
  beginSurvivors(survivors, table);
  for (let k: usize = 0; k < steps; k++) {
    const lane = k & (BLOCK - 1);
    const at = k << 2;
    const factor = load<f32>(inverses + at) * load<f32>(table, 24);
    setStep(work, load<i32>(ds + at), factor, targetOf(z + at, fed + at, inverses + at, table));
    prepare(work, table, recordsAt(survivors, lane) + (lane << 2), targets + k * bytes * 4);
    bestEdges(work, table);
    settle(work, table, choices + k * bytes);
    const block = coefficients + (k / BLOCK) * COEFFICIENTS;
    survive(survivors, table, k, own + at, sigmas + at, block + ((32 + lane) << 4), choices + k * bytes);
    if (lane == BLOCK - 1 && k + 1 < steps) {
      endBlock(survivors, table, k / BLOCK, block + COEFFICIENTS);
      commit(survivors, work, table, k / BLOCK, rows, ends, fed);
    }
  }
  const step = load<f32>(table, 32);
  const zero = load<f32>(table, 40);
  const mask = (1 << highsLog(table)) - 1;
  let state = <usize>seam;
  for (let k = steps; k-- > 0; ) {
    const choice = <u32>load<u8>(choices + k * bytes + state);
    const high = choice & mask;
    store<u16>(codes + k * stride * 2, <u16>(<u32>(state >> groupsLog(table)) | (high << membersLog(table))));
    const before = stateBefore(table, state, choice);
    const u = <f32>((<u32>load<u8>(newsAt(table, high) + state) + <u32>load<u8>(oldsAt(table) + before)));
    store<f32>(values + (k << 2), step * (u - zero));
    const target = load<f32>(targets + ((k * bytes + placeOf(table, before)) << 2));
    store<f32>(missed + (k << 2), step / 128 * (target - (128 * u - load<f32>(table, 36))));
    state = before;
  }
}
