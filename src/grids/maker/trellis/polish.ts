// Polishes integers: moves one at a time, the way its weights pull it, encodes the sample anew, and keeps what lowers the error.
// The step is free: of given codes the best one is the slope of a line through 0.

import type { Coder } from './coder.ts';
import type { SampleRows } from './sample.ts';
import { ENTRIES, firsts, type Integers, largestInteger, largestSum, type TableShape, toReals } from './tables.ts';
import { forEachWindow, type Tally, tableError, tally } from './tally.ts';

/** A trellis after polishing. */
export interface Polished {
  /** The integers of the least error that was met. */
  readonly trellis: Integers;
  /** Mean squared error per weight of the sample. */
  readonly error: number;
}

/** Polishes until a sweep over all entries finds nothing, `sweeps` at most. The error never rises. */
export function polish(shape: TableShape, start: Integers, sample: SampleRows, code: Coder, sweeps: number): Polished {
  const first = firsts(shape);
  const most = largestInteger(shape.bits);
  const measured = (trellis: Integers) => {
    const counts = tally(sample, code(sample, trellis), shape);
    return { trellis, counts, error: tableError(counts, toReals(trellis)) };
  };
  let best = measured(start);
  const attempt = (trellis: Integers): boolean => {
    if (largestSum(trellis.tables) > most || trellis.zero < 0 || trellis.zero > most) return false;
    const trial = measured(trellis);
    if (trial.error >= best.error) return false;
    best = trial;
    return true;
  };
  for (let sweep = 0, lower = true; sweep < sweeps && lower; sweep++) {
    lower = attempt({ ...best.trellis, step: bestStep(best.counts, best.trellis) });
    for (const by of [-1, 1]) if (attempt({ ...best.trellis, zero: best.trellis.zero + by })) lower = true;
    for (let i = 0; i < ENTRIES; i++) {
      if (first[i] === i && attempt(withEntry(best.trellis, first, i, pull(best.counts, best.trellis, first, i)))) {
        lower = true;
      }
    }
  }
  return { trellis: best.trellis, error: best.error };
}

/** 1 where the weights whose value has entry `i` are above it in the mean, −1 where they are below. */
function pull(counts: Tally, trellis: Integers, first: Int8Array, i: number): number {
  const tables = toReals(trellis);
  let rest = 0;
  forEachWindow(counts, (count, sum, a, b, c) => {
    if (first[a] !== i && first[b] !== i && first[c] !== i) return;
    rest += sum - count * (tables[a] + tables[b] + tables[c]);
  });
  return rest > 0 ? 1 : -1;
}

/**
 * The trellis with entry `i`, and those equal to it, moved; where it would fall below 0 the others of its table rise. By labels they fall
 * where it was the only 0.
 */
function withEntry(trellis: Integers, first: Int8Array, i: number, by: number): Integers {
  const table = Math.floor(i / 16);
  const entries = trellis.tables.subarray(table * 16, table * 16 + 16);
  const rises = by > 0 && trellis.kept && entries.every((u, j) => u > 0 || first[table * 16 + j] === i);
  if (trellis.tables[i] + by >= 0 && !rises) {
    return { ...trellis, tables: trellis.tables.map((u, j) => (first[j] === i ? u + by : u)) };
  }
  const tables = trellis.tables.map((u, j) => (Math.floor(j / 16) === table && first[j] !== i ? u - by : u));
  return { ...trellis, tables, zero: trellis.zero - by };
}

/** The step of least error for the codes that were counted. */
function bestStep(counts: Tally, { tables, zero }: Integers): number {
  let [products, squares] = [0, 0];
  forEachWindow(counts, (count, sum, a, b, c) => {
    const u = tables[a] + tables[b] + tables[c] - zero;
    products += u * sum;
    squares += u * u * count;
  });
  return Math.fround(products / squares);
}
