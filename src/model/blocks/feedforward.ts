// The gated feed-forward block: x += down(silu(gate(norm(x))) ∘ up(norm(x))).

import { type Linear, type LinearSpec, ROWS_APART, type Rotation } from '../linear.ts';
import { addProduct, apply, normTokens, rotateTokens } from '../steps.ts';
import { share } from '../team.ts';
import type { BlockKind } from './block.ts';

export interface FeedForwardSpec {
  readonly kind: 'feedForward';
  readonly norm: string;
  readonly gate: LinearSpec;
  readonly up: LinearSpec;
  readonly down: LinearSpec;
}

export interface FeedForward {
  readonly kind: 'feedForward';
  readonly norm: number; // (dim)
  readonly rotations: readonly Rotation[];
  readonly gate: Linear;
  readonly up: Linear;
  readonly downRotations: readonly Rotation[];
  readonly down: Linear;
  readonly gated: number; // (batch, hidden)
  readonly upper: number; // (batch, hidden)
}

const PLACES = ['gate', 'up', 'down'] as const;

export const feedForward: BlockKind<FeedForwardSpec, FeedForward> = {
  plan(spec, planner) {
    const hidden = spec.gate.rows;
    const [gated, upper] = [planner.activation('gated', hidden), planner.activation('upper', hidden)];
    const norm = planner.vector(spec.norm, spec.gate.cols);
    const gate = planner.linear(spec.gate, planner.normed);
    const up = planner.linear(spec.up, planner.normed);
    const down = planner.linear(spec.down, gated);
    const rotations = planner.rotationsOf(gate, up);
    return {
      kind: 'feedForward',
      norm,
      rotations,
      gate,
      up,
      downRotations: planner.rotationsOf(down),
      down,
      gated,
      upper,
    };
  },

  weights: (block) => PLACES.map((place) => block[place]),
  // Gradients of the hidden values would take a matrix of hidden², as inputs of `down` would.
  statistics: PLACES.map((place) => ({ cut: place === 'down', outputs: place === 'down' })),
  replace: (block, place, linear) => ({ ...block, [PLACES[place]]: linear }),

  forward(thread, state, block, { count }) {
    const { kernels, index } = thread;
    const { gated, upper } = block;
    const hidden = block.gate.rows;
    normTokens(thread, state, block.norm, block.rotations, 0, count);
    thread.barrier();
    apply(thread, state, block.gate, count, gated);
    apply(thread, state, block.up, count, upper);
    const first = share(index, thread.count, hidden, ROWS_APART);
    const end = share(index + 1, thread.count, hidden, ROWS_APART);
    for (let j = 0; j < count; j++) {
      const at = (j * hidden + first) * 4;
      kernels.siluTimes(gated + at, upper + at, end - first);
    }
    thread.barrier();
    rotateTokens(thread, block.downRotations, count);
    addProduct(thread, state, block.down, count);
    thread.barrier();
  },

  gradients: ({ gate: { rows: hidden } }, tokens, draws) => ({
    gate: tokens * hidden, // before silu
    dGate: draws * tokens * hidden,
    dUp: draws * tokens * hidden,
  }),

  back(back, block) {
    const { thread, state, draws, floats, dX, dNormed } = back;
    const { kernels, barrier } = thread;
    const { count: tokens } = back.pass;
    const { gated, upper, norm } = block;
    const { rows: hidden, cols: dim } = block.gate;
    const [before, dGate, dUp] = [back.region('gate'), back.region('dGate'), back.region('dUp')];

    back.restore();
    normTokens(thread, state, norm, [], 0, tokens);
    barrier();
    apply(thread, state, block.gate, tokens, gated);
    apply(thread, state, block.up, tokens, upper);
    const [first, end] = back.part(hidden, ROWS_APART);
    for (let j = 0; j < tokens; j++) {
      const at = (j * hidden + first) * 4;
      floats.copyWithin((before + at) / 4, (gated + at) / 4, (gated + at) / 4 + end - first);
      kernels.siluTimes(gated + at, upper + at, end - first);
    }
    back.transposed(dGate, [block.down, dX]);
    barrier();

    back.inputGram(gated, hidden);
    back.squares(PLACES.indexOf('down'), dX, dim);
    const [from, to] = back.part(draws * tokens);
    for (let i = from; i < to; i++) {
      const [token, vector] = [(i % tokens) * hidden * 4, i * hidden * 4];
      kernels.siluTimesBack(before + token, upper + token, dGate + vector, dUp + vector, hidden);
    }
    barrier();
    back.inputGram(state.normed, dim);
    back.squares(PLACES.indexOf('gate'), dGate, hidden);
    back.squares(PLACES.indexOf('up'), dUp, hidden);
    back.transposed(dNormed, [block.gate, dGate], [block.up, dUp]);
    barrier();
    back.behindNorm(norm);
  },
};
