// Keys and values as codes: a vector of a head is rotated by the Hadamard transform, as rows of weights are, and one f16 scale stands beside
// its codes. Turned elements are alike, so one scale serves them all.
//
//   8 bits   element = scale · code, codes -128 to 127, scale = max / 127
//   4 bits   element = scale · LEVELS[code], the levels of p1n16
//
// Of 4 bits the scale is searched for: codes are made for RMS · STEP times each of CANDIDATES, whose best factor is then <x, l> / <l, l>. The
// candidate with the least error has the largest <x, l>² / <l, l>. At 64 elements that lowers the error by a fifth, at 8 by half.
//
//   a row of 4 bits, by 32 elements            and its last 16, if it has an odd number of them
//   byte          0    1   …   15              0   1   …   7
//   low nibble    0    1   …   15              0   1   …   7
//   high nibble   16   17  …   31              8   9   …   15
//
// Rows are filled to a multiple of 16 elements, with zeros before they are coded.

import { flip, rotate, scaledHadamard } from '../hadamard';
import { fromF16, toF16 } from '../float';
import { nextGroup } from '../lanes';
import { high, low, valuesOf } from './indices';
import { inner } from './sums';
import { words } from './unknown';

/** The largest group of a transform. */
const GROUP: usize = 4096;
/** p1n16's largest point is 127 levels of this size. */
const STEP: f32 = 0.021516452624103215;

const CANDIDATES: i32 = 5;
/** Vectors below are zero: their reciprocal would be infinite. */
const LEAST: f32 = 1e-30;

/** Elements of a row with those that fill it. */
// @ts-ignore: decorator
@inline
export function filled(dim: usize): usize {
  return (dim + 15) & ~15;
}

// p1n16 as multiples of its largest point's 127th.
// @ts-ignore: decorator
@inline
function levels(): v128 {
  return i8x16(-127, -96, -75, -58, -44, -31, -18, -6, 6, 18, 31, 44, 58, 75, 96, 127);
}

/** y = `count` elements of x, rotated; copied where `masks` is 0. */
export function rotateOrCopy(x: usize, masks: usize, count: usize, y: usize): void {
  if (masks) rotate(x, masks, count, GROUP, y);
  else memory.copy(y, x, count << 2);
}

/** The inverse of rotateOrCopy. Changes x. */
export function rotateBack(x: usize, masks: usize, count: usize, y: usize): void {
  if (!masks) {
    memory.copy(y, x, count << 2);
    return;
  }
  for (let start: usize = 0; start < count; ) {
    const g = nextGroup(count - start, GROUP);
    scaledHadamard(x + (start << 2), g, <f32>1 / sqrt<f32>(<f32>g));
    start += g;
  }
  flip(x, masks, y, count);
}

/** The largest magnitude of `count` f32, a multiple of four; NaN if there is one. */
export function largest(x: usize, count: usize): f32 {
  let most = f32x4.splat(0);
  for (const end = x + (count << 2); x < end; x += 16) most = f32x4.max(most, f32x4.abs(v128.load(x)));
  most = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1));
}

// @ts-ignore: decorator
@inline
function integers(x: usize, scales: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.div(v128.load(x), scales)));
}

// Codes of sixteen integers: how many of the fifteen places between two levels lie below each.
// @ts-ignore: decorator
@inline
function nearestCodes(z: v128): v128 {
  let code = i8x16.gt_s(z, i8x16.splat(-112));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(-86)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(-67)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(-52)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(-38)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(-25)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(-13)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(0)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(12)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(24)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(37)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(51)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(66)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(85)));
  code = i8x16.add(code, i8x16.gt_s(z, i8x16.splat(111)));
  return i8x16.neg(code);
}

// The sum of four i32.
// @ts-ignore: decorator
@inline
function total(v: v128): f32 {
  v = i32x4.add(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return <f32>(i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1));
}

// Codes of `count` f32 for a scale, a byte each; levels times `x` and times themselves to `sums`, in units of the scale and rounded.
function codesOf(x: usize, count: usize, scale: f32, codes: usize, sums: usize): void {
  const scales = f32x4.splat(scale);
  const table = levels();
  let products = i32x4.splat(0);
  let squares = products;
  for (let i: usize = 0; i < count; i += 16, x += 64) {
    const low = i16x8.narrow_i32x4_s(integers(x, scales), integers(x + 16, scales));
    const high = i16x8.narrow_i32x4_s(integers(x + 32, scales), integers(x + 48, scales));
    const code = nearestCodes(i8x16.narrow_i16x8_s(low, high));
    v128.store(codes + i, code);
    const level = i8x16.swizzle(table, code);
    const a = i16x8.extend_low_i8x16_s(level);
    const b = i16x8.extend_high_i8x16_s(level);
    products = i32x4.add(products, i32x4.add(i32x4.dot_i16x8_s(low, a), i32x4.dot_i16x8_s(high, b)));
    squares = i32x4.add(squares, i32x4.add(i32x4.dot_i16x8_s(a, a), i32x4.dot_i16x8_s(b, b)));
  }
  store<f32>(sums, total(products));
  store<f32>(sums, total(squares), 4);
}

// Codes of 4 bits of `count` f32 at `x`, `dim` of them elements, a byte each to `codes`; `others` is room for as many. Returns the scale.
function searchCodes(x: usize, dim: usize, count: usize, codes: usize, others: usize, sums: usize): f32 {
  const middle = sqrt<f32>(inner(x, x, dim) / <f32>dim) * STEP;
  if (middle < LEAST) {
    memory.fill(codes, 0, count);
    return 0;
  }
  let best: f32 = -1;
  let found: f32 = 0;
  for (let i: i32 = 0; i < CANDIDATES; i++) {
    const scale = middle * (<f32>0.8 + <f32>i * <f32>0.1);
    codesOf(x, count, scale, others, sums);
    const product = load<f32>(sums) * scale;
    const square = load<f32>(sums, 4);
    const gain = (product * product) / square;
    if (i > 0 && !(gain > best)) continue;
    best = gain;
    found = product / square;
    memory.copy(codes, others, count);
  }
  return found;
}

/**
 * Keeps `dim` f32 at `x`: codes of `bits`, 8 or 4, to `to`, filled(dim) · bits / 8 bytes, and their f16 scale to `scale`. `masks` by signs, 0
 * to keep them as they are. `scratch` holds 6 · filled(dim) + 16 bytes.
 */
export function keepCodes(x: usize, dim: usize, bits: u32, masks: usize, to: usize, scale: usize, scratch: usize): void {
  assert(bits == 8 || bits == 4);
  const count = filled(dim);
  rotateOrCopy(x, masks, dim, scratch);
  memory.fill(scratch + (dim << 2), 0, (count - dim) << 2);
  if (bits == 8) {
    const half = toF16(largest(scratch, count) / 127);
    store<u16>(scale, <u16>half);
    if ((half & 0x7fff) == 0) {
      memory.fill(to, 0, count);
      return;
    }
    const scales = f32x4.splat(fromF16(half));
    for (let i: usize = 0; i < count; i += 16) {
      const at = scratch + (i << 2);
      const low = i16x8.narrow_i32x4_s(integers(at, scales), integers(at + 16, scales));
      const high = i16x8.narrow_i32x4_s(integers(at + 32, scales), integers(at + 48, scales));
      v128.store(to + i, i8x16.narrow_i16x8_s(low, high));
    }
    return;
  }
  const codes = scratch + (count << 2);
  const sums = codes + (count << 1);
  store<u16>(scale, <u16>toF16(searchCodes(scratch, dim, count, codes, codes + count, sums)));
  let i: usize = 0;
  for (; i + 32 <= count; i += 32) {
    v128.store(to + (i >> 1), v128.or(v128.load(codes + i), i8x16.shl(v128.load(codes + i, 16), 4)));
  }
  if (i < count) {
    const last = v128.load(codes + i);
    v128.store64_lane(to + (i >> 1), v128.or(last, v128.shuffle<i64>(i8x16.shl(last, 4), last, 1, 0)), 0);
  }
}

/** Levels of `rows` rows of 4 bits, `stride` bytes apart, the first `count` elements of each, a multiple of 16: rows of `count` bytes to `to`. */
export function unpackLevels(codes: usize, stride: usize, rows: usize, count: usize, to: usize): void {
  const table = v128.xor(levels(), words(0));
  const mask = words(0x0f0f0f0f);
  for (; rows > 0; rows--, codes += stride) {
    let at = codes;
    let i: usize = 0;
    for (; i + 32 <= count; i += 32, at += 16, to += 32) {
      const pairs = v128.load(at);
      v128.store(to, valuesOf(low(pairs, mask), table));
      v128.store(to, valuesOf(high(pairs, mask), table), 16);
    }
    if (i < count) {
      const pairs = v128.load64_zero(at);
      const both = v128.shuffle<i64>(low(pairs, mask), high(pairs, mask), 0, 2);
      v128.store(to, valuesOf(both, table));
      to += 16;
    }
  }
}
