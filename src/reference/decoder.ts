// Scalar twins of assembly/decoder/: the layers of a decoder but for its matrices, one vector or head at a time.

import { f16ToF32, f32ToF16, floatBits } from './float.ts';
import { exp32, tanh } from './math.ts';
import { dot, total } from './sum.ts';

const f = Math.fround;

/** y = (x · r) ∘ w, r = 1 / √(Σx² / cols + ε). */
export function rmsNorm(x: Float32Array, weights: Float32Array, epsilon: number): Float32Array {
  const r = f(1 / f(Math.sqrt(f(f(dot(x, x) / x.length) + f(epsilon)))));
  return x.map((value, i) => f(f(value * r) * weights[i]));
}

/** One head turned: (a, b) to (a cos - b sin, b cos + a sin); `table` is cosines, then sines. */
export function rope(x: Float32Array, table: Float32Array, interleaved: boolean): Float32Array {
  const y = x.slice();
  const half = x.length / 2;
  for (let i = 0; i < half; i++) {
    const [first, second] = interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
    const [a, b, c, s] = [x[first], x[second], table[i], table[half + i]];
    y[first] = f(f(a * c) - f(b * s));
    y[second] = f(f(b * c) + f(a * s));
  }
  return y;
}

/** e^(x - max) · (1 / Σ). */
export function softmax(x: Float32Array): Float32Array {
  const most = x.reduce((a, b) => Math.max(a, b));
  const powers = x.map((value) => exp32(f(value - most)));
  const factor = f(1 / total(powers));
  return powers.map((value) => f(value * factor));
}

/** silu(g) · u. */
export function siluTimes(gate: Float32Array, up: Float32Array): Float32Array {
  return gate.map((g, i) => f(f(g / f(1 + exp32(-g))) * up[i]));
}

/** Factor of g in the tanh form of GELU: √(8 / π). */
export const GELU_1 = f(2 * Math.sqrt(2 / Math.PI));
/** Factor of g³ in the tanh form of GELU: 0.044715 · √(8 / π). */
export const GELU_3 = f(0.044715 * 2 * Math.sqrt(2 / Math.PI));

/** gelu(g) · u, gelu in its tanh form: g / (1 + e^-z), z = g (c₁ + c₃ g²). */
export function geluTimes(gate: Float32Array, up: Float32Array): Float32Array {
  return gate.map((g, i) => {
    const z = f(g * f(GELU_1 + f(GELU_3 * f(g * g))));
    return f(f(g / f(1 + exp32(-z))) * up[i]);
  });
}

/** (u + 1) · g / (1 + e^-1.702 g) of pairs g, u: g at most 7, u from -7 to 7. */
export function clampedGate(pairs: Float32Array): Float32Array {
  return Float32Array.from({ length: pairs.length / 2 }, (_, i) => {
    const g = Math.min(pairs[2 * i], 7);
    const u = Math.max(Math.min(pairs[2 * i + 1], 7), -7);
    return f(f(u + 1) * f(g / f(1 + exp32(-f(g * f(1.702))))));
  });
}

/** 1 / (1 + e^-x). */
export function sigmoid(x: Float32Array): Float32Array {
  return x.map((value) => f(1 / f(1 + exp32(-value))));
}

/** x / (1 + e^-gate). */
export function sigmoidTimes(x: Float32Array, gate: Float32Array): Float32Array {
  return x.map((value, i) => f(value / f(1 + exp32(-gate[i]))));
}

/** max(x, 0)². */
export function reluSquared(x: Float32Array): Float32Array {
  return x.map((value) => f(Math.max(value, 0) * Math.max(value, 0)));
}

/** cap · tanh(x / cap). */
export function softCap(x: Float32Array, cap: number): Float32Array {
  return x.map((value) => f(f(cap) * tanh(f(value / f(cap)))));
}

/** What a cache of f16 keeps of a vector. */
export function throughF16(x: Float32Array): Float32Array {
  return x.map((value) => f16ToF32(f32ToF16(floatBits(value))));
}

/** Scores, and the sink behind them: a score of which no value is taken. */
export function withSink(scores: Float32Array, sink: number | undefined): Float32Array {
  return sink === undefined ? scores : Float32Array.of(...scores, sink);
}

/**
 * One query head at the position of the last of `keys` and `values`, (positions, dim); it sees the last `window` of them, 0 for
 * all. `cap` is that of scores, 0 for none; `sink` the head's, if it has one.
 */
export function attend(
  q: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  scale: number,
  window: number,
  cap: number,
  sink?: number,
): Float32Array {
  const dim = q.length;
  const positions = keys.length / dim;
  const first = window === 0 ? 0 : Math.max(0, positions - window);
  const row = (x: Float32Array, t: number) => x.subarray(t * dim, (t + 1) * dim);
  const scores = Float32Array.from({ length: positions - first }, (_, i) => f(dot(q, row(keys, first + i)) * f(scale)));
  const p = softmax(withSink(cap > 0 ? softCap(scores, cap) : scores, sink)).subarray(0, scores.length);
  const y = new Float32Array(dim);
  for (const [i, weight] of p.entries()) {
    const v = row(values, first + i);
    for (let d = 0; d < dim; d++) y[d] = f(y[d] + f(weight * v[d]));
  }
  return y;
}

/** W x for a matrix of f32, (rows, cols). */
export function denseRows(w: Float32Array, x: Float32Array): Float32Array {
  const cols = x.length;
  return Float32Array.from({ length: w.length / cols }, (_, row) => dot(w.subarray(row * cols, (row + 1) * cols), x));
}
