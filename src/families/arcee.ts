// Arcee (AFM): Llama with max(x, 0)² in place of a gate.

import type { Architecture } from './architecture.ts';
import type { Fields } from './config.ts';
import { likeLlama } from './llama.ts';

/** Reads the config.json of Arcee. */
export function arcee(fields: Fields): Architecture {
  const activation = fields.get('hidden_act') ?? 'relu2';
  if (activation !== 'relu2') fields.unsupported('hidden_act', 'relu2', activation);
  const bias = fields.flag('attention_bias') ?? false;
  return likeLlama(fields, {
    family: 'arcee',
    epsilon: 1e-5,
    biases: { qkv: bias, output: bias, feedForward: fields.flag('mlp_bias') ?? false },
    activation: 'reluSquared',
    tied: false,
  });
}
