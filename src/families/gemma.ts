// Gemma 2 and 3: norms before and behind every block, their weights less 1, gelu, embeddings times √dim, a scale of scores of their own.
// Gemma 2 caps scores and logits. Gemma 3 norms heads of queries and keys, and layers that slide turn by another rope.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { activationOf, layerWindows, likeLlama, type Traits } from './llama.ts';
import { ropesByWindow } from './rope.ts';

/** What released files leave out. */
const SIZES = { heads: 8, kvHeads: 4, bos: 2, eos: 1 };

/** Reads the config.json of Gemma 2. */
export function gemma2(fields: Fields): Architecture {
  const cap = (key: string, otherwise: number) =>
    fields.get(key) === null ? 0 : fields.number(key, 0, 1e6, otherwise);
  return likeLlama(fields, {
    family: 'gemma2',
    ...traitsOf(fields),
    sizes: { ...SIZES, vocabulary: 256000, positions: 8192 },
    windows: layerWindows(fields, (window, layer) => (layer % 2 === 0 ? window : 0), 4096),
    cap: cap('attn_logit_softcapping', 50),
    logitCap: cap('final_logit_softcapping', 30),
  });
}

/** Reads the config.json of Gemma 3, of its text part. */
export function gemma3(fields: Fields): Architecture {
  const pattern = fields.integer('sliding_window_pattern', 1, CONFIG_LIMITS.positions, 6);
  const windows = layerWindows(fields, (window, layer) => ((layer + 1) % pattern === 0 ? 0 : window), 4096);
  return likeLlama(fields, {
    family: 'gemma3_text',
    ...traitsOf(fields),
    sizes: { ...SIZES, vocabulary: 262208, positions: 131072 },
    queryKeyNorms: { q: 'q_norm', k: 'k_norm', of: 'head' },
    windows,
    ropes(layer, headDim) {
      const thetas = { full: 1e6, sliding: 1e4, local: 'rope_local_base_freq' };
      const { full, sliding } = ropesByWindow(fields, headDim, thetas);
      return windows[layer] === 0 ? full : sliding;
    },
    logitCap: fields.number('final_logit_softcapping', 0, 1e6, 0),
  });
}

function traitsOf(fields: Fields): Omit<Traits, 'family'> {
  const bias = fields.flag('attention_bias') ?? false;
  if (fields.flag('use_bidirectional_attention')) fields.unsupported('use_bidirectional_attention', 'false', true);
  return {
    headDim: 256,
    biases: { qkv: bias, output: bias },
    norms: {
      attention: { before: 'input_layernorm', after: 'post_attention_layernorm' },
      feedForward: { before: 'pre_feedforward_layernorm', after: 'post_feedforward_layernorm' },
    },
    normPlus: 1,
    activation: activationOf(fields, 'hidden_activation', 'gelu_pytorch_tanh'),
    scale: 1 / Math.sqrt(fields.number('query_pre_attn_scalar', 1e-6, 1e6, 256)),
    multipliers: { embedding: Math.sqrt(fields.integer('hidden_size', 1, CONFIG_LIMITS.dim)) },
    tied: true,
  };
}
