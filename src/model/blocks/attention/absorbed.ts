// Latent attention as it runs, absorbed: a head's queries come to the latents by Bᵀ, attend to them, and what attention made of them goes
// through C. A head is one thread's.

import type { LatentTraits } from '../../../families/architecture.ts';
import { dtypeCodes } from '../../../kernels/layout.ts';
import { attendCached, type BlockCache, store } from '../../cache.ts';
import type { DenseLinear, Linear, Rotation } from '../../linear.ts';
import type { Pass } from '../../pass.ts';
import type { State } from '../../state.ts';
import { apply, copyFloats, readNormed, readRotated, tokensOfThread } from '../../steps.ts';
import { share, type Thread } from '../../team.ts';
import type { Branch } from '../branch.ts';

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
  /** Weights of the norm before the block: (dim), 0 for none. */
  readonly norm: number;
  /** How its input is rotated for `queries` and `latent`. */
  readonly rotations: readonly Rotation[];
  /** What queries are made of; undefined where `queries` reads the norm itself. */
  readonly queryLatent: QueryLatent | undefined;
  /** The weight (heads · (plain + turned), width of a query's latent, or dim). */
  readonly queries: Linear;
  /** The weight (rank + turned, dim): a token's latent, and the key that rope turns. */
  readonly latent: Linear;
  /** Weights of the norm of latents: (rank). */
  readonly latentNorm: number;
  /** B and C, (heads · (plain + valueDim), rank): a head's rows of keys, then those of values. */
  readonly keyValues: DenseLinear;
  /** The output weight, (dim, heads · valueDim), and what follows it. */
  readonly branch: Branch;
  /** Its place in `state.ropes`. */
  readonly rope: number; // its place in state.ropes
  /** Elements of what the cache keeps: rank + turned. */
  readonly headDim: number;
  /** Heads of queries: all read one row of the cache. */
  readonly heads: number;
  /** Queries: (batch, heads, plain + turned). */
  readonly headQueries: number;
  /** Latents behind their norm, and turned keys: (batch, headDim), what goes to the cache. */
  readonly rows: number;
  /** Bᵀ q, then the turned query: (batch, heads, headDim), queries as they meet the cache. */
  readonly absorbed: number;
  /** Sums of rows of the cache, weighted by attention: (batch, heads, headDim). */
  readonly mixed: number;
  /** Their latents, by heads for the product with C: (heads, tokens, rank). */
  readonly mixedHeads: number;
  /** What heads give: (batch, heads, valueDim). */
  readonly values: number;
  /** Where rows of the sequences' tokens are kept. */
  readonly cache: BlockCache;
}

/** Where latents are kept as they are before their norms: gradients go back through these. */
interface BeforeAbsorbed {
  readonly latents: number; // (tokens, headDim)
  readonly queries: number; // (tokens, width of the queries' latents)
}

/** Attention up to the input of its output matrix. */
export function attendAbsorbed(thread: Thread, state: State, block: Latent, pass: Pass, before?: BeforeAbsorbed): void {
  const { count } = pass;
  const { queryLatent, queries, headQueries } = block;
  const vector = readNormed(thread, state, block.norm, block.rotations, count);
  apply(thread, state, block.latent, count, block.rows, vector);
  if (queryLatent) apply(thread, state, queryLatent.weight, count, queryLatent.values, vector);
  else apply(thread, state, queries, count, headQueries, vector);
  thread.barrier();
  keepLatents(thread, state, block, pass, before);
  if (queryLatent) {
    thread.barrier();
    const rotated = readRotated(thread, state, queryLatent.rotations, count);
    apply(thread, state, queries, count, headQueries, rotated);
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
  before: BeforeAbsorbed | undefined,
): void {
  const { kernels } = thread;
  const { rows, headDim, rank, latentNorm, latentEpsilon, queryLatent, cache } = block;
  const { angles, width, interleaved } = state.ropes[block.rope];
  const [first, end] = tokensOfThread(thread, count);
  let token = 0;
  for (const { count, position, start } of segments) {
    for (let j = 0; j < count; j++, token++) {
      if (token < first || token >= end) continue;
      const address = rows + token * headDim * 4;
      if (before) copyFloats(kernels, address, rank, before.latents + token * headDim * 4);
      kernels.rmsNorm(address, latentNorm, 1, rank, latentEpsilon, address);
      kernels.rope(address + rank * 4, 1, width / 2, angles + token * width * 4, interleaved ? 1 : 0);
      store(thread, state, cache, 'key', 0, start + position + j, address);
    }
  }
  if (!queryLatent) return;
  const { width: cols, values, norm } = queryLatent;
  const offset = first * cols * 4;
  if (before) copyFloats(kernels, values + offset, (end - first) * cols, before.queries + offset);
  kernels.rmsNorm(values + offset, norm, end - first, cols, latentEpsilon, values + offset);
}

// This thread's heads: queries to the latents, attention, latents to values.
function attendHeads(thread: Thread, state: State, block: Latent, { count, segments }: Pass): void {
  const { index } = thread;
  const { heads, headDim, absorbed, mixed, cache, scale } = block;
  const first = share(index, thread.count, heads, 1);
  const headCount = share(index + 1, thread.count, heads, 1) - first;
  if (headCount === 0) return;
  for (let head = first; head < first + headCount; head++) absorbHead(thread, state, block, head, count);
  let token = 0;
  for (const { count, position, start } of segments) {
    const from = (token * heads + first) * headDim * 4;
    const [queries, stride] = [absorbed + from, heads * headDim];
    const rows = { queries, mixed: mixed + from, tokens: count, heads: headCount, stride, position };
    attendCached(thread, state, cache, 0, start, rows, { window: 0, scale, cap: 0, sinks: 0 });
    token += count;
  }
  for (let head = first; head < first + headCount; head++) headValues(thread, state, block, head, count);
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
    const address = to + j * all * 4;
    ints.fill(0, address / 4, address / 4 + rank);
    copyFloats(kernels, from + (j * wide + plain) * 4, turned, address + rank * 4);
    kernels.rope(address + rank * 4, 1, width / 2, angles + j * width * 4, interleaved ? 1 : 0);
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
