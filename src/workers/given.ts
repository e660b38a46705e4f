// Jobs as a caller gives them to a pool. Arrays of other sizes than the matrix says would have the kernels read beside them, in a worker.

import {
  flag,
  integer,
  list,
  member,
  needed,
  nullable,
  number,
  object,
  oneOf,
  powerOfTwo,
  refuseKind,
  typedArray,
} from '../check.ts';
import { show } from '../excerpt.ts';
import { CODE_BITS } from '../grids/name.ts';
import { givenKept, TABLE_ENTRIES } from '../grids/trellis.ts';
import type { Codes } from '../kernels/kernels.ts';
import { bytesPerRow, COLS_LIMIT, type CodeGrid, GROUP_SIZES, groupsPerRow, ROWS_LIMIT } from '../kernels/layout.ts';
import { bytesPerWeight, type Matrix, type Weights } from '../kernels/operands.ts';
import { FACTOR_COLS } from '../kernels/sizes.ts';
import type { Weighing } from '../kernels/weighing.ts';
import type { Job } from './jobs.ts';
import type { Pool } from './pool.ts';

/** A pool for callers: it checks its jobs. */
export function withJobs(pool: Pool): Pool {
  return { ...pool, run: async (job) => pool.run(givenJob(job) as typeof job) };
}

const kindOf = oneOf('encode', 'refine', 'gain', 'dequantize', 'compare', 'ready');
const dtypeOf = oneOf('F32', 'F16', 'BF16', 'F8_E4M3');
const plainDtypeOf = oneOf('F32', 'F16', 'BF16');
const whole = integer(0);
const encodeOptions = object<{ firstRow?: number; scaleSearch?: boolean }>('an object', {
  firstRow: whole,
  scaleSearch: flag,
});
const matrixMembers = object<Matrix>('a matrix', {
  rows: needed(integer(0, ROWS_LIMIT)),
  cols: needed(integer(0, COLS_LIMIT)),
  grid: needed(givenGrid),
  groupSize: needed(powerOfTwo(GROUP_SIZES.low, GROUP_SIZES.high)),
  seed: needed(nullable(integer(0, 0xffffffff))),
});

function givenJob(value: unknown): Job {
  if (typeof value !== 'object' || value === null) refuseKind('job', 'an object', value);
  const of = (key: string) => member('job', value as object, key);
  const kind = kindOf('job.kind', of('kind'));
  if (kind === 'ready') return { kind };
  const matrix = matrixMembers('job.matrix', of('matrix'));
  if (kind === 'encode') {
    return {
      kind,
      matrix,
      weights: givenWeights(of('weights'), matrix),
      options: encodeOptions('job.options', of('options')),
    };
  }
  if (kind === 'refine' || kind === 'gain') {
    return {
      kind,
      matrix,
      weights: givenWeights(of('weights'), matrix),
      weighing: givenWeighing(of('weighing'), matrix),
    };
  }
  const codes = givenCodes(of('codes'), matrix);
  if (kind === 'compare') return { kind, matrix, codes, weights: givenWeights(of('weights'), matrix) };
  const dtype = plainDtypeOf('job.dtype', of('dtype'));
  return { kind, matrix, codes, dtype, firstRow: whole('job.firstRow', of('firstRow')) };
}

function givenGrid(subject: string, value: unknown): CodeGrid {
  if (typeof value !== 'object' || value === null) refuseKind(subject, 'a grid', value);
  const of = (key: string) => member(subject, value as object, key);
  const bits = oneOf(...CODE_BITS)(`${subject}.bits`, of('bits'));
  const tables = of('tables');
  if (tables === undefined) {
    const p = integer(1, 4)(`${subject}.p`, of('p'));
    return { p, bits, points: typedArray(Float32Array, p * 2 ** bits)(`${subject}.points`, of('points')) };
  }
  const keptGrids = of('kept');
  const kept = keptGrids === undefined ? undefined : givenKept(`${subject}.kept`, keptGrids);
  const [least, most] = kept === undefined ? [2, 4] : [3, 6];
  return {
    p: 1,
    bits: integer(least, most)(`${subject}.bits`, bits),
    tables: typedArray(Uint8Array, (kept === undefined ? 3 : 2) * TABLE_ENTRIES)(`${subject}.tables`, tables),
    step: number(0)(`${subject}.step`, of('step')),
    zero: integer(0, bits === 6 ? 255 : 127)(`${subject}.zero`, of('zero')),
    ...(kept && { kept }),
  };
}

function givenWeights(value: unknown, { rows, cols }: Matrix): Weights {
  if (typeof value !== 'object' || value === null) refuseKind('job.weights', 'an object', value);
  const of = (key: string) => member('job.weights', value as object, key);
  const dtype = dtypeOf('job.weights.dtype', of('dtype'));
  const bytes = ownBuffer(
    typedArray(Uint8Array, rows * cols * bytesPerWeight[dtype])('job.weights.bytes', of('bytes')),
  );
  const factors = of('factors');
  if (factors === undefined) return { bytes, dtype };
  const count = rows * Math.ceil(cols / FACTOR_COLS);
  return { bytes, dtype, factors: typedArray(Float32Array, count)('job.weights.factors', factors) };
}

// Blocks on the diagonal must come to the columns, each square.
function givenWeighing(value: unknown, { rows, cols }: Matrix): Weighing {
  if (typeof value !== 'object' || value === null) refuseKind('job.weighing', 'an object', value);
  const of = (key: string) => member('job.weighing', value as object, key);
  const floats = typedArray(Float32Array);
  const inputs = list(floats, cols)('job.weighing.inputs', of('inputs')).map(ownBuffer);
  const widths = inputs.map(({ length }) => Math.round(Math.sqrt(length)));
  const isSquare = widths.every((width, i) => width * width === inputs[i].length && width > 0);
  if (!isSquare || widths.reduce((sum, width) => sum + width, 0) !== cols)
    throw new RangeError(`job.weighing.inputs must be square blocks of ${cols} columns together: got ${show(widths)}`);
  const damping = number(0)('job.weighing.damping', of('damping'));
  const outputDamping = number(0)('job.weighing.outputDamping', of('outputDamping'));
  const outputs = of('outputs');
  if (outputs === undefined) return { inputs, damping, outputDamping };
  const square = ownBuffer(typedArray(Float32Array, rows * rows)('job.weighing.outputs', outputs));
  return { inputs, outputs: square, damping, outputDamping };
}

function givenCodes(value: unknown, { rows, cols, grid, groupSize }: Matrix): Codes {
  if (typeof value !== 'object' || value === null) refuseKind('job.codes', 'an object', value);
  const of = (key: string) => member('job.codes', value as object, key);
  const packed = typedArray(Uint8Array, rows * bytesPerRow(cols, grid))('job.codes.packed', of('packed'));
  const scales = typedArray(Uint16Array, rows * groupsPerRow(cols, groupSize))('job.codes.scales', of('scales'));
  return { packed: ownBuffer(packed), scales: ownBuffer(scales) };
}

// What is shared between threads cannot be given away to a worker.
function ownBuffer<T extends Uint8Array | Uint16Array | Float32Array>(array: T): T & { buffer: ArrayBuffer } {
  return (array.buffer instanceof ArrayBuffer ? array : array.slice()) as T & { buffer: ArrayBuffer };
}
