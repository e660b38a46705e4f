// The project's encoder at work for the maker: rows in, codes out.

import { arena } from '../../../kernels/arena.ts';
import type { KernelExports } from '../../../kernels/exports.ts';
import type { Rows } from './sample.ts';
import type { Integers } from './tables.ts';

/** The best codes of every row. */
export type Coder = (rows: Rows, trellis: Integers) => Uint16Array; // (count, steps, 4)

/** The most that a trellis has. */
const STATES = 64;

/** A coder by the kernels. */
export function newCoder(kernels: KernelExports): Coder {
  const memory = arena(kernels.memory, kernels.heapBase());
  return ({ count, steps, weights }, { bits, step, zero, tables }) => {
    memory.reset();
    const table = memory.alloc(kernels.trellisTableBytes());
    kernels.trellisTable(memory.place(tables), step, zero, bits, table);
    const z = memory.place(weights);
    const codes = memory.alloc(weights.length * 2);
    const inputs = memory.alloc(steps * 16);
    const slices = memory.alloc(16 * STATES * (Math.max(steps, 64) + 1));
    for (let row = 0; row < count; row++) {
      kernels.viterbi(z + row * steps * 16, steps, table, codes + row * steps * 8, inputs, slices);
    }
    return memory.copy(Uint16Array, codes, weights.length);
  };
}
