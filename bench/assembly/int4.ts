// Round to nearest on 16 equidistant levels, one f16 scale a group (bench/baselines.ts, `roundToNearest`):
//   symmetric   s = f16(max |x| / 7), code = clamp(round(x / s), -7, 7) + 8
//   asymmetric  s = f16((hi - lo) / 15), zero = round(-lo / s), code = clamp(round(x / s) + zero, 0, 15), with lo ≤ 0 ≤ hi

import { fromF16, toF16 } from '../../assembly/float';
import { eight, largest, storeCodes, widened } from './group';

// @ts-ignore: decorator
@inline
function reciprocal(scale: f32): f32 {
  return scale == 0 ? 0 : <f32>1 / scale;
}

/**
 * Encodes `count` weights at `x`, f32 or bf16: half a byte each to `packed`, an f16 a group to `scales`. `groupSize` is a
 * multiple of 32 that divides `count`; `scratch` holds as many f32.
 */
export function int4Symmetric(
  x: usize, bf16: bool, count: usize, groupSize: usize, packed: usize, scales: usize, scratch: usize,
): void {
  const stride = bf16 ? groupSize << 1 : groupSize << 2;
  for (; count > 0; count -= groupSize) {
    const w = widened(x, bf16, groupSize, scratch);
    const scale = toF16(largest(w, groupSize) / 7);
    store<u16>(scales, <u16>scale);
    const factor = f32x4.splat(reciprocal(fromF16(scale)));
    for (let i: usize = 0; i < groupSize; i += 32) {
      const address = w + (i << 2);
      const a = i8x16.narrow_i16x8_s(eight(address, factor), eight(address + 32, factor));
      const b = i8x16.narrow_i16x8_s(eight(address + 64, factor), eight(address + 96, factor));
      storeCodes(packed, shifted(a), shifted(b));
      packed += 16;
    }
    scales += 2;
    x += stride;
  }
}

// @ts-ignore: decorator
@inline
function shifted(q: v128): v128 {
  return i8x16.add(i8x16.min_s(i8x16.max_s(q, i8x16.splat(-7)), i8x16.splat(7)), i8x16.splat(8));
}

/** As int4Symmetric; `zeros` gets half a byte a group, the earlier group's in the lower half. */
export function int4Asymmetric(
  x: usize, bf16: bool, count: usize, groupSize: usize, packed: usize, scales: usize, zeros: usize, scratch: usize,
): void {
  const stride = bf16 ? groupSize << 1 : groupSize << 2;
  let upper = false;
  for (; count > 0; count -= groupSize) {
    const w = widened(x, bf16, groupSize, scratch);
    let low = f32x4.splat(0);
    let high = low;
    let low1 = low;
    let high1 = low;
    for (let at = w, end = w + (groupSize << 2); at < end; at += 32) {
      const a = v128.load(at);
      const b = v128.load(at, 16);
      low = f32x4.pmin(low, a);
      high = f32x4.pmax(high, a);
      low1 = f32x4.pmin(low1, b);
      high1 = f32x4.pmax(high1, b);
    }
    low = f32x4.pmin(low, low1);
    high = f32x4.pmax(high, high1);
    low = f32x4.pmin(low, v128.shuffle<f32>(low, low, 2, 3, 0, 1));
    high = f32x4.pmax(high, v128.shuffle<f32>(high, high, 2, 3, 0, 1));
    const lo = min(f32x4.extract_lane(low, 0), f32x4.extract_lane(low, 1));
    const hi = max(f32x4.extract_lane(high, 0), f32x4.extract_lane(high, 1));
    const scale = toF16((hi - lo) / 15);
    const inverse = reciprocal(fromF16(scale));
    const zero = <i32>min<f32>(15, nearest<f32>(-lo * inverse));
    store<u16>(scales, <u16>scale);
    if (upper) store<u8>(zeros, <u8>(load<u8>(zeros) | (zero << 4)));
    else store<u8>(zeros, <u8>zero);
    zeros += <usize>upper;
    upper = !upper;
    const factor = f32x4.splat(inverse);
    const shift = i16x8.splat(<i16>zero);
    for (let i: usize = 0; i < groupSize; i += 32) {
      const address = w + (i << 2);
      storeCodes(packed, sixteen(address, factor, shift), sixteen(address + 64, factor, shift));
      packed += 16;
    }
    scales += 2;
    x += stride;
  }
}

// @ts-ignore: decorator
@inline
function sixteen(w: usize, factor: v128, zero: v128): v128 {
  const a = i16x8.add(eight(w, factor), zero);
  const b = i16x8.add(eight(w + 32, factor), zero);
  return i8x16.min_u(i8x16.narrow_i16x8_u(a, b), i8x16.splat(15));
}
