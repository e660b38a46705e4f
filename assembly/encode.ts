// Rows of f32 weights to packed codes and f16 scales (METHOD: signs, rotate, scale, nearest, pack), one row at a time:
//   σ = f16(‖w‖ / √g);  z = H(s ∘ w) · 1 / (√g · σ);  code = nearest grid point of p consecutive z
// Vectors run along the whole row and may cross groups; the last one is padded with zeros.

import { lookup } from './dequantize';
import { flip, hadamard, scaleBy } from './hadamard';
import { dot, nextGroup } from './lanes';
import { fromF16, toF16 } from './float';
import { nearest1, nearest2, nearest3, nearest4 } from './nearest';
import { pack } from './pack';

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

// z -= y, `count` f32 and up to three more.
// @ts-ignore: decorator
@inline
function subtract(z: usize, y: usize, count: usize): void {
  for (const end = z + (count << 2); z < end; z += 16, y += 16) v128.store(z, f32x4.sub(v128.load(z), v128.load(y)));
}

/**
 * Encodes `rows` rows of `cols` f32 at `w`. Writes per row: ceil(ceil(cols / p) · bits / 8) bytes to `packed`, one f16 a group
 * to `scales`, and two f64 to `sums`: the squared error and the squared norm.
 * @returns rows if all went well, else the index of the first row with NaN, infinity, or an RMS above 65504.
 * `table` as by gridTable with n = 2^bits; `masks` of cols; `scratch` holds 2 · (cols + 64) f32 and (cols + 64) u16.
 */
export function encode(
  w: usize, rows: usize, cols: usize, masks: usize, groupSize: usize,
  table: usize, p: usize, bits: u32,
  packed: usize, scales: usize, sums: usize, scratch: usize,
): usize {
  const z = scratch;
  const rounded = z + ((cols + 64) << 2);
  const codes = rounded + ((cols + 64) << 2);
  const vectors = (cols + p - 1) / p;
  const rowBytes = (vectors * bits + 7) >> 3;
  const n = (<usize>1) << bits;
  for (let row: usize = 0; row < rows; row++) {
    flip(w, masks, z, cols);
    const rowScales = scales;
    let error: f64 = 0;
    let norm: f64 = 0;
    for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
      g = nextGroup(cols - start, groupSize);
      const squared = dot(w + (start << 2), w + (start << 2), g);
      const scale = scaleOf(squared, g);
      if (scale == 0x7c00) return row;
      norm += <f64>squared;
      store<u16>(scales, <u16>scale);
      scales += 2;
      const group = z + (start << 2);
      if (scale == 0) {
        error += <f64>squared;
        memory.fill(group, 0, g << 2);
      } else {
        hadamard(group, g);
        scaleBy(group, <f32>1 / (sqrt<f32>(<f32>g) * fromF16(scale)), g);
      }
    }
    memory.fill(z + (cols << 2), 0, 64 << 2);
    if (p == 1) nearest1(z, vectors, table, n, codes);
    else if (p == 2) nearest2(z, vectors, table, n, codes);
    else if (p == 3) nearest3(z, vectors, table, n, codes);
    else nearest4(z, vectors, table, n, codes);
    pack(codes, vectors, bits, packed);
    lookup(codes, vectors, table, p, rounded);
    subtract(z, rounded, cols);
    for (let start: usize = 0, g: usize = 0, k: usize = 0; start < cols; start += g, k += 2) {
      g = nextGroup(cols - start, groupSize);
      const scale = <f64>fromF16(load<u16>(rowScales + k));
      error += scale * scale * <f64>dot(z + (start << 2), z + (start << 2), g);
    }
    store<f64>(sums, error);
    store<f64>(sums, norm, 8);
    sums += 16;
    packed += rowBytes;
    w += cols << 2;
  }
  return rows;
}
