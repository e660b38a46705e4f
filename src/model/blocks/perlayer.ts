// What a layer takes of the token's vector for it: x += norm(output(gelu(gate x) ∘ vector)). A token has vectors for all layers (Gemma 4):
// one part is the id's own, of a table beside the embeddings, the other is made of the embedding, before the first layer.

import type { PerLayerSpec } from '../../families/architecture.ts';
import { decodeRow, type Linear, type Rotation } from '../linear.ts';
import type { Begin, State } from '../state.ts';
import { apply, copyFloats, readNormed, readRotated, tokensOfThread } from '../steps.ts';
import type { Thread } from '../team.ts';
import type { BlockKind } from './block.ts';
import { addBranch, type Branch, branchBack, branchGradients, planBranch } from './branch.ts';

/** A branch of per-layer vectors that runs, with regions. */
export interface PerLayer {
  readonly kind: 'perLayer';
  /** How its input, x without a norm, is rotated for `gate`. */
  readonly rotations: readonly Rotation[];
  /** The weight (width, dim). */
  readonly gate: Linear;
  /** Where the layer's vector begins in `state.perLayer`, in floats. */
  readonly first: number;
  /** gelu(gate x) ∘ vector: (batch, rows of gate). */
  readonly gated: number;
  /** The output weight, (dim, width), and what follows it. */
  readonly branch: Branch;
}

/** A branch of per-layer vectors: what it needs, forward and back. */
export const perLayer: BlockKind<PerLayerSpec, PerLayer> = {
  linears: ({ gate, output }) => [gate, output],

  plan(spec, planner) {
    const gated = planner.activation('gated', spec.gate.rows);
    const gate = planner.linear(spec.gate, planner.normed);
    const branch = planBranch(planner, spec, gated);
    return { kind: 'perLayer', gate, first: spec.first, gated, branch, rotations: planner.rotationsOf(gate) };
  },

  weights: ({ gate, branch }) => [gate, branch.output],
  replace: (block, place, linear) =>
    place === 0 ? { ...block, gate: linear } : { ...block, branch: { ...block.branch, output: linear } },

  forward(thread, state, block, { count }) {
    gateTokens(thread, state, block, count);
    addBranch(thread, state, block.branch, count);
  },

  gradients: ({ gate: { rows }, branch }, tokens, draws) => ({
    gate: tokens * rows, // before its activation
    dGate: draws * tokens * rows,
    ...branchGradients(branch, tokens, draws),
  }),

  back(back, { gate, gated, branch, ...block }) {
    const { thread, state, draws, pass, dNormed, dPerLayer } = back;
    const { barrier } = thread;
    const { rows, cols } = gate;
    const { perLayer, perLayerFloats } = state;
    const [before, dGate] = [back.region('gate'), back.region('dGate')];

    back.restore();
    barrier();
    gateTokens(thread, state, { ...block, gate, gated, branch }, pass.count, before);
    const dOutput = branchBack(back, branch);
    back.transposed(dGate, [branch.output, dOutput]);
    barrier();
    back.inputGram(gated, rows);
    back.squares(1, dOutput, branch.output.rows);
    const [first, end] = back.part(draws * pass.count);
    for (let i = first; i < end; i++) {
      const token = i % pass.count;
      const vector = (token * perLayerFloats + block.first) * 4;
      const to = dPerLayer + (i * perLayerFloats + block.first) * 4;
      const x = before + token * rows * 4;
      thread.kernels.geluTimesBack(x, perLayer + vector, dGate + i * rows * 4, to, rows);
    }
    barrier();
    back.inputGram(state.normed, cols);
    back.squares(0, dGate, rows);
    back.transposed(dNormed, [gate, dGate]);
    barrier();
    back.behindNorm(0);
  },
};

// gelu(gate x) ∘ vector. Ends at a barrier. @param before where gates are kept, 0 for nowhere
function gateTokens(thread: Thread, state: State, block: PerLayer, count: number, before = 0): void {
  const { kernels } = thread;
  const { gate, gated } = block;
  const vector = readNormed(thread, state, 0, block.rotations, count); // as it is
  apply(thread, state, gate, count, gated, vector, (first, end) => {
    for (let j = 0; j < count; j++) {
      const own = state.perLayer + (j * state.perLayerFloats + block.first + first) * 4;
      const offset = (j * gate.rows + first) * 4;
      if (before) copyFloats(kernels, gated + offset, end - first, before + offset);
      kernels.geluTimes(gated + offset, own, end - first);
    }
  });
  thread.barrier();
}

/** Makes the vectors of tokens of their embeddings in the residual stream, whole. Ends at a barrier. */
export function embedLayers(thread: Thread, state: State & Begin, count: number, ids: Int32Array): void {
  const { kernels, index } = thread;
  const { perLayer, perLayerFloats, perLayerInputs, dim, epsilon, scratch } = state;
  if (!perLayerInputs) return;
  const { width, embedding, projection, rotations, norm, rows } = perLayerInputs;
  const vector = readRotated(thread, state, rotations, count);
  apply(thread, state, projection, count, perLayer, vector);
  thread.barrier();
  const [first, end] = tokensOfThread(thread, count);
  for (let j = first; j < end; j++) {
    const address = perLayer + j * perLayerFloats * 4;
    kernels.scale(address, 1 / Math.sqrt(dim), perLayerFloats);
    kernels.rmsNorm(address, norm, perLayerFloats / width, width, epsilon, address);
    decodeRow(kernels, embedding, ids[j], rows[index], scratch[index]);
    kernels.scale(rows[index], Math.sqrt(width), perLayerFloats);
    kernels.add(address, rows[index], perLayerFloats);
    kernels.scale(address, Math.SQRT1_2, perLayerFloats);
  }
  thread.barrier();
}
