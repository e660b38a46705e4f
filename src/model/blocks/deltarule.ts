// The gated delta rule as it runs: convolution, lengths, betas and decays by channels and tokens, then the rule, norm and gate by heads
// (Yang, Kautz, Hatamizadeh, arXiv 2412.06464). Of one head of values, for each token in order, with a state S (keyDim, valueDim):
//
//   S ← decay · S           decay = exp(−A · softplus(a + decayBias))
//   d = β · (v − Sᵀ k)      β = σ(b): what the key does not give yet, as far as it is to be learnt
//   S ← S + k dᵀ
//   y = Sᵀ q                q and k of length 1, q times 1 / √keyDim
//
// A token needs the state of the one before, so tokens are one after the other and heads are what threads share. Heads of values take turns
// on fewer heads of keys, as in grouped attention.

import type { DeltaTraits } from '../../families/architecture.ts';
import { type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import type { Pass } from '../pass.ts';
import { type Recurrent, stateAt } from '../recurrent.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, readNormed, tokensOfThread } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { Branch } from './branch.ts';

/** Under the root where queries and keys are made vectors of length 1. */
export const EPSILON = 1e-6;

/** The gated delta rule that runs, with regions. */
export interface DeltaRule extends DeltaTraits {
  /** Weights of the norm before the block: (dim), 0 for none. */
  readonly norm: number;
  /** How its input is rotated for `inputs`. */
  readonly rotations: readonly Rotation[];
  /** Weights of queries, keys, values, gates, betas and decays, or fewer that have the rows of several. */
  readonly inputs: readonly Linear[];
  /** Tokens that a channel's convolution sees. */
  readonly taps: number;
  /** Weights of the convolution, the oldest token's first: (channels, taps). */
  readonly weights: number;
  /** Added to each channel: (channels), 0 for none. */
  readonly bias: number;
  /** ln A of each head: a state decays by exp(−A · softplus(a + decayBias)): (valueHeads). */
  readonly rates: number;
  /** Added before softplus: (valueHeads). */
  readonly decayBias: number;
  /** Weights of the norm of each head's values: (valueDim). */
  readonly headNorm: number;
  /** The output weight, (dim, values), and what follows it. */
  readonly branch: Branch;
  /** (batch, channels + values), what one weight of all gives by heads; else 0. */
  readonly joined: number;
  /** Betas and decays by heads, where one weight gives both: (batch, 2 · valueHeads); else 0. */
  readonly joinedGates: number;
  /** Before convolution: (batch, channels): q, k, v. */
  readonly parts: number;
  /** After it, and silu; queries and keys of length 1: (batch, channels). */
  readonly convolved: number;
  /** (batch, values). */
  readonly gates: number;
  /** How much of the difference is learnt, σ: (batch, valueHeads). */
  readonly betas: number;
  /** What a state is multiplied by before each token: (batch, valueHeads). */
  readonly decays: number;
  /** What heads give: (batch, values). */
  readonly mixed: number;
  /** What a sequence keeps: (taps - 1, channels), then (valueHeads, keyDim, valueDim). */
  readonly recurrent: Recurrent;
}

/** Channels that are convolved, and those of values. */
export function widthsOf({ keyHeads, valueHeads, keyDim, valueDim }: DeltaTraits): {
  channels: number;
  values: number;
} {
  return { channels: 2 * keyHeads * keyDim + valueHeads * valueDim, values: valueHeads * valueDim };
}

/** Where what is changed in place is kept as it was before: gradients go back through it. */
export interface BeforeDeltaRule {
  /** (tokens, channels), before silu. */
  readonly convolved: number;
  /** Queries and keys of length 1: (tokens, 2 · keyHeads · keyDim). */
  readonly units: number;
  /** (tokens, valueHeads), what they are made of. */
  readonly decays: number;
  /** β · (v − S k), what is added along k: (tokens, values). */
  readonly learnt: number;
  /** What heads give before norm and gate: (tokens, values). */
  readonly ungated: number;
}

/** Up to the input of the output matrix. */
export function applyDeltaRule(
  thread: Thread,
  state: State,
  block: DeltaRule,
  pass: Pass,
  before?: BeforeDeltaRule,
): void {
  const { count } = pass;
  const { inputs, joined, joinedGates, parts, gates, betas, decays } = block;
  const vector = readNormed(thread, state, block.norm, block.rotations, count);
  const places = joined ? [joined, joinedGates] : [parts, gates, betas, decays];
  for (let i = 0; i < inputs.length; i++) apply(thread, state, inputs[i], count, places[i], vector);
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
function part(thread: Thread, block: DeltaRule, count: number): void {
  const [first, end] = tokensOfThread(thread, count);
  eachPart(block, block, first, end, (joined, count, apart) => copyFloats(thread.kernels, joined, count, apart));
}

/** Runs of floats of tokens `first` to `end`, where they stand by heads of keys and where each kind stands by itself. */
export function eachPart(
  { keyHeads, valueHeads, keyDim, valueDim }: DeltaTraits,
  places: Pick<DeltaRule, 'joined' | 'joinedGates' | 'parts' | 'gates' | 'betas' | 'decays'>,
  first: number,
  end: number,
  each: (joined: number, count: number, apart: number) => void,
): void {
  const { joined, joinedGates, parts, gates, betas, decays } = places;
  const heads = valueHeads / keyHeads;
  const width = heads * valueDim;
  const [keys, values] = [keyHeads * keyDim, valueHeads * valueDim];
  const channels = 2 * keys + values;
  for (let j = first; j < end; j++) {
    for (let head = 0; head < keyHeads; head++) {
      const from = joined + (j * (channels + values) + head * 2 * (keyDim + width)) * 4;
      const to = parts + j * channels * 4;
      each(from, keyDim, to + head * keyDim * 4);
      each(from + keyDim * 4, keyDim, to + (keys + head * keyDim) * 4);
      each(from + 2 * keyDim * 4, width, to + (2 * keys + head * width) * 4);
      each(from + (2 * keyDim + width) * 4, width, gates + (j * values + head * width) * 4);
      const pair = joinedGates + (j * keyHeads + head) * 2 * heads * 4;
      each(pair, heads, betas + (j * valueHeads + head * heads) * 4);
      each(pair + heads * 4, heads, decays + (j * valueHeads + head * heads) * 4);
    }
  }
}

/** This thread's channels of all segments, (batch, channels) to `to`. */
function convolveChannels(thread: Thread, block: DeltaRule, { segments }: Pass, to: number, silu: 0 | 1): void {
  const { kernels, index, count } = thread;
  const { taps, weights, bias, parts, recurrent } = block;
  const { channels } = widthsOf(block);
  const first = share(index, count, channels, ROWS_APART);
  const length = share(index + 1, count, channels, ROWS_APART) - first;
  let token = 0;
  for (const segment of segments) {
    const offset = (token * channels + first) * 4;
    kernels.convolve(
      ...([
        parts + offset,
        channels,
        length,
        segment.count,
        weights + first * taps * 4,
        bias && bias + first * 4,
      ] as const),
      ...([taps, stateAt(recurrent, segment.slot) + first * 4, channels, segment.position === 0 ? 1 : 0] as const),
      ...([silu, to + offset, channels] as const),
    );
    token += segment.count;
  }
}

// Betas and decays of this thread's tokens.
function gateTokens(thread: Thread, block: DeltaRule, count: number, before?: BeforeDeltaRule): void {
  const { valueHeads, rates, decayBias, betas, decays } = block;
  const [first, end] = tokensOfThread(thread, count);
  for (let j = first; j < end; j++) {
    const offset = j * valueHeads * 4;
    if (before) copyFloats(thread.kernels, decays + offset, valueHeads, before.decays + offset);
    thread.kernels.deltaGates(decays + offset, rates, decayBias, betas + offset, valueHeads);
  }
}

// Queries and keys of this thread's tokens become vectors of length 1, and queries are scaled.
function makeUnit(thread: Thread, block: DeltaRule, count: number, before?: BeforeDeltaRule): void {
  const { kernels } = thread;
  const { keyHeads, keyDim, convolved } = block;
  const { channels } = widthsOf(block);
  const [first, end] = tokensOfThread(thread, count);
  for (let j = first; j < end; j++) {
    const address = convolved + j * channels * 4;
    const both = 2 * keyHeads * keyDim;
    if (before) copyFloats(kernels, address, both, before.units + j * both * 4);
    kernels.unitNorm(address, keyHeads, keyDim, keyDim, EPSILON, 1 / Math.sqrt(keyDim));
    kernels.unitNorm(address + keyHeads * keyDim * 4, keyHeads, keyDim, keyDim, EPSILON, 1);
  }
}

// The rule, norm and gate of this thread's heads.
function runHeads(thread: Thread, state: State, block: DeltaRule, { segments }: Pass, before?: BeforeDeltaRule): void {
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
        const address = y + j * values * 4;
        if (before) {
          copyFloats(kernels, mixed + address, valueDim, before.learnt + address);
          copyFloats(kernels, gates + address, valueDim, before.ungated + address);
        }
        kernels.rmsNorm(mixed + address, headNorm, 1, valueDim, state.epsilon, mixed + address);
        kernels.siluTimes(gates + address, mixed + address, valueDim);
      }
      token += segment.count;
    }
  }
}
