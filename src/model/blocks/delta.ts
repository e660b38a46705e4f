// The gated delta rule: queries, keys and values of norm(x) go through a causal convolution and silu; each head of values keeps a matrix
// that forgets by its decay and learns what its key does not give yet; x += output(norm(what its query gives) ∘ silu(gate)).
// A head is one thread's. A sequence keeps the convolution's last inputs, and the matrices.

import type { DeltaSpec, DeltaTraits } from '../../families/architecture.ts';
import { type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import type { Pass } from '../pass.ts';
import { type Recurrent, stateAt } from '../recurrent.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, normTokens, ownTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { BlockKind } from './block.ts';
import { addBranch, type Branch, planBranch } from './branch.ts';

/** Under the root where queries and keys are made vectors of length 1. */
const EPSILON = 1e-6;

export interface Delta extends DeltaTraits {
  readonly norm: number; // (dim), 0 for none
  readonly rotations: readonly Rotation[];
  readonly inputs: readonly Linear[];
  readonly taps: number;
  readonly weights: number; // (channels, taps)
  readonly bias: number; // (channels), 0 for none
  readonly rates: number; // (valueHeads)
  readonly decayBias: number; // (valueHeads)
  readonly headNorm: number; // (valueDim)
  readonly branch: Branch;
  readonly joined: number; // (batch, channels + values), what one weight of all gives by heads; else 0
  readonly joinedGates: number; // (batch, 2 · valueHeads); else 0
  readonly parts: number; // (batch, channels): q, k, v
  readonly convolved: number; // (batch, channels)
  readonly gates: number; // (batch, values)
  readonly betas: number; // (batch, valueHeads)
  readonly decays: number; // (batch, valueHeads)
  readonly mixed: number; // (batch, values)
  readonly recurrent: Recurrent; // (taps - 1, channels), then (valueHeads, keyDim, valueDim)
}

/** Channels that are convolved, and those of values. */
function widthsOf({ keyHeads, valueHeads, keyDim, valueDim }: DeltaTraits): { channels: number; values: number } {
  return { channels: 2 * keyHeads * keyDim + valueHeads * valueDim, values: valueHeads * valueDim };
}

export const delta: BlockKind<DeltaSpec, Delta> = {
  linears: ({ inputs, output }) => [...inputs, output],
  stateFloats: (spec) => (spec.kernel.taps - 1) * widthsOf(spec).channels + spec.keyDim * widthsOf(spec).values,

  plan(spec, planner) {
    const { keyHeads, valueHeads, keyDim, valueDim } = spec;
    const { name, taps, bias } = spec.kernel;
    const { channels, values } = widthsOf(spec);
    const isJoined = spec.inputs.length === 2;
    const regions = {
      joined: isJoined ? planner.activation('joined', channels + values) : 0,
      joinedGates: isJoined ? planner.activation('joinedGates', 2 * valueHeads) : 0,
      parts: planner.activation('parts', channels),
      convolved: planner.activation('convolved', channels),
      gates: planner.activation('gates', values),
      betas: planner.activation('betas', valueHeads),
      decays: planner.activation('decays', valueHeads),
      mixed: planner.activation('mixed', values),
    };
    const norm = planner.norm(spec.norm, spec.inputs[0].cols);
    const inputs = spec.inputs.map((input) => planner.linear(input, planner.normed));
    return {
      ...{ kind: 'delta', keyHeads, valueHeads, keyDim, valueDim, norm, inputs, taps },
      weights: planner.tensor(`${name}.weight`, [channels, 1, taps]),
      bias: bias ? planner.tensor(`${name}.bias`, [channels]) : 0,
      rates: planner.tensor(spec.rates.name, [valueHeads]),
      decayBias: planner.tensor(spec.bias.name, [valueHeads]),
      headNorm: planner.norm(spec.headNorm, valueDim),
      branch: planBranch(planner, spec, regions.gates),
      rotations: planner.rotationsOf(...inputs),
      ...regions,
      recurrent: planner.recurrent((taps - 1) * channels + keyDim * values),
    };
  },

  weights: ({ inputs, branch }) => [...inputs, branch.output],
  replace: (block, place, linear) => ({
    ...block,
    inputs: block.inputs.map((own, i) => (i === place ? linear : own)),
    branch: place < block.inputs.length ? block.branch : { ...block.branch, output: linear },
  }),

  forward(thread, state, block, pass) {
    const { count } = pass;
    const { inputs, joined, joinedGates, parts, gates, betas, decays } = block;
    normTokens(thread, state, block.norm, block.rotations, 0, count);
    thread.barrier();
    const places = joined ? [joined, joinedGates] : [parts, gates, betas, decays];
    for (let i = 0; i < inputs.length; i++) apply(thread, state, inputs[i], count, places[i]);
    thread.barrier();
    if (joined) {
      part(thread, block, count);
      thread.barrier();
    }
    convolveChannels(thread, block, pass);
    gateTokens(thread, block, count);
    thread.barrier();
    makeUnit(thread, block, count);
    thread.barrier();
    runHeads(thread, state, block, pass);
    thread.barrier();
    addBranch(thread, state, block.branch, count);
  },
};

// What stands by heads of keys goes to where each kind stands by itself: this thread's tokens.
function part(thread: Thread, block: Delta, count: number): void {
  const { kernels } = thread;
  const { keyHeads, valueHeads, keyDim, valueDim, joined, joinedGates, parts, gates, betas, decays } = block;
  const { channels, values } = widthsOf(block);
  const heads = valueHeads / keyHeads;
  const own = heads * valueDim;
  const keys = keyHeads * keyDim;
  const [first, end] = ownTokens(thread, count);
  const copy = (from: number, count: number, to: number) => copyFloats(kernels, from, count, to);
  for (let j = first; j < end; j++) {
    for (let head = 0; head < keyHeads; head++) {
      const from = joined + (j * (channels + values) + head * 2 * (keyDim + own)) * 4;
      const to = parts + j * channels * 4;
      copy(from, keyDim, to + head * keyDim * 4);
      copy(from + keyDim * 4, keyDim, to + (keys + head * keyDim) * 4);
      copy(from + 2 * keyDim * 4, own, to + (2 * keys + head * own) * 4);
      copy(from + (2 * keyDim + own) * 4, own, gates + (j * values + head * own) * 4);
      const pair = joinedGates + (j * keyHeads + head) * 2 * heads * 4;
      copy(pair, heads, betas + (j * valueHeads + head * heads) * 4);
      copy(pair + heads * 4, heads, decays + (j * valueHeads + head * heads) * 4);
    }
  }
}

// This thread's channels of all segments.
function convolveChannels({ kernels, index, count }: Thread, block: Delta, { segments }: Pass): void {
  const { taps, weights, bias, parts, convolved, recurrent } = block;
  const { channels } = widthsOf(block);
  const first = share(index, count, channels, ROWS_APART);
  const own = share(index + 1, count, channels, ROWS_APART) - first;
  let token = 0;
  for (const segment of segments) {
    const at = (token * channels + first) * 4;
    kernels.convolve(
      ...([parts + at, channels, own, segment.count, weights + first * taps * 4, bias && bias + first * 4] as const),
      ...([taps, stateAt(recurrent, segment.slot) + first * 4, channels, segment.position === 0 ? 1 : 0] as const),
      ...([1, convolved + at, channels] as const),
    );
    token += segment.count;
  }
}

// Betas and decays of this thread's tokens.
function gateTokens(thread: Thread, { valueHeads, rates, decayBias, betas, decays }: Delta, count: number): void {
  const [first, end] = ownTokens(thread, count);
  for (let j = first; j < end; j++) {
    const at = j * valueHeads * 4;
    thread.kernels.deltaGates(decays + at, rates, decayBias, betas + at, valueHeads);
  }
}

// Queries and keys of this thread's tokens become vectors of length 1, and queries are scaled.
function makeUnit(thread: Thread, block: Delta, count: number): void {
  const { kernels } = thread;
  const { keyHeads, keyDim, convolved } = block;
  const { channels } = widthsOf(block);
  const [first, end] = ownTokens(thread, count);
  for (let j = first; j < end; j++) {
    const at = convolved + j * channels * 4;
    kernels.unitNorm(at, keyHeads, keyDim, keyDim, EPSILON, 1 / Math.sqrt(keyDim));
    kernels.unitNorm(at + keyHeads * keyDim * 4, keyHeads, keyDim, keyDim, EPSILON, 1);
  }
}

// The rule, norm and gate of this thread's heads.
function runHeads({ kernels, index, count }: Thread, state: State, block: Delta, { segments }: Pass): void {
  const { keyHeads, valueHeads, keyDim, valueDim, taps, convolved, gates, betas, decays, mixed, headNorm } = block;
  const { channels, values } = widthsOf(block);
  const keys = keyHeads * keyDim;
  const end = share(index + 1, count, valueHeads, 1);
  for (let head = share(index, count, valueHeads, 1); head < end; head++) {
    const keyHead = Math.floor((head * keyHeads) / valueHeads);
    let token = 0;
    for (const segment of segments) {
      const q = convolved + (token * channels + keyHead * keyDim) * 4;
      const v = convolved + (token * channels + 2 * keys + head * valueDim) * 4;
      const gate = (token * valueHeads + head) * 4;
      const matrix = stateAt(block.recurrent, segment.slot) + ((taps - 1) * channels + head * keyDim * valueDim) * 4;
      const y = (token * values + head * valueDim) * 4;
      kernels.deltaRule(
        ...([q, q + keys * 4, v, channels, decays + gate, betas + gate, valueHeads, segment.count] as const),
        ...([keyDim, valueDim, matrix, segment.position === 0 ? 1 : 0, mixed + y, values] as const),
      );
      for (let j = 0; j < segment.count; j++) {
        const at = y + j * values * 4;
        kernels.rmsNorm(mixed + at, headNorm, 1, valueDim, state.epsilon, mixed + at);
        kernels.siluTimes(gates + at, mixed + at, valueDim);
      }
      token += segment.count;
    }
  }
}
