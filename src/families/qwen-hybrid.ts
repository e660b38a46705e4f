// Qwen3-Next and Qwen3.5: in most layers the gated delta rule stands in attention's place; attention has gates, and turns a quarter of each
// head. Weights of norms are less 1, but for those in the delta rule. Qwen3-Next keeps the rule's inputs by heads in two weights; it and
// Qwen3.5-MoE have experts, and one that all tokens go to.

import type { Architecture, BlockSpec, DeltaSpec, LinearSpec } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { expertCount, expertsAt, softmaxRouting } from './experts.ts';
import { layerCount, likeLlama, type Traits } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of Qwen 3.5, of its text part. */
export function qwen3_5(fields: Fields): Architecture {
  return likeLlama(fields, { family: 'qwen3_5_text', ...traitsOf(fields, false) });
}

/** Reads the config.json of Qwen 3.5 with experts, of its text part. */
export function qwen3_5Moe(fields: Fields): Architecture {
  return likeLlama(fields, {
    family: 'qwen3_5_moe_text',
    ...traitsOf(fields, false),
    sizes: { kvHeads: 2 },
    feedForward: (_, path) => expertsOf(fields, path, { count: 256, top: 8, normalize: true }),
  });
}

/** Reads the config.json of Qwen3-Next. */
export function qwen3Next(fields: Fields): Architecture {
  const step = fields.integer('decoder_sparse_step', 1, CONFIG_LIMITS.layers, 1);
  const dense = fields.get('mlp_only_layers');
  const normalize = fields.flag('norm_topk_prob') ?? true;
  return likeLlama(fields, {
    family: 'qwen3_next',
    ...traitsOf(fields, true),
    feedForward(layer, path) {
      if ((Array.isArray(dense) && dense.includes(layer)) || (layer + 1) % step !== 0) return undefined;
      return expertsOf(fields, path, { count: 512, top: 10, normalize });
    },
  });
}

// The experts of a layer, and how many of them there are and a token goes to where config.json does not say.
function expertsOf(
  fields: Fields,
  path: string,
  { count: usual, top, normalize }: { readonly count: number; readonly top: number; readonly normalize: boolean },
): BlockSpec {
  const count = expertCount(fields, ['num_experts', 'num_local_experts'], usual);
  const block = expertsAt(fields, path, {
    count,
    hidden: fields.integer('moe_intermediate_size', 1, CONFIG_LIMITS.hidden, 512),
    routing: softmaxRouting(fields, count, top, normalize),
    shared: {
      name: 'shared_expert',
      hidden: fields.integer('shared_expert_intermediate_size', 1, CONFIG_LIMITS.hidden, 512),
      isGated: true,
    },
  });
  return { ...block, norm: { name: `${path}.post_attention_layernorm.weight`, plus: 1 } };
}

function traitsOf(fields: Fields, byHeads: boolean): Omit<Traits, 'family'> {
  const bias = fields.flag('attention_bias') ?? false;
  const isDelta = deltaLayers(fields);
  return {
    headDim: 256,
    sizes: { kvHeads: byHeads ? 2 : 4 },
    biases: { qkv: bias, output: bias },
    queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'head' },
    normPlus: 1,
    gated: true,
    ropes: (_, headDim) => ropeOf(fields, headDim, { partial: 0.25 }),
    attention: (layer, path) => (isDelta[layer] ? deltaAt(fields, path, byHeads) : undefined),
  };
}

function deltaAt(fields: Fields, layer: string, byHeads: boolean): DeltaSpec {
  const path = `${layer}.linear_attn`;
  const dim = fields.integer('hidden_size', 1, CONFIG_LIMITS.dim);
  const keyHeads = fields.integer('linear_num_key_heads', 1, CONFIG_LIMITS.heads, 16);
  const valueHeads = fields.integer('linear_num_value_heads', 1, CONFIG_LIMITS.heads, 32);
  const keyDim = fields.integer('linear_key_head_dim', 1, CONFIG_LIMITS.headDim, 128);
  const valueDim = fields.integer('linear_value_head_dim', 1, CONFIG_LIMITS.headDim, 128);
  if (valueHeads % keyHeads !== 0) {
    const got = `${valueHeads} and ${keyHeads}`;
    fields.fail(`linear_num_value_heads must be a multiple of linear_num_key_heads: got ${got}`);
  }
  const values = valueHeads * valueDim;
  const channels = 2 * keyHeads * keyDim + values;
  const linear = (name: string, rows: number, cols = dim): LinearSpec => ({
    ...{ name: `${path}.${name}`, rows, cols, bias: false },
  });
  return {
    ...{ kind: 'delta', keyHeads, valueHeads, keyDim, valueDim },
    norm: { name: `${layer}.input_layernorm.weight`, plus: 1 },
    inputs: byHeads
      ? [linear('in_proj_qkvz', channels + values), linear('in_proj_ba', 2 * valueHeads)]
      : [
          linear('in_proj_qkv', channels),
          linear('in_proj_z', values),
          linear('in_proj_b', valueHeads),
          linear('in_proj_a', valueHeads),
        ],
    kernel: {
      ...{ name: `${path}.conv1d`, channels, bias: false },
      taps: fields.integer('linear_conv_kernel_dim', 1, CONFIG_LIMITS.taps, 4),
    },
    rates: { name: `${path}.A_log` },
    bias: { name: `${path}.dt_bias` },
    headNorm: { name: `${path}.norm.weight`, plus: 0 },
    output: linear('out_proj', dim, values),
    ...{ postNorm: undefined, multiplier: 1 },
  };
}

// Whether each layer has the delta rule: as `layer_types` says, else all but each fourth.
function deltaLayers(fields: Fields): boolean[] {
  const count = layerCount(fields);
  const apart = fields.integer('full_attention_interval', 1, CONFIG_LIMITS.layers, 4);
  const types = fields.get('layer_types') ?? Array.from({ length: count }, (_, i) => ((i + 1) % apart ? DELTA : FULL));
  if (!Array.isArray(types) || types.length !== count) {
    fields.fail(`layer_types must name each of ${count} layers: got ${fields.shown('layer_types')}`);
  }
  return types.map((type) => {
    if (type !== DELTA && type !== FULL) fields.unsupported('layer_types', `${DELTA}, ${FULL}`, type);
    return type === DELTA;
  });
}

const DELTA = 'linear_attention';
const FULL = 'full_attention';
