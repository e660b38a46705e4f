// The gated delta rule as it runs: convolution, lengths, betas and decays by channels and tokens, then the rule, norm and gate by heads.

import type { DeltaTraits } from '../../families/architecture.ts';
import { type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import type { Pass } from '../pass.ts';
import { type Recurrent, stateAt } from '../recurrent.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, normTokens, ownTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { Branch } from './branch.ts';

/** Under the root where queries and keys are made vectors of length 1. */
export const EPSILON = 1e-6;

/** The gated delta rule that runs, with regions. */
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
export function widthsOf({ keyHeads, valueHeads, keyDim, valueDim }: DeltaTraits): {
  channels: number;
  values: number;
} {
  return { channels: 2 * keyHeads * keyDim + valueHeads * valueDim, values: valueHeads * valueDim };
}

/** Where what is changed in place is kept as it was before: gradients go back through it. */
export interface Before {
  readonly convolved: number; // (tokens, channels), before silu
  readonly units: number; // (tokens, 2 · keyHeads · keyDim)
  readonly decays: number; // (tokens, valueHeads), what they are made of
  readonly learnt: number; // (tokens, values)
  readonly ungated: number; // (tokens, values)
}

/** Up to the input of the output matrix. */
export function mixTokens(thread: Thread, state: State, block: Delta, pass: Pass, before?: Before): void {
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
  if (before) convolveChannels(thread, block, pass, before.convolved, 0);
  convolveChannels(thread, block, pass, block.convolved, 1);
  gateTokens(thread, block, count, before);
  thread.barrier();
  makeUnit(thread, block, count, before);
  thread.barrier();
  runHeads(thread, state, block, pass, before);
  thread.barrier();
}

// What stands by heads of keys goes to where each kind stands by itself: this thread's tokens.
function part(thread: Thread, block: Delta, count: number): void {
  const [first, end] = ownTokens(thread, count);
  eachPart(block, block, first, end, (joined, count, apart) => copyFloats(thread.kernels, joined, count, apart));
}

/** Runs of floats of tokens `first` to `end`, where they stand by heads of keys and where each kind stands by itself. */
export function eachPart(
  { keyHeads, valueHeads, keyDim, valueDim }: DeltaTraits,
  places: Pick<Delta, 'joined' | 'joinedGates' | 'parts' | 'gates' | 'betas' | 'decays'>,
  first: number,
  end: number,
  each: (joined: number, count: number, apart: number) => void,
): void {
  const { joined, joinedGates, parts, gates, betas, decays } = places;
  const heads = valueHeads / keyHeads;
  const own = heads * valueDim;
  const [keys, values] = [keyHeads * keyDim, valueHeads * valueDim];
  const channels = 2 * keys + values;
  for (let j = first; j < end; j++) {
    for (let head = 0; head < keyHeads; head++) {
      const from = joined + (j * (channels + values) + head * 2 * (keyDim + own)) * 4;
      const to = parts + j * channels * 4;
      each(from, keyDim, to + head * keyDim * 4);
      each(from + keyDim * 4, keyDim, to + (keys + head * keyDim) * 4);
      each(from + 2 * keyDim * 4, own, to + (2 * keys + head * own) * 4);
      each(from + (2 * keyDim + own) * 4, own, gates + (j * values + head * own) * 4);
      const pair = joinedGates + (j * keyHeads + head) * 2 * heads * 4;
      each(pair, heads, betas + (j * valueHeads + head * heads) * 4);
      each(pair + heads * 4, heads, decays + (j * valueHeads + head * heads) * 4);
    }
  }
}

/** This thread's channels of all segments, (batch, channels) to `to`. */
function convolveChannels(thread: Thread, block: Delta, { segments }: Pass, to: number, silu: 0 | 1): void {
  const { kernels, index, count } = thread;
  const { taps, weights, bias, parts, recurrent } = block;
  const { channels } = widthsOf(block);
  const first = share(index, count, channels, ROWS_APART);
  const own = share(index + 1, count, channels, ROWS_APART) - first;
  let token = 0;
  for (const segment of segments) {
    const at = (token * channels + first) * 4;
    kernels.convolve(
      ...([parts + at, channels, own, segment.count, weights + first * taps * 4, bias && bias + first * 4] as const),
      ...([taps, stateAt(recurrent, segment.slot) + first * 4, channels, segment.position === 0 ? 1 : 0] as const),
      ...([silu, to + at, channels] as const),
    );
    token += segment.count;
  }
}

// Betas and decays of this thread's tokens.
function gateTokens(thread: Thread, block: Delta, count: number, before?: Before): void {
  const { valueHeads, rates, decayBias, betas, decays } = block;
  const [first, end] = ownTokens(thread, count);
  for (let j = first; j < end; j++) {
    const at = j * valueHeads * 4;
    if (before) copyFloats(thread.kernels, decays + at, valueHeads, before.decays + at);
    thread.kernels.deltaGates(decays + at, rates, decayBias, betas + at, valueHeads);
  }
}

// Queries and keys of this thread's tokens become vectors of length 1, and queries are scaled.
function makeUnit(thread: Thread, block: Delta, count: number, before?: Before): void {
  const { kernels } = thread;
  const { keyHeads, keyDim, convolved } = block;
  const { channels } = widthsOf(block);
  const [first, end] = ownTokens(thread, count);
  for (let j = first; j < end; j++) {
    const at = convolved + j * channels * 4;
    const both = 2 * keyHeads * keyDim;
    if (before) copyFloats(kernels, at, both, before.units + j * both * 4);
    kernels.unitNorm(at, keyHeads, keyDim, keyDim, EPSILON, 1 / Math.sqrt(keyDim));
    kernels.unitNorm(at + keyHeads * keyDim * 4, keyHeads, keyDim, keyDim, EPSILON, 1);
  }
}

// The rule, norm and gate of this thread's heads.
function runHeads(thread: Thread, state: State, block: Delta, { segments }: Pass, before?: Before): void {
  const { kernels, index, count } = thread;
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
        if (before) {
          copyFloats(kernels, mixed + at, valueDim, before.learnt + at);
          copyFloats(kernels, gates + at, valueDim, before.ungated + at);
        }
        kernels.rmsNorm(mixed + at, headNorm, 1, valueDim, state.epsilon, mixed + at);
        kernels.siluTimes(gates + at, mixed + at, valueDim);
      }
      token += segment.count;
    }
  }
}
