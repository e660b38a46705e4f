// The method through the library: relative errors against the grids' MSE, degenerate weights, wrong arguments, seeds, sizes.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { largeGrids } from '../src/grids/large.ts';
import { type Grid, load, type MatrixOptions, UnsupportedError } from '../src/index.ts';
import { normals, sameBits, uniform } from './bits.ts';

const higgs = await load(undefined, { grids: largeGrids });
const small = await load();

function errorOf(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  return assert.unreachable('no error') as never;
}

// t² in f64, from what dequantize() gives.
function measure(weights: Float32Array, decoded: Float32Array): number {
  let [error, norm] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    error += (weights[i] - decoded[i]) ** 2;
    norm += weights[i] ** 2;
  }
  return error / norm;
}

// --- t² against the MSE

const ROWS = 512;
const COLS = 1024;
const gaussian = normals(ROWS * COLS, 42);

for (const [name, { mse }] of higgs.grids) {
  test(`quantize() of N(0, 1) has a t² within 2 % of the MSE of ${name}`, () => {
    // 4096 points in four dimensions take a second for a million weights; the error of 2^18 samples is below 0.5 %.
    const rows = ROWS / (name.endsWith('n4096') ? 2 : 1);
    const weights = gaussian.subarray(0, rows * COLS);
    const matrix = higgs.quantize(weights, { rows, cols: COLS, grid: name });
    const ratio = matrix.relativeError / mse;
    assert.ok(Math.abs(ratio - 1) < 0.02, `t² is ${ratio} × the MSE`);
    const measured = measure(weights, higgs.dequantize(matrix));
    assert.ok(
      Math.abs(measured / matrix.relativeError - 1) < 1e-3,
      `noted ${matrix.relativeError}, measured ${measured}`,
    );
  });
}

test('quantize() of N(0, 1) is within 2 % of the MSE for groups from 128 to 4096, and for widths with short groups', () => {
  for (const groupSize of [128, 256, 512, 2048, 4096]) {
    const { relativeError, grid } = higgs.quantize(gaussian, { rows: 128, cols: 4096, groupSize, grid: 'p2n256' });
    const ratio = relativeError / grid.mse;
    assert.ok(Math.abs(ratio - 1) < 0.02, `groups of ${groupSize}: ${ratio} × the MSE`);
  }
  for (const cols of [576, 896, 1000, 4864]) {
    const rows = Math.floor(gaussian.length / cols);
    const weights = gaussian.subarray(0, rows * cols);
    const { relativeError, grid } = higgs.quantize(weights, { rows, cols, grid: 'p2n256' });
    const ratio = relativeError / grid.mse;
    assert.ok(Math.abs(ratio - 1) < 0.02, `${cols} columns: ${ratio} × the MSE`);
  }
});

// Rows that the plain transform turns into spikes.
const shaped: [string, (x: number, i: number) => number, number][] = [
  ['a row mean of 0.5 σ', (x) => x + 0.5, 10],
  ['a square wave of period 8 with noise of 0.3', (x, i) => (i % 8 < 4 ? 1 : -1) + 0.3 * x, 50],
];
for (const [label, shape, far] of shaped) {
  test(`quantize() with signs stays within 3 % of the MSE for ${label}; without, it is over ${far} × off`, () => {
    // Rows that are alike see the same signs and err alike: one seed is a sample of hardly more than one row, whose t² has
    // a standard deviation of some 5 %. So the mean of many seeds.
    const [rows, seeds] = [8, 128];
    const weights = gaussian.subarray(0, rows * COLS).map(shape);
    let sum = 0;
    for (let seed = 0; seed < seeds; seed++) {
      const { relativeError, grid } = higgs.quantize(weights, { rows, cols: COLS, seed });
      assert.ok(relativeError < 1.5 * grid.mse, `seed ${seed}: ${relativeError / grid.mse} × the MSE`);
      sum += relativeError / grid.mse;
    }
    assert.ok(Math.abs(sum / seeds - 1) < 0.03, `${sum / seeds} × the MSE`);
    const { relativeError, grid } = higgs.quantize(weights, { rows, cols: COLS, signs: 'none' });
    assert.ok(relativeError > far * grid.mse, `without signs ${relativeError / grid.mse} × the MSE`);
  });
}

test('quantize() does not mind a scale: weights times a power of two give the same codes', () => {
  const weights = gaussian.subarray(0, 8 * COLS);
  const { packed } = higgs.quantize(weights, { rows: 8, cols: COLS });
  for (const factor of [2 ** -12, 2 ** 12]) {
    const scaled = higgs.quantize(
      weights.map((x) => x * factor),
      { rows: 8, cols: COLS },
    );
    sameBits(scaled.packed, packed);
  }
});

// --- degenerate weights

test('quantize() of zeros: scales 0, no error, and zeros back', () => {
  for (const grid of higgs.grids.keys()) {
    const matrix = higgs.quantize(new Float32Array(3 * 172), { rows: 3, cols: 172, grid });
    assert.ok(matrix.scales.every((scale) => scale === 0));
    assert.is(matrix.relativeError, 0);
    assert.ok(higgs.dequantize(matrix).every((x) => x === 0));
    assert.ok(higgs.matvec(matrix, normals(172)).every((y) => y === 0));
  }
});

test('quantize() of a group of zeros leaves its neighbours alone', () => {
  for (const grid of ['p1n16', 'p2n256', 'p3n512', 'p4n256']) {
    const weights = normals(4 * 192, 3);
    weights.fill(0, 64, 128);
    weights.fill(0, 2 * 192, 3 * 192);
    const matrix = higgs.quantize(weights, { rows: 4, cols: 192, grid, groupSize: 64 });
    const decoded = higgs.dequantize(matrix);
    assert.equal(
      Array.from(matrix.scales, (scale) => scale === 0),
      [0, 1, 2, 3].flatMap((row) => [row === 2, row === 0 || row === 2, row === 2]),
    );
    for (let i = 0; i < weights.length; i++)
      if (weights[i] === 0) assert.ok(decoded[i] === 0, `[${i}] is ${decoded[i]}`);
    assert.ok(measure(weights, decoded) < 2 * matrix.grid.mse);
  }
});

test('quantize() of an RMS in the range of f16 subnormals decodes to what it notes; below 2^-25 to zeros', () => {
  const weights = gaussian.subarray(0, 16 * COLS);
  const of = (factor: number) => {
    const scaled = weights.map((x) => x * factor);
    const matrix = higgs.quantize(scaled, { rows: 16, cols: COLS });
    const measured = measure(scaled, higgs.dequantize(matrix));
    assert.ok(Math.abs(measured / matrix.relativeError - 1) < 1e-3, `${factor}: ${matrix.relativeError}, ${measured}`);
    return matrix;
  };
  assert.ok(Math.abs(of(2 ** -14).relativeError / of(1).relativeError - 1) < 0.01);
  assert.ok(of(2 ** -20).relativeError < 1.1 * of(1).relativeError);
  const least = of(2 ** -24);
  assert.ok(least.scales.every((scale) => scale === 1));
  assert.ok(least.relativeError < 0.02);
  const below = of(2 ** -26);
  assert.ok(below.scales.every((scale) => scale === 0));
  assert.is(below.relativeError, 1);
  const tiny = higgs.quantize(new Float32Array(32).fill(1e-45), { rows: 1, cols: 32 });
  assert.ok(higgs.dequantize(tiny).every((x) => x === 0));
  assert.ok(Number.isFinite(tiny.relativeError));
});

test('quantize() refuses an RMS that f16 cannot hold, from 65520 on, and names the row', () => {
  const filled = (value: number) => {
    const weights = new Float32Array(5 * 64).fill(1);
    weights.fill(value, 3 * 64 + 16, 3 * 64 + 32);
    return () => higgs.quantize(weights, { rows: 5, cols: 64, groupSize: 16 });
  };
  assert.is(filled(65504)().scales[3 * 4 + 1], 0x7bff);
  assert.is(filled(65519)().scales[3 * 4 + 1], 0x7bff);
  for (const value of [65520, -65520, 1e10, 3e38]) {
    const error = errorOf(filled(value));
    assert.instance(error, RangeError);
    assert.match(error.message, /^the RMS of every group must be at most 65504.*: row 3 /);
  }
  // A single weight may be far above: it is the RMS that counts.
  const spike = new Float32Array(1024);
  spike[7] = 1e6;
  const matrix = higgs.quantize(spike, { rows: 1, cols: 1024 });
  assert.ok(Math.abs(higgs.dequantize(matrix)[7] / 1e6 - 1) < 0.2);
});

test('quantize() refuses NaN and infinity and names the first, row and column, in whatever block', () => {
  const cols = 1024;
  const rows = 1100; // more than 2^20 weights: two blocks
  const weights = new Float32Array(rows * cols).fill(0.5);
  for (const [row, col, value] of [
    [0, 0, Number.NaN],
    [1023, 1023, Number.POSITIVE_INFINITY],
    [1024, 0, Number.NEGATIVE_INFINITY],
    [1099, 1023, Number.NaN],
    [1050, 700, Number.NaN],
  ]) {
    weights[row * cols + col] = value;
    const error = errorOf(() => higgs.quantize(weights, { rows, cols, grid: 'p1n4' }));
    assert.instance(error, RangeError);
    assert.is(error.message, `weights must be finite: [${row}, ${col}] is ${value}`);
    weights[row * cols + col] = 0.5;
  }
  // Of two faults the first is named, and every position in a group is seen.
  for (let at = 0; at < 40; at++) {
    const few = normals(2 * 40);
    few[40 + at] = Number.NaN;
    few[79] = Number.POSITIVE_INFINITY;
    const error = errorOf(() => higgs.quantize(few, { rows: 2, cols: 40 }));
    assert.is(error.message, `weights must be finite: [1, ${at}] is ${at === 39 ? 'Infinity' : 'NaN'}`);
  }
});

test('quantize() leaves the weights as they are, and reads a view at its offset', () => {
  const weights = normals(2 * 100 + 3);
  const before = weights.slice();
  const view = higgs.quantize(weights.subarray(3), { rows: 2, cols: 100 });
  sameBits(weights, before);
  const copy = higgs.quantize(weights.slice(3), { rows: 2, cols: 100 });
  sameBits(view.packed, copy.packed);
  sameBits(view.scales, copy.scales);
});

// --- wrong arguments

test('quantize() refuses wrong arguments: class, subject, requirement, what it is', () => {
  const weights = new Float32Array(64);
  const good = { rows: 2, cols: 32 };
  const cases: [unknown, object, new () => Error, RegExp][] = [
    [[1, 2], good, TypeError, /^weights must be a Float32Array: got \[1, 2\]$/],
    [null, good, TypeError, /^weights must be a Float32Array: got null$/],
    [undefined, good, TypeError, /^weights must be a Float32Array: got nothing$/],
    [new Float64Array(64), good, TypeError, /^weights must be a Float32Array: got a Float64Array$/],
    [weights, { rows: 2, cols: 33 }, RangeError, /^weights must have 66 elements: got 64$/],
    [weights, { rows: 1, cols: 32 }, RangeError, /^weights must have 32 elements: got 64$/],
    [weights, { rows: -2, cols: -32 }, RangeError, /^rows must be an integer from 0 to 268435456: got -2$/],
    [weights, { rows: 2.5, cols: 32 }, RangeError, /^rows must be an integer from 0 to 268435456: got 2.5$/],
    [weights, { rows: Number.NaN, cols: 32 }, RangeError, /^rows must be an integer from 0 to 268435456: got NaN$/],
    [weights, { rows: '2', cols: 32 }, TypeError, /^rows must be a number: got "2"$/],
    [weights, { cols: 32 }, TypeError, /^rows must be a number: got nothing$/],
    [weights, { rows: 2 }, TypeError, /^cols must be a number: got nothing$/],
    [weights, { rows: 2, cols: Number.POSITIVE_INFINITY }, RangeError, /^cols must be an integer/],
    [weights, { ...good, groupSize: 100 }, RangeError, /^groupSize must be a power of two from 16 to 4096: got 100$/],
    [weights, { ...good, groupSize: 8 }, RangeError, /^groupSize must be a power of two from 16 to 4096: got 8$/],
    [weights, { ...good, groupSize: 8192 }, RangeError, /^groupSize must be .*: got 8192$/],
    [weights, { ...good, groupSize: 0 }, RangeError, /^groupSize must be .*: got 0$/],
    [weights, { ...good, groupSize: -64 }, RangeError, /^groupSize must be .*: got -64$/],
    [weights, { ...good, groupSize: Number.NaN }, RangeError, /^groupSize must be .*: got NaN$/],
    [weights, { ...good, seed: -1 }, RangeError, /^seed must be an integer from 0 to 4294967295: got -1$/],
    [weights, { ...good, seed: 2 ** 32 }, RangeError, /^seed must be an integer from 0 to 4294967295: got 4294967296$/],
    [weights, { ...good, seed: 0.5 }, RangeError, /^seed must be an integer from 0 to 4294967295: got 0.5$/],
    [weights, { ...good, seed: '7' }, TypeError, /^seed must be a number: got "7"$/],
    [weights, { ...good, signs: 'some' }, RangeError, /^signs must be "random" or "none": got "some"$/],
    [
      weights,
      { ...good, grid: 'p2n4096' },
      UnsupportedError as never,
      /^grid must be one of those loaded, p1n4, .*: got "p2n4096"; if higgs-wasm\/grids has it, import it and call load\(undefined, \{ grids: \[p2n4096\] \}\)$/,
    ],
    [weights, { ...good, grid: '' }, UnsupportedError as never, /^grid must be one of those loaded/],
    [weights, { ...good, grid: 'constructor' }, UnsupportedError as never, /: got "constructor"$/],
  ];
  for (const [value, options, type, message] of cases) {
    const error = errorOf(() => higgs.quantize(value as Float32Array, options as MatrixOptions));
    assert.is(error.constructor, type, `${message}: ${error.message}`);
    assert.match(error.message, message);
  }
  assert.match(
    errorOf(() => small.quantize(weights, { ...good, grid: 'p4n256' })).message,
    /: got "p4n256"; if higgs-wasm\/grids has it, /,
  );
});

test('quantize() refuses options that it does not know, and says which was meant', () => {
  const weights = new Float32Array(64);
  const said = (options: object) => errorOf(() => higgs.quantize(weights, { rows: 2, cols: 32, ...options }));
  for (const [options, message] of [
    [{ groupsize: 64 }, 'options must have only known members, such as groupSize: got "groupsize"'],
    [{ scale_search: true }, 'options must have only known members, such as scaleSearch: got "scale_search"'],
    [
      { bits: 4 },
      'options must have only known members, rows, cols, grid, groupSize, seed, signs, scaleSearch: got "bits"',
    ],
  ] as const) {
    assert.is(said(options).message, message);
    assert.is(said(options).constructor, TypeError);
  }
});

test('quantize() takes a grid as an object, loaded or not', () => {
  const grid = largeGrids.find(({ name }) => name === 'p4n256') as Grid;
  const weights = normals(2 * 64);
  const given = small.quantize(weights, { rows: 2, cols: 64, grid });
  const named = higgs.quantize(weights, { rows: 2, cols: 64, grid: 'p4n256' });
  sameBits(given.packed, named.packed);
  sameBits(small.dequantize(given), higgs.dequantize(named));
});

test('dequantize() and matvec() refuse arrays that are not those of the matrix', () => {
  const matrix = higgs.quantize(normals(2 * 40), { rows: 2, cols: 40, grid: 'p2n256' });
  const x = normals(40);
  const cases: [object, RegExp][] = [
    [{ packed: new Uint8Array(39) }, /^packed must have 40 bytes: got 39$/],
    [{ scales: new Uint16Array(5) }, /^scales must have 4 elements: got 5$/],
    [{ rows: 3 }, /^packed must have 60 bytes: got 40$/],
    [{ cols: 41 }, /^packed must have 42 bytes: got 40$/],
    [{ cols: -1 }, /^matrix\.cols must be an integer from 0 to 4194304: got -1$/],
    [{ groupSize: 24 }, /^matrix\.groupSize must be a power of two/],
    [{ seed: -1 }, /^matrix\.seed must be an integer/],
  ];
  for (const [change, message] of cases) {
    for (const run of [
      () => higgs.dequantize({ ...matrix, ...change }),
      () => higgs.matvec({ ...matrix, ...change }, x),
    ]) {
      const error = errorOf(run);
      assert.instance(error, RangeError);
      assert.match(error.message, message);
    }
  }
  assert.match(errorOf(() => higgs.matvec(matrix, normals(39))).message, /^x must have 40 elements: got 39$/);
  assert.instance(
    errorOf(() => higgs.matvec(matrix, [...x] as never)),
    TypeError,
  );
});

// --- seeds, sizes, blocks

test('seeds: other seeds give other bytes, the same seed the same, none is not seed 0', () => {
  const weights = normals(4 * 256, 8);
  const bytesOf = (options: Partial<MatrixOptions>) =>
    String(higgs.quantize(weights, { rows: 4, cols: 256, ...options }).packed);
  const all = [{}, { seed: 1 }, { seed: 2 }, { seed: 2 ** 32 - 1 }, { signs: 'none' as const }].map(bytesOf);
  assert.is(new Set(all).size, all.length);
  assert.is(bytesOf({}), bytesOf({ seed: 0 }));
  assert.is(bytesOf({ seed: 5 }), bytesOf({ seed: 5 }));
  assert.is(bytesOf({ seed: 5, signs: 'none' }), all.at(-1));
  assert.is(higgs.quantize(weights, { rows: 4, cols: 256, seed: 5, signs: 'none' }).seed, null);
});

test('scaleSearch errs less in every grid, and dequantizes as any matrix does', () => {
  const [rows, cols] = [16, 1100]; // groups 1024, 64, 8, 4
  const weights = normals(rows * cols, 8);
  for (const grid of ['p1n16', 'p2n64', 'p3n512', 't4', 't2']) {
    for (const groupSize of [64, 1024]) {
      const [plain, searched] = [false, true].map((scaleSearch) =>
        higgs.quantize(weights, { rows, cols, grid, groupSize, scaleSearch }),
      );
      assert.ok(searched.relativeError < plain.relativeError, `${grid}: ${searched.relativeError}`);
      assert.is(searched.bitsPerWeight, plain.bitsPerWeight);
      const restored = higgs.dequantize(searched);
      const [error, norm] = weights.reduce(
        ([error, norm], weight, i) => [error + (weight - restored[i]) ** 2, norm + weight ** 2],
        [0, 0],
      );
      assert.ok(Math.abs(error / norm / searched.relativeError - 1) < 1e-5, grid);
    }
  }
});

test('bitsPerWeight is bits / p + 16 / groupSize where all divides, and what is stored everywhere', () => {
  for (const { name, bits, p } of higgs.grids.values()) {
    for (const groupSize of [16, 1024]) {
      const cols = 3072; // a multiple of 1024 and of 3
      const { bitsPerWeight } = higgs.quantize(new Float32Array(cols), { rows: 1, cols, grid: name, groupSize });
      assert.ok(Math.abs(bitsPerWeight - (bits / p + 16 / groupSize)) < 1e-12, `${name}: ${bitsPerWeight}`);
    }
    for (const cols of [1, 17, 33, 172, 576, 1000]) {
      const matrix = higgs.quantize(new Float32Array(2 * cols), { rows: 2, cols, grid: name });
      const bits = 8 * (matrix.packed.byteLength + matrix.scales.byteLength);
      assert.ok(Math.abs(matrix.bitsPerWeight - bits / (2 * cols)) < 1e-12);
    }
  }
  assert.is(higgs.quantize(new Float32Array(1024), { rows: 1, cols: 1024 }).bitsPerWeight, 4.015625);
});

test('quantize(), dequantize() and matvec() of no rows or no columns', () => {
  for (const [rows, cols] of [
    [0, 64],
    [3, 0],
    [0, 0],
  ]) {
    const matrix = higgs.quantize(new Float32Array(0), { rows, cols });
    assert.is(matrix.packed.length + matrix.scales.length, 0);
    assert.is(matrix.bitsPerWeight, 0);
    assert.is(matrix.relativeError, 0);
    assert.is(higgs.dequantize(matrix).length, 0);
    const y = higgs.matvec(matrix, normals(cols));
    assert.is(y.length, rows);
    assert.ok(y.every((value) => value === 0));
  }
});

test('blocks of rows leave no trace: a matrix of over 2^20 weights is its halves, one below the other', () => {
  const [rows, cols] = [1102, 1000];
  const random = uniform(11);
  const weights = Float32Array.from({ length: rows * cols }, () => random() - 0.5);
  for (const grid of ['p1n16', 'p2n64', 'p3n512']) {
    const options = { cols, grid, seed: 9 };
    const whole = higgs.quantize(weights, { ...options, rows });
    const half = (rows / 2) * cols;
    const parts = [weights.subarray(0, half), weights.subarray(half)].map((part) =>
      higgs.quantize(part, { ...options, rows: rows / 2 }),
    );
    const joined = (key: 'packed' | 'scales') => parts.flatMap((part) => [...part[key]]);
    sameBits(whole.packed, Uint8Array.from(joined('packed')));
    sameBits(whole.scales, Uint16Array.from(joined('scales')));
    const norms = [weights.subarray(0, half), weights.subarray(half)].map((part) =>
      part.reduce((s, x) => s + x * x, 0),
    );
    const mean = parts.reduce((sum, { relativeError }, i) => sum + relativeError * norms[i], 0) / (norms[0] + norms[1]);
    assert.ok(Math.abs(whole.relativeError / mean - 1) < 1e-9);

    const x = normals(cols, 5);
    sameBits(higgs.dequantize(whole).subarray(half), higgs.dequantize(parts[1]));
    sameBits(higgs.matvec(whole, x).subarray(rows / 2), higgs.matvec(parts[1], x));
  }
});

test('a row longer than a block is one block', () => {
  const cols = 2 ** 20 + 17;
  const weights = normals(cols, 6);
  const matrix = higgs.quantize(weights, { rows: 1, cols, grid: 'p1n16' });
  assert.ok(Math.abs(matrix.relativeError / matrix.grid.mse - 1) < 0.02);
  assert.ok(Math.abs(measure(weights, higgs.dequantize(matrix)) / matrix.relativeError - 1) < 1e-3);
});

test('nothing is kept between calls: interleaved matrices decode as they would alone', () => {
  const [a, b] = ['p1n4', 'p4n4096'].map((grid, i) =>
    higgs.quantize(normals(7 * 300, i), { rows: 7, cols: 300, grid, seed: i }),
  );
  const [first, second] = [higgs.dequantize(a), higgs.dequantize(b)];
  const kept = first.slice();
  higgs.matvec(b, normals(300));
  sameBits(first, kept);
  sameBits(higgs.dequantize(a), first);
  sameBits(higgs.dequantize(b), second);
});

test.run();
