// Models at their real sizes: config.json as released, and every tensor by name. Ids of bos and eos are those of a small tokenizer.

/** A tensor of a release. */
export interface ReleaseTensor {
  readonly name: string;
  readonly dtype: 'BF16' | 'F8_E4M3' | 'F32';
  readonly shape: readonly number[];
}

/** A model as it was released. */
export interface Release {
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: readonly ReleaseTensor[];
}

/** By name; made when asked for. */
export const releases: Readonly<Record<string, () => Release>> = {
  'llama-3.1-8b': () => llama({ dim: 4096, hidden: 14336, layers: 32, heads: 32, keyHeads: 8 }),
  'llama-3.1-405b': () => llama({ dim: 16384, hidden: 53248, layers: 126, heads: 128, keyHeads: 8 }),
  'qwen3-30b-a3b': qwen3Moe,
  'deepseek-v2-lite': deepseekV2Lite,
  'deepseek-v3': deepseekV3,
};

const IDS = { bos_token_id: 1, eos_token_id: 2 };
const BLOCK = 128; // rows and columns that share a factor of F8

const bf16 = (name: string, ...shape: number[]): ReleaseTensor => ({ name: `${name}.weight`, dtype: 'BF16', shape });

const f8 = (name: string, rows: number, cols: number): ReleaseTensor[] => [
  { name: `${name}.weight`, dtype: 'F8_E4M3', shape: [rows, cols] },
  { name: `${name}.weight_scale_inv`, dtype: 'F32', shape: [Math.ceil(rows / BLOCK), Math.ceil(cols / BLOCK)] },
];

const times = <T>(count: number, make: (i: number) => readonly T[]): T[] =>
  Array.from({ length: count }, (_, i) => make(i)).flat();

function withEnds(vocabulary: number, dim: number, layers: readonly ReleaseTensor[]): ReleaseTensor[] {
  return [
    bf16('model.embed_tokens', vocabulary, dim),
    ...layers,
    bf16('model.norm', dim),
    bf16('lm_head', vocabulary, dim),
  ];
}

const feedForward = (path: string, dim: number, hidden: number): ReleaseTensor[] => [
  bf16(`${path}.gate_proj`, hidden, dim),
  bf16(`${path}.up_proj`, hidden, dim),
  bf16(`${path}.down_proj`, dim, hidden),
];

function llama(sizes: { dim: number; hidden: number; layers: number; heads: number; keyHeads: number }): Release {
  const { dim, hidden, layers, heads, keyHeads } = sizes;
  const [vocabulary, headDim] = [128256, 128];
  const tensors = times(layers, (i) => {
    const path = `model.layers.${i}`;
    return [
      bf16(`${path}.input_layernorm`, dim),
      bf16(`${path}.self_attn.q_proj`, heads * headDim, dim),
      bf16(`${path}.self_attn.k_proj`, keyHeads * headDim, dim),
      bf16(`${path}.self_attn.v_proj`, keyHeads * headDim, dim),
      bf16(`${path}.self_attn.o_proj`, dim, heads * headDim),
      bf16(`${path}.post_attention_layernorm`, dim),
      ...feedForward(`${path}.mlp`, dim, hidden),
    ];
  });
  const config = {
    ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', attention_bias: false, mlp_bias: false, ...IDS },
    ...{ hidden_act: 'silu', hidden_size: dim, intermediate_size: hidden, num_hidden_layers: layers },
    ...{ num_attention_heads: heads, num_key_value_heads: keyHeads, vocab_size: vocabulary, rms_norm_eps: 1e-5 },
    ...{ max_position_embeddings: 131072, rope_theta: 500000, tie_word_embeddings: false, torch_dtype: 'bfloat16' },
    rope_scaling: {
      ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: 8192,
    },
  };
  return { config, tensors: withEnds(vocabulary, dim, tensors) };
}

function qwen3Moe(): Release {
  const [dim, width, experts, layers, heads, keyHeads, headDim, vocabulary] = [2048, 768, 128, 48, 32, 4, 128, 151936];
  const tensors = times(layers, (i) => {
    const path = `model.layers.${i}`;
    return [
      bf16(`${path}.input_layernorm`, dim),
      bf16(`${path}.self_attn.q_proj`, heads * headDim, dim),
      bf16(`${path}.self_attn.k_proj`, keyHeads * headDim, dim),
      bf16(`${path}.self_attn.v_proj`, keyHeads * headDim, dim),
      bf16(`${path}.self_attn.o_proj`, dim, heads * headDim),
      bf16(`${path}.self_attn.q_norm`, headDim),
      bf16(`${path}.self_attn.k_norm`, headDim),
      bf16(`${path}.post_attention_layernorm`, dim),
      bf16(`${path}.mlp.gate`, experts, dim),
      ...times(experts, (e) => feedForward(`${path}.mlp.experts.${e}`, dim, width)),
    ];
  });
  const config = {
    ...{ architectures: ['Qwen3MoeForCausalLM'], model_type: 'qwen3_moe', attention_bias: false, ...IDS },
    ...{ decoder_sparse_step: 1, head_dim: headDim, hidden_act: 'silu', hidden_size: dim, intermediate_size: 6144 },
    ...{ max_position_embeddings: 40960, max_window_layers: layers, mlp_only_layers: [], norm_topk_prob: true },
    ...{ moe_intermediate_size: width, num_attention_heads: heads, num_experts: experts, num_experts_per_tok: 8 },
    ...{ num_hidden_layers: layers, num_key_value_heads: keyHeads, rms_norm_eps: 1e-6, rope_theta: 1000000 },
    ...{ rope_scaling: null, sliding_window: null, use_sliding_window: false, tie_word_embeddings: false },
    ...{ torch_dtype: 'bfloat16', vocab_size: vocabulary },
  };
  return { config, tensors: withEnds(vocabulary, dim, tensors) };
}

const LATENT = {
  ...{ kv_lora_rank: 512, qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128, attention_bias: false },
  ...{ hidden_act: 'silu', rms_norm_eps: 1e-6, rope_theta: 10000, moe_layer_freq: 1, max_position_embeddings: 163840 },
  ...{ tie_word_embeddings: false, torch_dtype: 'bfloat16', ...IDS },
};
const YARN = { beta_fast: 32, beta_slow: 1, factor: 40, original_max_position_embeddings: 4096, type: 'yarn' };

function deepseekV2Lite(): Release {
  const [dim, hidden, width, experts, layers, heads, vocabulary] = [2048, 10944, 1408, 64, 27, 16, 102400];
  const tensors = times(layers, (i) => {
    const path = `model.layers.${i}`;
    return [
      bf16(`${path}.input_layernorm`, dim),
      bf16(`${path}.self_attn.q_proj`, heads * 192, dim),
      bf16(`${path}.self_attn.kv_a_proj_with_mqa`, 576, dim),
      bf16(`${path}.self_attn.kv_a_layernorm`, 512),
      bf16(`${path}.self_attn.kv_b_proj`, heads * 256, 512),
      bf16(`${path}.self_attn.o_proj`, dim, heads * 128),
      bf16(`${path}.post_attention_layernorm`, dim),
      ...(i === 0
        ? feedForward(`${path}.mlp`, dim, hidden)
        : [
            bf16(`${path}.mlp.gate`, experts, dim),
            ...times(experts, (e) => feedForward(`${path}.mlp.experts.${e}`, dim, width)),
            ...feedForward(`${path}.mlp.shared_experts`, dim, 2 * width),
          ]),
    ];
  });
  const config = {
    ...{ architectures: ['DeepseekV2ForCausalLM'], model_type: 'deepseek_v2', ...LATENT, first_k_dense_replace: 1 },
    ...{ hidden_size: dim, intermediate_size: hidden, moe_intermediate_size: width, n_routed_experts: experts },
    ...{ n_shared_experts: 2, n_group: 1, topk_group: 1, topk_method: 'greedy', norm_topk_prob: false },
    ...{ num_experts_per_tok: 6, num_attention_heads: heads, num_key_value_heads: heads, num_hidden_layers: layers },
    ...{ q_lora_rank: null, routed_scaling_factor: 1, scoring_func: 'softmax', vocab_size: vocabulary },
    rope_scaling: { ...YARN, mscale: 707e-3, mscale_all_dim: 707e-3 },
  };
  return { config, tensors: withEnds(vocabulary, dim, tensors) };
}

// Linear weights in F8 with factors for blocks of 128 × 128, the layer behind the last for further tokens.
function deepseekV3(): Release {
  const [dim, hidden, width, experts, layers, heads, vocabulary] = [7168, 18432, 2048, 256, 61, 128, 129280];
  const mlp = (path: string, size: number) => [
    ...f8(`${path}.gate_proj`, size, dim),
    ...f8(`${path}.up_proj`, size, dim),
    ...f8(`${path}.down_proj`, dim, size),
  ];
  const tensors = times(layers + 1, (i) => {
    const path = `model.layers.${i}`;
    return [
      bf16(`${path}.input_layernorm`, dim),
      ...f8(`${path}.self_attn.q_a_proj`, 1536, dim),
      bf16(`${path}.self_attn.q_a_layernorm`, 1536),
      ...f8(`${path}.self_attn.q_b_proj`, heads * 192, 1536),
      ...f8(`${path}.self_attn.kv_a_proj_with_mqa`, 576, dim),
      bf16(`${path}.self_attn.kv_a_layernorm`, 512),
      ...f8(`${path}.self_attn.kv_b_proj`, heads * 256, 512),
      ...f8(`${path}.self_attn.o_proj`, dim, heads * 128),
      bf16(`${path}.post_attention_layernorm`, dim),
      ...(i < 3
        ? mlp(`${path}.mlp`, hidden)
        : [
            bf16(`${path}.mlp.gate`, experts, dim),
            { name: `${path}.mlp.gate.e_score_correction_bias`, dtype: 'F32', shape: [experts] } as const,
            ...times(experts, (e) => mlp(`${path}.mlp.experts.${e}`, width)),
            ...mlp(`${path}.mlp.shared_experts`, width),
          ]),
      ...(i < layers
        ? []
        : [
            ...[bf16(`${path}.embed_tokens`, vocabulary, dim), bf16(`${path}.enorm`, dim), bf16(`${path}.hnorm`, dim)],
            ...[bf16(`${path}.eh_proj`, dim, 2 * dim), bf16(`${path}.shared_head.norm`, dim)],
            bf16(`${path}.shared_head.head`, vocabulary, dim),
          ]),
    ];
  });
  const config = {
    ...{ architectures: ['DeepseekV3ForCausalLM'], model_type: 'deepseek_v3', ...LATENT, first_k_dense_replace: 3 },
    ...{ hidden_size: dim, intermediate_size: hidden, moe_intermediate_size: width, n_routed_experts: experts },
    ...{ n_shared_experts: 1, n_group: 8, topk_group: 4, topk_method: 'noaux_tc', norm_topk_prob: true },
    ...{ num_experts_per_tok: 8, num_attention_heads: heads, num_key_value_heads: heads, num_hidden_layers: layers },
    ...{ num_nextn_predict_layers: 1, q_lora_rank: 1536, routed_scaling_factor: 2.5, scoring_func: 'sigmoid' },
    ...{ vocab_size: vocabulary, rope_scaling: { ...YARN, mscale: 1, mscale_all_dim: 1 } },
    quantization_config: {
      ...{ activation_scheme: 'dynamic', fmt: 'e4m3', quant_method: 'fp8', weight_block_size: [BLOCK, BLOCK] },
    },
  };
  return { config, tensors: withEnds(vocabulary, dim, tensors) };
}
