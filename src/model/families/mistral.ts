// Mistral: Llama with a window in every layer, and no biases.

import type { Architecture } from '../architecture.ts';
import type { Fields } from '../config.ts';
import { likeLlama, windowsOf } from './llama.ts';

export function mistral(fields: Fields): Architecture {
  return likeLlama(fields, {
    family: 'mistral',
    biases: { qkv: false, output: false, feedForward: false },
    headNorms: false,
    windows: windowsOf(fields, (window) => window),
  });
}
