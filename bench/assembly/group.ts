// What the encoders share: one group of weights as f32, rounding to integers, and two codes to a byte.

const MAGIC: f32 = 12582912; // 1.5 · 2^23: f32 there are integers, so a sum with it is rounded to nearest even

/** Address of the group's weights as f32: those at `x`, or widened into `scratch`. `count` is a multiple of 32. */
// @ts-ignore: decorator
@inline
export function widened(x: usize, bf16: bool, count: usize, scratch: usize): usize {
  if (!bf16) return x;
  const zero = i32x4.splat(0);
  for (let i: usize = 0; i < count; i += 8) {
    const h = v128.load(x + (i << 1));
    v128.store(scratch + (i << 2), v128.shuffle<i16>(zero, h, 0, 8, 1, 9, 2, 10, 3, 11));
    v128.store(scratch + (i << 2), v128.shuffle<i16>(zero, h, 4, 12, 5, 13, 6, 14, 7, 15), 16);
  }
  return scratch;
}

/** Largest magnitude of `count` f32. */
// @ts-ignore: decorator
@inline
export function largest(w: usize, count: usize): f32 {
  const mask = i32x4.splat(0x7fffffff);
  let a = i32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  for (const end = w + (count << 2); w < end; w += 64) {
    a = i32x4.max_s(a, v128.and(v128.load(w), mask)); // magnitudes order as integers do
    b = i32x4.max_s(b, v128.and(v128.load(w, 16), mask));
    c = i32x4.max_s(c, v128.and(v128.load(w, 32), mask));
    d = i32x4.max_s(d, v128.and(v128.load(w, 48), mask));
  }
  a = i32x4.max_s(i32x4.max_s(a, b), i32x4.max_s(c, d));
  a = i32x4.max_s(a, v128.shuffle<i32>(a, a, 2, 3, 0, 1));
  a = i32x4.max_s(a, v128.shuffle<i32>(a, a, 1, 0, 3, 2));
  return f32x4.extract_lane(a, 0);
}

// @ts-ignore: decorator
@inline
function rounded(w: usize, factor: v128): v128 {
  const sum = f32x4.add(f32x4.mul(v128.load(w), factor), f32x4.splat(MAGIC));
  return i32x4.sub(sum, i32x4.splat(reinterpret<i32>(MAGIC)));
}

/** Eight weights times `factor`, rounded to i16; beyond i16 its ends. */
// @ts-ignore: decorator
@inline
export function eight(w: usize, factor: v128): v128 {
  return i16x8.narrow_i32x4_s(rounded(w, factor), rounded(w + 16, factor));
}

//   16 bytes c0 c1 c2 …  ->  8 lanes of i16  c0 | c1 << 4
// @ts-ignore: decorator
@inline
function pairs(codes: v128): v128 {
  return v128.and(v128.or(codes, i16x8.shr_u(codes, 4)), i16x8.splat(0xff));
}

/** 32 codes, one a byte and below 16, to 16 bytes; the earlier code is the lower half. */
// @ts-ignore: decorator
@inline
export function storeCodes(packed: usize, a: v128, b: v128): void {
  v128.store(packed, i8x16.narrow_i16x8_u(pairs(a), pairs(b)));
}
