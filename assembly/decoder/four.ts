// What a product by lookups does for four rows at a time: scales in, sums of groups, results out. As eight.ts, without `zero`: the integers
// of a grid of points have their sign. A group adds f32(σ · scale_x) · f32(acc), groups in order; the step multiplies in the end.

import { fromF16 } from '../float';

/** σ of rows `row` to `row` + 3 to `to`, (groups, 4) f32; beyond the last row, the last again. */
export function loadScales(scales: usize, row: usize, rows: usize, groups: usize, to: usize): void {
  for (let i: usize = 0; i < 4; i++) {
    const from = scales + ((min(row + i, rows - 1) * groups) << 1);
    for (let k: usize = 0; k < groups; k++) {
      store<f32>(to + (k << 4) + (i << 2), fromF16(load<u16>(from + (k << 1))));
    }
  }
}

/** Adds to the `sums` of four rows what a group gives: f32(σ · scale) · f32(acc). `group` is its entry in the activation. */
// @ts-ignore: decorator
@inline
export function addGroup(sums: usize, acc: usize, sigmas: usize, group: usize): void {
  const factor = f32x4.mul(v128.load(sigmas), v128.load32_splat(group));
  v128.store(sums, f32x4.add(v128.load(sums), f32x4.mul(factor, f32x4.convert_i32x4_s(v128.load(acc)))));
}

/** The first `count` of four sums times the step. */
export function storeSums(sums: usize, step: f32, count: usize, to: usize): void {
  const value = f32x4.mul(v128.load(sums), f32x4.splat(step));
  if (count == 4) {
    v128.store(to, value);
    return;
  }
  store<f32>(to, f32x4.extract_lane(value, 0));
  if (count > 1) store<f32>(to, f32x4.extract_lane(value, 1), 4);
  if (count > 2) store<f32>(to, f32x4.extract_lane(value, 2), 8);
}
