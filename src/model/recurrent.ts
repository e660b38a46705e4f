// What layers keep that have no keys and values: a state of one size however long the sequence. Each such block has room for several,
//
//   states (slots, floats) f32
//
// and a sequence holds one slot in all blocks. A state stands for the ids up to one, all of them: it cannot be
// cut shorter. batch.ts knows for which.

/** What one block keeps: plain data, the same for all threads. */
export interface Recurrent {
  /** Address of the states, (slots, floats), f32. */
  readonly states: number;
  /** Elements of a state. */
  readonly floats: number;
  /** States that there is room for. */
  readonly slots: number;
}

/** Plans the states of a block. */
export function planRecurrent(floats: number, slots: number, reserve: (byteLength: number) => number): Recurrent {
  return { states: reserve(floats * slots * 4), floats, slots };
}

/** Bytes of all that a block keeps. */
export function recurrentBytes({ floats, slots }: Recurrent): number {
  return floats * slots * 4;
}

/** Where a state stands. */
export function stateAt({ states, floats }: Recurrent, slot: number): number {
  return states + slot * floats * 4;
}

/** Copies a state to another slot. */
export function copyState(memory: Uint8Array, recurrent: Recurrent, from: number, to: number): void {
  const address = stateAt(recurrent, from);
  memory.copyWithin(stateAt(recurrent, to), address, address + recurrent.floats * 4);
}
