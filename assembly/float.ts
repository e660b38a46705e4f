// f16, bf16 and f8_e4m3 to f32 and back: exact one way, round to nearest even the other (IEEE 754-2008; OCP FP8 for e4m3).
// A narrow float's bits, shifted to f32's places, are the value times a power of two; one exact product sets it right,
// subnormals included.

const SIGN: u32 = 0x80000000;
const INFINITY: u32 = 0x7f800000;
const QUIET: u32 = 0x7fc00000;

/** Columns that share one factor of block-scaled weights. */
export const FACTOR_COLS: usize = 128;

// The value of magnitude bits that stand in f32's places with an exponent too small by `bias`. A subnormal's exponent is lifted by one,
// which adds a hidden bit that it does not have; the subtraction takes it away again and sets the exponent right. No operand is an
// f32 subnormal: on many machines those cost a hundred times as much.
// @ts-ignore: decorator
@inline
function rebias(magnitude: v128, bias: u32): v128 {
  const subnormal = i32x4.lt_u(magnitude, i32x4.splat(1 << 23));
  const lifted = i32x4.add(i32x4.add(magnitude, i32x4.splat(bias << 23)), v128.and(subnormal, i32x4.splat(1 << 23)));
  return f32x4.sub(lifted, v128.and(subnormal, i32x4.splat((bias + 1) << 23)));
}

//   f16  s eeeee mmmmmmmmmm  ->  f32  s 000eeeee mmmmmmmmmm 0000000000000, exponent too small by 127 - 15
// @ts-ignore: decorator
@inline
export function widen16(h: v128): v128 {
  const magnitude = i32x4.shl(v128.and(h, i32x4.splat(0x7fff)), 13);
  const special = v128.and(i32x4.ge_u(magnitude, i32x4.splat(0x7c00 << 13)), i32x4.splat(INFINITY));
  return v128.or(v128.or(rebias(magnitude, 112), special), i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16));
}

// As widen16 for normal numbers, whose sign already fills the upper half.
// @ts-ignore: decorator
@inline
function widenNormal(h: v128): v128 {
  return i32x4.add(v128.and(i32x4.shl(h, 13), i32x4.splat(0x8fffe000)), i32x4.splat(112 << 23));
}

//   f8  s eeee mmm  ->  f32  s 0000eeee mmm 00000000000000000000, exponent too small by 127 - 7; s 1111 111 is NaN, there is no infinity
// @ts-ignore: decorator
@inline
function widen8(b: v128): v128 {
  const magnitude = i32x4.shl(v128.and(b, i32x4.splat(0x7f)), 20);
  const nan = i32x4.eq(magnitude, i32x4.splat(0x7f << 20));
  const unsigned = v128.bitselect(i32x4.splat(QUIET), rebias(magnitude, 120), nan);
  return v128.or(unsigned, i32x4.shl(v128.and(b, i32x4.splat(0x80)), 24));
}

// |x| below 2^-14 is rounded by adding 0.5: the sum's last bit is f16's last bit. Larger values are rounded in integers.
// @ts-ignore: decorator
@inline
function narrow16(x: v128): v128 {
  const magnitude = v128.andnot(x, i32x4.splat(SIGN));
  const sign = i32x4.shr_u(v128.and(x, i32x4.splat(SIGN)), 16);
  const half = f32x4.splat(0.5);
  const subnormal = i32x4.sub(f32x4.add(magnitude, half), half);
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(0xc8000fff)), odd), 13);
  let h = v128.bitselect(subnormal, normal, i32x4.lt_u(magnitude, i32x4.splat(0x38800000)));
  h = v128.bitselect(i32x4.splat(0x7c00), h, i32x4.ge_u(magnitude, i32x4.splat(0x47800000)));
  h = v128.bitselect(i32x4.splat(0x7e00), h, i32x4.gt_u(magnitude, i32x4.splat(INFINITY)));
  return v128.or(h, sign);
}

// @ts-ignore: decorator
@inline
function narrowB16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), 16);
  const quiet = v128.or(i32x4.shr_u(x, 16), i32x4.splat(0x40));
  const nan = i32x4.gt_u(v128.andnot(x, i32x4.splat(SIGN)), i32x4.splat(INFINITY));
  return v128.bitselect(quiet, rounded, nan);
}

/** The f16 nearest to `x`, as bits. */
// @ts-ignore: decorator
@inline
export function toF16(x: f32): u32 {
  return i32x4.extract_lane(narrow16(f32x4.splat(x)), 0);
}

/** The f32 equal to the f16 with the bits `h`. */
// @ts-ignore: decorator
@inline
export function fromF16(h: u32): f32 {
  return f32x4.extract_lane(widen16(i32x4.splat(h)), 0);
}

/** f16 → f32, exact; NaN payloads kept. `count` elements of `x` (2 bytes) to `y` (4 bytes). */
export function f16ToF32(x: usize, y: usize, count: usize): void {
  const whole = count & ~7;
  let i: usize = 0;
  for (; i < whole; i += 8) {
    const h = v128.load(x + (i << 1));
    const exponents = v128.and(h, i16x8.splat(0x7c00));
    if (v128.any_true(v128.or(i16x8.eq(exponents, i16x8.splat(0)), i16x8.eq(exponents, i16x8.splat(0x7c00))))) {
      v128.store(y + (i << 2), widen16(i32x4.extend_low_i16x8_u(h)));
      v128.store(y + (i << 2), widen16(i32x4.extend_high_i16x8_u(h)), 16);
    } else {
      v128.store(y + (i << 2), widenNormal(i32x4.extend_low_i16x8_s(h)));
      v128.store(y + (i << 2), widenNormal(i32x4.extend_high_i16x8_s(h)), 16);
    }
  }
  for (; i < count; i++) store<f32>(y + (i << 2), fromF16(load<u16>(x + (i << 1))));
}

/** bf16 → f32, exact. `count` elements of `x` (2 bytes) to `y` (4 bytes). */
export function bf16ToF32(x: usize, y: usize, count: usize): void {
  const zero = i32x4.splat(0);
  const whole = count & ~7;
  let i: usize = 0;
  for (; i < whole; i += 8) {
    const h = v128.load(x + (i << 1));
    v128.store(y + (i << 2), v128.shuffle<i16>(zero, h, 0, 8, 1, 9, 2, 10, 3, 11));
    v128.store(y + (i << 2), v128.shuffle<i16>(zero, h, 4, 12, 5, 13, 6, 14, 7, 15), 16);
  }
  for (; i < count; i++) store<u32>(y + (i << 2), (<u32>load<u16>(x + (i << 1))) << 16);
}

/** f8_e4m3 → f32, exact; both NaNs become quiet NaNs of their sign. `count` elements of `x` (1 byte) to `y` (4 bytes). */
export function f8ToF32(x: usize, y: usize, count: usize): void {
  const whole = count & ~7;
  let i: usize = 0;
  for (; i < whole; i += 8) {
    const h = v128.load8x8_u(x + i);
    v128.store(y + (i << 2), widen8(i32x4.extend_low_i16x8_u(h)));
    v128.store(y + (i << 2), widen8(i32x4.extend_high_i16x8_u(h)), 16);
  }
  for (; i < count; i++) v128.store32_lane(y + (i << 2), widen8(i32x4.splat(load<u8>(x + i))), 0);
}

/** Multiplies `x` in place by one factor for each run of `blockCols` elements; `factors` holds ceil(cols / blockCols) f32. */
export function scaleBlocks(x: usize, cols: usize, factors: usize, blockCols: usize): void {
  for (let start: usize = 0; start < cols; start += blockCols) {
    const factor = load<f32>(factors);
    factors += 4;
    const end = min(start + blockCols, cols);
    let i = start;
    for (; i + 4 <= end; i += 4) v128.store(x + (i << 2), f32x4.mul(v128.load(x + (i << 2)), f32x4.splat(factor)));
    for (; i < end; i++) store<f32>(x + (i << 2), load<f32>(x + (i << 2)) * factor);
  }
}

/** Dtypes of weights that are read. */
export const F32: u32 = 0;
export const BF16: u32 = 1;
export const F16: u32 = 2;
export const F8: u32 = 3;

/** Bytes of a weight. */
// @ts-ignore: decorator
@inline
export function weightBytes(dtype: u32): usize {
  return dtype == F32 ? 4 : dtype == F8 ? 1 : 2;
}

/**
 * A row of `cols` weights of a dtype to f32. `factors`, 0 for none, has one f32 for each FACTOR_COLS weights, which are multiplied by it.
 */
export function widen(w: usize, dtype: u32, factors: usize, cols: usize, y: usize): void {
  if (dtype == BF16) bf16ToF32(w, y, cols);
  else if (dtype == F16) f16ToF32(w, y, cols);
  else if (dtype == F8) f8ToF32(w, y, cols);
  else memory.copy(y, w, cols << 2);
  if (factors) scaleBlocks(y, cols, factors, FACTOR_COLS);
}

/**
 * f32 → f16, to nearest even; from 65520 on infinity, NaN the quiet NaN. `count` elements of `x` (4 bytes) to `y` (2 bytes).
 * @returns 1 if any result is infinite or NaN, else 0.
 */
export function f32ToF16(x: usize, y: usize, count: usize): i32 {
  const infinity = i16x8.splat(0x7c00);
  let special = i16x8.splat(0);
  const whole = count & ~7;
  let i: usize = 0;
  for (; i < whole; i += 8) {
    const low = narrow16(v128.load(x + (i << 2)));
    const high = narrow16(v128.load(x + (i << 2), 16));
    const h = i16x8.narrow_i32x4_u(low, high);
    special = v128.or(special, i16x8.eq(v128.and(h, infinity), infinity));
    v128.store(y + (i << 1), h);
  }
  let any = v128.any_true(special);
  for (; i < count; i++) {
    const h = toF16(load<f32>(x + (i << 2)));
    any = any || (h & 0x7c00) == 0x7c00;
    store<u16>(y + (i << 1), <u16>h);
  }
  return any ? 1 : 0;
}

/** f32 → bf16, to nearest even; NaN stays NaN, made quiet. `count` elements of `x` (4 bytes) to `y` (2 bytes). */
export function f32ToBf16(x: usize, y: usize, count: usize): void {
  const whole = count & ~7;
  let i: usize = 0;
  for (; i < whole; i += 8) {
    const low = narrowB16(v128.load(x + (i << 2)));
    const high = narrowB16(v128.load(x + (i << 2), 16));
    v128.store(y + (i << 1), i16x8.narrow_i32x4_u(low, high));
  }
  for (; i < count; i++) v128.store16_lane(y + (i << 1), narrowB16(v128.load32_splat(x + (i << 2))), 0);
}
