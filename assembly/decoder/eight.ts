// What a product does for the eight rows of a pair of bands: scales in, sums of groups, results out.
//
//   integers of a group   acc = Σ_k u_k · x_k, exact, i32        u the code's integer, x the activation's, both of the group
//   what it adds          f32(σ · scale_x) · f32(acc − zero · Σx)     in two roundings, after one of each factor
//   result                (sum over groups, ascending) · step
//
// `zero` is taken out once a group, by the activation's own sum, rather than from each u: u then is a byte without a sign.

import { widen16 } from '../float';

/** σ of the first four rows of a pair, and of the others, from eight f16. */
// @ts-ignore: decorator
@inline
export function firstScales(scales: v128): v128 {
  return widen16(i32x4.extend_low_i16x8_u(scales));
}

// @ts-ignore: decorator
@inline
export function lastScales(scales: v128): v128 {
  return widen16(i32x4.extend_high_i16x8_u(scales));
}

/**
 * What a group gives to four rows' sums: f32(σ · scale) · f32(acc - zero · Σx). `group` is its entry in the activation.
 */
// @ts-ignore: decorator
@inline
export function ofGroup(acc: v128, sigmas: v128, group: usize, zero: i32): v128 {
  const exact = i32x4.sub(acc, i32x4.splat(zero * load<i32>(group, 8)));
  return f32x4.mul(f32x4.mul(sigmas, v128.load32_splat(group, 4)), f32x4.convert_i32x4_s(exact));
}

/** Adds it to the sums of eight rows: both loads, then both stores, which some engines make one of each. */
// @ts-ignore: decorator
@inline
export function addSums(a: v128, b: v128, first: v128, last: v128, group: usize, zero: i32, sums: usize): void {
  const low = f32x4.add(v128.load(sums), ofGroup(a, first, group, zero));
  const high = f32x4.add(v128.load(sums, 16), ofGroup(b, last, group, zero));
  v128.store(sums, low);
  v128.store(sums, high, 16);
}

/** As addSums, of products with wide slots. */
// @ts-ignore: decorator
@inline
export function addWideSums(a: v128, b: v128, first: v128, last: v128, group: usize, zero: i32, sums: usize): void {
  const less = i32x4.splat(zero * load<i32>(group, 12));
  const scale = v128.load32_splat(group);
  const ofA = f32x4.mul(f32x4.mul(first, scale), f32x4.convert_i32x4_s(i32x4.sub(a, less)));
  const ofB = f32x4.mul(f32x4.mul(last, scale), f32x4.convert_i32x4_s(i32x4.sub(b, less)));
  const low = f32x4.add(v128.load(sums), ofA);
  const high = f32x4.add(v128.load(sums, 16), ofB);
  v128.store(sums, low);
  v128.store(sums, high, 16);
}

/** The first `count` of eight sums, at most all, times the step. */
export function storeEight(sums: usize, step: f32, count: usize, to: usize): void {
  const factor = f32x4.splat(step);
  if (count >= 8) {
    v128.store(to, f32x4.mul(v128.load(sums), factor));
    v128.store(to, f32x4.mul(v128.load(sums, 16), factor), 16);
    return;
  }
  for (let i: usize = 0; i < count; i++) store<f32>(to + (i << 2), load<f32>(sums + (i << 2)) * step);
}
