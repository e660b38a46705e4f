// Scales of groups: their RMS, or what errs less. After division by the RMS a group has mean square 1, which is what grids are made for.
// The RMS of 1024 Gaussian weights misses σ by 2 %, and rounding is not linear: another scale within some percent may err less.
//
//   search    for each of five scales: all groups of a row are divided by it, the row is rounded, and each group keeps the best so far
//   scratch   of a row   the row at its RMS, cols + 64 f32 │ least errors, f64 a group │ RMS, u16 a group │ tried, u16 a group
//
// Trellises tie groups together, as a code's value depends on those before. So the errors of a trial are those of all groups at that trial,
// and the row is rounded once more with what was kept.

import { fromF16, toF16 } from './float';
import { dot, groupsOf, nextGroup } from './lanes';
import { errorOf, roundTogether } from './round';

/** f16 bits of √(squared / n), where `squared` sums n squares; infinity for all that f16 cannot hold. */
// @ts-ignore: decorator
@inline
export function scaleOf(squared: f32, n: usize): u32 {
  const scale = toF16(sqrt<f32>(squared * (<f32>1 / <f32>n)));
  return scale > 0x7c00 ? 0x7c00 : scale;
}

/** Scale of one group, the f16 bits of √(Σ x² / n); infinity where that is above f16's range or `x` is not finite. */
export function groupScale(x: usize, n: usize): u32 {
  assert(n >= 1 && n <= 4096 && (n & (n - 1)) == 0);
  return scaleOf(dot(x, x, n), n);
}

/** Scales that a search tries of each group. */
const TRIALS: usize = 5;

// The f16 bits of a scale that is tried instead of the RMS `rms`: itself first, then 3 % below, 3 % above, 6 %.
// @ts-ignore: decorator
@inline
function triedScale(rms: u32, trial: usize): u32 {
  const factor: f32 = trial == 0 ? 1 : trial == 1 ? 0.97 : trial == 2 ? 1.03 : trial == 3 ? 0.94 : 1.06;
  const scale = toF16(fromF16(rms) * factor);
  return scale == 0 || scale >= 0x7c00 ? rms : scale;
}

// The rotated row `base`, of RMS `rms`, by the scales `scales`: to z.
function rescale(base: usize, rms: usize, scales: usize, cols: usize, groupSize: usize, z: usize): void {
  for (let start: usize = 0, g: usize = 0; start < cols; start += g, rms += 2, scales += 2) {
    g = nextGroup(cols - start, groupSize);
    const scale = load<u16>(scales);
    const factor = f32x4.splat(scale == 0 ? 1 : fromF16(load<u16>(rms)) / fromF16(scale));
    for (let i = start << 2; i < (start + g) << 2; i += 16) {
      v128.store(z + i, f32x4.mul(v128.load(base + i), factor));
    }
  }
  memory.fill(z + (cols << 2), 0, 64 << 2);
}

/**
 * Replaces the RMS of each group in `scales` of `count` rows, as many as go together, by the first of the tried scales that errs least, and the
 * rows `z` by what they are at these scales. All groups are tried at once, since a code's choice may depend on two. Rows of `z` and
 * `rounded` are cols + 64 f32; `scratch` holds 2 · (cols + 64) f32 for each row.
 */
export function searchScales(
  z: usize, count: usize, cols: usize, groupSize: usize, scales: usize,
  table: usize, p: usize, n: usize, codes: usize, apart: usize, rounded: usize, slices: usize, scratch: usize,
): void {
  const stride = (cols + 64) << 2;
  const groups = groupsOf(cols, groupSize);
  for (let row: usize = 0; row < count; row++) {
    const base = scratch + row * 2 * stride;
    memory.copy(base, z + row * stride, cols << 2);
    memory.copy(base + stride + (groups << 3), scales + row * (groups << 1), groups << 1);
  }
  for (let trial: usize = 0; trial < TRIALS; trial++) {
    for (let row: usize = 0; row < count; row++) {
      const base = scratch + row * 2 * stride;
      const rms = base + stride + (groups << 3);
      const tried = rms + (groups << 1);
      for (let k: usize = 0; k < groups << 1; k += 2) {
        store<u16>(tried + k, <u16>triedScale(load<u16>(rms + k), trial));
      }
      rescale(base, rms, tried, cols, groupSize, z + row * stride);
    }
    roundTogether(z, count, cols, table, p, n, codes, apart, rounded, slices);
    for (let row: usize = 0; row < count; row++) {
      const least = scratch + (row * 2 + 1) * stride;
      const tried = least + groups * 10;
      const rowScales = scales + row * (groups << 1);
      for (let start: usize = 0, g: usize = 0, k: usize = 0; start < cols; start += g, k++) {
        g = nextGroup(cols - start, groupSize);
        const scale = load<u16>(tried + (k << 1));
        const offset = row * stride + (start << 2);
        const error = errorOf(z + offset, rounded + offset, g, scale);
        if (trial == 0 || error < load<f64>(least + (k << 3))) {
          store<f64>(least + (k << 3), error);
          store<u16>(rowScales + (k << 1), scale);
        }
      }
    }
  }
  for (let row: usize = 0; row < count; row++) {
    const base = scratch + row * 2 * stride;
    rescale(base, base + stride + (groups << 3), scales + row * (groups << 1), cols, groupSize, z + row * stride);
  }
}
