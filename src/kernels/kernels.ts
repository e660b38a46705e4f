// The typed door to the kernels: arrays in, arrays out, every array copied once into linear memory and once out of it.
// Each call handles a block of rows; callers cut matrices into blocks (`rowBlocks`), so memory stays small.

import { arena } from './arena.ts';
import type { KernelExports } from './exports.ts';
import { bytesPerRow, groupsPerRow } from './layout.ts';
import { bytesPerWeight, type Matrix, operandsIn, type Weights } from './operands.ts';
import { type Refiner, refinerIn } from './refine.ts';
import { dimensionOf, encodeScratchBytes, rowScratchBytes } from './sizes.ts';
import { type EncodingSteps, stepsIn } from './steps.ts';
import { keepTables } from './tables.ts';

/** Dtypes of weights that can be written. */
export type PlainDtype = 'F32' | 'F16' | 'BF16';

/** A quantized block of rows. */
export interface Codes {
  /** Codes as dense bits, rows padded to bytes, (rows, bytesPerRow). */
  packed: Uint8Array<ArrayBuffer>;
  /** RMS of each group as it is stored, (rows, groupsPerRow), f16 bits. */
  scales: Uint16Array<ArrayBuffer>;
}

/** A quantized block of rows, and its errors. */
export interface Encoded extends Codes {
  /** What each row lost: (rows, 2): squared error, squared norm. */
  sums: Float64Array<ArrayBuffer>;
}

/** What of encoding is not in its result. */
export interface EncodeOptions {
  /** Row of the whole tensor that the block starts at, for messages; 0 if left out. */
  firstRow?: number;
  /** Whether several scales are tried for each group, and the best taken; else it is the RMS. */
  scaleSearch?: boolean;
}

/** The core's kernels over one linear memory, with arrays in and out. */
export interface Kernels extends EncodingSteps, Refiner {
  /**
   * Quantizes a block of rows.
   * @throws {RangeError} for NaN, infinity, or a group whose RMS f16 cannot hold; names row and column.
   */
  encode(matrix: Matrix, weights: Weights, options?: EncodeOptions): Encoded;
  /** @throws {RangeError} when `dtype` is F16 and a weight is beyond its range. */
  dequantize(matrix: Matrix, codes: Codes, dtype: PlainDtype, firstRow?: number): Uint8Array<ArrayBuffer>;
  /** Squared error and squared norm of a quantized block against the original. */
  compare(matrix: Matrix, codes: Codes, weights: Weights): [squaredError: number, squaredNorm: number];
  /** (1/√g) H (s ∘ x), group by group; `x` has the matrix' cols. */
  rotate(x: Float32Array, groupSize: number, seed: number | null): Float32Array<ArrayBuffer>;
  /** Ŵ x, from the rotated `x`: one element a row. */
  matvec(matrix: Matrix, codes: Codes, rotated: Float32Array): Float32Array<ArrayBuffer>;
  /** CRC-32 of `bytes` after bytes of CRC-32 `crc`. */
  crc32(crc: number, bytes: Uint8Array): number;
}

const CRC_BLOCK_BYTES = 1 << 20;

/** Wraps instantiated kernels. Calls use the instance's memory in turn and leave nothing behind in it. */
export function wrapKernels(exports: KernelExports): Kernels {
  const memory = arena(exports.memory, exports.heapBase());
  const tables = keepTables(memory, exports);
  const operands = operandsIn(memory, exports);

  function toRows(matrix: Matrix, codes: Codes): number {
    const { rows, cols, grid, groupSize, seed } = matrix;
    const table = tables.of(grid);
    const masks = operands.masks(seed, cols);
    const packed = memory.place(codes.packed);
    const scales = memory.place(codes.scales);
    const scratch = memory.alloc(rowScratchBytes(cols, 1));
    const y = memory.alloc(rows * cols * 4);
    exports.dequantize(packed, scales, rows, cols, masks, groupSize, table, dimensionOf(grid), grid.bits, y, scratch);
    return y;
  }

  return {
    ...stepsIn(memory, exports, tables, operands),
    ...refinerIn(memory, exports, tables, operands),

    encode(matrix, weights, { firstRow = 0, scaleSearch = false } = {}) {
      memory.reset();
      const { rows, cols, grid, groupSize, seed } = matrix;
      const table = tables.of(grid);
      const masks = operands.masks(seed, cols);
      const placed = operands.place(weights);
      const packedBytes = rows * bytesPerRow(cols, grid);
      const groups = rows * groupsPerRow(cols, groupSize);
      const packed = memory.alloc(packedBytes);
      const scales = memory.alloc(groups * 2);
      const sums = memory.alloc(rows * 16);
      const scratch = memory.alloc(encodeScratchBytes(cols, grid, scaleSearch));
      const done = exports.encode(
        ...([placed.weights, placed.dtype, placed.factors, rows, cols, masks, groupSize] as const),
        ...([table, dimensionOf(grid), grid.bits, scaleSearch, packed, scales, sums, scratch] as const),
      );
      if (done < rows) throw operands.fault(weights, placed, done, cols, firstRow);
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
      const x = operands.wide(weights, rows, cols);
      const sums = memory.alloc(16);
      exports.compare(x, y, rows * cols, sums);
      const [squaredError, squaredNorm] = memory.copy(Float64Array, sums, 2);
      return [squaredError, squaredNorm];
    },

    rotate(x, groupSize, seed) {
      memory.reset();
      const masks = operands.masks(seed, x.length);
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
      const scratch = memory.alloc(rowScratchBytes(cols, 1));
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

// Which weight became an f16 infinity.
function f16Fault(weights: Uint16Array, cols: number, firstRow: number): RangeError {
  const index = weights.findIndex((h) => (h & 0x7c00) === 0x7c00);
  const place = `[${firstRow + Math.floor(index / cols)}, ${index % cols}]`;
  return new RangeError(`weights must be at most 65504 for F16: ${place} is above it; choose BF16 or F32`);
}
