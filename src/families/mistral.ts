// Mistral: Llama with a window in every layer, and no biases. Ministral 3 turns by YaRN and has queries far from the beginning
// multiplied by a temperature.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { layerCount, layerWindows, likeLlama, windowOf } from './llama.ts';
import { ropeFields } from './rope.ts';

/** Reads the config.json of Mistral. */
export function mistral(fields: Fields): Architecture {
  return likeLlama(fields, {
    family: 'mistral',
    sizes: { kvHeads: 8 },
    windows: layerWindows(fields, (window) => window, 4096),
  });
}

/** Reads the config.json of Ministral 3. */
export function ministral3(fields: Fields): Architecture {
  const rope = ropeFields(fields);
  const beta = rope.number('llama_4_scaling_beta', 0, 1e6, 0);
  return likeLlama(fields, {
    family: 'ministral3',
    epsilon: 1e-5,
    headDim: 128,
    sizes: { kvHeads: 8 },
    windows: Array(layerCount(fields)).fill(windowOf(fields)), // whatever layer_types says
    ...(beta > 0 && {
      temperature: { beta, original: rope.integer('original_max_position_embeddings', 1, CONFIG_LIMITS.positions) },
    }),
  });
}
