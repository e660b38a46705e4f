// Qwen2 and Qwen3: Llama with windows in the upper layers. Qwen2 has biases on queries, keys and values; Qwen3 norms each head
// of queries and keys instead.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { layerWindows, likeLlama } from './llama.ts';

/** Reads the config.json of Qwen 2 and 2.5. */
export function qwen2(fields: Fields): Architecture {
  return likeLlama(fields, { family: 'qwen2', biases: { qkv: true }, windows: upperWindows(fields) });
}

/** Reads the config.json of Qwen 3. */
export function qwen3(fields: Fields): Architecture {
  const bias = fields.flag('attention_bias') ?? false;
  return likeLlama(fields, {
    family: 'qwen3',
    biases: { qkv: bias, output: bias },
    queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'head' },
    headDim: 128,
    windows: upperWindows(fields),
  });
}

// The layers from `max_window_layers` on slide, if any do.
function upperWindows(fields: Fields): number[] {
  const slides = fields.flag('use_sliding_window') ?? false;
  const layers = fields.integer('num_hidden_layers', 1, CONFIG_LIMITS.layers);
  const full = slides ? fields.integer('max_window_layers', 0, CONFIG_LIMITS.positions, layers) : layers;
  return layerWindows(fields, (window, layer) => (layer < full ? 0 : window), 4096);
}
