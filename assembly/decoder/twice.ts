// Two activations times pairs of bands, as pair.ts has one, for relaxed SIMD: its products take so little that a panel (panel.ts) costs
// a fourth more. Baseline SIMD, and codes of 3 bits, gain nothing. Names: a and b are the bands of a pair, x and z the activations; N are
// codes of a step, U what they stand for. Of the codes before a step the last two stay in registers (6 and 7), for T1 and T2.

import { FUSED, PAIRS, STEP, addAlone, beginSteps, endSteps } from './dots';
import { first2, high, integers, low, third2 } from './indices';
import { FORM, MASK, ONES, T0, T1, T2 } from './table';

// @ts-ignore: decorator
@inline
function both4(
  at: usize, before: usize, table: usize, lags: u32, form: u32, x: usize, apart: usize, end: usize, to: usize,
): void {
  const mask = v128.load8_splat(table, MASK);
  const ones = v128.load16_splat(table, ONES);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const aLast = v128.load(before, 96);
  let a6 = low(aLast, mask);
  let a7 = high(aLast, mask);
  const bLast = v128.load(before, 112);
  let b6 = low(bLast, mask);
  let b7 = high(bLast, mask);
  let aSum = i32x4.splat(0);
  let bSum = aSum;
  let aOther = aSum;
  let bOther = aSum;
  let z = x + apart;
  for (; x < end; x += 4 * STEP, z += 4 * STEP, at += 64) {
    const z0 = v128.load32_splat(z);
    const x0 = v128.load32_splat(x);
    const aV0 = v128.load(at);
    const aN0 = low(aV0, mask);
    const aU0 = integers(aN0, a7, a6, a6, t0, t1, t2, lags);
    let aX = beginSteps(aSum, aU0, x0, x0, ones, form);
    let aZ = beginSteps(aOther, aU0, z0, z0, ones, form);
    const bV0 = v128.load(at, 16);
    const bN0 = low(bV0, mask);
    const bU0 = integers(bN0, b7, b6, b6, t0, t1, t2, lags);
    let bX = beginSteps(bSum, bU0, x0, x0, ones, form);
    let bZ = beginSteps(bOther, bU0, z0, z0, ones, form);
    const z1 = v128.load32_splat(z, 1 * STEP);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const aN1 = high(aV0, mask);
    const aU1 = integers(aN1, aN0, a7, a7, t0, t1, t2, lags);
    aX = addAlone(aX, aU1, x1, x1, ones, form);
    aZ = addAlone(aZ, aU1, z1, z1, ones, form);
    const bN1 = high(bV0, mask);
    const bU1 = integers(bN1, bN0, b7, b7, t0, t1, t2, lags);
    bX = addAlone(bX, bU1, x1, x1, ones, form);
    bZ = addAlone(bZ, bU1, z1, z1, ones, form);
    const z2 = v128.load32_splat(z, 2 * STEP);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const aV1 = v128.load(at, 32);
    const aN2 = low(aV1, mask);
    const aU2 = integers(aN2, aN1, aN0, aN0, t0, t1, t2, lags);
    aX = addAlone(aX, aU2, x2, x2, ones, form);
    aZ = addAlone(aZ, aU2, z2, z2, ones, form);
    const bV1 = v128.load(at, 48);
    const bN2 = low(bV1, mask);
    const bU2 = integers(bN2, bN1, bN0, bN0, t0, t1, t2, lags);
    bX = addAlone(bX, bU2, x2, x2, ones, form);
    bZ = addAlone(bZ, bU2, z2, z2, ones, form);
    const z3 = v128.load32_splat(z, 3 * STEP);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const aN3 = high(aV1, mask);
    const aU3 = integers(aN3, aN2, aN1, aN1, t0, t1, t2, lags);
    aX = addAlone(aX, aU3, x3, x3, ones, form);
    aSum = endSteps(aSum, aX, form);
    aZ = addAlone(aZ, aU3, z3, z3, ones, form);
    aOther = endSteps(aOther, aZ, form);
    const bN3 = high(bV1, mask);
    const bU3 = integers(bN3, bN2, bN1, bN1, t0, t1, t2, lags);
    bX = addAlone(bX, bU3, x3, x3, ones, form);
    bSum = endSteps(bSum, bX, form);
    bZ = addAlone(bZ, bU3, z3, z3, ones, form);
    bOther = endSteps(bOther, bZ, form);
    a6 = aN2;
    a7 = aN3;
    b6 = bN2;
    b7 = bN3;
  }
  v128.store(to, aSum);
  v128.store(to, bSum, 16);
  v128.store(to, aOther, 32);
  v128.store(to, bOther, 48);
}

// @ts-ignore: decorator
@inline
function both2(
  at: usize, before: usize, table: usize, lags: u32, form: u32, x: usize, apart: usize, end: usize, to: usize,
): void {
  const mask = v128.load8_splat(table, MASK);
  const ones = v128.load16_splat(table, ONES);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const aLast = v128.load(before, 32);
  let a6 = third2(aLast, mask);
  let a7 = high(aLast, mask);
  const bLast = v128.load(before, 48);
  let b6 = third2(bLast, mask);
  let b7 = high(bLast, mask);
  let aSum = i32x4.splat(0);
  let bSum = aSum;
  let aOther = aSum;
  let bOther = aSum;
  let z = x + apart;
  for (; x < end; x += 4 * STEP, z += 4 * STEP, at += 32) {
    const z0 = v128.load32_splat(z);
    const x0 = v128.load32_splat(x);
    const aV = v128.load(at);
    const aN1 = low(aV, mask);
    const aN0 = first2(a7, aN1, mask);
    const aU0 = integers(aN0, a7, a6, a6, t0, t1, t2, lags);
    let aX = beginSteps(aSum, aU0, x0, x0, ones, form);
    let aZ = beginSteps(aOther, aU0, z0, z0, ones, form);
    const bV = v128.load(at, 16);
    const bN1 = low(bV, mask);
    const bN0 = first2(b7, bN1, mask);
    const bU0 = integers(bN0, b7, b6, b6, t0, t1, t2, lags);
    let bX = beginSteps(bSum, bU0, x0, x0, ones, form);
    let bZ = beginSteps(bOther, bU0, z0, z0, ones, form);
    const z1 = v128.load32_splat(z, 1 * STEP);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const aU1 = integers(aN1, aN0, a7, a7, t0, t1, t2, lags);
    aX = addAlone(aX, aU1, x1, x1, ones, form);
    aZ = addAlone(aZ, aU1, z1, z1, ones, form);
    const bU1 = integers(bN1, bN0, b7, b7, t0, t1, t2, lags);
    bX = addAlone(bX, bU1, x1, x1, ones, form);
    bZ = addAlone(bZ, bU1, z1, z1, ones, form);
    const z2 = v128.load32_splat(z, 2 * STEP);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const aN2 = third2(aV, mask);
    const aU2 = integers(aN2, aN1, aN0, aN0, t0, t1, t2, lags);
    aX = addAlone(aX, aU2, x2, x2, ones, form);
    aZ = addAlone(aZ, aU2, z2, z2, ones, form);
    const bN2 = third2(bV, mask);
    const bU2 = integers(bN2, bN1, bN0, bN0, t0, t1, t2, lags);
    bX = addAlone(bX, bU2, x2, x2, ones, form);
    bZ = addAlone(bZ, bU2, z2, z2, ones, form);
    const z3 = v128.load32_splat(z, 3 * STEP);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const aN3 = high(aV, mask);
    const aU3 = integers(aN3, aN2, aN1, aN1, t0, t1, t2, lags);
    aX = addAlone(aX, aU3, x3, x3, ones, form);
    aSum = endSteps(aSum, aX, form);
    aZ = addAlone(aZ, aU3, z3, z3, ones, form);
    aOther = endSteps(aOther, aZ, form);
    const bN3 = high(bV, mask);
    const bU3 = integers(bN3, bN2, bN1, bN1, t0, t1, t2, lags);
    bX = addAlone(bX, bU3, x3, x3, ones, form);
    bSum = endSteps(bSum, bX, form);
    bZ = addAlone(bZ, bU3, z3, z3, ones, form);
    bOther = endSteps(bOther, bZ, form);
    a6 = aN2;
    a7 = aN3;
    b6 = bN2;
    b7 = bN3;
  }
  v128.store(to, aSum);
  v128.store(to, bSum, 16);
  v128.store(to, aOther, 32);
  v128.store(to, bOther, 48);
}

// Kinds and forms as pair.ts has them.
// @ts-ignore: decorator
@inline
function both(
  at: usize, before: usize, table: usize, bits: u32, form: u32, x: usize, apart: usize, end: usize, to: usize,
): void {
  if (bits == 4) {
    if (v128.any_true(v128.load(table, T2))) both4(at, before, table, 3, form, x, apart, end, to);
    else if (v128.any_true(v128.load(table, T1))) both4(at, before, table, 1, form, x, apart, end, to);
    else both4(at, before, table, 0, form, x, apart, end, to);
  } else if (v128.any_true(v128.load(table, T1))) {
    both2(at, before, table, 3, form, x, apart, end, to);
  } else {
    both2(at, before, table, 2, form, x, apart, end, to);
  }
}

function bothFused(
  at: usize, before: usize, table: usize, bits: u32, x: usize, apart: usize, end: usize, to: usize,
): void {
  both(at, before, table, bits, FUSED, x, apart, end, to);
}

function bothPairs(
  at: usize, before: usize, table: usize, bits: u32, x: usize, apart: usize, end: usize, to: usize,
): void {
  both(at, before, table, bits, PAIRS, x, apart, end, to);
}

/** Whether bothPair has codes of so many bits. */
export function hasBoth(bits: u32): bool {
  return ASC_FEATURE_RELAXED_SIMD && bits != 3;
}

/**
 * As runPair, for two activations, the other one `apart` bytes on: Σ u · x of eight rows, i32, of the one to `to`, then of the other.
 * For bits that hasBoth tells.
 */
export function bothPair(
  at: usize, before: usize, table: usize, bits: u32, x: usize, apart: usize, end: usize, to: usize,
): void {
  if (load<u8>(table, FORM) == PAIRS) bothPairs(at, before, table, bits, x, apart, end, to);
  else bothFused(at, before, table, bits, x, apart, end, to);
}
