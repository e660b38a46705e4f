// What the codes of a sample tell: how often each window of codes occurs and which weights it got. A window is the codes that a
// value depends on: c_i lowest, then c_{i−1}, c_{i−2} and, of 2 bits, c_{i−3}; by labels c_i and the label.

import type { SampleRows } from './sample.ts';

/** What a window depends on. */
interface WindowShape {
  readonly bits: number;
  readonly kept?: readonly number[] | undefined;
}

/** Sums over the weights that each window of codes took. */
export interface Tally extends WindowShape {
  /** How often each window occurs, (windows). */
  readonly count: Float64Array;
  /** Sum of the weights of each window. */
  readonly sum: Float64Array; // (windows)
  /** Sum of the squares of all weights. */
  squares: number;
}

/** Bits of a window. */
const WINDOW_BITS: Readonly<Record<number, number>> = { 2: 8, 3: 9, 4: 12 };

/** Counts weights by the windows of their codes. */
export function tally({ count, steps, weights }: SampleRows, codes: Uint16Array, { bits, kept }: WindowShape): Tally {
  const size = kept ? 2 ** (bits + 3) : 2 ** WINDOW_BITS[bits];
  const counts = new Float64Array(size);
  const sums = new Float64Array(size);
  const mask = size - 1;
  const [first, second, third] = [0, 1, 2].map((lag) => 2 ** (kept?.[lag] ?? 0) - 1);
  let squares = 0;
  for (let row = 0; row < count; row++) {
    for (let s = 0; s < 4; s++) {
      const start = row * steps * 4 + s;
      const end = start + steps * 4;
      let window = 0;
      let [a, b, c] = [codes[end - 4], codes[end - 8], codes[end - 12]];
      for (let k = end - 12; k < end; k += 4) window = (window << bits) | codes[k];
      for (let k = start; k < end; k += 4) {
        if (kept) {
          window = codes[k] | (((a & first) ^ (b & second) ^ (c & third)) << bits);
          c = b;
          b = a;
          a = codes[k];
        } else {
          window = ((window << bits) | codes[k]) & mask;
        }
        const v = weights[k];
        counts[window] = counts[window] + 1;
        sums[window] = sums[window] + v;
        squares += v * v;
      }
    }
  }
  return { bits, kept, count: counts, sum: sums, squares };
}

/** Entries of the tables that the value of each window adds up: (windows, 3), of codes of 2, 3, 4 bits. */
const WINDOW_ENTRIES: Readonly<Record<number, Uint8Array>> = { 2: entriesOf(2), 3: entriesOf(3), 4: entriesOf(4) };
/** By labels, of codes of 3 to 6 bits. */
const LABEL_ENTRIES: Readonly<Record<number, Uint8Array>> = Object.fromEntries(
  [3, 4, 5, 6].map((bits) => [bits, labelEntriesOf(bits)]),
);

function entriesOf(bits: number): Uint8Array {
  const entries = new Uint8Array(3 * 2 ** WINDOW_BITS[bits]);
  for (let window = 0; 3 * window < entries.length; window++) {
    const code = (lag: number) => (window >> (lag * bits)) & (2 ** bits - 1);
    const index = (lag: number) => (bits === 2 ? code(lag + 1) + 4 * code(lag) : code(lag));
    entries.set([index(0), 16 + index(1), 32 + index(2)], 3 * window);
  }
  return entries;
}

function labelEntriesOf(bits: number): Uint8Array {
  const entries = new Uint8Array(3 * 2 ** (bits + 3));
  for (let window = 0; 3 * window < entries.length; window++) {
    const code = window & (2 ** bits - 1);
    entries.set([code & 15, 16 + (window >> bits), 32 + (code >> 4)], 3 * window);
  }
  return entries;
}

/** Calls `visit` for every window that occurs, with the three entries of its value. */
export function forEachWindow(
  { bits, kept, count, sum }: Tally,
  visit: (count: number, sum: number, a: number, b: number, c: number) => void,
): void {
  const entries = kept ? LABEL_ENTRIES[bits] : WINDOW_ENTRIES[bits];
  for (let w = 0; w < count.length; w++) {
    if (count[w] > 0) visit(count[w], sum[w], entries[3 * w], entries[3 * w + 1], entries[3 * w + 2]);
  }
}

/** Mean squared error per weight of the tallied sample if the tables were these, its codes being what they are. */
export function tableError(counts: Tally, tables: Float64Array): number {
  let [error, weights] = [counts.squares, 0];
  forEachWindow(counts, (count, sum, a, b, c) => {
    const v = tables[a] + tables[b] + tables[c];
    error += v * (v * count - 2 * sum);
    weights += count;
  });
  return error / weights;
}
