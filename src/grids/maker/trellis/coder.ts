// The project's encoder at work for the maker: rows in, codes out.

import { arena } from '../../../kernels/arena.ts';
import type { KernelExports } from '../../../kernels/exports.ts';
import type { SampleRows } from './sample.ts';
import type { Integers } from './tables.ts';

/** The best codes of every row. */
export type Coder = (rows: SampleRows, trellis: Integers) => Uint16Array; // (count, steps, 4)

/** The most states that a trellis has, by labels and not. */
const [LABEL_STATES, STATES] = [256, 64];

/** A coder by the kernels. */
export function newCoder(kernels: KernelExports): Coder {
  const memory = arena(kernels.memory, kernels.heapBase());
  return ({ count, steps, weights }, { bits, step, zero, tables, kept }) => {
    memory.reset();
    const z = memory.place(weights);
    const codes = memory.alloc(weights.length * 2);
    const slices = Math.max(steps, 64) + 1;
    if (kept) {
      const table = memory.alloc(kernels.labelTableBytes());
      kernels.labelTable(memory.place(tables), step, zero, bits, 2 ** (kept[2] ?? 0) - 1, table);
      const scratch = memory.alloc(1280 + 32 * steps + (16 * LABEL_STATES + 16) * slices);
      for (let row = 0; row < count; row += 2) {
        const other = Math.min(row + 1, count - 1);
        const [z0, z1] = [row, other].map((row) => z + row * steps * 16);
        const [codes0, codes1] = [row, other].map((row) => codes + row * steps * 8);
        kernels.labelPaths(z0, z1, steps, table, codes0, codes1, scratch);
      }
    } else {
      const table = memory.alloc(kernels.trellisTableBytes());
      kernels.trellisTable(memory.place(tables), step, zero, bits, table);
      const [inputs, scratch] = [memory.alloc(steps * 16), memory.alloc(16 * STATES * slices)];
      for (let row = 0; row < count; row++) {
        kernels.viterbi(z + row * steps * 16, steps, table, codes + row * steps * 8, inputs, scratch);
      }
    }
    return memory.copy(Uint16Array, codes, weights.length);
  };
}
