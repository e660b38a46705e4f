// Error feedback: without correlations the bytes are those of plain encoding; with them the weighted error falls as predicted.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/higgs.debug.wasm';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';
import { instantiateKernels } from '../src/kernels/instantiate.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { kernelBytes } from '../src/kernels/load.ts';
import { normals, sameBits } from './bits.ts';

const builds = { release: kernelBytes, debug: debugBytes };
const grids = [...smallGrids, ...largeGrids, ...trellises];

function identity(n: number): Float32Array<ArrayBuffer> {
  const square = new Float32Array(n * n);
  for (let i = 0; i < n; i++) square[i * n + i] = 1;
  return square;
}

function bytesOf(values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.buffer);
}

for (const [build, bytes] of Object.entries(builds)) {
  const test = suite(`refine, ${build}`);
  const kernels = wrapKernels(await instantiateKernels(bytes));

  for (const grid of grids) {
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

  test.run();
}
