// A scheme says how a matrix is quantized: the grid, the group size, and the seed of the random signs.

import { integer, nullable, powerOfTwo, type Reader } from '../check.ts';
import type { Grid } from '../grids/grid.ts';
import { bytesPerRow, GROUP_SIZES, groupsPerRow } from '../kernels/layout.ts';
import type { WeightedError } from './refinement.ts';

export { GROUP_SIZES };
/** Weights that share a scale, unless options say otherwise. */
export const DEFAULT_GROUP_SIZE = 1024;
/** The grid of `--bits` (DECISIONS.md, "Trellises by default", has what they were chosen by). */
export const DEFAULT_GRIDS: Readonly<Record<number, string>> = {
  2: 't2',
  3: 't3',
  4: 't4',
  5: 't5',
  6: 't6',
};

/** A power of two from 16 to 4096. */
export const groupSizeOf: Reader<number> = powerOfTwo(GROUP_SIZES.low, GROUP_SIZES.high);
/** 32 bits. */
export const seedOf: Reader<number> = integer(0, 0xffffffff);

/** How a matrix is quantized: what its codes mean, and what its scales and signs are of. */
export interface Scheme {
  /** What weights are rounded to. */
  readonly grid: Grid;
  /** Columns that share a scale: a power of two from 16 to 4096. The last group of a row may be shorter. */
  readonly groupSize: number;
  /** Seed of the random signs; null for none. */
  readonly seed: number | null;
}

/** @throws {RangeError} when the group size or the seed is out of range. */
export function checkGroups({ groupSize, seed }: Omit<Scheme, 'grid'>): void {
  groupSizeOf('groupSize', groupSize);
  nullable(seedOf)('seed', seed);
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

/** Sums of squares over weights, from which t² follows. */
export interface SquareSums {
  /** ‖W − Ŵ‖². */
  readonly squaredError: number;
  /** ‖W‖². */
  readonly squaredNorm: number;
  /** Of a refined weight, the error that counts. */
  readonly weighted?: WeightedError | undefined;
}

/** Relative error t²; a matrix of zeros has none. */
export function relativeError({ squaredError, squaredNorm }: SquareSums): number {
  return squaredNorm === 0 ? 0 : squaredError / squaredNorm;
}

/** How far a layer's t² may lie above its grid's MSE before it is reported as a fault. */
export const ERROR_LIMIT = 1.15;
