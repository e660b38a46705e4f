// GLM-4-MoE (4.5, 4.6, Air): GLM-4's attention with halves of heads turned and, in the larger ones, norms of queries and keys;
// DeepSeek-V3's experts.

import type { Architecture } from './architecture.ts';
import { type Fields, LIMITS } from './config.ts';
import { countOf, expertsAt, groupRouting } from './experts.ts';
import { likeLlama } from './llama.ts';
import { ropeOf } from './rope.ts';

export function glm4Moe(fields: Fields): Architecture {
  const count = countOf(fields, ['n_routed_experts', 'num_local_experts'], 128);
  const hidden = fields.integer('moe_intermediate_size', 1, LIMITS.hidden, 1408);
  const dense = fields.integer('first_k_dense_replace', 0, LIMITS.layers, 1);
  const shared = fields.integer('n_shared_experts', 0, LIMITS.experts, 1);
  const routing = groupRouting(fields, count, { groups: 1, taken: 1, factor: 1 });
  const hasNorms = fields.flag('use_qk_norm') ?? false;
  return likeLlama(fields, {
    family: 'glm4_moe',
    epsilon: 1e-5,
    biases: { qkv: fields.flag('attention_bias') ?? false },
    ropes: (_, headDim) => ropeOf(fields, headDim, { partial: 0.5 }),
    ...(hasNorms && { queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'head' } }),
    tied: false,
    feedForward: (layer, path) =>
      layer < dense
        ? undefined
        : expertsAt(fields, path, {
            ...{ count, hidden, routing, isCorrected: true },
            shared: shared > 0 ? { name: 'shared_experts', hidden: shared * hidden } : undefined,
          }),
  });
}
