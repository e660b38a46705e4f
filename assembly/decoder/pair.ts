// One activation times pairs of bands (band.ts). Two bands share what is loaded of it. The tables that a trellis has no use for are not
// looked up: T1 and T2 of a grid of 16 values (p1n16, a trellis without memory), T2 of t4, T1 of t2. Without both a loop is so short that it
// takes twice as many steps at a time.
//
// A kind, (bits, tables in use), has a loop here and one in panel.ts, that decodes. `runPair` chooses it. Where new ones go:
//   1. band.ts      how its codes stand in a pair of bands
//   2. indices.ts   how a vector of u, 0 … 127, comes of them
//   3. panel.ts     `decodePair`: enough to run
//   4. `runPair`    a loop of its own, for one activation

import { FUSED, PAIRS, STEP, addAlone, beginSteps, endSteps, isPairs } from './dots';
import { BY_LABELS, BY_LABELS_OF_THREE, first2, high, integers, last3, low, third2, valuesOf } from './indices';
import { ALONE, LABELS, MASK, ONES, T0, T1, T2, THIRD } from './table';

// @ts-ignore: decorator
@inline
function run4(
  at: usize, before: usize, table: usize, lags: u32, form: u32, x: usize, end: usize, to: usize,
): void {
  const mask = v128.load8_splat(table, MASK);
  const ones = v128.load16_splat(table, ONES);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const aLast = v128.load(before, 96);
  let a5 = high(v128.load(before, 64), mask);
  let a6 = low(aLast, mask);
  let a7 = high(aLast, mask);
  const bLast = v128.load(before, 112);
  let b5 = high(v128.load(before, 80), mask);
  let b6 = low(bLast, mask);
  let b7 = high(bLast, mask);
  let aSum = i32x4.splat(0);
  let bSum = aSum;
  for (; x < end; x += 4 * STEP, at += 64) {
    const x0 = v128.load32_splat(x);
    const y0 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load32_splat(x, 4);
    const aV0 = v128.load(at);
    const aN0 = low(aV0, mask);
    const aU0 = integers(aN0, a7, a6, a5, t0, t1, t2, lags);
    let a0 = beginSteps(aSum, aU0, x0, y0, ones, form);
    const bV0 = v128.load(at, 16);
    const bN0 = low(bV0, mask);
    const bU0 = integers(bN0, b7, b6, b5, t0, t1, t2, lags);
    let b0 = beginSteps(bSum, bU0, x0, y0, ones, form);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const y1 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load32_splat(x, 1 * STEP + 4);
    const aN1 = high(aV0, mask);
    const aU1 = integers(aN1, aN0, a7, a6, t0, t1, t2, lags);
    a0 = addAlone(a0, aU1, x1, y1, ones, form);
    const bN1 = high(bV0, mask);
    const bU1 = integers(bN1, bN0, b7, b6, t0, t1, t2, lags);
    b0 = addAlone(b0, bU1, x1, y1, ones, form);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const y2 = ASC_FEATURE_RELAXED_SIMD ? x2 : v128.load32_splat(x, 2 * STEP + 4);
    const aV1 = v128.load(at, 32);
    const aN2 = low(aV1, mask);
    const aU2 = integers(aN2, aN1, aN0, a7, t0, t1, t2, lags);
    a0 = addAlone(a0, aU2, x2, y2, ones, form);
    const bV1 = v128.load(at, 48);
    const bN2 = low(bV1, mask);
    const bU2 = integers(bN2, bN1, bN0, b7, t0, t1, t2, lags);
    b0 = addAlone(b0, bU2, x2, y2, ones, form);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const y3 = ASC_FEATURE_RELAXED_SIMD ? x3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(aV1, mask);
    const aU3 = integers(aN3, aN2, aN1, aN0, t0, t1, t2, lags);
    a0 = addAlone(a0, aU3, x3, y3, ones, form);
    aSum = endSteps(aSum, a0, form);
    const bN3 = high(bV1, mask);
    const bU3 = integers(bN3, bN2, bN1, bN0, t0, t1, t2, lags);
    b0 = addAlone(b0, bU3, x3, y3, ones, form);
    bSum = endSteps(bSum, b0, form);
    a5 = aN1;
    a6 = aN2;
    a7 = aN3;
    b5 = bN1;
    b6 = bN2;
    b7 = bN3;
  }
  v128.store(to, aSum);
  v128.store(to, bSum, 16);
}

// @ts-ignore: decorator
@inline
function run3(
  at: usize, before: usize, table: usize, lags: u32, form: u32, x: usize, end: usize, to: usize,
): void {
  const mask = v128.load8_splat(table, MASK);
  const ones = v128.load16_splat(table, ONES);
  const third = v128.load8_splat(table, THIRD);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const aLast = last3(v128.load(before), v128.load(before, 32), v128.load(before, 64), third);
  let a5 = high(v128.load(before, 64), mask);
  let a6 = low(aLast, mask);
  let a7 = high(aLast, mask);
  const bLast = last3(v128.load(before, 16), v128.load(before, 48), v128.load(before, 80), third);
  let b5 = high(v128.load(before, 80), mask);
  let b6 = low(bLast, mask);
  let b7 = high(bLast, mask);
  let aSum = i32x4.splat(0);
  let bSum = aSum;
  for (; x < end; x += 8 * STEP, at += 96) {
    const x0 = v128.load32_splat(x);
    const y0 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load32_splat(x, 4);
    const aV0 = v128.load(at);
    const aN0 = low(aV0, mask);
    const aU0 = integers(aN0, a7, a6, a5, t0, t1, t2, lags);
    let a0 = beginSteps(aSum, aU0, x0, y0, ones, form);
    const bV0 = v128.load(at, 16);
    const bN0 = low(bV0, mask);
    const bU0 = integers(bN0, b7, b6, b5, t0, t1, t2, lags);
    let b0 = beginSteps(bSum, bU0, x0, y0, ones, form);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const y1 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load32_splat(x, 1 * STEP + 4);
    const aN1 = high(aV0, mask);
    const aU1 = integers(aN1, aN0, a7, a6, t0, t1, t2, lags);
    a0 = addAlone(a0, aU1, x1, y1, ones, form);
    const bN1 = high(bV0, mask);
    const bU1 = integers(bN1, bN0, b7, b6, t0, t1, t2, lags);
    b0 = addAlone(b0, bU1, x1, y1, ones, form);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const y2 = ASC_FEATURE_RELAXED_SIMD ? x2 : v128.load32_splat(x, 2 * STEP + 4);
    const aV1 = v128.load(at, 32);
    const aN2 = low(aV1, mask);
    const aU2 = integers(aN2, aN1, aN0, a7, t0, t1, t2, lags);
    a0 = addAlone(a0, aU2, x2, y2, ones, form);
    const bV1 = v128.load(at, 48);
    const bN2 = low(bV1, mask);
    const bU2 = integers(bN2, bN1, bN0, b7, t0, t1, t2, lags);
    b0 = addAlone(b0, bU2, x2, y2, ones, form);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const y3 = ASC_FEATURE_RELAXED_SIMD ? x3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(aV1, mask);
    const aU3 = integers(aN3, aN2, aN1, aN0, t0, t1, t2, lags);
    a0 = addAlone(a0, aU3, x3, y3, ones, form);
    aSum = endSteps(aSum, a0, form);
    const bN3 = high(bV1, mask);
    const bU3 = integers(bN3, bN2, bN1, bN0, t0, t1, t2, lags);
    b0 = addAlone(b0, bU3, x3, y3, ones, form);
    bSum = endSteps(bSum, b0, form);
    const x4 = v128.load32_splat(x, 4 * STEP);
    const y4 = ASC_FEATURE_RELAXED_SIMD ? x4 : v128.load32_splat(x, 4 * STEP + 4);
    const aV2 = v128.load(at, 64);
    const aN4 = low(aV2, mask);
    const aU4 = integers(aN4, aN3, aN2, aN1, t0, t1, t2, lags);
    let a1 = beginSteps(aSum, aU4, x4, y4, ones, form);
    const bV2 = v128.load(at, 80);
    const bN4 = low(bV2, mask);
    const bU4 = integers(bN4, bN3, bN2, bN1, t0, t1, t2, lags);
    let b1 = beginSteps(bSum, bU4, x4, y4, ones, form);
    const x5 = v128.load32_splat(x, 5 * STEP);
    const y5 = ASC_FEATURE_RELAXED_SIMD ? x5 : v128.load32_splat(x, 5 * STEP + 4);
    const aN5 = high(aV2, mask);
    const aU5 = integers(aN5, aN4, aN3, aN2, t0, t1, t2, lags);
    a1 = addAlone(a1, aU5, x5, y5, ones, form);
    const bN5 = high(bV2, mask);
    const bU5 = integers(bN5, bN4, bN3, bN2, t0, t1, t2, lags);
    b1 = addAlone(b1, bU5, x5, y5, ones, form);
    const x6 = v128.load32_splat(x, 6 * STEP);
    const y6 = ASC_FEATURE_RELAXED_SIMD ? x6 : v128.load32_splat(x, 6 * STEP + 4);
    const aL = last3(aV0, aV1, aV2, third);
    const aN6 = low(aL, mask);
    const aU6 = integers(aN6, aN5, aN4, aN3, t0, t1, t2, lags);
    a1 = addAlone(a1, aU6, x6, y6, ones, form);
    const bL = last3(bV0, bV1, bV2, third);
    const bN6 = low(bL, mask);
    const bU6 = integers(bN6, bN5, bN4, bN3, t0, t1, t2, lags);
    b1 = addAlone(b1, bU6, x6, y6, ones, form);
    const x7 = v128.load32_splat(x, 7 * STEP);
    const y7 = ASC_FEATURE_RELAXED_SIMD ? x7 : v128.load32_splat(x, 7 * STEP + 4);
    const aN7 = high(aL, mask);
    const aU7 = integers(aN7, aN6, aN5, aN4, t0, t1, t2, lags);
    a1 = addAlone(a1, aU7, x7, y7, ones, form);
    aSum = endSteps(aSum, a1, form);
    const bN7 = high(bL, mask);
    const bU7 = integers(bN7, bN6, bN5, bN4, t0, t1, t2, lags);
    b1 = addAlone(b1, bU7, x7, y7, ones, form);
    bSum = endSteps(bSum, b1, form);
    a5 = aN5;
    a6 = aN6;
    a7 = aN7;
    b5 = bN5;
    b6 = bN6;
    b7 = bN7;
  }
  v128.store(to, aSum);
  v128.store(to, bSum, 16);
}

// @ts-ignore: decorator
@inline
function run2(
  at: usize, before: usize, table: usize, lags: u32, form: u32, x: usize, end: usize, to: usize,
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
  for (; x < end; x += 4 * STEP, at += 32) {
    const x0 = v128.load32_splat(x);
    const y0 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load32_splat(x, 4);
    const aV = v128.load(at);
    const aN1 = low(aV, mask);
    const aN0 = first2(a7, aN1, mask);
    const aU0 = integers(aN0, a7, a6, a6, t0, t1, t2, lags);
    let a0 = beginSteps(aSum, aU0, x0, y0, ones, form);
    const bV = v128.load(at, 16);
    const bN1 = low(bV, mask);
    const bN0 = first2(b7, bN1, mask);
    const bU0 = integers(bN0, b7, b6, b6, t0, t1, t2, lags);
    let b0 = beginSteps(bSum, bU0, x0, y0, ones, form);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const y1 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load32_splat(x, 1 * STEP + 4);
    const aU1 = integers(aN1, aN0, a7, a7, t0, t1, t2, lags);
    a0 = addAlone(a0, aU1, x1, y1, ones, form);
    const bU1 = integers(bN1, bN0, b7, b7, t0, t1, t2, lags);
    b0 = addAlone(b0, bU1, x1, y1, ones, form);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const y2 = ASC_FEATURE_RELAXED_SIMD ? x2 : v128.load32_splat(x, 2 * STEP + 4);
    const aN2 = third2(aV, mask);
    const aU2 = integers(aN2, aN1, aN0, aN0, t0, t1, t2, lags);
    a0 = addAlone(a0, aU2, x2, y2, ones, form);
    const bN2 = third2(bV, mask);
    const bU2 = integers(bN2, bN1, bN0, bN0, t0, t1, t2, lags);
    b0 = addAlone(b0, bU2, x2, y2, ones, form);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const y3 = ASC_FEATURE_RELAXED_SIMD ? x3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(aV, mask);
    const aU3 = integers(aN3, aN2, aN1, aN1, t0, t1, t2, lags);
    a0 = addAlone(a0, aU3, x3, y3, ones, form);
    aSum = endSteps(aSum, a0, form);
    const bN3 = high(bV, mask);
    const bU3 = integers(bN3, bN2, bN1, bN1, t0, t1, t2, lags);
    b0 = addAlone(b0, bU3, x3, y3, ones, form);
    bSum = endSteps(bSum, b0, form);
    a6 = aN2;
    a7 = aN3;
    b6 = bN2;
    b7 = bN3;
  }
  v128.store(to, aSum);
  v128.store(to, bSum, 16);
}

// Four steps of a band: codes are values of their own, as of a grid of 16.
// @ts-ignore: decorator
@inline
function addFour(
  sum: v128, at: usize, x0: v128, y0: v128, x1: v128, y1: v128, x2: v128, y2: v128, x3: v128, y3: v128, t0: v128, mask: v128,
  ones: v128, form: u32,
): v128 {
  const v = v128.load(at);
  const w = v128.load(at, 32);
  let steps = beginSteps(sum, valuesOf(low(v, mask), t0), x0, y0, ones, form);
  steps = addAlone(steps, valuesOf(high(v, mask), t0), x1, y1, ones, form);
  steps = addAlone(steps, valuesOf(low(w, mask), t0), x2, y2, ones, form);
  return endSteps(sum, addAlone(steps, valuesOf(high(w, mask), t0), x3, y3, ones, form), form);
}

// Eight steps at a time: a loop of four is small enough for V8 to unroll, and what it makes of that waits longer for memory.
// @ts-ignore: decorator
@inline
function runValues(at: usize, table: usize, form: u32, x: usize, end: usize, to: usize): void {
  const mask = v128.load8_splat(table, MASK);
  const ones = v128.load16_splat(table, ONES);
  const t0 = v128.load(table, T0);
  let aSum = i32x4.splat(0);
  let bSum = aSum;
  for (; x + 4 * STEP < end; x += 8 * STEP, at += 128) {
    const x0 = v128.load32_splat(x);
    const y0 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load32_splat(x, 4);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const y1 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load32_splat(x, 1 * STEP + 4);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const y2 = ASC_FEATURE_RELAXED_SIMD ? x2 : v128.load32_splat(x, 2 * STEP + 4);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const y3 = ASC_FEATURE_RELAXED_SIMD ? x3 : v128.load32_splat(x, 3 * STEP + 4);
    aSum = addFour(aSum, at, x0, y0, x1, y1, x2, y2, x3, y3, t0, mask, ones, form);
    bSum = addFour(bSum, at + 16, x0, y0, x1, y1, x2, y2, x3, y3, t0, mask, ones, form);
    const x4 = v128.load32_splat(x, 4 * STEP);
    const y4 = ASC_FEATURE_RELAXED_SIMD ? x4 : v128.load32_splat(x, 4 * STEP + 4);
    const x5 = v128.load32_splat(x, 5 * STEP);
    const y5 = ASC_FEATURE_RELAXED_SIMD ? x5 : v128.load32_splat(x, 5 * STEP + 4);
    const x6 = v128.load32_splat(x, 6 * STEP);
    const y6 = ASC_FEATURE_RELAXED_SIMD ? x6 : v128.load32_splat(x, 6 * STEP + 4);
    const x7 = v128.load32_splat(x, 7 * STEP);
    const y7 = ASC_FEATURE_RELAXED_SIMD ? x7 : v128.load32_splat(x, 7 * STEP + 4);
    aSum = addFour(aSum, at + 64, x4, y4, x5, y5, x6, y6, x7, y7, t0, mask, ones, form);
    bSum = addFour(bSum, at + 80, x4, y4, x5, y5, x6, y6, x7, y7, t0, mask, ones, form);
  }
  if (x < end) {
    const x0 = v128.load32_splat(x);
    const y0 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load32_splat(x, 4);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const y1 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load32_splat(x, 1 * STEP + 4);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const y2 = ASC_FEATURE_RELAXED_SIMD ? x2 : v128.load32_splat(x, 2 * STEP + 4);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const y3 = ASC_FEATURE_RELAXED_SIMD ? x3 : v128.load32_splat(x, 3 * STEP + 4);
    aSum = addFour(aSum, at, x0, y0, x1, y1, x2, y2, x3, y3, t0, mask, ones, form);
    bSum = addFour(bSum, at + 16, x0, y0, x1, y1, x2, y2, x3, y3, t0, mask, ones, form);
  }
  v128.store(to, aSum);
  v128.store(to, bSum, 16);
}

// Kinds by the tables in use, each a loop of its own.
// @ts-ignore: decorator
@inline
function run(at: usize, before: usize, table: usize, bits: u32, form: u32, x: usize, end: usize, to: usize): void {
  const labels = load<u8>(table, LABELS);
  if (labels > 0) {
    // Of two, T2 is zeros.
    if (bits == 3) run3(at, before, table, BY_LABELS_OF_THREE, form, x, end, to);
    else if (labels == 3) run4(at, before, table, BY_LABELS_OF_THREE, form, x, end, to);
    else run4(at, before, table, BY_LABELS, form, x, end, to);
  } else if (bits == 4) {
    if (v128.any_true(v128.load(table, T2))) run4(at, before, table, 3, form, x, end, to);
    else if (v128.any_true(v128.load(table, T1))) run4(at, before, table, 1, form, x, end, to);
    else runValues(at, table, form, x, end, to);
  } else if (bits == 3) {
    run3(at, before, table, 3, form, x, end, to);
  } else if (v128.any_true(v128.load(table, T1))) {
    run2(at, before, table, 3, form, x, end, to);
  } else {
    run2(at, before, table, 2, form, x, end, to);
  }
}

// A function for each form: registers are allotted by function.
function runFused(at: usize, before: usize, table: usize, bits: u32, x: usize, end: usize, to: usize): void {
  run(at, before, table, bits, FUSED, x, end, to);
}

function runPairs(at: usize, before: usize, table: usize, bits: u32, x: usize, end: usize, to: usize): void {
  run(at, before, table, bits, PAIRS, x, end, to);
}

/**
 * The steps from `at` on times an activation from `x` to `end`; `before` are the eight steps before. Σ u · x of eight rows, i32, to
 * `to`.
 */
export function runPair(at: usize, before: usize, table: usize, bits: u32, x: usize, end: usize, to: usize): void {
  if (isPairs(load<u8>(table, ALONE))) runPairs(at, before, table, bits, x, end, to);
  else runFused(at, before, table, bits, x, end, to);
}
