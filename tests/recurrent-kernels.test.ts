// The kernels of layers that keep a state against their scalar twins, bit by bit, in the release and the debug build.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/decoder.debug.wasm';
import releaseBytes from '../build/decoder.wasm';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import { clampedGate, sigmoidTimes } from '../src/reference/decoder.ts';
import * as twin from '../src/reference/recurrent.ts';
import { normals, sameBits } from './bits.ts';

const PAGES = 64;

function testKernels(build: string, kernels: DecoderExports, buffer: WebAssembly.Memory): void {
  const test = suite(`recurrent kernels (${build})`);
  const memory = arena(buffer, 1024);
  const { place, alloc, copy } = memory;
  test.before.each(() => memory.reset());

  test('convolve() equals its twin, for any channels, taps and cuts of the tokens', () => {
    for (const [channels, taps, tokens, hasBias, silu] of [
      [1, 3, 1, false, false],
      [6, 3, 9, true, false],
      [16, 4, 13, false, true],
      [35, 2, 5, true, true],
      [7, 1, 4, false, true],
      [9, 5, 3, true, false],
    ] as const) {
      for (const cut of [tokens, 1, 2]) {
        memory.reset();
        const stride = channels + 5; // others lie behind these
        const x = normals(tokens * stride, channels);
        const weights = normals(channels * taps, taps);
        const bias = normals(channels, 9);
        const state = place(new Float32Array((taps - 1) * channels + 8).fill(5));
        const [address, w, b] = [place(x), place(weights), hasBias ? place(bias) : 0];
        const y = alloc(tokens * stride * 4);
        memory.floats(y, tokens * stride).fill(7);
        for (let t = 0; t < tokens; t += cut) {
          const from = t * stride * 4;
          kernels.convolve(
            ...([address + from, stride, channels, Math.min(cut, tokens - t), w, b, taps, state, channels] as const),
            ...([t === 0 ? 1 : 0, silu ? 1 : 0, y + from, stride] as const),
          );
        }
        const wanted = new Float32Array(tokens * stride).fill(7);
        const left = new Float32Array((taps - 1) * channels);
        for (let c = 0; c < channels; c++) {
          const channel = Float32Array.from({ length: tokens }, (_, t) => x[t * stride + c]);
          const w = weights.subarray(c * taps, (c + 1) * taps);
          const done = twin.convolve(channel, w, hasBias ? bias[c] : undefined, new Float32Array(taps - 1), silu);
          for (const [t, value] of done.y.entries()) wanted[t * stride + c] = value;
          for (const [r, value] of done.state.entries()) left[r * channels + c] = value;
        }
        sameBits(copy(Float32Array, y, wanted.length), wanted, `${channels} channels, ${taps} taps, cut ${cut}`);
        sameBits(copy(Float32Array, state, left.length), left);
        sameBits(copy(Float32Array, state + left.byteLength, 8), new Float32Array(8).fill(5));
      }
    }
  });

  test('unitNorm(), multiply(), sigmoidTimes() and clampedGate() equal their twins', () => {
    for (const cols of [1, 3, 4, 5, 16, 17, 128]) {
      memory.reset();
      const [a, b] = [normals(cols, 1), normals(cols, 2)];
      const [x, y, z, gate] = [place(Float32Array.of(...a, ...b)), place(a), place(a), place(b)];
      kernels.unitNorm(x, 1, cols, cols, 1e-6, 0.3);
      kernels.multiply(y, gate, cols);
      kernels.sigmoidTimes(z, gate, cols);
      const pairs = normals(2 * cols, 3).map((value) => 6 * value);
      const to = place(new Float32Array(cols + 4).fill(7));
      kernels.clampedGate(place(pairs), to, cols);
      sameBits(copy(Float32Array, to, cols + 4), Float32Array.of(...clampedGate(pairs), 7, 7, 7, 7));
      sameBits(copy(Float32Array, x, 2 * cols), Float32Array.of(...twin.unitNorm(a, 1e-6, 0.3), ...b));
      sameBits(
        copy(Float32Array, y, cols),
        a.map((value, i) => Math.fround(value * b[i])),
      );
      sameBits(copy(Float32Array, z, cols), sigmoidTimes(a, b));
    }
  });

  test('deltaGates() equals its twin, and ln(1 + u) is within 4 units in the last place', () => {
    for (let u = 0; u <= 1; u += 1 / 512) {
      const value = Math.fround(u);
      assert.ok(Math.abs(twin.log1p(value) - Math.log1p(value)) <= 4 * 2 ** -24 * Math.log1p(value), `ln(1 + ${u})`);
    }
    for (const heads of [1, 3, 4, 6, 32]) {
      memory.reset();
      const [a, rate, bias, b] = [1, 2, 3, 4].map((seed) => normals(heads + 4, seed).map((value) => value * 4));
      const [decay, beta] = [place(a), place(b)];
      kernels.deltaGates(decay, place(rate), place(bias), beta, heads);
      const wanted = Array.from({ length: heads }, (_, h) => twin.deltaGates(a[h], rate[h], bias[h], b[h]));
      sameBits(copy(Float32Array, decay, heads + 4), Float32Array.of(...wanted.map(([d]) => d), ...a.slice(heads)));
      sameBits(copy(Float32Array, beta, heads + 4), Float32Array.of(...wanted.map(([, g]) => g), ...b.slice(heads)));
    }
  });

  test('deltaRule() equals its twin, for any head and cuts of the tokens', () => {
    for (const [keys, values, tokens] of [
      [4, 3, 5],
      [6, 8, 3],
      [10, 21, 6],
      [16, 32, 9],
    ]) {
      for (const cut of [tokens, 1, 2]) {
        memory.reset();
        const stride = 2 * keys + values + 3;
        const x = normals(tokens * stride, keys);
        const gates = normals(2 * tokens, values).map(Math.abs);
        const state = place(new Float32Array(keys * values + 8).fill(5));
        const [address, gate, y] = [place(x), place(gates), alloc(tokens * (values + 1) * 4)];
        memory.floats(y, tokens * (values + 1)).fill(7);
        for (let t = 0; t < tokens; t += cut) {
          const q = address + t * stride * 4;
          const decay = gate + t * 8;
          kernels.deltaRule(
            ...([q, q + keys * 4, q + 2 * keys * 4, stride, decay, decay + 4, 2, Math.min(cut, tokens - t)] as const),
            ...([keys, values, state, t === 0 ? 1 : 0, y + t * (values + 1) * 4, values + 1] as const),
          );
        }
        const left = new Float32Array(keys * values);
        const wanted = new Float32Array(tokens * (values + 1)).fill(7);
        for (let t = 0; t < tokens; t++) {
          const row = x.subarray(t * stride);
          const [q, k] = [row.subarray(0, keys), row.subarray(keys, 2 * keys)];
          const v = row.subarray(2 * keys, 2 * keys + values);
          wanted.set(twin.deltaRule(q, k, v, gates[2 * t], gates[2 * t + 1], left), t * (values + 1));
        }
        sameBits(copy(Float32Array, y, wanted.length), wanted, `${keys} keys, ${values} values, cut ${cut}`);
        sameBits(copy(Float32Array, state, left.length + 8), Float32Array.of(...left, ...new Float32Array(8).fill(5)));
      }
    }
  });

  test.run();
}

const memory = createMemory(PAGES * 65536, false);
testKernels('release', await instantiateDecoder(releaseBytes, memory), memory);
const debugMemory = createMemory(PAGES * 65536, false);
testKernels('debug', await instantiateDecoder(debugBytes, debugMemory), debugMemory);
