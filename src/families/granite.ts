// Granite 3, dense: Llama with multipliers of embeddings, scores, branches and logits.

import type { Architecture } from './architecture.ts';
import type { Fields } from './config.ts';
import { likeLlama } from './llama.ts';

/** Reads the config.json of Granite. */
export function granite(fields: Fields): Architecture {
  const multiplier = (key: string) => fields.number(key, -1e6, 1e6, 1);
  const bias = fields.flag('attention_bias') ?? false;
  return likeLlama(fields, {
    family: 'granite',
    biases: { qkv: bias, output: bias, feedForward: fields.flag('mlp_bias') ?? false },
    scale: multiplier('attention_multiplier'),
    multipliers: {
      embedding: multiplier('embedding_multiplier'),
      branch: multiplier('residual_multiplier'),
      logits: 1 / fields.number('logits_scaling', 1e-6, 1e6, 1),
    },
    tied: false,
  });
}
