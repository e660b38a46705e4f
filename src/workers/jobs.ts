// What a worker does: one block of rows through the kernels. Jobs and results are plain data, so that they can be posted.

import type { Codes, Encoded, EncodeOptions, Kernels, PlainDtype } from '../kernels/kernels.ts';
import type { Matrix, Weights } from '../kernels/operands.ts';
import type { Refined } from '../kernels/refine.ts';
import type { Weighing } from '../kernels/weighing.ts';

interface EncodeJob {
  kind: 'encode';
  matrix: Matrix;
  weights: Weights;
  options: EncodeOptions;
}

/** A whole matrix with error feedback; or by what that would lower the loss. */
interface RefineJob {
  kind: 'refine' | 'gain';
  matrix: Matrix;
  weights: Weights;
  weighing: Weighing;
}

interface DequantizeJob {
  kind: 'dequantize';
  matrix: Matrix;
  codes: Codes;
  dtype: PlainDtype;
  firstRow: number;
}

interface CompareJob {
  kind: 'compare';
  matrix: Matrix;
  codes: Codes;
  weights: Weights;
}

/** Nothing but an answer: tells that a worker has its kernels. */
interface ReadyJob {
  kind: 'ready';
}

/** Work on one block of rows. */
export type Job =
  | EncodeJob
  | (RefineJob & { kind: 'refine' })
  | (RefineJob & { kind: 'gain' })
  | DequantizeJob
  | CompareJob
  | ReadyJob;

/** What each kind of job results in. */
export interface Results {
  /** With the buffer of the weights, to be used again. */
  encode: Encoded & { spare: ArrayBuffer };
  /** With the buffer of the weights, to be used again. */
  refine: Refined & { spare: ArrayBuffer };
  /** What feedback would lower the loss by. */
  gain: [gain: number];
  /** Plain rows. */
  dequantize: Uint8Array<ArrayBuffer>;
  /** Sums over the rows. */
  compare: [squaredError: number, squaredNorm: number];
  /** That the worker runs. */
  ready: true;
}

/** Runs a job on the kernels. */
export function runJob<J extends Job>(kernels: Kernels, job: J): Results[J['kind']];
/** Does a job. @returns what `Results` says of its kind */
export function runJob(kernels: Kernels, job: Job): Results[Job['kind']] {
  switch (job.kind) {
    case 'encode':
      return {
        ...kernels.encode(job.matrix, job.weights, job.options),
        spare: job.weights.bytes.buffer as ArrayBuffer,
      };
    case 'refine':
      return {
        ...kernels.refine(job.matrix, job.weights, job.weighing),
        spare: job.weights.bytes.buffer as ArrayBuffer,
      };
    case 'gain':
      return [kernels.gain(job.matrix, job.weights, job.weighing)];
    case 'dequantize':
      return kernels.dequantize(job.matrix, job.codes, job.dtype, job.firstRow);
    case 'compare':
      return kernels.compare(job.matrix, job.codes, job.weights);
    case 'ready':
      return true;
  }
}

/** The buffers of a job or a result that change hands when it is posted: all but the grid's points and small arrays. */
export function buffersOf(value: Job | Results[Job['kind']]): ArrayBuffer[] {
  if (value === true || Array.isArray(value)) return [];
  if (value instanceof Uint8Array) return [value.buffer];
  if ('weighing' in value) {
    const { inputs, outputs } = value.weighing;
    const squares = outputs ? [...inputs, outputs] : inputs;
    return [value.weights.bytes.buffer as ArrayBuffer, ...squares.map(({ buffer }) => buffer)];
  }
  if ('weights' in value) return [value.weights.bytes.buffer as ArrayBuffer];
  if ('sums' in value) {
    const { packed, scales, sums, spare } = value;
    return [packed.buffer, scales.buffer, sums.buffer, spare];
  }
  return [];
}
