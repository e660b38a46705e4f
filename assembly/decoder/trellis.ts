// Products of a trellis' codes, in bands of four rows (band.ts), with one activation. Two bands share what is loaded of it. Four columns
// of four rows add to one vector of sums, so that nothing is folded; a table that is all zeros is not looked up.

import { groupsOf, nextGroup } from '../lanes';
import { narrowBytes, slotsOf } from './activation';
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
// Two bands' vectors of 3 bits as those of 4 bits, for `slots`, to `to` and half of `bytes` behind it.
function widen3(at: usize, apart: usize, octs: usize, to: usize): void {
  for (const end = to + (octs << 6); to < end; to += 64, at += 48) {
    const v0 = v128.load(at);
    const v1 = v128.load(at, 16);
    const v2 = v128.load(at, 32);
    v128.store(to, v0);
    v128.store(to, v1, 16);
    v128.store(to, v2, 32);
    v128.store(to, last3(v0, v1, v2), 48);
  }
}

function multiply(
  at: usize, before: usize, apart: usize, values: usize, bits: u32, x: usize, end: usize, to: usize,
): void {
  const second = v128.any_true(v128.load(values, 16));
  const third = v128.any_true(v128.load(values, 32));
  if (bits == 4) {
    if (third) run4(at, before, apart, values, 3, x, end, to);
    else run4(at, before, apart, values, 1, x, end, to);
  } else if (!third) run2(at, before, apart, values, 1, x, end, to);
  else if (!second) run2(at, before, apart, values, 2, x, end, to);
  else run2(at, before, apart, values, 3, x, end, to);
}

// A narrow activation of `slots` to the order of steps, at `to`. Of four columns: i16 4i, then 4i + 1, then 4i + 2 (less 256 times
// 4i), then 4i + 3 (less ...); or i8 4i, 4i + 2, 4i + 1, 4i + 3 with relaxed SIMD.
function stepOrder(x: usize, slots: usize, to: usize): void {
  for (const end = x + narrowBytes(slots); x < end; ) {
    if (ASC_FEATURE_RELAXED_SIMD) {
      const even = v128.load(x);
      const odd = v128.load(x, 16);
      v128.store(to, v128.shuffle<i16>(even, odd, 0, 8, 1, 9, 2, 10, 3, 11));
      v128.store(to, v128.shuffle<i16>(even, odd, 4, 12, 5, 13, 6, 14, 7, 15), 16);
      x += 32;
      to += 32;
    } else {
      const x0 = v128.load(x);
      const x2 = v128.load(x, 16);
      const x1 = v128.load(x, 32);
      const x3 = v128.load(x, 48);
      const low0 = v128.shuffle<i16>(x0, x1, 0, 8, 1, 9, 2, 10, 3, 11);
      const low1 = v128.shuffle<i16>(x2, x3, 0, 8, 1, 9, 2, 10, 3, 11);
      const high0 = v128.shuffle<i16>(x0, x1, 4, 12, 5, 13, 6, 14, 7, 15);
      const high1 = v128.shuffle<i16>(x2, x3, 4, 12, 5, 13, 6, 14, 7, 15);
      v128.store(to, v128.shuffle<i32>(low0, low1, 0, 4, 1, 5));
      v128.store(to, v128.shuffle<i32>(low0, low1, 2, 6, 3, 7), 16);
      v128.store(to, v128.shuffle<i32>(high0, high1, 0, 4, 1, 5), 32);
      v128.store(to, v128.shuffle<i32>(high0, high1, 2, 6, 3, 7), 48);
      x += 64;
      to += 64;
    }
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
  const wide = steps + narrowBytes(slots);

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
      const before = oct == 0 ? band + (octsOf(cols) - 1) * octBytes : at - octBytes;
      if (bits == 3) {
        const octs = max<usize>(g, 32) >> 5;
        const wideBytes = (octs + 1) << 6;
        widen3(before, apart, 1, wide);
        widen3(at, apart, octs, wide + 64);
        if (apart) {
          widen3(before + apart, apart, 1, wide + wideBytes);
          widen3(at + apart, apart, octs, wide + wideBytes + 64);
        }
        multiply(wide + 64, wide, apart ? wideBytes : 0, values, 4, slot, end, acc);
      } else multiply(at, before, apart, values, bits, slot, end, acc);
      addGroup(sums, acc, sigmas + k, firstGroup + k, 4, zero);
      if (apart) addGroup(sums + 16, acc + 16, sigmas + (groups << 4) + k, firstGroup + k, 4, zero);
      slot = end;
    }
    storeSums(sums, step, min<usize>(here, 4), y + (row << 2));
    if (apart) storeSums(sums + 16, step, min<usize>(here - 4, 4), y + (row << 2) + 16);
  }
}
