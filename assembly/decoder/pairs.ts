// Several activations times a panel (panel.ts) by pairs of products, PAIRS of dots.ts: a step makes sums of two products in i16, and two
// instructions more add these in i32. Where sums of two steps fit i16 they are added first: five instructions for two steps, not six.
// u is at most 127 and 258 · 127 < 2^15. So they fit where, of the four columns that come to one sum, the positive ones are together 258 at
// most, and the negative ones. `exceedsPairs` tells where a group has others. Sums are exact, so both ways give the same bits.
//
// Two activations go together: more gain nothing, and each would have to fit. Each loop is a function of its own: in one that has all of
// them, engines move sums to memory and back, and take nearly twice the time.

import { addSums, firstScales, lastScales } from './eight';
import { STEP } from './dots';
import { ONES } from './table';

/** What four columns of two steps may come to. */
const MOST: i16 = 258;

// Of four vectors of eight columns, i16, the sums of columns 0, 2, 4 and 6, and of 1, 3, 5 and 7.
// @ts-ignore: decorator
@inline
function sumsOfSteps(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i16x8.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
  const cd = i16x8.add(v128.shuffle<i32>(c, d, 0, 2, 4, 6), v128.shuffle<i32>(c, d, 1, 3, 5, 7));
  return i16x8.add(v128.shuffle<i32>(ab, cd, 0, 2, 4, 6), v128.shuffle<i32>(ab, cd, 1, 3, 5, 7));
}

/** The larger of `most` and what 32 columns, i16 in four vectors, come to, positive and negative ones. */
// @ts-ignore: decorator
@inline
export function mostOfSteps(most: v128, a: v128, b: v128, c: v128, d: v128): v128 {
  const zero = i32x4.splat(0);
  const above = sumsOfSteps(i16x8.max_s(a, zero), i16x8.max_s(b, zero), i16x8.max_s(c, zero), i16x8.max_s(d, zero));
  const below = sumsOfSteps(i16x8.min_s(a, zero), i16x8.min_s(b, zero), i16x8.min_s(c, zero), i16x8.min_s(d, zero));
  return i16x8.max_s(most, i16x8.max_s(above, i16x8.neg(below)));
}

/** Whether sums of two steps may exceed i16. */
// @ts-ignore: decorator
@inline
export function exceedsPairs(most: v128): bool {
  return v128.any_true(i16x8.gt_s(most, i16x8.splat(MOST)));
}

// @ts-ignore: decorator
@inline
function twoSteps(sum: v128, u: v128, v: v128, x: v128, y: v128, ones: v128, together: bool): v128 {
  if (!ASC_FEATURE_RELAXED_SIMD) return sum;
  const first = v128.relaxed_dot<i16>(x, u);
  const second = v128.relaxed_dot<i16>(y, v);
  if (together) return i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.add(first, second), ones));
  return i32x4.add(i32x4.add(sum, i32x4.dot_i16x8_s(first, ones)), i32x4.dot_i16x8_s(second, ones));
}

// Two activations or three.
// @ts-ignore: decorator
@inline
function multiply(
  three: bool, together: bool, panel: usize, x: usize, apart: usize, bytes: usize, table: usize, group: usize, scales: usize, zero: i32,
  sums: usize,
): void {
  const ones = v128.load16_splat(table, ONES);
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let x1 = x + apart;
  let x2 = x1 + apart;
  for (const end = x + bytes; x < end; x += 2 * STEP, panel += 64) {
    const u = v128.load(panel);
    const w = v128.load(panel, 16);
    const v = v128.load(panel, 32);
    const z = v128.load(panel, 48);
    let first = v128.load32_splat(x);
    let second = v128.load32_splat(x, STEP);
    a0 = twoSteps(a0, u, v, first, second, ones, together);
    b0 = twoSteps(b0, w, z, first, second, ones, together);
    first = v128.load32_splat(x1);
    second = v128.load32_splat(x1, STEP);
    x1 += 2 * STEP;
    a1 = twoSteps(a1, u, v, first, second, ones, together);
    b1 = twoSteps(b1, w, z, first, second, ones, together);
    if (three) {
      first = v128.load32_splat(x2);
      second = v128.load32_splat(x2, STEP);
      x2 += 2 * STEP;
      a2 = twoSteps(a2, u, v, first, second, ones, together);
      b2 = twoSteps(b2, w, z, first, second, ones, together);
    }
  }
  const sigmas = v128.load(scales);
  const low = firstScales(sigmas);
  const high = lastScales(sigmas);
  addSums(a0, b0, low, high, group, zero, sums);
  addSums(a1, b1, low, high, group + apart, zero, sums + 32);
  if (three) addSums(a2, b2, low, high, group + 2 * apart, zero, sums + 64);
}

function two(
  panel: usize, x: usize, apart: usize, bytes: usize, table: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  multiply(false, false, panel, x, apart, bytes, table, group, scales, zero, sums);
}

function three(
  panel: usize, x: usize, apart: usize, bytes: usize, table: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  multiply(true, false, panel, x, apart, bytes, table, group, scales, zero, sums);
}

function twoTogether(
  panel: usize, x: usize, apart: usize, bytes: usize, table: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  multiply(false, true, panel, x, apart, bytes, table, group, scales, zero, sums);
}

function threeTogether(
  panel: usize, x: usize, apart: usize, bytes: usize, table: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  multiply(true, true, panel, x, apart, bytes, table, group, scales, zero, sums);
}

// Whether sums of two steps fit, of two activations.
// @ts-ignore: decorator
@inline
function bothFit(exceeds: usize, apart: usize): bool {
  return (load<u8>(exceeds) | load<u8>(exceeds + apart)) == 0;
}

/** As multiplyPanel of panel.ts, of two activations at least; `exceeds` is the first one's byte of this group (activation.ts). */
export function multiplyPairs(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, exceeds: usize, table: usize, group: usize, scales: usize,
  zero: i32, sums: usize,
): void {
  const both = apart << 1;
  for (; count == 2 || count > 3; count -= 2, x += both, group += both, exceeds += both, sums += 64) {
    if (bothFit(exceeds, apart)) twoTogether(panel, x, apart, bytes, table, group, scales, zero, sums);
    else two(panel, x, apart, bytes, table, group, scales, zero, sums);
  }
  if (count == 0) return;
  if (bothFit(exceeds, apart) && load<u8>(exceeds + both) == 0) threeTogether(panel, x, apart, bytes, table, group, scales, zero, sums);
  else three(panel, x, apart, bytes, table, group, scales, zero, sums);
}
