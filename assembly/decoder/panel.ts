// Several activations times a pair of bands (band.ts): its codes become integers once, in a panel that the first-level cache holds,
// and each vector of them serves all. A step is four columns of eight rows, and takes 32 bytes of a panel, a vector u of each band:
//
//   byte      0 … 15                            16 … 31                           32 … 47
//             step 0, band a                    step 0, band b                    step 1, band a …
//   of them   row 0: 4 columns │ row 1 │ row 2 │ row 3        u8, 0 … 127; b has rows 4 to 7
//
// One activation alone is multiplied as codes are decoded (pair.ts), with relaxed SIMD two are (twice.ts). Products are exact sums of
// integers: how many activations go together changes no bit.

import { EIGHTS, FUSED, PAIRS, STEP, addStep, oddOf } from './dots';
import { BY_LABELS_OF_THREE, first2, high, integers, last3, low, third2 } from './indices';
import { addSums, firstScales, lastScales } from './eight';
import { multiplyEights } from './eights';
import { multiplyPairs } from './pairs';
import { FORM, LABELS, MASK, T0, T1, T2, THIRD } from './table';

/** Bytes of a panel of 4096 columns. */
export const PANEL_BYTES: usize = 4096 * 8;

// @ts-ignore: decorator
@inline
function decode4(at: usize, before: usize, table: usize, lags: u32, panel: usize, end: usize): void {
  const mask = v128.load8_splat(table, MASK);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const aLast = v128.load(before, 96);
  let a6 = low(aLast, mask);
  let a5 = high(v128.load(before, 64), mask);
  let a7 = high(aLast, mask);
  const bLast = v128.load(before, 112);
  let b6 = low(bLast, mask);
  let b5 = high(v128.load(before, 80), mask);
  let b7 = high(bLast, mask);
  for (; panel < end; panel += 128, at += 64) {
    const aV0 = v128.load(at);
    const aV1 = v128.load(at, 32);
    const aN0 = low(aV0, mask);
    v128.store(panel, integers(aN0, a7, a6, a5, t0, t1, t2, lags));
    const aN1 = high(aV0, mask);
    v128.store(panel, integers(aN1, aN0, a7, a6, t0, t1, t2, lags), 32);
    const aN2 = low(aV1, mask);
    v128.store(panel, integers(aN2, aN1, aN0, a7, t0, t1, t2, lags), 64);
    const aN3 = high(aV1, mask);
    v128.store(panel, integers(aN3, aN2, aN1, aN0, t0, t1, t2, lags), 96);
    a5 = aN1;
    a6 = aN2;
    a7 = aN3;
    const bV0 = v128.load(at, 16);
    const bV1 = v128.load(at, 48);
    const bN0 = low(bV0, mask);
    v128.store(panel, integers(bN0, b7, b6, b5, t0, t1, t2, lags), 16);
    const bN1 = high(bV0, mask);
    v128.store(panel, integers(bN1, bN0, b7, b6, t0, t1, t2, lags), 48);
    const bN2 = low(bV1, mask);
    v128.store(panel, integers(bN2, bN1, bN0, b7, t0, t1, t2, lags), 80);
    const bN3 = high(bV1, mask);
    v128.store(panel, integers(bN3, bN2, bN1, bN0, t0, t1, t2, lags), 112);
    b5 = bN1;
    b6 = bN2;
    b7 = bN3;
  }
}

// @ts-ignore: decorator
@inline
function decode3(at: usize, before: usize, table: usize, lags: u32, panel: usize, end: usize): void {
  const mask = v128.load8_splat(table, MASK);
  const third = v128.load8_splat(table, THIRD);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const aLast = last3(v128.load(before), v128.load(before, 32), v128.load(before, 64), third);
  let a6 = low(aLast, mask);
  let a5 = high(v128.load(before, 64), mask);
  let a7 = high(aLast, mask);
  const bLast = last3(v128.load(before, 16), v128.load(before, 48), v128.load(before, 80), third);
  let b6 = low(bLast, mask);
  let b5 = high(v128.load(before, 80), mask);
  let b7 = high(bLast, mask);
  for (; panel < end; panel += 256, at += 96) {
    const aV0 = v128.load(at);
    const aV1 = v128.load(at, 32);
    const aV2 = v128.load(at, 64);
    const aL = last3(aV0, aV1, aV2, third);
    const aN0 = low(aV0, mask);
    v128.store(panel, integers(aN0, a7, a6, a5, t0, t1, t2, lags));
    const aN1 = high(aV0, mask);
    v128.store(panel, integers(aN1, aN0, a7, a6, t0, t1, t2, lags), 32);
    const aN2 = low(aV1, mask);
    v128.store(panel, integers(aN2, aN1, aN0, a7, t0, t1, t2, lags), 64);
    const aN3 = high(aV1, mask);
    v128.store(panel, integers(aN3, aN2, aN1, aN0, t0, t1, t2, lags), 96);
    const aN4 = low(aV2, mask);
    v128.store(panel, integers(aN4, aN3, aN2, aN1, t0, t1, t2, lags), 128);
    const aN5 = high(aV2, mask);
    v128.store(panel, integers(aN5, aN4, aN3, aN2, t0, t1, t2, lags), 160);
    const aN6 = low(aL, mask);
    v128.store(panel, integers(aN6, aN5, aN4, aN3, t0, t1, t2, lags), 192);
    const aN7 = high(aL, mask);
    v128.store(panel, integers(aN7, aN6, aN5, aN4, t0, t1, t2, lags), 224);
    a5 = aN5;
    a6 = aN6;
    a7 = aN7;
    const bV0 = v128.load(at, 16);
    const bV1 = v128.load(at, 48);
    const bV2 = v128.load(at, 80);
    const bL = last3(bV0, bV1, bV2, third);
    const bN0 = low(bV0, mask);
    v128.store(panel, integers(bN0, b7, b6, b5, t0, t1, t2, lags), 16);
    const bN1 = high(bV0, mask);
    v128.store(panel, integers(bN1, bN0, b7, b6, t0, t1, t2, lags), 48);
    const bN2 = low(bV1, mask);
    v128.store(panel, integers(bN2, bN1, bN0, b7, t0, t1, t2, lags), 80);
    const bN3 = high(bV1, mask);
    v128.store(panel, integers(bN3, bN2, bN1, bN0, t0, t1, t2, lags), 112);
    const bN4 = low(bV2, mask);
    v128.store(panel, integers(bN4, bN3, bN2, bN1, t0, t1, t2, lags), 144);
    const bN5 = high(bV2, mask);
    v128.store(panel, integers(bN5, bN4, bN3, bN2, t0, t1, t2, lags), 176);
    const bN6 = low(bL, mask);
    v128.store(panel, integers(bN6, bN5, bN4, bN3, t0, t1, t2, lags), 208);
    const bN7 = high(bL, mask);
    v128.store(panel, integers(bN7, bN6, bN5, bN4, t0, t1, t2, lags), 240);
    b5 = bN5;
    b6 = bN6;
    b7 = bN7;
  }
}

// @ts-ignore: decorator
@inline
function decode2(at: usize, before: usize, table: usize, lags: u32, panel: usize, end: usize): void {
  const mask = v128.load8_splat(table, MASK);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const aLast = v128.load(before, 32);
  let a6 = third2(aLast, mask);
  let a7 = high(aLast, mask);
  const bLast = v128.load(before, 48);
  let b6 = third2(bLast, mask);
  let b7 = high(bLast, mask);
  for (; panel < end; panel += 128, at += 32) {
    const aV0 = v128.load(at);
    const aN1 = low(aV0, mask);
    const aN0 = first2(a7, aN1, mask);
    v128.store(panel, integers(aN0, a7, a6, a6, t0, t1, t2, lags));
    v128.store(panel, integers(aN1, aN0, a7, a7, t0, t1, t2, lags), 32);
    const aN2 = third2(aV0, mask);
    v128.store(panel, integers(aN2, aN1, aN0, aN0, t0, t1, t2, lags), 64);
    const aN3 = high(aV0, mask);
    v128.store(panel, integers(aN3, aN2, aN1, aN1, t0, t1, t2, lags), 96);
    a6 = aN2;
    a7 = aN3;
    const bV0 = v128.load(at, 16);
    const bN1 = low(bV0, mask);
    const bN0 = first2(b7, bN1, mask);
    v128.store(panel, integers(bN0, b7, b6, b6, t0, t1, t2, lags), 16);
    v128.store(panel, integers(bN1, bN0, b7, b7, t0, t1, t2, lags), 48);
    const bN2 = third2(bV0, mask);
    v128.store(panel, integers(bN2, bN1, bN0, bN0, t0, t1, t2, lags), 80);
    const bN3 = high(bV0, mask);
    v128.store(panel, integers(bN3, bN2, bN1, bN1, t0, t1, t2, lags), 112);
    b6 = bN2;
    b7 = bN3;
  }
}

/** Decodes `count` columns of a pair of bands, to the next multiple of 32, from `at` on; `before` are the eight steps before. */
export function decodePair(at: usize, before: usize, table: usize, bits: u32, panel: usize, count: usize): void {
  const end = panel + (((count + 31) & ~31) << 3);
  const labels = load<u8>(table, LABELS);
  if (labels > 0) {
    // Of two, T2 is zeros.
    if (bits == 3) decode3(at, before, table, BY_LABELS_OF_THREE, panel, end);
    else decode4(at, before, table, BY_LABELS_OF_THREE, panel, end);
  } else if (bits == 4) {
    if (v128.any_true(v128.load(table, T2))) decode4(at, before, table, 3, panel, end);
    else if (v128.any_true(v128.load(table, T1))) decode4(at, before, table, 1, panel, end);
    else decode4(at, before, table, 0, panel, end);
  } else if (bits == 3) {
    decode3(at, before, table, 3, panel, end);
  } else if (v128.any_true(v128.load(table, T1))) {
    decode2(at, before, table, 3, panel, end);
  } else {
    decode2(at, before, table, 2, panel, end);
  }
}

// Steps of a round of multiply4. Baseline SIMD gains by two; with relaxed SIMD an engine then moves sums around.
// @ts-ignore: decorator
@inline
const ROUND: usize = ASC_FEATURE_RELAXED_SIMD ? 1 : 2;

// Four activations. The last may be the third again.
function multiply4(
  panel: usize, x: usize, apart: usize, last: usize, bytes: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  const end = x + bytes;
  let x1 = x + apart;
  let x2 = x1 + apart;
  let x3 = x + last;
  for (; x < end; x += ROUND * STEP, x1 += ROUND * STEP, x2 += ROUND * STEP, x3 += ROUND * STEP, panel += ROUND * 32) {
    let a = v128.load(panel);
    let b = v128.load(panel, 16);
    let aOdd = oddOf(a);
    let bOdd = oddOf(b);
    let first = v128.load32_splat(x);
    let second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x, 4);
    a0 = addStep(a0, a, aOdd, first, second, a, FUSED);
    b0 = addStep(b0, b, bOdd, first, second, b, FUSED);
    first = v128.load32_splat(x1);
    second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x1, 4);
    a1 = addStep(a1, a, aOdd, first, second, a, FUSED);
    b1 = addStep(b1, b, bOdd, first, second, b, FUSED);
    first = v128.load32_splat(x2);
    second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x2, 4);
    a2 = addStep(a2, a, aOdd, first, second, a, FUSED);
    b2 = addStep(b2, b, bOdd, first, second, b, FUSED);
    first = v128.load32_splat(x3);
    second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x3, 4);
    a3 = addStep(a3, a, aOdd, first, second, a, FUSED);
    b3 = addStep(b3, b, bOdd, first, second, b, FUSED);
    if (ROUND > 1) {
      a = v128.load(panel, 32);
      b = v128.load(panel, 48);
      aOdd = oddOf(a);
      bOdd = oddOf(b);
      first = v128.load32_splat(x, STEP);
      second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x, STEP + 4);
      a0 = addStep(a0, a, aOdd, first, second, a, FUSED);
      b0 = addStep(b0, b, bOdd, first, second, b, FUSED);
      first = v128.load32_splat(x1, STEP);
      second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x1, STEP + 4);
      a1 = addStep(a1, a, aOdd, first, second, a, FUSED);
      b1 = addStep(b1, b, bOdd, first, second, b, FUSED);
      first = v128.load32_splat(x2, STEP);
      second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x2, STEP + 4);
      a2 = addStep(a2, a, aOdd, first, second, a, FUSED);
      b2 = addStep(b2, b, bOdd, first, second, b, FUSED);
      first = v128.load32_splat(x3, STEP);
      second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x3, STEP + 4);
      a3 = addStep(a3, a, aOdd, first, second, a, FUSED);
      b3 = addStep(b3, b, bOdd, first, second, b, FUSED);
    }
  }
  const sigmas = v128.load(scales);
  const low = firstScales(sigmas);
  const high = lastScales(sigmas);
  addSums(a0, b0, low, high, group, zero, sums);
  addSums(a1, b1, low, high, group + apart, zero, sums + 32);
  addSums(a2, b2, low, high, group + 2 * apart, zero, sums + 64);
  addSums(a3, b3, low, high, group + last, zero, sums + 96);
}

// Five activations, for products of one instruction: the sums of four are too few for what each waits.
function multiply5(
  panel: usize, x: usize, apart: usize, bytes: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let a4 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  let b4 = a0;
  const end = x + bytes;
  let x1 = x + apart;
  let x2 = x1 + apart;
  let x3 = x2 + apart;
  let x4 = x3 + apart;
  for (; x < end; x += STEP, x1 += STEP, x2 += STEP, x3 += STEP, x4 += STEP, panel += 32) {
    const a = v128.load(panel);
    const b = v128.load(panel, 16);
    let first = v128.load32_splat(x);
    a0 = addStep(a0, a, a, first, first, a, FUSED);
    b0 = addStep(b0, b, b, first, first, b, FUSED);
    first = v128.load32_splat(x1);
    a1 = addStep(a1, a, a, first, first, a, FUSED);
    b1 = addStep(b1, b, b, first, first, b, FUSED);
    first = v128.load32_splat(x2);
    a2 = addStep(a2, a, a, first, first, a, FUSED);
    b2 = addStep(b2, b, b, first, first, b, FUSED);
    first = v128.load32_splat(x3);
    a3 = addStep(a3, a, a, first, first, a, FUSED);
    b3 = addStep(b3, b, b, first, first, b, FUSED);
    first = v128.load32_splat(x4);
    a4 = addStep(a4, a, a, first, first, a, FUSED);
    b4 = addStep(b4, b, b, first, first, b, FUSED);
  }
  const sigmas = v128.load(scales);
  const low = firstScales(sigmas);
  const high = lastScales(sigmas);
  addSums(a0, b0, low, high, group, zero, sums);
  addSums(a1, b1, low, high, group + apart, zero, sums + 32);
  addSums(a2, b2, low, high, group + 2 * apart, zero, sums + 64);
  addSums(a3, b3, low, high, group + 3 * apart, zero, sums + 96);
  addSums(a4, b4, low, high, group + 4 * apart, zero, sums + 128);
}

// Two activations, two steps at a time. The second may be the first again.
function multiply2(
  panel: usize, x: usize, last: usize, bytes: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  const end = x + bytes;
  let other = x + last;
  for (; x < end; x += 2 * STEP, other += 2 * STEP, panel += 64) {
    let a = v128.load(panel);
    let b = v128.load(panel, 16);
    let aOdd = oddOf(a);
    let bOdd = oddOf(b);
    let first = v128.load32_splat(x);
    let second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x, 4);
    a0 = addStep(a0, a, aOdd, first, second, a, FUSED);
    b0 = addStep(b0, b, bOdd, first, second, b, FUSED);
    first = v128.load32_splat(other);
    second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(other, 4);
    a1 = addStep(a1, a, aOdd, first, second, a, FUSED);
    b1 = addStep(b1, b, bOdd, first, second, b, FUSED);
    a = v128.load(panel, 32);
    b = v128.load(panel, 48);
    aOdd = oddOf(a);
    bOdd = oddOf(b);
    first = v128.load32_splat(x, STEP);
    second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(x, STEP + 4);
    a2 = addStep(a2, a, aOdd, first, second, a, FUSED);
    b2 = addStep(b2, b, bOdd, first, second, b, FUSED);
    first = v128.load32_splat(other, STEP);
    second = ASC_FEATURE_RELAXED_SIMD ? first : v128.load32_splat(other, STEP + 4);
    a3 = addStep(a3, a, aOdd, first, second, a, FUSED);
    b3 = addStep(b3, b, bOdd, first, second, b, FUSED);
  }
  const sigmas = v128.load(scales);
  const low = firstScales(sigmas);
  const high = lastScales(sigmas);
  addSums(i32x4.add(a0, a2), i32x4.add(b0, b2), low, high, group, zero, sums);
  addSums(i32x4.add(a1, a3), i32x4.add(b1, b3), low, high, group + last, zero, sums + 32);
}

// @ts-ignore: decorator
@inline
function multiply(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    for (; count > 8 || count == 5; count -= 5, x += 5 * apart, group += 5 * apart, sums += 160) {
      multiply5(panel, x, apart, bytes, group, scales, zero, sums);
    }
  }
  for (; count > 2; count -= min<usize>(4, count), x += 4 * apart, group += 4 * apart, sums += 128) {
    multiply4(panel, x, apart, (count == 3 ? 2 : 3) * apart, bytes, group, scales, zero, sums);
  }
  if (count > 0) multiply2(panel, x, (count - 1) * apart, bytes, group, scales, zero, sums);
}

/**
 * Adds to `sums` of eight rows each, (count + 3, 8) f32, what a group gives: `bytes` of slots of `count` activations,
 * which stand `apart` bytes apart. `x`, `exceeds` (activation.ts) and `group` are the first one's, `scales` eight f16. What is
 * beyond `count` has no meaning.
 */
export function multiplyPanel(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, exceeds: usize, table: usize, group: usize, scales: usize,
  zero: i32, sums: usize,
): void {
  const form = <u32>load<u8>(table, FORM);
  if (ASC_FEATURE_RELAXED_SIMD && form >= EIGHTS) {
    multiplyEights(panel, x, apart, bytes, count, table, group, scales, zero, sums);
  } else if (ASC_FEATURE_RELAXED_SIMD && form == PAIRS) {
    multiplyPairs(panel, x, apart, bytes, count, exceeds, table, group, scales, zero, sums);
  } else {
    multiply(panel, x, apart, bytes, count, group, scales, zero, sums);
  }
}
