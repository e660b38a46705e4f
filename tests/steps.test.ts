// The seam of encoding: rotateRows, roundRows and packRows in turn give what encode gives, bit by bit.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { codesPerRow } from '../src/kernels/layout.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { bytesPerWeight, type WeightDtype, type Weights } from '../src/kernels/operands.ts';
import { ROW_MARGIN } from '../src/kernels/sizes.ts';
import { normals, sameBits, uniform } from './bits.ts';

const test = suite('steps');
const kernels = wrapKernels(await loadKernels());

const ROWS = 3;
const dtypes: readonly WeightDtype[] = ['F32', 'F16', 'BF16', 'F8_E4M3'];

// Weights of a dtype; the first sixteen are zeros, and so a group of scale 0 where groups are that small.
function weightsOf(dtype: WeightDtype, cols: number, seed: number): Weights {
  const count = ROWS * cols;
  const next = uniform(seed);
  const arrays = {
    F32: () => normals(count, seed),
    F16: () => Uint16Array.from({ length: count }, () => (next() < 0.5 ? 0x8000 : 0) | (0x2000 + next() * 0x1c00)),
    BF16: () => new Uint16Array(normals(count, seed).buffer).filter((_, i) => i % 2 === 1),
    F8_E4M3: () => Uint8Array.from({ length: count }, () => (next() < 0.5 ? 0x80 : 0) | (next() * 0x70)),
  };
  const bytes = new Uint8Array(arrays[dtype]().buffer);
  bytes.fill(0, 0, Math.min(16, cols) * bytesPerWeight[dtype]);
  const factors = normals(ROWS * Math.ceil(cols / 128), seed + 1);
  return dtype === 'F8_E4M3' ? { bytes, dtype, factors } : { bytes, dtype };
}

for (const grid of [...smallGrids, ...largeGrids, ...trellises]) {
  test(`rotateRows(), roundRows() and packRows() equal encode() for ${grid.name}`, () => {
    for (const [i, cols] of [1, 5, 16, 33, 172, 300, 1000].entries()) {
      for (const [groupSize, seed] of [
        [16, null],
        [64, 7],
      ] as const) {
        const matrix = { rows: ROWS, cols, grid, groupSize, seed };
        const weights = weightsOf(dtypes[i % dtypes.length], cols, cols);
        const label = `${weights.dtype}, ${cols} columns, groups of ${groupSize}`;
        const expected = kernels.encode(matrix, weights);
        const rotated = kernels.rotateRows(matrix, weights);
        const rounded = kernels.roundRows(matrix, rotated);
        sameBits(rotated.scales, expected.scales, `scales, ${label}`);
        sameBits(rounded.sums, expected.sums, `sums, ${label}`);
        sameBits(kernels.packRows(matrix, rounded.codes), expected.packed, `packed, ${label}`);
        assert.is(rounded.codes.length, ROWS * codesPerRow(cols, grid));
        for (let row = 0; row < ROWS; row++) {
          const end = row * (cols + ROW_MARGIN) + cols;
          assert.ok(rotated.z.subarray(end, end + ROW_MARGIN).every((value) => value === 0));
        }
      }
    }
  });
}

test('roundRows() gives what the codes stand for', () => {
  const grid = smallGrids.find(({ name }) => name === 'p2n256')!;
  const matrix = { rows: ROWS, cols: 100, grid, groupSize: 64, seed: 1 };
  const { codes, values } = kernels.roundRows(matrix, kernels.rotateRows(matrix, weightsOf('F32', 100, 3)));
  for (let row = 0; row < ROWS; row++) {
    const points = Float32Array.from(
      { length: 100 },
      (_, i) => grid.points[codes[row * 50 + Math.floor(i / 2)] * 2 + (i % 2)],
    );
    sameBits(values.slice(row * 164, row * 164 + 100), points);
  }
});

test('codes that were rounded otherwise are packed as they are', () => {
  const grid = smallGrids.find(({ name }) => name === 'p1n16')!;
  const matrix = { rows: ROWS, cols: 64, grid, groupSize: 64, seed: 1 };
  const weights = weightsOf('F32', 64, 4);
  const rotated = kernels.rotateRows(matrix, weights);
  const { codes } = kernels.roundRows(matrix, rotated);
  const other = codes.map((code) => code ^ 1);
  const packed = kernels.packRows(matrix, other);
  const [error] = kernels.compare(matrix, { packed, scales: rotated.scales }, weights);
  const [least] = kernels.compare(matrix, { packed: kernels.packRows(matrix, codes), scales: rotated.scales }, weights);
  assert.equal([packed[0] & 15, packed[0] >> 4], [other[0], other[1]]);
  assert.ok(error > least);
});

test('rotateRows() names the weight that is not finite, as encode() does', () => {
  const grid = smallGrids[0];
  const matrix = { rows: ROWS, cols: 40, grid, groupSize: 16, seed: 1 };
  for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY, 1e6]) {
    const values = normals(ROWS * 40);
    values.fill(bad, 2 * 40 + 5, 2 * 40 + 25);
    const weights: Weights = { bytes: new Uint8Array(values.buffer), dtype: 'F32' };
    const messages = [
      () => kernels.rotateRows(matrix, weights, 10),
      () => kernels.encode(matrix, weights, { firstRow: 10 }),
    ].map((run) => {
      try {
        run();
      } catch (error) {
        assert.instance(error, RangeError);
        return (error as Error).message;
      }
      return 'nothing thrown';
    });
    assert.match(messages[0], bad === 1e6 ? /RMS of every group.*row 12/ : /weights must be finite: \[12, 5\]/);
    assert.is(messages[1], messages[0]);
  }
});

test.run();
