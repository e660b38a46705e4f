// Steps that blocks are made of. Every thread runs every step on its share of rows or tokens; an element is computed whole by one
// thread, in an order that does not depend on the tokens beside it. So neither threads nor batches change a bit.

import { applyLinear, integerInput, type Linear, partsOf, ROWS_APART, type Rotation, rotateParts } from './linear.ts';
import type { State } from './state.ts';
import { share, type Thread } from './team.ts';

/** Norms tokens `from` to `end` of the residual stream and rotates them as the matrices that read them want. */
export function normTokens(
  thread: Thread,
  state: State,
  weights: number,
  rotations: readonly Rotation[],
  from: number,
  end: number,
): void {
  const { index, count } = thread;
  const first = from + share(index, count, end - from, 1);
  const last = from + share(index + 1, count, end - from, 1);
  if (first === last) return;
  norm(thread, state, weights, first, last - first, first);
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
  for (let k = first; k < last; k++) norm(thread, state, weights, rows[k], 1, k);
  rotateWhole(thread, rotations, first, last);
}

function norm({ kernels }: Thread, state: State, weights: number, from: number, count: number, to: number): void {
  const { x, normed, dim, epsilon } = state;
  kernels.rmsNorm(x + from * dim * 4, weights, count, dim, epsilon, normed + to * dim * 4);
}

function rotateWhole({ kernels }: Thread, rotations: readonly Rotation[], first: number, last: number): void {
  for (let i = 0; i < rotations.length; i++) {
    const parts = partsOf(rotations[i]);
    rotateParts(kernels, rotations[i], first * parts, last * parts);
    integerInput(kernels, rotations[i], first, last);
  }
}

/** Rotates `count` tokens of an activation that all threads have made. */
export function rotateTokens(thread: Thread, rotations: readonly Rotation[], count: number): void {
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
