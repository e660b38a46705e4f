// The gated short convolution: b, c and x of norm(x), then x += output(c ∘ y), y the causal convolution of b ∘ x over the last tokens.
// Each channel is one thread's. A sequence keeps the last taps - 1 of b ∘ x.

import type { ConvolutionSpec } from '../../families/architecture.ts';
import { type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import { type Recurrent, stateAt } from '../recurrent.ts';
import { apply, normTokens } from '../steps.ts';
import { share } from '../team.ts';
import type { BlockKind } from './block.ts';
import { addBranch, type Branch, planBranch } from './branch.ts';

export interface Convolution {
  readonly kind: 'convolution';
  readonly norm: number; // (dim), 0 for none
  readonly rotations: readonly Rotation[];
  readonly input: Linear;
  readonly channels: number;
  readonly taps: number;
  readonly weights: number; // (channels, taps)
  readonly bias: number; // (channels), 0 for none
  readonly branch: Branch;
  readonly parts: number; // (batch, 3 · channels): b, c, x
  readonly mixed: number; // (batch, channels)
  readonly recurrent: Recurrent; // (taps - 1, channels)
}

export const convolution: BlockKind<ConvolutionSpec, Convolution> = {
  linears: ({ input, output }) => [input, output],
  stateFloats: ({ kernel }) => (kernel.taps - 1) * kernel.channels,

  plan(spec, planner) {
    const { name, channels, taps, bias } = spec.kernel;
    const [parts, mixed] = [planner.activation('parts', 3 * channels), planner.activation('mixed', channels)];
    const norm = planner.norm(spec.norm, spec.input.cols);
    const input = planner.linear(spec.input, planner.normed);
    return {
      ...{ kind: 'convolution', norm, input, channels, taps, parts, mixed },
      weights: planner.tensor(`${name}.weight`, [channels, 1, taps]),
      bias: bias ? planner.tensor(`${name}.bias`, [channels]) : 0,
      branch: planBranch(planner, spec, mixed),
      rotations: planner.rotationsOf(input),
      recurrent: planner.recurrent((taps - 1) * channels),
    };
  },

  weights: ({ input, branch }) => [input, branch.output],
  replace: (block, place, linear) =>
    place === 0 ? { ...block, input: linear } : { ...block, branch: { ...block.branch, output: linear } },

  forward(thread, state, block, { count, segments }) {
    const { kernels, index } = thread;
    const { channels, taps, weights, bias, parts, mixed, recurrent } = block;
    normTokens(thread, state, block.norm, block.rotations, 0, count);
    thread.barrier();
    apply(thread, state, block.input, count, parts);
    thread.barrier();
    const first = share(index, thread.count, channels, ROWS_APART);
    const own = share(index + 1, thread.count, channels, ROWS_APART) - first;
    const wide = channels * 4;
    for (let j = 0; j < count; j++) {
      const at = parts + j * 3 * wide + first * 4;
      kernels.multiply(at, at + 2 * wide, own);
    }
    let token = 0;
    for (const segment of segments) {
      const [from, to] = [parts + token * 3 * wide + first * 4, mixed + token * wide + first * 4];
      kernels.convolve(
        ...([from, 3 * channels, own, segment.count, weights + first * taps * 4, bias && bias + first * 4] as const),
        ...([taps, stateAt(recurrent, segment.slot) + first * 4, channels, segment.position === 0 ? 1 : 0] as const),
        ...([0, to, channels] as const),
      );
      token += segment.count;
    }
    for (let j = 0; j < count; j++) {
      kernels.multiply(mixed + j * wide + first * 4, parts + (3 * j + 1) * wide + first * 4, own);
    }
    thread.barrier();
    addBranch(thread, state, block.branch, count);
  },
};
