// Gradients back through the two halves of a layer. Its activations are computed again from the residual stream that was saved.

import { dtypeCodes } from '../kernels/layout.ts';
import { apply, mixTokens, normTokens } from '../model/layer.ts';
import { type DenseLinear, type Linear, ROWS_APART } from '../model/linear.ts';
import { gradientSquares, inputGram } from './gram.ts';
import { MATRIX } from './matrices.ts';
import { copyTokens, type Measuring, partOf, savedAt } from './measuring.ts';

/** Behind down, silu, gate and up, and the norm before them. */
export function feedForwardBack(measuring: Measuring, index: number): void {
  const { thread, state, workspace, floats } = measuring;
  const { kernels, barrier } = thread;
  const { tokens, draws, fisher } = workspace;
  const { dX, dNormed, dGate, dUp, gate: before } = fisher!;
  const { dim, hidden } = state.config;
  const layer = state.layers[index];
  const { gate, up, normed } = state;

  copyTokens(measuring, savedAt(measuring, 2 * index + 1), state.x);
  normTokens(thread, state, layer.feedForwardNorm, [], 0, tokens);
  barrier();
  apply(thread, state, layer.gate, tokens, gate);
  apply(thread, state, layer.up, tokens, up);
  const [first, end] = partOf(measuring, hidden, ROWS_APART);
  for (let j = 0; j < tokens; j++) {
    const at = (j * hidden + first) * 4;
    floats.copyWithin((before + at) / 4, (gate + at) / 4, (gate + at) / 4 + end - first);
    kernels.siluTimes(gate + at, up + at, end - first);
  }
  transposed(measuring, dGate, [layer.down, dX]);
  barrier();

  inputGram(measuring, gate, hidden);
  gradientSquares(measuring, MATRIX.down, dX, dim);
  const [from, to] = partOf(measuring, draws * tokens);
  for (let i = from; i < to; i++) {
    const [token, vector] = [(i % tokens) * hidden * 4, i * hidden * 4];
    kernels.siluTimesBack(before + token, up + token, dGate + vector, dUp + vector, hidden);
  }
  barrier();
  inputGram(measuring, normed, dim);
  gradientSquares(measuring, MATRIX.gate, dGate, hidden);
  gradientSquares(measuring, MATRIX.up, dUp, hidden);
  transposed(measuring, dNormed, [layer.gate, dGate], [layer.up, dUp]);
  barrier();
  addBehindNorm(measuring, layer.feedForwardNorm, savedAt(measuring, 2 * index + 1));
}

/** Behind the output matrix, attention, rope, the norms of heads, q, k and v, and the norm before them. */
export function attentionBack(measuring: Measuring, index: number): void {
  const { thread, state, workspace } = measuring;
  const { barrier } = thread;
  const { tokens, fisher } = workspace;
  const { dX, dNormed, dMixed, dQ, dK, dV, q, k } = fisher!;
  const { dim, heads, kvHeads, headDim, headNorms } = state.config;
  const layer = state.layers[index];
  const [wide, narrow] = [heads * headDim, kvHeads * headDim];

  copyTokens(measuring, savedAt(measuring, 2 * index), state.x);
  barrier();
  mixTokens(thread, state, layer, tokens, 0);
  if (headNorms) {
    apply(thread, state, layer.q, tokens, q);
    apply(thread, state, layer.k, tokens, k);
  }
  inputGram(measuring, state.mixed, wide);
  gradientSquares(measuring, MATRIX.output, dX, dim);
  transposed(measuring, dMixed, [layer.output, dX]);
  barrier();
  mixBack(measuring, index);
  barrier();
  turnBack(measuring, dQ, heads, layer.qNorm, q);
  turnBack(measuring, dK, kvHeads, layer.kNorm, k);
  barrier();
  inputGram(measuring, state.normed, dim);
  gradientSquares(measuring, MATRIX.q, dQ, wide);
  gradientSquares(measuring, MATRIX.k, dK, narrow);
  gradientSquares(measuring, MATRIX.v, dV, narrow);
  transposed(measuring, dNormed, [layer.q, dQ], [layer.k, dK], [layer.v, dV]);
  barrier();
  addBehindNorm(measuring, layer.attentionNorm, savedAt(measuring, 2 * index));
}

// y = Σ Wᵀ d over pairs of a matrix and the gradients of its outputs: this thread's columns, of all draws and tokens.
function transposed(measuring: Measuring, y: number, ...pairs: readonly (readonly [Linear, number])[]): void {
  const { thread, workspace, floats } = measuring;
  const count = workspace.draws * workspace.tokens;
  const { cols } = pairs[0][0];
  const [first, end] = partOf(measuring, cols, ROWS_APART);
  for (let j = 0; j < count; j++) floats.fill(0, y / 4 + j * cols + first, y / 4 + j * cols + end);
  for (const [linear, d] of pairs) {
    const { weights, dtype, rows } = linear as DenseLinear;
    const from = weights + first * (dtype === 'F32' ? 4 : 2);
    const scratch = workspace.scratch[thread.index];
    const to = y + first * 4;
    thread.kernels.addTransposed(from, dtypeCodes[dtype], rows, end - first, cols, d, count, rows, to, cols, scratch);
  }
}

// dX += the gradients before a norm of x of those behind it, dNormed.
function addBehindNorm(measuring: Measuring, weights: number, x: number): void {
  const { thread, state, workspace } = measuring;
  const { draws, tokens, fisher } = workspace;
  const { dX, dNormed } = fisher!;
  const { dim, epsilon } = state.config;
  const [first, end] = partOf(measuring, tokens);
  for (let draw = 0; draw < draws; draw++) {
    const at = (draw * tokens + first) * dim * 4;
    thread.kernels.rmsNormBack(x + first * dim * 4, weights, dNormed + at, end - first, dim, epsilon);
    thread.kernels.add(dX + at, dNormed + at, (end - first) * dim);
  }
}

// Attention of all query heads that share one head of keys and values, one draw: a piece of work of one thread.
function mixBack(measuring: Measuring, index: number): void {
  const { thread, state, workspace } = measuring;
  const { tokens, draws, fisher } = workspace;
  const { dMixed, dQ, dK, dV } = fisher!;
  const { heads, kvHeads, headDim } = state.config;
  const { keys, values, window } = state.layers[index];
  const group = heads / kvHeads;
  const [first, end] = partOf(measuring, draws * kvHeads);
  for (let i = first; i < end; i++) {
    const [draw, kv] = [Math.floor(i / kvHeads), i % kvHeads];
    const query = kv * group * headDim * 4;
    const wide = draw * tokens * heads * headDim * 4 + query;
    const narrow = (draw * tokens * kvHeads + kv) * headDim * 4;
    const cache = kv * state.config.contextLength * headDim * 4;
    thread.kernels.attendBack(
      ...([state.q + query, dMixed + wide, dQ + wide, tokens, group, heads * headDim, headDim] as const),
      ...([keys + cache, values + cache, dK + narrow, dV + narrow, kvHeads * headDim] as const),
      ...([window, 1 / Math.sqrt(headDim), workspace.scratch[thread.index]] as const),
    );
  }
}

// Gradients of heads back to before rope and, if the model has it, the norm of each head of `x`.
function turnBack(measuring: Measuring, d: number, heads: number, norm: number, x: number): void {
  const { thread, state, workspace } = measuring;
  const { tokens, draws, fisher } = workspace;
  const { headDim, epsilon, rope } = state.config;
  const bytes = headDim * 4;
  const [first, end] = partOf(measuring, draws * tokens);
  for (let i = first; i < end; i++) {
    const token = i % tokens;
    const at = d + i * heads * bytes;
    thread.kernels.rope(at, heads, headDim / 2, fisher!.angles + token * bytes, rope.interleaved ? 1 : 0);
    if (norm === 0) continue;
    for (let head = 0; head < heads; head++) {
      const from = x + (token * heads + head) * bytes;
      thread.kernels.rmsNormBack(from, norm, at + head * bytes, 1, headDim, epsilon);
    }
  }
}
