// The rule for sums in lanes.ts, for any number of elements.

import { fold, loadTail } from '../lanes';

/** Inner product of `n` f32, by the rule for sums. */
// @ts-ignore: decorator
@inline
export function inner(a: usize, b: usize, n: usize): f32 {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = a + ((n & ~15) << 2); a < end; a += 64, b += 64) {
    s0 = f32x4.add(s0, f32x4.mul(v128.load(a), v128.load(b)));
    s1 = f32x4.add(s1, f32x4.mul(v128.load(a, 16), v128.load(b, 16)));
    s2 = f32x4.add(s2, f32x4.mul(v128.load(a, 32), v128.load(b, 32)));
    s3 = f32x4.add(s3, f32x4.mul(v128.load(a, 48), v128.load(b, 48)));
  }
  const rest = n & 15;
  if (rest > 0) {
    const whole = rest >> 2;
    if (whole > 0) s0 = f32x4.add(s0, f32x4.mul(v128.load(a), v128.load(b)));
    if (whole > 1) s1 = f32x4.add(s1, f32x4.mul(v128.load(a, 16), v128.load(b, 16)));
    if (whole > 2) s2 = f32x4.add(s2, f32x4.mul(v128.load(a, 32), v128.load(b, 32)));
    const at = whole << 4;
    const tail = f32x4.mul(loadTail(a + at, rest & 3), loadTail(b + at, rest & 3));
    if (whole == 0) s0 = f32x4.add(s0, tail);
    else if (whole == 1) s1 = f32x4.add(s1, tail);
    else if (whole == 2) s2 = f32x4.add(s2, tail);
    else s3 = f32x4.add(s3, tail);
  }
  return fold(s0, s1, s2, s3);
}

/** Sum of `n` f32, by the rule for sums. */
// @ts-ignore: decorator
@inline
export function sum(a: usize, n: usize): f32 {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = a + ((n & ~15) << 2); a < end; a += 64) {
    s0 = f32x4.add(s0, v128.load(a));
    s1 = f32x4.add(s1, v128.load(a, 16));
    s2 = f32x4.add(s2, v128.load(a, 32));
    s3 = f32x4.add(s3, v128.load(a, 48));
  }
  const rest = n & 15;
  if (rest > 0) {
    const whole = rest >> 2;
    if (whole > 0) s0 = f32x4.add(s0, v128.load(a));
    if (whole > 1) s1 = f32x4.add(s1, v128.load(a, 16));
    if (whole > 2) s2 = f32x4.add(s2, v128.load(a, 32));
    const tail = loadTail(a + (whole << 4), rest & 3);
    if (whole == 0) s0 = f32x4.add(s0, tail);
    else if (whole == 1) s1 = f32x4.add(s1, tail);
    else if (whole == 2) s2 = f32x4.add(s2, tail);
    else s3 = f32x4.add(s3, tail);
  }
  return fold(s0, s1, s2, s3);
}
