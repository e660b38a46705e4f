// Scalar twins of assembly/decoder/matmul.ts and activation.ts: activations as integers, and products of integers with one scale a group.

import { f16ToF32 } from './float.ts';
import { groupsOf } from './hadamard.ts';

const f = Math.fround;

/** A group of an activation: x ≈ scale · values. */
export interface QuantizedGroup {
  /** What an integer counts. */
  scale: number;
  /** The integers, (groupSize). */
  values: Int32Array;
}

/** Largest integer of an activation in groups of `size`. */
function levelsOf(size: number, narrow: boolean): number {
  return narrow ? 127 : Math.min(32767, 2 ** 19 / size);
}

/** Each group of a rotated activation by its largest magnitude. */
export function quantizeActivation(x: Float32Array, groupSize: number, narrow: boolean): QuantizedGroup[] {
  return groupsOf(x.length, groupSize).map(({ start, size }) => {
    const group = x.subarray(start, start + size);
    const levels = levelsOf(size, narrow);
    const most = group.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    if (most < 2 ** -100) return { scale: 0, values: new Int32Array(size) };
    const factor = f(levels / most);
    return { scale: f(most / levels), values: Int32Array.from(group, (value) => roundEven(f(value * factor))) };
  });
}

// To nearest even; |x| is below 2^22, and the last bit of the sum is worth 1.
function roundEven(x: number): number {
  return f(x + 12582912) - 12582912;
}

/**
 * Whether sums of two steps by pairs (assembly/decoder/pairs.ts) may exceed i16: of eight columns those with even numbers come to one sum,
 * and those with odd numbers.
 * @param slots a group's narrow integers as they stand, a multiple of eight
 */
export function exceedsPairs(slots: readonly number[]): boolean {
  return slots.some((_, first) => {
    if (first % 8 > 1) return false;
    const columns = [0, 2, 4, 6].map((i) => slots[first + i]);
    const above = columns.reduce((sum, value) => sum + Math.max(0, value), 0);
    const below = columns.reduce((sum, value) => sum - Math.min(0, value), 0);
    return Math.max(above, below) > 258;
  });
}

/**
 * One row of Ŵ times a quantized activation: y = (0 + f32(σ · scale) · f32(Σ integer · x) + …) · step.
 * @param integers of the row's codes, one a weight
 * @param scales f16 bits, one a group
 */
export function multiply(
  integers: Int16Array,
  step: number,
  scales: Uint16Array,
  x: readonly QuantizedGroup[],
): number {
  let y = 0;
  let start = 0;
  x.forEach(({ scale, values }, group) => {
    const exact = values.reduce((sum, value, i) => sum + value * integers[start + i], 0);
    y = f(y + f(f(f16ToF32(scales[group]) * scale) * f(exact)));
    start += values.length;
  });
  return f(y * step);
}
