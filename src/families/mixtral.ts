// Mixtral: Mistral with experts in every layer.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { expertCount, expertsAt, softmaxRouting } from './experts.ts';
import { layerCount, likeLlama, windowOf } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of Mixtral. */
export function mixtral(fields: Fields): Architecture {
  const count = expertCount(fields, ['num_local_experts', 'num_experts'], 8);
  const hidden = fields.integer('intermediate_size', 1, CONFIG_LIMITS.hidden);
  const routing = softmaxRouting(fields, count, 2, true);
  const names = { path: 'block_sparse_moe', gate: 'w1', up: 'w3', down: 'w2' };
  return likeLlama(fields, {
    family: 'mixtral',
    epsilon: 1e-5,
    sizes: { kvHeads: 8 },
    windows: Array(layerCount(fields)).fill(windowOf(fields)),
    ropes: (_, headDim) => ropeOf(fields, headDim, { theta: 1e6 }),
    tied: false,
    feedForward: (_, path) => expertsAt(fields, path, { count, hidden, routing, names }),
  });
}
