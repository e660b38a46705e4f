// GLM-4-MoE (4.5, 4.6, Air): GLM-4's attention with halves of heads turned and, in the larger ones, norms of queries and keys;
// DeepSeek-V3's experts. The lite one (4.7-Flash) has DeepSeek-V3's attention, too.

import type { Architecture, ExpertsSpec } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { latentsOf } from './deepseek.ts';
import { expertCount, expertsAt, groupRouting } from './experts.ts';
import { likeLlama } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of GLM 4.5. */
export function glm4Moe(fields: Fields): Architecture {
  const dense = fields.integer('first_k_dense_replace', 0, CONFIG_LIMITS.layers, 1);
  const experts = expertsOf(fields, { count: 128, hidden: 1408, top: 8, factor: 1 });
  const hasNorms = fields.flag('use_qk_norm') ?? false;
  return likeLlama(fields, {
    family: 'glm4_moe',
    epsilon: 1e-5,
    sizes: { kvHeads: 8 },
    biases: { qkv: fields.flag('attention_bias') ?? false },
    ropes: (_, headDim) => ropeOf(fields, headDim, { partial: 0.5 }),
    ...(hasNorms && { queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'head' } }),
    tied: false,
    feedForward: (layer, path) => (layer < dense ? undefined : experts(path)),
  });
}

/** Reads the config.json of GLM 4.7 Flash. */
export function glm4MoeLite(fields: Fields): Architecture {
  const experts = expertsOf(fields, { count: 64, hidden: 1536, top: 4, factor: 1.8 });
  const types = fields.get('mlp_layer_types') ?? undefined;
  if (types !== undefined && !Array.isArray(types)) {
    fields.fail(`mlp_layer_types must be an array: got ${fields.shown('mlp_layer_types')}`);
  }
  const dense = fields.integer('first_k_dense_replace', 0, CONFIG_LIMITS.layers, 1);
  const interleaved = fields.flag('rope_interleave') ?? true;
  return likeLlama(fields, {
    family: 'glm4_moe_lite',
    epsilon: 1e-5,
    attention: latentsOf(fields, interleaved, { plain: 192, valueDim: 256, queryRank: 768 }),
    tied: false,
    feedForward: (layer, path) => ((types ? types[layer] !== 'sparse' : layer < dense) ? undefined : experts(path)),
  });
}

// The experts of a layer, with what config.json does not say.
function expertsOf(
  fields: Fields,
  usual: { readonly count: number; readonly hidden: number; readonly top: number; readonly factor: number },
): (path: string) => ExpertsSpec {
  const count = expertCount(fields, ['n_routed_experts', 'num_local_experts'], usual.count);
  const hidden = fields.integer('moe_intermediate_size', 1, CONFIG_LIMITS.hidden, usual.hidden);
  const shared = fields.integer('n_shared_experts', 0, CONFIG_LIMITS.experts, 1);
  const routing = groupRouting(fields, count, { groups: 1, taken: 1, top: usual.top, factor: usual.factor });
  return (path) =>
    expertsAt(fields, path, {
      ...{ count, hidden, routing, isCorrected: true },
      shared: shared > 0 ? { name: 'shared_experts', hidden: shared * hidden } : undefined,
    });
}
