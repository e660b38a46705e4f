// Scalar twins of assembly/refine/: the factorisation U D Uᵀ, products of errors, and codes with error feedback, of a trellis' sequence and
// of a row of grid points.

import { f16ToF32, f32ToF16, floatBits } from '../numerics/float.ts';
import { type LabelTrellis, labelWindows } from './labels.ts';
import { gridTable, nearest } from './nearest.ts';
import { memoryOfTables, type TrellisTables, type Windows, windowsOf } from './trellis.ts';

const f = Math.fround;

const WARM_UP = 32;
/** Steps whose values a state has a part in. */
const HEAD = 3;
/** Steps whose residuals say what it costs to change these. */
const EARLY = 8;
/** Trellises with so few states have paths that meet soon. */
const FEW_STATES = 16;
/** Bits of products of those and U behind the point, and of U of older errors. */
const [PRODUCT_BITS, OLDER_BITS] = [7, 13];
/** Units of older errors in the largest σ; an error's unit of its own is 2^1 to 2^7 of 1/128 step, for a reach of 11.5 / 2^bits. */
const [ERROR_UNITS, MOST_UNITS, REACH] = [4096, 7, 11.5];
const LEAST = f(0.000001);
/** The most that a path costs above the cheapest. */
const MOST = 2 ** 23;

/** Factors the lower triangle of (n, n) in place: row k becomes u_0k … u_(k−1)k, d_k. @returns n, or the first k from the last with d ≤ 0 */
export function factorUdu(h: Float64Array, n: number): number {
  for (let k = n - 1; k >= 0; k--) {
    const d = h[k * n + k];
    if (!(d > 0)) return k;
    const raw = h.slice(k * n, k * n + k);
    for (let j = 0; j < k; j++) h[k * n + j] = raw[j] / d;
    for (let i = 0; i < k; i++) for (let j = 0; j <= i; j++) h[i * n + j] -= raw[i] * h[k * n + j];
  }
  return n;
}

/** c += a · b: sums of 128 terms, one after the other. */
export function accumulate(
  c: Float32Array, // (m, n)
  a: Float32Array, // (m, k)
  b: Float32Array, // (k, n)
  { m, k, n }: { m: number; k: number; n: number },
): void {
  for (let start = 0; start < k; start += 128) {
    for (let row = 0; row < m; row++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let i = start; i < Math.min(k, start + 128); i++) sum = f(sum + f(a[row * k + i] * b[i * n + j]));
        c[row * n + j] = f(c[row * n + j] + sum);
      }
    }
  }
}

/** c += a · b by integers: each row of b has a scale, and 128 terms of each row of a. */
export function addProducts(
  c: Float32Array, // (m, n)
  a: Float32Array, // (m, k)
  b: Float32Array, // (k, n)
  { m, k, n }: { m: number; k: number; n: number },
): void {
  const largest = Float32Array.from({ length: k }, (_, i) => Math.max(...b.subarray(i * n, i * n + n).map(Math.abs)));
  const scales = largest.map((most) => (most < f(1e-30) ? 0 : most / 32767));
  const inverses = largest.map((most) => (most < f(1e-30) ? 0 : 32767 / most));
  for (let start = 0; start < k; start += 128) {
    const terms = Array.from({ length: Math.min(128, k - start) }, (_, i) => start + i);
    for (let row = 0; row < m; row++) {
      const scaled = terms.map((i) => f(a[row * k + i] * scales[i]));
      const sum = scaled.reduce((all, x) => f(all + Math.abs(x)), 0);
      const most = Math.max(...scaled.map(Math.abs));
      const t = most < f(1e-30) ? 0 : Math.min(f(65000 / sum), f(32767 / most));
      const inverse = t > 0 ? f(1 / t) : 0;
      const integers = scaled.map((x) => nearestEven(f(x * t)));
      for (let j = 0; j < n; j++) {
        const products = terms.map((i, term) => integers[term] * nearestEven(f(b[i * n + j] * inverses[i])));
        const whole = products.reduce((all, x) => all + x, 0);
        c[row * n + j] = f(c[row * n + j] + f(f(whole) * inverse));
      }
    }
  }
}

/** A sequence, or a row of points: what errors elsewhere feed back, and what is counted. */
export interface Fed {
  /** The rotated weights of unit RMS, (count). */
  z: Float32Array;
  /** What errors elsewhere add to the targets, (count), in the weights' units; changed. */
  fed: Float32Array;
  /** Each weight's factor to units of the grid, (count): 1 / σ. */
  inverses: Float32Array;
  /** The scale of each weight's group, (count). */
  sigmas: Float32Array;
  /** Feedback from a place to those after it: (count, count) U; 0 between parts. */
  upper: Float32Array;
}

/** What was chosen, and what it stands for. */
interface ChosenCode {
  /** One a place, (count). */
  codes: Uint16Array;
  /** What the codes stand for, in the weights' units, (count). */
  values: Float32Array;
}

interface Survivor {
  cost: number;
  /** Of each step so far D times what it missed its target by, in 1/128 step. */
  missed: number[];
  /** Of each step so far the window. */
  windows: number[];
}

/** What a search knows of a trellis. */
interface Searched extends Windows {
  step: number;
  zero: number;
  /** What Q, of a state, and P, of a code, are less, so that their sum is around 0. */
  middles: readonly [q: number, p: number];
  /** Bits of a state that the next step forgets: which member of its group it is. */
  forgotten: number;
  /** The kernels' number of a state, whose low bits are those that the next step forgets. */
  numberOf(state: number): number;
}

function searchedOf(trellis: TrellisTables | LabelTrellis): Searched {
  const { step, zero } = trellis;
  if ('kept' in trellis) {
    const codes = Array.from({ length: 2 ** trellis.bits }, (_, code) => trellis.tables[code % 16] + (code & ~15));
    const middles = [Math.max(...trellis.tables.subarray(16)) >> 1, Math.max(...codes) >> 1] as const;
    return { ...labelWindows(trellis), step, zero, middles, forgotten: 3, numberOf: (state) => state };
  }
  const { kept, depth } = memoryOfTables(trellis);
  const digit = 2 ** kept - 1;
  const numberOf = (state: number) => {
    let number = 0;
    for (let i = 0; i < depth; i++) number = (number << kept) | ((state >> (i * kept)) & digit);
    return number;
  };
  const middle = Math.max(...trellis.tables.subarray(0, 16)) >> 1;
  return { ...windowsOf(trellis), step, zero, middles: [64 - middle, middle], forgotten: kept, numberOf };
}

/** As refineSequence of assembly/refine/search.ts. @param own what errors are counted against @param ds D, the middle 64 @param reach steps that the first are weighed with */
export function refineSequence(
  given: Fed & { own: Float32Array; ds: Int32Array; reach: number },
  trellis: TrellisTables | LabelTrellis,
): ChosenCode {
  const { z, fed, inverses, sigmas, upper, ds, reach } = given;
  const steps = z.length;
  const { bits, states, integers, next, olds, step, zero, middles, forgotten, numberOf } = searchedOf(trellis);
  const middle = 128 * (middles[0] + middles[1]);
  // Errors of each survivor's own, and steps after which the cheapest path is followed anew.
  const own = states <= FEW_STATES ? 8 : states === 64 && bits === 3 ? 4 : 16;
  const block = states <= FEW_STATES ? 8 : 4;
  const largest = Math.max(...sigmas);

  // A number of unit RMS in units of 1/128 step from the middle.
  function placed(y: number): number {
    return clamped(nearestEven(f(f(f(y * f(128 / step)) + 128 * zero) - middle)), 16);
  }
  const aimOf = (k: number) => placed(f(z[k] + f(fed[k] * inverses[k])));
  const against = Array.from(given.own, placed);
  // U from step j to step k in units of 2^-bits.
  const integerU = (j: number, k: number, behind: number) =>
    clamped(Math.round(upper[j * steps + k] * 2 ** behind), 16);

  let unit = 1;
  while (unit < MOST_UNITS && 2 ** unit < f(f(REACH / 2 ** bits) / step)) unit++;

  // What a survivor's own errors feed back to step k.
  function ownFeedback({ windows }: Survivor, k: number): number {
    let sum = 0;
    for (let j = Math.max(0, k - own); j < k; j++) {
      const whole = (against[j] + middle + 2 ** (unit - 1)) >> unit;
      const error = clamped(whole - integers[windows[j]] * (128 >> unit), 8);
      const scale = f(sigmas[j] * inverses[k]);
      sum += error * clamped(nearestEven(f(integerU(j, k, PRODUCT_BITS + unit) * scale)), 16);
    }
    return clamped(sum >> PRODUCT_BITS, 16);
  }

  // What the older errors of a path feed back to step k, in the weights' units.
  function pathFeedback({ windows }: Survivor, k: number): number {
    const factor = largest > 0 ? f(f(step / 128) * f(ERROR_UNITS / largest)) : 0;
    let sum = 0;
    for (let j = 0; j < k - own; j++) {
      const error = against[j] - (128 * integers[windows[j]] - middle);
      sum += clamped(nearestEven(f(error * f(sigmas[j] * factor))), 16) * integerU(j, k, OLDER_BITS);
    }
    return f(f(sum | 0) * f(largest / (ERROR_UNITS * 2 ** OLDER_BITS)));
  }

  // What a step by a window costs.
  function costOf(target: number, d: number, window: number): number {
    const q = olds[window >> bits];
    const x = Math.min(16383, Math.max(-16384, target)) - 128 * (q - middles[0]);
    const h = Math.floor((d * x + 32) / 64);
    const p = integers[window] - q - middles[1];
    return d * p * p - h * p + Math.floor((x * h) / 256);
  }

  function seam(): number {
    if (steps < 3) return 0;
    const half = Math.min(WARM_UP, steps);
    const around = Array.from({ length: 2 * half }, (_, i) => (i < half ? steps - half + i : i - half));
    const aims = Array.from({ length: steps }, (_, k) => aimOf(k));
    let costs = new Array<number>(states).fill(0);
    const chosen: number[][] = [];
    for (const k of around) {
      const after = new Array<number>(states).fill(Number.POSITIVE_INFINITY);
      const windows = new Array<number>(states).fill(0);
      for (let w = 0; w < integers.length; w++) {
        const cost = costs[w >> bits] + costOf(aims[k], ds[k], w);
        if (cost < after[next[w]]) [after[next[w]], windows[next[w]]] = [cost, w];
      }
      const least = Math.min(...after);
      costs = after.map((cost) => Math.min(cost - least, MOST));
      chosen.push(windows);
    }
    let state = costs.indexOf(Math.min(...costs));
    for (let i = 1; i <= half; i++) state = chosen[chosen.length - i][state] >> bits;
    return state;
  }

  const start = seam();
  // Of states that cost alike, those go first whose oldest code is lowest.
  const place = (state: number) => {
    const number = numberOf(state);
    return (number % 2 ** forgotten) * (states >> forgotten) + (number >> forgotten);
  };
  let survivors: (Survivor | undefined)[] = Array.from({ length: states }, (_, state) =>
    state === start ? { cost: 0, missed: [], windows: [] } : undefined,
  );
  // The path that feeds older errors back to a block: the cheapest a step before it.
  let [path, coming] = [survivors[start]!, survivors[start]!];
  for (let k = 0; k < steps; k++) {
    if (k > 0 && k % block === 0) path = coming;
    if (k >= own) fed[k] = f(fed[k] + pathFeedback(path, k));
    const aim = aimOf(k);
    const targets = survivors.map((survivor) => survivor && clamped(aim + ownFeedback(survivor, k), 16));
    const after: (Survivor | undefined)[] = new Array(states).fill(undefined);
    for (let w = 0; w < integers.length; w++) {
      const survivor = survivors[w >> bits];
      if (!survivor) continue;
      const target = targets[w >> bits]!;
      const cost = survivor.cost + costOf(target, ds[k], w);
      const best = after[next[w]];
      if (best && cost >= best.cost) continue;
      const missed = ds[k] * (target + middle - 128 * integers[w]);
      after[next[w]] = { cost, missed: [...survivor.missed, missed], windows: [...survivor.windows, w] };
    }
    const costs = after.map((survivor) => survivor?.cost ?? Number.POSITIVE_INFINITY);
    const least = Math.min(...costs);
    survivors = after.map((survivor) => survivor && { ...survivor, cost: Math.min(survivor.cost - least, MOST) });
    if ((k + 2) % block === 0) coming = survivors[firstOf(costs, place)]!;
  }
  const isFed = upper.subarray(1, reach).some((u) => u !== 0);
  const end = steps < WARM_UP || reach < EARLY || states <= FEW_STATES || !isFed ? start : seamAnew();
  const { windows } = survivors[end]!;
  windows.splice(0, HEAD, ...headFrom(end, windows));
  return {
    codes: Uint16Array.from(windows, (w) => w % 2 ** bits),
    values: Float32Array.from(windows, (w) => f(step * (integers[w] - zero))),
  };

  // The windows of the first codes of a path from another state.
  function headFrom(state: number, path: readonly number[]): number[] {
    return path.slice(0, HEAD).map((window) => {
      const own = (state << bits) + (window % 2 ** bits);
      state = next[own];
      return own;
    });
  }

  // The seam's state by what survivors cost, and what the first values add to that.
  function seamAnew(): number {
    const costs = survivors.map((survivor) => survivor?.cost ?? MOST);
    const cheapest = survivors[firstOf(costs, place)]!;
    const firsts = Array.from({ length: HEAD }, (_, h) => h);
    const slopes = firsts.map((h) => {
      let sum = 0;
      for (let k = h; k < EARLY; k++) sum += cheapest.missed[k] * (h === k ? 1 : upper[h * steps + k]);
      return sum;
    });
    const squares = firsts.map((h) =>
      firsts.map((i) => {
        let sum = 0;
        for (let k = Math.max(h, i); k < reach; k++) {
          sum += ds[k] * (h === k ? 1 : upper[h * steps + k]) * (i === k ? 1 : upper[i * steps + k]);
        }
        return sum;
      }),
    );
    const changed = (state: number) => {
      const head = headFrom(state, cheapest.windows);
      const d = head.map((window, h) => 128 * (integers[cheapest.windows[h]] - integers[window]));
      const alone =
        d[0] * (d[0] * squares[0][0] + 2 * (d[1] * squares[0][1] + d[2] * squares[0][2])) +
        d[1] * (d[1] * squares[1][1] + 2 * d[2] * squares[1][2]) +
        d[2] * d[2] * squares[2][2];
      return 2 * (d[0] * slopes[0] + d[1] * slopes[1] + d[2] * slopes[2]) + alone;
    };
    const order = [...costs.keys()].filter((state) => costs[state] < MOST).sort((a, b) => numberOf(a) - numberOf(b));
    const all = order.map((state) => 128 * 128 * costs[state] + changed(state));
    return order[all.indexOf(Math.min(...all))];
  }
}

// Of the cheapest states the first by an order.
function firstOf(costs: readonly number[], order: (state: number) => number): number {
  const least = Math.min(...costs);
  const states = [...costs.keys()].filter((state) => costs[state] === least);
  return states.reduce((first, state) => (order(state) < order(first) ? state : first));
}

// An integer held within so many bits.
function clamped(x: number, bits: number): number {
  return Math.max(-(2 ** (bits - 1)), Math.min(2 ** (bits - 1) - 1, x));
}

function nearestEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

/**
 * As targetScales of assembly/refine/rows.ts, of one group; `fed` by column.
 * @returns the new scale as f16 bits, and what z is multiplied by
 */
export function targetScale(
  z: Float32Array,
  fed: Float32Array,
  { factor, scale }: { factor: number; scale: number },
): { bits: number; ratio: number } {
  const own = f16ToF32(scale);
  const inverse = own > 0 ? f(1 / own) : 0;
  let added = 0;
  for (let k = 0; k < z.length; k++) {
    const given = f(fed[k] * inverse);
    added += given * (given + 2 * z[k]);
  }
  const square = Math.min(16, Math.max(0.25, 1 + added / z.length));
  const bits = f32ToF16(floatBits(f(own * f(factor * f(Math.sqrt(square))))));
  const isHeld = bits > 0 && bits < 0x7c00;
  return isHeld ? { bits, ratio: f(own / f16ToF32(bits)) } : { bits: scale, ratio: 1 };
}

/** As refinePoints of assembly/refine/points.ts. @param square (count, count) H; 0 between parts @param begins of each column's part, @param ends behind it */
export function refinePoints(
  given: Fed & { square: Float32Array; begins: Uint32Array; ends: Uint32Array },
  points: Float32Array,
  p: number,
  sweeps: number,
): ChosenCode & { /** Target less value, of unit RMS, (count). */ missed: Float32Array } {
  const { z, fed, inverses, sigmas, upper, square, begins, ends } = given;
  const cols = z.length;
  const table = gridTable(points, p);
  const codes = new Uint16Array(Math.ceil(cols / p));
  const [values, missed, slopes] = [new Float32Array(cols), new Float32Array(cols), new Float32Array(cols)];
  const own = z.map((value, k) => f(value + f(fed[k] * inverses[k])));
  const columnsOf = (v: number) => Array.from({ length: Math.min(p, cols - v * p) }, (_, i) => v * p + i);
  const add = (to: Float32Array, factor: number, matrix: Float32Array, row: number, from: number) => {
    for (let k = from; k < ends[row]; k++) to[k] = f(to[k] + f(factor * matrix[row * cols + k]));
  };
  const errorOf = (k: number) => f(sigmas[k] * f(own[k] - values[k]));
  for (let v = 0; v < codes.length; v++) {
    const columns = columnsOf(v);
    const targets = Float32Array.from(columns, (k) => f(z[k] + f(fed[k] * inverses[k])));
    codes[v] = nearest(targets, table, p)[0];
    for (const [i, k] of columns.entries()) {
      values[k] = points[codes[v] * p + i];
      missed[k] = f(targets[i] - values[k]);
    }
    for (const k of columns) add(fed, errorOf(k), upper, k, k + 1);
  }
  if (sweeps === 0) return { codes, values, missed };
  for (let k = 0; k < cols; k++) add(slopes, errorOf(k), square, k, begins[k]);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    for (let v = 0; v < codes.length; v++) {
      const columns = columnsOf(v);
      const targets = Float32Array.from(columns, (k) =>
        f(values[k] + f(f(slopes[k] / square[k * cols + k]) * inverses[k])),
      );
      const code = nearest(targets, table, p)[0];
      if (code === codes[v]) continue;
      let [change, alone] = [0, 0];
      const differences: number[] = [];
      for (const [i, k] of columns.entries()) {
        const d = f(sigmas[k] * f(values[k] - points[code * p + i]));
        differences.push(d);
        let sum = 0;
        for (let j = 0; j < i; j++) {
          if (begins[k] <= columns[j]) sum = f(sum + f(differences[j] * square[k * cols + columns[j]]));
        }
        alone = f(alone + f(d * f(f(d * square[k * cols + k]) + f(2 * sum))));
        change = f(change + f(f(2 * d) * slopes[k]));
      }
      if (!(f(change + alone) < f(-LEAST * alone))) continue;
      codes[v] = code;
      for (const [i, k] of columns.entries()) {
        values[k] = points[code * p + i];
        add(slopes, differences[i], square, k, begins[k]);
      }
    }
  }
  slopes.fill(0);
  for (let k = 0; k < cols; k++) {
    const distance = f(own[k] - values[k]);
    missed[k] = f(distance + f(slopes[k] * inverses[k]));
    add(slopes, f(sigmas[k] * distance), upper, k, k + 1);
  }
  return { codes, values, missed };
}
