// Idioms over 128-bit vectors, and the one rule for sums:
//   sixteen partial sums, element i goes to sum i mod 16 in order; then folded by halves (j += j + 8, + 4, + 2, + 1).

/** First free byte of linear memory after the module's own data. */
export function heapBase(): usize {
  return __heap_base;
}

// Folds sixteen partial sums, four vectors of four, by halves.
// @ts-ignore: decorator
@inline
export function fold(a: v128, b: v128, c: v128, d: v128): f32 {
  const eight0 = f32x4.add(a, c);
  const eight1 = f32x4.add(b, d);
  const four = f32x4.add(eight0, eight1);
  const two = f32x4.add(four, v128.shuffle<f32>(four, four, 2, 3, 0, 1));
  return f32x4.extract_lane(two, 0) + f32x4.extract_lane(two, 1);
}

// The first `count` (0 to 3) f32 at `x`, then zeros.
// @ts-ignore: decorator
@inline
export function loadTail(x: usize, count: usize): v128 {
  let v = f32x4.splat(0);
  if (count > 0) v = f32x4.replace_lane(v, 0, load<f32>(x));
  if (count > 1) v = f32x4.replace_lane(v, 1, load<f32>(x, 4));
  if (count > 2) v = f32x4.replace_lane(v, 2, load<f32>(x, 8));
  return v;
}

/** Inner product of `n` f32, by the rule for sums; `n` is 1, 2, 4, 8 or a multiple of 16. */
// @ts-ignore: decorator
@inline
export function dot(a: usize, b: usize, n: usize): f32 {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  if (n >= 16) {
    const end = a + (n << 2);
    while (a < end) {
      s0 = f32x4.add(s0, f32x4.mul(v128.load(a), v128.load(b)));
      s1 = f32x4.add(s1, f32x4.mul(v128.load(a, 16), v128.load(b, 16)));
      s2 = f32x4.add(s2, f32x4.mul(v128.load(a, 32), v128.load(b, 32)));
      s3 = f32x4.add(s3, f32x4.mul(v128.load(a, 48), v128.load(b, 48)));
      a += 64;
      b += 64;
    }
  } else if (n >= 4) {
    s0 = f32x4.add(s0, f32x4.mul(v128.load(a), v128.load(b)));
    if (n == 8) s1 = f32x4.add(s1, f32x4.mul(v128.load(a, 16), v128.load(b, 16)));
  } else {
    s0 = f32x4.add(s0, f32x4.mul(loadTail(a, n), loadTail(b, n)));
  }
  return fold(s0, s1, s2, s3);
}

/** Squared distance of `n` f32, of f32 differences, by the rule for sums; `n` as of dot. */
// @ts-ignore: decorator
@inline
export function distance(a: usize, b: usize, n: usize): f32 {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  if (n >= 16) {
    const end = a + (n << 2);
    while (a < end) {
      s0 = f32x4.add(s0, squared(v128.load(a), v128.load(b)));
      s1 = f32x4.add(s1, squared(v128.load(a, 16), v128.load(b, 16)));
      s2 = f32x4.add(s2, squared(v128.load(a, 32), v128.load(b, 32)));
      s3 = f32x4.add(s3, squared(v128.load(a, 48), v128.load(b, 48)));
      a += 64;
      b += 64;
    }
  } else if (n >= 4) {
    s0 = f32x4.add(s0, squared(v128.load(a), v128.load(b)));
    if (n == 8) s1 = f32x4.add(s1, squared(v128.load(a, 16), v128.load(b, 16)));
  } else {
    s0 = f32x4.add(s0, squared(loadTail(a, n), loadTail(b, n)));
  }
  return fold(s0, s1, s2, s3);
}

// @ts-ignore: decorator
@inline
function squared(a: v128, b: v128): v128 {
  const difference = f32x4.sub(a, b);
  return f32x4.mul(difference, difference);
}

/** Largest power of two that is at most `limit` (itself a power of two) and at most `count` (at least 1). */
// @ts-ignore: decorator
@inline
export function nextGroup(count: usize, limit: usize): usize {
  return count >= limit ? limit : (<usize>1) << (31 - clz<u32>(<u32>count));
}

/** Groups of a row: see nextGroup. */
// @ts-ignore: decorator
@inline
export function groupsOf(cols: usize, groupSize: usize): usize {
  return cols / groupSize + <usize>popcnt<u32>(<u32>(cols & (groupSize - 1)));
}
