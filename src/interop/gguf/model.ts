// What GGUF's metadata says of a model: sizes, norms, experts, windows, by the keys that llama.cpp reads. Its converter's rules, from a
// config.json that a family has read. checkpoint/gguf/architectures.ts goes the other way.

import type { Kind } from '../../checkpoint/gguf/architectures.ts';
import { UnsupportedError } from '../../errors.ts';
import type {
  Architecture,
  AttentionSpec,
  ExpertsSpec,
  FeedForwardSpec,
  LatentSpec,
} from '../../families/architecture.ts';
import { CONFIG_LIMITS, type Fields } from '../../families/config.ts';
import type { Metadata, TypedValue } from './header.ts';
import { ropePairs } from './rope.ts';
import type { Cuts } from './tensors.ts';

/** A model whose config.json was read. */
export interface Described {
  /** Names of GGUF for it. */
  readonly kind: Kind;
  /** `general.architecture`. */
  readonly name: string;
  /** Its config.json. */
  readonly fields: Fields;
  /** What config.json describes. */
  readonly architecture: Architecture;
}

const u32 = (value: number): TypedValue => ({ u32: value });
const f32 = (value: number): TypedValue => ({ f32: value });

/** Period of layers that see all, where metadata does not say. */
const PERIODS: Readonly<Record<string, number>> = { gemma2: 2, gemma3_text: 6, olmo3: 4, gpt_oss: 2 };

/** How rows are cut into heads. */
export function cutsOf({ architecture, fields }: Described, tied: boolean): Cuts {
  const block = attentionOf(architecture);
  return {
    layers: architecture.layers.length,
    heads: block?.heads ?? 1,
    kvHeads: block?.kind === 'attention' ? block.kvHeads : 1,
    latent: block?.kind === 'latent' ? { plain: block.plain, valueDim: block.valueDim } : undefined,
    tied: fields.flag('tie_word_embeddings') ?? tied,
  };
}

/**
 * The metadata of the architecture, keys with its name in front.
 * @param vocabSize rows of the embedding
 * @throws {UnsupportedError} when llama.cpp has no key for what config.json says
 */
export function modelPairs(model: Described, vocabSize: number): Metadata {
  const { architecture, name, kind } = model;
  const pairs = {
    vocab_size: u32(vocabSize),
    block_count: u32(architecture.layers.length),
    context_length: u32(architecture.contextLength),
    embedding_length: u32(architecture.dim),
    feed_forward_length: u32(innerOf(model)),
    'attention.layer_norm_rms_epsilon': f32(architecture.epsilon),
    ...heads(model),
    ...ropePairs(model),
    ...experts(model),
    ...windows(model),
    ...(kind.type === 'gemma2' && caps(architecture)),
    ...(kind.type === 'granite' && multipliers(model)),
  };
  return Object.fromEntries(Object.entries(pairs).map(([key, value]) => [`${name}.${key}`, value]));
}

type AnyAttention = AttentionSpec | LatentSpec;

/** The first block of attention. */
export function attentionOf({ layers }: Architecture): AnyAttention | undefined {
  return layers.flat().find((block): block is AnyAttention => block.kind === 'attention' || block.kind === 'latent');
}

function innerOf({ architecture, fields }: Described): number {
  const isDense = (block: { kind: string }): block is FeedForwardSpec => block.kind === 'feedForward';
  const dense = architecture.layers.flat().find(isDense);
  return dense?.output.cols ?? fields.integer('intermediate_size', 1, CONFIG_LIMITS.hidden);
}

function heads({ architecture, fields, kind }: Described): Metadata {
  const block = attentionOf(architecture);
  if (block?.kind === 'latent') {
    const { rank, turned, plain, valueDim, queryLatent } = block;
    return {
      'attention.head_count': u32(block.heads),
      'attention.head_count_kv': u32(1), // keys and values are one latent
      ...(queryLatent && { 'attention.q_lora_rank': u32(queryLatent.weight.rows) }),
      'attention.kv_lora_rank': u32(rank),
      'attention.key_length': u32(rank + turned),
      'attention.value_length': u32(rank),
      'attention.key_length_mla': u32(plain + turned),
      'attention.value_length_mla': u32(valueDim),
    };
  }
  const count = block?.heads ?? fields.integer('num_attention_heads', 1, CONFIG_LIMITS.heads);
  const kvCount = block?.kvHeads ?? fields.integer('num_key_value_heads', 1, CONFIG_LIMITS.heads, count);
  const headDim = block?.headDim ?? architecture.dim / count;
  const common = {
    'attention.head_count': u32(count),
    'attention.key_length': u32(headDim),
    'attention.value_length': u32(headDim),
  };
  if (kind.type !== 'lfm2') return { ...common, 'attention.head_count_kv': u32(kvCount) };
  const each = architecture.layers.map((blocks) => (blocks.some(({ kind }) => kind === 'attention') ? kvCount : 0));
  return {
    ...common,
    'attention.head_count_kv': Int32Array.from(each),
    'shortconv.l_cache': u32(fields.integer('conv_L_cache', 1, CONFIG_LIMITS.taps, 3)),
  };
}

function experts({ architecture, kind, fields }: Described): Metadata {
  const { layers } = architecture;
  const isExperts = (block: { kind: string }): block is ExpertsSpec => block.kind === 'experts';
  const block = layers.flat().find(isExperts);
  if (!block) return {};
  const { routing, shared } = block;
  const { down } = block.experts[0];
  const grouped = routing.sigmoid || kind.type.startsWith('deepseek');
  return {
    expert_count: u32(block.experts.length),
    expert_used_count: u32(routing.top),
    ...(kind.type !== 'mixtral' && { expert_feed_forward_length: u32(down.cols) }),
    ...(kind.type === 'qwen2_moe' && shared && { expert_shared_feed_forward_length: u32(shared.down.cols) }),
    ...(kind.type === 'qwen2_moe' && { expert_weights_norm: routing.normalize }),
    ...(kind.type === 'qwen3_moe' && !routing.normalize && { expert_weights_norm: false }),
    ...(grouped && {
      expert_shared_count: u32(fields.integer('n_shared_experts', 0, CONFIG_LIMITS.experts, shared ? 1 : 0)),
      leading_dense_block_count: u32(layers.findIndex((blocks) => blocks.some(isExperts))),
      expert_weights_scale: f32(routing.factor),
      expert_weights_norm: routing.normalize,
      expert_gating_func: u32(routing.sigmoid ? 2 : 1),
      expert_group_count: u32(routing.groups),
      expert_group_used_count: u32(routing.taken),
    }),
  };
}

// Windows, and which layers have none: every so manieth, or llama.cpp cannot say it.
function windows({ architecture, kind, fields }: Described): Metadata {
  if (kind.type === 'phi3') return { 'attention.sliding_window': u32(fields.integer('sliding_window', 0, 2 ** 31, 0)) };
  const usual = PERIODS[kind.type];
  const each = architecture.layers.map((blocks) => {
    const block = blocks.find((block): block is AttentionSpec => block.kind === 'attention');
    return block?.window ?? 0;
  });
  const size = Math.max(...each);
  if (usual === undefined || size === 0) return {};
  const holds = (period: number) => each.every((window, i) => window === ((i + 1) % period === 0 ? 0 : size));
  const period = [usual, ...each.map((_, i) => i + 1), each.length + 1].find(holds);
  if (period === undefined) {
    const message = 'layers that see all must come at equal steps, as llama.cpp has them: the steps differ';
    throw new UnsupportedError('windows by layer', message, { file: fields.file });
  }
  return {
    'attention.sliding_window': u32(size),
    ...(period !== usual && { 'attention.sliding_window_pattern': u32(period) }),
  };
}

function caps({ layers, logitCap }: Architecture): Metadata {
  const block = layers.flat().find((block): block is AttentionSpec => block.kind === 'attention');
  return { attn_logit_softcapping: f32(block?.cap ?? 0), final_logit_softcapping: f32(logitCap) };
}

function multipliers({ architecture, fields }: Described): Metadata {
  const { layers, embeddingScale } = architecture;
  const block = layers.flat().find((block): block is AttentionSpec => block.kind === 'attention');
  return {
    'attention.scale': f32(block?.scale ?? 1),
    embedding_scale: f32(embeddingScale),
    residual_scale: f32(block?.multiplier ?? 1),
    logit_scale: f32(fields.number('logits_scaling', 0, 1e6, 1)),
  };
}
