// Scalar twin of assembly/trellis/: a trellis' values from codes, and the best codes of a row (FORMAT.md, "Codes of a trellis"). The
// bits before a step make its state: the low `kept` bits of each of the last `depth` codes, the last code's lowest.

const f = Math.fround;

/** Interleaved sequences of a row. */
const SEQUENCES = 4;
/** Steps on either side of the seam that choose its state. */
const WARM_UP = 32;

/** What the values of codes follow from. */
export interface TrellisTables {
  /** Bits of a code: 2 to 6. */
  bits: number;
  /** Entries by the place of a code behind the last, (3, 16). */
  tables: Uint8Array;
  /** What an integer counts, in units of the scale. */
  step: number;
  /** The integer of value 0. */
  zero: number;
}

/** Low bits of an index that a table depends on. */
function bitsUsed(table: Uint8Array): number {
  return [0, 1, 2, 3, 4].find((bits) => table.every((entry, i) => entry === table[i % 2 ** bits]))!;
}

/** What the tables remember of the codes before. */
export function memoryOfTables({ bits, tables }: TrellisTables): { kept: number; depth: number } {
  const [second, third] = [bitsUsed(tables.subarray(16, 32)), bitsUsed(tables.subarray(32))] as const;
  if (bits === 2) return { kept: 2, depth: third > 0 ? 3 : 2 };
  return { kept: Math.max(second, third), depth: third > 0 ? 2 : 1 };
}

// The integer of the newest of codes, the newest first.
function integerOf(trellis: TrellisTables, codes: readonly number[]): number {
  return trellis.tables[indexOf(trellis, codes, 0)] + oldOf(trellis, codes);
}

// What all of them but the newest add.
function oldOf(trellis: TrellisTables, codes: readonly number[]): number {
  return trellis.tables[16 + indexOf(trellis, codes, 1)] + trellis.tables[32 + indexOf(trellis, codes, 2)];
}

function indexOf({ bits }: TrellisTables, codes: readonly number[], lag: number): number {
  return bits === 2 ? (codes[lag + 1] ?? 0) + 4 * (codes[lag] ?? 0) : (codes[lag] ?? 0);
}

/** Value of every code of a row, (4 · steps); the codes before the first ones are the last ones. */
export function trellisValues(codes: Uint16Array, trellis: TrellisTables): Float32Array {
  const { length } = codes;
  return Float32Array.from({ length }, (_, k) => {
    const last = [0, 1, 2, 3].map((lag) => codes[(k + length * 4 - lag * SEQUENCES) % length]);
    return f(trellis.step * (integerOf(trellis, last) - trellis.zero));
  });
}

/** Codes of a row, (4 · ceil(cols / 4)): of each sequence the cheapest path from the seam's state to the same. */
export function trellisCodes(z: Float32Array, trellis: TrellisTables): Uint16Array {
  const steps = Math.ceil(z.length / SEQUENCES);
  const codes = new Uint16Array(steps * SEQUENCES);
  const windows = windowsOf(trellis);
  for (let s = 0; s < SEQUENCES; s++) {
    const targets = Array.from({ length: steps }, (_, i) => targetOf(z[i * SEQUENCES + s] ?? 0, trellis));
    const path = cheapestCycle(targets, windows);
    for (const [i, code] of path.codes.entries()) codes[i * SEQUENCES + s] = code;
  }
  return codes;
}

/** Every window, a code and above it the state before it, with its integer and the state after it. */
export interface Windows {
  /** Bits of a code. */
  bits: number;
  /** Number of states. */
  states: number;
  /** The integer of each window, (states · 2^bits). */
  integers: Int32Array;
  /** The state after each window, (states · 2^bits). */
  next: Int32Array;
  /** What the codes before add to the integers after a state. */
  olds: Int32Array; // (states)
}

/** @returns the windows of a trellis */
export function windowsOf(trellis: TrellisTables): Windows {
  const { bits } = trellis;
  const { kept, depth } = memoryOfTables(trellis);
  const states = 2 ** (kept * depth);
  const low = 2 ** kept - 1;
  const codesOf = (w: number) => [w % 2 ** bits, ...[0, 1, 2].map((lag) => (w >> (bits + lag * kept)) & low)];
  const all = Array.from({ length: states * 2 ** bits }, (_, w) => w);
  return {
    bits,
    states,
    integers: Int32Array.from(all, (w) => integerOf(trellis, codesOf(w))),
    next: Int32Array.from(all, (w) => (w & low) | (((w >> bits) << kept) & (states - 1))),
    olds: Int32Array.from({ length: states }, (_, state) => oldOf(trellis, codesOf(state << bits))),
  };
}

/** z in 1/128 of a step, an integer; what a step to u costs is 128 u² − 2 target u. */
export function targetOf(z: number, { step, zero }: TrellisTables): number {
  const y = f(f(z * f(128 / step)) + 128 * zero);
  return roundEven(Math.min(24575, Math.max(-8192, y)));
}

// |x| is below 2^22: the last bit of the sum is worth 1.
function roundEven(x: number): number {
  return f(x + 12582912) - 12582912;
}

/** The codes of a sequence, the state that they start and end in, and what its steps cost. */
export function cheapestCycle(
  targets: readonly number[],
  windows: Windows,
): { codes: number[]; seam: number; cost: number } {
  const free = new Float64Array(windows.states);
  let seam = 0;
  if (targets.length >= 3) {
    const half = Math.min(WARM_UP, targets.length);
    const around = [...targets.slice(-half), ...targets.slice(0, half)];
    const { costs, trace } = cheapestPaths(around, free, windows);
    const end = costs.indexOf(Math.min(...costs));
    seam = trace(end, half).start;
  }
  const start = free.map((_, state) => (state === seam ? 0 : Infinity));
  const { costs, trace } = cheapestPaths(targets, start, windows);
  return { codes: trace(seam, targets.length).codes, seam, cost: costs[seam] };
}

// Costs of the end states; `trace` goes back from one of them by some steps.
function cheapestPaths(targets: readonly number[], start: Float64Array, { bits, states, integers, next }: Windows) {
  let costs = start;
  const chosen: Int32Array[] = []; // the last window of the cheapest path into each state
  for (const target of targets) {
    const after = new Float64Array(states).fill(Infinity);
    const windows = new Int32Array(states);
    for (let w = 0; w < integers.length; w++) {
      const u = integers[w];
      const state = next[w];
      const cost = costs[w >> bits] + 128 * u * u - 2 * target * u;
      if (cost >= after[state]) continue;
      after[state] = cost;
      windows[state] = w;
    }
    costs = after;
    chosen.push(windows);
  }
  function trace(end: number, steps: number): { start: number; codes: number[] } {
    const codes: number[] = [];
    let state = end;
    for (let i = 1; i <= steps; i++) {
      const window = chosen[chosen.length - i][state];
      codes.push(window % 2 ** bits);
      state = window >> bits;
    }
    return { start: state, codes: codes.reverse() };
  }
  return { costs, trace };
}
