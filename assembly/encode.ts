// Rows of weights to packed codes and f16 scales (METHOD: signs, rotate, scale, nearest, pack), one row at a time:
//   σ = f16(‖w‖ / √g);  z = H(s ∘ w) · 1 / (√g · σ);  code = nearest grid point of p consecutive z
// Vectors run along the whole row and may cross groups; the last one is padded with zeros.

import { codesPerRow, lookup, TRELLIS } from './dequantize';
import { begin, finish } from './hadamard';
import { F32, FACTOR_COLS, fromF16, toF16, weightBytes, widen } from './float';
import { distance, dot, nextGroup } from './lanes';
import { nearest1 } from './line';
import { nearest2 } from './plane';
import { nearest3, nearest4 } from './space';
import { pack } from './pack';
import { viterbi } from './trellis/viterbi';

// f16 bits of √(squared / n), where `squared` sums n squares; infinity for all that f16 cannot hold.
// @ts-ignore: decorator
@inline
function scaleOf(squared: f32, n: usize): u32 {
  const scale = toF16(sqrt<f32>(squared * (<f32>1 / <f32>n)));
  return scale > 0x7c00 ? 0x7c00 : scale;
}

/** Scale of one group, the f16 bits of √(Σ x² / n); infinity where that is above f16's range or `x` is not finite. */
export function groupScale(x: usize, n: usize): u32 {
  assert(n >= 1 && n <= 4096 && (n & (n - 1)) == 0);
  return scaleOf(dot(x, x, n), n);
}

/**
 * Encodes `rows` rows of `cols` weights of a dtype at `w`, block-scaled by `factors` (float.ts, widen). Writes per row:
 * ceil(ceil(cols / p) · bits / 8) bytes to `packed`, one f16 a group to `scales`, and two f64 to `sums`: the squared error and the squared
 * norm.
 * @returns rows if all went well, else the index of the first row with NaN, infinity, or an RMS above 65504.
 * `table` as by gridTable with n = 2^bits; `masks` of cols; `scratch` holds 3 · (cols + 64) f32 and (cols + 64) u16.
 */
export function encode(
  w: usize, dtype: u32, factors: usize, rows: usize, cols: usize, masks: usize, groupSize: usize,
  table: usize, p: usize, bits: u32,
  packed: usize, scales: usize, sums: usize, scratch: usize,
): usize {
  const z = scratch;
  const rounded = z + ((cols + 64) << 2);
  const wide = rounded + ((cols + 64) << 2);
  const codes = wide + ((cols + 64) << 2);
  const slices = (codes + ((cols + 64) << 1) + 15) & ~15;
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
    if (p == TRELLIS) viterbi(z, vectors >> 2, table, codes, rounded, slices);
    else if (p == 1) nearest1(z, vectors, table, n, codes);
    else if (p == 2) nearest2(z, vectors, table, n, codes, rounded);
    else if (p == 3) nearest3(z, vectors, table, n, codes);
    else nearest4(z, vectors, table, n, codes);
    pack(codes, vectors, bits, packed);
    lookup(codes, vectors, table, p, n, rounded);
    for (let start: usize = 0, g: usize = 0, k: usize = 0; start < cols; start += g, k += 2) {
      g = nextGroup(cols - start, groupSize);
      const scale = <f64>fromF16(load<u16>(rowScales + k));
      error += scale * scale * <f64>distance(z + (start << 2), rounded + (start << 2), g);
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
