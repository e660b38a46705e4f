// ERNIE 4.5: Llama with pairs of neighbours turned, and all biases or none. Where there are experts, they are chosen by softmax with a
// correction.

import type { Architecture } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { checkRouting, expertsAt } from './experts.ts';
import { layerCount, likeLlama, type Traits } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of ERNIE 4.5. */
export function ernie4_5(fields: Fields): Architecture {
  return likeLlama(fields, { family: 'ernie4_5', ...traitsOf(fields), headDim: 128, sizes: { kvHeads: 2 } });
}

/** Reads the config.json of ERNIE 4.5 with experts. */
export function ernie4_5Moe(fields: Fields): Architecture {
  if (fields.flag('use_bias')) fields.unsupported('use_bias', 'false', true); // the head would have one, too
  const last = layerCount(fields) - 1;
  const first = fields.integer('moe_layer_start_index', 0, CONFIG_LIMITS.layers, 1);
  const end = fields.integer('moe_layer_end_index', -1, CONFIG_LIMITS.layers, -1);
  const interval = fields.integer('moe_layer_interval', 1, CONFIG_LIMITS.layers, 1);
  const count = fields.integer('moe_num_experts', 1, CONFIG_LIMITS.experts, 64);
  const hidden = fields.integer('moe_intermediate_size', 1, CONFIG_LIMITS.hidden, 1536);
  const shared = fields.integer('moe_num_shared_experts', 0, CONFIG_LIMITS.experts, 2) * hidden;
  const top = fields.integer('moe_k', 1, CONFIG_LIMITS.experts, 6);
  const plain = { sigmoid: false, groups: 1, taken: 1, two: false, factor: 1 };
  const routing = checkRouting(fields, count, { ...plain, normalize: true, top }, 'moe_k');
  return likeLlama(fields, {
    family: 'ernie4_5_moe',
    ...traitsOf(fields),
    sizes: { heads: 20, kvHeads: 4, vocabulary: 103424, positions: 131072, bos: 1, eos: 2 },
    feedForward: (layer, path) =>
      (layer + 1) % interval !== 0 || layer < first || layer > (end === -1 ? last : end)
        ? undefined
        : expertsAt(fields, path, {
            ...{ count, hidden, routing, isCorrected: 'row' },
            shared: shared > 0 ? { name: 'shared_experts', hidden: shared } : undefined,
            names: { correction: 'moe_statics.e_score_correction_bias' },
          }),
  });
}

function traitsOf(fields: Fields): Omit<Traits, 'family'> {
  const bias = fields.flag('use_bias') ?? false;
  return {
    epsilon: 1e-5,
    biases: { qkv: bias, output: bias, feedForward: bias },
    ropes: (_, headDim) => ropeOf(fields, headDim, { interleaved: true, theta: 500000 }),
    tied: true,
  };
}
