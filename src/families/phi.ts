// Phi-3, 3.5, 4 and 4-mini: Llama with fused weights, a part of each head turned, and factors for long contexts.

import type { Architecture } from './architecture.ts';
import type { Fields } from './config.ts';
import { layerCount, likeLlama, windowOf } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of Phi 3 and Phi 4. */
export function phi3(fields: Fields): Architecture {
  return likeLlama(fields, {
    family: 'phi3',
    epsilon: 1e-5,
    fused: { qkv: true, gateUp: true },
    windows: Array(layerCount(fields)).fill(windowOf(fields)),
    ropes: (_, headDim) => ropeOf(fields, headDim, { partial: 1, yarn: 'longrope', original: 4096 }),
    tied: false,
  });
}
