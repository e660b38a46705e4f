// Data-free quantizers that others use, in scalar form: what they restore and what it costs. They round groups of a row; the last
// group of a row may be shorter. Scales, and zeros that are no integers, are f16. Arithmetic is f32, as in bench/assembly/.

import { f16ToF32Bits, f32ToF16 } from '../src/reference/float.ts';
import { af4Levels, nf4Levels } from './levels.ts';

export interface Restored {
  dequantized: Float32Array; // (rows, cols)
  /** Everything stored, divided by rows · cols. */
  bitsPerWeight: number;
}

/** Quantizes `weights` (rows, cols) and restores them. */
export type Baseline = (weights: Float32Array, rows: number, cols: number) => Restored;

const { fround } = Math;
const words = new Uint32Array(1);
const floats = new Float32Array(words.buffer);

// The f16 nearest to x.
function toF16(x: number): number {
  floats[0] = x;
  words[0] = f16ToF32Bits(f32ToF16(words[0]));
  return floats[0];
}

// To the nearest integer, ties to even; |x| < 2^22.
function round(x: number): number {
  return fround(fround(x + 12582912) - 12582912);
}

function clamp(x: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, x));
}

function reciprocal(scale: number, numerator = 1): number {
  return scale === 0 ? 0 : fround(numerator / scale);
}

function largest(group: Float32Array): number {
  return group.reduce((most, w) => Math.max(most, Math.abs(w)), 0);
}

// Applies `restore` in place to each group; it also returns the group's bits beside the codes.
function byGroups(
  codeBits: number,
  groupSize: number,
  groupBits: number,
  restore: (group: Float32Array) => void,
): Baseline {
  return (weights, rows, cols) => {
    const dequantized = weights.slice();
    for (let row = 0; row < rows; row++) {
      for (let start = 0; start < cols; start += groupSize) {
        const end = Math.min(start + groupSize, cols);
        restore(dequantized.subarray(row * cols + start, row * cols + end));
      }
    }
    return { dequantized, bitsPerWeight: codeBits + (Math.ceil(cols / groupSize) * groupBits) / cols };
  };
}

/** Rounds to sixteen levels in [-1, 1] times the group's largest magnitude. */
export function levels16(levels: Float32Array, groupSize: number): Baseline {
  const borders = bordersOf(levels);
  return byGroups(4, groupSize, 16, (group) => {
    const scale = toF16(largest(group));
    const factor = reciprocal(scale, 32767);
    group.forEach((w, i) => {
      const q = clamp(round(fround(w * factor)), -32768, 32767);
      group[i] = levels[borders.reduce((code, border) => code + (q > border ? 1 : 0), 0)] * scale;
    });
  });
}

/** Where rounding passes from one level to the next, in units of 1 / 32767. */
export function bordersOf(levels: Float32Array): Int16Array {
  return Int16Array.from({ length: levels.length - 1 }, (_, k) =>
    Math.floor(((levels[k] + levels[k + 1]) / 2) * 32767),
  );
}

/** Equidistant levels. Symmetric: -m … m with m = 2^(bits - 1) - 1. Asymmetric: 2^bits of them, one of which is zero. */
export function roundToNearest(bits: number, groupSize: number, symmetric: boolean): Baseline {
  if (symmetric) {
    const most = 2 ** (bits - 1) - 1;
    return byGroups(bits, groupSize, 16, (group) => {
      const scale = toF16(fround(largest(group) / most));
      const factor = reciprocal(scale);
      group.forEach((w, i) => {
        group[i] = clamp(round(fround(w * factor)), -most, most) * scale;
      });
    });
  }
  const most = 2 ** bits - 1;
  return byGroups(bits, groupSize, 16 + bits, (group) => {
    const [low, high] = [Math.min(0, ...group), Math.max(0, ...group)];
    const scale = toF16(fround(fround(high - low) / most));
    const factor = reciprocal(scale);
    const zero = Math.min(most, round(fround(-low * factor)));
    group.forEach((w, i) => {
      group[i] = (clamp(round(fround(w * factor)) + zero, 0, most) - zero) * scale;
    });
  });
}

/**
 * HQQ (Badri and Shaji 2023), its defaults: the scale spans the group; the zero is moved to lessen Σ |w - ŵ|^0.7 by half-quadratic
 * splitting, at most 20 steps, as long as the mean error falls.
 */
export function hqq(bits: number, groupSize: number): Baseline {
  const most = 2 ** bits - 1;
  return byGroups(bits, groupSize, 32, (group) => {
    const [low, high] = [Math.min(...group), Math.max(...group)];
    const scale = toF16((high - low) / most);
    if (scale === 0) return void group.fill(toF16(group[0] ?? 0)); // all the same, stored as the zero is
    const code = (w: number, zero: number) => clamp(round(w / scale + zero), 0, most);
    let zero = -low / scale;
    let [best, bestZero] = [Number.POSITIVE_INFINITY, zero];
    for (let step = 0, beta = 10; step < 20; step++, beta *= 1.01) {
      let [moved, error] = [0, 0];
      for (const w of group) {
        const q = code(w, zero);
        const e = w - (q - zero) * scale;
        error += Math.abs(e);
        // The part of the error that is taken for an outlier: the shrinkage of e for the norm's exponent 0.7.
        const outlier = Math.sign(e) * Math.max(0, Math.abs(e) - Math.abs(e) ** -0.3 / beta);
        moved += q - (w - (Number.isNaN(outlier) ? 0 : outlier)) / scale;
      }
      if (error >= best) break;
      [best, bestZero] = [error, zero];
      zero = moved / group.length;
    }
    const stored = toF16(bestZero);
    group.forEach((w, i) => {
      group[i] = (code(w, stored) - stored) * scale;
    });
  });
}

const nf4 = nf4Levels();

/** By the names that tables have. */
export const baselines: Readonly<Record<string, Baseline>> = {
  'NF4 g64': levels16(nf4, 64),
  'AF4 g64': levels16(af4Levels(64), 64),
  'HQQ int4 g64': hqq(4, 64),
  'HQQ int3 g64': hqq(3, 64),
  'int4 symmetric g32': roundToNearest(4, 32, true),
  'int4 symmetric g64': roundToNearest(4, 64, true),
  'int4 asymmetric g32': roundToNearest(4, 32, false),
  'int4 asymmetric g64': roundToNearest(4, 64, false),
  'int4 asymmetric g128': roundToNearest(4, 128, false),
  'int3 asymmetric g32': roundToNearest(3, 32, false),
  'int3 asymmetric g64': roundToNearest(3, 64, false),
  'int3 asymmetric g128': roundToNearest(3, 128, false),
};
