// The tables while they are made: reals in units of the weights' σ, of one shape; rounded, the integers that are stored.
// u = T0[d_i] + T1[d_{i−1}] + T2[d_{i−2}],  d_i = c_i, of 2 bits c_{i−1} + 4·c_i;  value = step · (u − zero)
// By labels T1 is of the label, and T2 of the bits above the fourth: 16 for each, which nothing changes but the step.

import type { Random } from '../gaussian.ts';
import { normal } from '../gaussian.ts';

/** Entries of all tables. */
export const ENTRIES = 48;
const TABLE = 16;
/** Where the integers of bits above the fourth stand. */
const OFFSETS = 2 * TABLE;

/** Which bits of codes the tables of a trellis depend on. */
export interface TableShape {
  /** Bits of a code. */
  readonly bits: 2 | 3 | 4 | 5 | 6;
  /** Low bits of an index that each table depends on; a table of 0 bits is zero, or by labels offsets. */
  readonly used: readonly [number, number, number];
  /** Low bits of the codes before that make a label. */
  readonly kept?: readonly number[];
}

/** The largest integer that a code adds up to: of six bits eight bits. */
export function largestInteger(bits: number): number {
  return bits > 5 ? 255 : 127;
}

/** A trellis as it is stored. */
export interface Integers {
  /** Bits of a code. */
  readonly bits: number;
  /** What an integer counts, in units of σ, f32. */
  readonly step: number;
  /** The integer of value 0. */
  readonly zero: number;
  /** Entries, (3, 16); by labels the third is left out. */
  readonly tables: Uint8Array;
  /** Low bits of the codes before that make a label; undefined without labels. */
  readonly kept?: readonly number[] | undefined;
}

/** Of each entry the first one that the shape makes equal to it; −1 in a table that nothing is fitted in. */
export function firsts({ used }: TableShape): Int8Array {
  return Int8Array.from({ length: ENTRIES }, (_, i) => {
    const bits = used[Math.floor(i / TABLE)];
    return bits === 0 ? -1 : i - (i % TABLE) + (i % 2 ** bits);
  });
}

/**
 * Random tables: the entries of each normal, `spread[t]` wide. Where the trellis forgets high bits of a code, codes of the same low bits
 * take every 2^r-th of T0's entries (Ungerboeck's set partitioning).
 */
export function scattered(shape: TableShape, spread: readonly number[], uniform: Random): Float64Array {
  const { bits, used } = shape;
  const first = firsts(shape);
  const tables = new Float64Array(ENTRIES);
  for (let i = 0; i < ENTRIES; i++) {
    if (first[i] === i) tables[i] = spread[Math.floor(i / TABLE)] * normal(uniform);
  }
  if (bits > 2 && used[1] < bits) tables.subarray(0, 2 ** Math.min(bits, 4)).sort();
  const permuted = tables.map((_, i) => (first[i] < 0 ? 0 : tables[first[i]]));
  for (let high = 1; high < highsOf(shape); high++) permuted[OFFSETS + high] = high * spread[2];
  return permuted;
}

/** Values of a code's bits above the fourth. */
function highsOf({ bits }: TableShape): number {
  return bits > 4 ? 2 ** (bits - 4) : 1;
}

/** The finest integers whose largest sum fits; where there are offsets, those of their step, or the finest above it. */
export function toIntegers(shape: TableShape, tables: Float64Array): Integers {
  const { bits, kept } = shape;
  const most = largestInteger(bits);
  const offset = highsOf(shape) > 1 ? tables[OFFSETS + 1] / 16 : 0;
  const entries = offset > 0 ? tables.subarray(0, OFFSETS) : tables;
  const lows = extremes(entries, Math.min);
  const range = sum(extremes(entries, Math.max)) - sum(lows);
  const room = most + 1 - 16 * (highsOf(shape) - 1);
  // Rounding may add half a step to each table.
  for (let sums = offset > 0 ? Math.min(range / offset, room) : room; ; sums -= 0.25) {
    const step = Math.fround(range / sums);
    const integers = new Uint8Array(ENTRIES);
    entries.forEach((v, i) => {
      integers[i] = Math.round((v - lows[Math.floor(i / TABLE)]) / step);
    });
    for (let high = 1; high < highsOf(shape); high++) integers[OFFSETS + high] = 16 * high;
    if (largestSum(integers) > most) continue;
    const zero = Math.min(Math.max(Math.round(-sum(lows) / step), 0), most);
    return { bits, step, zero, tables: integers, ...(kept && { kept }) };
  }
}

/** The values, in units of σ, that the integers stand for: `zero` counts in the first table. */
export function toReals({ step, zero, tables }: Integers): Float64Array {
  return Float64Array.from(tables, (u, i) => step * (i < TABLE ? u - zero : u));
}

/** The largest sum of three entries, one of each table. */
export function largestSum(tables: ArrayLike<number>): number {
  return sum(extremes(tables, Math.max));
}

function extremes(tables: ArrayLike<number>, which: (...values: number[]) => number): number[] {
  return Array.from({ length: tables.length / TABLE }, (_, t) =>
    which(...Array.from({ length: TABLE }, (_, i) => tables[t * TABLE + i])),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, v) => total + v, 0);
}
