// Seeded weights, grids and room for results in the kernels' linear memory: what every row of the tables works on.

import type { Grid } from '../src/grids/grid.ts';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';
import { type Arena, arena } from '../src/kernels/arena.ts';
import type { KernelExports } from '../src/kernels/exports.ts';
import { dimensionOf, encodeScratchBytes } from '../src/kernels/sizes.ts';
import { normals } from '../tests/bits.ts';

export const COLS = 4096;
export const GROUP_SIZE = 1024;

/** A grid and the address of its table. */
export interface PlacedGrid {
  name: string;
  grid: Grid;
  /** As the kernels take it: 0 for a trellis, 5 for one by labels. */
  p: number;
  bits: number;
  table: number;
}

/** A grid of points, which can be searched. */
export interface PlacedPoints extends PlacedGrid {
  p: 1 | 2 | 3 | 4;
  n: number;
  pointsAt: number;
  /** The same table with no cells: the search compares every point. */
  everyPoint: number;
}

/** Addresses, and the kernels that take them. */
export interface Operands {
  kernels: KernelExports;
  memory: Arena;
  rows: number;
  /** rows · COLS */
  count: number;
  /** Gaussian weights of standard deviation 0.02 in each format; f8 is bytes that are no NaN. */
  f32: number;
  bf16: number;
  f16: number;
  f8: number;
  /** Samples of N(0, 1), and zeros, which the transform leaves as they are. */
  normal: number;
  zeros: number;
  /** Room for `count` f32. */
  y: number;
  masks: number; // (COLS)
  /** Codes below 4, u16; packed; scales; sums; the activations of a matvec. */
  codes: number;
  packed: number;
  scales: number;
  sums: number;
  activations: number; // (COLS)
  scratch: number;
  points: readonly PlacedPoints[];
  /** Those and the trellises. */
  grids: readonly PlacedGrid[];
}

export function placeOperands(kernels: KernelExports, rows: number): Operands {
  const memory = arena(kernels.memory, kernels.heapBase());
  const { alloc, place } = memory;
  const count = COLS * rows;
  const f32 = place(normals(count).map((z) => z * 0.02));
  const bf16 = alloc(count * 2);
  kernels.f32ToBf16(f32, bf16, count);
  const f16 = alloc(count * 2);
  kernels.f32ToF16(f32, f16, count);
  const masks = alloc(COLS * 4 + 128);
  kernels.signs(0, masks, COLS);
  const points = [...smallGrids, ...largeGrids].map((grid): PlacedPoints => {
    const { name, p, n, bits } = grid;
    const pointsAt = place(grid.points);
    const tableBytes = kernels.gridTableBytes(p, n);
    const table = alloc(tableBytes);
    kernels.gridTable(pointsAt, p, n, table);
    const everyPoint = place(memory.copy(Uint8Array, table, tableBytes));
    memory.bytes(everyPoint, 4).fill(0); // the number of cells
    return { name, grid, p, n, bits, pointsAt, table, everyPoint };
  });
  const placedTrellises = trellises.map((grid): PlacedGrid => {
    const { name, bits, kept } = grid;
    if (kept) {
      const table = alloc(kernels.labelTableBytes());
      kernels.labelTable(place(grid.tables), grid.step, grid.zero, bits, 2 ** (kept[2] ?? 0) - 1, table);
      return { name, grid, p: dimensionOf(grid), bits, table };
    }
    const table = alloc(kernels.trellisTableBytes());
    kernels.trellisTable(place(grid.tables), grid.step, grid.zero, bits, table);
    return { name, grid, p: dimensionOf(grid), bits, table };
  });
  return {
    ...{ kernels, memory, rows, count, f32, bf16, f16, masks },
    f8: place(Uint8Array.from({ length: count }, (_, i) => ((i * 2654435761) >>> 24) % 127)),
    normal: place(normals(count, 2)),
    zeros: place(new Float32Array(count)),
    y: alloc(count * 4),
    codes: place(Uint16Array.from({ length: count + 8 }, (_, i) => (i * 2654435761) & 3)),
    packed: alloc(count * 2),
    scales: alloc(count),
    sums: alloc(rows * 16),
    activations: place(normals(COLS, 3)),
    scratch: alloc(
      Math.max(...[...points, ...placedTrellises].map(({ grid }) => encodeScratchBytes(COLS, grid, true))),
    ),
    points,
    grids: [...points, ...placedTrellises],
  };
}
