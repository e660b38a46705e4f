// Scalar twins of assembly/decoder/cachecodes.ts and codeattention.ts: keys and values as codes with scales, and attention over them. One
// head at a time; codes are levels here, however they are packed.

import { softCap, softmax, withSink } from './decoder.ts';
import { f16ToF32, f32ToF16, floatBits } from './float.ts';
import { flip, groupsOf, hadamard, rotate } from './hadamard.ts';
import { dot } from './sum.ts';

const f = Math.fround;

const GROUP = 4096;
/** Levels of a code of 4 bits: p1n16 in units of the 127th of its largest point. */
export const LEVELS: readonly number[] = [-127, -96, -75, -58, -44, -31, -18, -6, 6, 18, 31, 44, 58, 75, 96, 127];
const STEP = f(0.021516452624103215);
/** Positions whose weights share a factor. */
const BLOCK = 64;
const LEAST = f(1e-30);

/** A vector as a cache keeps it: element i is scale · levels[i]. */
interface KeptVector {
  /** Integers, one an element. */
  readonly levels: Int8Array;
  /** What they are multiplied by. */
  readonly scale: number;
}

/** Elements of a row with those that fill it. */
export function filled(count: number): number {
  return Math.ceil(count / 16) * 16;
}

// Ties to even, below 2^23.
function nearest(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

const clamp = (x: number, low: number, high: number) => Math.max(low, Math.min(high, x));

/** The vector turned, unless there are no masks, and filled with zeros. */
function rotateFilled(x: Float32Array, masks: Uint32Array | undefined): Float32Array {
  const y = new Float32Array(filled(x.length));
  y.set(masks ? rotate(x, masks, GROUP) : x);
  return y;
}

/** What was turned to x. */
function rotateBack(x: Float32Array, masks: Uint32Array | undefined): Float32Array {
  if (!masks) return x;
  const y = x.slice();
  for (const { start, size } of groupsOf(x.length, GROUP)) {
    const group = y.subarray(start, start + size);
    hadamard(group);
    const factor = f(1 / f(Math.sqrt(size)));
    for (let i = 0; i < size; i++) group[i] = f(group[i] * factor);
  }
  return flip(y, masks);
}

/** A vector as codes of 8 or 4 bits. */
export function keep(x: Float32Array, bits: 8 | 4, masks: Uint32Array | undefined): KeptVector {
  const y = rotateFilled(x, masks);
  if (bits === 4) return search(y, x.length);
  const scale = asF16(f(largest(y) / 127));
  const levels = Int8Array.from(y, (value) => (scale === 0 ? 0 : clamp(nearest(f(value / scale)), -128, 127)));
  return { levels, scale };
}

const largest = (x: Float32Array) => x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const asF16 = (x: number) => f16ToF32(f32ToF16(floatBits(x)));

/** The levels of the scale, of five, whose best factor leaves the least error; and this factor. */
function search(y: Float32Array, count: number): KeptVector {
  const values = y.subarray(0, count);
  const middle = f(f(Math.sqrt(f(dot(values, values) / count))) * STEP);
  if (middle < LEAST) return { levels: new Int8Array(y.length).fill(LEVELS[0]), scale: 0 };
  const corrections = [0, 1, 2, 3, 4].map((i) => {
    const scale = f(middle * f(f(0.8) + f(i * f(0.1))));
    const integers = Array.from(y, (value) => nearest(f(value / scale)));
    const levels = Int8Array.from(integers, levelNear);
    const product = f(f(levels.reduce((sum, level, i) => sum + level * integers[i], 0)) * scale);
    const square = f(levels.reduce((sum, level) => sum + level * level, 0));
    return { levels, factor: f(product / square), gain: f(f(product * product) / square) };
  });
  const { levels, factor } = corrections.reduce((best, other) => (other.gain > best.gain ? other : best));
  return { levels, scale: asF16(factor) };
}

/** The level nearest to an integer; halfway that towards zero, or below. */
function levelNear(z: number): number {
  return LEVELS.reduce((best, level) => {
    const [nearer, other] = [Math.abs(level - z), Math.abs(best - z)];
    return nearer < other || (nearer === other && z < 0) ? level : best;
  });
}

/** As i16 in units of the factor; `most` is `levels` of them. */
function integers(x: Float32Array, levels: number): { values: Int16Array; factor: number } {
  const most = largest(x);
  if (most < LEAST) return { values: new Int16Array(x.length), factor: 0 };
  const factor = f(f(levels) / most);
  const values = Int16Array.from(x, (value) => clamp(nearest(f(value * factor)), -32768, 32767));
  return { values, factor: f(most / f(levels)) };
}

/** A key in parts, each with a scale of its own. */
type KeptParts = readonly KeptVector[];

/**
 * One query head at the position of the last of `keys`, which are all that came before it in its sequence; it sees the last `window` of
 * them, 0 for all. `q` is in parts as keys are.
 */
export function attendCodes(
  q: readonly Float32Array[],
  keys: readonly KeptParts[],
  values: readonly KeptVector[],
  masks: Uint32Array | undefined,
  scale: number,
  window: number,
  cap: number,
  sink?: number,
): Float32Array {
  const position = keys.length - 1;
  const first = window === 0 ? 0 : Math.max(0, keys.length - window);
  const parts = q.map((part) => {
    const all = rotateFilled(part, masks);
    const { values, factor } = integers(all, Math.min(32767, Math.floor(2 ** 24 / all.length) - 1));
    return { values, factor: f(factor * f(scale)) };
  });
  const scores = Float32Array.from({ length: keys.length - first }, (_, i) =>
    parts.reduce((sum, { values, factor }, part) => {
      const { levels, scale } = keys[first + i][part];
      const product = values.reduce((sum, value, d) => sum + value * levels[d], 0);
      const score = f(f(product) * f(scale * factor));
      return part === 0 ? score : f(sum + score);
    }, 0),
  );
  const p = softmax(withSink(cap > 0 ? softCap(scores, cap) : scores, sink));
  const mixed = new Float32Array(values[0].levels.length);
  for (let block = first - (first % BLOCK); block <= position; block += BLOCK) {
    const weights = Float32Array.from({ length: BLOCK }, (_, i) => {
      const t = block + i;
      return t < first || t > position ? 0 : f(p[t - first] * values[t].scale);
    });
    const { values: w, factor } = integers(weights, 32767);
    for (let d = 0; d < mixed.length; d++) {
      const sum = w.reduce((sum, weight, i) => (weight === 0 ? sum : sum + weight * values[block + i].levels[d]), 0);
      mixed[d] = f(mixed[d] + f(f(sum) * factor));
    }
  }
  return rotateBack(mixed.subarray(0, q[0].length), masks);
}
