// The error of a trellis with its final integers: draws from N(0, 1), encoded as the kernels do.

import type { Random } from '../gaussian.ts';
import { normal } from '../gaussian.ts';
import { newEncoder } from './viterbi.ts';
import type { Windows } from './window.ts';

export interface Integers {
  readonly step: number; // f32
  readonly zero: number; // integer
  readonly tables: Uint8Array; // (3, 16)
}

/** u of every window. */
export function sums({ entries }: Windows, tables: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: entries.length / 3 }, (_, w) => {
    return tables[entries[3 * w]!]! + tables[entries[3 * w + 1]!]! + tables[entries[3 * w + 2]!]!;
  });
}

/** Targets y of values z, in 1/128 steps: what the kernels encode. */
export function targetOf(z: number, { step, zero }: Integers): number {
  const k = Math.fround(128 / step);
  const t = Math.fround(Math.fround(z * k) + 128 * zero);
  return even(Math.min(Math.max(t, -8192), 24575)) / 128;
}

/** The nearest integer, ties to even. */
function even(t: number): number {
  const low = Math.floor(t);
  const over = t - low;
  return over > 0.5 || (over === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

/** Mean squared error per weight and its standard error, over `count` sequences of `steps` draws. */
export function measure(
  windows: Windows,
  trellis: Integers,
  steps: number,
  count: number,
  uniform: Random,
): { mse: number; error: number } {
  const { encode } = newEncoder(windows, steps);
  const u = sums(windows, trellis.tables);
  const z = new Float32Array(steps);
  const y = new Float64Array(steps);
  const chosen = new Uint16Array(steps);
  let [sum, squares] = [0, 0];
  for (let s = 0; s < count; s++) {
    for (let i = 0; i < steps; i++) {
      z[i] = normal(uniform);
      y[i] = targetOf(z[i]!, trellis);
    }
    encode(u, y, chosen);
    let lost = 0;
    for (let i = 0; i < steps; i++) lost += (z[i]! - Math.fround(trellis.step * (u[chosen[i]!]! - trellis.zero))) ** 2;
    sum += lost / steps;
    squares += (lost / steps) ** 2;
  }
  const mse = sum / count;
  return { mse, error: Math.sqrt((squares / count - mse * mse) / count) };
}
