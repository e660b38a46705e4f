// The typed door to the kernels: arrays in, arrays out, every array copied once into linear memory and once out of it.
// Each call handles a block of rows; callers cut matrices into blocks (`rowBlocks`), so memory stays small.

import { arena } from './arena.ts';
import type { KernelExports } from './exports.ts';
import { bytesPerRow, type CodeGrid, dtypeCodes, groupsPerRow, isPaths } from './layout.ts';
import { dimensionOf, keepTables } from './tables.ts';

/** Dtypes, as safetensors names them, of weights that can be read. */
export type WeightDtype = 'F32' | 'F16' | 'BF16' | 'F8_E4M3';
/** Dtypes of weights that can be written. */
export type PlainDtype = 'F32' | 'F16' | 'BF16';

export const bytesPerWeight: Readonly<Record<WeightDtype, number>> = { F32: 4, F16: 2, BF16: 2, F8_E4M3: 1 };

/** Columns that share one factor of a block-scaled F8 tensor. */
export const FACTOR_COLS = 128;

/** A block of rows of weights as a file has them. */
export interface Weights {
  bytes: Uint8Array; // (rows, cols) of dtype
  dtype: WeightDtype;
  /** F8_E4M3 only: a factor for each row and each 128 columns. */
  factors?: Float32Array; // (rows, ceil(cols / 128))
}

/** Shape and scheme of a block of rows. */
export interface Matrix {
  rows: number;
  cols: number;
  grid: CodeGrid;
  groupSize: number;
  /** Seed of the random signs; null for none. */
  seed: number | null;
}

export interface Codes {
  packed: Uint8Array<ArrayBuffer>; // (rows, bytesPerRow)
  scales: Uint16Array<ArrayBuffer>; // (rows, groupsPerRow), f16 bits
}

export interface Encoded extends Codes {
  sums: Float64Array<ArrayBuffer>; // (rows, 2): squared error, squared norm
}

/** What of encoding is not in its result. */
export interface EncodeOptions {
  /** Row of the whole tensor that the block starts at, for messages; 0 if left out. */
  firstRow?: number;
  /** Whether several scales are tried for each group, and the best taken; else it is the RMS. */
  scaleSearch?: boolean;
}

export interface Kernels {
  /**
   * Quantizes a block of rows.
   * @throws {RangeError} for NaN, infinity, or a group whose RMS f16 cannot hold; names row and column.
   */
  encode(matrix: Matrix, weights: Weights, options?: EncodeOptions): Encoded;
  /** @throws {RangeError} when `dtype` is F16 and a weight is beyond its range. */
  dequantize(matrix: Matrix, codes: Codes, dtype: PlainDtype, firstRow?: number): Uint8Array<ArrayBuffer>;
  /** Squared error and squared norm of a quantized block against the original. */
  compare(matrix: Matrix, codes: Codes, weights: Weights): [error: number, norm: number];
  /** (1/√g) H (s ∘ x), group by group; `x` has the matrix' cols. */
  rotate(x: Float32Array, groupSize: number, seed: number | null): Float32Array<ArrayBuffer>;
  /** Ŵ x, from the rotated `x`: one element a row. */
  matvec(matrix: Matrix, codes: Codes, rotated: Float32Array): Float32Array<ArrayBuffer>;
  /** CRC-32 of `bytes` after bytes of CRC-32 `crc`. */
  crc32(crc: number, bytes: Uint8Array): number;
}

const CRC_BLOCK_BYTES = 1 << 20;
/** Of the search for a trellis' codes, for each column. */
const PATH_BYTES = 256;

/** Wraps instantiated kernels. Calls use the instance's memory in turn and leave nothing behind in it. */
export function wrapKernels(exports: KernelExports): Kernels {
  const memory = arena(exports.memory, exports.heapBase());
  const tables = keepTables(memory, exports);

  function masksOf(seed: number | null, cols: number): number {
    const masks = memory.alloc(cols * 4 + 128);
    if (seed === null) memory.bytes(masks, cols * 4).fill(0);
    else exports.signs(seed, masks, cols);
    return masks;
  }

  // Addresses of the weights and of their factors, 0 for none.
  function placeWeights({ bytes, factors }: Weights): [weights: number, factors: number] {
    return [memory.place(bytes), factors ? memory.place(factors) : 0];
  }

  // Address of a block of rows as f32.
  function widened(weights: Weights, rows: number, cols: number): number {
    const [w, factors] = placeWeights(weights);
    if (weights.dtype === 'F32' && !factors) return w;
    const y = memory.alloc(rows * cols * 4);
    for (let row = 0; row < rows; row++) widenRow(weights, w, factors, row, cols, y + row * cols * 4);
    return y;
  }

  function widenRow({ dtype }: Weights, w: number, factors: number, row: number, cols: number, y: number): void {
    const factorsAt = factors && factors + row * Math.ceil(cols / FACTOR_COLS) * 4;
    exports.widen(w + row * cols * bytesPerWeight[dtype], dtypeCodes[dtype], factorsAt, cols, y);
  }

  function scratchOf(cols: number, copies: number, path = 0): number {
    return memory.alloc((cols + 64) * (4 * copies + 2) + path);
  }

  function toRows(matrix: Matrix, codes: Codes): number {
    const { rows, cols, grid, groupSize, seed } = matrix;
    const table = tables.of(grid);
    const masks = masksOf(seed, cols);
    const packed = memory.place(codes.packed);
    const scales = memory.place(codes.scales);
    const scratch = scratchOf(cols, 1);
    const y = memory.alloc(rows * cols * 4);
    exports.dequantize(packed, scales, rows, cols, masks, groupSize, table, dimensionOf(grid), grid.bits, y, scratch);
    return y;
  }

  return {
    encode(matrix, weights, { firstRow = 0, scaleSearch = false } = {}) {
      memory.reset();
      const { rows, cols, grid, groupSize, seed } = matrix;
      const table = tables.of(grid);
      const masks = masksOf(seed, cols);
      const [w, factors] = placeWeights(weights);
      const packedBytes = rows * bytesPerRow(cols, grid);
      const groups = rows * groupsPerRow(cols, groupSize);
      const packed = memory.alloc(packedBytes);
      const scales = memory.alloc(groups * 2);
      const sums = memory.alloc(rows * 16);
      const scratch = scratchOf(cols, scaleSearch ? 5 : 3, isPaths(grid) ? (cols + 264) * PATH_BYTES : 0);
      const done = exports.encode(
        ...([w, dtypeCodes[weights.dtype], factors, rows, cols, masks, groupSize] as const),
        ...([table, dimensionOf(grid), grid.bits, scaleSearch, packed, scales, sums, scratch] as const),
      );
      if (done < rows) {
        widenRow(weights, w, factors, done, cols, scratch);
        throw rowFault(memory.floats(scratch, cols), firstRow + done);
      }
      return {
        packed: memory.copy(Uint8Array, packed, packedBytes) as Uint8Array<ArrayBuffer>,
        scales: memory.copy(Uint16Array, scales, groups) as Uint16Array<ArrayBuffer>,
        sums: memory.copy(Float64Array, sums, rows * 2) as Float64Array<ArrayBuffer>,
      };
    },

    dequantize(matrix, codes, dtype, firstRow = 0) {
      memory.reset();
      const { rows, cols } = matrix;
      const count = rows * cols;
      let y = toRows(matrix, codes);
      let special = 0;
      if (dtype !== 'F32') {
        const narrow = memory.alloc(count * 2);
        if (dtype === 'F16') special = exports.f32ToF16(y, narrow, count);
        else exports.f32ToBf16(y, narrow, count);
        y = narrow;
      }
      const bytes = memory.copy(Uint8Array, y, count * bytesPerWeight[dtype]) as Uint8Array<ArrayBuffer>;
      if (special) throw f16Fault(new Uint16Array(bytes.buffer), cols, firstRow);
      return bytes;
    },

    compare(matrix, codes, weights) {
      memory.reset();
      const { rows, cols } = matrix;
      const y = toRows(matrix, codes);
      const x = widened(weights, rows, cols);
      const sums = memory.alloc(16);
      exports.compare(x, y, rows * cols, sums);
      const [error, norm] = memory.copy(Float64Array, sums, 2);
      return [error!, norm!];
    },

    rotate(x, groupSize, seed) {
      memory.reset();
      const masks = masksOf(seed, x.length);
      const from = memory.place(x);
      const to = memory.alloc(x.byteLength);
      exports.rotate(from, masks, x.length, groupSize, to);
      return memory.copy(Float32Array, to, x.length) as Float32Array<ArrayBuffer>;
    },

    matvec({ rows, cols, grid, groupSize }, codes, rotated) {
      memory.reset();
      const table = tables.of(grid);
      const packed = memory.place(codes.packed);
      const scales = memory.place(codes.scales);
      const x = memory.place(rotated);
      const y = memory.alloc(rows * 4);
      const scratch = scratchOf(cols, 1);
      exports.matvec(packed, scales, rows, cols, groupSize, table, dimensionOf(grid), grid.bits, x, y, scratch);
      return memory.copy(Float32Array, y, rows) as Float32Array<ArrayBuffer>;
    },

    crc32(crc, bytes) {
      memory.reset();
      const table = tables.checksum();
      const block = memory.alloc(Math.min(bytes.length, CRC_BLOCK_BYTES));
      for (let start = 0; start < bytes.length; start += CRC_BLOCK_BYTES) {
        const part = bytes.subarray(start, start + CRC_BLOCK_BYTES);
        memory.bytes(block, part.length).set(part);
        crc = exports.crc32(crc, block, part.length, table);
      }
      return crc >>> 0;
    },
  };
}

// Why encode stopped at a row: its first weight that is not finite, or else a group too large for an f16 scale.
function rowFault(row: Float32Array, index: number): RangeError {
  const column = row.findIndex((weight) => !Number.isFinite(weight));
  return column < 0
    ? new RangeError(`the RMS of every group must be at most 65504, the largest f16: row ${index} has a group above it`)
    : new RangeError(`weights must be finite: [${index}, ${column}] is ${row[column]}`);
}

// Which weight became an f16 infinity.
function f16Fault(weights: Uint16Array, cols: number, firstRow: number): RangeError {
  const at = weights.findIndex((h) => (h & 0x7c00) === 0x7c00);
  const place = `[${firstRow + Math.floor(at / cols)}, ${at % cols}]`;
  return new RangeError(`weights must be at most 65504 for F16: ${place} is above it; choose BF16 or F32`);
}
