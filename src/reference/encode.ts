// Scalar twins of assembly/encode.ts, dequantize.ts and matvec.ts: the specification of a quantized matrix (FORMAT.md).

import { f16ToF32, f32ToF16, floatBits } from './float.ts';
import { flip, groupsOf, hadamard } from './hadamard.ts';
import { type LabelTrellis, labelCodes, labelValues } from './labels.ts';
import { gridTable, nearest } from './nearest.ts';
import { pack, unpack } from './pack.ts';
import { dot } from './sum.ts';
import { type TrellisTables, trellisCodes, trellisValues } from './trellis.ts';

const f = Math.fround;

/** What both directions need to know of a matrix. */
export interface MatrixLayout {
  /** Rows of the matrix. */
  rows: number;
  /** Columns of the matrix. */
  cols: number;
  /** Columns that share a scale. */
  groupSize: number;
  /** What codes of p weights, or of a trellis, stand for. */
  p: number;
  /** Bits of a code. */
  bits: number;
  /** The grid, (2^bits, p); undefined for a trellis. */
  points?: Float32Array;
  /** The trellis, instead of points. */
  trellis?: TrellisTables | LabelTrellis;
  /** Random signs as sign bits to flip, (cols). */
  masks: Uint32Array;
}

/** What encoding gives: codes, scales, sums. */
export interface EncodedMatrix {
  /** Codes as dense bits, (rows, ceil(codes of a row * bits / 8)). */
  packed: Uint8Array;
  /** RMS of each group, (rows, groups), f16 bits. */
  scales: Uint16Array;
  /** What each row lost, (rows, 2): squared error, squared norm. */
  sums: Float64Array;
}

/** Scale of one group: the f16 bits of its RMS; 0x7c00 when f16 cannot hold it or an element is not finite. */
export function groupScale(x: Float32Array): number {
  const scale = f32ToF16(floatBits(Math.sqrt(f(dot(x, x) * (1 / x.length)))));
  return Math.min(scale, 0x7c00);
}

// Codes of a row, one for each p weights, and what they stand for, (cols) or a little more.
function codesOf(z: Float32Array, { p, points, trellis }: MatrixLayout): Uint16Array {
  if (!trellis) return nearest(z, gridTable(points!, p), p);
  return 'kept' in trellis ? labelCodes(z, trellis) : trellisCodes(z, trellis);
}

function valuesOf(codes: Uint16Array, { p, points, trellis }: MatrixLayout): Float32Array {
  if (trellis) return 'kept' in trellis ? labelValues(codes, trellis) : trellisValues(codes, trellis);
  return Float32Array.from({ length: codes.length * p }, (_, i) => points![codes[Math.floor(i / p)] * p + (i % p)]);
}

function codesPerRow({ cols, p, trellis }: MatrixLayout): number {
  return trellis ? Math.ceil(cols / 4) * 4 : Math.ceil(cols / p);
}

/** Scales that a search tries of each group, relative to the RMS. */
const TRIALS = [1, 0.97, 1.03, 0.94, 1.06].map(f);

// Squared errors of the groups of a row.
function errorsOf(z: Float32Array, values: Float32Array, scales: readonly number[], layout: MatrixLayout): number[] {
  const rest = z.map((value, i) => value - values[i]);
  return groupsOf(layout.cols, layout.groupSize).map(({ start, size }, k) => {
    const scale = f16ToF32(scales[k]);
    const group = rest.subarray(start, start + size);
    return scale * scale * dot(group, group);
  });
}

// The row `z`, which has the scales `from`, by the scales `to`.
function rescale(z: Float32Array, from: readonly number[], to: readonly number[], layout: MatrixLayout): Float32Array {
  const y = z.slice();
  for (const [k, { start, size }] of groupsOf(layout.cols, layout.groupSize).entries()) {
    const factor = to[k] === 0 ? 1 : f(f16ToF32(from[k]) / f16ToF32(to[k]));
    for (let i = start; i < start + size; i++) y[i] = f(z[i] * factor);
  }
  return y;
}

// Of each group the first of the tried scales that errs least.
function searchScales(z: Float32Array, rms: readonly number[], layout: MatrixLayout): number[] {
  const best = rms.map((scale) => ({ scale, error: Number.POSITIVE_INFINITY }));
  for (const factor of TRIALS) {
    const tried = rms.map((scale) => {
      const other = f32ToF16(floatBits(f(f16ToF32(scale) * factor)));
      return other === 0 || other >= 0x7c00 ? scale : other;
    });
    const y = rescale(z, rms, tried, layout);
    for (const [k, error] of errorsOf(y, valuesOf(codesOf(y, layout), layout), tried, layout).entries()) {
      if (error < best[k].error) best[k] = { scale: tried[k], error };
    }
  }
  return best.map(({ scale }) => scale);
}

/** A row of unit RMS; undefined when a scale is infinite. `lost` are the squares that no code can stand for. */
function rotateRow(x: Float32Array, { cols, groupSize, masks }: MatrixLayout) {
  const z = flip(x, masks);
  const scales: number[] = [];
  let [lost, norm] = [0, 0];
  for (const { start, size } of groupsOf(cols, groupSize)) {
    const group = x.subarray(start, start + size);
    const scale = groupScale(group);
    if (scale === 0x7c00) return undefined;
    const squared = dot(group, group);
    norm += squared;
    scales.push(scale);
    const part = z.subarray(start, start + size);
    if (scale === 0) {
      lost += squared;
      part.fill(0);
    } else {
      hadamard(part);
      const factor = f(1 / f(f(Math.sqrt(size)) * f16ToF32(scale)));
      for (let i = 0; i < size; i++) part[i] = f(part[i] * factor);
    }
  }
  return { z, scales, lost, norm };
}

/** Encodes every row, rotate | round | pack, or returns the index of the first row that has a scale of infinity. */
export function encode(w: Float32Array, layout: MatrixLayout, search = false): EncodedMatrix | number {
  const { rows, cols, bits } = layout;
  const packed: number[] = [];
  const scales: number[] = [];
  const sums: number[] = [];
  for (let row = 0; row < rows; row++) {
    const rotated = rotateRow(w.subarray(row * cols, (row + 1) * cols), layout);
    if (!rotated) return row;
    let { z, scales: usualScales, lost: error } = rotated;
    if (search) {
      const searched = searchScales(z, usualScales, layout);
      z = rescale(z, usualScales, searched, layout);
      usualScales = searched;
    }
    const codes = codesOf(z, layout);
    for (const part of errorsOf(z, valuesOf(codes, layout), usualScales, layout)) error += part;
    packed.push(...pack(codes, bits));
    scales.push(...usualScales);
    sums.push(error, rotated.norm);
  }
  return { packed: Uint8Array.from(packed), scales: Uint16Array.from(scales), sums: Float64Array.from(sums) };
}

// What the codes of one row stand for, (cols).
function gridRow(packed: Uint8Array, row: number, layout: MatrixLayout): Float32Array {
  const count = codesPerRow(layout);
  const rowBytes = Math.ceil((count * layout.bits) / 8);
  const codes = unpack(packed.subarray(row * rowBytes, (row + 1) * rowBytes), count, layout.bits);
  return valuesOf(codes, layout).slice(0, layout.cols);
}

/** Weights of every row, (rows, cols). */
export function dequantize(packed: Uint8Array, scales: Uint16Array, layout: MatrixLayout): Float32Array {
  const { rows, cols, groupSize, masks } = layout;
  const y = new Float32Array(rows * cols);
  const groups = groupsOf(cols, groupSize);
  for (let row = 0; row < rows; row++) {
    const values = gridRow(packed, row, layout);
    for (const [k, { start, size }] of groups.entries()) {
      const group = values.subarray(start, start + size);
      hadamard(group);
      const factor = f(f16ToF32(scales[row * groups.length + k]) * f(1 / f(Math.sqrt(size))));
      for (let i = 0; i < size; i++) group[i] = f(group[i] * factor);
    }
    y.set(flip(values, masks), row * cols);
  }
  return y;
}

/** y = Ŵ x from the rotated activation `x`, (rows). */
export function matvec(packed: Uint8Array, scales: Uint16Array, x: Float32Array, layout: MatrixLayout): Float32Array {
  const { rows, cols, groupSize } = layout;
  const y = new Float32Array(rows);
  const groups = groupsOf(cols, groupSize);
  for (let row = 0; row < rows; row++) {
    const values = gridRow(packed, row, layout);
    for (const [k, { start, size }] of groups.entries()) {
      const part = dot(values.subarray(start, start + size), x.subarray(start, start + size));
      y[row] = f(y[row] + f(f16ToF32(scales[row * groups.length + k]) * part));
    }
  }
  return y;
}
