// The calls of the encode kernel on the operands.

import { dtypeCodes } from '../src/kernels/layout.ts';
import { COLS, GROUP_SIZE, type Operands, type PlacedGrid } from './operands.ts';

/** Encodes the operands' bf16 weights, all steps. */
export function encodeBf16(operands: Operands, grid: PlacedGrid): void {
  encode(operands, grid, operands.bf16, dtypeCodes.BF16);
}

/** Encodes `rows` rows of f32 at `w` to `packed`, `scales` and `sums`. */
export function encodeF32(operands: Operands, grid: PlacedGrid, w: number): void {
  encode(operands, grid, w, dtypeCodes.F32);
}

function encode(operands: Operands, { table, p, bits }: PlacedGrid, w: number, dtype: number): void {
  const { kernels, rows, masks, packed, scales, sums, scratch } = operands;
  const shape = [rows, COLS, masks, GROUP_SIZE, table, p, bits] as const;
  kernels.encode(w, dtype, 0, ...shape, false, packed, scales, sums, scratch);
}
