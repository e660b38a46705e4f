// ERNIE 4.5, dense: Llama with pairs of neighbours turned, and all biases or none.

import type { Architecture } from './architecture.ts';
import type { Fields } from './config.ts';
import { likeLlama } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of ERNIE 4.5. */
export function ernie4_5(fields: Fields): Architecture {
  const bias = fields.flag('use_bias') ?? false;
  return likeLlama(fields, {
    family: 'ernie4_5',
    epsilon: 1e-5,
    headDim: 128,
    sizes: { kvHeads: 2 },
    biases: { qkv: bias, output: bias, feedForward: bias },
    ropes: (_, headDim) => ropeOf(fields, headDim, { interleaved: true, theta: 500000 }),
    tied: true,
  });
}
