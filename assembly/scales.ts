// Scales of groups: their RMS, or what errs less.

import { fromF16, toF16 } from './float';
import { dot, groupsOf, nextGroup } from './lanes';
import { errorOf, round } from './round';

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
 * Replaces the RMS of each group in `scales` by the first of the tried scales that errs least, and the row `z` by what it is at these
 * scales. All groups are tried at once, since a code's choice may depend on two. `scratch` holds 2 · (cols + 64) f32.
 */
export function searchScales(
  z: usize, cols: usize, groupSize: usize, scales: usize,
  vectors: usize, table: usize, p: usize, n: usize, codes: usize, rounded: usize, slices: usize, scratch: usize,
): void {
  const base = scratch;
  const least = base + ((cols + 64) << 2);
  const groups = groupsOf(cols, groupSize);
  const rms = least + (groups << 3);
  const tried = rms + (groups << 1);
  memory.copy(base, z, cols << 2);
  memory.copy(rms, scales, groups << 1);
  for (let trial: usize = 0; trial < TRIALS; trial++) {
    for (let k: usize = 0; k < groups << 1; k += 2) {
      store<u16>(tried + k, <u16>triedScale(load<u16>(rms + k), trial));
    }
    rescale(base, rms, tried, cols, groupSize, z);
    round(z, vectors, table, p, n, codes, rounded, slices);
    for (let start: usize = 0, g: usize = 0, k: usize = 0; start < cols; start += g, k++) {
      g = nextGroup(cols - start, groupSize);
      const scale = load<u16>(tried + (k << 1));
      const error = errorOf(z + (start << 2), rounded + (start << 2), g, scale);
      if (trial == 0 || error < load<f64>(least + (k << 3))) {
        store<f64>(least + (k << 3), error);
        store<u16>(scales + (k << 1), scale);
      }
    }
  }
  rescale(base, rms, scales, cols, groupSize, z);
}
