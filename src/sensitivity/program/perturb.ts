// Noise on one weight, and what it does to the predictions: KL(clean ‖ noised) of the next token, or the increase of −ln p of the text's.

import { dtypeCodes } from '../../kernels/layout.ts';
import type { DenseLinear } from '../../model/linear.ts';
import { applyHead, normTokens } from '../../model/steps.ts';
import { exp, logSumExp } from '../../numerics/exponential.ts';
import { fillNormals, USE } from '../../numerics/stream.ts';
import { weightsAt } from './measured.ts';
import { type Measuring, partOf } from './measuring.ts';
import type { TaskOf } from './task.ts';

/** N(0, 1) in the shape of a matrix; a row depends on nothing but what the task names. */
export function drawNoise(measuring: Measuring, { block, place, stream, seed, sequence, draw }: TaskOf<'draw'>): void {
  const { state, workspace, floats } = measuring;
  const { rows, cols } = weightsAt(state, block)[place];
  const index = workspace.noise!.noise / 4;
  const [first, end] = partOf(measuring, rows);
  for (let r = first; r < end; r++) {
    const row = floats.subarray(index + r * cols, index + (r + 1) * cols);
    fillNormals(row, seed, (USE.noise << 24) | stream, sequence * 65536 + draw, r);
  }
}

/** W + scale · noise, in f32. */
export function perturb(measuring: Measuring, { block, place, scale }: TaskOf<'perturb'>): void {
  const { thread, state, workspace, floats } = measuring;
  const { noise, weights } = workspace.noise!;
  const linear = weightsAt(state, block)[place] as DenseLinear;
  const { rows, cols } = linear;
  const [first, end] = partOf(measuring, rows);
  for (let r = first; r < end; r++) {
    const to = weights + r * cols * 4;
    thread.kernels.widen(linear.weights + r * linear.rowBytes, dtypeCodes[linear.dtype], 0, cols, to);
    for (let i = r * cols; i < (r + 1) * cols; i++) floats[weights / 4 + i] += scale * floats[noise / 4 + i];
  }
}

/** Logits of tokens `first` to `first + count`, and probabilities, of the model as it is; −ln p of the text's ids to `sums`. */
export function keepLogits(measuring: Measuring, { first, count }: TaskOf<'keep'>): void {
  const { state, workspace, floats, doubles, ints } = measuring;
  const { sums, targets } = workspace;
  const { logits, probabilities, logSums } = workspace.noise!;
  const { vocabSize } = state;
  eachToken(measuring, first, count, (token, row) => {
    const index = token * vocabSize;
    floats.set(row, logits / 4 + index);
    const sum = logSumExp(row);
    doubles[logSums / 8 + token] = sum;
    for (let i = 0; i < vocabSize; i++) floats[probabilities / 4 + index + i] = exp(row[i] - sum);
    doubles[sums / 8 + token] = sum - row[ints[targets / 4 + token]];
  });
}

/** The loss of every token of `first` to `first + count` to `sums`: KL, or the increase of −ln p. */
export function compareLogits(measuring: Measuring, { first, count, text }: TaskOf<'compare'>): void {
  const { state, workspace, floats, doubles, ints } = measuring;
  const { sums, targets } = workspace;
  const { logits, probabilities, logSums } = workspace.noise!;
  const { vocabSize } = state;
  eachToken(measuring, first, count, (token, row) => {
    const index = token * vocabSize;
    const clean = floats.subarray(logits / 4 + index, logits / 4 + index + vocabSize);
    const p = floats.subarray(probabilities / 4 + index, probabilities / 4 + index + vocabSize);
    const shift = doubles[logSums / 8 + token] - logSumExp(row);
    const target = ints[targets / 4 + token];
    doubles[sums / 8 + token] = text ? clean[target] - row[target] - shift : divergence(p, clean, row, shift);
  });
}

// Σ p (ln p − ln q), where ln p − ln q is the difference of logits less that of their logarithmic sums.
function divergence(p: Float32Array, clean: Float32Array, noised: Float32Array, shift: number): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += p[i] * (clean[i] - noised[i] - shift);
  return sum;
}

// Logits of tokens, each given to one thread.
function eachToken(
  measuring: Measuring,
  first: number,
  count: number,
  work: (token: number, row: Float32Array) => void,
): void {
  const { thread, state, floats } = measuring;
  const { vocabSize } = state;
  normTokens(thread, state, state.norm, [], first, first + count);
  thread.barrier();
  applyHead(thread, state, state, count, first);
  thread.barrier();
  const [from, end] = partOf(measuring, count);
  for (let j = from; j < end; j++) {
    const index = state.logits / 4 + j * vocabSize;
    work(first + j, floats.subarray(index, index + vocabSize));
  }
}
