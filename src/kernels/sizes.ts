// Sizes that the kernels have of their own. The originals stand in assembly/, in the files that are named here: memory is laid out
// before there are kernels to ask. `tests/sizes.test.ts` compares them with the debug build, and measures scratch.

import { type CodeGrid, isByLabels, isPaths } from './layout.ts';

/** Columns that share one factor of a block-scaled F8 tensor: float.ts. */
export const FACTOR_COLS = 128;

/** What stands for p where a grid is a trellis: dequantize.ts. */
const TRELLIS = 0;
/** And where it is a trellis by labels: trellis/labels.ts. */
const LABELS = 5;

/** Elements behind a row that is worked on, as kernels write whole blocks of vectors: encode.ts. */
export const ROW_MARGIN = 64;

/** Bytes for each column of the search for a trellis' best path, and the columns beyond a row's: trellis/viterbi.ts. */
const PATH = { bytes: 256, margin: 264 } as const;

/** Bytes that the search for paths by labels works in, beside its slices: trellis/labelpaths.ts. */
const LABEL_WORK = 1280;

/** The dimension that kernels are told. */
export function dimensionOf(grid: CodeGrid): number {
  if (!isPaths(grid)) return grid.p;
  return isByLabels(grid) ? LABELS : TRELLIS;
}

/** States of a trellis by labels. */
function statesOf(kept: readonly number[]): number {
  return 2 ** kept.reduce((sum, bits) => sum + bits, 0);
}

/** Bytes of scratch for some rows of `cols` f32, and one of u16: `rows` of `dequantize` and `matvec` is 1. */
export function rowScratchBytes(cols: number, rows: number): number {
  return (cols + ROW_MARGIN) * (4 * rows + 2);
}

/** Bytes of scratch that `roundRows` needs. */
export function roundScratchBytes(cols: number, grid: CodeGrid): number {
  if (!isPaths(grid)) return 0;
  if (!grid.kept) return (cols + PATH.margin) * PATH.bytes;
  return (cols + PATH.margin) * (4 * statesOf(grid.kept) + 12) + LABEL_WORK;
}

/** Bytes of scratch that `encode` needs. */
export function encodeScratchBytes(cols: number, grid: CodeGrid, scaleSearch: boolean): number {
  const rows = rowScratchBytes(cols, scaleSearch ? 5 : 3);
  // By labels two rows go together: twice what they are rotated, tried and rounded in, and codes.
  const more = isPaths(grid) && isByLabels(grid) ? rowScratchBytes(cols, scaleSearch ? 4 : 2) : 0;
  return rows + more + roundScratchBytes(cols, grid);
}
