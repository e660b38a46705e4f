// Forward steps of a measurement: layers whose inputs are saved, and suffixes that start from them.

import { dtypeCodes } from '../kernels/layout.ts';
import { embed } from '../model/forward.ts';
import { attentionLayer, feedForwardLayer } from '../model/layer.ts';
import type { DenseLinear } from '../model/linear.ts';
import { matricesOf, matrixOf, withMatrix } from './matrices.ts';
import { copyTokens, type Measuring, partOf, savedAt } from './measuring.ts';
import type { Task } from './task.ts';

/** Ids to the residual stream, and the angles of their positions, also those of a turn back. */
export function embedTokens(measuring: Measuring): void {
  const { thread, state, workspace, ints } = measuring;
  const { tokens, fisher } = workspace;
  embed(thread, state, ints.subarray(state.ids / 4, state.ids / 4 + tokens), tokens, 0);
  if (!fisher) return;
  const { headDim } = state.config;
  const [first, end] = partOf(measuring, tokens);
  for (let j = first; j < end; j++) {
    thread.kernels.angles(state.frequencies, headDim / 2, -j, fisher.angles + j * headDim * 4);
  }
}

/** A layer, or its feed-forward half alone. */
export function runLayer(measuring: Measuring, { layer: index, half, save, perturbed, matrix }: Required<Task>): void {
  const { thread, state, workspace } = measuring;
  const { tokens } = workspace;
  const own = state.layers[index];
  const layer = perturbed ? withMatrix(own, matrix, perturbedOf(measuring, index, matrix)) : own;
  if (half === 0) {
    if (save) copyTokens(measuring, state.x, savedAt(measuring, 2 * index));
    attentionLayer(thread, state, layer, tokens, 0);
  }
  if (save) copyTokens(measuring, state.x, savedAt(measuring, 2 * index + 1));
  feedForwardLayer(thread, state, layer, tokens);
  if (save && index + 1 === state.layers.length) copyTokens(measuring, state.x, savedAt(measuring, 2 * index + 2));
}

/** A matrix as it stands in the workspace, in f32, with noise. */
export function perturbedOf({ state, workspace }: Measuring, layer: number, matrix: number): DenseLinear {
  const linear = matrixOf(state.layers[layer], matrix) as DenseLinear;
  return { ...linear, dtype: 'F32', rowBytes: linear.cols * 4, weights: workspace.noise!.weights };
}

/**
 * Σ w² of every row of a layer's matrices, one matrix after the other, to `sums`; behind the last layer, of the embeddings and of
 * the head.
 */
export function squareRows(measuring: Measuring, layer: number): void {
  const { thread, state, workspace, floats, doubles } = measuring;
  const row = workspace.scratch[thread.index];
  let at = workspace.sums / 8;
  for (const linear of matricesOf(state, layer)) {
    const { rows, cols, rowBytes, weights, dtype } = linear as DenseLinear;
    const [first, end] = partOf(measuring, rows);
    for (let r = first; r < end; r++) {
      thread.kernels.widen(weights + r * rowBytes, dtypeCodes[dtype], 0, cols, row);
      let sum = 0;
      for (let i = row / 4; i < row / 4 + cols; i++) sum += floats[i] * floats[i];
      doubles[at + r] = sum;
    }
    at += rows;
  }
}
