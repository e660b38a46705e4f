// Products of a trellis' codes, in bands of four rows (band.ts), with one activation. Two bands share what is loaded of it. Four columns
// of four rows add to one vector of sums, so that nothing is folded. The tables that t4 and t2 have no use for are not looked up.

import { groupsOf, nextGroup } from '../lanes';
import { narrowBytes, slotsOf, stepOrder } from './activation';
import { octsOf } from './band';
import { addGroup, loadScales, storeSums } from './four';
import { first2, high, integers, last3, lastOf, low } from './indices';

// Bytes of four slots of an activation in the order of steps.
// @ts-ignore: decorator
@inline
const STEP: usize = ASC_FEATURE_RELAXED_SIMD ? 4 : 8;

// Adds the products of four columns of four rows.
// @ts-ignore: decorator
@inline
function add4(sum: v128, u: v128, x: v128, y: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, u, sum);
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(u, x));
  return i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.shr_u(u, 8), y));
}

// Steps from `a` on, and of the band `apart` bytes on; `before` are the eight steps before.
// @ts-ignore: decorator
@inline
function run4(a: usize, before: usize, apart: usize, values: usize, lags: u32, x: usize, end: usize, to: usize): void {
  const t0 = v128.load(values);
  const t1 = v128.load(values, 16);
  const t2 = v128.load(values, 32);
  const aLast = lastOf(before, 4);
  let a6 = low(aLast);
  let a7 = high(aLast);
  const bLast = lastOf(before + apart, 4);
  let b6 = low(bLast);
  let b7 = high(bLast);
  let aEven = i32x4.splat(0);
  let aOdd = aEven;
  let bEven = aEven;
  let bOdd = aEven;
  for (let b = a + apart; x < end; x += 4 * STEP, a += 32, b += 32) {
    const x0 = v128.load32_splat(x);
    const y0 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load32_splat(x, 4);
    const av0 = v128.load(a);
    const aN0 = low(av0);
    aEven = add4(aEven, integers(aN0, a7, a6, t0, t1, t2, lags), x0, y0);
    const bv0 = v128.load(b);
    const bN0 = low(bv0);
    bEven = add4(bEven, integers(bN0, b7, b6, t0, t1, t2, lags), x0, y0);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const y1 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load32_splat(x, 1 * STEP + 4);
    const aN1 = high(av0);
    aOdd = add4(aOdd, integers(aN1, aN0, a7, t0, t1, t2, lags), x1, y1);
    const bN1 = high(bv0);
    bOdd = add4(bOdd, integers(bN1, bN0, b7, t0, t1, t2, lags), x1, y1);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const y2 = ASC_FEATURE_RELAXED_SIMD ? x2 : v128.load32_splat(x, 2 * STEP + 4);
    const av1 = v128.load(a, 16);
    const aN2 = low(av1);
    aEven = add4(aEven, integers(aN2, aN1, aN0, t0, t1, t2, lags), x2, y2);
    const bv1 = v128.load(b, 16);
    const bN2 = low(bv1);
    bEven = add4(bEven, integers(bN2, bN1, bN0, t0, t1, t2, lags), x2, y2);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const y3 = ASC_FEATURE_RELAXED_SIMD ? x3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(av1);
    aOdd = add4(aOdd, integers(aN3, aN2, aN1, t0, t1, t2, lags), x3, y3);
    const bN3 = high(bv1);
    bOdd = add4(bOdd, integers(bN3, bN2, bN1, t0, t1, t2, lags), x3, y3);
    a6 = aN2;
    a7 = aN3;
    b6 = bN2;
    b7 = bN3;
  }
  v128.store(to, i32x4.add(aEven, aOdd));
  v128.store(to, i32x4.add(bEven, bOdd), 16);
}

// @ts-ignore: decorator
@inline
function run3(a: usize, before: usize, apart: usize, values: usize, lags: u32, x: usize, end: usize, to: usize): void {
  const t0 = v128.load(values);
  const t1 = v128.load(values, 16);
  const t2 = v128.load(values, 32);
  const aLast = lastOf(before, 3);
  let a6 = low(aLast);
  let a7 = high(aLast);
  const bLast = lastOf(before + apart, 3);
  let b6 = low(bLast);
  let b7 = high(bLast);
  let aEven = i32x4.splat(0);
  let aOdd = aEven;
  let bEven = aEven;
  let bOdd = aEven;
  for (let b = a + apart; x < end; x += 8 * STEP, a += 48, b += 48) {
    const x0 = v128.load32_splat(x);
    const y0 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load32_splat(x, 4);
    const av0 = v128.load(a);
    const aN0 = low(av0);
    aEven = add4(aEven, integers(aN0, a7, a6, t0, t1, t2, lags), x0, y0);
    const bv0 = v128.load(b);
    const bN0 = low(bv0);
    bEven = add4(bEven, integers(bN0, b7, b6, t0, t1, t2, lags), x0, y0);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const y1 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load32_splat(x, 1 * STEP + 4);
    const aN1 = high(av0);
    aOdd = add4(aOdd, integers(aN1, aN0, a7, t0, t1, t2, lags), x1, y1);
    const bN1 = high(bv0);
    bOdd = add4(bOdd, integers(bN1, bN0, b7, t0, t1, t2, lags), x1, y1);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const y2 = ASC_FEATURE_RELAXED_SIMD ? x2 : v128.load32_splat(x, 2 * STEP + 4);
    const av1 = v128.load(a, 16);
    const aN2 = low(av1);
    aEven = add4(aEven, integers(aN2, aN1, aN0, t0, t1, t2, lags), x2, y2);
    const bv1 = v128.load(b, 16);
    const bN2 = low(bv1);
    bEven = add4(bEven, integers(bN2, bN1, bN0, t0, t1, t2, lags), x2, y2);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const y3 = ASC_FEATURE_RELAXED_SIMD ? x3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(av1);
    aOdd = add4(aOdd, integers(aN3, aN2, aN1, t0, t1, t2, lags), x3, y3);
    const bN3 = high(bv1);
    bOdd = add4(bOdd, integers(bN3, bN2, bN1, t0, t1, t2, lags), x3, y3);
    const x4 = v128.load32_splat(x, 4 * STEP);
    const y4 = ASC_FEATURE_RELAXED_SIMD ? x4 : v128.load32_splat(x, 4 * STEP + 4);
    const av2 = v128.load(a, 32);
    const aN4 = low(av2);
    aEven = add4(aEven, integers(aN4, aN3, aN2, t0, t1, t2, lags), x4, y4);
    const bv2 = v128.load(b, 32);
    const bN4 = low(bv2);
    bEven = add4(bEven, integers(bN4, bN3, bN2, t0, t1, t2, lags), x4, y4);
    const x5 = v128.load32_splat(x, 5 * STEP);
    const y5 = ASC_FEATURE_RELAXED_SIMD ? x5 : v128.load32_splat(x, 5 * STEP + 4);
    const aN5 = high(av2);
    aOdd = add4(aOdd, integers(aN5, aN4, aN3, t0, t1, t2, lags), x5, y5);
    const bN5 = high(bv2);
    bOdd = add4(bOdd, integers(bN5, bN4, bN3, t0, t1, t2, lags), x5, y5);
    const x6 = v128.load32_splat(x, 6 * STEP);
    const y6 = ASC_FEATURE_RELAXED_SIMD ? x6 : v128.load32_splat(x, 6 * STEP + 4);
    const aL = last3(av0, av1, av2);
    const aN6 = low(aL);
    aEven = add4(aEven, integers(aN6, aN5, aN4, t0, t1, t2, lags), x6, y6);
    const bL = last3(bv0, bv1, bv2);
    const bN6 = low(bL);
    bEven = add4(bEven, integers(bN6, bN5, bN4, t0, t1, t2, lags), x6, y6);
    const x7 = v128.load32_splat(x, 7 * STEP);
    const y7 = ASC_FEATURE_RELAXED_SIMD ? x7 : v128.load32_splat(x, 7 * STEP + 4);
    const aN7 = high(aL);
    aOdd = add4(aOdd, integers(aN7, aN6, aN5, t0, t1, t2, lags), x7, y7);
    const bN7 = high(bL);
    bOdd = add4(bOdd, integers(bN7, bN6, bN5, t0, t1, t2, lags), x7, y7);
    a6 = aN6;
    a7 = aN7;
    b6 = bN6;
    b7 = bN7;
  }
  v128.store(to, i32x4.add(aEven, aOdd));
  v128.store(to, i32x4.add(bEven, bOdd), 16);
}

// @ts-ignore: decorator
@inline
function run2(a: usize, before: usize, apart: usize, values: usize, lags: u32, x: usize, end: usize, to: usize): void {
  const t0 = v128.load(values);
  const t1 = v128.load(values, 16);
  const t2 = v128.load(values, 32);
  const aLast = lastOf(before, 2);
  let a6 = low(aLast);
  let a7 = high(aLast);
  const bLast = lastOf(before + apart, 2);
  let b6 = low(bLast);
  let b7 = high(bLast);
  let aEven = i32x4.splat(0);
  let aOdd = aEven;
  let bEven = aEven;
  let bOdd = aEven;
  for (let b = a + apart; x < end; x += 4 * STEP, a += 16, b += 16) {
    const x0 = v128.load32_splat(x);
    const y0 = ASC_FEATURE_RELAXED_SIMD ? x0 : v128.load32_splat(x, 4);
    const av0 = v128.load(a);
    const aN0 = first2(a7, av0);
    aEven = add4(aEven, integers(aN0, a7, a6, t0, t1, t2, lags), x0, y0);
    const bv0 = v128.load(b);
    const bN0 = first2(b7, bv0);
    bEven = add4(bEven, integers(bN0, b7, b6, t0, t1, t2, lags), x0, y0);
    const x1 = v128.load32_splat(x, 1 * STEP);
    const y1 = ASC_FEATURE_RELAXED_SIMD ? x1 : v128.load32_splat(x, 1 * STEP + 4);
    const aN1 = low(av0);
    aOdd = add4(aOdd, integers(aN1, aN0, a7, t0, t1, t2, lags), x1, y1);
    const bN1 = low(bv0);
    bOdd = add4(bOdd, integers(bN1, bN0, b7, t0, t1, t2, lags), x1, y1);
    const x2 = v128.load32_splat(x, 2 * STEP);
    const y2 = ASC_FEATURE_RELAXED_SIMD ? x2 : v128.load32_splat(x, 2 * STEP + 4);
    const aN2 = low(i16x8.shr_u(av0, 2));
    aEven = add4(aEven, integers(aN2, aN1, aN0, t0, t1, t2, lags), x2, y2);
    const bN2 = low(i16x8.shr_u(bv0, 2));
    bEven = add4(bEven, integers(bN2, bN1, bN0, t0, t1, t2, lags), x2, y2);
    const x3 = v128.load32_splat(x, 3 * STEP);
    const y3 = ASC_FEATURE_RELAXED_SIMD ? x3 : v128.load32_splat(x, 3 * STEP + 4);
    const aN3 = high(av0);
    aOdd = add4(aOdd, integers(aN3, aN2, aN1, t0, t1, t2, lags), x3, y3);
    const bN3 = high(bv0);
    bOdd = add4(bOdd, integers(bN3, bN2, bN1, t0, t1, t2, lags), x3, y3);
    a6 = aN2;
    a7 = aN3;
    b6 = bN2;
    b7 = bN3;
  }
  v128.store(to, i32x4.add(aEven, aOdd));
  v128.store(to, i32x4.add(bEven, bOdd), 16);
}

// The same for codes of any bits and tables: four i32 of the one band to `to`, then four of the other.
function multiply(
  at: usize, before: usize, apart: usize, values: usize, bits: u32, x: usize, end: usize, to: usize,
): void {
  if (bits == 4) {
    if (v128.any_true(v128.load(values, 32))) run4(at, before, apart, values, 3, x, end, to);
    else run4(at, before, apart, values, 1, x, end, to);
  } else if (bits == 3) {
    run3(at, before, apart, values, 3, x, end, to);
  } else if (v128.any_true(v128.load(values, 16))) {
    run2(at, before, apart, values, 3, x, end, to);
  } else {
    run2(at, before, apart, values, 2, x, end, to);
  }
}

/**
 * y = Ŵ x for one quantized activation, from the bands and scales of `rows` rows; `table` as matmul has it. `scratch` holds
 * (2 · groups + 4) vectors and the activation's narrow slots again.
 */
export function bandsVector(
  bands: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  x: usize, y: usize, scratch: usize,
): void {
  const step = load<f32>(table);
  const zero = load<i32>(table, 4);
  const bits = load<u32>(table, 8);
  const values = table + 16;
  const octBytes: usize = bits << 4;
  const groups = groupsOf(cols, groupSize);
  const slots = slotsOf(cols, groupSize);
  const firstGroup = x + (slots << 2);
  const sigmas = scratch;
  const sums = sigmas + (groups << 5);
  const acc = sums + 32;
  const steps = acc + 32;
  stepOrder(x + (slots << 1), slots, steps);

  for (let row: usize = 0; row < rows; row += 8) {
    const here = rows - row;
    const apart = here > 4 ? rowBytes << 2 : 0;
    loadScales(scales, row, rows, groups, sigmas);
    if (apart) loadScales(scales, row + 4, rows, groups, sigmas + (groups << 4));
    v128.store(sums, i32x4.splat(0));
    v128.store(sums, i32x4.splat(0), 16);
    const band = bands + row * rowBytes;
    let slot = steps;
    for (let start: usize = 0, g: usize = 0, k: usize = 0; start < cols; start += g, k += 16) {
      g = nextGroup(cols - start, groupSize);
      const end = slot + narrowBytes(max<usize>(g, 32));
      const oct = start >> 5;
      const at = band + oct * octBytes;
      multiply(at, oct == 0 ? band + (octsOf(cols) - 1) * octBytes : at - octBytes, apart, values, bits, slot, end, acc);
      addGroup(sums, acc, sigmas + k, firstGroup + k, 4, zero);
      if (apart) addGroup(sums + 16, acc + 16, sigmas + (groups << 4) + k, firstGroup + k, 4, zero);
      slot = end;
    }
    storeSums(sums, step, min<usize>(here, 4), y + (row << 2));
    if (apart) storeSums(sums + 16, step, min<usize>(here - 4, 4), y + (row << 2) + 16);
  }
}
