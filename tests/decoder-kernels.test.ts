// Every kernel of the decoder against its scalar twin, bit by bit, in every build that this runtime takes.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/decoder.debug.wasm';
import relaxedBytes from '../build/decoder.relaxed.wasm';
import releaseBytes from '../build/decoder.wasm';
import { smallGrids } from '../src/grids/small.ts';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import { attendScratchBytes, denseScratchBytes, rowTableBytes } from '../src/kernels/decoder/sizes.ts';
import { dtypeCodes } from '../src/kernels/layout.ts';
import { crc32 } from '../src/reference/checksum.ts';
import * as twin from '../src/reference/decoder.ts';
import * as matrix from '../src/reference/encode.ts';
import { f32ToBf16, f32ToF16, floatBits, fromBits } from '../src/reference/float.ts';
import { rotate, signs } from '../src/reference/hadamard.ts';
import { angles, exp32, tanh } from '../src/reference/math.ts';
import { route, routeBack } from '../src/reference/route.ts';
import { normals, sameBits } from './bits.ts';

// Lengths that bracket a vector, four of them, and a block of keys.
const lengths = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 100, 1023, 1024, 1025];
const PAGES = 64;

function testKernels(build: string, kernels: DecoderExports, buffer: WebAssembly.Memory): void {
  const test = suite(`decoder kernels (${build})`);
  const memory = arena(buffer, 1024);
  const { place, alloc, copy } = memory;
  test.before.each(() => memory.reset());

  test('exponential() equals its twin, and e^x within 2 units in the last place', () => {
    const x = Float32Array.from({ length: 40001 }, (_, i) => (i - 20000) / 200);
    x.set([88, -87, 0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-30, -87.00001], 0);
    const y = alloc(x.byteLength);
    kernels.exponential(place(x), y, x.length);
    const actual = copy(Float32Array, y, x.length);
    sameBits(actual, x.map(exp32));
    for (const [i, value] of x.entries()) {
      if (!(value >= -87 && value <= 88)) continue;
      const wanted = Math.exp(value);
      const unit = 2 ** (Math.floor(Math.log2(wanted)) - 23);
      assert.ok(Math.abs(actual[i] - wanted) <= 2 * unit, `e^${value}: ${actual[i]} is not ${wanted}`);
    }
  });

  test('crc32() equals its twin at every length of a fold and its rest, and at any address', () => {
    const table = alloc(kernels.crc32TableBytes());
    kernels.crc32Table(table);
    const bytes = new Uint8Array(normals(300, 8).buffer);
    const address = place(bytes);
    for (let count = 0; count <= 330; count++) {
      const from = count % 16;
      const actual = kernels.crc32(count * 12345, address + from, count, table) >>> 0;
      assert.is(actual, crc32(count * 12345, bytes.subarray(from, from + count)), `${count} bytes`);
    }
  });

  test('exponential() of NaN is NaN', () => {
    const y = alloc(16);
    kernels.exponential(place(Float32Array.of(Number.NaN)), y, 1);
    assert.ok(Number.isNaN(copy(Float32Array, y, 1)[0]));
  });

  test('exponential() writes exactly count elements', () => {
    for (const count of lengths) {
      memory.reset();
      const x = place(normals(count + 8, count));
      const y = alloc((count + 8) * 4);
      memory.bytes(y, (count + 8) * 4).fill(0xa5);
      kernels.exponential(x, y, count);
      assert.ok(memory.bytes(y + count * 4, 32).every((byte) => byte === 0xa5));
    }
  });

  test('angles() equals its twin, and cos and sin within half a unit, for angles up to 131072 radians', () => {
    const frequencies = Float64Array.from({ length: 32 }, (_, i) => 500000 ** (-i / 32));
    const y = alloc(256);
    const address = place(frequencies);
    for (const position of [0, 1, 2, 255, 4095, 65535, 131072]) {
      kernels.angles(address, 32, position, y);
      const actual = copy(Float32Array, y, 64);
      sameBits(actual, angles(frequencies, position));
      for (const [i, frequency] of frequencies.entries()) {
        const angle = position * frequency;
        assert.ok(Math.abs(actual[i] - Math.cos(angle)) <= 2 ** -25 + 1e-12, `cos ${angle}`);
        assert.ok(Math.abs(actual[32 + i] - Math.sin(angle)) <= 2 ** -25 + 1e-12, `sin ${angle}`);
      }
    }
  });

  test('rmsNorm() equals its twin at every width, in place and not', () => {
    for (const cols of lengths) {
      memory.reset();
      const x = normals(cols * 2, cols);
      const weights = normals(cols, cols + 1);
      const address = place(x);
      const y = alloc(x.byteLength);
      const w = place(weights);
      kernels.rmsNorm(address, w, 2, cols, 1e-5, y);
      const wanted = [0, 1].flatMap((j) => [...twin.rmsNorm(x.subarray(j * cols, (j + 1) * cols), weights, 1e-5)]);
      sameBits(copy(Float32Array, y, 2 * cols), Float32Array.from(wanted), `rmsNorm(${cols})`);
      kernels.rmsNorm(address, w, 2, cols, 1e-5, address);
      sameBits(copy(Float32Array, address, 2 * cols), Float32Array.from(wanted));
    }
  });

  test('rope() equals its twin, pairs apart or neighbours, and keeps lengths', () => {
    for (const half of [1, 2, 3, 4, 5, 12, 32, 33, 64]) {
      for (const interleaved of [false, true]) {
        memory.reset();
        const x = normals(half * 6, half);
        const table = angles(
          Float64Array.from({ length: half }, (_, i) => 100 ** (-i / half)),
          77,
        );
        const address = place(x);
        kernels.rope(address, 3, half, place(table), interleaved ? 1 : 0);
        const actual = copy(Float32Array, address, x.length);
        for (let head = 0; head < 3; head++) {
          const headRow = x.subarray(head * 2 * half, (head + 1) * 2 * half);
          const turned = actual.subarray(head * 2 * half, (head + 1) * 2 * half);
          sameBits(turned.slice(), twin.rope(headRow, table, interleaved), `rope(${half})`);
          assert.ok(Math.abs(sumSquares(turned) / sumSquares(headRow) - 1) < 1e-5);
        }
      }
    }
  });

  test('softmax() equals its twin and sums to 1', () => {
    for (const count of lengths) {
      memory.reset();
      const x = normals(count, count).map((value) => value * 10);
      const address = place(x);
      kernels.softmax(address, count);
      const actual = copy(Float32Array, address, count);
      sameBits(actual, twin.softmax(x), `softmax(${count})`);
      assert.ok(Math.abs(actual.reduce((a, b) => a + b, 0) - 1) < 1e-5);
    }
  });

  test('softCap() equals its twin, and cap · tanh(x / cap) within 4 units in the last place', () => {
    const x = Float32Array.from({ length: 40001 }, (_, i) => (i - 20000) / 500);
    x.set([0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-30, 0.5, -0.5], 0);
    for (const cap of [1, 30]) {
      memory.reset();
      const address = place(x);
      kernels.softCap(address, cap, x.length);
      const actual = copy(Float32Array, address, x.length);
      sameBits(actual, twin.softCap(x, cap));
      for (const [i, value] of x.entries()) {
        const wanted = cap * Math.tanh(value / cap);
        assert.ok(
          Math.abs(actual[i] - wanted) <= Math.abs(wanted) * 2 ** -21 + 1e-38,
          `${value}: ${actual[i]}, not ${wanted}`,
        );
      }
    }
    assert.ok(Number.isNaN(tanh(Number.NaN)));
  });

  test('sigmoid() equals its twin and writes exactly count elements', () => {
    for (const count of lengths) {
      memory.reset();
      const x = normals(count + 8, count).map((value) => 20 * value);
      const address = place(x);
      kernels.sigmoid(address, count);
      const wanted = twin.sigmoid(x);
      sameBits(
        copy(Float32Array, address, count + 8),
        x.map((value, i) => (i < count ? wanted[i] : value)),
      );
    }
  });

  test('route() and routeBack() equal their twins, with ties, groups and corrections', () => {
    const shapes = [
      ...[
        { experts: 1, groups: 1, taken: 1, top: 1 },
        { experts: 5, groups: 1, taken: 1, top: 5 },
      ],
      ...[
        { experts: 8, groups: 4, taken: 2, top: 3 },
        { experts: 12, groups: 12, taken: 5, top: 5 },
      ],
      ...[
        { experts: 60, groups: 1, taken: 1, top: 4 },
        { experts: 64, groups: 8, taken: 4, top: 8 },
      ],
    ];
    let ties = 0;
    for (const { experts, groups, taken, top } of shapes) {
      for (let kind = 0; kind < 16; kind++) {
        memory.reset();
        const [sigmoid, two, normalize, isCorrected] = [1, 2, 4, 8].map((bit) => (kind & bit) !== 0);
        const count = 3;
        // Whole numbers, so that some are equal.
        const logits = normals(count * experts, kind + 1).map((z, i) => (i < experts ? Math.round(z) : z));
        const correction = normals(experts, 99).map((c) => Math.round(c) / 4);
        const factor = 2.5;
        const [chosen, weights] = [alloc(count * top * 4), alloc(count * top * 4)];
        kernels.route(
          ...([place(logits), count, experts, isCorrected ? place(correction) : 0, sigmoid ? 1 : 0] as const),
          ...([groups, taken, two ? 1 : 0, top, normalize ? 1 : 0, factor, chosen, weights] as const),
          alloc(5 * (experts + 4) * 4),
        );
        for (let j = 0; j < count; j++) {
          const row = logits.subarray(j * experts, (j + 1) * experts);
          if (new Set(row).size < experts) ties++;
          const options = { sigmoid, groups, taken, two, top, normalize, factor, ...(isCorrected && { correction }) };
          const wanted = route(row, options);
          assert.equal([...copy(Int32Array, chosen + j * top * 4, top)], wanted.chosen);
          sameBits(copy(Float32Array, weights + j * top * 4, top), Float32Array.from(wanted.weights));
        }
        const dWeights = normals(count * top, 7);
        const dLogits = alloc(count * experts * 4);
        kernels.routeBack(
          ...([place(logits), count, experts, sigmoid ? 1 : 0, top, normalize ? 1 : 0, factor, chosen] as const),
          ...([place(dWeights), dLogits, alloc((experts + 4) * 4)] as const),
        );
        for (let j = 0; j < count; j++) {
          const picked = [...copy(Int32Array, chosen + j * top * 4, top)];
          const [z, d] = [logits, dWeights].map((x, i) => x.slice(j * [experts, top][i], (j + 1) * [experts, top][i]));
          const wanted = routeBack(z, { sigmoid, normalize, factor }, picked, d);
          sameBits(copy(Float32Array, dLogits + j * experts * 4, experts), wanted);
        }
      }
    }
    assert.ok(ties > 16);
  });

  test('softCap() and scale() write exactly count elements', () => {
    for (const count of lengths) {
      memory.reset();
      const x = normals(count + 8, count);
      const [a, b] = [place(x), place(x)];
      kernels.softCap(a, 2, count);
      kernels.scale(b, 0.3, count);
      const factor = Math.fround(0.3);
      const capped = twin.softCap(x, 2);
      sameBits(
        copy(Float32Array, a, count + 8),
        x.map((value, i) => (i < count ? capped[i] : value)),
      );
      sameBits(
        copy(Float32Array, b, count + 8),
        x.map((value, i) => (i < count ? value * factor : value)),
      );
    }
  });

  test('siluTimes(), geluTimes(), reluSquared() and add() equal their twins and write exactly count elements', () => {
    for (const count of lengths) {
      memory.reset();
      const gate = normals(count + 8, count).map((value) => value * 20);
      const up = normals(count + 8, count + 1);
      const g = place(gate);
      const u = place(up);
      kernels.siluTimes(g, u, count);
      const wanted = gate.slice();
      wanted.set(twin.siluTimes(gate.subarray(0, count), up), 0);
      sameBits(copy(Float32Array, g, count + 8), wanted, `siluTimes(${count})`);
      const h = place(gate);
      kernels.geluTimes(h, u, count);
      wanted.set(twin.geluTimes(gate.subarray(0, count), up), 0);
      sameBits(copy(Float32Array, h, count + 8), wanted, `geluTimes(${count})`);
      const r = place(gate);
      kernels.reluSquared(r, count);
      wanted.set(twin.reluSquared(gate.subarray(0, count)), 0);
      sameBits(copy(Float32Array, r, count + 8), wanted, `reluSquared(${count})`);
      const x = place(gate);
      kernels.add(x, u, count);
      sameBits(
        copy(Float32Array, x, count + 8),
        Float32Array.from(gate, (a, i) => (i < count ? a + up[i] : a)),
      );
    }
  });

  test('denseRows() equals its twin for every dtype, width and number of vectors', () => {
    const narrow = [
      (w: Float32Array) => [new Uint8Array(w.buffer), w] as const,
      (w: Float32Array) => [Uint16Array.from(w, (value) => f32ToF16(floatBits(value))), twin.throughF16(w)] as const,
      (w: Float32Array) => {
        const bits = Uint16Array.from(w, (value) => f32ToBf16(floatBits(value)));
        return [bits, Float32Array.from(bits, (h) => fromBits(h * 65536))] as const;
      },
    ];
    for (const [i, through] of narrow.entries()) {
      const dtype = [dtypeCodes.F32, dtypeCodes.F16, dtypeCodes.BF16][i];
      for (const cols of lengths) {
        const [rows, most] = [5, 7];
        const [stored, w] = through(normals(rows * cols, cols));
        const x = normals(most * cols, cols + 1);
        const wanted = Array.from({ length: most }, (_, j) => twin.denseRows(w, x.subarray(j * cols, (j + 1) * cols)));
        for (let count = 1; count <= most; count++) {
          memory.reset();
          const y = alloc(count * 6 * 4);
          kernels.denseRows(place(stored), dtype, rows, cols, place(x), count, y, 6, alloc(denseScratchBytes(cols)));
          for (let j = 0; j < count; j++) {
            const of = `denseRows, dtype ${dtype}, ${cols} columns, vector ${j} of ${count}`;
            sameBits(copy(Float32Array, y + j * 24, rows), wanted[j], of);
          }
        }
      }
    }
  });

  test('codeRows() equals the twin of matvec for every dimension of grid and any number of vectors', () => {
    for (const grid of smallGrids.filter(({ n }) => n <= 64)) {
      for (const cols of [5, 16, 172, 1000]) {
        memory.reset();
        const { p, n, bits, points } = grid;
        const [rows, count, groupSize] = [3, 2, 64];
        const masks = signs(3, Math.ceil(cols / 32) * 32);
        const layout = { rows, cols, groupSize, p, bits, points, masks };
        const { packed, scales } = matrix.encode(normals(rows * cols, cols), layout) as matrix.EncodedMatrix;
        const x = normals(count * cols, 5);
        const rotated = new Float32Array(count * cols);
        for (let j = 0; j < count; j++)
          rotated.set(rotate(x.subarray(j * cols, (j + 1) * cols), masks, groupSize), j * cols);
        const table = alloc(rowTableBytes(p, n));
        kernels.writeRows(place(points), p, n, table);
        const y = alloc(count * 16);
        const [codes, factors, from, scratch] = [place(packed), place(scales), place(rotated), alloc((cols + 64) * 6)];
        kernels.codeRows(codes, factors, rows, cols, groupSize, table, p, bits, from, count, y, 4, scratch);
        for (let j = 0; j < count; j++) {
          const wanted = matrix.matvec(packed, scales, rotated.subarray(j * cols, (j + 1) * cols), layout);
          sameBits(copy(Float32Array, y + j * 16, rows), wanted, `codeRows ${grid.name}, ${cols} columns`);
        }
        const w = alloc(cols * 4);
        kernels.dequantize(codes, factors, 1, cols, place(masks), groupSize, table, p, bits, w, scratch);
        sameBits(copy(Float32Array, w, cols), matrix.dequantize(packed, scales, { ...layout, rows: 1 }));
      }
    }
  });

  test('attend() equals its twin for any head size, tile, window, cap and width of the cache, with sinks or without', () => {
    for (const [dim, tokens, heads, first, window, tile, cap, hasSinks] of [
      [24, 5, 3, 0, 0, 4, 0, false],
      [24, 5, 3, 70, 0, 64, 0.5, true],
      [16, 1, 1, 0, 0, 1, 0, true],
      [6, 1, 2, 100, 0, 1, 0, false],
      [64, 40, 2, 30, 0, 7, 2, false],
      [24, 40, 3, 30, 33, 16, 0, true],
      [24, 40, 3, 30, 33, 16, 1, false],
      [20, 3, 1, 99, 1, 2, 0, true],
      [24, 64, 2, 0, 40, 64, 0, false],
      [64, 1, 1, 75, 0, 1, 0, false],
      [64, 1, 2, 75, 0, 64, 0, true],
      [64, 1, 4, 76, 50, 64, 3, false],
      [80, 2, 2, 40, 31, 64, 0, false],
      [7, 4, 1, 37, 3, 64, 0, false],
      [130, 1, 3, 37, 0, 64, 0, false],
      [130, 2, 5, 37, 9, 64, 0, false],
      [3, 3, 2, 0, 0, 3, 0, true],
      [576, 1, 3, 33, 0, 64, 0, false],
    ] as const) {
      // f32, f16 known to be finite, f16 that may not be, f16 with queries too large to be lifted.
      for (const [kind, factor] of [
        [0, 1],
        [1, 1],
        [2, 1],
        [1, 40000],
      ] as const) {
        const narrow = kind > 0;
        memory.reset();
        const positions = first + tokens;
        const stride = (heads + 1) * dim; // another head lies behind these
        const q = normals(tokens * stride, dim).map((value) => value * factor);
        let keys: Float32Array = normals(positions * dim, 2).map((value, i) => (i % 7 ? value : value * 1e-6));
        let values: Float32Array = normals(positions * dim, 3).map((value, i) => (i % 5 ? value : value * 1e-6));
        const store = (x: Float32Array) =>
          place(narrow ? Uint16Array.from(x, (value) => f32ToF16(floatBits(value))) : x);
        const [k, v, address] = [store(keys), store(values), place(q)];
        if (narrow) [keys, values] = [twin.throughF16(keys), twin.throughF16(values)];
        const span = positions + 4;
        const y = alloc(q.byteLength);
        memory.floats(y, q.length).fill(7);
        const scratch = alloc(attendScratchBytes(tile, span, dim));
        // Elements of values that are not mixed stay what they were.
        const valueDim = dim > 100 ? dim - 66 : dim;
        const sinks = normals(heads, 8);
        const sunk = hasSinks ? place(sinks) : 0;
        kernels.attend(
          address,
          y,
          tokens,
          heads,
          stride,
          dim,
          valueDim,
          k,
          v,
          kind,
          first,
          window,
          0.2,
          cap,
          sunk,
          tile,
          span,
          scratch,
        );
        const wanted = new Float32Array(q.length).fill(7);
        for (let j = 0; j < tokens; j++) {
          for (let head = 0; head < heads; head++) {
            const start = j * stride + head * dim;
            const attended = (first + j + 1) * dim;
            const query = q.subarray(start, start + dim);
            const sink = hasSinks ? sinks[head] : undefined;
            const [k, v] = [keys.subarray(0, attended), values.subarray(0, attended)];
            wanted.set(twin.attend(query, k, v, 0.2, window, cap, sink).subarray(0, valueDim), start);
          }
        }
        sameBits(copy(Float32Array, y, q.length), wanted, `attend, head of ${dim}, ${tokens} tokens, tile ${tile}`);
      }
    }
  });

  test('attend() of infinite keys and values gives what its twin does', () => {
    for (const which of ['keys', 'values']) {
      memory.reset();
      const [dim, positions] = [16, 9];
      const rows = { keys: normals(dim * positions, 2), values: normals(dim * positions, 3) };
      rows[which as 'keys'][20] = Number.POSITIVE_INFINITY;
      const q = normals(dim, 4);
      const half = (x: Float32Array) => place(Uint16Array.from(x, (value) => f32ToF16(floatBits(value))));
      const [address, k, v, y] = [place(q), half(rows.keys), half(rows.values), alloc(dim * 4)];
      const scratch = alloc(attendScratchBytes(1, 16, dim));
      kernels.attend(address, y, 1, 1, dim, dim, dim, k, v, 2, positions - 1, 0, 0.2, 0, 0, 1, 16, scratch);
      const [keys, values] = [twin.throughF16(rows.keys), twin.throughF16(rows.values)];
      const actual = copy(Float32Array, y, dim);
      const wanted = twin.attend(q, keys, values, 0.2, 0, 0);
      assert.equal([...actual].map(String), [...wanted].map(String), which);
    }
  });

  test.run();
}

const builds = Object.entries({ release: releaseBytes, debug: debugBytes, relaxed: relaxedBytes });
for (const [build, bytes] of builds.filter(([, bytes]) => WebAssembly.validate(bytes))) {
  const memory = createMemory(PAGES * 65536, false);
  testKernels(build, await instantiateDecoder(bytes, memory), memory);
}

function sumSquares(x: Float32Array): number {
  return x.reduce((sum, value) => sum + value * value, 0);
}
