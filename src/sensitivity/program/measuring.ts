// One thread's hold on a measurement: the model, the workspace, and views of the memory that both lie in.

import { dtypeCodes } from '../../kernels/layout.ts';
import type { DenseLinear, Linear } from '../../model/linear.ts';
import type { ModelState } from '../../model/memories.ts';
import { type Pass, wholeSequence } from '../../model/pass.ts';
import { share, type Thread } from '../../model/team.ts';
import type { Workspace } from './workspace.ts';

/** What a thread measures with. */
export interface Measuring {
  /** The thread that runs this. */
  readonly thread: Thread;
  /** The model's regions. */
  readonly state: ModelState;
  /** Regions beside them. */
  readonly workspace: Workspace;
  /** A whole sequence, in the cache's first rows. */
  readonly pass: Pass;
  /** The memory in f32, element i at byte 4 · i. */
  readonly floats: Float32Array;
  /** The memory in f64, element i at byte 8 · i. */
  readonly doubles: Float64Array;
  /** The memory in i32, element i at byte 4 · i. */
  readonly ints: Int32Array;
}

/** @returns what a thread measures with, with views of the memory */
export function measuringOf(
  thread: Thread,
  state: ModelState,
  workspace: Workspace,
  buffer: ArrayBufferLike,
): Measuring {
  const views = { floats: new Float32Array(buffer), doubles: new Float64Array(buffer), ints: new Int32Array(buffer) };
  return { thread, state, workspace, pass: wholeSequence(workspace.tokens), ...views };
}

/** This thread's part of `total` items. */
export function partOf({ thread }: Measuring, total: number, apart = 1): [first: number, end: number] {
  return [share(thread.index, thread.count, total, apart), share(thread.index + 1, thread.count, total, apart)];
}

/** Copies this thread's tokens of the residual stream. */
export function copyTokens(measuring: Measuring, from: number, to: number): void {
  const { floats, state, workspace } = measuring;
  const [first, end] = partOf(measuring, workspace.tokens);
  const { dim } = state;
  floats.copyWithin(to / 4 + first * dim, from / 4 + first * dim, from / 4 + end * dim);
}

/** Σ w² of a row of a weight; widens it in the thread's scratch. */
export function squareOfRow({ thread, workspace, floats }: Measuring, linear: Linear, row: number): number {
  const { cols, rowBytes, weights, dtype } = linear as DenseLinear;
  const to = workspace.scratch[thread.index];
  thread.kernels.widen(weights + row * rowBytes, dtypeCodes[dtype], 0, cols, to);
  let sum = 0;
  for (let i = to / 4; i < to / 4 + cols; i++) sum += floats[i] * floats[i];
  return sum;
}

/** Where the residual stream before a block is saved, alone or with those of all blocks; behind the last block, its output. */
export function savedAt({ state, workspace }: Measuring, block: number): number {
  return workspace.saved + (workspace.slots > 1 ? block : 0) * workspace.tokens * state.dim * 4;
}

/** What a sequence takes with it from its labels to its embeddings, gradients of the residual stream first. */
export function tailOf({
  state,
  workspace,
}: Pick<Measuring, 'state' | 'workspace'>): { address: number; floats: number }[] {
  const { tokens, draws, fisher } = workspace;
  const { dX, labels, slopes, outputs, chosen } = fisher!;
  return [
    { address: dX, floats: draws * tokens * state.dim },
    { address: labels, floats: draws * tokens },
    { address: slopes, floats: draws * tokens },
    { address: outputs, floats: tokens * state.dim },
    { address: chosen, floats: tokens * tokens },
  ];
}

/** The mean over a sequence's tokens of a row of what threads handed over. */
export function meanOfTokens({ workspace, doubles }: Measuring, row: number): number {
  const { tokens, sums } = workspace;
  let sum = 0;
  for (let token = 0; token < tokens; token++) sum += doubles[sums / 8 + row * tokens + token];
  return sum / tokens;
}
