// The forward pass, as every thread of a team runs it.

import { runBlock } from './blocks/blocks.ts';
import type { ModelState } from './layout.ts';
import { decodeRow } from './linear.ts';
import type { Pass } from './pass.ts';
import type { State } from './state.ts';
import { applyHead, normOutputs, turnTo } from './steps.ts';
import { share, type Thread } from './team.ts';

/**
 * Runs a pass: ids to cache entries, and to hidden states or logits of its outputs, one after the other.
 * @param ids view of the ids in memory
 * @param emit called on thread 0 when logits of outputs `first` to `first + count` lie in memory; they are overwritten after
 */
export function forwardPass(
  thread: Thread,
  state: ModelState,
  pass: Pass,
  ids: Int32Array,
  emit?: (first: number, count: number) => void,
): void {
  embed(thread, state, pass, ids);
  thread.barrier();
  for (let i = 0; i < state.blocks.length; i++) runBlock(thread, state, state.blocks[i], pass);
  const outputs = outputsOf(pass);
  if (outputs.length === 0) return;
  normOutputs(thread, state, pass.logits ? state.headRotations : [], outputs);
  thread.barrier();
  if (!pass.logits) return;
  for (let first = 0; first < outputs.length; first += state.logitRows) {
    const rows = Math.min(state.logitRows, outputs.length - first);
    applyHead(thread, state, rows, first);
    thread.barrier();
    if (thread.index === 0) emit?.(first, rows);
    thread.barrier();
  }
}

/** Token embeddings to the residual stream; the cosines and sines of their positions. */
export function embed(thread: Thread, state: State, { count, segments }: Pass, ids: Int32Array): void {
  const { kernels, index } = thread;
  const { x, dim, ropes, embedding, embeddingScale } = state;
  const first = share(index, thread.count, count, 1);
  const end = share(index + 1, thread.count, count, 1);
  let token = 0;
  for (const segment of segments) {
    const last = Math.min(end, token + segment.count);
    for (let j = Math.max(first, token); j < last; j++) {
      decodeRow(kernels, embedding, ids[j], x + j * dim * 4, state.scratch[index]);
      if (embeddingScale !== 1) kernels.scale(x + j * dim * 4, embeddingScale, dim);
      for (const rope of ropes) turnTo(kernels, rope, segment.position + j - token, rope.angles + j * rope.width * 4);
    }
    token += segment.count;
  }
}

// The tokens that are put out: the last ones of each segment.
function outputsOf({ segments }: Pass): number[] {
  const rows: number[] = [];
  let token = 0;
  for (const { count, outputs } of segments) {
    for (let j = count - outputs; j < count; j++) rows.push(token + j);
    token += count;
  }
  return rows;
}
