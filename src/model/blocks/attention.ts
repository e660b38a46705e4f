// Attention of grouped heads over the cache: x += output(mix(rope(q), rope(k), v)), q, k and v of norm(x).
// A token sees those before it in its own sequence, as far back as the window reaches.

import { type BlockCache, keyAt, store, valueAt } from '../cache.ts';
import type { Linear, LinearSpec, Rotation } from '../linear.ts';
import type { Pass } from '../pass.ts';
import type { Rope } from '../rope.ts';
import type { State } from '../state.ts';
import { addProduct, apply, normTokens, rotateTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { Back, BlockKind } from './block.ts';

export interface AttentionSpec {
  readonly kind: 'attention';
  readonly norm: string;
  readonly q: LinearSpec;
  readonly k: LinearSpec;
  readonly v: LinearSpec;
  /** Norms of each head of queries and of keys, if there are any. */
  readonly qNorm: string | undefined;
  readonly kNorm: string | undefined;
  readonly output: LinearSpec;
  readonly heads: number;
  /** Heads of keys and values; `heads` is a multiple. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rope: Rope;
  /** Positions that a token sees, itself among them; 0 for all. */
  readonly window: number;
}

export interface Attention extends Pick<AttentionSpec, 'kind' | 'heads' | 'kvHeads' | 'headDim' | 'window'> {
  readonly norm: number; // (dim)
  readonly rotations: readonly Rotation[];
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly qNorm: number; // (headDim), 0 for none
  readonly kNorm: number;
  readonly outputRotations: readonly Rotation[];
  readonly output: Linear;
  readonly rope: number; // its place in state.ropes
  readonly queries: number; // (batch, heads · headDim)
  readonly keys: number; // (batch, kvHeads · headDim)
  readonly values: number; // (batch, kvHeads · headDim)
  readonly mixed: number; // (batch, heads · headDim)
  readonly cache: BlockCache;
}

const PLACES = ['q', 'k', 'v', 'output'] as const;

export const attention: BlockKind<AttentionSpec, Attention> = {
  plan(spec, planner) {
    const { heads, kvHeads, headDim, window } = spec;
    const regions = {
      queries: planner.activation('queries', heads * headDim),
      keys: planner.activation('keys', kvHeads * headDim),
      values: planner.activation('values', kvHeads * headDim),
      mixed: planner.activation('mixed', heads * headDim),
    };
    const headNorm = (name: string | undefined) => (name === undefined ? 0 : planner.vector(name, headDim));
    const norm = planner.vector(spec.norm, spec.q.cols);
    const q = planner.linear(spec.q, planner.normed);
    const k = planner.linear(spec.k, planner.normed);
    const v = planner.linear(spec.v, planner.normed);
    const [qNorm, kNorm] = [headNorm(spec.qNorm), headNorm(spec.kNorm)];
    const output = planner.linear(spec.output, regions.mixed);
    return {
      ...{ kind: 'attention', heads, kvHeads, headDim, window, norm, q, k, v, qNorm, kNorm, output },
      rotations: planner.rotationsOf(q, k, v),
      outputRotations: planner.rotationsOf(output),
      rope: planner.rope(spec.rope, headDim),
      ...regions,
      cache: planner.cache(kvHeads, headDim),
    };
  },

  weights: (block) => PLACES.map((place) => block[place]),
  statistics: PLACES.map(() => ({ cut: false, outputs: true })),
  replace: (block, place, linear) => ({ ...block, [PLACES[place]]: linear }),

  forward(thread, state, block, pass) {
    mixTokens(thread, state, block, pass);
    rotateTokens(thread, block.outputRotations, pass.count);
    addProduct(thread, state, block.output, pass.count);
    thread.barrier();
  },

  gradients({ heads, kvHeads, headDim, qNorm, kNorm }, tokens, draws) {
    const [wide, narrow] = [tokens * heads * headDim, tokens * kvHeads * headDim];
    return {
      q: qNorm ? wide : 0, // before norm and rope
      k: kNorm ? narrow : 0,
      dMixed: draws * wide,
      dQ: draws * wide,
      dK: draws * narrow,
      dV: draws * narrow,
    };
  },

  back(back, block) {
    const { thread, state, dX, dNormed, pass } = back;
    const { barrier } = thread;
    const { heads, kvHeads, headDim, mixed } = block;
    const [wide, narrow] = [heads * headDim, kvHeads * headDim];
    const [dMixed, dQ, dK, dV] = ['dMixed', 'dQ', 'dK', 'dV'].map((name) => back.region(name));
    const [q, k] = [back.region('q'), back.region('k')];

    back.restore();
    barrier();
    mixTokens(thread, state, block, pass);
    if (block.qNorm) apply(thread, state, block.q, pass.count, q);
    if (block.kNorm) apply(thread, state, block.k, pass.count, k);
    back.inputGram(mixed, wide);
    back.squares(PLACES.indexOf('output'), dX, block.output.rows);
    back.transposed(dMixed, [block.output, dX]);
    barrier();
    mixBack(back, block, dMixed, dQ, dK, dV);
    barrier();
    turnBack(back, block, dQ, heads, block.qNorm, q);
    turnBack(back, block, dK, kvHeads, block.kNorm, k);
    barrier();
    back.inputGram(state.normed, block.q.cols);
    back.squares(PLACES.indexOf('q'), dQ, wide);
    back.squares(PLACES.indexOf('k'), dK, narrow);
    back.squares(PLACES.indexOf('v'), dV, narrow);
    back.transposed(dNormed, [block.q, dQ], [block.k, dK], [block.v, dV]);
    barrier();
    back.behindNorm(block.norm);
  },
};

// Attention up to the input of its output matrix.
function mixTokens(thread: Thread, state: State, block: Attention, pass: Pass): void {
  const { count } = pass;
  normTokens(thread, state, block.norm, block.rotations, 0, count);
  thread.barrier();
  apply(thread, state, block.q, count, block.queries);
  apply(thread, state, block.k, count, block.keys);
  apply(thread, state, block.v, count, block.values);
  thread.barrier();
  placeHeads(thread, state, block, pass);
  thread.barrier();
  mixHeads(thread, state, block, pass);
  thread.barrier();
}

// Queries and keys are normed, if the model does so, and turned to their positions; keys and values go to the cache.
function placeHeads(thread: Thread, state: State, block: Attention, { segments }: Pass): void {
  // The heads of all three in a row are shared among the threads: heads of q, of k, of v.
  const { kernels, index } = thread;
  const { heads, kvHeads, headDim, cache } = block;
  const { angles, interleaved } = state.ropes[block.rope];
  const total = heads + 2 * kvHeads;
  const end = share(index + 1, thread.count, total, 1);
  const bytes = headDim * 4;
  for (let head = share(index, thread.count, total, 1); head < end; head++) {
    const isQuery = head < heads;
    const isKey = !isQuery && head < heads + kvHeads;
    const own = isQuery ? head : isKey ? head - heads : head - heads - kvHeads;
    const stride = (isQuery ? heads : kvHeads) * bytes;
    const from = (isQuery ? block.queries : isKey ? block.keys : block.values) + own * bytes;
    const norm = isQuery ? block.qNorm : isKey ? block.kNorm : 0;
    let token = 0;
    for (const { count, position, start } of segments) {
      for (let j = 0; j < count; j++, token++) {
        const at = from + token * stride;
        if (norm !== 0) kernels.rmsNorm(at, norm, 1, headDim, state.epsilon, at);
        if (isQuery || isKey) kernels.rope(at, 1, headDim / 2, angles + token * bytes, interleaved ? 1 : 0);
        if (isQuery) continue;
        store(kernels, cache, at, (isKey ? keyAt : valueAt)(cache, own, start + position + j));
      }
    }
  }
}

// Attention of this thread's query heads, those of one head of keys and values together.
function mixHeads(thread: Thread, state: State, block: Attention, { segments }: Pass): void {
  const { kernels, index } = thread;
  const { tile, span } = state;
  const { heads, kvHeads, headDim, cache, window } = block;
  const group = heads / kvHeads;
  const end = share(index + 1, thread.count, heads, 1);
  for (let head = share(index, thread.count, heads, 1); head < end; ) {
    const kv = Math.floor(head / group);
    const together = Math.min(end, (kv + 1) * group) - head;
    let token = 0;
    for (const { count, position, start } of segments) {
      const from = (token * heads + head) * headDim * 4;
      kernels.attend(
        ...([block.queries + from, block.mixed + from, count, together, heads * headDim, headDim] as const),
        ...([keyAt(cache, kv, start), valueAt(cache, kv, start), cache.width === 2 ? 1 : 0, position] as const),
        ...([window, 1 / Math.sqrt(headDim), tile, span, state.scratch[index]] as const),
      );
      token += count;
    }
    head += together;
  }
}

// Attention of all query heads that share one head of keys and values, one draw: a piece of work of one thread.
function mixBack(back: Back, block: Attention, dMixed: number, dQ: number, dK: number, dV: number): void {
  const { heads, kvHeads, headDim, cache, window } = block;
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
      ...([window, 1 / Math.sqrt(headDim), back.scratch] as const),
    );
  }
}

// Gradients of heads back to before rope and, if the model has it, the norm of each head of `x`.
function turnBack(back: Back, block: Attention, d: number, heads: number, norm: number, x: number): void {
  const { thread, state, draws } = back;
  const { count: tokens } = back.pass;
  const { headDim, rope } = block;
  const bytes = headDim * 4;
  const opposite = back.opposite(rope);
  const interleaved = state.ropes[rope].interleaved ? 1 : 0;
  const [first, end] = back.part(draws * tokens);
  for (let i = first; i < end; i++) {
    const token = i % tokens;
    const at = d + i * heads * bytes;
    thread.kernels.rope(at, heads, headDim / 2, opposite + token * bytes, interleaved);
    if (norm === 0) continue;
    for (let head = 0; head < heads; head++) {
      const from = x + (token * heads + head) * bytes;
      thread.kernels.rmsNormBack(from, norm, at + head * bytes, 1, headDim, state.epsilon);
    }
  }
}
