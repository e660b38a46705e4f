// Softmax:  x_i = e^(x_i - max) · (1 / Σ), the sum by the rule for sums. Without the largest value no exponent is above 0, so nothing
// overflows, and Σ is 1 at least. The reciprocal is rounded once, and then multiplied with: one division for all.

import { exponential } from './math';
import { sum } from './sums';

/** Softmax of `count` (at least 1) f32 at `x`, in place. Reads and may change what follows, up to the next multiple of four. */
export function softmax(x: usize, count: usize): void {
  const shift = f32x4.splat(largest(x, count));
  for (let i: usize = 0; i < count; i += 4) v128.store(x + (i << 2), f32x4.sub(v128.load(x + (i << 2)), shift));
  exponential(x, x, count);
  const factor = f32x4.splat(<f32>1 / sum(x, count));
  for (let i: usize = 0; i < count; i += 4) v128.store(x + (i << 2), f32x4.mul(v128.load(x + (i << 2)), factor));
}

// The largest of `count` f32. Of NaNs it may be any: what is shifted by it has the NaN still.
function largest(x: usize, count: usize): f32 {
  let most = v128.load32_splat(x);
  const whole = x + ((count & ~3) << 2);
  for (let at = x; at < whole; at += 16) most = f32x4.pmax(most, v128.load(at));
  for (let at = whole; at < x + (count << 2); at += 4) most = f32x4.pmax(most, v128.load32_splat(at));
  most = f32x4.pmax(most, v128.shuffle<i32>(most, most, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1));
}
