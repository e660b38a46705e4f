// OLMo 2 and 3: Llama with norms of what blocks add instead of what they read, and of all heads of queries and of keys together. OLMo 3
// slides in three of four layers; the others have a rope of their own. OLMoE has norms before blocks, as Llama, and experts in all layers.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { expertCount, expertsAt, softmaxRouting } from './experts.ts';
import { layerWindows, likeLlama, type Traits } from './llama.ts';
import { ropeOf, ropesByWindow } from './rope.ts';

/** Reads the config.json of OLMo 2. */
export function olmo2(fields: Fields): Architecture {
  return likeLlama(fields, { family: 'olmo2', ...traitsOf(fields), ropes: (_, headDim) => ropeOf(fields, headDim) });
}

/** Reads the config.json of OLMo 3. */
export function olmo3(fields: Fields): Architecture {
  const windows = layerWindows(fields, (window, layer) => ((layer + 1) % 4 === 0 ? 0 : window), 4096);
  return likeLlama(fields, {
    family: 'olmo3',
    ...traitsOf(fields),
    windows,
    ropes(layer, headDim) {
      const { full, sliding } = ropesByWindow(fields, headDim, { full: 500000, sliding: 500000 });
      return windows[layer] === 0 ? full : sliding;
    },
  });
}

/** Reads the config.json of OLMoE. */
export function olmoe(fields: Fields): Architecture {
  if (fields.has('clip_qkv')) fields.unsupported('clip_qkv', 'null', fields.get('clip_qkv')!);
  const bias = fields.flag('attention_bias') ?? false;
  const count = expertCount(fields, ['num_experts', 'num_local_experts'], 64);
  const hidden = fields.integer('intermediate_size', 1, CONFIG_LIMITS.hidden, 2048);
  const routing = softmaxRouting(fields, count, 8, fields.flag('norm_topk_prob') ?? false);
  return likeLlama(fields, {
    family: 'olmoe',
    epsilon: 1e-5,
    biases: { qkv: bias, output: bias },
    queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'row' },
    tied: false,
    feedForward: (_, path) => expertsAt(fields, path, { count, hidden, routing }),
  });
}

function traitsOf(fields: Fields): Omit<Traits, 'family'> {
  const bias = fields.flag('attention_bias') ?? false;
  return {
    epsilon: 1e-5,
    biases: { qkv: bias, output: bias },
    norms: {
      attention: { after: 'post_attention_layernorm' },
      feedForward: { after: 'post_feedforward_layernorm' },
    },
    queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'row' },
    tied: false,
  };
}
