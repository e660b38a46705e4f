// Encoding in its three steps, rotate | round | pack, for whoever rounds otherwise: what stands between them is yours to change. In
// turn they give the bits of `encode`, which does all three a row at a time and is faster.

import type { Arena } from './arena.ts';
import type { KernelExports } from './exports.ts';
import { bytesPerRow, codesPerRow, groupsPerRow } from './layout.ts';
import type { Matrix, Operands, Weights } from './operands.ts';
import { dimensionOf, ROW_MARGIN, roundScratchBytes } from './sizes.ts';
import type { Tables } from './tables.ts';

/** Rows that are rotated and of unit RMS in every group. */
interface RotatedRows {
  z: Float32Array<ArrayBuffer>; // (rows, cols + 64), zeros behind each row
  scales: Uint16Array<ArrayBuffer>; // (rows, groupsPerRow), f16 bits
  sums: Float64Array<ArrayBuffer>; // (rows, 2): the squares of groups whose scale is 0, squared norm
}

/** Rows as numbers of grid points. */
interface RoundedRows {
  codes: Uint16Array<ArrayBuffer>; // (rows, codesPerRow)
  values: Float32Array<ArrayBuffer>; // (rows, cols + 64): what the codes stand for, no meaning behind each row
  sums: Float64Array<ArrayBuffer>; // (rows, 2): squared error, squared norm
}

/** The steps of encoding, one by one. */
export interface EncodingSteps {
  /**
   * Rotates a block of rows.
   * @param firstRow row of the whole tensor that the block starts at, for messages; 0 if left out
   * @throws {RangeError} for NaN, infinity, or a group whose RMS f16 cannot hold; names row and column
   */
  rotateRows(matrix: Matrix, weights: Weights, firstRow?: number): RotatedRows;
  /** Rounds each vector of p elements to the nearest grid point, or each row to a trellis' best path. */
  roundRows(matrix: Matrix, rotated: RotatedRows): RoundedRows;
  /** Packs `codes`, (rows, codesPerRow), to (rows, bytesPerRow). */
  packRows(matrix: Matrix, codes: Uint16Array): Uint8Array<ArrayBuffer>;
}

/** @returns the steps of encoding in this memory */
export function stepsIn(memory: Arena, exports: KernelExports, tables: Tables, operands: Operands): EncodingSteps {
  return {
    rotateRows(matrix, weights, firstRow = 0) {
      memory.reset();
      const { rows, cols, groupSize, seed } = matrix;
      const masks = operands.masks(seed, cols);
      const placed = operands.place(weights);
      const groups = rows * groupsPerRow(cols, groupSize);
      const count = rows * (cols + ROW_MARGIN);
      const [z, scales, sums] = [memory.alloc(count * 4), memory.alloc(groups * 2), memory.alloc(rows * 16)];
      const scratch = memory.alloc((cols + ROW_MARGIN) * 4);
      const done = exports.rotateRows(
        ...([placed.weights, placed.dtype, placed.factors, rows, cols, masks, groupSize] as const),
        ...([z, scales, sums, scratch] as const),
      );
      if (done < rows) throw operands.fault(weights, placed, done, cols, firstRow);
      return {
        z: memory.copy(Float32Array, z, count) as Float32Array<ArrayBuffer>,
        scales: memory.copy(Uint16Array, scales, groups) as Uint16Array<ArrayBuffer>,
        sums: memory.copy(Float64Array, sums, rows * 2) as Float64Array<ArrayBuffer>,
      };
    },

    roundRows({ rows, cols, grid, groupSize }, rotated) {
      memory.reset();
      const table = tables.of(grid);
      const vectors = codesPerRow(cols, grid);
      const [z, scales, sums] = [rotated.z, rotated.scales, rotated.sums].map(memory.place);
      const count = rows * (cols + ROW_MARGIN);
      const [codes, values] = [memory.alloc((rows * vectors + ROW_MARGIN) * 2), memory.alloc(count * 4)];
      const scratch = memory.alloc(roundScratchBytes(cols, grid));
      exports.roundRows(
        ...([z, rows, cols, groupSize, table, dimensionOf(grid), grid.bits] as const),
        ...([scales, codes, values, sums, scratch] as const),
      );
      return {
        codes: memory.copy(Uint16Array, codes, rows * vectors) as Uint16Array<ArrayBuffer>,
        values: memory.copy(Float32Array, values, count) as Float32Array<ArrayBuffer>,
        sums: memory.copy(Float64Array, sums, rows * 2) as Float64Array<ArrayBuffer>,
      };
    },

    packRows({ rows, cols, grid }, codes) {
      memory.reset();
      const byteLength = rows * bytesPerRow(cols, grid);
      const [from, packed] = [memory.place(codes), memory.alloc(byteLength)];
      exports.packRows(from, rows, codesPerRow(cols, grid), grid.bits, packed);
      return memory.copy(Uint8Array, packed, byteLength) as Uint8Array<ArrayBuffer>;
    },
  };
}
