// A rotated activation as integers: twice, since grids of 16 values and wider ones are multiplied in different ways.
// Each group has a scale of its own in either form, x = scale · q:
//   narrow   q in ±127                         times grid values in 0 … 127 (bands.ts)
//   wide     q in ±min(2^15 - 1, 2^19 / g)     times grid values in ±4095 (lookup.ts): 4095 · 2^19 < 2^31, no sum overflows
//
// A group of fewer than 32 columns takes the whole aligned run of 32 that it lies in, with zeros in the others' places, so
// that products run over multiples of 32 slots whatever the width. What is stored, for cols = 44, groups 32, 8, 4:
//
//   slots            0 … 31       32 … 63                        64 … 95
//   columns          0 … 31       32 … 39, then 24 zeros         8 zeros, 40 … 43, 20 zeros
//
//   wide     i16 (slots)          in the order of the columns
//   narrow   i16 (slots)          of each 4, the order of a step: columns 4i, 4i + 1, 4i + 2 (less 256 times 4i), 4i + 3 (less ...)
//            i8 (slots)           with relaxed SIMD; of each 4: columns 4i, 4i + 2, 4i + 1, 4i + 3
//            then u8 (groups), 1 where sums of two steps may exceed i16 (pairs.ts); both builds take the same room
//   groups   (groups, 4)          f32 scale of wide, f32 scale of narrow, i32 sum of narrow, i32 sum of wide

import { groupsOf, nextGroup } from '../lanes';
import { exceedsPairs, mostOfSteps } from './pairs';
import { floats, words } from './unknown';

/** Slots that a row's groups take. */
// @ts-ignore: decorator
@inline
export function slotsOf(cols: usize, groupSize: usize): usize {
  return groupSize < 32 ? groupsOf(cols, groupSize) << 5 : (cols & ~31) + ((<usize>popcnt<u32>(<u32>(cols & 31))) << 5);
}

/** Bytes of narrow slots. */
// @ts-ignore: decorator
@inline
export function narrowBytes(slots: usize): usize {
  return ASC_FEATURE_RELAXED_SIMD ? slots : slots << 1;
}

/** Where, with relaxed SIMD, a byte of each group tells whether sums of two steps of the activation at `x` may exceed i16. */
// @ts-ignore: decorator
@inline
export function exceedsOf(x: usize, slots: usize): usize {
  return x + 3 * slots;
}

/** Bytes of one quantized activation, a multiple of 16. */
// @ts-ignore: decorator
@inline
export function activationBytes(cols: usize, groupSize: usize): usize {
  return (slotsOf(cols, groupSize) << 2) + (groupsOf(cols, groupSize) << 4);
}

// Products of four columns with the factor, rounded to nearest even: the sum's low bits are the integer, |x · factor| < 2^22.
// @ts-ignore: decorator
@inline
function round(x: v128, factor: v128, rounder: v128): v128 {
  return i32x4.sub(f32x4.add(f32x4.mul(x, factor), rounder), rounder);
}

// Four f32 at `x`, zero where `column` is not in [start, end); `small` where that can be.
// @ts-ignore: decorator
@inline
function four(x: usize, column: usize, start: usize, end: usize, small: bool): v128 {
  const v = v128.load(x + (column << 2));
  if (!small) return v;
  const columns = i32x4.add(i32x4.splat(<i32>column), i32x4(0, 1, 2, 3));
  const before = i32x4.lt_s(columns, i32x4.splat(<i32>start));
  return v128.and(v, v128.andnot(i32x4.lt_s(columns, i32x4.splat(<i32>end)), before));
}

// Of each four columns the third and fourth, i16, less 256 times the first and second.
// @ts-ignore: decorator
@inline
function steps(v: v128): v128 {
  return i16x8.sub(v, i16x8.shl(i64x2.shl(v, 32), 8));
}

// @ts-ignore: decorator
@inline
function storeNarrow(a: v128, b: v128, c: v128, d: v128, to: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const ab = i8x16.narrow_i16x8_s(a, b);
    const cd = i8x16.narrow_i16x8_s(c, d);
    v128.store(to, v128.shuffle<i8>(ab, ab, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    v128.store(to, v128.shuffle<i8>(cd, cd, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15), 16);
  } else {
    v128.store(to, steps(a));
    v128.store(to, steps(b), 16);
    v128.store(to, steps(c), 32);
    v128.store(to, steps(d), 48);
  }
}

// The largest magnitude, NaN if there is one: bits of magnitudes are in the order of these, those of NaNs behind them.
// @ts-ignore: decorator
@inline
function largest(x: usize, start: usize, end: usize, small: bool): f32 {
  const magnitude = words(0x7fffffff);
  let a = i32x4.splat(0);
  let b = a;
  for (let column = start & ~31; column < end; column += 8) {
    a = i32x4.max_s(a, v128.and(four(x, column, start, end, small), magnitude));
    b = i32x4.max_s(b, v128.and(four(x, column + 4, start, end, small), magnitude));
  }
  a = i32x4.max_s(a, b);
  a = i32x4.max_s(a, v128.shuffle<i32>(a, a, 2, 3, 0, 1));
  return reinterpret<f32>(max<i32>(i32x4.extract_lane(a, 0), i32x4.extract_lane(a, 1)));
}

// A group with NaN or infinity: zeros, whose products with its scale are NaN. A NaN would become other integers on other machines.
function writeUnknown(
  most: f32, levels: f32, slots: usize, wide: usize, narrow: usize, group: usize, exceeds: usize,
): void {
  memory.fill(wide, 0, slots << 1);
  memory.fill(narrow, 0, narrowBytes(slots));
  store<f32>(group, most / levels);
  store<f32>(group, most / <f32>127, 4);
  store<u64>(group, 0, 8);
  if (ASC_FEATURE_RELAXED_SIMD) store<u8>(exceeds, 0);
}

// @ts-ignore: decorator
@inline
function quantizeGroup(
  x: usize, start: usize, g: usize, small: bool, wide: usize, narrow: usize, group: usize, exceeds: usize,
): void {
  const end = start + g;
  const most = largest(x, start, end, small);
  const zero = most < reinterpret<f32>(((127 - 100) as u32) << 23);
  const levels = <f32>min<usize>(32767, (1 << 19) / g);
  if (!(most < Infinity)) {
    writeUnknown(most, levels, max<usize>(g, 32), wide, narrow, group, exceeds);
    return;
  }
  const wideFactor = f32x4.splat(zero ? 0 : levels / most);
  const narrowFactor = f32x4.splat(zero ? 0 : <f32>127 / most);
  const rounder = floats(12582912); // as an integer too: 0x4b400000
  const ones = words(0x10001);
  let sums = i32x4.splat(0);
  let wideSums = sums;
  let mostSteps = sums;
  for (let column = start & ~31; column < end; column += 32) {
    const x0 = four(x, column, start, end, small);
    const x1 = four(x, column + 4, start, end, small);
    const x2 = four(x, column + 8, start, end, small);
    const x3 = four(x, column + 12, start, end, small);
    const x4 = four(x, column + 16, start, end, small);
    const x5 = four(x, column + 20, start, end, small);
    const x6 = four(x, column + 24, start, end, small);
    const x7 = four(x, column + 28, start, end, small);
    const w0 = i16x8.narrow_i32x4_s(round(x0, wideFactor, rounder), round(x1, wideFactor, rounder));
    const w1 = i16x8.narrow_i32x4_s(round(x2, wideFactor, rounder), round(x3, wideFactor, rounder));
    const w2 = i16x8.narrow_i32x4_s(round(x4, wideFactor, rounder), round(x5, wideFactor, rounder));
    const w3 = i16x8.narrow_i32x4_s(round(x6, wideFactor, rounder), round(x7, wideFactor, rounder));
    wideSums = i32x4.add(wideSums, i32x4.add(i32x4.dot_i16x8_s(w0, ones), i32x4.dot_i16x8_s(w1, ones)));
    wideSums = i32x4.add(wideSums, i32x4.add(i32x4.dot_i16x8_s(w2, ones), i32x4.dot_i16x8_s(w3, ones)));
    v128.store(wide, w0);
    v128.store(wide, w1, 16);
    v128.store(wide, w2, 32);
    v128.store(wide, w3, 48);
    const a = i16x8.narrow_i32x4_s(round(x0, narrowFactor, rounder), round(x1, narrowFactor, rounder));
    const b = i16x8.narrow_i32x4_s(round(x2, narrowFactor, rounder), round(x3, narrowFactor, rounder));
    const c = i16x8.narrow_i32x4_s(round(x4, narrowFactor, rounder), round(x5, narrowFactor, rounder));
    const d = i16x8.narrow_i32x4_s(round(x6, narrowFactor, rounder), round(x7, narrowFactor, rounder));
    sums = i32x4.add(sums, i32x4.dot_i16x8_s(i16x8.add(i16x8.add(a, b), i16x8.add(c, d)), ones));
    if (ASC_FEATURE_RELAXED_SIMD) mostSteps = mostOfSteps(mostSteps, a, b, c, d);
    storeNarrow(a, b, c, d, narrow);
    wide += 64;
    narrow += narrowBytes(32);
  }
  sums = i32x4.add(sums, v128.shuffle<i32>(sums, sums, 2, 3, 0, 1));
  store<f32>(group, zero ? 0 : most / levels);
  store<f32>(group, zero ? 0 : most / <f32>127, 4);
  store<i32>(group, i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1), 8);
  wideSums = i32x4.add(wideSums, v128.shuffle<i32>(wideSums, wideSums, 2, 3, 0, 1));
  store<i32>(group, i32x4.extract_lane(wideSums, 0) + i32x4.extract_lane(wideSums, 1), 12);
  if (ASC_FEATURE_RELAXED_SIMD) store<u8>(exceeds, exceedsPairs(mostSteps) ? 1 : 0);
}

/**
 * Quantizes `count` rotated activations `x`, (count, cols) f32, to `to`, activationBytes each. `groupSize` is a power of two
 * from 16 to 4096. A group with no magnitude of 2^-100 counts as zeros. Reads up to 31 columns beyond the last.
 */
export function quantizeActivation(x: usize, count: usize, cols: usize, groupSize: usize, to: usize): void {
  assert(groupSize >= 16 && groupSize <= 4096 && (groupSize & (groupSize - 1)) == 0);
  const slots = slotsOf(cols, groupSize);
  for (; count > 0; count--, x += cols << 2) {
    let wide = to;
    let narrow = wide + (slots << 1);
    let exceeds = exceedsOf(wide, slots);
    to = narrow + (slots << 1);
    for (let start: usize = 0, g: usize = 0; start < cols; start += g, to += 16, exceeds++) {
      g = nextGroup(cols - start, groupSize);
      if (g >= 32) quantizeGroup(x, start, g, false, wide, narrow, to, exceeds);
      else quantizeGroup(x, start, g, true, wide, narrow, to, exceeds);
      wide += max<usize>(g, 32) << 1;
      narrow += narrowBytes(max<usize>(g, 32));
    }
  }
}
