// A scheme says how a matrix is quantized: the grid, the group size, and the seed of the random signs.

import { checkInteger, checkPowerOfTwo } from '../check.ts';
import { checkGrid, type Grid } from '../grids/grid.ts';
import { bytesPerRow, groupsPerRow } from '../kernels/layout.ts';

/** Smallest and largest group: below, scales cost more than a bit a weight; above, there is no kernel. */
export const GROUP_SIZES = { low: 16, high: 4096 } as const;
export const DEFAULT_GROUP_SIZE = 1024;
/** The grid of `--bits` (DECISIONS.md, "Trellises by default", has what they were chosen by). */
export const DEFAULT_GRIDS: Readonly<Record<number, string>> = { 2: 't2', 3: 't3', 4: 't4' };

export interface Scheme {
  readonly grid: Grid;
  readonly groupSize: number;
  /** Seed of the random signs; null for none. */
  readonly seed: number | null;
}

/** @throws {RangeError} when the grid contradicts itself, or the group size or the seed is out of range. */
export function checkScheme(scheme: Scheme): void {
  checkGrid(scheme.grid);
  checkGroups(scheme);
}

/** @throws {RangeError} when the group size or the seed is out of range. */
export function checkGroups({ groupSize, seed }: Omit<Scheme, 'grid'>): void {
  checkPowerOfTwo('groupSize', groupSize, GROUP_SIZES.low, GROUP_SIZES.high);
  if (seed !== null) checkInteger('seed', seed, 0, 0xffffffff);
}

/** Bytes of a quantized matrix: packed codes and scales. */
export function quantizedBytes(
  rows: number,
  cols: number,
  { grid, groupSize }: Scheme,
): { packed: number; scales: number } {
  return {
    packed: rows * bytesPerRow(cols, grid),
    scales: rows * groupsPerRow(cols, groupSize) * 2,
  };
}

/** Bits per weight as stored, scales counted: those of a code per weight and 16 / groupSize, more where rows have short groups. */
export function bitsPerWeight(rows: number, cols: number, scheme: Scheme): number {
  const { packed, scales } = quantizedBytes(rows, cols, scheme);
  return rows * cols === 0 ? 0 : ((packed + scales) * 8) / (rows * cols);
}

/** Relative error t² from summed squares; a matrix of zeros has none. */
export function relativeError(error: number, norm: number): number {
  return norm === 0 ? 0 : error / norm;
}

/** How far a layer's t² may lie above its grid's MSE before it is reported as a fault. */
export const ERROR_LIMIT = 1.15;
