// The two halves of a layer, step by step. Every thread runs every step on its share of rows, heads or tokens; an element is computed
// whole by one thread, so their number changes no bit. Nothing is allocated.

import { dtypeCodes } from '../kernels/layout.ts';
import { applyLinear, integerInput, type Linear, partsOf, ROWS_APART, type Rotation, rotateParts } from './linear.ts';
import type { Layer, State } from './state.ts';
import { share, type Thread } from './team.ts';

/** x += attention(norm(x)) for `count` tokens, the first at `position`; their keys and values go to the cache. */
export function attentionLayer(thread: Thread, state: State, layer: Layer, count: number, position: number): void {
  mixTokens(thread, state, layer, count, position);
  rotateTokens(thread, layer.outputRotations, count);
  addProduct(thread, state, layer.output, count);
  thread.barrier();
}

/** Attention up to the input of its output matrix. */
export function mixTokens(thread: Thread, state: State, layer: Layer, count: number, position: number): void {
  projectTokens(thread, state, layer, count);
  placeHeads(thread, state, layer, count, position);
  thread.barrier();
  mixHeads(thread, state, layer, count, position);
  thread.barrier();
}

/** Queries, keys and values of `count` tokens. */
export function projectTokens(thread: Thread, state: State, layer: Layer, count: number): void {
  const { q, k, v } = state;
  normTokens(thread, state, layer.attentionNorm, layer.attentionRotations, 0, count);
  thread.barrier();
  apply(thread, state, layer.q, count, q);
  apply(thread, state, layer.k, count, k);
  apply(thread, state, layer.v, count, v);
  thread.barrier();
}

/** x += down(silu(gate(norm(x))) ∘ up(norm(x))) for `count` tokens. */
export function feedForwardLayer(thread: Thread, state: State, layer: Layer, count: number): void {
  const { kernels, index } = thread;
  const { gate, up } = state;
  const { hidden } = state.config;
  normTokens(thread, state, layer.feedForwardNorm, layer.feedForwardRotations, 0, count);
  thread.barrier();
  apply(thread, state, layer.gate, count, gate);
  apply(thread, state, layer.up, count, up);
  const first = share(index, thread.count, hidden, ROWS_APART);
  const end = share(index + 1, thread.count, hidden, ROWS_APART);
  for (let j = 0; j < count; j++) {
    const at = (j * hidden + first) * 4;
    kernels.siluTimes(gate + at, up + at, end - first);
  }
  thread.barrier();
  rotateTokens(thread, layer.downRotations, count);
  addProduct(thread, state, layer.down, count);
  thread.barrier();
}

/** Norms tokens `from` to `end` of the residual stream and rotates them as the matrices that read them want. */
export function normTokens(
  thread: Thread,
  state: State,
  weights: number,
  rotations: readonly Rotation[],
  from: number,
  end: number,
): void {
  const { kernels, index, count } = thread;
  const { x, normed } = state;
  const { dim, epsilon } = state.config;
  const first = from + share(index, count, end - from, 1);
  const last = from + share(index + 1, count, end - from, 1);
  if (first === last) return;
  kernels.rmsNorm(x + first * dim * 4, weights, last - first, dim, epsilon, normed + first * dim * 4);
  for (let i = 0; i < rotations.length; i++) {
    const parts = partsOf(rotations[i]);
    rotateParts(kernels, rotations[i], first * parts, last * parts);
    integerInput(kernels, rotations[i], first, last);
  }
}

/** This thread's rows of a product with its input, for `count` tokens from token `from` of the input on, to `y`. */
export function apply(thread: Thread, state: State, linear: Linear, count: number, y: number, from = 0): void {
  const { kernels, index } = thread;
  const first = share(index, thread.count, linear.rows, ROWS_APART);
  const end = share(index + 1, thread.count, linear.rows, ROWS_APART);
  applyLinear(kernels, linear, from, count, y, first, end, state.scratch[index]);
}

/** x += W input, each thread its own rows of both. */
export function addProduct(thread: Thread, state: State, linear: Linear, count: number): void {
  const { kernels, index } = thread;
  const { x, y } = state;
  const { rows } = linear;
  apply(thread, state, linear, count, y);
  const first = share(index, thread.count, rows, ROWS_APART);
  const end = share(index + 1, thread.count, rows, ROWS_APART);
  for (let j = 0; j < count; j++) kernels.add(x + (j * rows + first) * 4, y + (j * rows + first) * 4, end - first);
}

function rotateTokens(thread: Thread, rotations: readonly Rotation[], count: number): void {
  if (rotations.length === 0) return;
  for (let i = 0; i < rotations.length; i++) {
    const parts = count * partsOf(rotations[i]);
    const first = share(thread.index, thread.count, parts, 1);
    rotateParts(thread.kernels, rotations[i], first, share(thread.index + 1, thread.count, parts, 1));
  }
  thread.barrier();
  if (rotations[0].integers === 0) return;
  for (let i = 0; i < rotations.length; i++) {
    const first = share(thread.index, thread.count, count, 1);
    integerInput(thread.kernels, rotations[i], first, share(thread.index + 1, thread.count, count, 1));
  }
  thread.barrier();
}

/** Queries and keys are normed, if the model does so, and turned to their positions; keys and values go to the cache. */
export function placeHeads(thread: Thread, state: State, layer: Layer, count: number, position: number): void {
  // The heads of all three in a row are shared among the threads: heads of q, of k, of v.
  const { kernels, index } = thread;
  const { angles, q, k, v, cacheWidth } = state;
  const { heads, kvHeads, headDim, epsilon, rope, contextLength } = state.config;
  const total = heads + 2 * kvHeads;
  const first = share(index, thread.count, total, 1);
  const end = share(index + 1, thread.count, total, 1);
  const bytes = headDim * 4;
  for (let head = first; head < end; head++) {
    const isQuery = head < heads;
    const isKey = !isQuery && head < heads + kvHeads;
    const own = isQuery ? head : isKey ? head - heads : head - heads - kvHeads;
    const stride = (isQuery ? heads : kvHeads) * bytes;
    const norm = isQuery ? layer.qNorm : isKey ? layer.kNorm : 0;
    const cache = (isKey ? layer.keys : layer.values) + (own * contextLength + position) * headDim * cacheWidth;
    for (let j = 0; j < count; j++) {
      const at = (isQuery ? q : isKey ? k : v) + j * stride + own * bytes;
      if (norm !== 0) kernels.rmsNorm(at, norm, 1, headDim, epsilon, at);
      if (isQuery || isKey) kernels.rope(at, 1, headDim / 2, angles + j * bytes, rope.interleaved ? 1 : 0);
      if (isQuery) continue;
      const to = cache + j * headDim * cacheWidth;
      if (cacheWidth === 2) kernels.f32ToF16(at, to, headDim);
      else kernels.widen(at, dtypeCodes.F32, 0, headDim, to);
    }
  }
}

/** Attention of this thread's query heads, those of one head of keys and values together. */
export function mixHeads(thread: Thread, state: State, layer: Layer, count: number, position: number): void {
  const { kernels, index } = thread;
  const { q, mixed, cacheWidth, tile, span } = state;
  const { heads, kvHeads, headDim, contextLength } = state.config;
  const group = heads / kvHeads;
  const end = share(index + 1, thread.count, heads, 1);
  for (let head = share(index, thread.count, heads, 1); head < end; ) {
    const kv = Math.floor(head / group);
    const together = Math.min(end, (kv + 1) * group) - head;
    const cache = kv * contextLength * headDim * cacheWidth;
    kernels.attend(
      q + head * headDim * 4,
      mixed + head * headDim * 4,
      count,
      together,
      heads * headDim,
      headDim,
      layer.keys + cache,
      layer.values + cache,
      cacheWidth === 2 ? 1 : 0,
      position,
      layer.window,
      1 / Math.sqrt(headDim),
      tile,
      span,
      state.scratch[index],
    );
    head += together;
  }
}
