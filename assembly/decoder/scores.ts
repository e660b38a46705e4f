// Inner products of one or two queries with four keys at once, by the rule for sums. Of its sixteen partial sums each four are one vector:
// vectors 0, 4, 8 … of a row go to the first, 1, 5, 9 … to the second. So the four are summed one after the other, for all queries and keys,
// and folded in the end:
//
//   vector of the row   0   1   2   3   4   5   6   7   …        sums (4, queries, 4 keys) → (s0 + s2) + (s1 + s3) → scores of 4 keys
//   sum                 0   1   2   3   0   1   2   3   …
//
// Keys of f16 are widened in registers: (h << 13) & 0x8fffe000, h with its sign extended, is 2^-112 of the value, subnormals included,
// infinities not. Queries are 2^112 of theirs then, and products are what they would be.

import { loadTail } from '../lanes';

/** Sums that scores are made of, and behind them the mask: engines make a constant that they know anew at each use. */
export const SUMS_BYTES: usize = 512;
const MASK: u32 = 0x8fffe000;

/** Makes a room ready, of SUMS_BYTES and 32 more. */
export function prepareRoom(room: usize): void {
  store<u32>(room + SUMS_BYTES, MASK);
}

// @ts-ignore: decorator
@inline
export function maskOf(room: usize): v128 {
  return v128.load32_splat(room + SUMS_BYTES);
}

// The next four elements of a row: f32, or f16 as 2^-112 of them.
// @ts-ignore: decorator
@inline
export function four(at: usize, narrow: bool, mask: v128): v128 {
  return narrow ? v128.and(i32x4.shl(v128.load16x4_s(at), 13), mask) : v128.load(at);
}

// The last `count` (1 to 3) elements of a row, then zeros.
// @ts-ignore: decorator
@inline
function tail(at: usize, count: usize, narrow: bool): v128 {
  if (!narrow) return loadTail(at, count);
  let v = i32x4.splat(0);
  v = i32x4.replace_lane(v, 0, one(at));
  if (count > 1) v = i32x4.replace_lane(v, 1, one(at + 2));
  if (count > 2) v = i32x4.replace_lane(v, 2, one(at + 4));
  return v;
}

// @ts-ignore: decorator
@inline
function one(at: usize): i32 {
  return ((<i32>load<i16>(at)) << 13) & MASK;
}

/** The element at `at`, as `four` has it. */
// @ts-ignore: decorator
@inline
export function element(at: usize, narrow: bool): f32 {
  return narrow ? reinterpret<f32>(one(at)) : load<f32>(at);
}

// The scores of four keys: what is left to fold of the sums at `at`, those of a query.
// @ts-ignore: decorator
@inline
function folded(at: usize): v128 {
  const a = eightFold(at);
  const b = eightFold(at + 16);
  const c = eightFold(at + 32);
  const d = eightFold(at + 48);
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 1, 4, 5), v128.shuffle<f32>(a, b, 2, 3, 6, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 1, 4, 5), v128.shuffle<f32>(c, d, 2, 3, 6, 7));
  return f32x4.add(v128.shuffle<f32>(ab, cd, 0, 2, 4, 6), v128.shuffle<f32>(ab, cd, 1, 3, 5, 7));
}

// @ts-ignore: decorator
@inline
function eightFold(at: usize): v128 {
  const even = f32x4.add(v128.load(at), v128.load(at, 256));
  const odd = f32x4.add(v128.load(at, 128), v128.load(at, 384));
  return f32x4.add(even, odd);
}

// Adds to the sum at `to`, or begins it.
// @ts-ignore: decorator
@inline
function add(to: usize, product: v128, begins: bool): void {
  v128.store(to, begins ? product : f32x4.add(v128.load(to), product));
}

// Scores of two queries, or one if not `two`, and keys `t` to `end`, `row` bytes apart, of `dim` f32, or f16 if `narrow`, to `to0` and `to1`:
// inner products times `scale`. As many as are whole fours. Returns the key behind the last one.
// @ts-ignore: decorator
@inline
function scores(
  two: bool, narrow: bool, q0: usize, q1: usize, keys: usize, row: usize, t: usize, end: usize, dim: usize, scale: f32, to0: usize,
  to1: usize, room: usize,
): usize {
  const step: usize = narrow ? 8 : 16;
  const whole = dim >> 2;
  const rest = dim & 3;
  const scales = f32x4.splat(scale);
  const mask = maskOf(room);
  let k0 = keys + t * row;
  for (; t + 4 <= end; t += 4, k0 += row << 2, to0 += 16, to1 += 16) {
    for (let j: usize = 0; j < 4; j++) {
      const sums = room + (j << 7);
      let at = k0 + j * step;
      let x = q0 + (j << 4);
      let y = q1 + (j << 4);
      let v = j;
      if (j >= whole) memory.fill(sums, 0, 128);
      // Four vectors of each query stay in registers while the keys go by.
      for (; v + 12 < whole; v += 16, at += step << 4, x += 256, y += 256) {
        const begins = v == j;
        const xa = v128.load(x);
        const xb = v128.load(x, 64);
        const xc = v128.load(x, 128);
        const xd = v128.load(x, 192);
        const ya = two ? v128.load(y) : xa;
        const yb = two ? v128.load(y, 64) : xb;
        const yc = two ? v128.load(y, 128) : xc;
        const yd = two ? v128.load(y, 192) : xd;
        let k = at;
        for (let to = sums; to < sums + 64; to += 16, k += row) {
          const ka = four(k, narrow, mask);
          const kb = four(k + (step << 2), narrow, mask);
          const kc = four(k + (step << 3), narrow, mask);
          const kd = four(k + 12 * step, narrow, mask);
          let a = f32x4.mul(xa, ka);
          if (!begins) a = f32x4.add(a, v128.load(to));
          a = f32x4.add(a, f32x4.mul(xb, kb));
          a = f32x4.add(a, f32x4.mul(xc, kc));
          v128.store(to, f32x4.add(a, f32x4.mul(xd, kd)));
          if (two) {
            let b = f32x4.mul(ya, ka);
            if (!begins) b = f32x4.add(b, v128.load(to, 64));
            b = f32x4.add(b, f32x4.mul(yb, kb));
            b = f32x4.add(b, f32x4.mul(yc, kc));
            v128.store(to, f32x4.add(b, f32x4.mul(yd, kd)), 64);
          }
        }
      }
      for (; v < whole; v += 4, at += step << 2, x += 64, y += 64) {
        const qa = v128.load(x);
        const qb = two ? v128.load(y) : qa;
        let k = at;
        for (let to = sums; to < sums + 64; to += 16, k += row) {
          const ka = four(k, narrow, mask);
          add(to, f32x4.mul(qa, ka), v == j);
          if (two) add(to + 64, f32x4.mul(qb, ka), v == j);
        }
      }
      if (rest > 0 && v == whole) {
        const qa = loadTail(x, rest);
        const qb = two ? loadTail(y, rest) : qa;
        let k = at;
        for (let to = sums; to < sums + 64; to += 16, k += row) {
          const ka = tail(k, rest, narrow);
          add(to, f32x4.mul(qa, ka), v == j);
          if (two) add(to + 64, f32x4.mul(qb, ka), v == j);
        }
      }
    }
    v128.store(to0, f32x4.mul(folded(room), scales));
    if (two) v128.store(to1, f32x4.mul(folded(room + 64), scales));
  }
  return t;
}

/** Scores of one query and keys of f32: as many as are whole fours. @returns the key behind the last one */
export function wideScores(
  q: usize, keys: usize, t: usize, end: usize, dim: usize, scale: f32, to: usize, room: usize,
): usize {
  return scores(false, false, q, q, keys, dim << 2, t, end, dim, scale, to, to, room);
}

/** As wideScores, of two queries. */
export function widePairs(
  q0: usize, q1: usize, keys: usize, t: usize, end: usize, dim: usize, scale: f32, to0: usize, to1: usize, room: usize,
): usize {
  return scores(true, false, q0, q1, keys, dim << 2, t, end, dim, scale, to0, to1, room);
}

/** As wideScores, of keys of f16, `row` bytes apart. */
export function narrowScores(
  q: usize, keys: usize, row: usize, t: usize, end: usize, dim: usize, scale: f32, to: usize, room: usize,
): usize {
  return scores(false, true, q, q, keys, row, t, end, dim, scale, to, to, room);
}

/** As narrowScores, of two queries. */
export function narrowPairs(
  q0: usize, q1: usize, keys: usize, t: usize, end: usize, dim: usize, scale: f32, to0: usize, to1: usize, room: usize,
): usize {
  return scores(true, true, q0, q1, keys, dim << 1, t, end, dim, scale, to0, to1, room);
}
