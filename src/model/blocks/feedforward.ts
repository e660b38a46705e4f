// The feed-forward block: x += down(f(gate(norm(x))) ∘ up(norm(x))), f silu or gelu. Gate and up are two weights, or the rows of one.
// Without a gate: x += down(f(up(norm(x)))).

import type { Activation, FeedForwardSpec } from '../../families/architecture.ts';
import type { DecoderExports } from '../../kernels/decoder/exports.ts';
import { applyLinear, type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, inRows, normTokens, readNormed } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { BlockKind } from './block.ts';
import {
  addBranch,
  type Branch,
  branchBack,
  branchGradients,
  planBranch,
  replaceBranchWeight,
  weightsInOrder,
} from './branch.ts';

/** A feed-forward network that runs, with regions. */
export interface FeedForward {
  readonly kind: 'feedForward';
  /** Weights of the norm before the block: (dim), 0 for none. */
  readonly norm: number;
  /** How its input is rotated for `inputs`. */
  readonly rotations: readonly Rotation[];
  /** Weights of gate and up, (hidden, dim) each, or one that has the rows of both; without a gate that of up. */
  readonly inputs: readonly Linear[];
  /** f. */
  readonly activation: Activation;
  /** The weight of down, (dim, hidden), and what follows it. */
  readonly branch: Branch;
  /** Elements between the weights. */
  readonly hidden: number;
  /** (batch, 2 · hidden), what one weight of both gives; else 0. */
  readonly fused: number;
  /** f(gate) ∘ up in the end: (batch, hidden). */
  readonly gated: number;
  /** (batch, hidden), 0 without a gate. */
  readonly upper: number;
}

/** An activation and its way back, in the shape of those of gates. */
interface ActivationStep {
  readonly run: (kernels: DecoderExports) => DecoderExports['siluTimes'];
  readonly back: (kernels: DecoderExports) => DecoderExports['siluTimesBack'];
}

/** By name; where there is a gate, f(gate) ∘ up. */
export const STEPS: Readonly<Record<Activation, ActivationStep>> = {
  silu: { run: (kernels) => kernels.siluTimes, back: (kernels) => kernels.siluTimesBack },
  gelu: { run: (kernels) => kernels.geluTimes, back: (kernels) => kernels.geluTimesBack },
  reluSquared: {
    run: (kernels) => (x, _, count) => kernels.reluSquared(x, count),
    back: (kernels) => (x, _, d, __, count) => kernels.reluSquaredBack(x, d, count),
  },
};

/** A feed-forward network: what it needs, forward and back. */
export const feedForward: BlockKind<FeedForwardSpec, FeedForward> = {
  linears: ({ inputs, output }) => [...inputs, output],

  plan(spec, planner) {
    const { activation } = spec;
    const { cols: hidden } = spec.output;
    const isGated = activation !== 'reluSquared';
    const fused = isGated && spec.inputs.length === 1 ? planner.activation('fused', 2 * hidden) : 0;
    const gated = planner.activation('gated', hidden);
    const upper = isGated ? planner.activation('upper', hidden) : 0;
    const norm = planner.norm(spec.norm, spec.inputs[0].cols);
    const inputs = spec.inputs.map((input) => planner.linear(input, planner.normed));
    const branch = planBranch(planner, spec, gated);
    const rotations = planner.rotationsOf(...inputs);
    return { kind: 'feedForward', norm, rotations, inputs, activation, branch, hidden, fused, gated, upper };
  },

  weights: weightsInOrder,
  // Gradients of the hidden values would take a matrix of hidden², as inputs of the output would: narrow ones have it.
  statistics: ({ inputs }) => [
    ...inputs.map(() => ({ cut: false, outputs: false, wholeIfNarrow: true })),
    { cut: true, outputs: true, wholeIfNarrow: true },
  ],
  replace: replaceBranchWeight,

  forward(thread, state, block, { count }) {
    const vector = readNormed(thread, state, block.norm, block.rotations, count);
    applyInputs(thread, state, block, count, vector);
    thread.barrier();
    addBranch(thread, state, block.branch, count);
  },

  gradients: ({ hidden, upper, fused, branch }, tokens, draws) => ({
    gate: tokens * hidden, // before its activation
    dGate: draws * tokens * hidden,
    dUp: upper ? draws * tokens * hidden : 0,
    dFused: fused ? draws * tokens * 2 * hidden : 0,
    ...branchGradients(branch, tokens, draws),
  }),

  back(back, block) {
    const { thread, state, draws, dNormed } = back;
    const { kernels, barrier } = thread;
    const { count: tokens } = back.pass;
    const { gated, upper, norm, hidden, inputs, fused, branch, activation } = block;
    const [before, dGate, dUp, dFused] = ['gate', 'dGate', 'dUp', 'dFused'].map((name) => back.region(name));
    const activateBack = STEPS[activation].back(kernels);

    back.restore();
    normTokens(thread, state, norm, [], 0, tokens);
    barrier();
    applyInputs(thread, state, block, tokens, 0, before);
    barrier();
    const dOutput = branchBack(back, branch);
    back.transposed(dGate, [branch.output, dOutput]);
    barrier();

    back.inputGram(gated, hidden);
    back.squares(inputs.length, dOutput, branch.output.rows);
    const [from, to] = back.part(draws * tokens);
    for (let i = from; i < to; i++) {
      const [token, vector] = [(i % tokens) * hidden * 4, i * hidden * 4];
      activateBack(before + token, upper + token, dGate + vector, dUp + vector, hidden);
    }
    barrier();
    if (fused) {
      back.joinRows(dFused, [dGate, hidden], [dUp, hidden]);
      barrier();
    }
    const gradients = fused ? [dFused] : upper ? [dGate, dUp] : [dGate];
    back.inputGram(state.normed, inputs[0].cols);
    for (const [i, { rows }] of inputs.entries()) back.squares(i, gradients[i], rows);
    back.transposed(dNormed, ...inputs.map((input, i) => [input, gradients[i]] as const));
    barrier();
    back.behindNorm(norm);
  },
};

// Gates and ups of all tokens, and f(gate) ∘ up. @param before where gates are kept, 0 for nowhere
function applyInputs(
  thread: Thread,
  state: State,
  block: FeedForward,
  count: number,
  vector: number,
  before = 0,
): void {
  const { kernels, index } = thread;
  const { inputs, hidden, fused, gated, upper, activation } = block;
  const step = STEPS[activation].run(kernels);
  const activate = (first: number, end: number): void => {
    for (let j = 0; j < count; j++) {
      const offset = (j * hidden + first) * 4;
      if (before) copyFloats(kernels, gated + offset, end - first, before + offset);
      step(gated + offset, upper + offset, end - first);
    }
  };
  if (!fused) {
    const places = [gated, upper]; // without a gate, the first alone
    inRows(thread, hidden, inputs.length * inputs[0].cols * count, (first, end) => {
      for (let i = 0; i < inputs.length; i++) {
        applyLinear(kernels, inputs[i], vector, count, places[i], first, end, state.scratch[index]);
      }
      activate(first, end);
    });
    return;
  }
  apply(thread, state, inputs[0], count, fused, vector);
  thread.barrier();
  const first = share(index, thread.count, hidden, ROWS_APART);
  const end = share(index + 1, thread.count, hidden, ROWS_APART);
  for (let j = 0; j < count; j++) {
    copyFloats(kernels, fused + (2 * j * hidden + first) * 4, end - first, gated + (j * hidden + first) * 4);
    copyFloats(kernels, fused + ((2 * j + 1) * hidden + first) * 4, end - first, upper + (j * hidden + first) * 4);
  }
  activate(first, end);
}
