// Mixtral: Mistral with experts in every layer.

import type { Architecture } from './architecture.ts';
import { type Fields, LIMITS } from './config.ts';
import { countOf, expertsAt, softmaxRouting } from './experts.ts';
import { layersOf, likeLlama, windowOf } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of Mixtral. */
export function mixtral(fields: Fields): Architecture {
  const count = countOf(fields, ['num_local_experts', 'num_experts'], 8);
  const hidden = fields.integer('intermediate_size', 1, LIMITS.hidden);
  const routing = softmaxRouting(fields, count, 2, true);
  const names = { path: 'block_sparse_moe', gate: 'w1', up: 'w3', down: 'w2' };
  return likeLlama(fields, {
    family: 'mixtral',
    epsilon: 1e-5,
    sizes: { kvHeads: 8 },
    windows: Array(layersOf(fields)).fill(windowOf(fields)),
    ropes: (_, headDim) => ropeOf(fields, headDim, { theta: 1e6 }),
    tied: false,
    feedForward: (_, path) => expertsAt(fields, path, { count, hidden, routing, names }),
  });
}
