// Gradients of layers that keep a state: kernels against their scalar twins, bit by bit, in both builds; twins against differences of
// the rule in f64.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/decoder.debug.wasm';
import releaseBytes from '../build/decoder.wasm';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import * as forward from '../src/reference/recurrent.ts';
import * as twin from '../src/reference/recurrentback.ts';
import { normals, sameBits } from './bits.ts';

const PAGES = 64;
const lengths = [1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 129];

function testKernels(build: string, kernels: DecoderExports, buffer: WebAssembly.Memory): void {
  const test = suite(`recurrent backward kernels (${build})`);
  const memory = arena(buffer, 1024);
  const { place, alloc, copy } = memory;
  test.before.each(() => memory.reset());

  test('sigmoidTimesBack() equals its twin and writes exactly count elements', () => {
    for (const count of lengths) {
      memory.reset();
      const [x, gate] = [1, 2].map((seed) => normals(count + 8, seed).map((value) => value * 8));
      const [d, dGate] = [normals(count + 8, 3), normals(count + 8, 4)];
      const [address, to] = [place(d), place(dGate)];
      kernels.sigmoidTimesBack(place(x), place(gate), address, to, count);
      const firstOf = (values: Float32Array) => values.subarray(0, count);
      const [dx, dg] = twin.sigmoidTimesBack(firstOf(x), firstOf(gate), firstOf(d));
      sameBits(copy(Float32Array, address, count + 8), Float32Array.of(...dx, ...d.subarray(count)));
      sameBits(copy(Float32Array, to, count + 8), Float32Array.of(...dg, ...dGate.subarray(count)));
    }
  });

  test('deltaStates() and deltaBack() equal their twin for any head, and write no other head', () => {
    for (const [keys, values, tokens] of shapes) {
      memory.reset();
      const rule = ruleOf(keys, values, tokens);
      const stride = 2 * keys + values + 3; // another head lies behind this one
      const rows = (kinds: readonly (readonly [Float32Array, number, number])[], fill: number) => {
        const all = new Float32Array(tokens * stride).fill(fill);
        for (const [x, width, address] of kinds) {
          for (let t = 0; t < tokens; t++) all.set(x.subarray(t * width, (t + 1) * width), t * stride + address);
        }
        return all;
      };
      const kinds = (q: Float32Array, k: Float32Array, v: Float32Array) =>
        [[q, keys, 0] as const, [k, keys, keys] as const, [v, values, 2 * keys] as const] as const;
      const pairs = (a: Float32Array, b: Float32Array) =>
        Float32Array.from({ length: 3 * tokens }, (_, i) => [a[Math.floor(i / 3)], b[Math.floor(i / 3)], 7][i % 3]);
      const x = place(rows(kinds(rule.q, rule.k, rule.v), 7));
      const d = place(rows(kinds(new Float32Array(rule.q.length), new Float32Array(rule.k.length), rule.v), 7));
      const gates = place(pairs(rule.decay, rule.beta));
      const dGates = place(pairs(new Float32Array(tokens), new Float32Array(tokens)));
      const dy = place(rule.dy);
      const [kept, ds] = [alloc(((tokens + 1) * keys + tokens) * 16), alloc(keys * 16)];
      for (let column = 0; column < values; column += 4) {
        const v = (2 * keys + column) * 4;
        const rule = [stride, gates, gates + 4, 3, tokens, keys, Math.min(4, values - column), kept] as const;
        kernels.deltaStates(x + keys * 4, x + v, ...rule);
        kernels.deltaBack(
          ...([x, x + keys * 4, ...rule, dy + column * 4, values] as const),
          ...([d, d + keys * 4, d + v, dGates, dGates + 4, ds] as const),
        );
      }
      const wanted = twin.deltaBack(rule, keys, values);
      const label = `${keys} keys, ${values} values, ${tokens} tokens`;
      const { dq, dk, dv, dDecay, dBeta } = wanted;
      sameBits(copy(Float32Array, d, tokens * stride), rows(kinds(dq, dk, dv), 7), label);
      sameBits(copy(Float32Array, dGates, 3 * tokens), pairs(dDecay, dBeta), `${label}: gates`);
    }
  });

  test('convolve() from the last token to the first gives the gradients of a convolution', () => {
    for (const [channels, taps, tokens] of [
      [1, 3, 1],
      [6, 3, 9],
      [35, 4, 13],
      [7, 1, 4],
      [9, 5, 3],
    ]) {
      memory.reset();
      const stride = 2 * channels + 5;
      const [dy, weights] = [normals(tokens * channels, 1), normals(channels * taps, 2)];
      const dx = place(new Float32Array(tokens * stride).fill(7));
      const last = tokens - 1;
      kernels.convolve(
        ...([place(dy) + last * channels * 4, -channels, channels, tokens, place(weights), 0, taps] as const),
        ...([alloc(taps * channels * 4), channels, 1, 0, dx + last * stride * 4, -stride] as const),
      );
      const actual = copy(Float32Array, dx, tokens * stride);
      for (let i = 0; i < actual.length; i++) {
        const [t, c] = [Math.floor(i / stride), i % stride];
        let wanted = c < channels ? 0 : 7;
        for (let k = 0; c < channels && k < taps; k++) {
          const from = t + taps - 1 - k;
          if (from < tokens) wanted += weights[c * taps + k] * dy[from * channels + c];
        }
        assert.ok(Math.abs(actual[i] - wanted) < 1e-5, `${channels} channels, ${taps} taps: token ${t}, ${c}`);
      }
    }
  });

  test.run();
}

const shapes = [
  [4, 3, 5],
  [6, 8, 3],
  [10, 21, 6],
  [16, 32, 9],
  [3, 4, 1],
] as const;

// A head's inputs, keys of length 1, and gradients of its outputs.
function ruleOf(keys: number, values: number, tokens: number) {
  const unit = (x: Float32Array) =>
    Float32Array.from({ length: tokens }, (_, t) => t).reduce((all, t) => {
      all.set(forward.unitNorm(x.slice(t * keys, (t + 1) * keys), 1e-6, 1), t * keys);
      return all;
    }, new Float32Array(x.length));
  return {
    q: unit(normals(tokens * keys, 1)),
    k: unit(normals(tokens * keys, 2)),
    v: normals(tokens * values, 3),
    decay: normals(tokens, 4).map((value) => 1 / (1 + value * value)),
    beta: normals(tokens, 5).map((value) => 1 / (1 + value * value)),
    dy: normals(tokens * values, 6),
  };
}

const twins = suite('recurrent backward twins');

twins('deltaBack() gives the slopes of the rule in f64', () => {
  for (const [keys, values, tokens] of shapes) {
    const rule = ruleOf(keys, values, tokens);
    const inputs = Object.fromEntries(Object.entries(rule).map(([name, x]) => [name, Float64Array.from(x)]));
    // Σ dy ∘ y.
    const loss = (): number => {
      const { q, k, v, decay, beta, dy } = inputs;
      const s = new Float64Array(keys * values);
      let sum = 0;
      for (let t = 0; t < tokens; t++) {
        for (let j = 0; j < values; j++) {
          let m = 0;
          for (let i = 0; i < keys; i++) {
            s[i * values + j] *= decay[t];
            m += s[i * values + j] * k[t * keys + i];
          }
          const delta = (v[t * values + j] - m) * beta[t];
          for (let i = 0; i < keys; i++) {
            s[i * values + j] += k[t * keys + i] * delta;
            sum += s[i * values + j] * q[t * keys + i] * dy[t * values + j];
          }
        }
      }
      return sum;
    };
    const actual = twin.deltaBack(rule, keys, values);
    const all = { q: actual.dq, k: actual.dk, v: actual.dv, decay: actual.dDecay, beta: actual.dBeta };
    for (const [name, d] of Object.entries(all)) {
      for (let i = 0; i < d.length; i++) {
        const x = inputs[name];
        const [value, h] = [x[i], 1e-5];
        const lossAt = (step: number) => {
          x[i] = value + step;
          return loss();
        };
        const slope = (lossAt(h) - lossAt(-h)) / (2 * h);
        x[i] = value;
        assert.ok(
          Math.abs(slope - d[i]) < 2e-5 * Math.max(1, Math.abs(slope)),
          `d${name}[${i}]: ${d[i]}, not ${slope}`,
        );
      }
    }
  }
});

twins('sigmoidTimesBack() gives the slopes of its function in f64', () => {
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  const x = Float32Array.of(-9, -2.5, -0.3, 0, 0.7, 3, 11);
  const gates = x.slice().reverse();
  const [dx, dg] = twin.sigmoidTimesBack(x, gates, new Float32Array(x.length).fill(1));
  for (const [i, gate] of gates.entries()) {
    const slope = x[i] * ((sigmoid(gate + 1e-5) - sigmoid(gate - 1e-5)) / 2e-5);
    assert.ok(Math.abs(dx[i] - sigmoid(gate)) < 1e-6, `dx: ${dx[i]}, not ${sigmoid(gate)}`);
    assert.ok(Math.abs(dg[i] - slope) < 1e-5, `dGate: ${dg[i]}, not ${slope}`);
  }
});

const memory = createMemory(PAGES * 65536, false);
testKernels('release', await instantiateDecoder(releaseBytes, memory), memory);
const debugMemory = createMemory(PAGES * 65536, false);
testKernels('debug', await instantiateDecoder(debugBytes, debugMemory), debugMemory);
twins.run();
