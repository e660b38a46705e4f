// Polishes integers: moves one at a time, encodes the sample anew, and keeps what lowers the error. The step is free: of given codes
// the best one is the slope of a line through 0.

import type { Coder } from './coder.ts';
import type { Rows } from './sample.ts';
import { ENTRIES, firsts, type Integers, largestSum, type Shape, toReals } from './tables.ts';
import { errorOf, forEachWindow, type Tally, tally } from './tally.ts';

const LARGEST_SUM = 127;

export interface Polished {
  readonly trellis: Integers;
  /** Mean squared error per weight of the sample. */
  readonly error: number;
}

/** Polishes until a sweep finds nothing, `sweeps` at most. The error never rises. */
export function polish(shape: Shape, start: Integers, sample: Rows, code: Coder, sweeps: number): Polished {
  const measured = (trellis: Integers): Polished => {
    const counts = tally(sample, code(sample, trellis), shape.bits);
    return { trellis, error: errorOf(counts, toReals(trellis)) };
  };
  let best = measured(start);
  const first = firsts(shape);
  const attempt = (trellis: Integers): boolean => {
    if (largestSum(trellis.tables) > LARGEST_SUM || trellis.zero < 0 || trellis.zero > LARGEST_SUM) return false;
    const trial = measured(trellis);
    if (trial.error >= best.error) return false;
    best = trial;
    return true;
  };
  for (let sweep = 0, lower = true; sweep < sweeps && lower; sweep++) {
    lower = false;
    // Twice: the codes that a step finds have a better one again.
    for (let k = 0; k < 2; k++) if (attempt(withBestStep(best.trellis, sample, code))) lower = true;
    for (const by of [-1, 1]) if (attempt({ ...best.trellis, zero: best.trellis.zero + by })) lower = true;
    for (let i = 0; i < ENTRIES; i++) {
      if (first[i] !== i) continue;
      for (const by of [-1, 1]) {
        const moved = withEntry(best.trellis, first, i, by);
        if (moved && attempt(moved)) {
          lower = true;
          break;
        }
      }
    }
  }
  return best;
}

/** The trellis with entry `i`, and those equal to it, moved; the others of its table move up where it would fall below 0. */
function withEntry(trellis: Integers, first: Int8Array, i: number, by: number): Integers | undefined {
  const tables = trellis.tables.map((u, j) => (first[j] === i ? u + by : u));
  if (trellis.tables[i]! + by >= 0) return { ...trellis, tables };
  const table = Math.floor(i / 16);
  const lifted = trellis.tables.map((u, j) => (Math.floor(j / 16) === table && first[j] !== i ? u - by : u));
  return { ...trellis, tables: lifted, zero: trellis.zero - by };
}

/** The trellis with the step of least error for its codes. */
function withBestStep(trellis: Integers, sample: Rows, code: Coder): Integers {
  const counts = tally(sample, code(sample, trellis), trellis.bits);
  return { ...trellis, step: bestStep(counts, trellis) };
}

function bestStep(counts: Tally, { zero, tables }: Integers): number {
  let [products, squares] = [0, 0];
  forEachWindow(counts, (count, sum, a, b, c) => {
    const u = tables[a]! + tables[b]! + tables[c]! - zero;
    products += u * sum;
    squares += u * u * count;
  });
  return Math.fround(products / squares);
}
