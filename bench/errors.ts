// What encoding loses: t² of every HIGGS scheme and of the other data-free quantizers, at counted bits per weight.

import type { Grid } from '../src/grids/grid.ts';
import { bitsPerWeight } from '../src/quantize/scheme.ts';
import { normals } from '../tests/bits.ts';
import { baselines } from './baselines.ts';
import { encodeF32 } from './encode.ts';
import { COLS, GROUP_SIZE, type Operands, type PlacedGrid } from './operands.ts';
import type { Column, Row, Table } from './table.ts';

export const BPW: Column = { title: 'bpw', key: 'bitsPerWeight', text: (bits) => bits.toFixed(3) };
export const GAUSSIAN: Column = { title: 't², Gaussian', key: 'gaussianT2', text: (t2) => t2.toFixed(5) };

const ERROR_ROWS = 64;

/** Bits per weight of a HIGGS scheme. */
export function schemeBits(grid: Grid): number {
  return bitsPerWeight(1, COLS, { grid, groupSize: GROUP_SIZE, seed: 0 });
}

/** Errors of every scheme and baseline on more weights, Gaussian and with heavy tails (Student's t with four degrees of freedom). */
export function errorTable(operands: Operands): Table {
  const samples = { gaussianT2: normals(ERROR_ROWS * COLS, 5), studentT2: students(ERROR_ROWS * COLS) };
  const errors = (restore: (weights: Float32Array) => Float32Array) =>
    Object.fromEntries(Object.entries(samples).map(([key, weights]) => [key, t2(weights, restore(weights))]));
  return {
    title: 'Relative error t² at counted bits per weight, groups of 1024 in HIGGS schemes',
    columns: [BPW, GAUSSIAN, { ...GAUSSIAN, title: 't², Student-t (ν = 4)', key: 'studentT2' }],
    rows: [
      ...operands.grids.map((grid): Row => {
        return {
          name: `error ${grid.name}`,
          measure: () => ({
            bitsPerWeight: schemeBits(grid.grid),
            ...errors((weights) => restoreHiggs(operands, grid, weights)),
          }),
        };
      }),
      ...Object.entries(baselines).map(([name, baseline]): Row => {
        return {
          name: `error ${name}`,
          measure: () => ({
            bitsPerWeight: baseline(new Float32Array(COLS), 1, COLS).bitsPerWeight,
            ...errors((weights) => baseline(weights, ERROR_ROWS, COLS).dequantized),
          }),
        };
      }),
    ],
  };
}

// Encodes and dequantizes, so many rows at a time as the operands have.
function restoreHiggs(operands: Operands, grid: PlacedGrid, weights: Float32Array): Float32Array {
  const { kernels, memory, rows, count, masks, packed, scales, y, scratch } = operands;
  const { table, p, bits } = grid;
  const restored = new Float32Array(weights.length);
  for (let start = 0; start < weights.length; start += count) {
    const part = weights.subarray(start, start + count);
    memory.floats(y, part.length).set(part);
    encodeF32(operands, grid, y);
    kernels.dequantize(packed, scales, rows, COLS, masks, GROUP_SIZE, table, p, bits, y, scratch);
    restored.set(memory.floats(y, part.length), start);
  }
  return restored;
}

function students(count: number): Float32Array {
  const [z, chi] = [normals(count, 6), normals(count * 4, 7)];
  return z.map((value, i) => {
    const squares = chi.subarray(i * 4, i * 4 + 4).reduce((sum, c) => sum + c * c, 0);
    return value / Math.sqrt(squares / 4);
  });
}

/** ‖w − ŵ‖² / ‖w‖². */
export function t2(weights: Float32Array, restored: Float32Array): number {
  let [error, norm] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    error += (weights[i] - restored[i]) ** 2;
    norm += weights[i] ** 2;
  }
  return error / norm;
}
