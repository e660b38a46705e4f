// exp for softmax and gates and tanh for caps in f32, cos and sin for rope in f64: Taylor's polynomials after a reduction of the range.
//   e^x = 2^n · e^r,  n = round(x / ln 2), |r| ≤ ½ ln 2;     cos and sin of a = k · π/2 + r, |r| ≤ π/4
//   tanh x = ±(1 - e) / (1 + e),  e = e^(-2 |x|), from ½ on; its series below

const LOG2E: f32 = 1.4426950408889634;
// ln 2 in two parts; the first has 16 bits, so n times it is exact.
const LN2_HIGH: f32 = 0.693145751953125;
const LN2_LOW: f32 = 1.4286068203094173e-6;
const LARGEST: f32 = 88;
const SMALLEST: f32 = -87;
/** 3 · 2^22: added to a number below 2^22 it rounds it to nearest even, and the sum's low bits are the integer. */
const ROUNDER: f32 = 12582912;

/** e^x of four f32, within 2 units in the last place from -87 to 88; 0 below, e^88 above, NaN of NaN. */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const low = f32x4.pmin(x, f32x4.splat(LARGEST));
  const rounded = f32x4.add(f32x4.mul(low, f32x4.splat(LOG2E)), f32x4.splat(ROUNDER));
  const n = f32x4.sub(rounded, f32x4.splat(ROUNDER));
  const high = f32x4.sub(low, f32x4.mul(n, f32x4.splat(LN2_HIGH)));
  const r = f32x4.sub(high, f32x4.mul(n, f32x4.splat(LN2_LOW)));
  let p = f32x4.splat(<f32>(1.0 / 5040));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>(1.0 / 720)));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>(1.0 / 120)));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>(1.0 / 24)));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>(1.0 / 6)));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(0.5));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1));
  // n times the exponent's unit; the rounder's own bits are shifted out.
  const power = i32x4.add(i32x4.shl(rounded, 23), i32x4.splat(127 << 23));
  return v128.andnot(f32x4.mul(p, power), f32x4.lt(x, f32x4.splat(SMALLEST)));
}

/** e^x of `count` f32 from `x` to `y`. Reads `x` up to the next multiple of four. */
export function exponential(x: usize, y: usize, count: usize): void {
  for (; count >= 4; count -= 4, x += 16, y += 16) v128.store(y, exp4(v128.load(x)));
  const last = exp4(v128.load(x));
  if (count > 0) v128.store32_lane(y, last, 0);
  if (count > 1) v128.store32_lane(y, last, 1, 4);
  if (count > 2) v128.store32_lane(y, last, 2, 8);
}

/** tanh of four f32, within 4 units in the last place; NaN of NaN. */
// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const one = f32x4.splat(1);
  const size = f32x4.abs(x);
  const e = exp4(f32x4.mul(size, f32x4.splat(-2)));
  const far = f32x4.div(f32x4.sub(one, e), f32x4.add(one, e));
  const signed = v128.or(far, v128.and(x, f32x4.splat(-0.0)));
  const s = f32x4.mul(x, x);
  let p = f32x4.splat(<f32>(-929569.0 / 638512875));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(<f32>(21844.0 / 6081075)));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(<f32>(-1382.0 / 155925)));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(<f32>(62.0 / 2835)));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(<f32>(-17.0 / 315)));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(<f32>(2.0 / 15)));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(<f32>(-1.0 / 3)));
  const near = f32x4.add(x, f32x4.mul(x, f32x4.mul(s, p)));
  return v128.bitselect(near, signed, f32x4.lt(size, f32x4.splat(0.5)));
}

const TWO_OVER_PI: f64 = 0.6366197723675814;
// π/2 in three parts; the first two have 33 bits, so k times them is exact up to k = 2^20.
const HALF_PI_1: f64 = 1.5707963267341256;
const HALF_PI_2: f64 = 6.077100506303966e-11;
const HALF_PI_3: f64 = 2.0222662487959506e-21;

// sin r = r - r³ / 3! + … - r^15 / 15!
// @ts-ignore: decorator
@inline
function sinNear(r: f64): f64 {
  const s = r * r;
  let p: f64 = -1.0 / 1307674368000;
  p = p * s + 1.0 / 6227020800;
  p = p * s - 1.0 / 39916800;
  p = p * s + 1.0 / 362880;
  p = p * s - 1.0 / 5040;
  p = p * s + 1.0 / 120;
  p = p * s - 1.0 / 6;
  return r + r * s * p;
}

// cos r = 1 - r² / 2! + … + r^16 / 16!
// @ts-ignore: decorator
@inline
function cosNear(r: f64): f64 {
  const s = r * r;
  let p: f64 = 1.0 / 20922789888000;
  p = p * s - 1.0 / 87178291200;
  p = p * s + 1.0 / 479001600;
  p = p * s - 1.0 / 3628800;
  p = p * s + 1.0 / 40320;
  p = p * s - 1.0 / 720;
  p = p * s + 1.0 / 24;
  p = p * s - 0.5;
  return 1 + s * p;
}

/**
 * Cosines and sines that rope needs at position `position`: `half` f32 cos(position · frequency), then `half` sin, to `y`.
 * `frequencies` are f64. Angles below 1.6 million keep 2^-40 absolutely before they are rounded to f32.
 */
export function angles(frequencies: usize, half: usize, position: f64, y: usize): void {
  for (let i: usize = 0; i < half; i++) {
    const angle = position * load<f64>(frequencies + (i << 3));
    const k = nearest<f64>(angle * TWO_OVER_PI);
    const r = angle - k * HALF_PI_1 - k * HALF_PI_2 - k * HALF_PI_3;
    const s = sinNear(r);
    const c = cosNear(r);
    const quarter = <i32>k & 3;
    const cos = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
    const sin = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
    store<f32>(y + (i << 2), <f32>cos);
    store<f32>(y + ((half + i) << 2), <f32>sin);
  }
}
