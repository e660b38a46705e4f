// A small DeepSeek-V3 with weights in F8 as the releases have them: a factor for 128 × 128, ragged at the edges, and a layer that predicts
// further tokens. Beside it the same weights in f32 and BF16.

import type { Folder } from '../src/index.ts';
import { normals } from './bits.ts';
import { safetensors, type Tensor, tensorOf, valuesOf } from './checkpoints.ts';
import { modelFolder } from './models.ts';

export const config = {
  ...{ architectures: ['DeepseekV3ForCausalLM'], model_type: 'deepseek_v3' },
  ...{ hidden_size: 160, intermediate_size: 200, moe_intermediate_size: 136, vocab_size: 100 },
  ...{ num_hidden_layers: 2, first_k_dense_replace: 1, num_nextn_predict_layers: 1 },
  ...{ n_routed_experts: 4, num_experts_per_tok: 2, n_shared_experts: 1, n_group: 2, topk_group: 1 },
  ...{ num_attention_heads: 2, num_key_value_heads: 2, q_lora_rank: 48, kv_lora_rank: 32 },
  ...{ qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 16 },
  ...{ max_position_embeddings: 128, rms_norm_eps: 1e-6, rope_theta: 10000, hidden_act: 'silu' },
  ...{ routed_scaling_factor: 2.5, norm_topk_prob: true, bos_token_id: 0, eos_token_id: 1 },
};

const FP8 = { quant_method: 'fp8', fmt: 'e4m3', activation_scheme: 'dynamic', weight_block_size: [128, 128] };

/** Names and shapes of matrices that are F8, and of all else. @param given a configuration of DeepSeek-V3 */
export function deepseekShapes(given: typeof config): { linear: [string, number[]][]; other: [string, number[]][] } {
  const { hidden_size: dim, num_attention_heads: heads, vocab_size: vocabulary } = given;
  const linear: [string, number[]][] = [];
  const other: [string, number[]][] = [
    ['model.embed_tokens.weight', [vocabulary, dim]],
    ['model.norm.weight', [dim]],
    ['lm_head.weight', [vocabulary, dim]],
  ];
  const last = given.num_hidden_layers;
  for (let layer = 0; layer < last + given.num_nextn_predict_layers; layer++) {
    const path = `model.layers.${layer}`;
    const feedForward = (path: string, hidden: number) => {
      linear.push([`${path}.gate_proj.weight`, [hidden, dim]], [`${path}.up_proj.weight`, [hidden, dim]]);
      linear.push([`${path}.down_proj.weight`, [dim, hidden]]);
    };
    const [plain, turned] = [given.qk_nope_head_dim, given.qk_rope_head_dim];
    linear.push(
      [`${path}.self_attn.q_a_proj.weight`, [given.q_lora_rank, dim]],
      [`${path}.self_attn.q_b_proj.weight`, [heads * (plain + turned), given.q_lora_rank]],
      [`${path}.self_attn.kv_a_proj_with_mqa.weight`, [given.kv_lora_rank + turned, dim]],
      [`${path}.self_attn.kv_b_proj.weight`, [heads * (plain + given.v_head_dim), given.kv_lora_rank]],
      [`${path}.self_attn.o_proj.weight`, [dim, heads * given.v_head_dim]],
    );
    other.push(
      [`${path}.input_layernorm.weight`, [dim]],
      [`${path}.post_attention_layernorm.weight`, [dim]],
      [`${path}.self_attn.q_a_layernorm.weight`, [given.q_lora_rank]],
      [`${path}.self_attn.kv_a_layernorm.weight`, [given.kv_lora_rank]],
    );
    if (layer < given.first_k_dense_replace) feedForward(`${path}.mlp`, given.intermediate_size);
    else {
      other.push([`${path}.mlp.gate.weight`, [given.n_routed_experts, dim]]);
      other.push([`${path}.mlp.gate.e_score_correction_bias`, [given.n_routed_experts]]);
      for (let e = 0; e < given.n_routed_experts; e++)
        feedForward(`${path}.mlp.experts.${e}`, given.moe_intermediate_size);
      feedForward(`${path}.mlp.shared_experts`, given.moe_intermediate_size * given.n_shared_experts);
    }
    if (layer < last) continue;
    other.push(
      [`${path}.embed_tokens.weight`, [vocabulary, dim]],
      [`${path}.shared_head.head.weight`, [vocabulary, dim]],
    );
    other.push(
      [`${path}.enorm.weight`, [dim]],
      [`${path}.hnorm.weight`, [dim]],
      [`${path}.shared_head.norm.weight`, [dim]],
    );
    other.push([`${path}.eh_proj.weight`, [dim, 2 * dim]]);
  }
  return { linear, other };
}

/** F8 weights and factors, and what they stand for in f32. */
export function float8(
  name: string,
  shape: number[],
  values: Float32Array,
): { tensors: Record<string, Tensor>; exact: Float32Array<ArrayBuffer> } {
  const [rows, cols] = shape;
  const [down, across] = shape.map((size) => Math.ceil(size / 128));
  const most = new Float32Array(down * across);
  const blockOf = (i: number) => Math.floor(i / cols / 128) * across + Math.floor((i % cols) / 128);
  for (const [i, value] of values.entries()) most[blockOf(i)] = Math.max(most[blockOf(i)], Math.abs(value));
  const factors = most.map((value) => value / 300);
  const scaled = values.map((value, i) => value / factors[blockOf(i)]);
  const weight = tensorOf('F8_E4M3', [rows, cols], scaled);
  const exact = Float32Array.from(valuesOf(weight), (value, i) => value * factors[blockOf(i)]);
  return { tensors: { [name]: weight, [`${name}_scale_inv`]: tensorOf('F32', [down, across], factors) }, exact };
}

/** To nearest even. */
function toBf16(shape: number[], values: Float32Array<ArrayBuffer>): Tensor {
  const bits = new Uint32Array(values.buffer);
  const rounded = Uint16Array.from(bits, (u) => {
    const rest = u % 65536;
    const floor = (u - rest) / 65536;
    return floor + (rest > 32768 || (rest === 32768 && floor % 2 === 1) ? 1 : 0);
  });
  return { dtype: 'BF16', shape, bytes: new Uint8Array(rounded.buffer) };
}

/** The model in three forms. */
export function deepseek(): Record<'f8' | 'f32' | 'bf16', Folder> {
  const { linear, other } = deepseekShapes(config);
  const forms: Record<'f8' | 'f32' | 'bf16', Record<string, Tensor>> = { f8: {}, f32: {}, bf16: {} };
  for (const [i, [name, shape]] of other.entries()) {
    const offset = /norm/.test(name) ? 1 : 0;
    const values = normals(
      shape.reduce((product, size) => product * size, 1),
      i + 1,
    ).map((x) => offset + 0.2 * x);
    for (const tensors of Object.values(forms)) tensors[name] = tensorOf('F32', shape, values);
  }
  for (const [i, [name, shape]] of linear.entries()) {
    const values = normals(shape[0] * shape[1], 1000 + i).map((x) => x / Math.sqrt(shape[1]));
    const { tensors, exact } = float8(name, shape, values);
    Object.assign(forms.f8, tensors);
    forms.f32[name] = tensorOf('F32', shape, exact);
    forms.bf16[name] = toBf16(shape, exact);
  }
  return {
    f8: modelFolder({ ...config, quantization_config: FP8 }, safetensors(forms.f8)),
    f32: modelFolder(config, safetensors(forms.f32)),
    bf16: modelFolder(config, safetensors(forms.bf16)),
  };
}
