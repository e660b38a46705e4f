// What a block adds to the residual stream: x += m · norm(W y), W its last weight and y what the block made; the norm and the
// multiplier m where the model has them. Every kind of block ends so.

import type { BranchSpec } from '../../families/architecture.ts';
import type { Linear, Rotation } from '../linear.ts';
import type { State } from '../state.ts';
import { apply, readRotated, tokensOfThread } from '../steps.ts';
import type { Thread } from '../team.ts';
import type { Back, BlockPlanner } from './block.ts';

/** The end of a block: what is added to the residual stream. */
export interface Branch {
  /** How `output`'s input is rotated. */
  readonly rotations: readonly Rotation[];
  /** W, (dim, cols): the last weight. */
  readonly output: Linear;
  /** Weights of the norm: (dim), 0 for none. */
  readonly postNorm: number;
  /** m; 1 for none. */
  readonly multiplier: number;
  /** (1), what the residual stream is multiplied by after; 0 for none. */
  readonly scalar: number;
}

/** A block whose weights are some that read its input, then the branch's. */
interface Weighed {
  readonly inputs: readonly Linear[];
  readonly branch: Branch;
}

/** The weights of a block. */
export const weightsInOrder = ({ inputs, branch }: Weighed): readonly Linear[] => [...inputs, branch.output];

/** The block with another weight in one place of that order. */
export function replaceBranchWeight<Block extends Weighed>(block: Block, place: number, linear: Linear): Block {
  const { inputs, branch } = block;
  if (place === inputs.length) return { ...block, branch: { ...branch, output: linear } };
  return { ...block, inputs: inputs.map((input, i) => (i === place ? linear : input)) };
}

/** @param input where its input stands, (batch, cols) */
export function planBranch(planner: BlockPlanner, spec: BranchSpec, input: number): Branch {
  const output = planner.linear(spec.output, input);
  const postNorm = planner.norm(spec.postNorm, spec.output.rows);
  const scalar = spec.scalar ? planner.tensor(spec.scalar.name, [1]) : 0;
  return { rotations: planner.rotationsOf(output), output, postNorm, multiplier: spec.multiplier, scalar };
}

/** x += m · norm(W y), for all tokens of a pass. Ends at a barrier. */
export function addBranch(thread: Thread, state: State, branch: Branch, count: number): void {
  const { kernels } = thread;
  const { x, y, dim, epsilon } = state;
  const { output, postNorm, multiplier } = branch;
  const scalar = scalarOf(thread, branch.scalar);
  const vector = readRotated(thread, state, branch.rotations, count);
  if (postNorm === 0) {
    apply(thread, state, output, count, y, vector, (first, end) => {
      for (let j = 0; j < count; j++) {
        const offset = (j * dim + first) * 4;
        if (multiplier !== 1) kernels.scale(y + offset, multiplier, end - first);
        kernels.add(x + offset, y + offset, end - first);
        if (scalar !== 1) kernels.scale(x + offset, scalar, end - first);
      }
    });
  } else {
    apply(thread, state, output, count, y, vector);
    thread.barrier();
    const [first, end] = tokensOfThread(thread, count);
    const [offset, floats] = [first * dim * 4, (end - first) * dim];
    kernels.rmsNorm(y + offset, postNorm, end - first, dim, epsilon, y + offset);
    if (multiplier !== 1) kernels.scale(y + offset, multiplier, floats);
    kernels.add(x + offset, y + offset, floats);
    if (scalar !== 1) kernels.scale(x + offset, scalar, floats);
  }
  thread.barrier();
}

/** What the residual stream is multiplied by behind a block. @param address of the number, 0 for none */
export function scalarOf({ ints }: Thread, address: number): number {
  return address ? new Float32Array(ints.buffer, address, 1)[0] : 1;
}

const isPlain = ({ postNorm, multiplier }: Branch) => postNorm === 0 && multiplier === 1;

/** Floats of the regions that `branchBack` needs, by name. */
export function branchGradients(branch: Branch, tokens: number, draws: number): { dBranch: number } {
  return { dBranch: isPlain(branch) ? 0 : draws * tokens * branch.output.rows };
}

/**
 * Gradients of W y, (draws, tokens, dim), from dX behind the block, which becomes that before the scalar; W's input must stand where it
 * did. @returns their address
 */
export function branchBack(back: Back, branch: Branch): number {
  const { thread, state, draws, floats, pass, dX } = back;
  const scalar = scalarOf(thread, branch.scalar);
  if (isPlain(branch) && scalar === 1) return dX;
  const { output, postNorm, multiplier } = branch;
  const { rows: dim } = output;
  const to = back.region('dBranch');
  if (postNorm) apply(thread, state, output, pass.count, state.y);
  thread.barrier();
  const [first, end] = back.part(draws * pass.count);
  if (scalar !== 1) thread.kernels.scale(dX + first * dim * 4, scalar, (end - first) * dim);
  if (isPlain(branch)) {
    thread.barrier();
    return dX;
  }
  floats.copyWithin((to + first * dim * 4) / 4, dX / 4 + first * dim, dX / 4 + end * dim);
  if (multiplier !== 1) thread.kernels.scale(to + first * dim * 4, multiplier, (end - first) * dim);
  for (let i = first; postNorm && i < end; i++) {
    const y = state.y + (i % pass.count) * dim * 4;
    thread.kernels.rmsNormBack(y, postNorm, to + i * dim * 4, 1, dim, state.epsilon);
  }
  thread.barrier();
  return to;
}
