// Sizes of a quantized matrix (FORMAT.md, "One matrix"): what the kernels write follows from the shape and the scheme alone.

/** A grid's points: n = 2^bits of p dimensions. */
export interface CodePoints {
  /** Weights of a code. */
  readonly p: number;
  /** Bits of a code. */
  readonly bits: number;
  /** The points in units of the scale, (n, p). */
  readonly points: Float32Array;
}

/** A trellis: value = step · (sum of three entries - zero); of one by labels, that has `kept`, of two and a multiple of 16. */
export interface CodeTrellis {
  /** Weights of a code. */
  readonly p: 1;
  /** Bits of a code. */
  readonly bits: number;
  /** What each code and those before it add, (3, 16), by labels (2, 16). */
  readonly tables: Uint8Array;
  /** What an integer counts, in units of the scale. */
  readonly step: number;
  /** The integer of value 0. */
  readonly zero: number;
  /** Low bits of the codes before, the last one first, that make a label. */
  readonly kept?: readonly number[] | undefined;
}

/** Smallest and largest group: below, scales cost more than a bit a weight; above, there is no kernel. */
export const GROUP_SIZES = { low: 16, high: 4096 } as const;
/** Widest row: rows are worked on whole, and the search for a trellis' codes takes 256 bytes a column of the 4 GB that there are. */
export const COLS_LIMIT = 1 << 22;
/** Most rows: a product of so many takes 1 GB. Stacks of experts have a hundredth. */
export const ROWS_LIMIT = 1 << 28;

/** What codes mean. */
export type CodeGrid = CodePoints | CodeTrellis;

/** Whether codes are paths of a trellis, rather than numbers of points. */
export function isPaths(grid: CodeGrid): grid is CodeTrellis {
  return 'tables' in grid;
}

/** Whether a trellis has one table for the codes before, by a label of them. */
export function isByLabels(grid: CodeTrellis): boolean {
  return grid.kept !== undefined;
}

/** What the layout of codes depends on: the weights of a code, its bits, and whether they are a trellis'. */
export interface CodeShape {
  /** Weights of a code. */
  readonly p: number;
  /** Bits of a code. */
  readonly bits: number;
  /** There where codes are a trellis'. */
  readonly tables?: Uint8Array;
  /** There where the trellis is by labels. */
  readonly kept?: readonly number[] | undefined;
}

/** Interleaved sequences of a trellis in a row: a vector of four columns is one step of each. */
export const SEQUENCES = 4;

/** Codes in a row: one for each p weights, the last one padded; of a trellis a multiple of four. */
export function codesPerRow(cols: number, { p, tables }: CodeShape): number {
  return tables ? Math.ceil(cols / SEQUENCES) * SEQUENCES : Math.ceil(cols / p);
}

/** Bytes of packed codes in a row. */
export function bytesPerRow(cols: number, grid: CodeShape): number {
  return Math.ceil((codesPerRow(cols, grid) * grid.bits) / 8);
}

/** Scales in a row: whole groups, then one group for each power of two in what is left of the width. */
export function groupsPerRow(cols: number, groupSize: number): number {
  let groups = Math.floor(cols / groupSize);
  for (let rest = cols % groupSize; rest > 0; rest &= rest - 1) groups++;
  return groups;
}

/** Weights of a block: about so many, in whole rows. */
const BLOCK_WEIGHTS = 1 << 20;

/** Rows of a matrix that one call of a kernel gets. */
interface RowBlock {
  readonly first: number;
  readonly count: number;
  readonly isLast: boolean;
}

/** Cuts a matrix into blocks of about a million weights, at least a row each; one without weights has none. */
export function* rowBlocks(rows: number, cols: number): Generator<RowBlock, void> {
  const step = Math.max(1, Math.floor(BLOCK_WEIGHTS / Math.max(1, cols)));
  for (let first = 0; first < rows && cols > 0; first += step) {
    const count = Math.min(step, rows - first);
    yield { first, count, isLast: first + count === rows };
  }
}

/** Dtypes of weights that the kernels read, by the number that assembly/float.ts has for them. */
export const dtypeCodes = { F32: 0, BF16: 1, F16: 2, F8_E4M3: 3 } as const;
