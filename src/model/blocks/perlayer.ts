// What a layer takes of the token's vector for it: x += norm(output(gelu(gate x) ∘ vector)).

import type { PerLayerSpec } from '../../families/architecture.ts';
import { type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import { apply, normTokens } from '../steps.ts';
import { share } from '../team.ts';
import type { BlockKind } from './block.ts';
import { addBranch, type Branch, planBranch } from './branch.ts';

export interface PerLayer {
  readonly kind: 'perLayer';
  readonly rotations: readonly Rotation[];
  readonly gate: Linear;
  readonly first: number;
  readonly gated: number; // (batch, rows of gate)
  readonly branch: Branch;
}

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
    const { kernels, index } = thread;
    const { gate, gated } = block;
    normTokens(thread, state, 0, block.rotations, 0, count); // as it is
    thread.barrier();
    apply(thread, state, gate, count, gated);
    const first = share(index, thread.count, gate.rows, ROWS_APART);
    const own = share(index + 1, thread.count, gate.rows, ROWS_APART) - first;
    for (let j = 0; j < count; j++) {
      const vector = state.perLayer + (j * state.perLayerFloats + block.first + first) * 4;
      kernels.geluTimes(gated + (j * gate.rows + first) * 4, vector, own);
    }
    thread.barrier();
    addBranch(thread, state, block.branch, count);
  },
};
