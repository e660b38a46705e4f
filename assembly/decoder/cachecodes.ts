// Keys and values as codes: a vector of a head is turned by the Hadamard transform, as rows of weights are, and one f16 scale stands beside
// its codes. Turned elements are alike, so one scale serves them all.
//
//   8 bits   element = scale · code, codes -128 to 127, scale = max / 127
//   4 bits   element = scale · LEVELS[code], the levels of p1n16, scale = RMS · STEP
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
import { inner } from './sums';

/** The largest group of a transform. */
const GROUP: usize = 4096;
/** p1n16's largest point is 127 levels: its RMS times this is one. */
export const STEP: f32 = 0.021516452624103215;

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

/** y = `count` elements of x, turned; where `masks` is 0, as they are. */
export function turn(x: usize, masks: usize, count: usize, y: usize): void {
  if (masks) rotate(x, masks, count, GROUP, y);
  else memory.copy(y, x, count << 2);
}

/** y = what was turned to x. Changes x. */
export function turnBack(x: usize, masks: usize, count: usize, y: usize): void {
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
function eightBits(x: usize, scales: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.div(v128.load(x), scales)));
}

// How many of the fifteen places between two levels lie below each of four.
// @ts-ignore: decorator
@inline
function nearestLevels(x: usize, scales: v128): v128 {
  const z = f32x4.div(v128.load(x), scales);
  let code = f32x4.gt(z, f32x4.splat(-111.5));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(-85.5)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(-66.5)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(-51)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(-37.5)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(-24.5)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(-12)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(0)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(12)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(24.5)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(37.5)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(51)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(66.5)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(85.5)));
  code = i32x4.add(code, f32x4.gt(z, f32x4.splat(111.5)));
  return i32x4.neg(code);
}

/**
 * Keeps `dim` f32 at `x`: codes of `bits`, 8 or 4, to `to`, filled(dim) · bits / 8 bytes, and their f16 scale to `scale`. `masks` by signs, 0
 * to keep them unturned. `scratch` holds 5 · filled(dim) bytes.
 */
export function keepCodes(x: usize, dim: usize, bits: u32, masks: usize, to: usize, scale: usize, scratch: usize): void {
  assert(bits == 8 || bits == 4);
  const count = filled(dim);
  turn(x, masks, dim, scratch);
  memory.fill(scratch + (dim << 2), 0, (count - dim) << 2);
  const unit: f32 = bits == 8 ? largest(scratch, count) / 127 : sqrt<f32>(inner(scratch, scratch, dim) / <f32>dim) * STEP;
  const half = toF16(unit);
  store<u16>(scale, <u16>half);
  const scales = f32x4.splat(fromF16(half));
  if (bits == 8) {
    if ((half & 0x7fff) == 0) {
      memory.fill(to, 0, count);
      return;
    }
    for (let i: usize = 0; i < count; i += 16) {
      const at = scratch + (i << 2);
      const low = i16x8.narrow_i32x4_s(eightBits(at, scales), eightBits(at + 16, scales));
      const high = i16x8.narrow_i32x4_s(eightBits(at + 32, scales), eightBits(at + 48, scales));
      v128.store(to + i, i8x16.narrow_i16x8_s(low, high));
    }
    return;
  }
  const codes = scratch + (count << 2);
  for (let i: usize = 0; i < count; i += 16) {
    const at = scratch + (i << 2);
    const low = i16x8.narrow_i32x4_s(nearestLevels(at, scales), nearestLevels(at + 16, scales));
    const high = i16x8.narrow_i32x4_s(nearestLevels(at + 32, scales), nearestLevels(at + 48, scales));
    v128.store(codes + i, i8x16.narrow_i16x8_s(low, high));
  }
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
  const table = levels();
  const mask = i8x16.splat(15);
  for (; rows > 0; rows--, codes += stride) {
    let at = codes;
    let i: usize = 0;
    for (; i + 32 <= count; i += 32, at += 16, to += 32) {
      const pairs = v128.load(at);
      v128.store(to, i8x16.swizzle(table, v128.and(pairs, mask)));
      v128.store(to, i8x16.swizzle(table, i8x16.shr_u(pairs, 4)), 16);
    }
    if (i < count) {
      const pairs = v128.load64_zero(at);
      const both = v128.shuffle<i64>(v128.and(pairs, mask), i8x16.shr_u(pairs, 4), 0, 2);
      v128.store(to, i8x16.swizzle(table, both));
      to += 16;
    }
  }
}
