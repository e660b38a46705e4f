// A linear weight in linear memory: where it lies, how rows are stored, its product with vectors, one of its rows.
// A plan is plain data, so that threads can be sent it. Rows may be split among threads at multiples of ROWS_APART.

import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import type { LinearSpec } from '../families/architecture.ts';
import type { Grid } from '../grids/grid.ts';
import type { DecoderExports } from '../kernels/decoder/exports.ts';
import {
  bandRowBytes,
  bandScratchBytes,
  denseScratchBytes,
  PAIR_ROWS,
  productScratchBytes,
} from '../kernels/decoder/sizes.ts';
import { isBanded } from '../kernels/decoder/table.ts';
import { bytesPerRow, dtypeCodes, groupsPerRow, SEQUENCES } from '../kernels/layout.ts';
import { dimensionOf } from '../kernels/sizes.ts';
import type { QuantizedWeight } from '../quantize/format.ts';

/** Dtypes of weights that are not quantized. */
export type DenseDtype = 'F32' | 'F16' | 'BF16';
/** Dtypes of matrices that kernels multiply as they are. */
export const DENSE_DTYPES: readonly string[] = ['F32', 'F16', 'BF16'] satisfies DenseDtype[];

/** Rows that threads share a matrix in: results of 16 rows are a cache line. */
export const ROWS_APART = 16;

interface LinearShape {
  /** Its tensor's, `….weight`, or that of the stack that its rows are of. */
  readonly name: string;
  /** Of the stack, where it is of one. */
  readonly stack?: readonly number[];
  /** The name that it has in files that have the experts one by one. */
  readonly single?: string;
  readonly rows: number;
  readonly cols: number;
  /** f32, (rows); 0 for none. */
  readonly bias: number;
  /** Where the activations are read from: as they are, or rotated if the weights are, or rotated and as integers. */
  readonly input: number;
  readonly inputBytes: number; // of one vector
}

/** A matrix of floats in linear memory. */
export interface DenseLinear extends LinearShape {
  readonly type: 'dense';
  /** Of the weights as they lie there. */
  readonly dtype: DenseDtype;
  /** Bytes from one row to the next. */
  readonly rowBytes: number;
  /** Address: (rows, cols) of dtype. */
  readonly weights: number;
}

interface CodeLinear extends LinearShape {
  readonly type: 'codes';
  /** Weights of a code, or what stands for a trellis. */
  readonly p: number;
  readonly bits: number;
  readonly groupSize: number;
  readonly table: number;
  /** The grid in integers; 0 if activations are f32. */
  readonly integers: number;
  readonly masks: number; // (cols) u32
  readonly rowBytes: number; // in the file
  /** Of a row in memory, where codes and scales stand in pairs of bands: grids that are multiplied narrow, in integers. 0 for none. */
  readonly bandedBytes: number;
  readonly packed: number; // (rows, rowBytes), or (rows to a multiple of PAIR_ROWS, bandedBytes)
  readonly scaleBytes: number;
  readonly scales: number; // (rows, scaleBytes / 2) f16, as many rows as codes
}

/** A matrix in linear memory: floats, or codes. */
export type Linear = DenseLinear | CodeLinear;

/** How an activation is rotated: once for all matrices of one group size and seed that read it. */
export interface Rotation {
  /** Columns of a transform. */
  readonly groupSize: number;
  /** Random signs as bits to flip: (cols) u32. */
  readonly masks: number;
  /** Vectors before: (vectors, cols) f32. */
  readonly from: number;
  /** Vectors after: (vectors, cols) f32. */
  readonly to: number;
  /** Elements of a vector. */
  readonly cols: number;
  /** Where it stands in integers; 0 if it is not wanted so. */
  readonly integers: number;
  /** Bytes of one vector. */
  readonly integerBytes: number;
}

/** What a plan asks for: regions, and things that several matrices share. */
export interface Planner {
  /** A new region. @returns its address */
  reserve(byteLength: number): number;
  /** Addresses of a grid's tables, for floats and for integers. */
  tableOf(grid: Grid): { readonly table: number; readonly integers: number };
  /** Masks of random signs for at least so many columns. */
  masksOf(seed: number | null, cols: number): number;
  /** How `from`, (vectors, cols), is rotated, and where it then is. @param perToken vectors of a token */
  rotated(from: number, cols: number, groupSize: number, seed: number | null, perToken: number): Rotation;
}

/** The tensors of a weight: two if it is quantized. */
export type WeightTensor = { quantized: QuantizedWeight } | { plain: CheckpointTensor };

/**
 * Plans a weight that is applied to the activations at `input`.
 * @param name of its tensor
 * @param bias address of its bias, 0 for none
 * @param perToken activations of a token
 */
export function planLinear(
  tensor: WeightTensor,
  name: string,
  { rows, cols }: LinearSpec,
  bias: number,
  input: number,
  perToken: number,
  planner: Planner,
): Linear {
  if ('plain' in tensor) {
    const dtype = tensor.plain.dtype as DenseDtype;
    const rowBytes = cols * (dtype === 'F32' ? 4 : 2);
    const weights = planner.reserve(rows * rowBytes);
    return { type: 'dense', name, rows, cols, bias, input, inputBytes: cols * 4, dtype, rowBytes, weights };
  }
  const { grid, groupSize, seed } = tensor.quantized.scheme;
  const rowBytes = bytesPerRow(cols, grid);
  const scaleBytes = groupsPerRow(cols, groupSize) * 2;
  const rotation = planner.rotated(input, cols, groupSize, seed, perToken);
  const tables = planner.tableOf(grid);
  const bandedBytes = isBanded(grid) && tables.integers ? bandRowBytes(cols, grid.bits) : 0;
  const stored = storedRows({ rows, bandedBytes });
  return {
    type: 'codes',
    name,
    rows,
    cols,
    bias,
    input: rotation.integers || rotation.to,
    inputBytes: rotation.integers ? rotation.integerBytes : cols * 4,
    p: dimensionOf(grid),
    bits: grid.bits,
    groupSize,
    ...tables,
    masks: planner.masksOf(seed, cols),
    rowBytes,
    bandedBytes,
    packed: planner.reserve(stored * (bandedBytes || rowBytes)),
    scaleBytes,
    scales: planner.reserve(stored * scaleBytes),
  };
}

/** Rows that take room in memory: codes in bands have a multiple of PAIR_ROWS. */
export function storedRows({ rows, bandedBytes }: Pick<CodeLinear, 'rows' | 'bandedBytes'>): number {
  return bandedBytes ? Math.ceil(rows / PAIR_ROWS) * PAIR_ROWS : rows;
}

/** A linear weight that was laid out from address 0 on, where it stands `by` bytes further. */
export function moved(linear: Linear, by: number): Linear {
  if (linear.type === 'dense') return { ...linear, weights: linear.weights + by };
  return { ...linear, packed: linear.packed + by, scales: linear.scales + by };
}

/** How codes of a checkpoint are decoded while they are loaded. */
export interface Decoding extends Pick<CodeLinear, 'p' | 'bits' | 'groupSize' | 'table' | 'masks'> {
  /** Bytes of a row's codes in the file. */
  readonly rowBytes: number;
  /** Bytes of a row's scales in the file. */
  readonly scaleBytes: number;
}

/** Plans a quantized weight that is kept as numbers of `dtype`. */
export function planDecoded(
  { scheme }: QuantizedWeight,
  { name, rows, cols }: LinearSpec,
  dtype: 'F16' | 'F32',
  planner: Planner,
): { linear: DenseLinear; decoding: Decoding } {
  const { grid, groupSize, seed } = scheme;
  const rowBytes = cols * (dtype === 'F32' ? 4 : 2);
  const shape = { name: `${name}.weight`, rows, cols, bias: 0, input: 0, inputBytes: cols * 4 };
  return {
    linear: { type: 'dense', ...shape, dtype, rowBytes, weights: planner.reserve(rows * rowBytes) },
    decoding: {
      ...{ p: dimensionOf(grid), bits: grid.bits, groupSize },
      ...{ table: planner.tableOf(grid).table, masks: planner.masksOf(seed, cols) },
      ...{ rowBytes: bytesPerRow(cols, grid), scaleBytes: groupsPerRow(cols, groupSize) * 2 },
    },
  };
}

/** Stores `count` rows of codes that are decoded, from `firstRow` on. `scratch` holds `decodingBytes`. */
export function decodeRows(
  kernels: DecoderExports,
  { weights, cols, rowBytes, dtype }: DenseLinear,
  { p, bits, groupSize, table, masks }: Decoding,
  firstRow: number,
  count: number,
  packed: number,
  scales: number,
  scratch: number,
): void {
  const to = weights + firstRow * rowBytes;
  const work = scratch + (dtype === 'F32' ? 0 : count * cols * 4);
  const values = dtype === 'F32' ? to : scratch;
  kernels.dequantize(packed, scales, count, cols, masks, groupSize, table, p, bits, values, work);
  if (dtype === 'F16') kernels.f32ToF16(values, to, count * cols);
}

/** Bytes that `decodeRows` works in. */
export function decodingBytes(cols: number, count: number): number {
  return count * cols * 4 + (cols + 64) * 7;
}

/**
 * Stores `count` rows from `firstRow` on, which lie in `memory` as the checkpoint has them: weights, or codes and scales.
 * Where rows are banded, `firstRow` is a multiple of PAIR_ROWS, and `scratch` holds bandScratchBytes; else they may stand in their place.
 */
export function storeRows(
  kernels: DecoderExports,
  memory: Uint8Array,
  linear: Linear,
  firstRow: number,
  count: number,
  rows: number,
  scales: number,
  scratch: number,
): void {
  const { rowBytes } = linear;
  const copy = (to: number) => rows === to || memory.copyWithin(to, rows, rows + count * rowBytes);
  if (linear.type === 'dense') {
    copy(linear.weights + firstRow * rowBytes);
    return;
  }
  const { scaleBytes, packed, bandedBytes, bits } = linear;
  if (bandedBytes) {
    kernels.bandRows(rows, count, codesOf(linear), bits, packed + firstRow * bandedBytes, scratch);
    kernels.bandScales(scales, count, scaleBytes / 2, linear.scales + firstRow * scaleBytes);
    return;
  }
  copy(packed + firstRow * rowBytes);
  memory.copyWithin(linear.scales + firstRow * scaleBytes, scales, scales + count * scaleBytes);
}

/** Address of a row's weights or codes, if they take as many bytes there as in the file; undefined if they do not. */
export function placeOfRows(linear: Linear, row: number): number | undefined {
  if (linear.type === 'dense') return linear.weights + row * linear.rowBytes;
  const { packed, rowBytes, bandedBytes } = linear;
  return bandedBytes === 0 || bandedBytes === rowBytes ? packed + row * rowBytes : undefined;
}

/** Bytes of a row's scales; 0 where there are none. */
export const scaleBytesOf = (linear: Linear): number => (linear.type === 'codes' ? linear.scaleBytes : 0);

/** `storeRows` takes rows from multiples of it on. */
export const rowsApartOf = (linear: Linear): number =>
  linear.type === 'codes' && linear.bandedBytes > 0 ? PAIR_ROWS : 1;

/** Bytes of scratch that `storeRows` needs. */
export const storingScratchBytes = (linear: Linear): number =>
  linear.type === 'codes' && linear.bandedBytes > 0 ? bandScratchBytes(linear.cols) : 0;

/** Bytes of a staging region in which some rows can be checked and stored. */
export function stagingBytesOf(linear: Linear): number {
  const rows = 2 * rowsApartOf(linear) * (linear.rowBytes + scaleBytesOf(linear));
  return storingScratchBytes(linear) + rows + STAGING_TABLES;
}
/** Tables of checksums and blocks, and margins between a few reads. */
const STAGING_TABLES = 32 << 10;

/** Bytes of scratch that `applyLinear`, for up to `count` vectors, and `decodeRow` need. */
export function scratchBytesOf(linear: Linear, count: number): number {
  const { cols } = linear;
  if (linear.type === 'dense') return denseScratchBytes(cols);
  return Math.max((cols + 64) * 7 + linear.scaleBytes, productScratchBytes(cols, linear.groupSize, count));
}

/** Rows `fromRow` to `toRow` of W x + b for `count` vectors of the input, from vector `first` on, to `y`, (count, rows). */
export function applyLinear(
  kernels: DecoderExports,
  linear: Linear,
  first: number,
  count: number,
  y: number,
  fromRow: number,
  toRow: number,
  scratch: number,
): void {
  const some = toRow - fromRow;
  if (some === 0) return;
  const { rows, cols, bias, rowBytes } = linear;
  const x = linear.input + first * linear.inputBytes;
  const address = y + fromRow * 4;
  if (linear.type === 'dense') {
    const weights = linear.weights + fromRow * rowBytes;
    kernels.denseRows(weights, dtypeCodes[linear.dtype], some, cols, x, count, address, rows, scratch);
  } else {
    const { groupSize, table, integers, p, bits } = linear;
    const bytes = linear.bandedBytes || rowBytes;
    const packed = linear.packed + fromRow * bytes;
    const scales = linear.scales + fromRow * linear.scaleBytes;
    if (integers)
      kernels.matmul(packed, bytes, scales, some, cols, groupSize, integers, x, count, address, rows, scratch);
    else kernels.codeRows(packed, scales, some, cols, groupSize, table, p, bits, x, count, address, rows, scratch);
  }
  if (bias === 0) return;
  for (let j = 0; j < count; j++) kernels.add(address + j * rows * 4, bias + fromRow * 4, some);
}

// Codes of a row in bands in the file: of p1n16 as many as columns, of a trellis a multiple of its sequences.
function codesOf({ cols, p }: CodeLinear): number {
  return p === 1 ? cols : Math.ceil(cols / SEQUENCES) * SEQUENCES;
}

/** One row of W as f32 to `y`, (cols). */
export function decodeRow(kernels: DecoderExports, linear: Linear, row: number, y: number, scratch: number): void {
  const { cols, rowBytes } = linear;
  if (linear.type === 'dense') {
    kernels.widen(linear.weights + row * rowBytes, dtypeCodes[linear.dtype], 0, cols, y);
    return;
  }
  const { groupSize, table, p, bits, masks, bandedBytes, scaleBytes } = linear;
  let packed = linear.packed + row * rowBytes;
  let scales = linear.scales + row * scaleBytes;
  if (bandedBytes) {
    packed = scratch + (cols + 64) * 6;
    scales = scratch + (cols + 64) * 7;
    kernels.unbandRow(linear.packed, row, codesOf(linear), bits, packed, scratch);
    kernels.unbandScales(linear.scales, row, scaleBytes / 2, scales);
  }
  kernels.dequantize(packed, scales, 1, cols, masks, groupSize, table, p, bits, y, scratch);
}

/** Parts of a vector that are rotated apart: whole groups, and the last one with the smaller ones behind it. */
export function partsOf({ cols, groupSize }: Rotation): number {
  return Math.ceil(cols / groupSize);
}

/** Rotates parts `first` to `end` of the vectors, counted through all of them. */
export function rotateParts(kernels: DecoderExports, rotation: Rotation, first: number, end: number): void {
  const { from, to, masks, cols, groupSize } = rotation;
  const parts = partsOf(rotation);
  for (let i = first; i < end; i++) {
    const start = (i % parts) * groupSize;
    const width = (i % parts) + 1 < parts ? groupSize : cols - start;
    const offset = (Math.floor(i / parts) * cols + start) * 4;
    kernels.rotate(from + offset, masks + start * 4, width, groupSize, to + offset);
  }
}

/** Turns vectors `first` to `end`, rotated, into integers, if they are wanted so. */
export function integerInput(kernels: DecoderExports, rotation: Rotation, first: number, end: number): void {
  const { to, cols, groupSize, integers, integerBytes } = rotation;
  if (integers === 0 || first === end) return;
  kernels.quantizeActivation(to + first * cols * 4, end - first, cols, groupSize, integers + first * integerBytes);
}
