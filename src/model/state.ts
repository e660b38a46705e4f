// Everything that a forward pass reads and writes, by address: weights, cache, activations. Plain data, the same for all threads.
// Activations hold `batch` tokens; a longer prompt goes through in batches.

import type { CheckpointTensor } from '../checkpoint/checkpoint.ts';
import { type Grid, isTrellis } from '../grids/grid.ts';
import { activationBytes, READ_BEHIND, rowTableBytes } from '../kernels/decoder/sizes.ts';
import { integerTable } from '../kernels/decoder/table.ts';
import type { ModelConfig } from './config.ts';
import { type Linear, type Planner, planLinear, type Rotation, scratchBytesOf, type WeightTensor } from './linear.ts';
import { regions } from './region.ts';
import { SYNC_BYTES } from './team.ts';
import type { Weights } from './weights.ts';

/** Tokens that go through the layers at once. */
const BATCH = 64;
/** Bytes of attention scores that a thread keeps; at least one row of them. */
const SCORE_BYTES = 1 << 20;
/** Bytes of logits that are computed at once; at least one token's. */
const LOGIT_BYTES = 8 << 20;

export interface Layer {
  readonly attentionNorm: number; // (dim)
  readonly attentionRotations: readonly Rotation[];
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly qNorm: number; // (headDim), 0 for none
  readonly kNorm: number;
  readonly outputRotations: readonly Rotation[];
  readonly output: Linear;
  readonly feedForwardNorm: number; // (dim)
  readonly feedForwardRotations: readonly Rotation[];
  readonly gate: Linear;
  readonly up: Linear;
  readonly downRotations: readonly Rotation[];
  readonly down: Linear;
  readonly keys: number; // (kvHeads, contextLength, headDim) f16 or f32
  readonly values: number; // (kvHeads, contextLength, headDim)
  readonly window: number;
}

export interface State {
  readonly config: ModelConfig;
  readonly threads: number;
  readonly batch: number;
  /** Bytes of an element of the cache: 2 or 4. */
  readonly cacheWidth: number;
  readonly sync: number;
  readonly ids: number; // (batch) i32
  readonly frequencies: number; // (headDim / 2) f64
  readonly angles: number; // (batch, headDim)
  readonly x: number; // (batch, dim), the residual stream
  readonly normed: number; // (batch, dim)
  readonly q: number; // (batch, heads · headDim)
  readonly k: number; // (batch, kvHeads · headDim)
  readonly v: number; // (batch, kvHeads · headDim)
  readonly mixed: number; // (batch, heads · headDim)
  readonly y: number; // (batch, dim)
  readonly gate: number; // (batch, hidden)
  readonly up: number; // (batch, hidden)
  readonly logits: number; // (logitRows, vocabSize)
  readonly logitRows: number;
  readonly scratch: readonly number[]; // of each thread
  /** Rows of scores, and scores in a row. */
  readonly tile: number;
  readonly span: number;
  readonly embedding: Linear;
  readonly layers: readonly Layer[];
  readonly norm: number; // (dim)
  readonly headRotations: readonly Rotation[];
  readonly head: Linear;
}

/** A tensor to be loaded, and where to. */
export type Load =
  | { readonly tensor: WeightTensor; readonly linear: Linear }
  | { readonly vector: CheckpointTensor; readonly address: number };

/** A state and what it takes to fill it. */
export interface Plan {
  readonly state: State;
  readonly loads: readonly Load[];
  readonly tables: readonly { readonly grid: Grid; readonly table: number; readonly integers: number }[];
  readonly masks: readonly { readonly seed: number | null; readonly address: number; readonly count: number }[];
  /** Room for blocks of a checkpoint while it loads; the pass writes there later. */
  readonly staging: { readonly address: number; readonly byteLength: number };
  /** Bytes of linear memory: in all, for weights, for the cache. */
  readonly bytes: number;
  readonly weightBytes: number;
  readonly cacheBytes: number;
}

/** Where a block of a checkpoint is checked before it is stored. */
const STAGING_BYTES = 4 << 20;

/** How a model is laid out. */
export interface StateOptions {
  cacheWidth: number;
  threads: number;
  integers: boolean;
  /** Tokens that go through the layers at once; 64 if left out. */
  atOnce?: number;
}

/** Lays out a model in linear memory, from its configuration and headers alone. */
export function planState(
  config: ModelConfig,
  weights: Weights,
  { cacheWidth, threads, integers, atOnce = BATCH }: StateOptions,
): Plan {
  const { dim, hidden, heads, kvHeads, headDim, vocabSize, contextLength } = config;
  const { reserve, size } = regions();
  const batch = Math.min(atOnce, contextLength);
  const loads: Load[] = [];
  const tables: { grid: Grid; table: number; integers: number }[] = [];
  const masks: { seed: number | null; address: number; count: number }[] = [];
  const rotations = new Map<string, Rotation>();
  const widest = Math.max(dim, hidden, heads * headDim);

  const sync = reserve(SYNC_BYTES);
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
    masksOf(seed) {
      let entry = masks.find((known) => known.seed === seed);
      if (!entry) {
        const count = Math.ceil(widest / 32) * 32;
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
          masks: planner.masksOf(seed),
          to: reserve(batch * cols * 4 + READ_BEHIND),
          integers: integers ? reserve(batch * integerBytes) : 0,
        };
        rotations.set(key, rotation);
      }
      return rotation;
    },
  };

  const floats = (count: number) => reserve(count * 4);
  function vector(name: string, length: number): number {
    const address = planner.reserve(length * 4);
    loads.push({ vector: weights.vector(name, length), address });
    return address;
  }
  function linear(name: string, rows: number, cols: number, input: number, biased = false): Linear {
    const tensor = weights.matrix(`${name}.weight`, rows, cols);
    if (!biased) weights.refuse(`${name}.bias`);
    const bias = biased ? vector(`${name}.bias`, rows) : 0;
    const planned = planLinear(tensor, rows, cols, bias, input, planner);
    loads.push({ tensor, linear: planned });
    return planned;
  }
  const rotationsOf = (...linears: Linear[]): Rotation[] =>
    [...rotations.values()].filter(({ to, integers: at }) => linears.some(({ input }) => input === (at || to)));

  // Activations come before weights, whose inputs they are.
  const activations = {
    ids: reserve(batch * 4),
    frequencies: reserve(headDim * 4),
    angles: floats(batch * headDim),
    x: floats(batch * dim),
    normed: floats(batch * dim),
    q: floats(batch * heads * headDim),
    k: floats(batch * kvHeads * headDim),
    v: floats(batch * kvHeads * headDim),
    mixed: floats(batch * heads * headDim),
    y: floats(batch * dim),
    gate: floats(batch * hidden),
    up: floats(batch * hidden),
  };
  const { normed, mixed, gate } = activations;
  const span = contextLength + 4;
  const tile = Math.max(1, Math.min(BATCH, Math.floor(SCORE_BYTES / 4 / span)));
  const logitRows = Math.max(1, Math.min(batch, Math.floor(LOGIT_BYTES / 4 / vocabSize)));
  const logits = floats(logitRows * vocabSize);

  const embedding = linear('model.embed_tokens', vocabSize, dim, normed);
  let cacheBytes = 0;
  const layers = config.windows.map((window, index): Layer => {
    const name = `model.layers.${index}`;
    const { qkv, output: outputBias, feedForward } = config.biases;
    const attentionNorm = vector(`${name}.input_layernorm.weight`, dim);
    const q = linear(`${name}.self_attn.q_proj`, heads * headDim, dim, normed, qkv);
    const k = linear(`${name}.self_attn.k_proj`, kvHeads * headDim, dim, normed, qkv);
    const v = linear(`${name}.self_attn.v_proj`, kvHeads * headDim, dim, normed, qkv);
    const headNorm = (which: string) => (config.headNorms ? vector(`${name}.self_attn.${which}.weight`, headDim) : 0);
    const qNorm = headNorm('q_norm');
    const kNorm = headNorm('k_norm');
    const output = linear(`${name}.self_attn.o_proj`, dim, heads * headDim, mixed, outputBias);
    const feedForwardNorm = vector(`${name}.post_attention_layernorm.weight`, dim);
    const gateLinear = linear(`${name}.mlp.gate_proj`, hidden, dim, normed, feedForward);
    const up = linear(`${name}.mlp.up_proj`, hidden, dim, normed, feedForward);
    const down = linear(`${name}.mlp.down_proj`, dim, hidden, gate, feedForward);
    const cached = kvHeads * contextLength * headDim * cacheWidth;
    cacheBytes += 2 * cached;
    return {
      attentionNorm,
      attentionRotations: rotationsOf(q, k, v),
      ...{ q, k, v, qNorm, kNorm, output },
      outputRotations: rotationsOf(output),
      feedForwardNorm,
      feedForwardRotations: rotationsOf(gateLinear, up),
      gate: gateLinear,
      up,
      downRotations: rotationsOf(down),
      down,
      keys: reserve(cached),
      values: reserve(cached),
      window,
    };
  });
  const norm = vector('model.norm.weight', dim);
  const tied = config.tied ?? !weights.has('lm_head.weight');
  const head = tied ? embedding : linear('lm_head', vocabSize, dim, normed);

  const linears = [embedding, head, ...layers.flatMap(({ q, output, gate: g, down }) => [q, output, g, down])];
  const attentionScratch = (tile * span + 32 * headDim) * 4;
  const scratchBytes = Math.max(attentionScratch, ...linears.map((linear) => scratchBytesOf(linear, batch)));
  const staging = size();
  const scratch = Array.from({ length: threads }, () => reserve(scratchBytes));
  if (size() < staging + STAGING_BYTES) reserve(staging + STAGING_BYTES - size());

  const state: State = {
    ...{ config, threads, batch, cacheWidth, sync },
    ...activations,
    ...{ logits, logitRows, scratch, tile, span, embedding, layers, norm, head },
    headRotations: rotationsOf(head),
  };
  const staged = { address: staging, byteLength: STAGING_BYTES };
  return { state, loads, tables, masks, staging: staged, bytes: size(), weightBytes, cacheBytes };
}
