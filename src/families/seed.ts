// Seed-OSS: Llama with heads of their own size, and biases on queries, keys and values.

import type { Architecture } from './architecture.ts';
import type { Fields } from './config.ts';
import { likeLlama } from './llama.ts';

/** Reads the config.json of Seed-OSS. */
export function seedOss(fields: Fields): Architecture {
  return likeLlama(fields, {
    family: 'seed_oss',
    headDim: 128,
    sizes: { kvHeads: 8 },
    biases: {
      qkv: fields.flag('attention_bias') ?? true,
      output: fields.flag('attention_out_bias') ?? false,
      feedForward: fields.flag('mlp_bias') ?? false,
    },
    tied: false,
  });
}
