// Kernels of error feedback against their scalar twins, bit by bit, in the release and the debug build.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/higgs.debug.wasm';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';
import { arena } from '../src/kernels/arena.ts';
import { instantiateKernels } from '../src/kernels/instantiate.ts';
import { SEQUENCES } from '../src/kernels/layout.ts';
import { kernelBytes } from '../src/kernels/load.ts';
import { coefficientsOf } from '../src/kernels/weighing.ts';
import { f32ToF16, floatBits } from '../src/numerics/float.ts';
import {
  accumulate,
  addProducts,
  type Fed,
  factorUdu,
  refinePoints,
  refineSequence,
  targetScale,
} from '../src/reference/refine.ts';
import { normals, sameBits, uniform } from './bits.ts';

const SWEEPS = 2;

// Sums of outer products of `count` vectors whose neighbours correlate, and a diagonal.
function positive(n: number, seed: number): Float64Array {
  const noise = normals(n * (n + 3), seed);
  const square = new Float64Array(n * n);
  for (let t = 0; t < n + 3; t++) {
    const x = new Float64Array(n);
    for (let i = 0; i < n; i++) x[i] = noise[t * n + i] + (i > 0 ? 0.7 * x[i - 1] : 0);
    for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) square[i * n + j] += x[i] * x[j];
  }
  for (let i = 0; i < n; i++) {
    square[i * n + i] += n;
    for (let j = 0; j < i; j++) square[j * n + i] = square[i * n + j];
  }
  return square;
}

// A sequence or row in parts, with its U and H.
function fedOf(
  count: number,
  parts: readonly number[],
  seed: number,
): Fed & { square: Float32Array; begins: Uint32Array; ends: Uint32Array } {
  const [upper, square] = [new Float32Array(count * count), new Float32Array(count * count)];
  const [begins, ends] = [new Uint32Array(count), new Uint32Array(count)];
  let start = 0;
  for (const width of parts) {
    const h = positive(width, seed + start);
    const factors = h.slice();
    assert.is(factorUdu(factors, width), width);
    for (let i = 0; i < width; i++) {
      begins[start + i] = start;
      ends[start + i] = start + width;
      for (let j = 0; j < width; j++) square[(start + i) * count + start + j] = h[i * width + j];
      for (let j = 0; j < i; j++) upper[(start + j) * count + start + i] = factors[i * width + j];
    }
    start += width;
  }
  const next = uniform(seed);
  const sigmas = Float32Array.from({ length: count }, (_, k) => (k % 17 === 16 ? 0 : 0.5 + next()));
  const inverses = sigmas.map((sigma) => (sigma > 0 ? 1 / sigma : 0));
  const [z, fed] = [normals(count, seed + 1), normals(count, seed + 2).map((x) => x / 8)];
  return { z, fed, inverses, sigmas, upper, square, begins, ends };
}

// The parts of a matrix whose four sequences have the same U.
function alikeParts(upper: Float32Array, steps: number, parts: readonly number[]) {
  let start = 0;
  return parts.map((count) => {
    const width = count * SEQUENCES;
    const all = new Float32Array(width * width);
    for (let i = 0; i < width; i++) {
      const [s, k] = [Math.floor(i / count), i % count];
      const own = upper.subarray((start + k) * steps + start);
      for (let j = 0; j < count; j++) all[i * width + s * count + j] = own[j];
    }
    const part = { start: start * SEQUENCES, width, upper: all };
    start += count;
    return part;
  });
}

for (const [build, bytes] of Object.entries({ release: kernelBytes, debug: debugBytes })) {
  const test = suite(`kernels of error feedback, ${build}`);
  const exports = await instantiateKernels(bytes);
  const memory = arena(exports.memory, exports.heapBase());

  test('factorUdu() equals its twin, and multiplies back', () => {
    for (const n of [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 64, 65, 100]) {
      memory.reset();
      const h = positive(n, n);
      const at = memory.place(h);
      const scratch = memory.alloc(64 * (n + 8) * 8);
      assert.is(exports.factorUdu(at, n, scratch), n);
      const found = memory.copy(Float64Array, at, n * n);
      const expected = h.slice();
      assert.is(factorUdu(expected, n), n);
      const lower = (all: Float64Array) => all.map((x, k) => (k % n <= Math.floor(k / n) ? x : 0));
      sameBits(lower(found), lower(expected), `n = ${n}`);
      for (let i = 0; i < n; i++) {
        for (let j = 0; j <= i; j++) {
          let sum = 0;
          for (let k = i; k < n; k++) {
            const u = (row: number) => (row === k ? 1 : found[k * n + row]);
            sum += u(i) * u(j) * found[k * n + k];
          }
          assert.ok(Math.abs(sum - h[i * n + j]) < 1e-9 * Math.sqrt(h[i * n + i] * h[j * n + j]), `${n}: ${i}, ${j}`);
        }
      }
    }
  });

  test('factorUdu() tells the first column that is not positive', () => {
    for (const bad of [0, 3, 40]) {
      memory.reset();
      const n = 50;
      const h = positive(n, 1);
      h[bad * n + bad] = -1e9;
      const expected = factorUdu(h.slice(), n);
      assert.is(exports.factorUdu(memory.place(h), n, memory.alloc(64 * (n + 8) * 8)), expected);
      assert.is(expected, bad);
    }
  });

  test('accumulate() equals its twin', () => {
    for (const [m, k, n] of [
      [1, 1, 1],
      [1, 5, 8],
      [3, 127, 9],
      [4, 128, 16],
      [5, 129, 17],
      [9, 300, 23],
      [32, 64, 40],
    ] as const) {
      memory.reset();
      const [a, b, c] = [normals(m * k, 1), normals(k * n, 2), normals(m * n, 3)];
      const [aAt, bAt, cAt] = [a, b, c].map(memory.place);
      exports.accumulate(cAt, n, aAt, k, 1, bAt, n, m, k, n);
      const expected = c.slice();
      accumulate(expected, a, b, { m, k, n });
      sameBits(memory.copy(Float32Array, cAt, m * n), expected, `${m} × ${k} × ${n}`);
      // The same, a transposed.
      const turned = Float32Array.from({ length: m * k }, (_, i) => a[(i % m) * k + Math.floor(i / m)]);
      const [tAt, dAt] = [memory.place(turned), memory.place(c)];
      exports.accumulate(dAt, n, tAt, 1, m, bAt, n, m, k, n);
      sameBits(memory.copy(Float32Array, dAt, m * n), expected, `${m} × ${k} × ${n}, transposed`);
    }
  });

  test('addProducts() equals its twin, and products of floats to a thousandth', () => {
    for (const [m, k, n, largest] of [
      [1, 1, 1, 1],
      [1, 5, 8, 1],
      [3, 127, 9, 1e-20],
      [4, 128, 16, 1],
      [5, 129, 17, 1e6],
      [9, 300, 23, 1],
      [32, 64, 40, 1],
    ] as const) {
      memory.reset();
      const [a, b, c] = [normals(m * k, 1), normals(k * n, 2).map((x) => x * largest), new Float32Array(m * n)];
      // Rows of b that are as unlike as rows of weights, one of nothing; a row of a that is nothing, and one with an outlier.
      for (let i = 0; i < k; i++) for (let j = 0; j < n; j++) b[i * n + j] *= i === 2 ? 0 : 2 ** -(i % 7);
      if (m > 1) a.fill(0, k, 2 * k);
      a[0] *= 1000;
      const pairs = Math.ceil(k / 2) + 1;
      const depth = Math.ceil(k / 128) * 128;
      const [aAt, bAt, cAt] = [a, b, c].map(memory.place);
      const [to, scales] = [memory.alloc(pairs * 32 * Math.ceil(n / 8)), memory.alloc(k * 4)];
      const [integers, factors] = [memory.alloc(m * depth * 2), memory.alloc((m * depth) / 32)];
      // In two calls where a block of rows ends: the second half goes to pairs behind those of the first.
      const first = Math.floor(k / 4) * 2;
      exports.packPairs(bAt, n, first, n, to, pairs, 0, scales);
      exports.packPairs(bAt + first * n * 4, n, k - first, n, to, pairs, first / 2, scales + first * 4);
      exports.packFactors(aAt, k, 1, m, k, scales, integers, factors);
      exports.addProducts(cAt, n, integers, factors, to, pairs, m, k, n);
      const expected = c.slice();
      addProducts(expected, a, b, { m, k, n });
      const found = memory.copy(Float32Array, cAt, m * n);
      sameBits(found, expected, `${m} × ${k} × ${n}`);
      const exact = c.slice();
      accumulate(exact, a, b, { m, k, n });
      let [missed, all] = [0, 0];
      for (let i = 0; i < m * n; i++) {
        missed += (found[i] - exact[i]) ** 2;
        all += exact[i] ** 2;
      }
      assert.ok(missed <= 1e-6 * all, `${missed} of ${all}`);
      // The same, a transposed.
      const turned = Float32Array.from({ length: m * k }, (_, i) => a[(i % m) * k + Math.floor(i / m)]);
      const [tAt, dAt] = [memory.place(turned), memory.place(c)];
      exports.packFactors(tAt, 1, m, m, k, scales, integers, factors);
      exports.addProducts(dAt, n, integers, factors, to, pairs, m, k, n);
      sameBits(memory.copy(Float32Array, dAt, m * n), expected, `${m} × ${k} × ${n}, transposed`);
    }
  });

  test('addProducts() holds the largest sums, of terms that are all alike', () => {
    const [m, n] = [5, 9]; // tiles, and single rows and columns
    for (let k = 1; k <= 256; k += build === 'debug' ? 17 : 1) {
      memory.reset();
      for (const sign of [1, -1]) {
        const [aAt, bAt] = [new Float32Array(m * k).fill(sign * 3), new Float32Array(k * n).fill(0.7)].map(
          memory.place,
        );
        const [pairs, depth] = [Math.ceil(k / 2), Math.ceil(k / 128) * 128];
        const [to, scales, cAt] = [
          memory.alloc(pairs * 32 * 2),
          memory.alloc(k * 4),
          memory.place(new Float32Array(m * n)),
        ];
        const [integers, factors] = [memory.alloc(m * depth * 2), memory.alloc((m * depth) / 32)];
        exports.packPairs(bAt, n, k, n, to, pairs, 0, scales);
        exports.packFactors(aAt, k, 1, m, k, scales, integers, factors);
        exports.addProducts(cAt, n, integers, factors, to, pairs, m, k, n);
        const wanted = sign * 2.1 * k;
        for (const found of memory.copy(Float32Array, cAt, m * n)) {
          assert.ok(Math.abs(found - wanted) <= 1e-3 * Math.abs(wanted), `${k} terms: ${found} of ${wanted}`);
        }
      }
    }
  });

  test('targetScales() equals its twin, and keeps the RMS where nothing is fed back', () => {
    for (const [cols, sequences] of [
      [16, 1],
      [48, 4],
      [64, 4],
      [96, 1],
    ] as const) {
      for (const [largest, factor] of [
        [0, 1],
        [0.3, 1.07],
        [100, 2],
        [60000, 4], // above f16
      ]) {
        memory.reset();
        const lane = cols / sequences + 8;
        const [z, fed] = [normals(cols, 1), normals(cols, 2).map((x) => x * largest)];
        const groups = cols === 96 ? [64, 32] : cols === 48 ? [32, 16] : [cols];
        const scales = Uint16Array.from(groups, (_, g) =>
          g === 1 ? 0 : f32ToF16(floatBits(largest < 1 ? 0.02 : largest)),
        );
        const placed = new Float32Array(lane * sequences);
        for (let c = 0; c < cols; c++) placed[(c % sequences) * lane + Math.floor(c / sequences)] = fed[c];
        const [zAt, fedAt, scaleAt] = [memory.place(z), memory.place(placed), memory.place(scales)];
        const factors = memory.place(new Float32Array(groups.length).fill(factor));
        const ratios = memory.alloc(groups.length * 4);
        exports.targetScales(zAt, fedAt, sequences, lane, cols, 64, factors, scaleAt, ratios);
        let start = 0;
        const expected = groups.map((count, g) => {
          // Sums go sequence by sequence.
          const order = Array.from({ length: sequences }, (_, s) =>
            Array.from({ length: count / sequences }, (_, i) => start + i * sequences + s),
          ).flat();
          start += count;
          const taken = (all: Float32Array) => Float32Array.from(order, (col) => all[col]);
          return targetScale(taken(z), taken(fed), { factor: Math.fround(factor), scale: scales[g] });
        });
        const about = `${cols} columns, ${sequences} sequences, ${largest}`;
        const found = memory.copy(Uint16Array, scaleAt, groups.length);
        sameBits(
          found,
          Uint16Array.from(expected, ({ bits }) => bits),
          about,
        );
        sameBits(
          memory.copy(Float32Array, ratios, groups.length),
          Float32Array.from(expected, ({ ratio }) => ratio),
          about,
        );
        if (largest === 0) sameBits(found, scales, about);
      }
    }
  });

  for (const trellis of trellises) {
    test(`refineSequence() equals its twin, ${trellis.name}`, () => {
      for (const parts of [[1], [2], [3], [4], [7], [33], [30, 11], [64, 40], [75]]) {
        if (build === 'debug' && parts[0] > 40) continue;
        const steps = parts.reduce((sum, width) => sum + width, 0);
        const given = fedOf(steps, parts, steps);
        const next = uniform(steps);
        const ds = Int32Array.from({ length: steps }, () => 1 + Math.floor(next() * 255));
        const own = normals(steps, 5);
        memory.reset();
        const { tables, step, zero, bits, kept } = trellis;
        const table = memory.alloc(kept ? exports.labelTableBytes() : exports.trellisTableBytes());
        if (kept) exports.labelTable(memory.place(tables), step, zero, bits, 2 ** (kept[2] ?? 0) - 1, table);
        else exports.trellisTable(memory.place(tables), step, zero, bits, table);
        const refining = memory.alloc(exports.refineTableBytes());
        exports.refineTable(table, bits, kept ? 1 : 0, refining);
        const { recent, older, places, strides } = coefficientsOf(alikeParts(given.upper, steps, parts), steps, {
          own: exports.refineOwn(refining),
          ownBits: exports.refineOwnBits(refining),
        });
        const seam = memory.alloc(88);
        const upperAt = memory.place(Float32Array.from(given.upper, (u, i) => (i % (steps + 1) === 0 ? 1 : u)));
        const olderAt = memory.place(older);
        for (let i = 0; i < places.length; i += 2) places[i] = olderAt + places[i] * 2;
        const s = steps % SEQUENCES;
        const [placesAt, recentAt] = [
          memory.place(places) + s * strides.places * 4,
          memory.place(recent) + s * strides.recent * 2,
        ];
        const { z, fed, inverses, sigmas } = given;
        const padded = (all: Float32Array) =>
          memory.place(Float32Array.from({ length: steps + 8 }, (_, k) => all[k] ?? 0));
        const [zAt, fedAt, ownAt, inverseAt, sigmaAt] = [z, fed, own, inverses, sigmas].map(padded);
        const dAt = memory.place(ds);
        exports.prepareSeam(upperAt, steps * 4, parts[0], dAt, seam);
        const [codes, values] = [memory.alloc(steps * 4), memory.alloc(steps * 4)];
        const work = memory.alloc(exports.refineScratchBytes(steps, refining));
        exports.refineSequence(
          ...([steps, zAt, fedAt, ownAt, inverseAt, sigmaAt, dAt, placesAt, recentAt, seam] as const),
          ...([refining, codes, 2, values, work] as const),
        );
        const expected = refineSequence({ ...given, fed: fed.slice(), own, ds, reach: parts[0] }, trellis);
        const found = memory.copy(Uint16Array, codes, steps * 2).filter((_, i) => i % 2 === 0);
        sameBits(found, expected.codes, `codes, ${parts} steps`);
        sameBits(memory.copy(Float32Array, values, steps), expected.values, `values, ${parts} steps`);
      }
    });
  }

  for (const grid of smallGrids) {
    test(`refinePoints() equals its twin, ${grid.name}`, () => {
      for (const parts of [[1], [2], [3], [5], [16], [17], [32, 8, 3], [64, 33]]) {
        const cols = parts.reduce((sum, width) => sum + width, 0);
        const given = fedOf(cols, parts, cols);
        const { z, fed, inverses, sigmas, begins, ends } = given;
        const { p, n } = grid;
        memory.reset();
        const table = memory.alloc(exports.gridTableBytes(p, n));
        exports.gridTable(memory.place(grid.points), p, n, table);
        const [upper, square] = [given.upper, given.square].map(memory.place);
        const rowsOf = (at: number) => memory.place(Uint32Array.from({ length: cols }, (_, k) => at + k * cols * 4));
        const [rows, squares] = [rowsOf(upper), rowsOf(square)];
        const wide = new Float32Array(cols + 64);
        wide.set(z);
        const [zAt, fedAt, inverseAt, sigmaAt, beginAt, endAt] = [wide, fed, inverses, sigmas, begins, ends].map(
          memory.place,
        );
        const [codes, values, missed] = [
          memory.alloc((cols + 16) * 2),
          memory.alloc((cols + 4) * 4),
          memory.alloc(cols * 4),
        ];
        const work = memory.alloc(exports.refinePointsBytes(cols));
        exports.refinePoints(
          ...([cols, zAt, fedAt, inverseAt, sigmaAt, rows, squares, beginAt, endAt, table, p, n, SWEEPS] as const),
          ...([codes, values, missed, work] as const),
        );
        const expected = refinePoints({ ...given, fed: fed.slice() }, grid.points, p, SWEEPS);
        sameBits(memory.copy(Uint16Array, codes, expected.codes.length), expected.codes, `codes, ${parts}`);
        sameBits(memory.copy(Float32Array, values, cols), expected.values, `values, ${parts}`);
        sameBits(memory.copy(Float32Array, missed, cols), expected.missed, `missed, ${parts}`);
      }
    });
  }

  test.run();
}
