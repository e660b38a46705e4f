// Random signs and the unnormalised Sylvester–Hadamard transform in natural order, f32.
//   stage h = 1, 2, 4, …:  (x[i], x[i + h])  ->  (x[i] + x[i + h], x[i] - x[i + h])
// The stages run in ascending h; how they are grouped into passes cannot change a bit. `begin` takes signs, squared norm and the first four
// stages in one pass over a group, `finish` three stages a pass after that, while the group is in the first-level cache.

import { dot, fold, nextGroup } from './lanes';

// MurmurHash3's finaliser: a bijection of 32 bits in which every input bit moves every output bit.
// @ts-ignore: decorator
@inline
function mix(h: u32): u32 {
  h = (h ^ (h >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  return h ^ (h >> 16);
}

/**
 * Sign masks of columns 0 … count - 1: 0x80000000 for -1, 0 for +1. Bit j of word k, counted from the lowest, belongs to
 * column 32k + j; word k = mix(mix(seed) + (k + 1) · 0x9e3779b9). Writes whole words: `masks` holds count rounded up to 32.
 */
export function signs(seed: u32, masks: usize, count: usize): void {
  const start = mix(seed);
  const places = i32x4(1 << 31, 1 << 30, 1 << 29, 1 << 28); // lane j lifts bit j to bit 31
  const top = i32x4.splat(0x80000000);
  const words = (count + 31) >> 5;
  for (let k: usize = 0; k < words; k++) {
    const word = mix(start + <u32>(k + 1) * 0x9e3779b9);
    for (let j: u32 = 0; j < 32; j += 4) {
      v128.store(masks, v128.and(i32x4.mul(i32x4.splat(word >> j), places), top));
      masks += 16;
    }
  }
}

// Stages 1 and 2 inside one vector: a - b is a + (-b), so each is one shuffle, one sign flip, one addition.
// @ts-ignore: decorator
@inline
function inside(v: v128): v128 {
  const minus1 = i32x4(0, 0x80000000, 0, 0x80000000);
  const minus2 = i32x4(0, 0, 0x80000000, 0x80000000);
  v = f32x4.add(v128.shuffle<f32>(v, v, 1, 0, 3, 2), v128.xor(v, minus1));
  return f32x4.add(v128.shuffle<f32>(v, v, 2, 3, 0, 1), v128.xor(v, minus2));
}

// Stages 1, 2, 4, 8 of the sixteen elements in a, b, c, d, to y.
// @ts-ignore: decorator
@inline
function sixteen(a: v128, b: v128, c: v128, d: v128, y: usize): void {
  a = inside(a);
  b = inside(b);
  c = inside(c);
  d = inside(d);
  const ab = f32x4.add(a, b);
  const a_b = f32x4.sub(a, b);
  const cd = f32x4.add(c, d);
  const c_d = f32x4.sub(c, d);
  v128.store(y, f32x4.add(ab, cd));
  v128.store(y, f32x4.add(a_b, c_d), 16);
  v128.store(y, f32x4.sub(ab, cd), 32);
  v128.store(y, f32x4.sub(a_b, c_d), 48);
}

// @ts-ignore: decorator
@inline
function scaled(v: v128, factor: v128, scale: bool): v128 {
  return scale ? f32x4.mul(v, factor) : v;
}

// One stage, two elements h bytes apart, over a whole transform of 2h bytes.
// @ts-ignore: decorator
@inline
function pass2(x: usize, h: usize, factor: v128, scale: bool): void {
  for (let p = x; p < x + h; p += 16) {
    const a = v128.load(p);
    const b = v128.load(p + h);
    v128.store(p, scaled(f32x4.add(a, b), factor, scale));
    v128.store(p + h, scaled(f32x4.sub(a, b), factor, scale));
  }
}

// Two stages, h and 2h bytes.
// @ts-ignore: decorator
@inline
function pass4(x: usize, end: usize, h: usize, factor: v128, scale: bool): void {
  for (let block = x; block < end; block += h << 2) {
    for (let p = block; p < block + h; p += 16) {
      const a = v128.load(p);
      const b = v128.load(p + h);
      const c = v128.load(p + 2 * h);
      const d = v128.load(p + 3 * h);
      const ab = f32x4.add(a, b);
      const a_b = f32x4.sub(a, b);
      const cd = f32x4.add(c, d);
      const c_d = f32x4.sub(c, d);
      v128.store(p, scaled(f32x4.add(ab, cd), factor, scale));
      v128.store(p + h, scaled(f32x4.add(a_b, c_d), factor, scale));
      v128.store(p + 2 * h, scaled(f32x4.sub(ab, cd), factor, scale));
      v128.store(p + 3 * h, scaled(f32x4.sub(a_b, c_d), factor, scale));
    }
  }
}

// Three stages, h, 2h and 4h bytes.
// @ts-ignore: decorator
@inline
function pass8(x: usize, end: usize, h: usize, factor: v128, scale: bool): void {
  for (let block = x; block < end; block += h << 3) {
    for (let p = block; p < block + h; p += 16) {
      const q = p + (h << 2);
      let a = v128.load(p);
      let b = v128.load(p + h);
      let c = v128.load(p + 2 * h);
      let d = v128.load(p + 3 * h);
      const ab = f32x4.add(a, b);
      const a_b = f32x4.sub(a, b);
      const cd = f32x4.add(c, d);
      const c_d = f32x4.sub(c, d);
      const k0 = f32x4.add(ab, cd);
      const k1 = f32x4.add(a_b, c_d);
      const k2 = f32x4.sub(ab, cd);
      const k3 = f32x4.sub(a_b, c_d);
      a = v128.load(q);
      b = v128.load(q + h);
      c = v128.load(q + 2 * h);
      d = v128.load(q + 3 * h);
      const ef = f32x4.add(a, b);
      const e_f = f32x4.sub(a, b);
      const gh = f32x4.add(c, d);
      const g_h = f32x4.sub(c, d);
      const m0 = f32x4.add(ef, gh);
      const m1 = f32x4.add(e_f, g_h);
      const m2 = f32x4.sub(ef, gh);
      const m3 = f32x4.sub(e_f, g_h);
      v128.store(p, scaled(f32x4.add(k0, m0), factor, scale));
      v128.store(p + h, scaled(f32x4.add(k1, m1), factor, scale));
      v128.store(p + 2 * h, scaled(f32x4.add(k2, m2), factor, scale));
      v128.store(p + 3 * h, scaled(f32x4.add(k3, m3), factor, scale));
      v128.store(q, scaled(f32x4.sub(k0, m0), factor, scale));
      v128.store(q + h, scaled(f32x4.sub(k1, m1), factor, scale));
      v128.store(q + 2 * h, scaled(f32x4.sub(k2, m2), factor, scale));
      v128.store(q + 3 * h, scaled(f32x4.sub(k3, m3), factor, scale));
    }
  }
}

// Stages 16 and up (none if n ≤ 16): as many passes of three stages as there are, then one of two or two, or one of one.
// The last pass multiplies by the factor.
// @ts-ignore: decorator
@inline
function late(x: usize, n: usize, factor: v128, scale: bool): void {
  const bytes = n << 2;
  const end = x + bytes;
  let h: usize = 64;
  while (h << 3 < bytes && h << 4 != bytes) {
    pass8(x, end, h, factor, false);
    h <<= 3;
  }
  if (h << 4 == bytes) {
    pass4(x, end, h, factor, false);
    h <<= 2;
  }
  if (h << 3 == bytes) pass8(x, end, h, factor, scale);
  else if (h << 2 == bytes) pass4(x, end, h, factor, scale);
  else if (h << 1 == bytes) pass2(x, h, factor, scale);
}

// All stages of n < 16 elements, in place.
function small(x: usize, n: usize): void {
  if (n == 2) {
    const a = load<f32>(x);
    const b = load<f32>(x, 4);
    store<f32>(x, a + b);
    store<f32>(x, a - b, 4);
  } else if (n == 4) {
    v128.store(x, inside(v128.load(x)));
  } else if (n == 8) {
    const a = inside(v128.load(x));
    const b = inside(v128.load(x, 16));
    v128.store(x, f32x4.add(a, b));
    v128.store(x, f32x4.sub(a, b), 16);
  }
}

// Stages 1 to 8, in place.
// @ts-ignore: decorator
@inline
function early(x: usize, n: usize): void {
  if (n < 16) small(x, n);
  else for (const end = x + (n << 2); x < end; x += 64) {
    sixteen(v128.load(x), v128.load(x, 16), v128.load(x, 32), v128.load(x, 48), x);
  }
}

/** Hadamard transform of `n` f32 at `x`, in place. `n` is a power of two, 1 to 4096; `x` may be unaligned. */
export function hadamard(x: usize, n: usize): void {
  assert(n >= 1 && n <= 4096 && (n & (n - 1)) == 0);
  early(x, n);
  late(x, n, f32x4.splat(1), false);
}

/** As hadamard, each result times `factor`. */
export function scaledHadamard(x: usize, n: usize, factor: f32): void {
  early(x, n);
  finish(x, n, factor);
}

/**
 * y = the transform of s ∘ x as far as stage 8, for `finish` to complete; `masks` by signs. `n` as of hadamard.
 * @returns Σ x², by the rule for sums in lanes.ts
 */
export function begin(x: usize, masks: usize, y: usize, n: usize): f32 {
  if (n < 16) {
    flip(x, masks, y, n);
    small(y, n);
    return dot(x, x, n);
  }
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = x + (n << 2); x < end; x += 64, masks += 64, y += 64) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const c = v128.load(x, 32);
    const d = v128.load(x, 48);
    s0 = f32x4.add(s0, f32x4.mul(a, a));
    s1 = f32x4.add(s1, f32x4.mul(b, b));
    s2 = f32x4.add(s2, f32x4.mul(c, c));
    s3 = f32x4.add(s3, f32x4.mul(d, d));
    sixteen(
      v128.xor(a, v128.load(masks)), v128.xor(b, v128.load(masks, 16)),
      v128.xor(c, v128.load(masks, 32)), v128.xor(d, v128.load(masks, 48)), y,
    );
  }
  return fold(s0, s1, s2, s3);
}

/** The stages that `begin` left, then the product with `factor`, in place. */
export function finish(y: usize, n: usize, factor: f32): void {
  if (n > 16) late(y, n, f32x4.splat(factor), true);
  else scaleBy(y, factor, n);
}

/** Copies `count` f32 from `x` to `y`, the sign bits flipped by `masks`. */
// @ts-ignore: decorator
@inline
export function flip(x: usize, masks: usize, y: usize, count: usize): void {
  let i: usize = 0;
  for (; i + 4 <= count; i += 4) {
    v128.store(y + (i << 2), v128.xor(v128.load(x + (i << 2)), v128.load(masks + (i << 2))));
  }
  for (; i < count; i++) store<u32>(y + (i << 2), load<u32>(x + (i << 2)) ^ load<u32>(masks + (i << 2)));
}

/** `x` times `factor`, in place, `count` f32. */
// @ts-ignore: decorator
@inline
function scaleBy(x: usize, factor: f32, count: usize): void {
  let i: usize = 0;
  for (; i + 4 <= count; i += 4) v128.store(x + (i << 2), f32x4.mul(v128.load(x + (i << 2)), f32x4.splat(factor)));
  for (; i < count; i++) store<f32>(x + (i << 2), load<f32>(x + (i << 2)) * factor);
}

/**
 * Rotates an activation: y = (1/√g) H (s ∘ x) in each group g of the row. `x`, `y` and `masks` have `cols` elements;
 * `groupSize` is a power of two, 1 to 4096. The product with f32(1 / f32(√g)) comes after the transform.
 */
export function rotate(x: usize, masks: usize, cols: usize, groupSize: usize, y: usize): void {
  for (let start: usize = 0; start < cols; ) {
    const g = nextGroup(cols - start, groupSize);
    const offset = start << 2;
    begin(x + offset, masks + offset, y + offset, g);
    finish(y + offset, g, <f32>1 / sqrt<f32>(<f32>g));
    start += g;
  }
}
