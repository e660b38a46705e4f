// Lays a model, or a portion of one, out in a linear memory before that memory exists, from its architecture and the checkpoint's
// headers alone. memories.ts says which portions there are.

import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import type { Architecture, LinearSpec, NormSpec } from '../families/architecture.ts';
import { frequencies } from '../families/rope.ts';
import type { Grid } from '../grids/grid.ts';
import { attendCodesScratchBytes, attendScratchBytes, keepCodesScratchBytes } from '../kernels/decoder/sizes.ts';
import type { BlockPlanner, SlotPool } from './blocks/block.ts';
import { type Block, planBlock } from './blocks/blocks.ts';
import { type BlockCache, type CacheDtype, type CacheShape, cacheBytes, planCache } from './cache.ts';
import {
  type Decoding,
  type DenseLinear,
  type Linear,
  planDecoded,
  planLinear,
  scratchBytesOf,
  stagingBytesOf,
  type WeightTensor,
} from './linear.ts';
import { segmentBytes } from './pass.ts';
import { planRecurrent, type Recurrent, recurrentBytes } from './recurrent.ts';
import { regions } from './region.ts';
import { planShared } from './shared.ts';
import type { Begin, End, PerLayerRegions, State } from './state.ts';
import { SYNC_BYTES } from './team.ts';
import type { ModelWeights } from './weights.ts';

/** Most tokens of a pass, unless another number is asked for. */
const BATCH = 128;
/** Seed of the signs with which what a cache keeps as codes is turned. */
const CACHE_SEED = 0;
/** Bytes of attention scores that a thread keeps; at least one row of them. */
const SCORE_BYTES = 1 << 20;
/** Bytes of logits that are computed at once; at least one token's. */
const LOGIT_BYTES = 8 << 20;
/** What products with transposed weights work in. */
const TRANSPOSED_BYTES = 64 * 64 * 4;
/** Where batches of a checkpoint are checked before they are stored; more, if a few rows of a weight ask for more. */
const STAGING_BYTES = 4 << 20;

/** A tensor to be loaded, and where to. */
export type Load =
  /** The tensor's rows from `first` on; those of one tensor follow one another. */
  | { readonly tensor: WeightTensor; readonly linear: Linear; readonly first: number }
  | { readonly tensor: WeightTensor; readonly linear: DenseLinear; readonly decoding: Decoding }
  /** `plus` is added to every element. */
  | { readonly vector: CheckpointTensor; readonly address: number; readonly plus: number };

/** What lies in one memory, and what it takes to fill it. */
export interface MemoryLayout {
  /** Regions that all steps share. */
  readonly state: State;
  /** Regions of the embedding; undefined where the portion does not begin. */
  readonly begin: Begin | undefined;
  /** The portion's blocks, in order, with their regions. */
  readonly blocks: readonly Block[];
  /** Regions of the head; undefined where the portion does not end. */
  readonly end: End | undefined;
  /** The tensors of the embedding, of each block, of the end, in this order: pieces that are loaded together, or in turn. */
  readonly pieces: readonly (readonly Load[])[];
  /** Where experts share slots: by block and expert, what fills one, from address 0 on. */
  readonly pages: readonly (readonly (readonly Load[])[])[];
  /** The slots that experts share; of count 0 where all have a place. */
  readonly pool: SlotPool;
  /** Routed experts, and bytes of their weights if all are there. */
  readonly routed: { readonly count: number; readonly bytes: number };
  /** Addresses of the grids' tables. */
  readonly tables: readonly { readonly grid: Grid; readonly table: number; readonly integers: number }[];
  /** Addresses of random signs, by seed, with the columns that they reach. */
  readonly masks: readonly { readonly seed: number | null; readonly address: number; readonly count: number }[];
  /** Frequencies, by the place of `state.ropes`. */
  readonly ropes: readonly Float64Array<ArrayBuffer>[];
  /** Room for blocks of a checkpoint while it loads; the pass writes there later. */
  readonly staging: { readonly address: number; readonly byteLength: number };
  /** Caches that blocks in other memories read, too, by name; and those that have the rows of one in a memory before. */
  readonly lent: ReadonlyMap<string, BlockCache>;
  /** Caches here that repeat one in a memory before, by name. */
  readonly replicas: ReadonlyMap<string, BlockCache>;
  /** Bytes of linear memory: in all, for weights, for the cache. */
  readonly bytes: number;
  /** Bytes for weights. */
  readonly weightBytes: number;
  /** Bytes for the cache. */
  readonly cacheBytes: number;
}

/** How a model is laid out. */
export interface MemoryLayoutOptions {
  /** Rows of the cache. */
  rows: number;
  /** Recurrent states of each block that keeps them; 1 if left out. */
  slots?: number;
  /** How keys and values are kept. */
  cache: CacheDtype;
  /** Whether codes of the cache are turned, as they are if left out: to measure what that gains. */
  turnsCache?: boolean;
  /** Threads, each with scratch of its own. */
  threads: number;
  /** Whether activations meet quantized weights as integers. */
  integers: boolean;
  /** Most tokens of a pass; 64 if left out. */
  atOnce?: number;
  /** Whether blocks share one cache, or one recurrent state: for passes of whole sequences, of which nothing is asked later. */
  oneCache?: boolean;
  /** Part of the experts that there are slots for, at least one in each memory that has experts. All have a place of their own if left out. */
  slotShare?: number;
}

/** What of a model stands in a memory: blocks `first` to `end`, and the ends. */
export interface Portion {
  /** Whether the embedding is there. */
  readonly begins: boolean;
  /** Its first block. */
  readonly first: number;
  /** The block behind its last. */
  readonly end: number;
  /** Whether norm and head are there. */
  readonly ends: boolean;
}

/** Tokens whose logits are computed at once. @param batch most tokens of a pass */
export function logitRowsOf(vocabSize: number, batch: number): number {
  return Math.max(1, Math.min(batch, Math.floor(LOGIT_BYTES / 4 / vocabSize)));
}

/** Whether the output head is the token embedding. */
export function isTied({ tied, head }: Architecture, weights: ModelWeights): boolean {
  return tied ?? !weights.has(`${head.name}.weight`);
}

/**
 * Lays a portion of a model out in one memory.
 * @param turns address of a region behind all others in which the pieces take turns: 0 to learn from `bytes` where it can begin. Each
 *   piece has a place of its own if left out.
 */
export function planMemory(
  architecture: Architecture,
  weights: ModelWeights,
  portion: Portion,
  options: MemoryLayoutOptions,
  turns?: number,
): MemoryLayout {
  const { dim, epsilon, vocabSize, contextLength } = architecture;
  const {
    rows,
    slots = 1,
    cache: dtype,
    turnsCache = true,
    threads,
    integers,
    atOnce = BATCH,
    oneCache = false,
    slotShare,
  } = options;
  const { reserve, size } = regions();
  const batch = Math.min(atOnce, rows);
  const linears: Linear[] = [];
  const pieces: Load[][] = [];
  const pages: Load[][][] = [];
  const pool = { count: 0, bytes: 0, first: 0, table: 0 };
  const routed = { count: 0, bytes: 0 };
  let slot: { reserve: (byteLength: number) => number; loads: Load[] } | undefined; // of the expert that is being laid out
  let weightBytes = 0;
  let turn = regions(turns);
  let turnsEnd = turns ?? 0;
  const sync = portion.begins ? reserve(SYNC_BYTES) : 0;
  const shared = planShared(reserve, reserveWeights, batch, integers);
  const { planner } = shared;
  const floats = (count: number) => reserve(count * 4);

  function reserveWeights(byteLength: number): number {
    weightBytes += byteLength;
    if (turns === undefined) return reserve(byteLength);
    const address = turn.reserve(byteLength);
    turnsEnd = Math.max(turnsEnd, turn.size());
    return address;
  }
  // What is asked for from now on is one piece.
  function beginPiece(): void {
    pieces.push([]);
    turn = regions(turns);
  }
  function vector(name: string, shape: readonly number[], plus = 0): number {
    const address = planner.reserve(shape.reduce((product, size) => product * size, 4));
    pieces.at(-1)!.push({ vector: weights.vector(name, ...shape), address, plus });
    return address;
  }
  const norm = (spec: NormSpec | undefined, length: number) => (spec ? vector(spec.name, [length], spec.plus) : 0);
  function linear(spec: LinearSpec, input: number, perToken = 1): Linear {
    const { rows, cols, stack } = spec;
    const isThere = weights.has(`${spec.name}.weight`);
    const isStacked = !isThere && stack !== undefined && weights.has(stack.name);
    const name = !isThere && spec.alias !== undefined && weights.has(`${spec.alias}.weight`) ? spec.alias : spec.name;
    const tensor = isStacked ? weights.stack(stack.name, stack.shape) : weights.matrix(`${name}.weight`, rows, cols);
    if (!spec.bias) weights.refuse(`${name}.bias`);
    const bias = spec.bias ? vector(`${name}.bias`, [rows]) : 0;
    const of = isStacked ? stack.name : `${name}.weight`;
    const into = slot ? { ...planner, reserve: slot.reserve } : planner;
    const plan = planLinear(tensor, of, spec, bias, input, perToken, into);
    const planned = isStacked ? { ...plan, stack: stack.shape, single: `${spec.name}.weight` } : plan;
    linears.push(planned);
    (slot?.loads ?? pieces.at(-1)!).push({ tensor, linear: planned, first: isStacked ? stack.first : 0 });
    return planned;
  }

  function planExperts<T>(count: number, plan: (expert: number) => T) {
    const before = weightBytes;
    routed.count += count;
    if (slotShare === undefined) {
      const planned = Array.from({ length: count }, (_, e) => plan(e));
      routed.bytes += weightBytes - before;
      return { planned, slots: undefined };
    }
    const loads: Load[][] = [];
    const planned = Array.from({ length: count }, (_, e) => {
      const { reserve, size } = regions(0);
      const count = (byteLength: number) => {
        routed.bytes += byteLength;
        return reserve(byteLength);
      };
      slot = { reserve: count, loads: [] };
      loads.push(slot.loads);
      const result = plan(e);
      slot = undefined;
      pool.bytes = Math.max(pool.bytes, size());
      return result;
    });
    return { planned, slots: { block: pages.push(loads) - 1, pool } };
  }

  function decoded(spec: LinearSpec): DenseLinear {
    const tensor = weights.matrix(`${spec.name}.weight`, spec.rows, spec.cols);
    if ('plain' in tensor) return linear(spec, normed) as DenseLinear;
    // Rounding to f16 is little beside that of activations to integers.
    const planned = planDecoded(tensor.quantized, spec, integers ? 'F16' : 'F32', planner);
    linears.push(planned.linear);
    pieces.at(-1)!.push({ tensor, ...planned });
    return planned.linear;
  }

  // Activations come before weights, whose inputs they are.
  const ids = portion.begins ? { segments: reserve(segmentBytes(batch)), ids: reserve(batch * 4) } : undefined;
  const activations = { x: floats(batch * dim), normed: floats(batch * dim), y: floats(batch * dim) };
  const { normed } = activations;
  const { perLayer } = architecture;
  const perLayerFloats = perLayer?.embedding.cols ?? 0;
  const vectors = perLayer ? floats(batch * perLayerFloats) : 0;
  const [lent, replicas] = [new Map<string, BlockCache>(), new Map<string, BlockCache>()];
  const span = contextLength + 4;
  const tile = Math.max(1, Math.min(BATCH, Math.floor(SCORE_BYTES / 4 / span)));
  const logitRows = logitRowsOf(vocabSize, batch);
  const logits = portion.ends ? floats(logitRows * vocabSize) : 0;

  const caches = new Map<string, BlockCache>();
  const states = new Map<number, Recurrent>();
  const cacheOf = (shape: CacheShape): BlockCache => {
    const isTurned = turnsCache && (dtype === 'q8' || dtype === 'q4');
    const masks = isTurned ? planner.masksOf(CACHE_SEED, Math.max(...shape.parts)) : 0;
    return planCache(shape, dtype, rows, reserve, masks);
  };
  const blockPlanner: BlockPlanner = {
    ...{ normed, norm, linear, decoded },
    rotationsOf: shared.rotationsOf,
    activation: shared.activation,
    rope: shared.rope,
    vector: (name, length) => vector(name, [length]),
    tensor: vector,
    lend: (key, cache) => void lent.set(key, cache),
    borrow(key, kvHeads, headDim) {
      const existing = lent.get(key) ?? replicas.get(key);
      if (existing) return existing;
      const cache = cacheOf({ kvHeads, parts: [headDim] });
      replicas.set(key, cache);
      return cache;
    },
    experts: planExperts,
    recurrent(floats) {
      const recurrent = states.get(floats) ?? planRecurrent(floats, slots, reserve);
      if (oneCache) states.set(floats, recurrent);
      return recurrent;
    },
    cache(kvHeads, ...parts) {
      const key = `${kvHeads} ${parts}`;
      const cache = caches.get(key) ?? cacheOf({ kvHeads, parts });
      if (oneCache) caches.set(key, cache);
      return cache;
    },
  };
  function planPerLayer(): PerLayerRegions | undefined {
    if (!perLayer) return undefined;
    const embedding = linear(perLayer.embedding, normed);
    const projection = linear(perLayer.projection, activations.x);
    return {
      ...{ width: perLayer.width, embedding, projection, norm: norm(perLayer.norm, perLayer.width) },
      rotations: shared.rotationsOf(projection),
      rows: Array.from({ length: threads }, () => floats(perLayerFloats)),
    };
  }
  let begin: Begin | undefined;
  if (ids) {
    beginPiece();
    const { embeddingScale } = architecture;
    const embedding = linear(architecture.embedding, normed);
    begin = { sync, ...ids, embedding, embeddingScale, perLayerInputs: planPerLayer() };
  }
  const blocks = architecture.layers
    .flat()
    .slice(portion.first, portion.end)
    .map((spec) => {
      beginPiece();
      return planBlock(spec, blockPlanner);
    });
  let end: End | undefined;
  if (portion.ends) {
    beginPiece();
    const tied = isTied(architecture, weights);
    // Where pieces take turns the embedding is loaded again, to where it was.
    const again = tied && turns !== undefined ? linear(architecture.embedding, normed) : undefined;
    const lastNorm = norm(architecture.norm, dim);
    const head = again ?? (tied ? begin!.embedding : linear(architecture.head, normed));
    const { logitScale, logitCap } = architecture;
    end = {
      norm: lastNorm,
      rotations: shared.rotationsOf(head),
      head,
      logits,
      logitRows,
      vocabSize,
      logitScale,
      logitCap,
    };
  }

  const attentionScratch = Math.max(
    attendScratchBytes(tile, span, 0),
    ...blocks.map((block) => ('cache' in block ? attentionScratchOf(block.cache, tile, span) : 0)),
  );
  const scratchBytes = linears.reduce(
    (most, linear) => Math.max(most, scratchBytesOf(linear, batch)),
    Math.max(attentionScratch, TRANSPOSED_BYTES),
  );
  const staging = size();
  const scratch = Array.from({ length: threads }, () => reserve(scratchBytes));
  const stagingBytes = linears.reduce((most, linear) => Math.max(most, stagingBytesOf(linear)), STAGING_BYTES);
  if (size() < staging + stagingBytes) reserve(staging + stagingBytes - size());
  if (slotShare !== undefined && pages.length > 0) {
    pool.table = reserve(Math.max(...pages.map(({ length }) => length)) * 4);
    pool.count = Math.max(1, Math.min(routed.count, Math.floor(slotShare * routed.count)));
    pool.first = reserveWeights(pool.count * pool.bytes);
  }

  return {
    state: {
      ...{ dim, epsilon, threads, batch },
      ...activations,
      ...{ scratch, tile, span, perLayer: vectors, perLayerFloats },
      ropes: shared.ropes.map(({ regions }) => regions),
    },
    ...{ begin, blocks, end, pieces, pages, pool, routed, tables: shared.tables, masks: shared.masks },
    ropes: shared.ropes.map(({ rope }) => frequencies(rope, contextLength)),
    staging: { address: staging, byteLength: stagingBytes },
    bytes: turns ? turnsEnd : size(),
    weightBytes: turns === undefined ? weightBytes : turnsEnd - turns,
    ...{ lent, replicas },
    cacheBytes:
      blocks.reduce((sum, block) => sum + keptBytes(block), 0) +
      [...replicas.values()].reduce((sum, cache) => sum + cacheBytes(cache, dtype), 0),
  };
}

// What attention over a cache works in.
function attentionScratchOf({ dtype, headDim, parts }: BlockCache, tile: number, span: number): number {
  if (dtype === 'f32' || dtype === 'f16') return attendScratchBytes(tile, span, headDim);
  const [dim, more = 0] = parts;
  return Math.max(attendCodesScratchBytes(tile, span, dim, more), ...parts.map(keepCodesScratchBytes));
}

// What a block keeps of sequences.
function keptBytes(block: Block): number {
  if ('recurrent' in block) return recurrentBytes(block.recurrent);
  return 'cache' in block && !('borrows' in block && block.borrows) ? cacheBytes(block.cache, block.cache.dtype) : 0;
}
