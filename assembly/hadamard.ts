// Random signs and the unnormalised Sylvester–Hadamard transform in natural order, f32.
//   stage h = 1, 2, 4, …:  (x[i], x[i + h])  ->  (x[i] + x[i + h], x[i] - x[i + h])
// The stages run in ascending h; how they are grouped into passes cannot change a bit.

import { nextGroup } from './lanes';

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

// @ts-ignore: decorator
@inline
function transform(x: usize, n: usize): void {
  if (n < 4) {
    if (n == 2) {
      const a = load<f32>(x);
      const b = load<f32>(x, 4);
      store<f32>(x, a + b);
      store<f32>(x, a - b, 4);
    }
    return;
  }
  if (n == 4) {
    v128.store(x, inside(v128.load(x)));
    return;
  }
  if (n == 8) {
    const a = inside(v128.load(x));
    const b = inside(v128.load(x, 16));
    v128.store(x, f32x4.add(a, b));
    v128.store(x, f32x4.sub(a, b), 16);
    return;
  }
  const end = x + (n << 2);
  // Stages 1, 2, 4, 8: sixteen elements at a time.
  for (let p = x; p < end; p += 64) {
    const a = inside(v128.load(p));
    const b = inside(v128.load(p, 16));
    const c = inside(v128.load(p, 32));
    const d = inside(v128.load(p, 48));
    const ab = f32x4.add(a, b);
    const a_b = f32x4.sub(a, b);
    const cd = f32x4.add(c, d);
    const c_d = f32x4.sub(c, d);
    v128.store(p, f32x4.add(ab, cd));
    v128.store(p, f32x4.add(a_b, c_d), 16);
    v128.store(p, f32x4.sub(ab, cd), 32);
    v128.store(p, f32x4.sub(a_b, c_d), 48);
  }
  // Two stages a pass, h and 2h, h in bytes from here on.
  let h: usize = 64;
  const bytes = n << 2;
  for (; h << 1 < bytes; h <<= 2) {
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
        v128.store(p, f32x4.add(ab, cd));
        v128.store(p + h, f32x4.add(a_b, c_d));
        v128.store(p + 2 * h, f32x4.sub(ab, cd));
        v128.store(p + 3 * h, f32x4.sub(a_b, c_d));
      }
    }
  }
  if (h < bytes) {
    for (let p = x; p < x + h; p += 16) {
      const a = v128.load(p);
      const b = v128.load(p + h);
      v128.store(p, f32x4.add(a, b));
      v128.store(p + h, f32x4.sub(a, b));
    }
  }
}

/** Hadamard transform of `n` f32 at `x`, in place. `n` is a power of two, 1 to 4096; `x` may be unaligned. */
export function hadamard(x: usize, n: usize): void {
  assert(n >= 1 && n <= 4096 && (n & (n - 1)) == 0);
  transform(x, n);
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
export function scaleBy(x: usize, factor: f32, count: usize): void {
  let i: usize = 0;
  for (; i + 4 <= count; i += 4) v128.store(x + (i << 2), f32x4.mul(v128.load(x + (i << 2)), f32x4.splat(factor)));
  for (; i < count; i++) store<f32>(x + (i << 2), load<f32>(x + (i << 2)) * factor);
}

/**
 * Rotates an activation: y = (1/√g) H (s ∘ x) in each group g of the row. `x`, `y` and `masks` have `cols` elements;
 * `groupSize` is a power of two, 1 to 4096. The product with f32(1 / f32(√g)) comes after the transform.
 */
export function rotate(x: usize, masks: usize, cols: usize, groupSize: usize, y: usize): void {
  flip(x, masks, y, cols);
  for (let start: usize = 0; start < cols; ) {
    const g = nextGroup(cols - start, groupSize);
    hadamard(y + (start << 2), g);
    scaleBy(y + (start << 2), <f32>1 / sqrt<f32>(<f32>g), g);
    start += g;
  }
}
