// Lays a model out in linear memory before that memory exists, from its architecture and the checkpoint's headers alone.

import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import { type Grid, isTrellis } from '../grids/grid.ts';
import type { LinearMemory } from '../kernels/decoder/instantiate.ts';
import { activationBytes, READ_BEHIND, rowTableBytes } from '../kernels/decoder/sizes.ts';
import { integerTable } from '../kernels/decoder/table.ts';
import type { Architecture } from './architecture.ts';
import type { BlockPlanner } from './blocks/block.ts';
import { type Block, planBlock, weightsOf } from './blocks/blocks.ts';
import { cacheBytes, planCache } from './cache.ts';
import {
  type Linear,
  type LinearSpec,
  type Planner,
  planLinear,
  type Rotation,
  scratchBytesOf,
  type WeightTensor,
} from './linear.ts';
import { segmentBytes } from './pass.ts';
import { regions } from './region.ts';
import type { Rope } from './rope.ts';
import type { RopeRegions, State } from './state.ts';
import { SYNC_BYTES } from './team.ts';
import type { Weights } from './weights.ts';

/** Most tokens of a pass, unless another number is asked for. */
const BATCH = 64;
/** Bytes of attention scores that a thread keeps; at least one row of them. */
const SCORE_BYTES = 1 << 20;
/** Bytes of logits that are computed at once; at least one token's. */
const LOGIT_BYTES = 8 << 20;
/** Where a block of a checkpoint is checked before it is stored. */
const STAGING_BYTES = 4 << 20;

/** A model in linear memory: what every thread has of it. */
export interface ModelState extends State {
  /** Of all layers, in the order in which a token goes through them. */
  readonly blocks: readonly Block[];
  /** The layer of each block. */
  readonly layerOf: readonly number[];
}

/** What a thread beside the caller's is sent. */
export interface ThreadMessage {
  binary: Uint8Array<ArrayBuffer>;
  memory: LinearMemory;
  state: ModelState;
  index: number;
}

/** A tensor to be loaded, and where to. */
type Load =
  | { readonly tensor: WeightTensor; readonly linear: Linear }
  | { readonly vector: CheckpointTensor; readonly address: number };

/** A model's layout, and what it takes to fill it. */
export interface Layout {
  readonly state: ModelState;
  readonly loads: readonly Load[];
  readonly tables: readonly { readonly grid: Grid; readonly table: number; readonly integers: number }[];
  readonly masks: readonly { readonly seed: number | null; readonly address: number; readonly count: number }[];
  /** By the place of `state.ropes`. */
  readonly ropes: readonly Rope[];
  /** Room for blocks of a checkpoint while it loads; the pass writes there later. */
  readonly staging: { readonly address: number; readonly byteLength: number };
  /** Bytes of linear memory: in all, for weights, for the cache. */
  readonly bytes: number;
  readonly weightBytes: number;
  readonly cacheBytes: number;
}

/** How a model is laid out. */
export interface LayoutOptions {
  /** Rows of the cache. */
  rows: number;
  /** Bytes of an element of the cache: 2 or 4. */
  cacheWidth: number;
  threads: number;
  /** Whether activations meet quantized weights as integers. */
  integers: boolean;
  /** Most tokens of a pass; 64 if left out. */
  atOnce?: number;
}

/** Tokens whose logits are computed at once. @param batch most tokens of a pass */
export function logitRowsOf(vocabSize: number, batch: number): number {
  return Math.max(1, Math.min(batch, Math.floor(LOGIT_BYTES / 4 / vocabSize)));
}

/** Lays a model out. */
export function planModel(architecture: Architecture, weights: Weights, options: LayoutOptions): Layout {
  const { dim, epsilon, vocabSize, contextLength } = architecture;
  const { rows, cacheWidth, threads, integers, atOnce = BATCH } = options;
  const { reserve, size } = regions();
  const batch = Math.min(atOnce, rows);
  const loads: Load[] = [];
  const sync = reserve(SYNC_BYTES);
  const shared = planShared(reserve, batch, integers);
  const { planner } = shared;
  const floats = (count: number) => reserve(count * 4);

  function vector(name: string, length: number): number {
    const address = planner.reserve(length * 4);
    loads.push({ vector: weights.vector(name, length), address });
    return address;
  }
  function linear(spec: LinearSpec, input: number): Linear {
    const { name, rows, cols } = spec;
    const tensor = weights.matrix(`${name}.weight`, rows, cols);
    if (!spec.bias) weights.refuse(`${name}.bias`);
    const bias = spec.bias ? vector(`${name}.bias`, rows) : 0;
    const planned = planLinear(tensor, spec, bias, input, planner);
    loads.push({ tensor, linear: planned });
    return planned;
  }

  // Activations come before weights, whose inputs they are.
  const activations = {
    segments: reserve(segmentBytes(batch)),
    ids: reserve(batch * 4),
    x: floats(batch * dim),
    normed: floats(batch * dim),
    y: floats(batch * dim),
  };
  const span = contextLength + 4;
  const tile = Math.max(1, Math.min(BATCH, Math.floor(SCORE_BYTES / 4 / span)));
  const logitRows = logitRowsOf(vocabSize, batch);
  const logits = floats(logitRows * vocabSize);
  const { normed } = activations;

  const blockPlanner: BlockPlanner = {
    ...{ normed, vector, linear },
    rotationsOf: shared.rotationsOf,
    activation: shared.activation,
    rope: shared.rope,
    cache: (kvHeads, headDim) => planCache(kvHeads, headDim, rows, cacheWidth, reserve),
  };
  const embedding = linear(architecture.embedding, normed);
  const layers = architecture.layers.map((specs) => specs.map((spec) => planBlock(spec, blockPlanner)));
  const blocks = layers.flat();
  const norm = vector(architecture.norm, dim);
  const tied = architecture.tied ?? !weights.has(`${architecture.head.name}.weight`);
  const head = tied ? embedding : linear(architecture.head, normed);

  const headDim = Math.max(0, ...shared.ropes.map(({ regions }) => regions.headDim));
  const attentionScratch = (tile * span + 32 * headDim) * 4;
  const scratchBytes = [embedding, head, ...blocks.flatMap(weightsOf)].reduce(
    (most, linear) => Math.max(most, scratchBytesOf(linear, batch)),
    attentionScratch,
  );
  const staging = size();
  const scratch = Array.from({ length: threads }, () => reserve(scratchBytes));
  if (size() < staging + STAGING_BYTES) reserve(staging + STAGING_BYTES - size());

  const state: ModelState = {
    ...{ dim, vocabSize, epsilon, threads, batch, sync },
    ...activations,
    ...{ logits, logitRows, scratch, tile, span, embedding, norm, head, blocks },
    ropes: shared.ropes.map(({ regions }) => regions),
    layerOf: layers.flatMap((own, layer) => own.map(() => layer)),
    headRotations: shared.rotationsOf(head),
  };
  return {
    ...{ state, loads, tables: shared.tables, masks: shared.masks, bytes: size() },
    ropes: shared.ropes.map(({ rope }) => rope),
    staging: { address: staging, byteLength: STAGING_BYTES },
    weightBytes: shared.weightBytes(),
    cacheBytes: blocks.reduce((sum, block) => sum + ('cache' in block ? cacheBytes(block.cache) : 0), 0),
  };
}

// What several weights or blocks share: tables of grids, masks of signs, rotated activations, ropes.
function planShared(reserve: (byteLength: number) => number, batch: number, integers: boolean) {
  const tables: { grid: Grid; table: number; integers: number }[] = [];
  const masks: { seed: number | null; address: number; count: number }[] = [];
  const rotations = new Map<string, Rotation>();
  const activations = new Map<string, number>();
  const ropes: { key: string; rope: Rope; regions: RopeRegions }[] = [];
  let weightBytes = 0;

  const planner: Planner = {
    reserve(byteLength) {
      weightBytes += byteLength;
      return reserve(byteLength);
    },
    tableOf(grid) {
      let entry = tables.find((known) => known.grid.name === grid.name);
      if (!entry) {
        const integerBytes = integerTable(grid).byteLength;
        // A trellis has one table for values in f32 and in integers.
        const table = reserve(isTrellis(grid) ? integerBytes : rowTableBytes(grid.p, grid.n));
        entry = { grid, table, integers: integers ? (isTrellis(grid) ? table : reserve(integerBytes)) : 0 };
        tables.push(entry);
      }
      return { table: entry.table, integers: entry.integers };
    },
    masksOf(seed, cols) {
      const count = Math.ceil(cols / 32) * 32;
      let entry = masks.find((known) => known.seed === seed && known.count >= count);
      if (!entry) {
        entry = { seed, address: reserve(count * 4), count };
        masks.push(entry);
      }
      return entry.address;
    },
    rotated(from, cols, groupSize, seed) {
      const key = `${from} ${groupSize} ${seed}`;
      let rotation = rotations.get(key);
      if (!rotation) {
        const integerBytes = integers ? activationBytes(cols, groupSize) : 0;
        rotation = {
          ...{ from, cols, groupSize, integerBytes },
          masks: planner.masksOf(seed, cols),
          to: reserve(batch * cols * 4 + READ_BEHIND),
          integers: integers ? reserve(batch * integerBytes) : 0,
        };
        rotations.set(key, rotation);
      }
      return rotation;
    },
  };

  return {
    ...{ planner, tables, masks, ropes },
    weightBytes: () => weightBytes,
    rotationsOf: (...linears: Linear[]): Rotation[] =>
      [...rotations.values()].filter(({ to, integers: at }) => linears.some(({ input }) => input === (at || to))),
    activation(name: string, count: number): number {
      const key = `${name} ${count}`;
      const address = activations.get(key) ?? reserve(batch * count * 4);
      activations.set(key, address);
      return address;
    },
    rope(rope: Rope, headDim: number): number {
      const key = JSON.stringify([rope, headDim]);
      const known = ropes.findIndex((entry) => entry.key === key);
      if (known >= 0) return known;
      const { interleaved } = rope;
      const [frequencies, angles] = [reserve(headDim * 4), reserve(batch * headDim * 4)];
      return ropes.push({ key, rope, regions: { frequencies, angles, headDim, interleaved } }) - 1;
    },
  };
}
