// What several weights or blocks of a memory share is laid out when the first of them asks for it, and found again by the others: tables
// of grids, masks of signs, rotated activations, activations by name, ropes.

import { type Rope, widthOf } from '../families/rope.ts';
import { type Grid, isTrellis } from '../grids/grid.ts';
import { activationBytes, READ_BEHIND, rowTableBytes } from '../kernels/decoder/sizes.ts';
import { integerTable } from '../kernels/decoder/table.ts';
import type { Linear, Planner, Rotation } from './linear.ts';
import type { RopeRegions } from './state.ts';

type Reserve = (byteLength: number) => number;

/**
 * Lays out what several weights or blocks share: tables of grids, masks of signs, rotated activations, ropes. Each is there once.
 * @param reserve takes room in the state, bytes to an address @param reserveWeights the same among weights
 * @param batch most tokens of a pass @param integers whether activations are products' integers
 */
export function planShared(reserve: Reserve, reserveWeights: Reserve, batch: number, integers: boolean) {
  const tables: { grid: Grid; table: number; integers: number }[] = [];
  const masks: { seed: number | null; address: number; count: number }[] = [];
  const rotations = new Map<string, Rotation>();
  const activations = new Map<string, number>();
  const ropes: { key: string; rope: Rope; regions: RopeRegions }[] = [];

  const planner: Planner = {
    reserve: reserveWeights,
    tableOf(grid) {
      let entry = tables.find((candidate) => candidate.grid.name === grid.name);
      if (!entry) {
        const integerBytes = integerTable(grid).byteLength;
        // A trellis has one table for values in f32 and in integers.
        const table = reserve(isTrellis(grid) ? integerBytes : rowTableBytes(grid.p, grid.n));
        entry = { grid, table, integers: integers ? (isTrellis(grid) ? table : reserve(integerBytes)) : 0 };
        tables.push(entry);
      }
      return { table: entry.table, integers: entry.integers };
    },
    masksOf(seed, cols) {
      const count = Math.ceil(cols / 32) * 32;
      let entry = masks.find((candidate) => candidate.seed === seed && candidate.count >= count);
      if (!entry) {
        entry = { seed, address: reserve(count * 4), count };
        masks.push(entry);
      }
      return entry.address;
    },
    rotated(from, cols, groupSize, seed, perToken) {
      const key = `${from} ${groupSize} ${seed}`;
      let rotation = rotations.get(key);
      if (!rotation) {
        const integerBytes = integers ? activationBytes(cols, groupSize) : 0;
        rotation = {
          ...{ from, cols, groupSize, integerBytes },
          masks: planner.masksOf(seed, cols),
          to: reserve(batch * perToken * cols * 4 + READ_BEHIND),
          integers: integers ? reserve(batch * perToken * integerBytes) : 0,
        };
        rotations.set(key, rotation);
      }
      return rotation;
    },
  };

  return {
    ...{ planner, tables, masks, ropes },
    rotationsOf: (...linears: Linear[]): Rotation[] =>
      [...rotations.values()].filter(({ to, integers: integersAt }) =>
        linears.some(({ input }) => input === (integersAt || to)),
      ),
    activation(name: string, count: number): number {
      const key = `${name} ${count}`;
      const address = activations.get(key) ?? reserve(batch * count * 4);
      activations.set(key, address);
      return address;
    },
    rope(rope: Rope): number {
      const key = JSON.stringify(rope);
      const existing = ropes.findIndex((entry) => entry.key === key);
      if (existing >= 0) return existing;
      const { interleaved, factor } = rope;
      const width = widthOf(rope);
      const [frequencies, angles] = [reserve(width * 4), reserve(batch * width * 4)];
      return ropes.push({ key, rope, regions: { frequencies, angles, width, factor, interleaved } }) - 1;
    },
  };
}
