// The cheapest path of one sequence with error feedback. At step k a path whose errors so far are e costs D_k (y − v)² more, where
//   y = t_k + Σ_j e_j U_jk  is its own target: every state has its survivor's. Its last errors are its own (survivors.ts), older ones those of
// the cheapest path (path.ts). Errors are those against t: e_k = t_k − v.
//
// Costs are integers; D of 64 is what a plain search has. Without feedback, and all D 64, paths are those of the plain search of viterbi.ts.

import { blockOf, choiceBytes, OWN, ownOf, unitLog } from './edges';
import { BLOCK, cheapestOf, feedPath, follow, largestOf, writePath } from './path';
import { EARLY, isSeamChosen, seamAnew, seamOf, WARM_UP, writeHead } from './seam';
import { beginSteps, setStep, STEP_BYTES, takeStep } from './steps';
import { beginSurvivors, feedNext, PRODUCT_BITS, survive, SURVIVOR_BYTES } from './survivors';

// Workspace: that of steps, that of survivors, then a row of choices for each step, u8 by state; of the first steps, and of the last one, a row of
// what survivors feed back to it, i16 by place. Of each step the target of all survivors, what errors are counted against, and the path's error,
// i16; of every four steps the path's state, u8; and of each the state in the end.
const ROWS: usize = STEP_BYTES + SURVIVOR_BYTES;

// @ts-ignore: decorator
@inline
function rowsOf(steps: usize): usize {
  return max(steps, 2 * WARM_UP);
}

/** Bytes of workspace of a sequence of `steps`. */
export function refineScratchBytes(steps: usize, table: usize): usize {
  return ROWS + rowsOf(steps) * (choiceBytes(table) + 8) + (EARLY + 1) * choiceBytes(table) * 2 + 96;
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

/**
 * The best codes of a sequence of `steps`: to `codes`, u16, `stride` elements apart; what they stand for to `values`, f32, of unit RMS.
 * `z`: the rotated weights, of unit RMS. `fed`: what errors elsewhere feed back, in the weights' units; it is changed. `own`: what errors
 * are counted against, of unit RMS. `inverses` and `sigmas`: 1/σ and σ of each step. `ds`: D, 64 being the middle, i32. U in i16:
 * `recent` of each step of the n errors that survivors carry, that of step j at j mod n; `products` of each block of four steps where those
 * of the errors before stand (path.ts). `first`: as by prepareSeam. Vectors may be read up to a step that 4 divides. `table` as by refineTable.
 */
export function refineSequence(
  steps: usize, z: usize, fed: usize, own: usize, inverses: usize, sigmas: usize, ds: usize,
  products: usize, recent: usize, first: usize, table: usize,
  codes: usize, stride: usize, values: usize, work: usize,
): void {
  const bytes = choiceBytes(table);
  const choices = work + ROWS;
  const feds = choices + rowsOf(steps) * bytes;
  const aims = feds + (EARLY + 1) * bytes * 2;
  const owns = aims + ((steps + 7) & ~7) * 2;
  const errors = owns + ((steps + 7) & ~7) * 2; // one block of 16 may be read behind
  const path = errors + ((steps + 23) & ~7) * 2;
  const states = path + ((steps + 7) & ~7); // of the path in the end, u8
  const largest = largestOf(sigmas, steps);
  for (let k: usize = 0; k < steps; k += 4) {
    aimFour(z + (k << 2), fed + (k << 2), inverses + (k << 2), table, aims + (k << 1));
    placeFour(v128.load(own + (k << 2)), table, owns + (k << 1));
  }
  const seam = seamOf(aims, ds, steps, table, work, choices);
  const survivors = work + STEP_BYTES;
  beginSteps(work, table, seam);
  beginSurvivors(survivors);
  memory.fill(feds, 0, bytes << 1);
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
    takeStep(work, table, feds + min(k, EARLY) * bytes * 2, row);
    if (next == steps) break;
    survive(survivors, table, k, owns + (k << 1), sigmas + at, row);
    feedNext(survivors, table, next, recent + next * (OWN << 1), sigmas, inverses, feds + min(next, EARLY) * bytes * 2);
  }
  // Over paths that were followed, and their errors: they are known no longer.
  const integers = errors;
  let end = <usize>seam;
  const isChosen = isSeamChosen(steps, first, table);
  if (isChosen) {
    writePath(cheapestOf(work, table), steps, table, choices, bytes, false, states, integers, codes, stride, values);
    end = seamAnew(seam, first, ds, aims, feds, states, integers, codes, stride, table, work);
  }
  writePath(end, steps, table, choices, bytes, isChosen, states, integers, codes, stride, values);
  if (end != <usize>seam) writeHead(end, table, codes, stride, values);
}
