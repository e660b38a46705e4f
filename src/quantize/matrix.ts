// One weight matrix in memory: quantize, dequantize, multiply. Blocks of rows go through the kernels one after the other.

import {
  flag,
  integer,
  needed,
  nullable,
  object,
  oneOf,
  optionsOf,
  type Reader,
  type Schema,
  typedArray,
} from '../check.ts';
import { type Grid, givenGrid, gridOrName } from '../grids/grid.ts';
import type { AnyGridName } from '../grids/name.ts';
import type { Codes, Kernels } from '../kernels/kernels.ts';
import { bytesPerRow, COLS_LIMIT, groupsPerRow, ROWS_LIMIT, rowBlocks } from '../kernels/layout.ts';
import type { Matrix } from '../kernels/operands.ts';
import {
  bitsPerWeight,
  DEFAULT_GRIDS,
  DEFAULT_GROUP_SIZE,
  groupSizeOf,
  quantizedBytes,
  relativeError,
  type Scheme,
  seedOf,
} from './scheme.ts';

/** A quantized matrix: plain arrays and what it takes to read them (FORMAT.md, "One matrix"). */
export interface QuantizedMatrix extends Scheme {
  /** Rows of the matrix: out_features. */
  readonly rows: number;
  /** Columns of the matrix: in_features. */
  readonly cols: number;
  /** Codes, as dense bits: (rows, bytesPerRow), little-endian. */
  readonly packed: Uint8Array; // (rows, bytesPerRow)
  /** A scale of each group, (rows, groupsPerRow), as the bits of an f16. */
  readonly scales: Uint16Array; // (rows, groupsPerRow), f16 bits
  /** Bits per weight as stored, scales counted. */
  readonly bitsPerWeight: number;
  /** ‖W − Ŵ‖² / ‖W‖². */
  readonly relativeError: number;
}

/** Options of `quantize`. */
export interface MatrixOptions {
  /** out_features. */
  rows: number;
  /** in_features. */
  cols: number;
  /** A grid, by name or as an object; `t4` if left out. */
  grid?: AnyGridName | Grid;
  /** Weights that share one scale and one transform: a power of two from 16 to 4096; 1024 if left out. */
  groupSize?: number;
  /** Seed of the random signs, a 32-bit integer; 0 if left out. */
  seed?: number;
  /** `none` leaves the signs out, as the published implementation does; `random` if left out. */
  signs?: 'random' | 'none';
  /**
   * Tries five scales around the RMS of each group and takes the one that errs least: the error falls by up to 3 %, more in small
   * groups, for six times the work. False if left out.
   */
  scaleSearch?: boolean;
}

/** Most weights that are given back in one array: engines have none of more than 16 GB. */
const WEIGHTS_LIMIT = 2 ** 32 - 1;

type SchemeOptions = Pick<MatrixOptions, 'grid' | 'groupSize' | 'seed' | 'signs'>;

/** Members of options that say how a matrix is quantized. */
export const schemeMembers: Schema<Omit<SchemeOptions, 'grid'>> = {
  groupSize: groupSizeOf,
  seed: seedOf,
  signs: oneOf('random', 'none'),
};

const rowsOf = integer(0, ROWS_LIMIT);
const colsOf = integer(0, COLS_LIMIT);

/** Options of `quantize`, as a caller gives them. */
export const matrixOptions = optionsOf<MatrixOptions>({
  rows: needed(rowsOf),
  cols: needed(colsOf),
  grid: gridOrName,
  ...schemeMembers,
  scaleSearch: flag,
});

const stored = object<Omit<QuantizedMatrix, 'bitsPerWeight' | 'relativeError'>>('a quantized matrix', {
  rows: needed(rowsOf),
  cols: needed(colsOf),
  grid: needed(givenGrid),
  groupSize: needed(groupSizeOf),
  seed: needed(nullable(seedOf)),
  packed: needed(typedArray(Uint8Array)),
  scales: needed(typedArray(Uint16Array)),
});

/** Scheme of options that were checked. */
export function schemeOf(options: SchemeOptions, gridOf: (grid: string | Grid) => Grid): Scheme {
  const { grid = DEFAULT_GRIDS[4], groupSize = DEFAULT_GROUP_SIZE, seed = 0, signs = 'random' } = options;
  return { grid: gridOf(grid), groupSize, seed: signs === 'none' ? null : seed };
}

/** Quantizes `given`, (rows, cols) row-major. @throws {RangeError} when a weight is not finite or too large for f16 scales. */
export function quantizeMatrix(
  kernels: Kernels,
  given: Float32Array,
  rows: number,
  cols: number,
  scheme: Scheme,
  scaleSearch = false,
): QuantizedMatrix {
  const weights = typedArray(Float32Array, rows * cols)('weights', given);
  const bytes = quantizedBytes(rows, cols, scheme);
  const packed = new Uint8Array(bytes.packed);
  const scales = new Uint16Array(bytes.scales / 2);
  let [squaredError, squaredNorm] = [0, 0];
  for (const { first, count } of rowBlocks(rows, cols)) {
    const part = weights.subarray(first * cols, (first + count) * cols);
    const block = kernels.encode(
      { ...scheme, rows: count, cols },
      { bytes: new Uint8Array(part.buffer, part.byteOffset, part.byteLength), dtype: 'F32' },
      { firstRow: first, scaleSearch },
    );
    packed.set(block.packed, first * (packed.length / rows));
    scales.set(block.scales, first * (scales.length / rows));
    for (let row = 0; row < count; row++) {
      squaredError += block.sums[2 * row];
      squaredNorm += block.sums[2 * row + 1];
    }
  }
  return {
    ...scheme,
    rows,
    cols,
    packed,
    scales,
    bitsPerWeight: bitsPerWeight(rows, cols, scheme),
    relativeError: relativeError({ squaredError, squaredNorm }),
  };
}

/** Weights of a quantized matrix, (rows, cols) row-major. @throws {RangeError} when there are more than WEIGHTS_LIMIT */
export function dequantizeMatrix(kernels: Kernels, given: QuantizedMatrix): Float32Array<ArrayBuffer> {
  const matrix = givenMatrix('matrix', given);
  const { rows, cols } = matrix;
  if (rows * cols > WEIGHTS_LIMIT)
    throw new RangeError(`weights of matrix must be at most ${WEIGHTS_LIMIT}: got ${rows} × ${cols}`);
  const weights = new Float32Array(rows * cols);
  for (const { first, count } of rowBlocks(rows, cols)) {
    const bytes = kernels.dequantize(block(matrix, count), codesOf(matrix, first, count), 'F32');
    weights.set(new Float32Array(bytes.buffer), first * cols);
  }
  return weights;
}

/** Ŵ x without un-rotating Ŵ: `x` has `cols` elements, the result `rows`. */
export function matvecMatrix(kernels: Kernels, given: QuantizedMatrix, x: Float32Array): Float32Array<ArrayBuffer> {
  const matrix = givenMatrix('matrix', given);
  const { rows, cols, groupSize, seed } = matrix;
  const rotated = kernels.rotate(typedArray(Float32Array, cols)('x', x), groupSize, seed);
  const y = new Float32Array(rows);
  for (const { first, count } of rowBlocks(rows, cols)) {
    y.set(kernels.matvec(block(matrix, count), codesOf(matrix, first, count), rotated), first);
  }
  return y;
}

function block({ cols, grid, groupSize, seed }: Stored, rows: number): Matrix {
  return { rows, cols, grid, groupSize, seed };
}

function codesOf({ cols, grid, groupSize, packed, scales }: Stored, first: number, count: number): Codes {
  const rowBytes = bytesPerRow(cols, grid);
  const groups = groupsPerRow(cols, groupSize);
  return {
    packed: packed.subarray(first * rowBytes, (first + count) * rowBytes) as Uint8Array<ArrayBuffer>,
    scales: scales.subarray(first * groups, (first + count) * groups) as Uint16Array<ArrayBuffer>,
  };
}

type Stored = ReturnType<typeof stored>;

// The matrix came from outside: its arrays must have the sizes that its shape and scheme say.
const givenMatrix: Reader<Stored> = (subject, value) => {
  const matrix = stored(subject, value);
  const bytes = quantizedBytes(matrix.rows, matrix.cols, matrix);
  typedArray(Uint8Array, bytes.packed, 'bytes')('packed', matrix.packed);
  typedArray(Uint16Array, bytes.scales / 2)('scales', matrix.scales);
  return matrix;
};
