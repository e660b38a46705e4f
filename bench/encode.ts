// The calls of the encode kernel on the operands.

import { COLS, GROUP_SIZE, type Operands, type PlacedGrid } from './operands.ts';

/** Encodes the operands' bf16 weights: widening, then the rest. */
export function encodeBf16(operands: Operands, grid: PlacedGrid): void {
  const { kernels, bf16, y, count } = operands;
  kernels.bf16ToF32(bf16, y, count);
  encodeF32(operands, grid, y);
}

/** Encodes `rows` rows of f32 at `w` to `packed`, `scales` and `sums`. */
export function encodeF32(operands: Operands, { table, p, bits }: PlacedGrid, w: number): void {
  const { kernels, rows, masks, packed, scales, sums, scratch } = operands;
  kernels.encode(w, rows, COLS, masks, GROUP_SIZE, table, p, bits, packed, scales, sums, scratch);
}
