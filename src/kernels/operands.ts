// What kernels read, in linear memory: there until the memory's next reset.

import type { Arena } from './arena.ts';
import type { KernelExports } from './exports.ts';
import { type CodeGrid, dtypeCodes } from './layout.ts';
import { FACTOR_COLS, rowScratchBytes } from './sizes.ts';

/** Dtypes, as safetensors names them, of weights that can be read. */
export type WeightDtype = 'F32' | 'F16' | 'BF16' | 'F8_E4M3';

/** Bytes of a weight of each dtype. */
export const bytesPerWeight: Readonly<Record<WeightDtype, number>> = { F32: 4, F16: 2, BF16: 2, F8_E4M3: 1 };

/** A block of rows of weights as a file has them. */
export interface Weights {
  /** Little-endian, (rows, cols) of dtype. */
  bytes: Uint8Array;
  /** Of the weights in `bytes`. */
  dtype: WeightDtype;
  /** F8_E4M3 only: a factor for each row and each 128 columns. */
  factors?: Float32Array; // (rows, ceil(cols / 128))
}

/** Shape and scheme of a block of rows. */
export interface Matrix {
  /** Rows of the block. */
  rows: number;
  /** Columns of the matrix. */
  cols: number;
  /** What weights are rounded to. */
  grid: CodeGrid;
  /** Columns that share a scale, a power of two. */
  groupSize: number;
  /** Seed of the random signs; null for none. */
  seed: number | null;
}

/** Weights in linear memory. */
interface Placed {
  readonly weights: number;
  readonly dtype: number;
  /** 0 for none. */
  readonly factors: number;
}

/** Inputs of kernels, put into linear memory. */
export interface Operands {
  /** Masks of random signs for `cols` columns; of zeros where the seed is null. */
  masks(seed: number | null, cols: number): number;
  /** Weights and factors as they stand. @returns their addresses */
  place(weights: Weights): Placed;
  /** Weights as (rows, cols) f32. */
  wide(weights: Weights, rows: number, cols: number): number;
  /**
   * Why the kernels stopped at a row of a block: it has a weight that is not finite, or a group too large for an f16 scale.
   * @param firstRow row of the tensor that the block starts at
   */
  fault(weights: Weights, placed: Placed, row: number, cols: number, firstRow: number): RangeError;
}

/** @returns what puts inputs into this memory */
export function operandsIn(memory: Arena, exports: KernelExports): Operands {
  function widenRow({ dtype }: Weights, { weights, factors }: Placed, row: number, cols: number, y: number): void {
    const rowFactors = factors && factors + row * Math.ceil(cols / FACTOR_COLS) * 4;
    exports.widen(weights + row * cols * bytesPerWeight[dtype], dtypeCodes[dtype], rowFactors, cols, y);
  }

  function place({ bytes, dtype, factors }: Weights): Placed {
    const weights = memory.place(bytes);
    return { weights, dtype: dtypeCodes[dtype], factors: factors ? memory.place(factors) : 0 };
  }

  return {
    masks(seed, cols) {
      const masks = memory.alloc(cols * 4 + 128);
      if (seed === null) memory.bytes(masks, cols * 4).fill(0);
      else exports.signs(seed, masks, cols);
      return masks;
    },
    place,
    wide(weights, rows, cols) {
      const placed = place(weights);
      if (weights.dtype === 'F32' && !weights.factors) return placed.weights;
      const y = memory.alloc(rows * cols * 4);
      for (let row = 0; row < rows; row++) widenRow(weights, placed, row, cols, y + row * cols * 4);
      return y;
    },
    fault(weights, placed, row, cols, firstRow) {
      const wide = memory.alloc(rowScratchBytes(cols, 1));
      widenRow(weights, placed, row, cols, wide);
      const values = memory.floats(wide, cols);
      const column = values.findIndex((weight) => !Number.isFinite(weight));
      const index = firstRow + row;
      if (column >= 0) return new RangeError(`weights must be finite: [${index}, ${column}] is ${values[column]}`);
      const rule = 'the RMS of every group must be at most 65504, the largest f16';
      return new RangeError(`${rule}: row ${index} has a group above it`);
    },
  };
}
