// Scalar twins of assembly/decoder/backward.ts: gradients of a decoder's layers with respect to their inputs.

import { GELU_1, GELU_3, softCap, softmax, withSink } from './decoder.ts';
import { exp32 } from './math.ts';
import { dot } from './sum.ts';

const f = Math.fround;

/** y + Wᵀ d for a matrix of f32, (rows, cols): rows in ascending order. */
export function addTransposed(w: Float32Array, d: Float32Array, y: Float32Array): Float32Array {
  const cols = y.length;
  return y.map((start, c) => d.reduce((sum, value, r) => f(sum + f(value * w[r * cols + c])), start));
}

/** The gradient before rmsNorm of the one behind it. */
export function rmsNormBack(
  x: Float32Array,
  weights: Float32Array | undefined,
  d: Float32Array,
  epsilon: number,
): Float32Array {
  const r = f(1 / f(Math.sqrt(f(f(dot(x, x) / x.length) + f(epsilon)))));
  const g = weights ? d.map((value, i) => f(value * weights[i])) : d;
  const k = f(f(f(r * r) * r) * f(dot(g, x) / x.length));
  return g.map((value, i) => f(f(r * value) - f(k * x[i])));
}

/** Gradients of gate and up of that of silu(gate) ∘ up. */
export function siluTimesBack(gate: Float32Array, up: Float32Array, d: Float32Array): [Float32Array, Float32Array] {
  const s = gate.map((g) => f(1 / f(1 + exp32(-g))));
  const slope = s.map((value, i) => f(value * f(1 + f(gate[i] * f(1 - value)))));
  return [d.map((dh, i) => f(f(dh * up[i]) * slope[i])), d.map((dh, i) => f(dh * f(gate[i] * s[i])))];
}

/** Gradients of gate and up of that of gelu(gate) ∘ up. */
export function geluTimesBack(gate: Float32Array, up: Float32Array, d: Float32Array): [Float32Array, Float32Array] {
  const cubic = gate.map((g) => f(GELU_3 * f(g * g)));
  const s = gate.map((g, i) => f(1 / f(1 + exp32(-f(g * f(GELU_1 + cubic[i]))))));
  const slope = s.map((value, i) => {
    const steep = f(GELU_1 + f(3 * cubic[i]));
    return f(value * f(1 + f(f(gate[i] * steep) * f(1 - value))));
  });
  return [d.map((dh, i) => f(f(dh * up[i]) * slope[i])), d.map((dh, i) => f(dh * f(gate[i] * s[i])))];
}

/** Gradients of pairs g, u of those of clampedGate. */
export function clampedGateBack(pairs: Float32Array, d: Float32Array): Float32Array {
  const dPairs = new Float32Array(pairs.length);
  for (const [i, dh] of d.entries()) {
    const [gate, up] = [pairs[2 * i], pairs[2 * i + 1]];
    const g = Math.min(gate, 7);
    const u = Math.max(Math.min(up, 7), -7);
    const s = f(1 / f(1 + exp32(-f(g * f(1.702)))));
    const slope = f(s * f(1 + f(f(f(1.702) * g) * f(1 - s))));
    if (gate <= 7) dPairs[2 * i] = f(f(dh * f(u + 1)) * slope);
    if (Math.abs(up) <= 7) dPairs[2 * i + 1] = f(dh * f(g * s));
  }
  return dPairs;
}

/** The gradient of x of that of max(x, 0)². */
export function reluSquaredBack(x: Float32Array, d: Float32Array): Float32Array {
  return d.map((value, i) => f(value * f(2 * Math.max(x[i], 0))));
}

/** Gradients of the queries, (tokens, heads, dim), and of the keys and values, (tokens, dim), of attention from position 0 on. */
export function attendBack(
  { q, dy, heads, keys, values }: Record<'q' | 'dy' | 'keys' | 'values', Float32Array> & { heads: number },
  dim: number,
  scale: number,
  window: number,
  cap: number,
  sinks?: Float32Array,
): { dq: Float32Array; dk: Float32Array; dv: Float32Array } {
  const row = (x: Float32Array, i: number) => x.subarray(i * dim, (i + 1) * dim);
  const addScaled = (y: Float32Array, a: number, x: Float32Array) => {
    for (let i = 0; i < dim; i++) y[i] = f(y[i] + f(a * x[i]));
  };
  const tokens = keys.length / dim;
  const [dq, dk, dv] = [new Float32Array(q.length), new Float32Array(keys.length), new Float32Array(keys.length)];
  for (let t = 0; t < tokens; t++) {
    const low = window === 0 ? 0 : Math.max(0, t + 1 - window);
    const attended = Array.from({ length: t + 1 - low }, (_, i) => low + i);
    for (let h = t * heads; h < (t + 1) * heads; h++) {
      const scores = Float32Array.from(attended, (s) => f(dot(row(q, h), row(keys, s)) * f(scale)));
      const capped = cap > 0 ? softCap(scores, cap) : scores;
      const p = softmax(withSink(capped, sinks?.[h % heads])).subarray(0, capped.length);
      const dp = Float32Array.from(attended, (s) => dot(row(dy, h), row(values, s)));
      const mean = dot(p, dp);
      const ds = p.map((weight, i) => {
        const slope = f(f(weight * f(dp[i] - mean)) * f(scale));
        const part = f(capped[i] / f(cap));
        return cap > 0 ? f(slope * f(1 - f(part * part))) : slope;
      });
      for (const [i, s] of attended.entries()) {
        addScaled(row(dk, s), ds[i], row(q, h));
        addScaled(row(dv, s), p[i], row(dy, h));
        addScaled(row(dq, h), ds[i], row(keys, s));
      }
    }
  }
  return { dq, dk, dv };
}
