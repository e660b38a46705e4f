// Rows of weights to packed codes and f16 scales (METHOD: signs, rotate, scale, nearest, pack), one row at a time:
//   σ = f16(‖w‖ / √g);  z = H(s ∘ w) · 1 / (√g · σ);  code = nearest grid point of p consecutive z, or a trellis' best path
// Vectors run along the whole row and may cross groups; the last one is padded with zeros.

import { codesPerRow } from './dequantize';
import { begin, finish } from './hadamard';
import { F32, FACTOR_COLS, fromF16, weightBytes, widen } from './float';
import { nextGroup } from './lanes';
import { pack } from './pack';
import { errorOf, round } from './round';
import { scaleOf, searchScales } from './scales';

/**
 * Encodes `rows` rows of `cols` weights of a dtype at `w`, block-scaled by `factors` (float.ts, widen). Writes per row:
 * ceil(codesPerRow · bits / 8) bytes to `packed`, one f16 a group to `scales`, and two f64 to `sums`: the squared error and the squared
 * norm.
 * @returns rows if all went well, else the index of the first row with NaN, infinity, or an RMS above 65504.
 * `search`: scales by searchScales instead of the RMS. `table` as by gridTable with n = 2^bits, or with p = 0 as by trellisTable; `masks` of
 * cols; `scratch` holds 3 · (cols + 64) f32 and (cols + 64) u16, for a search 2 · (cols + 64) f32 more, for a trellis (cols + 264) · 256
 * bytes more.
 */
export function encode(
  w: usize, dtype: u32, factors: usize, rows: usize, cols: usize, masks: usize, groupSize: usize,
  table: usize, p: usize, bits: u32, search: bool,
  packed: usize, scales: usize, sums: usize, scratch: usize,
): usize {
  const z = scratch;
  const rounded = z + ((cols + 64) << 2);
  const wide = rounded + ((cols + 64) << 2);
  const codes = wide + ((cols + 64) << 2);
  const trials = codes + ((cols + 64) << 1);
  const slices = (trials + (search ? (cols + 64) << 3 : 0) + 15) & ~15;
  const vectors = codesPerRow(cols, p);
  const rowBytes = (vectors * bits + 7) >> 3;
  const factorBytes = factors ? (cols + FACTOR_COLS - 1) / FACTOR_COLS << 2 : 0;
  const n = (<usize>1) << bits;
  for (let row: usize = 0; row < rows; row++) {
    let x = w;
    if (dtype != F32 || factors) {
      widen(w, dtype, factors, cols, wide);
      x = wide;
    }
    const rowScales = scales;
    let error: f64 = 0;
    let norm: f64 = 0;
    for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
      g = nextGroup(cols - start, groupSize);
      const at = start << 2;
      const squared = begin(x + at, masks + at, z + at, g);
      const scale = scaleOf(squared, g);
      if (scale == 0x7c00) return row;
      norm += <f64>squared;
      store<u16>(scales, <u16>scale);
      scales += 2;
      if (scale == 0) {
        error += <f64>squared;
        memory.fill(z + at, 0, g << 2);
      } else {
        finish(z + at, g, <f32>1 / (sqrt<f32>(<f32>g) * fromF16(scale)));
      }
    }
    memory.fill(z + (cols << 2), 0, 64 << 2);
    if (search) {
      searchScales(z, cols, groupSize, rowScales, vectors, table, p, n, codes, rounded, slices, trials);
    }
    round(z, vectors, table, p, n, codes, rounded, slices);
    pack(codes, vectors, bits, packed);
    for (let start: usize = 0, g: usize = 0, k: usize = 0; start < cols; start += g, k += 2) {
      g = nextGroup(cols - start, groupSize);
      error += errorOf(z + (start << 2), rounded + (start << 2), g, load<u16>(rowScales + k));
    }
    store<f64>(sums, error);
    store<f64>(sums, norm, 8);
    sums += 16;
    packed += rowBytes;
    w += cols * weightBytes(dtype);
    factors += factorBytes;
  }
  return rows;
}
