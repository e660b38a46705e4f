// EXAONE 4: Llama with norms of what blocks add, and of each head of queries and keys. Where some layers slide, the others have no rope.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { layerWindows, likeLlama, windowOf } from './llama.ts';
import { ropeOf } from './rope.ts';

const WINDOW = 4096;

/** Reads the config.json of EXAONE 4. */
export function exaone4(fields: Fields): Architecture {
  const slides = windowOf(fields, WINDOW) > 0;
  const windows = layerWindows(fields, (window, layer) => ((layer + 1) % patternOf(fields) === 0 ? 0 : window), WINDOW);
  return likeLlama(fields, {
    family: 'exaone4',
    epsilon: 1e-5,
    sizes: { heads: 32, kvHeads: 32, vocabulary: 102400, positions: 2048, bos: 0, eos: 2 },
    norms: {
      attention: { after: 'post_attention_layernorm' },
      feedForward: { after: 'post_feedforward_layernorm' },
    },
    queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'head' },
    windows,
    ropes: (layer, headDim) => (slides && windows[layer] === 0 ? undefined : ropeOf(fields, headDim)),
    tied: false,
  });
}

// Asked where there are no `layer_types`: a pattern of letters always comes with them.
function patternOf(fields: Fields): number {
  const pattern = fields.get('sliding_window_pattern');
  if (typeof pattern === 'string')
    fields.fail(
      `layer_types must come with a sliding_window_pattern of letters: got only ${fields.shown('sliding_window_pattern')}`,
    );
  return fields.integer('sliding_window_pattern', 1, CONFIG_LIMITS.layers, 4);
}
