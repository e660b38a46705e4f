// One activation times pairs of bands (band.ts). Two bands share what is loaded of it. The tables that a trellis has no use for are not
// looked up: T1 and T2 of a grid of 16 values (p1n16, a trellis without memory), T2 of t4, T1 of t2.
//
// A kind, (bits, tables in use), has a loop here and one in panel.ts, that decodes. `runPair` chooses it. Where new ones go:
//   1. band.ts      how its codes stand in a pair of bands
//   2. indices.ts   how a vector of u, 0 … 127, comes of them
//   3. panel.ts     `decodePair`: enough to run
//   4. `runPair`    a loop of its own, for one activation

import { FUSED, PAIRS, STEP, addStep, oddOf } from './dots';
import { first2, high, integers, last3, low, third2 } from './indices';
import { FORM, MASK, ONES, T0, T1, T2, THIRD } from './table';

// Whether a band has two sums: FUSED waits for the one before longer than it takes.
// @ts-ignore: decorator
@inline
function isTwo(form: u32): bool {
  return ASC_FEATURE_RELAXED_SIMD && form == FUSED;
}

// @ts-ignore: decorator
@inline
function run4(at: usize, before: usize, table: usize, lags: u32, form: u32, x: usize, end: usize, to: usize): void {
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
  for (; x < end; x += 4 * STEP, at += 64) {
    const ax0 = v128.load32_splat(x);
    const ay0 = ASC_FEATURE_RELAXED_SIMD ? ax0 : v128.load32_splat(x, 4);
    const aV0 = v128.load(at);
    const aN0 = low(aV0, mask);
    const aU0 = integers(aN0, a7, a6, t0, t1, t2, lags);
    aSum = addStep(aSum, aU0, oddOf(aU0), ax0, ay0, ones, form);
    const ax1 = v128.load32_splat(x, 1 * STEP);
    const ay1 = ASC_FEATURE_RELAXED_SIMD ? ax1 : v128.load32_splat(x, 1 * STEP + 4);
    const aN1 = high(aV0, mask);
    const aU1 = integers(aN1, aN0, a7, t0, t1, t2, lags);
    if (isTwo(form)) aOther = addStep(aOther, aU1, oddOf(aU1), ax1, ay1, ones, form);
    else aSum = addStep(aSum, aU1, oddOf(aU1), ax1, ay1, ones, form);
    const ax2 = v128.load32_splat(x, 2 * STEP);
    const ay2 = ASC_FEATURE_RELAXED_SIMD ? ax2 : v128.load32_splat(x, 2 * STEP + 4);
    const aV1 = v128.load(at, 32);
    const aN2 = low(aV1, mask);
    const aU2 = integers(aN2, aN1, aN0, t0, t1, t2, lags);
    aSum = addStep(aSum, aU2, oddOf(aU2), ax2, ay2, ones, form);
    const ax3 = v128.load32_splat(x, 3 * STEP);
    const ay3 = ASC_FEATURE_RELAXED_SIMD ? ax3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(aV1, mask);
    const aU3 = integers(aN3, aN2, aN1, t0, t1, t2, lags);
    if (isTwo(form)) aOther = addStep(aOther, aU3, oddOf(aU3), ax3, ay3, ones, form);
    else aSum = addStep(aSum, aU3, oddOf(aU3), ax3, ay3, ones, form);
    a6 = aN2;
    a7 = aN3;
    const bx0 = v128.load32_splat(x);
    const by0 = ASC_FEATURE_RELAXED_SIMD ? bx0 : v128.load32_splat(x, 4);
    const bV0 = v128.load(at, 16);
    const bN0 = low(bV0, mask);
    const bU0 = integers(bN0, b7, b6, t0, t1, t2, lags);
    bSum = addStep(bSum, bU0, oddOf(bU0), bx0, by0, ones, form);
    const bx1 = v128.load32_splat(x, 1 * STEP);
    const by1 = ASC_FEATURE_RELAXED_SIMD ? bx1 : v128.load32_splat(x, 1 * STEP + 4);
    const bN1 = high(bV0, mask);
    const bU1 = integers(bN1, bN0, b7, t0, t1, t2, lags);
    if (isTwo(form)) bOther = addStep(bOther, bU1, oddOf(bU1), bx1, by1, ones, form);
    else bSum = addStep(bSum, bU1, oddOf(bU1), bx1, by1, ones, form);
    const bx2 = v128.load32_splat(x, 2 * STEP);
    const by2 = ASC_FEATURE_RELAXED_SIMD ? bx2 : v128.load32_splat(x, 2 * STEP + 4);
    const bV1 = v128.load(at, 48);
    const bN2 = low(bV1, mask);
    const bU2 = integers(bN2, bN1, bN0, t0, t1, t2, lags);
    bSum = addStep(bSum, bU2, oddOf(bU2), bx2, by2, ones, form);
    const bx3 = v128.load32_splat(x, 3 * STEP);
    const by3 = ASC_FEATURE_RELAXED_SIMD ? bx3 : v128.load32_splat(x, 3 * STEP + 4);
    const bN3 = high(bV1, mask);
    const bU3 = integers(bN3, bN2, bN1, t0, t1, t2, lags);
    if (isTwo(form)) bOther = addStep(bOther, bU3, oddOf(bU3), bx3, by3, ones, form);
    else bSum = addStep(bSum, bU3, oddOf(bU3), bx3, by3, ones, form);
    b6 = bN2;
    b7 = bN3;
  }
  v128.store(to, isTwo(form) ? i32x4.add(aSum, aOther) : aSum);
  v128.store(to, isTwo(form) ? i32x4.add(bSum, bOther) : bSum, 16);
}

// @ts-ignore: decorator
@inline
function run3(at: usize, before: usize, table: usize, lags: u32, form: u32, x: usize, end: usize, to: usize): void {
  const mask = v128.load8_splat(table, MASK);
  const ones = v128.load16_splat(table, ONES);
  const third = v128.load8_splat(table, THIRD);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const aLast = last3(v128.load(before), v128.load(before, 32), v128.load(before, 64), third);
  let a6 = low(aLast, mask);
  let a7 = high(aLast, mask);
  const bLast = last3(v128.load(before, 16), v128.load(before, 48), v128.load(before, 80), third);
  let b6 = low(bLast, mask);
  let b7 = high(bLast, mask);
  let aSum = i32x4.splat(0);
  let bSum = aSum;
  let aOther = aSum;
  let bOther = aSum;
  for (; x < end; x += 8 * STEP, at += 96) {
    const ax0 = v128.load32_splat(x);
    const ay0 = ASC_FEATURE_RELAXED_SIMD ? ax0 : v128.load32_splat(x, 4);
    const aV0 = v128.load(at);
    const aN0 = low(aV0, mask);
    const aU0 = integers(aN0, a7, a6, t0, t1, t2, lags);
    aSum = addStep(aSum, aU0, oddOf(aU0), ax0, ay0, ones, form);
    const ax1 = v128.load32_splat(x, 1 * STEP);
    const ay1 = ASC_FEATURE_RELAXED_SIMD ? ax1 : v128.load32_splat(x, 1 * STEP + 4);
    const aN1 = high(aV0, mask);
    const aU1 = integers(aN1, aN0, a7, t0, t1, t2, lags);
    if (isTwo(form)) aOther = addStep(aOther, aU1, oddOf(aU1), ax1, ay1, ones, form);
    else aSum = addStep(aSum, aU1, oddOf(aU1), ax1, ay1, ones, form);
    const ax2 = v128.load32_splat(x, 2 * STEP);
    const ay2 = ASC_FEATURE_RELAXED_SIMD ? ax2 : v128.load32_splat(x, 2 * STEP + 4);
    const aV1 = v128.load(at, 32);
    const aN2 = low(aV1, mask);
    const aU2 = integers(aN2, aN1, aN0, t0, t1, t2, lags);
    aSum = addStep(aSum, aU2, oddOf(aU2), ax2, ay2, ones, form);
    const ax3 = v128.load32_splat(x, 3 * STEP);
    const ay3 = ASC_FEATURE_RELAXED_SIMD ? ax3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(aV1, mask);
    const aU3 = integers(aN3, aN2, aN1, t0, t1, t2, lags);
    if (isTwo(form)) aOther = addStep(aOther, aU3, oddOf(aU3), ax3, ay3, ones, form);
    else aSum = addStep(aSum, aU3, oddOf(aU3), ax3, ay3, ones, form);
    const ax4 = v128.load32_splat(x, 4 * STEP);
    const ay4 = ASC_FEATURE_RELAXED_SIMD ? ax4 : v128.load32_splat(x, 4 * STEP + 4);
    const aV2 = v128.load(at, 64);
    const aN4 = low(aV2, mask);
    const aU4 = integers(aN4, aN3, aN2, t0, t1, t2, lags);
    aSum = addStep(aSum, aU4, oddOf(aU4), ax4, ay4, ones, form);
    const ax5 = v128.load32_splat(x, 5 * STEP);
    const ay5 = ASC_FEATURE_RELAXED_SIMD ? ax5 : v128.load32_splat(x, 5 * STEP + 4);
    const aN5 = high(aV2, mask);
    const aU5 = integers(aN5, aN4, aN3, t0, t1, t2, lags);
    if (isTwo(form)) aOther = addStep(aOther, aU5, oddOf(aU5), ax5, ay5, ones, form);
    else aSum = addStep(aSum, aU5, oddOf(aU5), ax5, ay5, ones, form);
    const ax6 = v128.load32_splat(x, 6 * STEP);
    const ay6 = ASC_FEATURE_RELAXED_SIMD ? ax6 : v128.load32_splat(x, 6 * STEP + 4);
    const aL = last3(aV0, aV1, aV2, third);
    const aN6 = low(aL, mask);
    const aU6 = integers(aN6, aN5, aN4, t0, t1, t2, lags);
    aSum = addStep(aSum, aU6, oddOf(aU6), ax6, ay6, ones, form);
    const ax7 = v128.load32_splat(x, 7 * STEP);
    const ay7 = ASC_FEATURE_RELAXED_SIMD ? ax7 : v128.load32_splat(x, 7 * STEP + 4);
    const aN7 = high(aL, mask);
    const aU7 = integers(aN7, aN6, aN5, t0, t1, t2, lags);
    if (isTwo(form)) aOther = addStep(aOther, aU7, oddOf(aU7), ax7, ay7, ones, form);
    else aSum = addStep(aSum, aU7, oddOf(aU7), ax7, ay7, ones, form);
    a6 = aN6;
    a7 = aN7;
    const bx0 = v128.load32_splat(x);
    const by0 = ASC_FEATURE_RELAXED_SIMD ? bx0 : v128.load32_splat(x, 4);
    const bV0 = v128.load(at, 16);
    const bN0 = low(bV0, mask);
    const bU0 = integers(bN0, b7, b6, t0, t1, t2, lags);
    bSum = addStep(bSum, bU0, oddOf(bU0), bx0, by0, ones, form);
    const bx1 = v128.load32_splat(x, 1 * STEP);
    const by1 = ASC_FEATURE_RELAXED_SIMD ? bx1 : v128.load32_splat(x, 1 * STEP + 4);
    const bN1 = high(bV0, mask);
    const bU1 = integers(bN1, bN0, b7, t0, t1, t2, lags);
    if (isTwo(form)) bOther = addStep(bOther, bU1, oddOf(bU1), bx1, by1, ones, form);
    else bSum = addStep(bSum, bU1, oddOf(bU1), bx1, by1, ones, form);
    const bx2 = v128.load32_splat(x, 2 * STEP);
    const by2 = ASC_FEATURE_RELAXED_SIMD ? bx2 : v128.load32_splat(x, 2 * STEP + 4);
    const bV1 = v128.load(at, 48);
    const bN2 = low(bV1, mask);
    const bU2 = integers(bN2, bN1, bN0, t0, t1, t2, lags);
    bSum = addStep(bSum, bU2, oddOf(bU2), bx2, by2, ones, form);
    const bx3 = v128.load32_splat(x, 3 * STEP);
    const by3 = ASC_FEATURE_RELAXED_SIMD ? bx3 : v128.load32_splat(x, 3 * STEP + 4);
    const bN3 = high(bV1, mask);
    const bU3 = integers(bN3, bN2, bN1, t0, t1, t2, lags);
    if (isTwo(form)) bOther = addStep(bOther, bU3, oddOf(bU3), bx3, by3, ones, form);
    else bSum = addStep(bSum, bU3, oddOf(bU3), bx3, by3, ones, form);
    const bx4 = v128.load32_splat(x, 4 * STEP);
    const by4 = ASC_FEATURE_RELAXED_SIMD ? bx4 : v128.load32_splat(x, 4 * STEP + 4);
    const bV2 = v128.load(at, 80);
    const bN4 = low(bV2, mask);
    const bU4 = integers(bN4, bN3, bN2, t0, t1, t2, lags);
    bSum = addStep(bSum, bU4, oddOf(bU4), bx4, by4, ones, form);
    const bx5 = v128.load32_splat(x, 5 * STEP);
    const by5 = ASC_FEATURE_RELAXED_SIMD ? bx5 : v128.load32_splat(x, 5 * STEP + 4);
    const bN5 = high(bV2, mask);
    const bU5 = integers(bN5, bN4, bN3, t0, t1, t2, lags);
    if (isTwo(form)) bOther = addStep(bOther, bU5, oddOf(bU5), bx5, by5, ones, form);
    else bSum = addStep(bSum, bU5, oddOf(bU5), bx5, by5, ones, form);
    const bx6 = v128.load32_splat(x, 6 * STEP);
    const by6 = ASC_FEATURE_RELAXED_SIMD ? bx6 : v128.load32_splat(x, 6 * STEP + 4);
    const bL = last3(bV0, bV1, bV2, third);
    const bN6 = low(bL, mask);
    const bU6 = integers(bN6, bN5, bN4, t0, t1, t2, lags);
    bSum = addStep(bSum, bU6, oddOf(bU6), bx6, by6, ones, form);
    const bx7 = v128.load32_splat(x, 7 * STEP);
    const by7 = ASC_FEATURE_RELAXED_SIMD ? bx7 : v128.load32_splat(x, 7 * STEP + 4);
    const bN7 = high(bL, mask);
    const bU7 = integers(bN7, bN6, bN5, t0, t1, t2, lags);
    if (isTwo(form)) bOther = addStep(bOther, bU7, oddOf(bU7), bx7, by7, ones, form);
    else bSum = addStep(bSum, bU7, oddOf(bU7), bx7, by7, ones, form);
    b6 = bN6;
    b7 = bN7;
  }
  v128.store(to, isTwo(form) ? i32x4.add(aSum, aOther) : aSum);
  v128.store(to, isTwo(form) ? i32x4.add(bSum, bOther) : bSum, 16);
}

// @ts-ignore: decorator
@inline
function run2(at: usize, before: usize, table: usize, lags: u32, form: u32, x: usize, end: usize, to: usize): void {
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
  for (; x < end; x += 4 * STEP, at += 32) {
    const ax0 = v128.load32_splat(x);
    const ay0 = ASC_FEATURE_RELAXED_SIMD ? ax0 : v128.load32_splat(x, 4);
    const aV = v128.load(at);
    const aN1 = low(aV, mask);
    const aN0 = first2(a7, aN1, mask);
    const aU0 = integers(aN0, a7, a6, t0, t1, t2, lags);
    aSum = addStep(aSum, aU0, oddOf(aU0), ax0, ay0, ones, form);
    const ax1 = v128.load32_splat(x, 1 * STEP);
    const ay1 = ASC_FEATURE_RELAXED_SIMD ? ax1 : v128.load32_splat(x, 1 * STEP + 4);
    const aU1 = integers(aN1, aN0, a7, t0, t1, t2, lags);
    if (isTwo(form)) aOther = addStep(aOther, aU1, oddOf(aU1), ax1, ay1, ones, form);
    else aSum = addStep(aSum, aU1, oddOf(aU1), ax1, ay1, ones, form);
    const ax2 = v128.load32_splat(x, 2 * STEP);
    const ay2 = ASC_FEATURE_RELAXED_SIMD ? ax2 : v128.load32_splat(x, 2 * STEP + 4);
    const aN2 = third2(aV, mask);
    const aU2 = integers(aN2, aN1, aN0, t0, t1, t2, lags);
    aSum = addStep(aSum, aU2, oddOf(aU2), ax2, ay2, ones, form);
    const ax3 = v128.load32_splat(x, 3 * STEP);
    const ay3 = ASC_FEATURE_RELAXED_SIMD ? ax3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(aV, mask);
    const aU3 = integers(aN3, aN2, aN1, t0, t1, t2, lags);
    if (isTwo(form)) aOther = addStep(aOther, aU3, oddOf(aU3), ax3, ay3, ones, form);
    else aSum = addStep(aSum, aU3, oddOf(aU3), ax3, ay3, ones, form);
    a6 = aN2;
    a7 = aN3;
    const bx0 = v128.load32_splat(x);
    const by0 = ASC_FEATURE_RELAXED_SIMD ? bx0 : v128.load32_splat(x, 4);
    const bV = v128.load(at, 16);
    const bN1 = low(bV, mask);
    const bN0 = first2(b7, bN1, mask);
    const bU0 = integers(bN0, b7, b6, t0, t1, t2, lags);
    bSum = addStep(bSum, bU0, oddOf(bU0), bx0, by0, ones, form);
    const bx1 = v128.load32_splat(x, 1 * STEP);
    const by1 = ASC_FEATURE_RELAXED_SIMD ? bx1 : v128.load32_splat(x, 1 * STEP + 4);
    const bU1 = integers(bN1, bN0, b7, t0, t1, t2, lags);
    if (isTwo(form)) bOther = addStep(bOther, bU1, oddOf(bU1), bx1, by1, ones, form);
    else bSum = addStep(bSum, bU1, oddOf(bU1), bx1, by1, ones, form);
    const bx2 = v128.load32_splat(x, 2 * STEP);
    const by2 = ASC_FEATURE_RELAXED_SIMD ? bx2 : v128.load32_splat(x, 2 * STEP + 4);
    const bN2 = third2(bV, mask);
    const bU2 = integers(bN2, bN1, bN0, t0, t1, t2, lags);
    bSum = addStep(bSum, bU2, oddOf(bU2), bx2, by2, ones, form);
    const bx3 = v128.load32_splat(x, 3 * STEP);
    const by3 = ASC_FEATURE_RELAXED_SIMD ? bx3 : v128.load32_splat(x, 3 * STEP + 4);
    const bN3 = high(bV, mask);
    const bU3 = integers(bN3, bN2, bN1, t0, t1, t2, lags);
    if (isTwo(form)) bOther = addStep(bOther, bU3, oddOf(bU3), bx3, by3, ones, form);
    else bSum = addStep(bSum, bU3, oddOf(bU3), bx3, by3, ones, form);
    b6 = bN2;
    b7 = bN3;
  }
  v128.store(to, isTwo(form) ? i32x4.add(aSum, aOther) : aSum);
  v128.store(to, isTwo(form) ? i32x4.add(bSum, bOther) : bSum, 16);
}

// Kinds by the tables in use, each a loop of its own.
function runFused(at: usize, before: usize, table: usize, bits: u32, x: usize, end: usize, to: usize): void {
  if (bits == 4) {
    if (v128.any_true(v128.load(table, T2))) run4(at, before, table, 3, FUSED, x, end, to);
    else if (v128.any_true(v128.load(table, T1))) run4(at, before, table, 1, FUSED, x, end, to);
    else run4(at, before, table, 0, FUSED, x, end, to);
  } else if (bits == 3) {
    run3(at, before, table, 3, FUSED, x, end, to);
  } else if (v128.any_true(v128.load(table, T1))) {
    run2(at, before, table, 3, FUSED, x, end, to);
  } else {
    run2(at, before, table, 2, FUSED, x, end, to);
  }
}

function runPairs(at: usize, before: usize, table: usize, bits: u32, x: usize, end: usize, to: usize): void {
  if (bits == 4) {
    if (v128.any_true(v128.load(table, T2))) run4(at, before, table, 3, PAIRS, x, end, to);
    else if (v128.any_true(v128.load(table, T1))) run4(at, before, table, 1, PAIRS, x, end, to);
    else run4(at, before, table, 0, PAIRS, x, end, to);
  } else if (bits == 3) {
    run3(at, before, table, 3, PAIRS, x, end, to);
  } else if (v128.any_true(v128.load(table, T1))) {
    run2(at, before, table, 3, PAIRS, x, end, to);
  } else {
    run2(at, before, table, 2, PAIRS, x, end, to);
  }
}

/**
 * The steps from `at` on times an activation from `x` to `end`; `before` are the eight steps before. Σ u · x of eight rows, i32, to `to`.
 */
export function runPair(at: usize, before: usize, table: usize, bits: u32, x: usize, end: usize, to: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD && load<u32>(table, FORM) == PAIRS) runPairs(at, before, table, bits, x, end, to);
  else runFused(at, before, table, bits, x, end, to);
}
