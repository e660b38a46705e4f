// The gated feed-forward block: x += down(f(gate(norm(x))) ∘ up(norm(x))), f silu or gelu. Gate and up are two weights, or the rows
// of one.

import type { Activation, FeedForwardSpec } from '../../families/architecture.ts';
import type { DecoderExports } from '../../kernels/decoder/exports.ts';
import { type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, normTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { BlockKind } from './block.ts';
import { addBranch, type Branch, branchBack, branchGradients, planBranch } from './branch.ts';

export interface FeedForward {
  readonly kind: 'feedForward';
  readonly norm: number; // (dim), 0 for none
  readonly rotations: readonly Rotation[];
  readonly inputs: readonly Linear[];
  readonly activation: Activation;
  readonly branch: Branch;
  readonly hidden: number;
  readonly fused: number; // (batch, 2 · hidden), what one weight of both gives; else 0
  readonly gated: number; // (batch, hidden)
  readonly upper: number; // (batch, hidden)
}

type Times = (kernels: DecoderExports) => DecoderExports['siluTimes'];
type TimesBack = (kernels: DecoderExports) => DecoderExports['siluTimesBack'];
/** f(gate) ∘ up to gate, by the name of f. */
export const times: Readonly<Record<Activation, Times>> = { silu: (k) => k.siluTimes, gelu: (k) => k.geluTimes };
/** Gradients of gate and up of that of f(gate) ∘ up. */
export const timesBack: Readonly<Record<Activation, TimesBack>> = {
  silu: (k) => k.siluTimesBack,
  gelu: (k) => k.geluTimesBack,
};

export const feedForward: BlockKind<FeedForwardSpec, FeedForward> = {
  linears: ({ inputs, output }) => [...inputs, output],

  plan(spec, planner) {
    const { activation } = spec;
    const { cols: hidden } = spec.output;
    const fused = spec.inputs.length === 1 ? planner.activation('fused', 2 * hidden) : 0;
    const [gated, upper] = [planner.activation('gated', hidden), planner.activation('upper', hidden)];
    const norm = planner.norm(spec.norm, spec.inputs[0].cols);
    const inputs = spec.inputs.map((input) => planner.linear(input, planner.normed));
    const branch = planBranch(planner, spec, gated);
    const rotations = planner.rotationsOf(...inputs);
    return { kind: 'feedForward', norm, rotations, inputs, activation, branch, hidden, fused, gated, upper };
  },

  weights: ({ inputs, branch }) => [...inputs, branch.output],
  // Gradients of the hidden values would take a matrix of hidden², as inputs of the output would.
  statistics: ({ inputs }) => [...inputs.map(() => ({ cut: false, outputs: false })), { cut: true, outputs: true }],
  replace: (block, place, linear) => ({
    ...block,
    inputs: block.inputs.map((own, i) => (i === place ? linear : own)),
    branch: place < block.inputs.length ? block.branch : { ...block.branch, output: linear },
  }),

  forward(thread, state, block, { count }) {
    const { kernels, index } = thread;
    const { hidden, gated, upper } = block;
    normTokens(thread, state, block.norm, block.rotations, 0, count);
    thread.barrier();
    applyInputs(thread, state, block, count);
    const first = share(index, thread.count, hidden, ROWS_APART);
    const end = share(index + 1, thread.count, hidden, ROWS_APART);
    const gate = times[block.activation](kernels);
    for (let j = 0; j < count; j++) {
      const at = (j * hidden + first) * 4;
      gate(gated + at, upper + at, end - first);
    }
    thread.barrier();
    addBranch(thread, state, block.branch, count);
  },

  gradients: ({ hidden, fused, branch }, tokens, draws) => ({
    gate: tokens * hidden, // before its activation
    dGate: draws * tokens * hidden,
    dUp: draws * tokens * hidden,
    dFused: fused ? draws * tokens * 2 * hidden : 0,
    ...branchGradients(branch, tokens, draws),
  }),

  back(back, block) {
    const { thread, state, draws, floats, dNormed } = back;
    const { kernels, barrier } = thread;
    const { count: tokens } = back.pass;
    const { gated, upper, norm, hidden, inputs, fused, branch, activation } = block;
    const [before, dGate, dUp, dFused] = ['gate', 'dGate', 'dUp', 'dFused'].map((name) => back.region(name));
    const [gate, gateBack] = [times[activation](kernels), timesBack[activation](kernels)];

    back.restore();
    normTokens(thread, state, norm, [], 0, tokens);
    barrier();
    applyInputs(thread, state, block, tokens);
    const [first, end] = back.part(hidden, ROWS_APART);
    for (let j = 0; j < tokens; j++) {
      const at = (j * hidden + first) * 4;
      floats.copyWithin((before + at) / 4, (gated + at) / 4, (gated + at) / 4 + end - first);
      gate(gated + at, upper + at, end - first);
    }
    barrier();
    const dOutput = branchBack(back, branch);
    back.transposed(dGate, [branch.output, dOutput]);
    barrier();

    back.inputGram(gated, hidden);
    back.squares(inputs.length, dOutput, branch.output.rows);
    const [from, to] = back.part(draws * tokens);
    for (let i = from; i < to; i++) {
      const [token, vector] = [(i % tokens) * hidden * 4, i * hidden * 4];
      gateBack(before + token, upper + token, dGate + vector, dUp + vector, hidden);
    }
    barrier();
    if (fused) {
      back.joinRows(dFused, [dGate, hidden], [dUp, hidden]);
      barrier();
    }
    const gradients = fused ? [dFused] : [dGate, dUp];
    back.inputGram(state.normed, inputs[0].cols);
    for (const [i, { rows }] of inputs.entries()) back.squares(i, gradients[i], rows);
    back.transposed(dNormed, ...inputs.map((input, i) => [input, gradients[i]] as const));
    barrier();
    back.behindNorm(norm);
  },
};

// Gates and ups of all tokens, this thread's columns.
function applyInputs(thread: Thread, state: State, block: FeedForward, count: number): void {
  const { kernels, index } = thread;
  const { inputs, hidden, fused, gated, upper } = block;
  const places = fused ? [fused] : [gated, upper];
  for (let i = 0; i < inputs.length; i++) apply(thread, state, inputs[i], count, places[i]);
  if (!fused) return;
  thread.barrier();
  const first = share(index, thread.count, hidden, ROWS_APART);
  const some = share(index + 1, thread.count, hidden, ROWS_APART) - first;
  for (let j = 0; j < count; j++) {
    copyFloats(kernels, fused + (2 * j * hidden + first) * 4, some, gated + (j * hidden + first) * 4);
    copyFloats(kernels, fused + ((2 * j + 1) * hidden + first) * 4, some, upper + (j * hidden + first) * 4);
  }
}
