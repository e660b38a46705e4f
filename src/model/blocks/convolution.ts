// The gated short convolution: b, c and x of norm(x), then x += output(c ∘ y), y the causal convolution of b ∘ x over the last tokens.
// Each channel is one thread's. A sequence keeps the last taps - 1 of b ∘ x.

import type { ConvolutionSpec } from '../../families/architecture.ts';
import { type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import type { Pass } from '../pass.ts';
import { type Recurrent, stateAt } from '../recurrent.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, readNormed } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { Back, BlockKind } from './block.ts';
import { addBranch, type Branch, branchBack, branchGradients, planBranch } from './branch.ts';

/** A gated short convolution that runs, with regions. */
export interface Convolution {
  readonly kind: 'convolution';
  /** Weights of the norm before the block: (dim), 0 for none. */
  readonly norm: number;
  /** How its input is rotated for `input`. */
  readonly rotations: readonly Rotation[];
  /** The weight of b, c and x, (3 · channels, dim). */
  readonly input: Linear;
  /** Channels, each convolved by itself. */
  readonly channels: number;
  /** Tokens that a channel sees, the last ones. */
  readonly taps: number;
  /** Weights of each channel, the oldest token's first: (channels, taps). */
  readonly weights: number;
  /** Added to each channel: (channels), 0 for none. */
  readonly bias: number;
  /** The output weight, (dim, channels), and what follows it. */
  readonly branch: Branch;
  /** (batch, 3 · channels): b, c, x. */
  readonly parts: number;
  /** c ∘ y: (batch, channels). */
  readonly mixed: number;
  /** What a sequence keeps, b ∘ x of its last tokens: (taps - 1, channels). */
  readonly recurrent: Recurrent;
}

/** A gated short convolution: what it needs, forward and back. */
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
  statistics: () => ['input', 'output'].map(() => ({ cut: false, outputs: true })),
  replace: (block, place, linear) =>
    place === 0 ? { ...block, input: linear } : { ...block, branch: { ...block.branch, output: linear } },

  forward(thread, state, block, pass) {
    mixChannels(thread, state, block, pass);
    addBranch(thread, state, block.branch, pass.count);
  },

  gradients: ({ channels, branch }, tokens, draws) => ({
    b: tokens * channels,
    convolved: tokens * channels, // before it is multiplied by c
    dMixed: draws * tokens * channels,
    dConvolved: draws * tokens * channels,
    dParts: draws * tokens * 3 * channels,
    ...branchGradients(branch, tokens, draws),
  }),

  back(back, block) {
    const { thread, state, draws, dNormed, pass } = back;
    const { barrier } = thread;
    const { channels, input, mixed, branch } = block;
    const { count: tokens } = pass;
    const before = { b: back.region('b'), convolved: back.region('convolved') };
    const [dMixed, dConvolved, dParts] = ['dMixed', 'dConvolved', 'dParts'].map((name) => back.region(name));

    back.restore();
    barrier();
    mixChannels(thread, state, block, pass, before);
    const dOutput = branchBack(back, branch);
    back.inputGram(mixed, channels);
    back.squares(1, dOutput, branch.output.rows);
    back.transposed(dMixed, [branch.output, dOutput]);
    barrier();
    for (let draw = 0; draw < draws; draw++) {
      const from = draw * tokens * channels * 4;
      channelsBack(back, block, before, dMixed + from, dConvolved + from, dParts + 3 * from);
    }
    barrier();
    back.inputGram(state.normed, input.cols);
    back.squares(0, dParts, input.rows);
    back.transposed(dNormed, [input, dParts]);
    barrier();
    back.behindNorm(block.norm);
  },
};

/** Where b is kept, and what was convolved before it is multiplied by c: (tokens, channels) each. */
interface BeforeConvolution {
  readonly b: number;
  readonly convolved: number;
}

// Up to the input of the output matrix.
function mixChannels(thread: Thread, state: State, block: Convolution, pass: Pass, before?: BeforeConvolution): void {
  const { kernels } = thread;
  const { channels, taps, weights, bias, parts, mixed, recurrent } = block;
  const { count, segments } = pass;
  const vector = readNormed(thread, state, block.norm, block.rotations, count);
  apply(thread, state, block.input, count, parts, vector);
  thread.barrier();
  const [first, owned] = ownChannels(thread, channels);
  const wide = channels * 4;
  for (let j = 0; j < count; j++) {
    const address = parts + j * 3 * wide + first * 4;
    if (before) copyFloats(kernels, address, owned, before.b + j * wide + first * 4);
    kernels.multiply(address, address + 2 * wide, owned);
  }
  let token = 0;
  for (const segment of segments) {
    const [from, to] = [parts + token * 3 * wide + first * 4, mixed + token * wide + first * 4];
    kernels.convolve(
      ...([from, 3 * channels, owned, segment.count, weights + first * taps * 4, bias && bias + first * 4] as const),
      ...([taps, stateAt(recurrent, segment.slot) + first * 4, channels, segment.position === 0 ? 1 : 0] as const),
      ...([0, to, channels] as const),
    );
    token += segment.count;
  }
  for (let j = 0; j < count; j++) {
    const offset = j * wide + first * 4;
    if (before) copyFloats(kernels, mixed + offset, owned, before.convolved + offset);
    kernels.multiply(mixed + offset, parts + (3 * j + 1) * wide + first * 4, owned);
  }
  thread.barrier();
}

function ownChannels({ index, count }: Thread, channels: number): [first: number, own: number] {
  const first = share(index, count, channels, ROWS_APART);
  return [first, share(index + 1, count, channels, ROWS_APART) - first];
}

// Gradients of one draw before the output matrix to those of b, c and x: this thread's channels.
function channelsBack(
  back: Back,
  block: Convolution,
  before: BeforeConvolution,
  d: number,
  dConvolved: number,
  to: number,
): void {
  const { kernels } = back.thread;
  const { channels, parts } = block;
  const [first, count] = ownChannels(back.thread, channels);
  const wide = channels * 4;
  for (let j = 0; j < back.pass.count; j++) {
    const [offset, row] = [j * wide + first * 4, 3 * j * wide + first * 4];
    copyFloats(kernels, d + offset, count, to + row + wide);
    kernels.multiply(to + row + wide, before.convolved + offset, count);
    copyFloats(kernels, d + offset, count, dConvolved + offset);
    kernels.multiply(dConvolved + offset, parts + row + wide, count);
  }
  convolveBack(back, block, channels, dConvolved, to, 3 * channels);
  for (let j = 0; j < back.pass.count; j++) {
    const [offset, row] = [j * wide + first * 4, 3 * j * wide + first * 4];
    copyFloats(kernels, to + row, count, to + row + 2 * wide);
    kernels.multiply(to + row + 2 * wide, before.b + offset, count);
    kernels.multiply(to + row, parts + row + 2 * wide, count);
  }
}

/**
 * Gradients behind a causal convolution of a whole sequence, (tokens, channels), to those before it, a token `stride` f32 further: this
 * thread's channels. What a token gave to those behind it comes back from them: the same convolution, from the last token to the first.
 */
export function convolveBack(
  { thread, pass }: Back,
  { taps, weights, recurrent }: Pick<Convolution, 'taps' | 'weights' | 'recurrent'>,
  channels: number,
  d: number,
  to: number,
  stride: number,
): void {
  const [first, count] = ownChannels(thread, channels);
  const last = pass.count - 1;
  const [from, end] = [d + (last * channels + first) * 4, to + (last * stride + first) * 4];
  thread.kernels.convolve(
    ...([from, -channels, count, pass.count, weights + first * taps * 4, 0, taps] as const),
    ...([stateAt(recurrent, 0) + first * 4, channels, 1, 0, end, -stride] as const),
  );
}
