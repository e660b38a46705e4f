// dots.llm1: Qwen3's attention, whose upper layers may slide, and DeepSeek-V3's experts.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { expertCount, expertsAt, groupRouting } from './experts.ts';
import { layerWindows, likeLlama } from './llama.ts';

/** Reads the config.json of dots.llm1. */
export function dots1(fields: Fields): Architecture {
  const bias = fields.flag('attention_bias') ?? false;
  const full = fields.integer('max_window_layers', 0, CONFIG_LIMITS.positions, 62);
  const dense = fields.integer('first_k_dense_replace', 0, CONFIG_LIMITS.layers, 0);
  const count = expertCount(fields, ['n_routed_experts', 'num_local_experts'], 128);
  const hidden = fields.integer('moe_intermediate_size', 1, CONFIG_LIMITS.hidden, 1408);
  const shared = fields.integer('n_shared_experts', 0, CONFIG_LIMITS.experts, 0);
  const routing = groupRouting(fields, count, { groups: 1, taken: 1, top: 6, factor: 1, normalize: false });
  return likeLlama(fields, {
    family: 'dots1',
    biases: { qkv: bias, output: bias },
    queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'head' },
    windows: layerWindows(fields, (window, layer) => (layer < full ? 0 : window), 4096),
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
