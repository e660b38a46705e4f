// Latent attention (DeepSeek): of each token the cache keeps one latent l and one turned key k for all heads. Head h has a part B of
// its keys' weight and a part C of its values':
//   score = (q · B l + turned q · k) · scale,  y = Σ p C l
// which is computed as (Bᵀ q) · l and C (Σ p l): queries come to the latents, no head's key or value is ever made. So it is attention
// of all heads over one head of keys, [l, k], whose values are l. Prompts go the same way as single tokens, for the same bits.

import type { LatentSpec, LatentTraits } from '../../families/architecture.ts';
import { dtypeCodes } from '../../kernels/layout.ts';
import { type BlockCache, keyAt, store } from '../cache.ts';
import type { DenseLinear, Linear, Rotation } from '../linear.ts';
import type { Pass } from '../pass.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, normTokens, ownTokens, rotateTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { BlockKind } from './block.ts';
import { addBranch, type Branch, planBranch } from './branch.ts';

/** What makes the latents that queries are made of. */
interface QueryLatent {
  readonly weight: Linear;
  readonly norm: number; // (width)
  readonly width: number;
  readonly values: number; // (batch, width)
  readonly rotations: readonly Rotation[];
}

export interface Latent extends LatentTraits {
  readonly norm: number; // (dim), 0 for none
  readonly rotations: readonly Rotation[];
  readonly queryLatent: QueryLatent | undefined;
  readonly queries: Linear;
  readonly latent: Linear;
  readonly latentNorm: number; // (rank)
  readonly keyValues: DenseLinear;
  readonly branch: Branch;
  readonly rope: number; // its place in state.ropes
  /** Elements of what the cache keeps: rank + turned. */
  readonly headDim: number;
  readonly heads: number;
  readonly headQueries: number; // (batch, heads, plain + turned)
  readonly rows: number; // (batch, headDim), what goes to the cache
  readonly absorbed: number; // (batch, heads, headDim), queries as they meet the cache
  readonly mixed: number; // (batch, heads, headDim)
  readonly mixedHeads: number; // (heads, tokens, rank)
  readonly values: number; // (batch, heads, valueDim)
  readonly cache: BlockCache;
}

export const latent: BlockKind<LatentSpec, Latent> = {
  linears: ({ queryLatent, queries, latent, keyValues, output }) => [
    ...(queryLatent ? [queryLatent.weight] : []),
    ...[queries, latent, keyValues, output],
  ],

  plan(spec, planner) {
    const { heads, plain, turned, valueDim, rank, scale, latentEpsilon } = spec;
    const headDim = rank + turned;
    const regions = {
      headQueries: planner.activation('queries', heads * (plain + turned)),
      rows: planner.activation('latents', headDim),
      absorbed: planner.activation('absorbed', heads * headDim),
      mixed: planner.activation('mixed', heads * headDim),
      mixedHeads: planner.activation('mixed heads', heads * rank),
      values: planner.activation('values', heads * valueDim),
    };
    const norm = planner.norm(spec.norm, spec.latent.cols);
    const own = spec.queryLatent;
    const width = own?.weight.rows ?? 0;
    const middle = own && {
      width,
      weight: planner.linear(own.weight, planner.normed),
      norm: planner.norm(own.norm, width),
      values: planner.activation('query latents', width),
    };
    const queries = planner.linear(spec.queries, middle?.values ?? planner.normed);
    const latent = planner.linear(spec.latent, planner.normed);
    const latentNorm = planner.norm(spec.latentNorm, rank);
    const keyValues = planner.decoded(spec.keyValues);
    return {
      ...{ kind: 'latent', heads, plain, turned, valueDim, rank, scale, latentEpsilon, headDim },
      ...{ norm, queries, latent, latentNorm, keyValues },
      queryLatent: middle && { ...middle, rotations: planner.rotationsOf(queries) },
      rotations: planner.rotationsOf(middle?.weight ?? queries, latent),
      branch: planBranch(planner, spec, regions.values),
      rope: planner.rope(spec.rope),
      ...regions,
      cache: planner.cache(1, headDim, true),
    };
  },

  weights: ({ queryLatent, queries, latent, keyValues, branch }) => [
    ...(queryLatent ? [queryLatent.weight] : []),
    ...[queries, latent, keyValues, branch.output],
  ],
  replace(block, place, linear) {
    const { queryLatent, branch } = block;
    if (queryLatent && place === 0) return { ...block, queryLatent: { ...queryLatent, weight: linear } };
    const key = (['queries', 'latent', 'keyValues', 'output'] as const)[place - (queryLatent ? 1 : 0)];
    return key === 'output' ? { ...block, branch: { ...branch, output: linear } } : { ...block, [key]: linear };
  },

  forward(thread, state, block, pass) {
    const { count } = pass;
    const { queryLatent, queries, headQueries } = block;
    normTokens(thread, state, block.norm, block.rotations, 0, count);
    thread.barrier();
    apply(thread, state, block.latent, count, block.rows);
    if (queryLatent) apply(thread, state, queryLatent.weight, count, queryLatent.values);
    else apply(thread, state, queries, count, headQueries);
    thread.barrier();
    keepLatents(thread, state, block, pass);
    if (queryLatent) {
      thread.barrier();
      rotateTokens(thread, queryLatent.rotations, count);
      apply(thread, state, queries, count, headQueries);
    }
    thread.barrier();
    mixHeads(thread, state, block, pass);
    thread.barrier();
    addBranch(thread, state, block.branch, count);
  },

  gradients: () => ({}),
  back() {},
};

// Latents are normed, keys turned, both go to the cache; latents of queries are normed: this thread's tokens.
function keepLatents(thread: Thread, state: State, block: Latent, { count, segments }: Pass): void {
  const { kernels } = thread;
  const { rows, headDim, rank, latentNorm, latentEpsilon, queryLatent, cache } = block;
  const { angles, width, interleaved } = state.ropes[block.rope];
  const [first, end] = ownTokens(thread, count);
  let token = 0;
  for (const { count, position, start } of segments) {
    for (let j = 0; j < count; j++, token++) {
      if (token < first || token >= end) continue;
      const at = rows + token * headDim * 4;
      kernels.rmsNorm(at, latentNorm, 1, rank, latentEpsilon, at);
      kernels.rope(at + rank * 4, 1, width / 2, angles + token * width * 4, interleaved ? 1 : 0);
      store(kernels, cache, at, keyAt(cache, 0, start + position + j));
    }
  }
  if (!queryLatent) return;
  const at = queryLatent.values + first * queryLatent.width * 4;
  kernels.rmsNorm(at, queryLatent.norm, end - first, queryLatent.width, latentEpsilon, at);
}

// This thread's heads: queries to the latents, attention, latents to values.
function mixHeads(thread: Thread, state: State, block: Latent, { count, segments }: Pass): void {
  const { kernels, index } = thread;
  const { heads, headDim, absorbed, mixed, cache, scale } = block;
  const first = share(index, thread.count, heads, 1);
  const own = share(index + 1, thread.count, heads, 1) - first;
  if (own === 0) return;
  for (let head = first; head < first + own; head++) absorbHead(thread, state, block, head, count);
  let token = 0;
  for (const { count, position, start } of segments) {
    const from = (token * heads + first) * headDim * 4;
    const rows = keyAt(cache, 0, start);
    kernels.attend(
      ...([absorbed + from, mixed + from, count, own, heads * headDim, headDim] as const),
      ...([rows, rows, cache.width === 2 ? 1 : 0, position] as const),
      ...([0, scale, 0, 0, state.tile, state.span, state.scratch[index]] as const),
    );
    token += count;
  }
  for (let head = first; head < first + own; head++) headValues(thread, state, block, head, count);
}

// A head's queries as they meet the cache: Bᵀ q, then the elements that turn.
function absorbHead(thread: Thread, state: State, block: Latent, head: number, count: number): void {
  const { kernels, ints } = thread;
  const { heads, plain, turned, valueDim, rank, headDim, headQueries, absorbed, keyValues } = block;
  const { angles, width, interleaved } = state.ropes[block.rope];
  const [wide, all] = [heads * (plain + turned), heads * headDim];
  const from = headQueries + head * (plain + turned) * 4;
  const to = absorbed + head * headDim * 4;
  for (let j = 0; j < count; j++) {
    const at = to + j * all * 4;
    ints.fill(0, at / 4, at / 4 + rank);
    copyFloats(kernels, from + (j * wide + plain) * 4, turned, at + rank * 4);
    kernels.rope(at + rank * 4, 1, width / 2, angles + j * width * 4, interleaved ? 1 : 0);
  }
  const weights = keyValues.weights + head * (plain + valueDim) * keyValues.rowBytes;
  const dtype = dtypeCodes[keyValues.dtype];
  kernels.addTransposed(weights, dtype, plain, rank, rank, from, count, wide, to, all, state.scratch[thread.index]);
}

// A head's values of what attention made of latents.
function headValues(thread: Thread, state: State, block: Latent, head: number, count: number): void {
  const { kernels, index } = thread;
  const { heads, plain, valueDim, rank, headDim, mixed, mixedHeads, values, keyValues } = block;
  const x = mixedHeads + head * count * rank * 4;
  for (let j = 0; j < count; j++) {
    copyFloats(kernels, mixed + (j * heads + head) * headDim * 4, rank, x + j * rank * 4);
  }
  const weights = keyValues.weights + (head * (plain + valueDim) + plain) * keyValues.rowBytes;
  kernels.denseRows(
    ...([weights, dtypeCodes[keyValues.dtype], valueDim, rank, x, count] as const),
    ...([values + head * valueDim * 4, heads * valueDim, state.scratch[index]] as const),
  );
}
