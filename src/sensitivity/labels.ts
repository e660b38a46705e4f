// Labels sampled from the model's own predictions, and the gradients of their log p with respect to the last residual stream:
// of the logits it is onehot(label) − p, so the head gives row `label` of its matrix less the rows' mean under p, which all draws share.

import { dtypeCodes } from '../kernels/layout.ts';
import { apply, normTokens } from '../model/layer.ts';
import { type DenseLinear, decodeRow, ROWS_APART } from '../model/linear.ts';
import { logSumExp } from '../numerics/exponential.ts';
import { USE, uniformStream } from '../numerics/stream.ts';
import { keepOutputs } from './embeddings.ts';
import { type Measuring, partOf, savedAt } from './measuring.ts';
import type { Task } from './task.ts';

/**
 * Labels and gradients of tokens `first` to `first + count`, at most as many as there is room for logits; −ln p of the text's ids
 * and squared norms of the head's gradients to `sums`.
 */
export function sampleLabels(measuring: Measuring, { first, count, seed, sequence }: Required<Task>): void {
  const { thread, state, workspace, floats, doubles, ints } = measuring;
  const { kernels, barrier } = thread;
  const { draws, tokens, fisher } = workspace;
  const { probabilities, paddedVocab, labels, expected, dX } = fisher!;
  const { vocabSize, dim, epsilon } = state.config;
  const head = state.head as DenseLinear;
  const logits = state.logits / 4;
  const last = savedAt(measuring, 2 * state.layers.length);

  normTokens(thread, state, state.norm, [], first, first + count);
  barrier();
  apply(thread, state, head, count, state.logits, first);
  barrier();
  const [from, end] = partOf(measuring, count);
  for (let j = from; j < end; j++) {
    const row = probabilities + j * paddedVocab * 4;
    kernels.widen(state.logits + j * vocabSize * 4, dtypeCodes.F32, 0, vocabSize, row);
    kernels.softmax(row, vocabSize);
    const p = floats.subarray(row / 4, row / 4 + vocabSize);
    const sum = p.reduce((total, value) => total + value, 0);
    keepOutputs(measuring, first + j, p, sum);
    const target = ints[workspace.targets / 4 + first + j];
    doubles[workspace.sums / 8 + first + j] =
      logSumExp(floats.subarray(logits + j * vocabSize, logits + (j + 1) * vocabSize)) -
      floats[logits + j * vocabSize + target];
    for (let draw = 0; draw < draws; draw++) {
      const random = uniformStream(seed, (USE.labels << 24) | draw, sequence, first + j);
      ints[labels / 4 + draw * tokens + first + j] = pick(p, random() * sum);
    }
  }
  barrier();
  const [start, stop] = partOf(measuring, dim, ROWS_APART);
  const to = expected + (first * dim + start) * 4;
  for (let j = 0; j < count; j++) floats.fill(0, to / 4 + j * dim, to / 4 + j * dim + stop - start);
  kernels.addTransposed(
    ...([head.weights + start * (head.dtype === 'F32' ? 4 : 2), dtypeCodes[head.dtype]] as const),
    ...([vocabSize, stop - start, dim, probabilities, count, paddedVocab, to, dim] as const),
    workspace.scratch[thread.index],
  );
  barrier();
  for (let j = first + from; j < first + end; j++) {
    const mean = expected / 4 + j * dim;
    for (let draw = 0; draw < draws; draw++) {
      const d = dX + (draw * tokens + j) * dim * 4;
      decodeRow(kernels, head, ints[labels / 4 + draw * tokens + j], d, 0);
      for (let i = 0; i < dim; i++) floats[d / 4 + i] -= floats[mean + i];
      kernels.rmsNormBack(last + j * dim * 4, state.norm, d, 1, dim, epsilon);
    }
  }
}

// The first id up to which more than `target` of the probability lies.
function pick(p: Float32Array, target: number): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    sum += p[i];
    if (sum > target) return i;
  }
  return p.length - 1;
}
