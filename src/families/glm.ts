// GLM-4: Llama with half of each head turned by pairs of neighbours, biases on queries, keys and values, gate and up in one weight. The
// 0414 models (`glm4`) norm what a block adds as well.

import type { Architecture } from './architecture.ts';
import type { Fields } from './config.ts';
import { likeLlama, type Traits } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of GLM. */
export function glm(fields: Fields): Architecture {
  return likeLlama(fields, { family: 'glm', ...traitsOf(fields) });
}

/** Reads the config.json of GLM 4. */
export function glm4(fields: Fields): Architecture {
  return likeLlama(fields, {
    family: 'glm4',
    ...traitsOf(fields),
    norms: {
      attention: { before: 'input_layernorm', after: 'post_self_attn_layernorm' },
      feedForward: { before: 'post_attention_layernorm', after: 'post_mlp_layernorm' },
    },
  });
}

function traitsOf(fields: Fields): Omit<Traits, 'family'> {
  return {
    headDim: 128,
    sizes: { kvHeads: 2 },
    epsilon: 1.5625e-7,
    biases: { qkv: fields.flag('attention_bias') ?? true },
    fused: { gateUp: true },
    ropes: (_, headDim) => ropeOf(fields, headDim, { interleaved: true, partial: 0.5 }),
    tied: false,
  };
}
