// The forward pass of one batch of tokens, as every thread of a team runs it.

import { apply, attentionLayer, feedForwardLayer, normTokens } from './layer.ts';
import { decodeRow } from './linear.ts';
import type { State } from './state.ts';
import { share, type Thread } from './team.ts';

/** What a pass does. */
export interface Pass {
  /** Tokens, whose ids are in memory. */
  count: number;
  /** Position of the first. */
  position: number;
  /** Tokens at the end whose hidden states are normed, and of which logits are computed. */
  outputs: number;
  /** Whether logits are wanted, or hidden states alone. */
  logits: boolean;
}

/** A pass in the words that all threads read. */
export function wordsOf({ count, position, outputs, logits }: Pass): number[] {
  return [count, position, outputs, logits ? 1 : 0];
}

export function passOf([count, position, outputs, logits]: Int32Array): Pass {
  return { count: count!, position: position!, outputs: outputs!, logits: logits === 1 };
}

/**
 * Runs a pass: ids to cache entries, and to hidden states or logits as the pass asks.
 * @param ids view of the ids in memory
 * @param emit called on thread 0 when logits of outputs `first` to `first + count` lie in memory; they are overwritten after
 */
export function forwardPass(
  thread: Thread,
  state: State,
  pass: Pass,
  ids: Int32Array,
  emit?: (first: number, count: number) => void,
): void {
  const { count, position } = pass;
  embed(thread, state, ids, count, position);
  thread.barrier();
  runLayers(thread, state, 0, state.layers.length, count, position);
  if (pass.outputs === 0) return;
  const from = count - pass.outputs;
  normTokens(thread, state, state.norm, pass.logits ? state.headRotations : [], from, count);
  thread.barrier();
  if (pass.logits) headOutputs(thread, state, from, count, emit);
}

/** Layers `from` to `end`, over the residual stream of `count` tokens. */
export function runLayers(
  thread: Thread,
  state: State,
  from: number,
  end: number,
  count: number,
  position: number,
): void {
  for (let i = from; i < end; i++) {
    attentionLayer(thread, state, state.layers[i], count, position);
    feedForwardLayer(thread, state, state.layers[i], count);
  }
}

/** Token embeddings to the residual stream; the cosines and sines of their positions. */
export function embed(thread: Thread, state: State, ids: Int32Array, count: number, position: number): void {
  const { kernels, index } = thread;
  const { x, angles, frequencies, embedding } = state;
  const { dim, headDim } = state.config;
  const end = share(index + 1, thread.count, count, 1);
  for (let j = share(index, thread.count, count, 1); j < end; j++) {
    decodeRow(kernels, embedding, ids[j], x + j * dim * 4, state.scratch[index]);
    kernels.angles(frequencies, headDim / 2, position + j, angles + j * headDim * 4);
  }
}

// Logits of tokens `from` to `end`, as many at a time as there is room for.
function headOutputs(
  thread: Thread,
  state: State,
  from: number,
  end: number,
  emit?: (first: number, count: number) => void,
): void {
  const { head, logits, logitRows } = state;
  for (let first = from; first < end; first += logitRows) {
    const rows = Math.min(logitRows, end - first);
    apply(thread, state, head, rows, logits, first);
    thread.barrier();
    if (thread.index === 0) emit?.(first - from, rows);
    thread.barrier();
  }
}
