// The tables while they are made: reals in units of the weights' σ, of one shape; rounded, the integers that are stored.
// u = T0[d_i] + T1[d_{i−1}] + T2[d_{i−2}],  d_i = c_i, of 2 bits c_{i−1} + 4·c_i;  value = step · (u − zero)

import type { Random } from '../gaussian.ts';
import { normal } from '../gaussian.ts';

/** Entries of all tables. */
export const ENTRIES = 48;
const TABLE = 16;
/** Of the integers that a code adds up. */
export const LARGEST_SUM = 127;

export interface Shape {
  readonly bits: 2 | 3 | 4;
  /** Low bits of an index that each table depends on; a table of 0 bits is zero. */
  readonly used: readonly [number, number, number];
}

/** A trellis as it is stored. */
export interface Integers {
  readonly bits: number;
  readonly step: number; // f32
  readonly zero: number;
  readonly tables: Uint8Array; // (3, 16)
}

/** Of each entry the first one that the shape makes equal to it; −1 in a table that is zero. */
export function firsts({ used }: Shape): Int8Array {
  return Int8Array.from({ length: ENTRIES }, (_, i) => {
    const bits = used[Math.floor(i / TABLE)];
    return bits === 0 ? -1 : i - (i % TABLE) + (i % 2 ** bits);
  });
}

/**
 * Random tables: the entries of each normal, `spread[t]` wide. Where the trellis forgets high bits of a code, codes of the same low bits
 * take every 2^r-th of T0's entries (Ungerboeck's set partitioning).
 */
export function scattered(shape: Shape, spread: readonly number[], uniform: Random): Float64Array {
  const { bits, used } = shape;
  const first = firsts(shape);
  const tables = new Float64Array(ENTRIES);
  for (let i = 0; i < ENTRIES; i++) {
    if (first[i] === i) tables[i] = spread[Math.floor(i / TABLE)] * normal(uniform);
  }
  if (bits > 2 && used[1] < bits) tables.subarray(0, 2 ** bits).sort();
  return tables.map((_, i) => (first[i] < 0 ? 0 : tables[first[i]]));
}

/** The finest integers whose largest sum is at most 127. */
export function toIntegers({ bits }: Shape, tables: Float64Array): Integers {
  const lows = extremes(tables, Math.min);
  const range = sum(extremes(tables, Math.max)) - sum(lows);
  // Rounding may add half a step to each table.
  for (let sums = LARGEST_SUM + 1; ; sums -= 0.25) {
    const step = Math.fround(range / sums);
    const integers = Uint8Array.from(tables, (v, i) => Math.round((v - lows[Math.floor(i / TABLE)]) / step));
    if (largestSum(integers) > LARGEST_SUM) continue;
    return { bits, step, zero: clampZero(Math.round(-sum(lows) / step)), tables: integers };
  }
}

/** The values, in units of σ, that the integers stand for: `zero` counts in the first table. */
export function toReals({ step, zero, tables }: Integers): Float64Array {
  return Float64Array.from(tables, (u, i) => step * (i < TABLE ? u - zero : u));
}

export function largestSum(tables: ArrayLike<number>): number {
  return sum(extremes(tables, Math.max));
}

function clampZero(zero: number): number {
  return Math.min(Math.max(zero, 0), LARGEST_SUM);
}

function extremes(tables: ArrayLike<number>, which: (...values: number[]) => number): number[] {
  return [0, 1, 2].map((t) => which(...Array.from({ length: TABLE }, (_, i) => tables[t * TABLE + i])));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, v) => total + v, 0);
}
