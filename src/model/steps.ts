// Steps that blocks are made of. Every thread runs every step, on its share of tokens or on the rows that it takes; an element is computed
// whole by one thread, in an order that does not depend on the tokens beside it. So neither threads nor batches change a bit.

import type { DecoderExports } from '../kernels/decoder/exports.ts';
import { dtypeCodes } from '../kernels/layout.ts';
import { applyLinear, integerInput, type Linear, partsOf, ROWS_APART, type Rotation, rotateParts } from './linear.ts';
import type { End, RopeRegions, State } from './state.ts';
import { inParts, share, type Thread } from './team.ts';

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

/**
 * Norms `count` tokens of the residual stream, which stand behind a barrier, and rotates them as the matrices that read them want. One token
 * every thread norms for itself, in the row of its index: nobody waits for one thread. Several have a barrier behind them.
 * @returns the vector that this thread reads them from
 */
export function readNormed(
  thread: Thread,
  state: State,
  weights: number,
  rotations: readonly Rotation[],
  count: number,
): number {
  const { index } = thread;
  if (!readsOwn(thread, state, count)) {
    normTokens(thread, state, weights, rotations, 0, count);
    thread.barrier();
    return 0;
  }
  norm(thread, state, weights, 0, 1, state.normed + index * state.dim * 4);
  rotateWhole(thread, rotations, index, index + 1);
  return index;
}

// Activations have room for a vector of each thread.
const readsOwn = ({ count: threads }: Thread, { batch }: State, count: number): boolean =>
  count === 1 && threads <= batch;

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

/**
 * Rotates the vectors of `count` tokens, which stand behind a barrier. One token every thread rotates for itself; several have a barrier behind
 * them, if there is a rotation.
 * @returns the vector that this thread reads them from
 */
export function readRotated(thread: Thread, state: State, rotations: readonly Rotation[], count: number): number {
  const { index } = thread;
  if (rotations.length === 0) return 0;
  if (!readsOwn(thread, state, count)) {
    rotateTokens(thread, rotations, count);
    return 0;
  }
  const own = rotations.map((rotation) => ({ ...rotation, from: rotation.from - index * rotation.cols * 4 }));
  rotateWhole(thread, own, index, index + 1);
  return index;
}

/** Rotates `count` vectors, from vector `from` on, of an activation that all threads have made. Ends at a barrier, if there is a rotation. */
export function rotateTokens(thread: Thread, rotations: readonly Rotation[], count: number, from = 0): void {
  if (rotations.length === 0) return;
  if (count >= thread.count) {
    const [first, end] = tokensOfThread(thread, count);
    rotateWhole(thread, rotations, from + first, from + end);
    thread.barrier();
    return;
  }
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

/**
 * A product with its input, for `count` tokens from vector `from` of the input on, to `y`, in parts of its rows.
 * @param behind what is done with rows `first` to `end` by the thread that made them
 */
export function apply(
  thread: Thread,
  state: State,
  linear: Linear,
  count: number,
  y: number,
  from = 0,
  behind?: (first: number, end: number) => void,
): void {
  const { kernels, index } = thread;
  inRows(thread, linear.rows, linear.cols * count, (first, end) => {
    applyLinear(kernels, linear, from, count, y, first, end, state.scratch[index]);
    behind?.(first, end);
  });
}

/** Work on `rows`, in parts. @param products of a row */
export function inRows(
  thread: Thread,
  rows: number,
  products: number,
  work: (first: number, end: number) => void,
): void {
  inParts(thread, rows, ROWS_APART, LEAST_PRODUCTS / products, work);
}

/** Products of a small part: some microseconds. To take one costs a few hundredths of that. */
const LEAST_PRODUCTS = 1 << 18;

/** Logits of `count` outputs, from output `first` on, in parts of the vocabulary, scaled and capped as the model has it. */
export function applyHead(thread: Thread, state: State, end: End, count: number, first = 0): void {
  const { kernels } = thread;
  const { head, logits, logitScale, logitCap, vocabSize } = end;
  apply(thread, state, head, count, logits, first, (from, to) => {
    for (let j = 0; j < count; j++) {
      const address = logits + (j * vocabSize + from) * 4;
      if (logitScale !== 1) kernels.scale(address, logitScale, to - from);
      if (logitCap !== 0) kernels.softCap(address, logitCap, to - from);
    }
  });
}
