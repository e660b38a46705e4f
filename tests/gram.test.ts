// Sums of outer products: the kernel against its scalar twin, bit by bit, in both builds.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/decoder.debug.wasm';
import relaxedBytes from '../build/decoder.relaxed.wasm';
import releaseBytes from '../build/decoder.wasm';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import { GRAM_SCRATCH } from '../src/kernels/decoder/sizes.ts';
import { addGram } from '../src/reference/gram.ts';
import { normals, sameBits } from './bits.ts';

const widths = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 63, 64, 65, 100, 129];

function testKernel(build: string, kernels: DecoderExports, buffer: WebAssembly.Memory): void {
  const test = suite(`gram kernel (${build})`);
  const memory = arena(buffer, 1024);
  const { place, alloc, copy } = memory;
  test.before.each(() => memory.reset());
  const triangle = (n: number) => (n * (n + 1)) / 2;

  test('addGram() equals its twin at every width, for any number of vectors, weighted or not', () => {
    for (const n of widths) {
      for (const count of [1, 2, 63, 64, 65, 150]) {
        for (const isWeighted of [false, true]) {
          memory.reset();
          const x = normals(count * n, n);
          const weights = isWeighted ? normals(count, 2).map(Math.abs) : undefined;
          const s = normals(triangle(n), 3);
          const address = place(s);
          const scratch = alloc(GRAM_SCRATCH);
          kernels.addGram(place(x), count, n, weights ? place(weights) : 0, 0, n, address, scratch);
          const label = `${count} of ${n}${isWeighted ? ', weighted' : ''}`;
          sameBits(copy(Float32Array, address, s.length), addGram(x, weights, s), label);
        }
      }
    }
  });

  test('addGram() of some rows writes those alone; rows apart have the bits of all together', () => {
    const [n, count] = [150, 70];
    const x = normals(count * n, 1);
    const s = normals(triangle(n) + 16, 2);
    const [from, scratch] = [place(x), alloc(GRAM_SCRATCH)];
    const wanted = addGram(x, undefined, s.subarray(0, triangle(n)));
    for (const [first, end] of [
      [0, 0],
      [0, 64],
      [64, 128],
      [37, 111],
      [149, 150],
      [0, 150],
    ]) {
      const address = place(s);
      kernels.addGram(from, count, n, 0, first, end, address, scratch);
      const [a, b] = [triangle(first), triangle(end)];
      const some = s.map((value, i) => (i >= a && i < b ? wanted[i] : value));
      sameBits(copy(Float32Array, address, s.length), some, `rows ${first} to ${end}`);
    }
  });

  test('addGram() takes columns out of wider vectors', () => {
    const [n, stride, first, count] = [21, 40, 9, 5];
    const x = normals(count * stride, 1);
    const rows = Float32Array.from({ length: count * n }, (_, i) => x[Math.floor(i / n) * stride + first + (i % n)]);
    const s = new Float32Array(triangle(n));
    const address = place(s);
    kernels.addGram(place(x) + first * 4, count, stride, 0, 0, n, address, alloc(GRAM_SCRATCH));
    sameBits(copy(Float32Array, address, s.length), addGram(rows, undefined, s));
  });

  test('addGram() is Σ w x xᵀ to the rounding of its sums', () => {
    const [n, count] = [33, 200];
    const [x, weights] = [normals(count * n, 1), normals(count, 2).map(Math.abs)];
    const address = place(new Float32Array(triangle(n)));
    kernels.addGram(place(x), count, n, place(weights), 0, n, address, alloc(GRAM_SCRATCH));
    const actual = copy(Float32Array, address, triangle(n));
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        let [sum, size] = [0, 0];
        for (let t = 0; t < count; t++) {
          const product = weights[t] * x[t * n + i] * x[t * n + j];
          sum += product;
          size += Math.abs(product);
        }
        // 64 sums and two products of half a unit each, then four sums of blocks.
        assert.ok(Math.abs(actual[triangle(i) + j] - sum) <= 70 * 2 ** -24 * size, `(${i}, ${j})`);
      }
    }
  });

  test.run();
}

for (const [build, bytes] of Object.entries({ release: releaseBytes, relaxed: relaxedBytes, debug: debugBytes })) {
  if (build === 'relaxed' && !WebAssembly.validate(bytes)) continue;
  const memory = createMemory(16 * 65536, false);
  testKernel(build, await instantiateDecoder(bytes, memory), memory);
}
