// Scalar twins of assembly/decoder/recurrent.ts.

import { exp32 } from './math.ts';
import { dot } from './sum.ts';

const f = Math.fround;

/**
 * One channel convolved. @param state inputs before the first, oldest first
 * @returns outputs, and the inputs before the next
 */
export function convolve(
  x: Float32Array,
  weights: Float32Array,
  bias: number | undefined,
  state: Float32Array,
  silu: boolean,
): { y: Float32Array; state: Float32Array } {
  const all = Float32Array.of(...state, ...x);
  const y = x.map((_, t) => {
    let sum = weights.reduce((sum, weight, k) => f(sum + f(weight * all[t + k])), 0);
    if (bias !== undefined) sum = f(sum + bias);
    return silu ? f(sum / f(1 + exp32(-sum))) : sum;
  });
  return { y, state: all.slice(x.length) };
}

/** x · factor / √(Σx² + ε). */
export function unitNorm(x: Float32Array, epsilon: number, factor: number): Float32Array {
  const r = f(f(1 / f(Math.sqrt(f(dot(x, x) + f(epsilon))))) * f(factor));
  return x.map((value) => f(value * r));
}

/** ln(1 + u), u from 0 to 1: 2 artanh(u / (2 + u)), its series. */
export function log1p(u: number): number {
  const s = f(u / f(u + 2));
  const q = f(s * s);
  let p = f(1 / 15);
  for (const coefficient of [1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3, 1]) p = f(f(p * q) + f(coefficient));
  return f(f(s + s) * p);
}

/** e^(-e^rate · softplus(a + bias)), and 1 / (1 + e^-b). */
export function deltaGates(a: number, rate: number, bias: number, b: number): [decay: number, beta: number] {
  const sum = f(a + bias);
  const softplus = f(Math.max(sum, 0) + log1p(exp32(-Math.abs(sum))));
  return [exp32(-f(exp32(rate) * softplus)), f(1 / f(1 + exp32(-b)))];
}

/** One token of one head; changes `state`, (keys, values). */
export function deltaRule(
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  decay: number,
  beta: number,
  state: Float32Array,
): Float32Array {
  const values = v.length;
  return v.map((value, j) => {
    let sum = 0;
    for (const [i, key] of k.entries()) sum = f(sum + f(f(state[i * values + j] * decay) * key));
    const delta = f(f(value - sum) * beta);
    let y = 0;
    for (const [i, key] of k.entries()) {
      const index = i * values + j;
      state[index] = f(f(state[index] * decay) + f(key * delta));
      y = f(y + f(state[index] * q[i]));
    }
    return y;
  });
}
