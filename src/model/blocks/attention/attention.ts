// Attention of grouped heads over the cache: x += output(mix(rope(q), rope(k), v)), q, k and v of norm(x).
// A token sees those before it in its own sequence, as far back as the window reaches. Norms of queries and keys, rope, a cap of the
// scores and a temperature are there where the model has them; q, k and v are three weights, or the rows of one.

import type { AttentionSpec, AttentionTraits } from '../../../families/architecture.ts';
import { log } from '../../../numerics/exponential.ts';
import { attendCached, type BlockCache, keyAt, store, valueAt } from '../../cache.ts';
import type { Linear, Rotation } from '../../linear.ts';
import type { Pass } from '../../pass.ts';
import type { State } from '../../state.ts';
import { apply, copyFloats, readNormed, tokensOfThread } from '../../steps.ts';
import { share, type Thread } from '../../team.ts';
import type { Back, BlockKind } from '../block.ts';
import {
  addBranch,
  type Branch,
  branchBack,
  branchGradients,
  planBranch,
  replaceBranchWeight,
  weightsInOrder,
} from '../branch.ts';

/** Attention that runs, with regions. */
export interface Attention extends AttentionTraits {
  /** Weights of the norm before the block: (dim), 0 for none. */
  readonly norm: number;
  /** How its input is rotated for `inputs`. */
  readonly rotations: readonly Rotation[];
  /** Weights of queries, keys and values, (heads · headDim or kvHeads · headDim, dim), or one that has the rows of all three. */
  readonly inputs: readonly Linear[];
  /** Weights of the norm of queries: (headDim) or (heads · headDim), 0 for none. */
  readonly qNorm: number;
  /** Weights of the norm of keys: (headDim) or (kvHeads · headDim). */
  readonly kNorm: number;
  /** Whether norms are of each head or of all heads together. */
  readonly normOf: NonNullable<AttentionSpec['queryKeyNorms']>['of'] | undefined;
  /** The output weight, (dim, heads · headDim), and what follows it. */
  readonly branch: Branch;
  /** its place in state.ropes, -1 for none. */
  readonly rope: number;
  /** (batch, (heads + 2 · kvHeads) · headDim), what one weight of all three gives; else 0. */
  readonly fused: number;
  /** (batch, heads · headDim), turned in place. */
  readonly queries: number;
  /** (batch, kvHeads · headDim), turned in place, then copied to the cache. */
  readonly keys: number;
  /** (batch, kvHeads · headDim). */
  readonly values: number;
  /** What heads give: (batch, heads · headDim). */
  readonly mixed: number;
  /** A logit of each head that takes part in softmax and mixes nothing: (heads), 0 for none. */
  readonly sinks: number;
  /** (batch, heads, 2, headDim), queries and gates; else 0. */
  readonly gatedQueries: number;
  /** (batch, heads · headDim); else 0. */
  readonly gates: number;
  /** Where keys and values of the sequences' tokens are kept. */
  readonly cache: BlockCache;
  /** Whether the cache is another block's: keys and values are there already. */
  readonly borrows: boolean;
  /** Its name, where blocks share it. */
  readonly cacheKey: string | undefined;
}

/** Attention: what it needs, forward and back. */
export const attention: BlockKind<AttentionSpec, Attention> = {
  linears: ({ inputs, output }) => [...inputs, output],

  plan(spec, planner) {
    const { heads, kvHeads, headDim, window, scale, cap, temperature, gated, normsValues, queryKeyNorms: norms } = spec;
    const [wide, narrow] = [heads * headDim, kvHeads * headDim];
    const borrows = spec.cache?.isOwn === false;
    const cache = borrows ? planner.borrow(spec.cache.key, kvHeads, headDim) : planner.cache(kvHeads, headDim);
    if (spec.cache?.isOwn) planner.lend(spec.cache.key, cache);
    const regions = {
      queries: planner.activation('queries', wide),
      keys: planner.activation('keys', narrow),
      values: planner.activation('values', narrow),
      mixed: planner.activation('mixed', wide),
      gatedQueries: spec.gated ? planner.activation('gatedQueries', 2 * wide) : 0,
      gates: spec.gated ? planner.activation('gates', wide) : 0,
      fused: spec.inputs.length === 1 && !borrows ? planner.activation('fused', wide + 2 * narrow) : 0,
    };
    const ofRow = norms?.of === 'row';
    const norm = planner.norm(spec.norm, spec.inputs[0].cols);
    const inputs = spec.inputs.map((input) => planner.linear(input, planner.normed));
    return {
      ...{ kind: 'attention', heads, kvHeads, headDim, window, scale, cap, temperature, gated, norm, inputs },
      qNorm: planner.norm(norms?.q, ofRow ? wide : headDim),
      kNorm: borrows ? 0 : planner.norm(norms?.k, ofRow ? narrow : headDim),
      normOf: norms?.of,
      branch: planBranch(planner, spec, regions.mixed),
      rotations: planner.rotationsOf(...inputs),
      sinks: spec.sinks ? planner.tensor(spec.sinks.name, [heads]) : 0,
      rope: spec.rope ? planner.rope(spec.rope) : -1,
      ...regions,
      ...{ cache, borrows, normsValues, cacheKey: spec.cache?.key },
    };
  },

  weights: weightsInOrder,
  statistics: ({ inputs }) => [...inputs, 'output'].map(() => ({ cut: false, outputs: true })),
  replace: replaceBranchWeight,

  forward(thread, state, block, pass) {
    mixTokens(thread, state, block, pass);
    addBranch(thread, state, block.branch, pass.count);
  },

  gradients(block, tokens, draws) {
    const { heads, kvHeads, headDim, qNorm, kNorm, normsValues, fused, gates, branch, cacheKey } = block;
    const [wide, narrow] = [tokens * heads * headDim, tokens * kvHeads * headDim];
    return {
      ...(cacheKey !== undefined && {
        [lentName(cacheKey, 'K')]: draws * narrow,
        [lentName(cacheKey, 'V')]: draws * narrow,
      }),
      q: qNorm ? wide : 0, // before their norms
      k: kNorm ? narrow : 0,
      v: normsValues ? narrow : 0,
      dMixed: draws * wide,
      dQ: draws * wide,
      dK: draws * narrow,
      dV: draws * narrow,
      dFused: fused ? draws * (wide + 2 * narrow) : 0,
      ungated: gates ? wide : 0, // what heads mixed, before their gates
      dGates: gates ? draws * wide : 0,
      dGatedQueries: gates ? draws * 2 * wide : 0,
      ...branchGradients(branch, tokens, draws),
    };
  },

  back(back, block) {
    const { thread, state, dNormed, pass } = back;
    const { barrier } = thread;
    const { heads, kvHeads, headDim, mixed, inputs, fused, gates, branch, borrows } = block;
    const [wide, narrow] = [heads * headDim, kvHeads * headDim];
    const [dMixed, dQ, dK, dV, dFused] = ['dMixed', 'dQ', 'dK', 'dV', 'dFused'].map((name) => back.region(name));
    const [dGates, dGatedQueries] = ['dGates', 'dGatedQueries'].map((name) => back.region(name));
    const [q, k, v, ungated] = ['q', 'k', 'v', 'ungated'].map((name) => back.region(name));
    const before = { q, k, v, mixed: ungated };

    back.restore();
    barrier();
    mixTokens(thread, state, block, pass, before);
    const dOutput = branchBack(back, branch);
    back.inputGram(mixed, wide);
    back.squares(inputs.length, dOutput, branch.output.rows);
    back.transposed(dMixed, [branch.output, dOutput]);
    barrier();
    if (gates) {
      gateBack(back, block, before.mixed, dMixed, dGates);
      barrier();
    }
    mixBack(back, block, dMixed, dQ, dK, dV);
    barrier();
    if (block.cacheKey !== undefined) lentBack(back, block, block.cacheKey, dK, dV);
    turnBack(back, block, dQ, heads, block.qNorm, before.q, true);
    if (!borrows) {
      turnBack(back, block, dK, kvHeads, block.kNorm, before.k, false);
      valuesBack(back, block, dK, dV, before.v);
    }
    barrier();
    if (fused) {
      back.joinRows(dFused, [dQ, wide], [dK, narrow], [dV, narrow]);
      barrier();
    }
    if (gates) {
      joinGates(back, block, dQ, dGates, dGatedQueries);
      barrier();
    }
    const gradients = fused ? [dFused] : [gates ? dGatedQueries : dQ, dK, dV];
    back.inputGram(state.normed, inputs[0].cols);
    for (const [i, { rows }] of inputs.entries()) back.squares(i, gradients[i], rows);
    back.transposed(dNormed, ...inputs.map((input, i) => [input, gradients[i]] as const));
    barrier();
    back.behindNorm(block.norm);
  },
};

/** Where queries, keys and values are kept as they are before their norms, and what heads mix before its gates: gradients go back through these. */
interface BeforeAttention {
  readonly q: number; // (tokens, heads · headDim)
  readonly k: number; // (tokens, kvHeads · headDim)
  readonly v: number; // (tokens, kvHeads · headDim)
  readonly mixed: number; // (tokens, heads · headDim)
}

// Attention up to the input of its output matrix.
function mixTokens(thread: Thread, state: State, block: Attention, pass: Pass, before?: BeforeAttention): void {
  const { count } = pass;
  const { inputs, fused, gatedQueries, queries, keys, values } = block;
  const vector = readNormed(thread, state, block.norm, block.rotations, count);
  const places = fused ? [fused] : [gatedQueries || queries, keys, values];
  for (let i = 0; i < inputs.length; i++) apply(thread, state, inputs[i], count, places[i], vector);
  thread.barrier();
  if (fused || gatedQueries || inputs.length === 2 || block.normOf === 'row') {
    prepareRows(thread, state, block, count, before);
    thread.barrier();
  }
  placeHeads(thread, state, block, pass, before);
  if (!ownsGroups(thread, block)) thread.barrier();
  attendHeads(thread, state, block, pass, before);
  thread.barrier();
}

// What is done with whole rows of queries, keys and values: this thread's tokens of them.
function prepareRows(thread: Thread, state: State, block: Attention, count: number, before?: BeforeAttention): void {
  const { kernels } = thread;
  const { heads, kvHeads, headDim, fused, gatedQueries, gates, queries, keys, values, qNorm, kNorm } = block;
  const [wide, narrow] = [heads * headDim, kvHeads * headDim];
  const [first, end] = tokensOfThread(thread, count);
  for (let j = first; fused && j < end; j++) {
    const row = fused + j * (wide + 2 * narrow) * 4;
    copyFloats(kernels, row, wide, queries + j * wide * 4);
    copyFloats(kernels, row + wide * 4, narrow, keys + j * narrow * 4);
    copyFloats(kernels, row + (wide + narrow) * 4, narrow, values + j * narrow * 4);
  }
  if (block.inputs.length === 2) {
    copyFloats(kernels, keys + first * narrow * 4, (end - first) * narrow, values + first * narrow * 4);
  }
  for (let row = first * heads; gatedQueries && row < end * heads; row++) {
    const pair = gatedQueries + 2 * row * headDim * 4;
    copyFloats(kernels, pair, headDim, queries + row * headDim * 4);
    copyFloats(kernels, pair + headDim * 4, headDim, gates + row * headDim * 4);
  }
  if (block.normOf !== 'row') return;
  const normRows = (x: number, cols: number, weights: number, keep: number) => {
    const offset = first * cols * 4;
    if (keep) copyFloats(kernels, x + offset, (end - first) * cols, keep + offset);
    kernels.rmsNorm(x + offset, weights, end - first, cols, state.epsilon, x + offset);
  };
  normRows(queries, wide, qNorm, before?.q ?? 0);
  normRows(keys, narrow, kNorm, before?.k ?? 0);
}

// Whether a thread attends to heads that it has placed alone: then it need not wait for others. Whether another head has an infinite number it
// may not know yet; a head without one has the same bits either way.
const ownsGroups = ({ count }: Thread, { kvHeads }: Attention): boolean => kvHeads % count === 0;

// This thread's heads, of all in a row: those of q, of k, of v.
function headsOfThread(thread: Thread, block: Attention): number[] {
  const { heads, kvHeads, borrows } = block;
  const part = (first: number, total: number) => {
    const end = first + share(thread.index + 1, thread.count, total, 1);
    const from = first + share(thread.index, thread.count, total, 1);
    return Array.from({ length: end - from }, (_, i) => from + i);
  };
  if (!ownsGroups(thread, block)) return part(0, borrows ? heads : heads + 2 * kvHeads);
  return [...part(0, heads), ...(borrows ? [] : [...part(heads, kvHeads), ...part(heads + kvHeads, kvHeads)])];
}

// Heads of queries and keys are normed, if the model does so, and turned to their positions; keys and values go to the cache.
function placeHeads(
  thread: Thread,
  state: State,
  block: Attention,
  { segments }: Pass,
  before?: BeforeAttention,
): void {
  const { kernels } = thread;
  const { heads, kvHeads, headDim, cache, normOf } = block;
  const rope = block.rope < 0 ? undefined : state.ropes[block.rope];
  const bytes = headDim * 4;
  for (const head of headsOfThread(thread, block)) {
    const isQuery = head < heads;
    const isKey = !isQuery && head < heads + kvHeads;
    const headOfRegion = isQuery ? head : isKey ? head - heads : head - heads - kvHeads;
    const stride = (isQuery ? heads : kvHeads) * bytes;
    const region = isQuery ? block.queries : isKey ? block.keys : block.values;
    const norm = normOf === 'row' ? 0 : isQuery ? block.qNorm : isKey ? block.kNorm : 0;
    const kept = before && norm ? (isQuery ? before.q : before.k) - region : 0;
    const normHead = (address: number) => {
      if (kept !== 0) copyFloats(kernels, address, headDim, address + kept);
      kernels.rmsNorm(address, norm, 1, headDim, state.epsilon, address);
    };
    let token = 0;
    for (const { count, position, start } of segments) {
      for (let j = 0; j < count; j++, token++) {
        const address = region + headOfRegion * bytes + token * stride;
        if (norm !== 0 && normOf === 'head') normHead(address);
        if (rope && (isQuery || isKey)) {
          kernels.rope(address, 1, rope.width / 2, rope.angles + token * rope.width * 4, rope.interleaved ? 1 : 0);
        }
        if (norm !== 0 && normOf === 'turnedHead') normHead(address);
        if (isQuery) {
          const factor = temperatureAt(block, position + j);
          if (factor !== 1) kernels.scale(address, factor, headDim);
        } else {
          if (!isKey && block.normsValues) {
            if (before) copyFloats(kernels, address, headDim, address + before.v - region);
            kernels.unitNorm(address, 1, headDim, headDim, state.epsilon * headDim, Math.sqrt(headDim));
          }
          store(thread, state, cache, isKey ? 'key' : 'value', headOfRegion, start + position + j, address);
        }
      }
    }
  }
}

function temperatureAt({ temperature }: Attention, position: number): number {
  if (!temperature || position < temperature.original) return 1;
  return 1 + temperature.beta * log(1 + Math.floor(position / temperature.original));
}

// Attention of this thread's query heads, those of one head of keys and values together.
function attendHeads(
  thread: Thread,
  state: State,
  block: Attention,
  { segments }: Pass,
  before?: BeforeAttention,
): void {
  const { kernels, index } = thread;
  const { heads, kvHeads, headDim, cache, window, scale, cap, sinks, gates } = block;
  const group = heads / kvHeads;
  const end = share(index + 1, thread.count, heads, 1);
  for (let head = share(index, thread.count, heads, 1); head < end; ) {
    const kv = Math.floor(head / group);
    const together = Math.min(end, (kv + 1) * group) - head;
    const scoring = { window, scale, cap, sinks: sinks && sinks + head * 4 };
    let token = 0;
    for (const { count, position, start } of segments) {
      const from = (token * heads + head) * headDim * 4;
      const [queries, mixed] = [block.queries + from, block.mixed + from];
      const rows = { queries, mixed, tokens: count, heads: together, stride: heads * headDim, position };
      attendCached(thread, state, cache, kv, start, rows, scoring);
      for (let j = 0; gates && j < count; j++) {
        const address = from + j * heads * headDim * 4;
        if (before) copyFloats(kernels, block.mixed + address, together * headDim, before.mixed + address);
        kernels.sigmoidTimes(block.mixed + address, gates + address, together * headDim);
      }
      token += count;
    }
    head += together;
  }
}

// Attention of all query heads that share one head of keys and values, one draw: a piece of work of one thread.
function mixBack(back: Back, block: Attention, dMixed: number, dQ: number, dK: number, dV: number): void {
  const { heads, kvHeads, headDim, cache, window, scale, cap, sinks } = block;
  const { count: tokens } = back.pass;
  const group = heads / kvHeads;
  const [first, end] = back.part(back.draws * kvHeads);
  for (let i = first; i < end; i++) {
    const [draw, kv] = [Math.floor(i / kvHeads), i % kvHeads];
    const query = kv * group * headDim * 4;
    const wide = draw * tokens * heads * headDim * 4 + query;
    const narrow = (draw * tokens * kvHeads + kv) * headDim * 4;
    back.thread.kernels.attendBack(
      ...([block.queries + query, dMixed + wide, dQ + wide, tokens, group, heads * headDim, headDim] as const),
      ...([keyAt(cache, kv, 0), valueAt(cache, kv, 0), dK + narrow, dV + narrow, kvHeads * headDim] as const),
      ...([window, scale, cap, sinks && sinks + kv * group * 4, back.scratch] as const),
    );
  }
}

const lentName = (key: string, of: 'K' | 'V') => `d${of} of ${key}`;

// Gradients of a cache that blocks share: those that borrow it add theirs up, the owner adds them to its own and leaves zeros.
function lentBack(back: Back, { kvHeads, headDim, borrows }: Attention, key: string, dK: number, dV: number): void {
  const narrow = kvHeads * headDim;
  const [first, end] = back.part(back.draws * back.pass.count);
  for (const [narrowRows, of] of [
    [dK, 'K'],
    [dV, 'V'],
  ] as const) {
    const [address, lent] = [narrowRows + first * narrow * 4, back.region(lentName(key, of)) + first * narrow * 4];
    back.thread.kernels.add(borrows ? lent : address, borrows ? address : lent, (end - first) * narrow);
    if (!borrows) back.floats.fill(0, lent / 4, lent / 4 + (end - first) * narrow);
  }
}

// Gradients of values back to before their norm, and where values are keys before theirs, added to those of these.
function valuesBack(back: Back, block: Attention, dK: number, dV: number, x: number): void {
  const { kvHeads, headDim, normsValues, inputs } = block;
  const { thread, state, draws, pass } = back;
  const narrow = kvHeads * headDim;
  const [first, end] = back.part(draws * pass.count);
  for (let i = first; i < end; i++) {
    const [offset, from] = [i * narrow * 4, x + (i % pass.count) * narrow * 4];
    if (normsValues) thread.kernels.rmsNormBack(from, 0, dV + offset, kvHeads, headDim, state.epsilon);
    if (inputs.length === 2) thread.kernels.add(dK + offset, dV + offset, narrow);
  }
}

// Gradients behind the gates, (draws, tokens, heads · headDim), to those before them, in place, and of the gates.
function gateBack(back: Back, { heads, headDim, gates }: Attention, mixed: number, d: number, dGates: number): void {
  const { count: tokens } = back.pass;
  const wide = heads * headDim;
  const [first, end] = back.part(back.draws * tokens);
  for (let i = first; i < end; i++) {
    const [offset, token] = [i * wide * 4, (i % tokens) * wide * 4];
    back.thread.kernels.sigmoidTimesBack(mixed + token, gates + token, d + offset, dGates + offset, wide);
  }
}

// Gradients of queries and gates, head by head, as the rows of their one weight.
function joinGates(back: Back, { heads, headDim }: Attention, dQ: number, dGates: number, to: number): void {
  const [first, end] = back.part(back.draws * back.pass.count);
  for (let i = first * heads; i < end * heads; i++) {
    copyFloats(back.thread.kernels, dQ + i * headDim * 4, headDim, to + 2 * i * headDim * 4);
    copyFloats(back.thread.kernels, dGates + i * headDim * 4, headDim, to + (2 * i + 1) * headDim * 4);
  }
}

// Gradients of a token's heads back to before the temperature, rope and norm; `x` is what the norm was of.
function turnBack(
  back: Back,
  block: Attention,
  d: number,
  heads: number,
  norm: number,
  x: number,
  areQueries: boolean,
): void {
  const { thread, state, draws } = back;
  const { kernels } = thread;
  const { count: tokens } = back.pass;
  const { headDim, normOf } = block;
  const rope = block.rope < 0 ? undefined : state.ropes[block.rope];
  const bytes = headDim * 4;
  const [first, end] = back.part(draws * tokens);
  for (let i = first; i < end; i++) {
    const token = i % tokens;
    const address = d + i * heads * bytes;
    const from = x + token * heads * bytes;
    const factor = areQueries ? temperatureAt(block, token) : 1;
    if (factor !== 1) kernels.scale(address, factor, heads * headDim);
    const normsBack = () => {
      for (let head = 0; head < heads; head++) {
        kernels.rmsNormBack(from + head * bytes, norm, address + head * bytes, 1, headDim, state.epsilon);
      }
    };
    if (norm !== 0 && normOf === 'turnedHead') normsBack();
    if (rope) {
      const angles = back.opposite(block.rope) + token * rope.width * 4;
      for (let head = 0; head < heads; head++) {
        kernels.rope(address + head * bytes, 1, rope.width / 2, angles, rope.interleaved ? 1 : 0);
      }
    }
    if (norm !== 0 && normOf === 'head') normsBack();
    if (norm !== 0 && normOf === 'row') kernels.rmsNormBack(from, norm, address, 1, heads * headDim, state.epsilon);
  }
}
