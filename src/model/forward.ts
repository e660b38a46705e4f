// The forward pass, as every thread of a team runs it: from memory to memory, where there are several.
//
//   memory 0    ids → x (batch, dim) · vectors for all layers · blocks 0, 1, … on x
//   memory 1    x, copied · further blocks on x            each memory has angles of its own for the pass
//   the last    rows of x that are asked for → norm → hidden states, or head → logits, as many rows at a time as there is room for
//
// Where a step reads what other threads wrote a barrier stands before it. An element is one thread's from its first product to its last sum.

import type { DecoderExports } from '../kernels/decoder/exports.ts';
import type { LinearMemory } from '../kernels/decoder/instantiate.ts';
import { runBlock } from './blocks/blocks.ts';
import { embedLayers } from './blocks/perlayer.ts';
import { copyAcross } from './cache.ts';
import { decodeRow } from './linear.ts';
import type { ModelState } from './memories.ts';
import type { Pass } from './pass.ts';
import type { State } from './state.ts';
import { applyHead, normOutputs, turnTo } from './steps.ts';
import { share, type Thread } from './team.ts';

/** A thread in one of the model's memories. */
export interface Seat {
  /** The thread. */
  readonly thread: Thread;
  /** A view of the memory. */
  readonly floats: Float32Array;
}

/** A thread's seats in all memories. @param kernels its own, by memory */
export function seatsOf(thread: Thread, kernels: readonly DecoderExports[], memories: readonly LinearMemory[]): Seat[] {
  return memories.map(({ buffer }, i) => ({
    thread: { ...thread, kernels: kernels[i], ints: new Int32Array(buffer) },
    floats: new Float32Array(buffer),
  }));
}

/**
 * Runs a pass: ids to cache entries, and to hidden states or logits of its outputs, one after the other.
 * @param ids view of the ids in memory
 * @param emit called on thread 0 when logits of outputs `first` to `first + count` lie in memory; they are overwritten after
 */
export function forwardPass(
  seats: readonly Seat[],
  state: ModelState,
  pass: Pass,
  ids: Int32Array,
  emit?: (first: number, count: number) => void,
): void {
  const { memories, blocks, memoryOf, endMemory } = state;
  embedTokens(seats[0].thread, state, pass, ids);
  for (let memory = 0; memory < memories.length; memory++) placeAngles(seats[memory].thread, memories[memory], pass);
  seats[0].thread.barrier();
  embedLayers(seats[0].thread, state, pass.count, ids);
  let memory = 0;
  for (let i = 0; i < blocks.length; i++) {
    goTo(memoryOf[i]);
    runBlock(seats[memory].thread, memories[memory], blocks[i], pass);
  }
  const outputs = outputsOf(pass);
  if (outputs.length === 0) return;
  goTo(endMemory);
  const { thread } = seats[endMemory];
  const endState = memories[endMemory];
  normOutputs(thread, endState, state.norm, pass.logits ? state.rotations : [], outputs);
  thread.barrier();
  if (!pass.logits) return;
  for (let first = 0; first < outputs.length; first += state.logitRows) {
    const rows = Math.min(state.logitRows, outputs.length - first);
    applyHead(thread, endState, state, rows, first);
    thread.barrier();
    if (thread.index === 0) emit?.(first, rows);
    thread.barrier();
  }

  // The residual stream goes to another memory, each thread its share of the tokens.
  function goTo(next: number): void {
    if (next === memory) return;
    const { thread, floats } = seats[memory];
    const first = share(thread.index, thread.count, pass.count, 1);
    const end = share(thread.index + 1, thread.count, pass.count, 1);
    const copy = (from: number, to: number, cols: number) =>
      seats[next].floats.set(floats.subarray(from / 4 + first * cols, from / 4 + end * cols), to / 4 + first * cols);
    copy(memories[memory].x, memories[next].x, state.dim);
    copy(memories[memory].perLayer, memories[next].perLayer, state.perLayerFloats);
    for (const { from, to } of state.replicas) {
      if (to.memory !== next || thread.index > 0) continue;
      for (const { start, position, count } of pass.segments) {
        copyAcross(seats[from.memory].floats, from.cache, seats[next].floats, to.cache, start + position, count);
      }
    }
    thread.barrier();
    memory = next;
  }
}

/** Token embeddings to the residual stream. */
export function embedTokens(
  { kernels, index, count: threads }: Thread,
  { x, dim, embedding, embeddingScale, scratch }: ModelState,
  { count }: Pass,
  ids: Int32Array,
): void {
  const end = share(index + 1, threads, count, 1);
  for (let j = share(index, threads, count, 1); j < end; j++) {
    decodeRow(kernels, embedding, ids[j], x + j * dim * 4, scratch[index]);
    if (embeddingScale !== 1) kernels.scale(x + j * dim * 4, embeddingScale, dim);
  }
}

/** Cosines and sines of the tokens' positions. */
export function placeAngles(
  { kernels, index, count: threads }: Thread,
  { ropes }: State,
  { count, segments }: Pass,
): void {
  const first = share(index, threads, count, 1);
  const end = share(index + 1, threads, count, 1);
  let token = 0;
  for (const segment of segments) {
    const last = Math.min(end, token + segment.count);
    for (let j = Math.max(first, token); j < last; j++) {
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
