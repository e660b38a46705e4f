// Qwen2-MoE and Qwen3-MoE: Qwen with experts in most layers. Those of Qwen2 have a shared one, weighed by a gate of its own.

import type { Architecture, ExpertsSpec } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { expertCount, expertsAt, softmaxRouting } from './experts.ts';
import { layerCount, layerWindows, likeLlama, windowOf } from './llama.ts';

/** Reads the config.json of Qwen 2 with experts. */
export function qwen2Moe(fields: Fields): Architecture {
  const slides = fields.flag('use_sliding_window') ?? false;
  const upTo = slides ? fields.integer('max_window_layers', 0, CONFIG_LIMITS.positions, 28) : 0;
  const hidden = fields.integer('shared_expert_intermediate_size', 1, CONFIG_LIMITS.hidden, 5632);
  return likeLlama(fields, {
    family: 'qwen2_moe',
    biases: { qkv: fields.flag('qkv_bias') ?? true },
    windows: layerWindows(fields, (window, layer) => (layer % 2 === 0 && layer < upTo ? window : 0), 4096),
    tied: false,
    feedForward: sparseLayers(
      fields,
      { experts: 60, top: 4, hidden: 1408 },
      { name: 'shared_expert', hidden, isGated: true },
    ),
  });
}

/** Reads the config.json of Qwen 3 with experts. */
export function qwen3Moe(fields: Fields): Architecture {
  const bias = fields.flag('attention_bias') ?? false;
  const window = (fields.flag('use_sliding_window') ?? false) ? windowOf(fields, 4096) : 0;
  return likeLlama(fields, {
    family: 'qwen3_moe',
    biases: { qkv: bias, output: bias },
    queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'head' },
    windows: Array(layerCount(fields)).fill(window),
    sizes: { kvHeads: 4 },
    tied: false,
    feedForward: sparseLayers(fields, { experts: 128, top: 8, hidden: 768 }),
  });
}

// Every `decoder_sparse_step`-th layer has experts, but for `mlp_only_layers`.
function sparseLayers(
  fields: Fields,
  otherwise: { readonly experts: number; readonly top: number; readonly hidden: number },
  shared?: Parameters<typeof expertsAt>[2]['shared'],
): (layer: number, path: string) => ExpertsSpec | undefined {
  const count = expertCount(fields, ['num_experts', 'num_local_experts'], otherwise.experts);
  const hidden = fields.integer('moe_intermediate_size', 1, CONFIG_LIMITS.hidden, otherwise.hidden);
  const step = fields.integer('decoder_sparse_step', 1, CONFIG_LIMITS.layers, 1);
  const dense = fields.has('mlp_only_layers') ? fields.integers('mlp_only_layers', 0, CONFIG_LIMITS.layers) : [];
  const routing = softmaxRouting(fields, count, otherwise.top, fields.flag('norm_topk_prob') ?? false);
  return (layer, path) => {
    if ((layer + 1) % step !== 0 || dense.includes(layer)) return undefined;
    return expertsAt(fields, path, { count, hidden, routing, shared });
  };
}
