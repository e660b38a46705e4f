// What the codes of a sample tell: how often each window of codes occurs and which weights it got. A window is the codes that a
// value depends on: c_i lowest, then c_{i−1}, c_{i−2} and, of 2 bits, c_{i−3}.

import type { Rows } from './sample.ts';

export interface Tally {
  readonly bits: number;
  readonly count: Float64Array; // (windows)
  /** Sum of the weights of each window. */
  readonly sum: Float64Array; // (windows)
  /** Sum of the squares of all weights. */
  squares: number;
}

/** Bits of a window. */
const WINDOW_BITS: Readonly<Record<number, number>> = { 2: 8, 3: 9, 4: 12 };

export function tally({ count, steps, weights }: Rows, codes: Uint16Array, bits: number): Tally {
  const size = 2 ** WINDOW_BITS[bits]!;
  const counts = new Float64Array(size);
  const sums = new Float64Array(size);
  const mask = size - 1;
  let squares = 0;
  for (let row = 0; row < count; row++) {
    for (let s = 0; s < 4; s++) {
      const start = row * steps * 4 + s;
      const end = start + steps * 4;
      let window = 0;
      for (let k = end - 12; k < end; k += 4) window = (window << bits) | codes[k]!;
      for (let k = start; k < end; k += 4) {
        window = ((window << bits) | codes[k]!) & mask;
        const v = weights[k]!;
        counts[window] = counts[window]! + 1;
        sums[window] = sums[window]! + v;
        squares += v * v;
      }
    }
  }
  return { bits, count: counts, sum: sums, squares };
}

/** Entries of the tables that a window's value adds up. */
export function entriesOf(window: number, bits: number): readonly [number, number, number] {
  const code = (lag: number) => (window >> (lag * bits)) & (2 ** bits - 1);
  const index = (lag: number) => (bits === 2 ? code(lag + 1) + 4 * code(lag) : code(lag));
  return [index(0), 16 + index(1), 32 + index(2)];
}

/** Mean squared error per weight of the tallied sample if the tables were these, its codes being what they are. */
export function errorOf({ bits, count, sum, squares }: Tally, tables: Float64Array): number {
  let [error, weights] = [squares, 0];
  for (let w = 0; w < count.length; w++) {
    if (count[w] === 0) continue;
    const [a, b, c] = entriesOf(w, bits);
    const v = tables[a]! + tables[b]! + tables[c]!;
    error += v * (v * count[w]! - 2 * sum[w]!);
    weights += count[w]!;
  }
  return error / weights;
}
