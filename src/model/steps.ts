// Steps that blocks are made of. Every thread runs every step on its share of rows or tokens; an element is computed whole by one
// thread, in an order that does not depend on the tokens beside it. So neither threads nor batches change a bit.

import type { DecoderExports } from '../kernels/decoder/exports.ts';
import { dtypeCodes } from '../kernels/layout.ts';
import { applyLinear, integerInput, type Linear, partsOf, ROWS_APART, type Rotation, rotateParts } from './linear.ts';
import type { End, RopeRegions, State } from './state.ts';
import { share, type Thread } from './team.ts';

/**
 * Norms tokens `from` to `end` of the residual stream, 0 for no norm, and rotates them as the matrices that read them want.
 * @param to where they go, (batch, dim)
 */
export function normTokens(
  thread: Thread,
  state: State,
  weights: number,
  rotations: readonly Rotation[],
  from: number,
  end: number,
  to: number = state.normed,
): void {
  const { index, count } = thread;
  const first = from + share(index, count, end - from, 1);
  const last = from + share(index + 1, count, end - from, 1);
  if (first === last) return;
  norm(thread, state, weights, first, last - first, to + first * state.dim * 4);
  rotateWhole(thread, rotations, first, last);
}

/** Norms the tokens of the residual stream that `rows` names to the first places, this thread's share of them. */
export function normOutputs(
  thread: Thread,
  state: State,
  weights: number,
  rotations: readonly Rotation[],
  rows: readonly number[],
): void {
  const first = share(thread.index, thread.count, rows.length, 1);
  const last = share(thread.index + 1, thread.count, rows.length, 1);
  for (let k = first; k < last; k++) norm(thread, state, weights, rows[k], 1, state.normed + k * state.dim * 4);
  rotateWhole(thread, rotations, first, last);
}

// Without a norm the residual stream goes there as it is.
function norm({ kernels }: Thread, state: State, weights: number, from: number, count: number, to: number): void {
  const { x, dim, epsilon } = state;
  if (weights === 0) copyFloats(kernels, x + from * dim * 4, count * dim, to);
  else kernels.rmsNorm(x + from * dim * 4, weights, count, dim, epsilon, to);
}

/** Copies `count` f32. */
export function copyFloats(kernels: DecoderExports, from: number, count: number, to: number): void {
  kernels.widen(from, dtypeCodes.F32, 0, count, to);
}

/** This thread's part of `count` tokens. */
export function tokensOfThread({ index, count: threads }: Thread, count: number): [first: number, end: number] {
  return [share(index, threads, count, 1), share(index + 1, threads, count, 1)];
}

/** Cosines and sines of a rope at a position, (width). */
export function turnTo(kernels: DecoderExports, rope: RopeRegions, position: number, to: number): void {
  kernels.angles(rope.frequencies, rope.width / 2, position, to);
  if (rope.factor !== 1) kernels.scale(to, rope.factor, rope.width);
}

function rotateWhole({ kernels }: Thread, rotations: readonly Rotation[], first: number, last: number): void {
  for (let i = 0; i < rotations.length; i++) {
    const parts = partsOf(rotations[i]);
    rotateParts(kernels, rotations[i], first * parts, last * parts);
    integerInput(kernels, rotations[i], first, last);
  }
}

/** Rotates `count` vectors, from vector `from` on, of an activation that all threads have made. */
export function rotateTokens(thread: Thread, rotations: readonly Rotation[], count: number, from = 0): void {
  if (rotations.length === 0) return;
  for (let i = 0; i < rotations.length; i++) {
    const parts = partsOf(rotations[i]);
    const first = from * parts + share(thread.index, thread.count, count * parts, 1);
    const end = from * parts + share(thread.index + 1, thread.count, count * parts, 1);
    rotateParts(thread.kernels, rotations[i], first, end);
  }
  thread.barrier();
  if (rotations[0].integers === 0) return;
  for (let i = 0; i < rotations.length; i++) {
    const first = from + share(thread.index, thread.count, count, 1);
    integerInput(thread.kernels, rotations[i], first, from + share(thread.index + 1, thread.count, count, 1));
  }
  thread.barrier();
}

/** This thread's rows of a product with its input, for `count` tokens from token `from` of the input on, to `y`. */
export function apply(thread: Thread, state: State, linear: Linear, count: number, y: number, from = 0): void {
  const { kernels, index } = thread;
  const first = share(index, thread.count, linear.rows, ROWS_APART);
  const end = share(index + 1, thread.count, linear.rows, ROWS_APART);
  applyLinear(kernels, linear, from, count, y, first, end, state.scratch[index]);
}

/** Logits of `count` outputs, from output `first` on: this thread's part of the vocabulary, scaled and capped as the model has it. */
export function applyHead(thread: Thread, state: State, end: End, count: number, first = 0): void {
  const { kernels, index } = thread;
  const { head, logits, logitScale, logitCap, vocabSize } = end;
  apply(thread, state, head, count, logits, first);
  const from = share(index, thread.count, vocabSize, ROWS_APART);
  const some = share(index + 1, thread.count, vocabSize, ROWS_APART) - from;
  for (let j = 0; j < count; j++) {
    const address = logits + (j * vocabSize + from) * 4;
    if (logitScale !== 1) kernels.scale(address, logitScale, some);
    if (logitCap !== 0) kernels.softCap(address, logitCap, some);
  }
}
