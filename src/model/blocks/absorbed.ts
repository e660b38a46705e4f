// Latent attention as it runs, absorbed: a head's queries come to the latents by Bᵀ, attend to them, and what attention made of them goes
// through C. A head is one thread's.

import type { LatentTraits } from '../../families/architecture.ts';
import { dtypeCodes } from '../../kernels/layout.ts';
import { attendCached, type BlockCache, store } from '../cache.ts';
import type { DenseLinear, Linear, Rotation } from '../linear.ts';
import type { Pass } from '../pass.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, normTokens, ownTokens, rotateTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { Branch } from './branch.ts';

/** What makes the latents that queries are made of. */
interface QueryLatent {
  readonly weight: Linear;
  readonly norm: number; // (width)
  readonly width: number;
  readonly values: number; // (batch, width)
  readonly rotations: readonly Rotation[];
}

/** Latent attention that runs, with regions. */
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

/** Where latents are kept as they are before their norms: gradients go back through these. */
interface Before {
  readonly latents: number; // (tokens, headDim)
  readonly queries: number; // (tokens, width of the queries' latents)
}

/** Attention up to the input of its output matrix. */
export function mixTokens(thread: Thread, state: State, block: Latent, pass: Pass, before?: Before): void {
  const { count } = pass;
  const { queryLatent, queries, headQueries } = block;
  normTokens(thread, state, block.norm, block.rotations, 0, count);
  thread.barrier();
  apply(thread, state, block.latent, count, block.rows);
  if (queryLatent) apply(thread, state, queryLatent.weight, count, queryLatent.values);
  else apply(thread, state, queries, count, headQueries);
  thread.barrier();
  keepLatents(thread, state, block, pass, before);
  if (queryLatent) {
    thread.barrier();
    rotateTokens(thread, queryLatent.rotations, count);
    apply(thread, state, queries, count, headQueries);
  }
  thread.barrier();
  attendHeads(thread, state, block, pass);
  thread.barrier();
}

// Latents are normed, keys turned, both go to the cache; latents of queries are normed: this thread's tokens.
function keepLatents(
  thread: Thread,
  state: State,
  block: Latent,
  { count, segments }: Pass,
  before: Before | undefined,
): void {
  const { kernels } = thread;
  const { rows, headDim, rank, latentNorm, latentEpsilon, queryLatent, cache } = block;
  const { angles, width, interleaved } = state.ropes[block.rope];
  const [first, end] = ownTokens(thread, count);
  let token = 0;
  for (const { count, position, start } of segments) {
    for (let j = 0; j < count; j++, token++) {
      if (token < first || token >= end) continue;
      const at = rows + token * headDim * 4;
      if (before) copyFloats(kernels, at, rank, before.latents + token * headDim * 4);
      kernels.rmsNorm(at, latentNorm, 1, rank, latentEpsilon, at);
      kernels.rope(at + rank * 4, 1, width / 2, angles + token * width * 4, interleaved ? 1 : 0);
      store(thread, state, cache, 'key', 0, start + position + j, at);
    }
  }
  if (!queryLatent) return;
  const { width: cols, values, norm } = queryLatent;
  const at = first * cols * 4;
  if (before) copyFloats(kernels, values + at, (end - first) * cols, before.queries + at);
  kernels.rmsNorm(values + at, norm, end - first, cols, latentEpsilon, values + at);
}

// This thread's heads: queries to the latents, attention, latents to values.
function attendHeads(thread: Thread, state: State, block: Latent, { count, segments }: Pass): void {
  const { index } = thread;
  const { heads, headDim, absorbed, mixed, cache, scale } = block;
  const first = share(index, thread.count, heads, 1);
  const own = share(index + 1, thread.count, heads, 1) - first;
  if (own === 0) return;
  for (let head = first; head < first + own; head++) absorbHead(thread, state, block, head, count);
  let token = 0;
  for (const { count, position, start } of segments) {
    const from = (token * heads + first) * headDim * 4;
    const [queries, stride] = [absorbed + from, heads * headDim];
    const rows = { queries, mixed: mixed + from, tokens: count, heads: own, stride, position };
    attendCached(thread, state, cache, 0, start, rows, { window: 0, scale, cap: 0, sinks: 0 });
    token += count;
  }
  for (let head = first; head < first + own; head++) headValues(thread, state, block, head, count);
}

// A head's queries as they meet the cache: Bᵀ q, then the elements that turn.
function absorbHead(thread: Thread, state: State, block: Latent, head: number, count: number): void {
  const { kernels, ints } = thread;
  const { heads, plain, turned, rank, headDim, headQueries, absorbed, keyValues } = block;
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
  const dtype = dtypeCodes[keyValues.dtype];
  const weights = keyRows(block, head);
  kernels.addTransposed(weights, dtype, plain, rank, rank, from, count, wide, to, all, state.scratch[thread.index]);
}

// A head's values of what attention made of latents.
function headValues(thread: Thread, state: State, block: Latent, head: number, count: number): void {
  const { kernels, index } = thread;
  const { heads, valueDim, rank, headDim, mixed, mixedHeads, values, keyValues } = block;
  const x = mixedHeads + head * count * rank * 4;
  for (let j = 0; j < count; j++) {
    copyFloats(kernels, mixed + (j * heads + head) * headDim * 4, rank, x + j * rank * 4);
  }
  kernels.denseRows(
    ...([valueRows(block, head), dtypeCodes[keyValues.dtype], valueDim, rank, x, count] as const),
    ...([values + head * valueDim * 4, heads * valueDim, state.scratch[index]] as const),
  );
}

/** Rows of a head's keys, and of its values, in the weight of both. */
export function keyRows({ keyValues, plain, valueDim }: Latent, head: number): number {
  return keyValues.weights + head * (plain + valueDim) * keyValues.rowBytes;
}

/** Address of a head's rows of values in the weight of keys and values. */
export function valueRows(block: Latent, head: number): number {
  return keyRows(block, head) + block.plain * block.keyValues.rowBytes;
}
