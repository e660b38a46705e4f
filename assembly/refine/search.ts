// The cheapest path of one sequence with error feedback. At step k a path whose errors so far are e costs D_k (y − v)² more, where
//   y = t_k + Σ_j e_j U_jk  is its own target: every state has its survivor's. Its last errors are its own (survivors.ts), older ones those of
// the cheapest path (path.ts). Errors are those against t: e_k = t_k − v.
//
// Costs are integers; D of 64 is what a plain search has. Without feedback, and all D 64, paths are those of the plain search of viterbi.ts.

import { blockOf, groupsLog, highsLog, membersLog, OWN, ownOf, placeOf, statesOf, unitLog } from './edges';
import { BLOCK, feedPath, follow, integerOf, largestOf, stateBefore } from './path';
import { beginSteps, costAt, setStep, STEP_BYTES, takeAlike, takeStep } from './steps';
import { beginSurvivors, fedAt, feedNext, PRODUCT_BITS, survive, SURVIVOR_BYTES } from './survivors';

/** Steps on either side of the seam. */
const WARM_UP: usize = 32;

// Workspace: that of steps, that of survivors, then a row of choices for each step, u8 by state. Of each step the target of all survivors,
// what errors are counted against, and the path's error, i16; of every four steps the path's state, u8.
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
  return ROWS + rowsOf(steps) * (rowBytes(table) + 7) + 96;
}

/** Errors of each survivor's own. */
export function refineOwn(table: usize): usize {
  return ownOf(table);
}

/** U of a survivor's own errors is in units of 2^-(this). */
export function refineOwnBits(table: usize): i32 {
  return PRODUCT_BITS + unitLog(table);
}

// Four numbers of unit RMS to integers in units of 1/128 step from the middle, i16, the even one of two.
// @ts-ignore: decorator
@inline
function placeFour(y: v128, table: usize, to: usize): void {
  const x = f32x4.add(f32x4.mul(y, v128.load32_splat(table, 24)), v128.load32_splat(table, 28));
  const integers = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.sub(x, v128.load32_splat(table, 36))));
  v128.store64_lane(to, i16x8.narrow_i32x4_s(integers, integers), 0);
}

// The targets of four steps but for what survivors feed back; operands are where they stand.
// @ts-ignore: decorator
@inline
function aimFour(z: usize, fed: usize, inverses: usize, table: usize, to: usize): void {
  placeFour(f32x4.add(v128.load(z), f32x4.mul(v128.load(fed), v128.load(inverses))), table, to);
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
    const cost = costAt(work, placeOf(table, state));
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
 * The best codes of a sequence of `steps`: to `codes`, u16, `stride` elements apart; what they stand for to `values`, f32, of unit RMS.
 * `z`: the rotated weights, of unit RMS. `fed`: what errors elsewhere feed back, in the weights' units; it is changed. `own`: what errors
 * are counted against, of unit RMS. `inverses` and `sigmas`: 1/σ and σ of each step. `ds`: D, 64 being the middle, i32. U in i16:
 * `recent` of each step of the n errors that survivors carry, that of step j at j mod n; `products` of each block of four steps where those
 * of the errors before stand (path.ts). Vectors may be read up to a step that 4 divides. `table` as by refineTable.
 */
export function refineSequence(
  steps: usize, z: usize, fed: usize, own: usize, inverses: usize, sigmas: usize, ds: usize,
  products: usize, recent: usize, table: usize,
  codes: usize, stride: usize, values: usize, work: usize,
): void {
  const bytes = rowBytes(table);
  const choices = work + ROWS;
  const aims = choices + rowsOf(steps) * bytes;
  const owns = aims + ((steps + 7) & ~7) * 2;
  const errors = owns + ((steps + 7) & ~7) * 2; // one block of 16 may be read behind
  const path = errors + ((steps + 23) & ~7) * 2;
  const largest = largestOf(sigmas, steps);
  for (let k: usize = 0; k < steps; k += 4) {
    aimFour(z + (k << 2), fed + (k << 2), inverses + (k << 2), table, aims + (k << 1));
    placeFour(v128.load(own + (k << 2)), table, owns + (k << 1));
  }
  const seam = seamOf(aims, ds, steps, table, work);
  const survivors = work + STEP_BYTES;
  beginSteps(work, table, seam);
  beginSurvivors(survivors);
  for (let k: usize = 0; k < steps; k++) {
    const at = k << 2;
    setStep(work, load<i32>(ds + at), aims + (k << 1));
    const next = k + 1;
    if ((next & (BLOCK - 1)) == 0 && next < steps) {
      if ((next & (blockOf(table) - 1)) == 0) follow(work, table, next, owns, sigmas, largest, choices, bytes, path, errors);
      feedPath(table, next, errors, products + (next / BLOCK << 3), largest, fed);
      const begin = next << 2;
      aimFour(z + begin, fed + begin, inverses + begin, table, aims + (next << 1));
    }
    const row = choices + k * bytes;
    takeStep(work, table, fedAt(survivors), row);
    if (next == steps) break;
    survive(survivors, table, k, owns + (k << 1), sigmas + at, row);
    feedNext(survivors, table, next, recent + next * (OWN << 1), sigmas, inverses);
  }
  const step = load<f32>(table, 32);
  const zero = load<f32>(table, 40);
  const high = (1 << highsLog(table)) - 1;
  let state = <usize>seam;
  for (let k = steps; k-- > 0; ) {
    const choice = <u32>load<u8>(choices + k * bytes + state);
    store<u16>(codes + k * stride * 2, <u16>(<u32>(state >> groupsLog(table)) | ((choice & high) << membersLog(table))));
    const before = stateBefore(table, state, choice);
    const u = <f32>integerOf(table, state, before, choice);
    store<f32>(values + (k << 2), step * (u - zero));
    state = before;
  }
}
