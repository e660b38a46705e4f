// Scalar twin of assembly/trellis/labels.ts and labelpaths.ts: a trellis by labels, its values and the best codes of a row (FORMAT.md,
// "Codes of a trellis by labels"). A state is a tuple of low bits of the codes before; here it is numbered as the kernels do.

import type { Windows } from './trellis.ts';

const f = Math.fround;

/** Interleaved sequences of a row. */
const SEQUENCES = 4;
/** Steps on either side of the seam that choose its state. */
const WARM_UP = 32;
/** Units of an input in a step of the table. */
const SCALE = 181;
/** Steps beyond the least and the largest integer that an input is held within. */
const BEYOND = 16;
/** What a path may cost more than the best. */
const MOST = 65535;

/** What the values of codes follow from. */
export interface LabelTrellis {
  /** Bits of a code. */
  bits: number;
  /** What a code, and a label, add: (2, 16). */
  tables: Uint8Array;
  /** What an integer counts, in units of the scale. */
  step: number;
  /** The integer of value 0. */
  zero: number;
  /** Low bits of the codes before that make the label: [3, 3] or [3, 3, 2]. */
  kept: readonly number[];
}

// The label of the codes before, the last one first.
function labelOf({ kept }: LabelTrellis, before: readonly number[]): number {
  return kept.reduce((label, bits, lag) => label ^ (before[lag] % 2 ** bits), 0);
}

function integerOf(trellis: LabelTrellis, code: number, label: number): number {
  return trellis.tables[code % 16] + 16 * Math.floor(code / 16) + trellis.tables[16 + label];
}

/** Value of every code of a row, (4 · steps); the codes before the first ones are the last ones. */
export function labelValues(codes: Uint16Array, trellis: LabelTrellis): Float32Array {
  const { length } = codes;
  return Float32Array.from({ length }, (_, k) => {
    const before = [1, 2, 3].map((lag) => codes[(k + length * 3 - lag * SEQUENCES) % length]);
    return f(trellis.step * (integerOf(trellis, codes[k], labelOf(trellis, before)) - trellis.zero));
  });
}

/** States, and the windows (a state and a code) that lead into each: for every state after, (8) states before. */
interface LabelStates {
  count: number;
  /** Eight states from which the same states follow, from the first of them on; their labels are label ^ 0 … 7. */
  groups: { first: number; label: number; after: number }[];
}

/** The states of a trellis: with `q` a code's low bits, `after + q · (count / 8)` follows. */
export function statesOf({ kept }: LabelTrellis): LabelStates {
  if (kept.length === 2) {
    // Of codes a, b before: 8 a + b.
    return { count: 64, groups: [0, 1, 2, 3, 4, 5, 6, 7].map((a) => ({ first: 8 * a, label: a, after: a })) };
  }
  // Of codes a, b, c before: 32 a + 8 (b mod 4) + 4 (b div 4) + c.
  const groups = Array.from({ length: 32 }, (_, group) => {
    const [a, b] = [group >> 2, group & 3];
    return { first: 8 * group, label: a ^ b, after: 8 * (a & 3) + 4 * (a >> 2) + b };
  });
  return { count: 256, groups };
}

/** Every window, a state and below it a code: as windowsOf of trellis.ts gives them. */
export function labelWindows(trellis: LabelTrellis): Windows {
  const { bits } = trellis;
  const { count, groups } = statesOf(trellis);
  const integers = new Int32Array(count << bits);
  const next = new Int32Array(count << bits);
  const olds = new Int32Array(count);
  for (const { first, label, after } of groups) {
    for (let member = 0; member < 8; member++) {
      olds[first + member] = trellis.tables[16 + (label ^ member)];
      for (let code = 0; code < 2 ** bits; code++) {
        const window = ((first + member) << bits) | code;
        integers[window] = integerOf(trellis, code, label ^ member);
        next[window] = after + (code % 8) * (count / 8);
      }
    }
  }
  return { bits, states: count, integers, next, olds };
}

/** What is known of a trellis before a row is: bounds, and integers around the middle. */
function boundsOf({ bits, tables, step, zero }: LabelTrellis) {
  const most =
    Math.max(...tables.subarray(0, 16)) + Math.max(...tables.subarray(16)) + 16 * (2 ** Math.max(0, bits - 4) - 1);
  const largest = most + BEYOND;
  const center = most >> 1;
  const gain = Math.min(bits - 2, 3);
  return { largest, center, gain, factor: f(SCALE / step), offset: SCALE * (zero - center) };
}

const saturated = (x: number): number => Math.max(-32768, Math.min(32767, x));

/** What a step costs: by label and low bits of the code, with the high bits that cost least. */
interface StepCosts {
  costs: Uint16Array; // (8 labels, 8 low bits)
  highs: Uint8Array; // (8, 8)
}

/** Costs of a step with a weight `z`. */
export function stepCosts(z: number, trellis: LabelTrellis): StepCosts {
  const { largest, center, gain, factor, offset } = boundsOf(trellis);
  const y = roundEven(
    Math.min(SCALE * (largest - center), Math.max(SCALE * (-BEYOND - center), f(f(z * factor) + offset))),
  );
  const costs = new Uint16Array(64);
  const highs = new Uint8Array(64);
  for (let label = 0; label < 8; label++) {
    const target = saturated(y - SCALE * trellis.tables[16 + label]);
    for (let low = 0; low < 8; low++) {
      let least = Number.POSITIVE_INFINITY;
      for (let high = 0; high < 2 ** (trellis.bits - 3); high++) {
        const distance = Math.abs(
          saturated(target - SCALE * (integerOf(trellis, low + 8 * high, label) - trellis.tables[16 + label] - center)),
        );
        if (distance >= least) continue;
        least = distance;
        highs[8 * label + low] = high;
      }
      const d = Math.min(least, 32767 >> gain) * 2 ** gain;
      costs[8 * label + low] = (d * d + 0x4000) >> 15;
    }
  }
  return { costs, highs };
}

// |x| is below 2^22: the last bit of the sum is worth 1.
function roundEven(x: number): number {
  return f(x + 12582912) - 12582912;
}

/** Codes of a row, (4 · ceil(cols / 4)): of each sequence the cheapest path from the seam's state to the same. */
export function labelCodes(z: Float32Array, trellis: LabelTrellis): Uint16Array {
  const steps = Math.ceil(z.length / SEQUENCES);
  const codes = new Uint16Array(steps * SEQUENCES);
  const states = statesOf(trellis);
  for (let s = 0; s < SEQUENCES; s++) {
    const costs = Array.from({ length: steps }, (_, i) => stepCosts(z[i * SEQUENCES + s] ?? 0, trellis));
    const { lows } = cheapestLabelCycle(costs, states);
    for (const [i, low] of lows.entries()) {
      const before = [1, 2, 3].map((lag) => lows[(i + steps * 3 - lag) % steps]);
      codes[i * SEQUENCES + s] = low + 8 * costs[i].highs[8 * labelOf(trellis, before) + low];
    }
  }
  return codes;
}

/** The low bits of a sequence's codes, the state that they start and end in, and what its steps cost. */
export function cheapestLabelCycle(
  steps: readonly StepCosts[],
  states: LabelStates,
): { lows: number[]; seam: number; cost: number } {
  let seam = 0;
  if (steps.length >= 3) {
    const half = Math.min(WARM_UP, steps.length);
    const around = [...steps.slice(-half), ...steps.slice(0, half)];
    const { costs, trace } = cheapestPaths(around, new Float64Array(states.count), states);
    seam = trace(costs.indexOf(Math.min(...costs)), half).start;
  }
  const start = Float64Array.from({ length: states.count }, (_, state) => (state === seam ? 0 : MOST));
  const { costs, trace, taken } = cheapestPaths(steps, start, states);
  return { lows: trace(seam, steps.length).lows, seam, cost: costs[seam] + taken };
}

// Costs of the end states, less what was `taken` off all; `trace` goes back from one of them by some steps.
function cheapestPaths(steps: readonly StepCosts[], start: Float64Array, { count, groups }: LabelStates) {
  let costs = start;
  let taken = 0;
  const before: Uint16Array[] = []; // of each state after a step the state before
  const chosen: Uint8Array[] = []; // and the low bits of the code
  for (const [i, step] of steps.entries()) {
    const after = new Float64Array(count);
    const [from, lows] = [new Uint16Array(count), new Uint8Array(count)];
    for (const group of groups) {
      for (let low = 0; low < 8; low++) {
        const state = group.after + (low * count) / 8;
        let least = Number.POSITIVE_INFINITY;
        for (let k = 0; k < 8; k++) {
          const cost = Math.min(MOST, costs[group.first + k] + step.costs[8 * (group.label ^ k) + low]);
          if (cost >= least) continue;
          least = cost;
          from[state] = group.first + k;
          lows[state] = low;
        }
        after[state] = least;
      }
    }
    if (i % 8 === 7) {
      const least = Math.min(...after);
      taken += least;
      for (let state = 0; state < count; state++) after[state] = after[state] - least;
    }
    costs = after;
    before.push(from);
    chosen.push(lows);
  }
  function trace(end: number, length: number): { start: number; lows: number[] } {
    const lows: number[] = [];
    let state = end;
    for (let i = 1; i <= length; i++) {
      lows.push(chosen[chosen.length - i][state]);
      state = before[before.length - i][state];
    }
    return { start: state, lows: lows.reverse() };
  }
  return { costs, taken, trace };
}
