// DeepSeek-V2 and V3, and what has their shape (R1, Moonlight, Kimi-K2): latent attention, then experts behind the first layers.
// V2 chooses experts by softmax, V3 by sigmoid with a correction. Layers behind the last, which predict further tokens, are not run.

import { log } from '../numerics/exponential.ts';
import type { Architecture, ExpertsSpec, LatentSpec, LinearSpec, NormSpec, Routing } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { checkRouting, expertCount, expertsAt, groupRouting } from './experts.ts';
import { likeLlama } from './llama.ts';
import { ropeFields, ropeOf } from './rope.ts';

/** Of the norms of latents, whatever rms_norm_eps says. */
const LATENT_EPSILON = 1e-6;

/** Reads the config.json of DeepSeek V2. */
export function deepseekV2(fields: Fields): Architecture {
  const count = expertCount(fields, ['n_routed_experts'], 64);
  return likeLlama(fields, {
    family: 'deepseek_v2',
    biases: { feedForward: fields.flag('mlp_bias') ?? false },
    attention: latentsOf(fields, true),
    feedForward: sparseLayers(fields, count, routingV2(fields, count), { dense: 0, shared: 2, hidden: 1407 }),
    tied: false,
  });
}

/** Reads the config.json of DeepSeek V3. */
export function deepseekV3(fields: Fields): Architecture {
  const count = expertCount(fields, ['n_routed_experts', 'num_local_experts'], 256);
  const scores = fields.get('scoring_func') ?? 'sigmoid';
  if (scores !== 'sigmoid') fields.unsupported('scoring_func', 'sigmoid', scores);
  const method = fields.get('topk_method') ?? 'noaux_tc';
  if (method !== 'noaux_tc') fields.unsupported('topk_method', 'noaux_tc', method);
  const routing = groupRouting(fields, count, { groups: 8, taken: 4, factor: 2.5 });
  return likeLlama(fields, {
    family: 'deepseek_v3',
    attention: latentsOf(fields, fields.flag('rope_interleave') ?? true),
    feedForward: sparseLayers(fields, count, routing, { dense: 3, shared: 1, hidden: 2048 }),
    tied: false,
  });
}

// Weights that are divided by their sum are not multiplied by the factor.
function routingV2(fields: Fields, count: number): Routing {
  const scores = fields.get('scoring_func') ?? 'softmax';
  if (scores !== 'softmax') fields.unsupported('scoring_func', 'softmax', scores);
  const method = fields.get('topk_method') ?? 'greedy';
  const isLimited = method === 'group_limited_greedy';
  if (!isLimited && method !== 'greedy') fields.unsupported('topk_method', 'greedy, group_limited_greedy', method);
  const normalize = fields.flag('norm_topk_prob') ?? false;
  return checkRouting(fields, count, {
    ...{ sigmoid: false, two: false, normalize },
    top: fields.integer('num_experts_per_tok', 1, CONFIG_LIMITS.experts),
    groups: isLimited ? fields.integer('n_group', 1, CONFIG_LIMITS.experts) : 1,
    taken: isLimited ? fields.integer('topk_group', 1, CONFIG_LIMITS.experts) : 1,
    factor: normalize ? 1 : fields.number('routed_scaling_factor', 0, 1e6, 1),
  });
}

function sparseLayers(
  fields: Fields,
  count: number,
  routing: Routing,
  otherwise: { readonly dense: number; readonly shared: number; readonly hidden: number },
): (layer: number, path: string) => ExpertsSpec | undefined {
  const dense = fields.integer('first_k_dense_replace', 0, CONFIG_LIMITS.layers, otherwise.dense);
  const step = fields.integer('moe_layer_freq', 1, CONFIG_LIMITS.layers, 1);
  const hidden = fields.integer('moe_intermediate_size', 1, CONFIG_LIMITS.hidden, otherwise.hidden);
  const width = hidden * fields.integer('n_shared_experts', 0, CONFIG_LIMITS.experts, otherwise.shared);
  const bias = fields.flag('mlp_bias') ?? false; // V2's
  const shared = width > 0 ? { name: 'shared_experts', hidden: width, bias } : undefined;
  return (layer, path) => {
    if (layer < dense || layer % step !== 0) return undefined;
    return expertsAt(fields, path, { count, hidden, routing, shared, isCorrected: routing.sigmoid });
  };
}

/** Latent attention of each layer. @param sizes of heads and latents where config.json does not say, if not DeepSeek's */
export function latentsOf(
  fields: Fields,
  interleaved: boolean,
  sizes = { plain: 128, valueDim: 128, queryRank: 1536 },
): (layer: number, path: string) => LatentSpec {
  const dim = fields.integer('hidden_size', 1, CONFIG_LIMITS.dim);
  const heads = fields.integer('num_attention_heads', 1, CONFIG_LIMITS.heads);
  const size = (key: string, otherwise: number) => fields.integer(key, 1, CONFIG_LIMITS.headDim, otherwise);
  const [plain, turned, valueDim] = [
    size('qk_nope_head_dim', sizes.plain),
    size('qk_rope_head_dim', 64),
    size('v_head_dim', sizes.valueDim),
  ];
  if (turned % 2 !== 0) fields.fail(`qk_rope_head_dim must be even: got ${turned}`);
  const rank = fields.integer('kv_lora_rank', 1, CONFIG_LIMITS.dim, 512);
  // A file that leaves it out has the family's own; null says that there is none.
  const queryRank =
    fields.get('q_lora_rank') === null ? 0 : fields.integer('q_lora_rank', 1, CONFIG_LIMITS.dim, sizes.queryRank);
  const bias = fields.flag('attention_bias') ?? false;
  const rope = ropeOf(fields, turned, { interleaved });
  const scale = stretch(fields) ** 2 / Math.sqrt(plain + turned);

  return (_, path) => {
    const prefix = `${path}.self_attn`;
    const linear = (name: string, rows: number, cols: number, bias = false): LinearSpec => ({
      ...{ name: `${prefix}.${name}`, rows, cols, bias },
    });
    const norm = (name: string): NormSpec => ({ name: `${name}.weight`, plus: 0 });
    const wide = heads * (plain + turned);
    return {
      ...{ kind: 'latent', heads, plain, turned, valueDim, rank, rope, scale, latentEpsilon: LATENT_EPSILON },
      norm: norm(`${path}.input_layernorm`),
      queryLatent: queryRank
        ? { weight: linear('q_a_proj', queryRank, dim, bias), norm: norm(`${prefix}.q_a_layernorm`) }
        : undefined,
      queries: queryRank ? linear('q_b_proj', wide, queryRank) : linear('q_proj', wide, dim),
      latent: linear('kv_a_proj_with_mqa', rank + turned, dim, bias),
      latentNorm: norm(`${prefix}.kv_a_layernorm`),
      keyValues: linear('kv_b_proj', heads * (plain + valueDim), rank),
      output: linear('o_proj', dim, heads * valueDim, bias),
      postNorm: undefined,
      multiplier: 1,
    };
  };
}

// What the scale of scores is multiplied by, twice, where positions are stretched.
function stretch(fields: Fields): number {
  const rope = ropeFields(fields);
  const type = rope.get('rope_type') ?? rope.get('type') ?? 'default';
  const times = rope.number('mscale_all_dim', 0, 1e6, 0);
  if (type === 'default' || times === 0) return 1;
  const factor = rope.number('factor', 1e-6, 1e6);
  return factor <= 1 ? 1 : 0.1 * times * log(factor) + 1;
}
