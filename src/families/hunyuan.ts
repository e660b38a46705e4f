// HunYuan, dense: Llama that norms each head of queries and keys after it has turned.

import type { Architecture } from './architecture.ts';
import type { Fields } from './config.ts';
import { likeLlama } from './llama.ts';

/** Reads the config.json of Hunyuan, without experts. */
export function hunyuanDense(fields: Fields): Architecture {
  const bias = fields.flag('attention_bias') ?? false;
  return likeLlama(fields, {
    family: 'hunyuan_v1_dense',
    epsilon: 1e-5,
    biases: { qkv: bias, output: bias },
    queryKeyNorms: { q: 'query_layernorm', k: 'key_layernorm', of: 'turnedHead' },
    tied: false,
  });
}
