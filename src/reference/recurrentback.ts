// Scalar twins of assembly/decoder/recurrentback.ts: gradients of the delta rule and of attention's gates.

import { exp32 } from './math.ts';

const f = Math.fround;
const sigmoid = (x: number) => f(1 / f(1 + exp32(-x)));

/** Gradients of x and gate of that of x / (1 + e^-gate). */
export function sigmoidTimesBack(x: Float32Array, gate: Float32Array, d: Float32Array): [Float32Array, Float32Array] {
  const s = gate.map(sigmoid);
  return [d.map((value, i) => f(value * s[i])), d.map((value, i) => f(f(value * x[i]) * f(s[i] * f(1 - s[i]))))];
}

interface DeltaGradients {
  readonly dq: Float32Array; // (tokens, keys)
  readonly dk: Float32Array; // (tokens, keys)
  readonly dv: Float32Array; // (tokens, values)
  readonly dDecay: Float32Array; // (tokens)
  readonly dBeta: Float32Array; // (tokens)
}

/** Gradients of the delta rule of one head by those of its outputs, `dy`: four columns go through all tokens, then the next. */
export function deltaBack(
  { q, k, v, decay, beta, dy }: Record<'q' | 'k' | 'v' | 'decay' | 'beta' | 'dy', Float32Array>,
  keys: number,
  values: number,
): DeltaGradients {
  const tokens = decay.length;
  const [dq, dk, dv] = [new Float32Array(q.length), new Float32Array(k.length), new Float32Array(v.length)];
  const [dDecay, dBeta] = [new Float32Array(tokens), new Float32Array(tokens)];
  for (let first = 0; first < values; first += 4) {
    const columns = Array.from({ length: 4 }, (_, lane) => first + lane);
    const valuesAt = (x: Float32Array, t: number) => columns.map((j) => (j < values ? x[t * values + j] : 0));
    const states = [columns.map(() => new Float32Array(keys))]; // of each token its columns
    const rests: number[][] = [];
    for (let t = 0; t < tokens; t++) {
      rests.push(
        valuesAt(v, t).map((value, lane) => {
          let m = 0;
          for (let i = 0; i < keys; i++) m = f(m + f(f(states[t][lane][i] * decay[t]) * k[t * keys + i]));
          return f(value - m);
        }),
      );
      states.push(
        states[t].map((row, lane) => {
          const delta = f(rests[t][lane] * beta[t]);
          return row.map((s, i) => f(f(s * decay[t]) + f(k[t * keys + i] * delta)));
        }),
      );
    }
    const ds = columns.map(() => new Float32Array(keys));
    for (let t = tokens - 1; t >= 0; t--) {
      const out = valuesAt(dy, t);
      const dDelta = ds.map((row, lane) => {
        let sum = 0;
        for (let i = 0; i < keys; i++) {
          row[i] = f(row[i] + f(q[t * keys + i] * out[lane]));
          sum = f(sum + f(row[i] * k[t * keys + i]));
        }
        return sum;
      });
      dBeta[t] = f(dBeta[t] + lanes((lane) => f(dDelta[lane] * rests[t][lane])));
      const dValue = dDelta.map((value) => f(value * beta[t]));
      for (const [lane, j] of columns.entries()) if (j < values) dv[t * values + j] = dValue[lane];
      const dd = [0, 0, 0, 0];
      for (let i = 0; i < keys; i++) {
        const key = t * keys + i;
        dq[key] = f(dq[key] + lanes((lane) => f(states[t + 1][lane][i] * out[lane])));
        const learnt = lanes((lane) => {
          const delta = f(rests[t][lane] * beta[t]);
          return f(f(ds[lane][i] * delta) + f(f(states[t][lane][i] * decay[t]) * -dValue[lane]));
        });
        dk[key] = f(dk[key] + learnt);
        for (const [lane, value] of ds.entries()) {
          const r = f(value[i] + f(k[key] * -dValue[lane]));
          dd[lane] = f(dd[lane] + f(r * states[t][lane][i]));
          value[i] = f(r * decay[t]);
        }
      }
      dDecay[t] = f(dDecay[t] + lanes((lane) => dd[lane]));
    }
  }
  return { dq, dk, dv, dDecay, dBeta };
}

// Σ of four lanes, by halves.
function lanes(of: (lane: number) => number): number {
  return f(f(of(0) + of(2)) + f(of(1) + of(3)));
}
