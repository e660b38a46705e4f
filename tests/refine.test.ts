// Error feedback: without correlations the bytes are those of plain encoding; with them the weighted error falls as predicted.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/higgs.debug.wasm';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';
import { instantiateKernels } from '../src/kernels/instantiate.ts';
import { type Codes, wrapKernels } from '../src/kernels/kernels.ts';
import { kernelBytes } from '../src/kernels/load.ts';
import { f16ToF32 } from '../src/numerics/float.ts';
import { normals, sameBits } from './bits.ts';

const builds = { release: kernelBytes, debug: debugBytes };
const grids = [...smallGrids, ...largeGrids, ...trellises];

function identity(n: number): Float32Array<ArrayBuffer> {
  const square = new Float32Array(n * n);
  for (let i = 0; i < n; i++) square[i * n + i] = 1;
  return square;
}

// The squared error of all rows.
function squared(sums: Float64Array): number {
  return sums.reduce((all, value, i) => all + (i % 2 ? 0 : value), 0);
}

const DAMPING = 0.05;

// Σ x xᵀ of vectors whose neighbours correlate.
function correlated(n: number, seed: number): Float32Array<ArrayBuffer> {
  const count = 3 * n;
  const x = normals(count * n, seed);
  for (let t = 0; t < count; t++) for (let i = 1; i < n; i++) x[t * n + i] += 0.8 * x[t * n + i - 1];
  const square = new Float32Array(n * n);
  for (let t = 0; t < count; t++) {
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) square[i * n + j] += x[t * n + i] * x[t * n + j];
  }
  return square;
}

function damped(square: Float32Array, damping = DAMPING): Float32Array {
  const n = Math.sqrt(square.length);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += square[i * n + i];
  return square.map((value, k) => (k % (n + 1) === 0 ? value + (damping * trace) / n : value));
}

function bytesOf(values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.buffer);
}

for (const [build, bytes] of Object.entries(builds)) {
  const test = suite(`refine, ${build}`);
  const kernels = wrapKernels(await instantiateKernels(bytes));

  // Plain paths by labels have costs of 16 bits, which round.
  for (const grid of trellises.filter(({ kept }) => kept)) {
    test(`refine() errs as encode() does where nothing correlates, ${grid.name}`, () => {
      const [rows, cols] = [build === 'debug' ? 4 : 48, 512];
      const matrix = { rows, cols, grid, groupSize: 128, seed: 7 };
      const weights = () => ({ bytes: bytesOf(normals(rows * cols, 1)), dtype: 'F32' as const });
      const plain = kernels.encode(matrix, weights());
      const weighing = { inputs: [identity(cols)], damping: 0.1, outputDamping: 0.1 };
      const refined = kernels.refine(matrix, weights(), weighing);
      sameBits(refined.scales, plain.scales);
      const ratio = squared(refined.sums) / squared(plain.sums);
      assert.ok(Math.abs(ratio - 1) < (build === 'debug' ? 0.01 : 0.003), `${ratio}`);
    });
  }

  for (const grid of grids.filter((one) => !('kept' in one))) {
    test(`refine() gives the bytes of encode() where nothing correlates, ${grid.name}`, () => {
      for (const [i, cols] of [1, 2, 5, 8, 16, 33, 64, 172, 300, 1000].entries()) {
        if (build === 'debug' && cols > 172) continue;
        const rows = cols > 64 ? 3 : 35;
        const matrix = { rows, cols, grid, groupSize: [16, 64, 1024][i % 3], seed: i % 2 ? 7 : null };
        const values = normals(rows * cols, cols);
        values.fill(0, 0, Math.min(16, cols));
        const weights = () => ({ bytes: bytesOf(values.slice()), dtype: 'F32' as const });
        const plain = kernels.encode(matrix, weights());
        for (const isBoth of [false, true]) {
          const outputs = isBoth ? identity(rows) : undefined;
          const weighing = { inputs: [identity(cols)], outputs, damping: 0.1, outputDamping: 0.1 };
          const refined = kernels.refine(matrix, weights(), weighing);
          const what = `${cols} columns, ${isBoth ? 'both sides' : 'inputs'}`;
          sameBits(refined.packed, plain.packed, `codes, ${what}`);
          sameBits(refined.scales, plain.scales, `scales, ${what}`);
        }
      }
    });
  }

  test('refine() takes scales by targets with 2 bits, of rows that come later larger ones; with 3 they are the RMS', () => {
    const [rows, cols] = [96, 64];
    const weights = () => ({ bytes: bytesOf(normals(rows * cols, 1)), dtype: 'F32' as const });
    const weighing = {
      ...{ inputs: [correlated(cols, 1)], outputs: correlated(rows, 2) },
      ...{ damping: DAMPING, outputDamping: DAMPING },
    };
    for (const [name, isLarger] of [
      ['t2', true],
      ['p2n16', true],
      ['t3', false],
      ['p2n64', false],
    ] as const) {
      const grid = grids.find((one) => one.name === name)!;
      const matrix = { rows, cols, grid, groupSize: 64, seed: 1 };
      const plain = kernels.encode(matrix, weights());
      const { scales } = kernels.refine(matrix, weights(), weighing);
      if (!isLarger) {
        sameBits(scales, plain.scales, name);
        continue;
      }
      const meanOf = (first: number) => {
        const ratios = Array.from(
          { length: 32 },
          (_, r) => f16ToF32(scales[first + r]) / f16ToF32(plain.scales[first + r]),
        );
        return ratios.reduce((sum, ratio) => sum + ratio, 0) / 32;
      };
      // No row is before those of the first block, and their scales are alike.
      assert.ok(meanOf(0) > 1.005 && meanOf(64) > meanOf(0) + 0.005, `${name}: ${meanOf(0)}, ${meanOf(64)}`);
    }
  });

  // Σ over pairs of rows and columns of what their errors cost together.
  function costOf(E: Float32Array, rows: number, blocks: readonly Float32Array[], G: Float32Array | undefined): number {
    const cols = E.length / rows;
    const F = new Float64Array(E.length);
    let start = 0;
    for (const H of blocks) {
      const width = Math.sqrt(H.length);
      const own = damped(H);
      for (let r = 0; r < rows; r++) {
        for (let i = 0; i < width; i++) {
          for (let j = 0; j < width; j++) F[r * cols + start + j] += E[r * cols + start + i] * own[i * width + j];
        }
      }
      start += width;
    }
    const outer = damped(G ?? identity(rows), G ? DAMPING : 0);
    let cost = 0;
    for (let r = 0; r < rows; r++) {
      for (let s = 0; s < rows; s++) {
        if (outer[r * rows + s] === 0) continue;
        for (let c = 0; c < cols; c++) cost += outer[r * rows + s] * F[r * cols + c] * E[s * cols + c];
      }
    }
    return cost;
  }

  for (const name of ['t4', 't3', 't2', 't4f', 't4z', 't5', 't6', 'p1n16', 'p2n64', 'p3n512', 'p4n256']) {
    test(`refine() lowers what errors cost, by as much as it says, ${name}`, () => {
      const grid = grids.find((one) => one.name === name)!;
      for (const widths of [[64, 64], [140], [96, 32, 5]]) {
        const cols = widths.reduce((sum, width) => sum + width, 0);
        const rows = 45;
        const matrix = { rows, cols, grid, groupSize: widths.length === 2 ? 64 : 32, seed: 5 };
        const values = normals(rows * cols, 1);
        const weights = () => ({ bytes: bytesOf(values.slice()), dtype: 'F32' as const });
        const errorsOf = (codes: Codes) => {
          const y = new Float32Array(kernels.dequantize(matrix, codes, 'F32').buffer);
          return values.map((value, i) => value - y[i]);
        };
        const inputs = () => widths.map((width) => correlated(width, width));
        for (const outputs of [undefined, correlated(rows, 3)]) {
          const weighing = { inputs: inputs(), outputs, damping: DAMPING, outputDamping: DAMPING };
          const found = kernels.refine(matrix, weights(), weighing);
          const cost = costOf(errorsOf(found), rows, inputs(), outputs);
          const [said, expected, alone] = found.weighted;
          assert.ok(Math.abs(cost - said) < 1e-4 * said, `${cost} is not ${said}`);
          const plain = costOf(errorsOf(kernels.encode(matrix, weights())), rows, inputs(), outputs);
          assert.ok(cost < 0.9 * plain, `${cost} of ${plain}`);
          const gain = kernels.gain(matrix, weights(), { ...weighing, inputs: inputs() });
          assert.ok(Math.abs(gain - expected / alone) < 0.05 * gain, `${gain} is not ${expected / alone}`);
        }
      }
    });
  }

  test('refine() weighs what no token reached alike, and names weights that are not finite', () => {
    const matrix = { rows: 3, cols: 64, grid: grids.find(({ name }) => name === 't4')!, groupSize: 64, seed: 1 };
    const values = normals(192, 1);
    const weights = () => ({ bytes: bytesOf(values.slice()), dtype: 'F32' as const });
    const nothing = {
      inputs: [new Float32Array(64 * 64)],
      outputs: new Float32Array(9),
      damping: 0.1,
      outputDamping: 0.1,
    };
    sameBits(kernels.refine(matrix, weights(), nothing).packed, kernels.encode(matrix, weights()).packed);
    values[70] = Number.NaN;
    assert.throws(() => kernels.refine(matrix, weights(), nothing), /weights must be finite: \[1, 6\] is NaN/);
    assert.throws(() => kernels.gain(matrix, weights(), nothing), /weights must be finite: \[1, 6\] is NaN/);
    const less = { ...nothing, inputs: [new Float32Array(16)] };
    assert.throws(() => kernels.refine(matrix, weights(), less), /statistics must be of all 64 columns: they are of 4/);
    const negative = { ...nothing, inputs: [identity(64)] };
    negative.inputs[0][0] = -50;
    values[70] = 0;
    assert.throws(() => kernels.refine({ ...matrix, seed: null }, weights(), negative), /statistics must be positive/);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -100]) {
      const unlike = { ...nothing, inputs: [identity(64)] };
      unlike.inputs[0][0] = value;
      assert.throws(
        () => kernels.refine(matrix, weights(), unlike),
        /statistics must be finite sums of squares: the mean/,
      );
    }
  });

  test.run();
}
