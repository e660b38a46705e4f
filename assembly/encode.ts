// Rows of weights to packed codes and f16 scales: rotate | round | pack (HIGGS, arXiv 2411.17525), one row at a time.
//   rotate  σ = f16(‖w‖ / √g);  z = H(s ∘ w) · 1 / (√g · σ)        round  code = nearest grid point of p consecutive z, or a trellis' best path
// Vectors run along the whole row and may cross groups; the last one is padded with zeros. Each step is a kernel of its own, too, for
// whoever rounds otherwise.

import { codesPerRow } from './dequantize';
import { begin, finish } from './hadamard';
import { F32, FACTOR_COLS, fromF16, weightBytes, widen } from './float';
import { groupsOf, nextGroup } from './lanes';
import { pack } from './pack';
import { errorOf, roundTogether, rowsTogether } from './round';
import { scaleOf, searchScales } from './scales';

// @ts-ignore: decorator
@inline
function factorBytesOf(cols: usize, factors: usize): usize {
  return factors ? (cols + FACTOR_COLS - 1) / FACTOR_COLS << 2 : 0;
}

// Rotates the row `x` to `z`, of unit RMS, with 64 zeros behind; a scale a group to `scales`. Two f64 to `sums`: the squares of groups whose
// scale is 0, which are all error, and those of all. False for NaN, infinity, or an RMS above 65504.
function rotateRow(
  x: usize, cols: usize, masks: usize, groupSize: usize, z: usize, scales: usize, sums: usize,
): bool {
  let lost: f64 = 0;
  let norm: f64 = 0;
  for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
    g = nextGroup(cols - start, groupSize);
    const offset = start << 2;
    const squared = begin(x + offset, masks + offset, z + offset, g);
    const scale = scaleOf(squared, g);
    if (scale == 0x7c00) return false;
    norm += <f64>squared;
    store<u16>(scales, <u16>scale);
    scales += 2;
    if (scale == 0) {
      lost += <f64>squared;
      memory.fill(z + offset, 0, g << 2);
    } else {
      finish(z + offset, g, <f32>1 / (sqrt<f32>(<f32>g) * fromF16(scale)));
    }
  }
  memory.fill(z + (cols << 2), 0, 64 << 2);
  store<f64>(sums, lost);
  store<f64>(sums, norm, 8);
  return true;
}

// Adds the squared error of a row that was rounded to the first of its `sums`.
function addErrors(z: usize, rounded: usize, cols: usize, groupSize: usize, scales: usize, sums: usize): void {
  let error = load<f64>(sums);
  for (let start: usize = 0, g: usize = 0; start < cols; start += g, scales += 2) {
    g = nextGroup(cols - start, groupSize);
    error += errorOf(z + (start << 2), rounded + (start << 2), g, load<u16>(scales));
  }
  store<f64>(sums, error);
}

/**
 * Rotates `rows` rows of `cols` weights of a dtype at `w`, block-scaled by `factors` (float.ts, widen), to `z`, (rows, cols + 64) f32: of unit
 * RMS, with zeros behind. Writes a scale a group to `scales`, and two f64 a row to `sums`: the squares that no code can stand for,
 * and the squared norm. `scratch` holds (cols + 64) f32.
 * @returns rows if all went well, else the index of the first row with NaN, infinity, or an RMS above 65504.
 */
export function rotateRows(
  w: usize, dtype: u32, factors: usize, rows: usize, cols: usize, masks: usize, groupSize: usize,
  z: usize, scales: usize, sums: usize, scratch: usize,
): usize {
  const rowBytes = cols * weightBytes(dtype);
  const factorBytes = factorBytesOf(cols, factors);
  const scaleBytes = groupsOf(cols, groupSize) << 1;
  for (let row: usize = 0; row < rows; row++) {
    widen(w, dtype, factors, cols, scratch);
    if (!rotateRow(scratch, cols, masks, groupSize, z, scales, sums)) return row;
    w += rowBytes;
    factors += factorBytes;
    z += (cols + 64) << 2;
    scales += scaleBytes;
    sums += 16;
  }
  return rows;
}

/**
 * Rounds rotated rows, (rows, cols + 64) f32, to `codes`, u16, codesPerRow a row, and to `rounded`, of the shape of `z`: what they stand for. Adds each
 * row's squared error to the first of its `sums`. `scratch` holds, for a trellis, (cols + 264) · 256 bytes, for one by labels
 * (cols + 264) · (4 · states + 12) + 1280.
 */
export function roundRows(
  z: usize, rows: usize, cols: usize, groupSize: usize, table: usize, p: usize, bits: u32,
  scales: usize, codes: usize, rounded: usize, sums: usize, scratch: usize,
): void {
  const vectors = codesPerRow(cols, p);
  const scaleBytes = groupsOf(cols, groupSize) << 1;
  const together = rowsTogether(p);
  for (let row: usize = 0; row < rows; row += together) {
    const count = min(together, rows - row);
    roundTogether(z, count, cols, table, p, (<usize>1) << bits, codes, vectors << 1, rounded, scratch);
    for (let i: usize = 0; i < count; i++) {
      addErrors(z, rounded, cols, groupSize, scales, sums);
      z += (cols + 64) << 2;
      rounded += (cols + 64) << 2;
      codes += vectors << 1;
      scales += scaleBytes;
      sums += 16;
    }
  }
}

/** Packs `vectors` codes of `bits` bits a row; a row begins at a byte. */
export function packRows(codes: usize, rows: usize, vectors: usize, bits: u32, packed: usize): void {
  for (let row: usize = 0; row < rows; row++) {
    pack(codes, vectors, bits, packed);
    codes += vectors << 1;
    packed += (vectors * bits + 7) >> 3;
  }
}

/**
 * Encodes `rows` rows of `cols` weights of a dtype at `w`, block-scaled by `factors` (float.ts, widen). Writes per row:
 * ceil(codesPerRow · bits / 8) bytes to `packed`, one f16 a group to `scales`, and two f64 to `sums`: the squared error and the squared
 * norm.
 * @returns rows if all went well, else the index of the first row with NaN, infinity, or an RMS above 65504.
 * `search`: scales by searchScales instead of the RMS. `table` as by gridTable with n = 2^bits, or with p = 0 as by trellisTable; `masks` of
 * cols; `scratch` holds 3 · (cols + 64) f32 and (cols + 64) u16, for a search 2 · (cols + 64) f32 more, for a trellis (cols + 264) · 256
 * bytes more; for one by labels (p = 5, table as by labelTable) all for two rows but one of the f32, and what roundRows needs.
 */
export function encode(
  w: usize, dtype: u32, factors: usize, rows: usize, cols: usize, masks: usize, groupSize: usize,
  table: usize, p: usize, bits: u32, search: bool,
  packed: usize, scales: usize, sums: usize, scratch: usize,
): usize {
  const together = rowsTogether(p);
  const stride = (cols + 64) << 2;
  const z = scratch;
  const rounded = z + together * stride;
  const wide = rounded + together * stride;
  const codes = wide + stride;
  const trials = codes + ((together * stride) >> 1);
  const slices = (trials + (search ? together * (stride << 1) : 0) + 15) & ~15;
  const vectors = codesPerRow(cols, p);
  const rowBytes = (vectors * bits + 7) >> 3;
  const factorBytes = factorBytesOf(cols, factors);
  const scaleBytes = groupsOf(cols, groupSize) << 1;
  const n = (<usize>1) << bits;
  for (let row: usize = 0; row < rows; row += together) {
    const count = min(together, rows - row);
    for (let i: usize = 0; i < count; i++) {
      let x = w;
      if (dtype != F32 || factors) {
        widen(w, dtype, factors, cols, wide);
        x = wide;
      }
      if (!rotateRow(x, cols, masks, groupSize, z + i * stride, scales + i * scaleBytes, sums + (i << 4))) return row + i;
      w += cols * weightBytes(dtype);
      factors += factorBytes;
    }
    if (search) {
      searchScales(z, count, cols, groupSize, scales, table, p, n, codes, stride >> 1, rounded, slices, trials);
    }
    roundTogether(z, count, cols, table, p, n, codes, stride >> 1, rounded, slices);
    for (let i: usize = 0; i < count; i++) {
      addErrors(z + i * stride, rounded + i * stride, cols, groupSize, scales, sums);
      pack(codes + i * (stride >> 1), vectors, bits, packed);
      sums += 16;
      packed += rowBytes;
      scales += scaleBytes;
    }
  }
  return rows;
}
