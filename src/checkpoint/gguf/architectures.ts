// Architectures of GGUF that are families here: what config.json would say, and how tensors are called. llama.cpp's names come from
// its converter, which moves rows of q and k where its rope turns pairs of neighbours, adds 1 to Gemma's norms, and leaves out of the
// metadata what llama.cpp knows by the architecture.

import { show } from '../../excerpt.ts';
import { type RopeTensors, ropeMembers } from './rope.ts';
import type { JsonObject, Values } from './values.ts';

/** What a file says of its model. */
export interface ModelFacts {
  /** The file's metadata. */
  readonly values: Values;
  /** Layers that run: those that predict further tokens stand behind them. */
  readonly layers: number;
  /** The shape of a tensor by its name in the file, if it is there. */
  shapeOf(name: string): readonly number[] | undefined;
  /** Factors of rope that the file holds. */
  readonly ropes: RopeTensors;
}

/** A model of GGUF that becomes one of transformers: its names in config.json and of tensors. */
export interface Kind {
  /** In config.json. */
  readonly type: string;
  /** The name of the model's class in transformers. */
  readonly class: string;
  /** Names in a layer, where they are not those of `USUAL`. */
  readonly names?: Readonly<Record<string, string>>;
  /** Whether rows of q and k were moved. */
  readonly turned?: boolean;
  /** What was added to norms. */
  readonly normPlus?: number;
  /** Names of an expert's weights. */
  readonly experts?: Readonly<Record<string, string>>;
  /** Tensors whose rows take turns with those of another, and what both are called. */
  readonly alternating?: Readonly<Record<string, { second: string; weight: string; bias: string }>>;
  /** Members of config.json beside those that all have. */
  readonly config?: (told: ModelFacts) => JsonObject;
}

/** Names in a layer by those in `blk.<layer>.`. */
export const USUAL: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
  ffn_gate_inp: 'mlp.gate',
};

const EXPERTS = {
  ffn_gate_exps: 'mlp.experts.*.gate_proj',
  ffn_up_exps: 'mlp.experts.*.up_proj',
  ffn_down_exps: 'mlp.experts.*.down_proj',
};
const sharedAs = (name: string) => ({
  ffn_gate_shexp: `mlp.${name}.gate_proj`,
  ffn_up_shexp: `mlp.${name}.up_proj`,
  ffn_down_shexp: `mlp.${name}.down_proj`,
});
const AROUND = {
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'pre_feedforward_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};
const CORRECTION = { 'exp_probs_b.bias': 'mlp.gate.e_score_correction_bias' };

const LLAMA: Kind = { type: 'llama', class: 'LlamaForCausalLM', turned: true, config: biases };
const MIXTRAL: Kind = {
  ...{ type: 'mixtral', class: 'MixtralForCausalLM', turned: true },
  names: { ffn_gate_inp: 'block_sparse_moe.gate' },
  experts: {
    ffn_gate_exps: 'block_sparse_moe.experts.*.w1',
    ffn_up_exps: 'block_sparse_moe.experts.*.w3',
    ffn_down_exps: 'block_sparse_moe.experts.*.w2',
  },
  config: ({ values }) => ({
    num_local_experts: values.integer('expert_count'),
    num_experts_per_tok: values.integer('expert_used_count'),
    intermediate_size: values.integer('expert_feed_forward_length', values.integer('feed_forward_length')),
    sliding_window: null,
  }),
};
const OLMO2: Kind = {
  ...{ type: 'olmo2', class: 'Olmo2ForCausalLM' },
  names: { post_attention_norm: 'post_attention_layernorm', post_ffw_norm: 'post_feedforward_layernorm' },
  config: biases,
};
const GLM_NAMES = { ffn_up: 'mlp.gate_up_proj' };

/** By `general.architecture`. */
const KINDS: Readonly<Record<string, (facts: ModelFacts) => Kind>> = {
  llama: ({ values }) => (values.integer('expert_count', 0) > 0 ? MIXTRAL : LLAMA),
  mistral3: () => ({
    ...{ type: 'ministral3', class: 'Ministral3ForCausalLM', turned: true },
    config: () => ({ sliding_window: null }),
  }),
  arcee: () => ({
    ...{ type: 'arcee', class: 'ArceeForCausalLM', turned: true },
    config: (facts) => ({ ...biases(facts), hidden_act: 'relu2' }),
  }),
  granite: () => ({
    ...{ type: 'granite', class: 'GraniteForCausalLM', turned: true },
    config: (facts) => ({
      ...biases(facts),
      attention_multiplier: facts.values.number('attention.scale', 1),
      embedding_multiplier: facts.values.number('embedding_scale', 1),
      residual_multiplier: facts.values.number('residual_scale', 1),
      logits_scaling: facts.values.number('logit_scale', 1),
    }),
  }),
  // llama.cpp has every fourth layer without rope, whatever the file says.
  smollm3: () => ({
    ...{ type: 'smollm3', class: 'SmolLM3ForCausalLM', turned: true },
    config: (facts) => ({ ...biases(facts), no_rope_layer_interval: 4 }),
  }),
  qwen2: () => ({ type: 'qwen2', class: 'Qwen2ForCausalLM', config: () => ({ use_sliding_window: false }) }),
  qwen3: () => ({
    ...{ type: 'qwen3', class: 'Qwen3ForCausalLM' },
    config: (facts) => ({ ...biases(facts), use_sliding_window: false }),
  }),
  qwen2moe: () => ({
    ...{ type: 'qwen2_moe', class: 'Qwen2MoeForCausalLM', experts: EXPERTS },
    names: { ffn_gate_inp_shexp: 'mlp.shared_expert_gate', ...sharedAs('shared_expert') },
    config: (facts) => ({
      ...qwenExperts(facts),
      qkv_bias: has(facts, 'attn_q.bias'),
      norm_topk_prob: facts.values.flag('expert_weights_norm') ?? false,
      shared_expert_intermediate_size: rowsOf(facts, 'ffn_gate_shexp'),
    }),
  }),
  qwen3moe: () => ({
    ...{ type: 'qwen3_moe', class: 'Qwen3MoeForCausalLM', experts: EXPERTS },
    config: (facts) => ({
      ...biases(facts),
      ...qwenExperts(facts),
      norm_topk_prob: facts.values.flag('expert_weights_norm') ?? true,
    }),
  }),
  gemma2: () => ({
    ...{ type: 'gemma2', class: 'Gemma2ForCausalLM', names: AROUND, normPlus: 1 },
    config: (facts) => ({
      ...gemma(facts, 46),
      attn_logit_softcapping: facts.values.number('attn_logit_softcapping', 50),
      final_logit_softcapping: facts.values.number('final_logit_softcapping', 30),
      sliding_window: facts.values.integer('attention.sliding_window', 4096),
    }),
  }),
  gemma3: () => ({
    ...{ type: 'gemma3_text', class: 'Gemma3ForCausalLM', names: AROUND, normPlus: 1 },
    config: (facts) => ({
      ...gemma(facts, 62),
      ...windows(facts, 6),
      rope_theta: facts.values.number('rope.freq_base', 1e6),
      rope_local_base_freq: facts.values.number('rope.freq_base_swa', 1e4),
      final_logit_softcapping: facts.values.number('final_logit_softcapping', null),
    }),
  }),
  phi3: () => ({
    ...{ type: 'phi3', class: 'Phi3ForCausalLM' },
    names: { attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj' },
    config: (facts) => ({
      ...partial(facts),
      sliding_window: facts.values.integer('attention.sliding_window', 0) || null,
    }),
  }),
  olmo2: ({ values }) =>
    values.integer('attention.sliding_window', 0) > 0
      ? {
          ...{ ...OLMO2, type: 'olmo3', class: 'Olmo3ForCausalLM' },
          config: (facts) => ({ ...biases(facts), ...windows(facts, 4) }),
        }
      : OLMO2,
  glm4: () => ({
    ...{ type: 'glm4', class: 'Glm4ForCausalLM' },
    names: {
      ...GLM_NAMES,
      post_attention_norm: 'post_self_attn_layernorm',
      ffn_norm: 'post_attention_layernorm',
      post_ffw_norm: 'post_mlp_layernorm',
    },
    config: (facts) => ({ ...partial(facts), attention_bias: has(facts, 'attn_q.bias') }),
  }),
  chatglm: () => ({
    ...{ type: 'glm', class: 'GlmForCausalLM', names: GLM_NAMES },
    config: (facts) => ({
      ...partial(facts),
      attention_bias: has(facts, 'attn_q.bias') || has(facts, 'attn_qkv.bias'),
    }),
  }),
  glm4moe: () => ({
    ...{ type: 'glm4_moe', class: 'Glm4MoeForCausalLM', experts: EXPERTS },
    names: { post_attention_norm: 'post_attention_layernorm', ...sharedAs('shared_experts'), ...CORRECTION },
    config: (facts) => ({
      ...partial(facts),
      ...groupedExperts(facts),
      attention_bias: has(facts, 'attn_q.bias'),
      use_qk_norm: has(facts, 'attn_q_norm.weight'),
    }),
  }),
  deepseek2: (facts) => ({
    ...(isV3(facts)
      ? { type: 'deepseek_v3', class: 'DeepseekV3ForCausalLM' }
      : { type: 'deepseek_v2', class: 'DeepseekV2ForCausalLM' }),
    names: {
      attn_q_a: 'self_attn.q_a_proj',
      attn_q_a_norm: 'self_attn.q_a_layernorm',
      attn_q_b: 'self_attn.q_b_proj',
      attn_kv_a_mqa: 'self_attn.kv_a_proj_with_mqa',
      attn_kv_a_norm: 'self_attn.kv_a_layernorm',
      attn_kv_b: 'self_attn.kv_b_proj',
      ...sharedAs('shared_experts'),
      ...CORRECTION,
    },
    experts: EXPERTS,
    config: deepseek,
  }),
  'gpt-oss': () => ({
    ...{ type: 'gpt_oss', class: 'GptOssForCausalLM' },
    names: {
      'attn_sinks.weight': 'self_attn.sinks',
      ffn_gate_inp: 'mlp.router',
      post_attention_norm: 'post_attention_layernorm',
      'ffn_down_exps.weight': 'mlp.experts.down_proj.weight',
      'ffn_down_exps.bias': 'mlp.experts.down_proj_bias',
    },
    alternating: {
      ffn_gate_exps: {
        second: 'ffn_up_exps',
        ...{ weight: 'mlp.experts.gate_up_proj.weight', bias: 'mlp.experts.gate_up_proj_bias' },
      },
    },
    config: (facts) => {
      const { values } = facts;
      const { rope_scaling: scaling } = ropeMembers(facts);
      return {
        attention_bias: has(facts, 'attn_q.bias'),
        intermediate_size: values.integer('expert_feed_forward_length'),
        num_local_experts: values.integer('expert_count'),
        num_experts_per_tok: values.integer('expert_used_count'),
        ...windows(facts, 2),
        // Its edges of the ramp are no whole numbers, which the file does not tell.
        ...(scaling !== undefined && { rope_scaling: { ...(scaling as JsonObject), truncate: false } }),
      };
    },
  }),
  ernie4_5: () => ({
    ...{ type: 'ernie4_5', class: 'Ernie4_5ForCausalLM' },
    config: (facts) => ({ use_bias: has(facts, 'attn_q.bias') }),
  }),
  'hunyuan-dense': () => ({
    ...{ type: 'hunyuan_v1_dense', class: 'HunYuanDenseV1ForCausalLM' },
    names: { attn_q_norm: 'self_attn.query_layernorm', attn_k_norm: 'self_attn.key_layernorm' },
    config: biases,
  }),
  lfm2: () => ({
    ...{ type: 'lfm2', class: 'Lfm2ForCausalLM' },
    names: {
      attn_norm: 'operator_norm',
      attn_output: 'self_attn.out_proj',
      attn_q_norm: 'self_attn.q_layernorm',
      attn_k_norm: 'self_attn.k_layernorm',
      ffn_norm: 'ffn_norm',
      ffn_gate: 'feed_forward.w1',
      ffn_up: 'feed_forward.w3',
      ffn_down: 'feed_forward.w2',
      'shortconv.conv': 'conv.conv',
      'shortconv.in_proj': 'conv.in_proj',
      'shortconv.out_proj': 'conv.out_proj',
    },
    config: ({ values, layers, shapeOf }) => {
      const heads = perLayer(values, 'attention.head_count_kv', layers);
      return {
        num_key_value_heads: Math.max(...heads) || values.integer('attention.head_count'),
        layer_types: heads.map((count) => (count === 0 ? 'conv' : 'full_attention')),
        conv_L_cache: values.integer('shortconv.l_cache'),
        conv_bias: heads.some((_, i) => shapeOf(`blk.${i}.shortconv.conv.bias`) !== undefined),
        block_auto_adjust_ff_dim: false,
        norm_eps: values.number('attention.layer_norm_rms_epsilon'),
      };
    },
  }),
};

/** `general.architecture` by `model_type`. */
export const ARCHITECTURES: Readonly<Record<string, string>> = {
  ...{ llama: 'llama', mistral: 'llama', mixtral: 'llama', ministral3: 'mistral3', arcee: 'arcee', granite: 'granite' },
  ...{ smollm3: 'smollm3', qwen2: 'qwen2', qwen3: 'qwen3', qwen2_moe: 'qwen2moe', qwen3_moe: 'qwen3moe' },
  ...{ gemma2: 'gemma2', gemma3_text: 'gemma3', phi3: 'phi3', olmo2: 'olmo2', olmo3: 'olmo2', glm: 'chatglm' },
  ...{ glm4: 'glm4', glm4_moe: 'glm4moe', deepseek_v2: 'deepseek2', deepseek_v3: 'deepseek2', gpt_oss: 'gpt-oss' },
  ...{ ernie4_5: 'ernie4_5', hunyuan_v1_dense: 'hunyuan-dense', lfm2: 'lfm2' },
};

/** @throws {UnsupportedError} when it is of none that runs here; names it */
export function kindOf(facts: ModelFacts): Kind {
  const { architecture, unsupported } = facts.values;
  if (Object.hasOwn(KINDS, architecture)) return KINDS[architecture](facts);
  const supported = Object.keys(KINDS).join(', ');
  const message = `general.architecture must be one of ${supported}: got ${show(architecture)}`;
  return unsupported(`GGUF of ${architecture}`, message);
}

/** What config.json would say. */
export function configOf(facts: ModelFacts, kind: Kind): JsonObject {
  const { values, layers, shapeOf } = facts;
  const embedding = shapeOf('token_embd.weight');
  if (embedding?.length !== 2)
    values.fail(
      embedding
        ? `token_embd.weight must be a matrix: got [${embedding.join(', ')}]`
        : 'file must hold token_embd.weight: it is missing',
    );
  const heads = uniform(facts, 'attention.head_count');
  const headDim = values.integer('attention.key_length', undefined);
  return {
    architectures: [kind.class],
    model_type: kind.type,
    vocab_size: embedding![0],
    hidden_size: values.integer('embedding_length'),
    intermediate_size: uniform(facts, 'feed_forward_length'),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kind.type === 'lfm2' ? heads : uniform(facts, 'attention.head_count_kv', heads),
    ...(headDim !== undefined && { head_dim: headDim }),
    max_position_embeddings: values.integer('context_length'),
    rms_norm_eps: values.number('attention.layer_norm_rms_epsilon'),
    hidden_act: 'silu',
    ...ropeMembers(facts),
    tie_word_embeddings: shapeOf('output.weight') === undefined,
    ...kind.config?.(facts),
  };
}

// A number that is the same for all layers. @param otherwise where there is none
function uniform({ values, layers }: ModelFacts, key: string, otherwise?: number): number {
  const each = perLayer(values, key, layers, otherwise);
  if (each.every((value) => value === each[0])) return each[0];
  const feature = `${key} by layer`;
  return values.unsupported(feature, `${key} must be the same for all layers: got ${show(each)}`);
}

function perLayer(values: Values, key: string, layers: number, otherwise?: number): number[] {
  const each = values.perLayer(key, layers) ?? (otherwise === undefined ? undefined : [otherwise]);
  return each ?? values.fail(`metadata must have ${values.architecture}.${key}: it is missing`);
}

// Whether the first layer has a tensor of that name.
function has({ shapeOf }: ModelFacts, name: string): boolean {
  return shapeOf(`blk.0.${name}`) !== undefined;
}

function biases(facts: ModelFacts): JsonObject {
  return { attention_bias: has(facts, 'attn_q.bias'), mlp_bias: has(facts, 'ffn_up.bias') };
}

// The rows of a weight, in the first layer that has it.
function rowsOf({ layers, shapeOf, values }: ModelFacts, name: string): number {
  for (let layer = 0; layer < layers; layer++) {
    const shape = shapeOf(`blk.${layer}.${name}.weight`);
    if (shape && shape.length > 1) return shape[shape.length - 2];
  }
  return values.fail(`file must hold ${name}.weight in a layer: no layer has it`);
}

// The part of a head that turns.
function partial({ values }: ModelFacts): JsonObject {
  const dim = values.integer('attention.key_length', undefined);
  const headDim = dim ?? values.integer('embedding_length') / values.integer('attention.head_count');
  const turned = values.integer('rope.dimension_count', headDim);
  return { head_dim: headDim, partial_rotary_factor: turned / headDim };
}

// Scores are scaled by the elements of a head; by the width for each head in the largest model, which its layers tell, as in llama.cpp.
function gemma(facts: ModelFacts, largest: number): JsonObject {
  const { values, layers } = facts;
  const heads = values.integer('attention.head_count');
  const headDim = values.integer('attention.key_length', 256);
  return {
    attention_bias: has(facts, 'attn_q.bias'),
    head_dim: headDim,
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: layers === largest ? values.integer('embedding_length') / heads : headDim,
  };
}

// Which layers slide. @param every of these one sees all, where the file does not say
function windows({ values, layers }: ModelFacts, every: number): JsonObject {
  const key = 'attention.sliding_window_pattern';
  const each =
    values.all.get(`${values.architecture}.${key}`) instanceof Float64Array ? values.numbers(key)! : undefined;
  const pattern = each ? every : values.integer(key, every);
  const slides = (layer: number) => (each ? each[layer] !== 0 : (layer + 1) % pattern !== 0);
  return {
    sliding_window: values.integer('attention.sliding_window'),
    layer_types: Array.from({ length: layers }, (_, i) => (slides(i) ? 'sliding_attention' : 'full_attention')),
  };
}

function qwenExperts(facts: ModelFacts): JsonObject {
  const { values, layers, shapeOf } = facts;
  const isDense = (layer: number) => shapeOf(`blk.${layer}.ffn_gate_inp.weight`) === undefined;
  return {
    num_experts: values.integer('expert_count'),
    num_experts_per_tok: values.integer('expert_used_count'),
    moe_intermediate_size: rowsOf(facts, 'ffn_gate_exps'),
    decoder_sparse_step: 1,
    mlp_only_layers: Array.from({ length: layers }, (_, i) => i).filter(isDense),
    use_sliding_window: false,
  };
}

function groupedExperts(facts: ModelFacts): JsonObject {
  const { values } = facts;
  const groups = values.integer('expert_group_count', undefined);
  const taken = values.integer('expert_group_used_count', undefined);
  return {
    first_k_dense_replace: values.integer('leading_dense_block_count', 0),
    moe_intermediate_size: rowsOf(facts, 'ffn_gate_exps'),
    n_routed_experts: values.integer('expert_count'),
    n_shared_experts: values.integer('expert_shared_count', 0),
    num_experts_per_tok: values.integer('expert_used_count'),
    routed_scaling_factor: values.number('expert_weights_scale', 1),
    norm_topk_prob: values.flag('expert_weights_norm') ?? false,
    ...(groups !== undefined && { n_group: groups }),
    ...(taken !== undefined && { topk_group: taken }),
  };
}

// Experts by sigmoid have a correction; so old files tell, which do not name the function.
function isV3({ values, layers, shapeOf }: ModelFacts): boolean {
  const sigmoid = 2;
  return (
    values.integer('expert_gating_func', 1) === sigmoid || shapeOf(`blk.${layers - 1}.exp_probs_b.bias`) !== undefined
  );
}

function deepseek(facts: ModelFacts): JsonObject {
  const { values } = facts;
  const turned = values.integer('rope.dimension_count');
  const heads = values.integer('attention.head_count');
  const keyLength = values.integer('attention.key_length_mla', values.integer('attention.key_length', undefined));
  const valueDim = values.integer('attention.value_length_mla', values.integer('attention.value_length', undefined));
  if (keyLength === undefined || valueDim === undefined || keyLength <= turned) {
    const must = 'attention.key_length and value_length must be there, the first above rope.dimension_count';
    return values.fail(`${must}: got ${show(keyLength)}, ${show(valueDim)} and ${turned}`);
  }
  const groups = values.integer('expert_group_count', 1);
  const grouped = groups > 1 ? 'group_limited_greedy' : 'greedy';
  return {
    ...groupedExperts(facts),
    ...(isV3(facts)
      ? { scoring_func: 'sigmoid', topk_method: 'noaux_tc', rope_interleave: true }
      : { topk_method: grouped }),
    num_key_value_heads: heads,
    head_dim: turned,
    q_lora_rank: values.integer('attention.q_lora_rank', null),
    kv_lora_rank: values.integer('attention.kv_lora_rank'),
    qk_nope_head_dim: keyLength - turned,
    qk_rope_head_dim: turned,
    v_head_dim: valueDim,
    attention_bias: has(facts, 'attn_kv_a_mqa.bias'),
    mlp_bias: has(facts, 'ffn_up.bias') || has(facts, 'ffn_up_shexp.bias'),
    moe_layer_freq: 1,
  };
}
