// Small random checkpoints of every architecture, with sizes that no power of two divides, and the texts that are run through them.

import { uniform } from './bits.ts';
import { memoryFolder, safetensors, type Tensor, tensorOf } from './checkpoints.ts';

export type Config = Record<string, unknown> & {
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  vocab_size: number;
};

const sizes = {
  hidden_size: 64,
  intermediate_size: 172,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 24,
  vocab_size: 361,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  bos_token_id: 1,
  eos_token_id: 2,
};

/** Configurations, each with something that the others have not. */
export const configs: Readonly<Record<string, Config>> = {
  llama: { ...sizes, architectures: ['LlamaForCausalLM'], model_type: 'llama', tie_word_embeddings: false },
  'llama, llama3 rope': {
    ...sizes,
    architectures: ['LlamaForCausalLM'],
    tie_word_embeddings: true,
    rope_theta: 500000,
    rope_scaling: {
      ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: 64,
    },
  },
  'llama, biases, linear rope, interleaved': {
    ...sizes,
    architectures: ['LlamaForCausalLM'],
    tie_word_embeddings: false,
    attention_bias: true,
    mlp_bias: true,
    rope_scaling: { type: 'linear', factor: 2.5 },
    rope_interleaved: true,
  },
  'llama, rope_parameters': {
    ...sizes,
    model_type: 'llama',
    tie_word_embeddings: true,
    rope_theta: undefined,
    rope_parameters: { rope_type: 'default', rope_theta: 20000 },
  },
  mistral: { ...sizes, architectures: ['MistralForCausalLM'], model_type: 'mistral', sliding_window: 7 },
  qwen2: {
    ...sizes,
    architectures: ['Qwen2ForCausalLM'],
    model_type: 'qwen2',
    tie_word_embeddings: true,
    use_sliding_window: true,
    sliding_window: 5,
    max_window_layers: 1,
  },
  qwen3: {
    ...sizes,
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    tie_word_embeddings: true,
    layer_types: ['full_attention', 'sliding_attention'],
    sliding_window: 9,
  },
};

/** Names and shapes of a model's tensors. */
export function shapesOf(config: Config): [name: string, shape: number[]][] {
  const { hidden_size: dim, intermediate_size: wide, head_dim: size, vocab_size: vocabulary } = config;
  const [q, kv] = [config.num_attention_heads * size, config.num_key_value_heads * size];
  const architecture = String(config.model_type ?? config.architectures);
  const shapes: [string, number[]][] = [['model.embed_tokens.weight', [vocabulary, dim]]];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = `model.layers.${layer}`;
    const linear = (part: string, rows: number, cols: number, bias: unknown) => {
      shapes.push([`${name}.${part}.weight`, [rows, cols]]);
      if (bias) shapes.push([`${name}.${part}.bias`, [rows]]);
    };
    const qkvBias = architecture === 'qwen2' || config.attention_bias;
    shapes.push([`${name}.input_layernorm.weight`, [dim]], [`${name}.post_attention_layernorm.weight`, [dim]]);
    linear('self_attn.q_proj', q, dim, qkvBias);
    linear('self_attn.k_proj', kv, dim, qkvBias);
    linear('self_attn.v_proj', kv, dim, qkvBias);
    linear('self_attn.o_proj', dim, q, config.attention_bias);
    linear('mlp.gate_proj', wide, dim, config.mlp_bias);
    linear('mlp.up_proj', wide, dim, config.mlp_bias);
    linear('mlp.down_proj', dim, wide, config.mlp_bias);
    if (architecture !== 'qwen3') continue;
    shapes.push([`${name}.self_attn.q_norm.weight`, [size]], [`${name}.self_attn.k_norm.weight`, [size]]);
  }
  shapes.push(['model.norm.weight', [dim]]);
  if (!config.tie_word_embeddings) shapes.push(['lm_head.weight', [vocabulary, dim]]);
  return shapes;
}

/** Random weights, the same in every engine: matrices that keep the length of a vector, norms around 1. Dtypes take turns. */
export function randomFile(config: Config, dtypes: readonly string[] = ['F32', 'F16', 'BF16'], seed = 1) {
  const tensors: Record<string, Tensor> = {};
  for (const [i, [name, shape]] of shapesOf(config).entries()) {
    const next = uniform(seed * 1000 + i);
    const count = shape.reduce((product, size) => product * size, 1);
    const factor = Math.sqrt(12) * (shape.length === 2 ? 1 / Math.sqrt(shape[1]) : 0.3);
    const values = Float64Array.from({ length: count }, () => next() - 0.5);
    const offset = name.endsWith('norm.weight') ? 1 : 0;
    tensors[name] = tensorOf(
      dtypes[i % dtypes.length],
      shape,
      values.map((value) => offset + value * factor),
    );
  }
  return safetensors(tensors);
}

/** A checkpoint of these two files. */
export function modelFolder(config: object, file: Uint8Array) {
  return memoryFolder({ 'config.json': new TextEncoder().encode(JSON.stringify(config)), 'model.safetensors': file });
}

/** Seeded ids below `vocabulary`. */
export function randomIds(count: number, vocabulary: number, seed = 1): number[] {
  const next = uniform(seed);
  return Array.from({ length: count }, () => Math.floor(next() * vocabulary));
}
