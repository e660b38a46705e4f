// SmolLM3: Llama, but every fourth layer has no rope.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { layerCount, layerWindows, likeLlama, windowOf } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of SmolLM3. */
export function smollm3(fields: Fields): Architecture {
  const bias = fields.flag('attention_bias') ?? false;
  const turns = turningLayers(fields);
  const slides = fields.flag('use_sliding_window') ?? false;
  const window = slides ? windowOf(fields) : 0;
  const windows = window > 0 ? layerWindows(fields, (_, layer) => (turns[layer] ? 0 : window)) : [];
  return likeLlama(fields, {
    family: 'smollm3',
    biases: { qkv: bias, output: bias, feedForward: fields.flag('mlp_bias') ?? false },
    windows,
    sizes: { kvHeads: 4 },
    ropes: (layer, headDim) => (turns[layer] ? ropeOf(fields, headDim, { theta: 2e6 }) : undefined),
    tied: true,
  });
}

// `no_rope_layers` has 1 for layers that turn, whatever its name says.
function turningLayers(fields: Fields): boolean[] {
  const layers = layerCount(fields);
  if (fields.has('no_rope_layers')) return fields.numbers('no_rope_layers', layers, 0, 1).map((turns) => turns !== 0);
  const interval = fields.integer('no_rope_layer_interval', 1, CONFIG_LIMITS.positions, 4);
  return Array.from({ length: layers }, (_, layer) => (layer + 1) % interval !== 0);
}
