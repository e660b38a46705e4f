// Llama, and the parts that its descendants share: attention, then a gated feed-forward block, each behind an RMS norm.

import type { Architecture, BlockSpec } from '../architecture.ts';
import type { AttentionSpec } from '../blocks/attention.ts';
import type { FeedForwardSpec } from '../blocks/feedforward.ts';
import { type Fields, LIMITS } from '../config.ts';
import type { LinearSpec } from '../linear.ts';
import { ropeOf } from '../rope.ts';

/** What tells the descendants from one another. */
interface Traits {
  readonly family: string;
  readonly biases: { readonly qkv: boolean; readonly output: boolean; readonly feedForward: boolean };
  /** Whether each head of queries and keys is normed. */
  readonly headNorms: boolean;
  /** Elements of a head where config.json does not say; else dim / heads. */
  readonly headDim?: number;
  /** For each layer the positions that a token sees, itself among them; 0 for all. */
  readonly windows: readonly number[];
}

export function llama(fields: Fields): Architecture {
  const bias = fields.flag('attention_bias') ?? false;
  const feedForward = fields.flag('mlp_bias') ?? false;
  return likeLlama(fields, {
    family: 'llama',
    biases: { qkv: bias, output: bias, feedForward },
    headNorms: false,
    windows: windowsOf(fields, () => 0), // Llama has none, whatever the file says
  });
}

/** A decoder of Llama's shape and tensor names. */
export function likeLlama(fields: Fields, traits: Traits): Architecture {
  const dim = fields.integer('hidden_size', 1, LIMITS.dim);
  const heads = fields.integer('num_attention_heads', 1, LIMITS.heads);
  const kvHeads = fields.integer('num_key_value_heads', 1, LIMITS.heads, heads);
  if (heads % kvHeads !== 0) {
    fields.fail(`num_attention_heads must be a multiple of num_key_value_heads: got ${heads} and ${kvHeads}`);
  }
  const headDim = fields.integer('head_dim', 2, LIMITS.headDim, traits.headDim ?? dim / heads);
  if (headDim % 2 !== 0) fields.fail(`head_dim must be even: got ${headDim}`);
  const activation = fields.get('hidden_act') ?? 'silu';
  if (activation !== 'silu' && activation !== 'swish') fields.unsupported('hidden_act', 'silu', activation);
  const vocabSize = fields.integer('vocab_size', 1, LIMITS.vocabulary);
  const hidden = fields.integer('intermediate_size', 1, LIMITS.hidden);
  const epsilon = fields.number('rms_norm_eps', 0, 1, 1e-6);
  const rope = ropeOf(fields);
  const { biases, headNorms, windows } = traits;

  const layers = windows.map((window, index): readonly BlockSpec[] => {
    const layer = `model.layers.${index}`;
    const linear = (name: string, rows: number, cols: number, bias: boolean): LinearSpec => ({
      ...{ name: `${layer}.${name}`, rows, cols, bias },
    });
    const attention: AttentionSpec = {
      kind: 'attention',
      norm: `${layer}.input_layernorm.weight`,
      q: linear('self_attn.q_proj', heads * headDim, dim, biases.qkv),
      k: linear('self_attn.k_proj', kvHeads * headDim, dim, biases.qkv),
      v: linear('self_attn.v_proj', kvHeads * headDim, dim, biases.qkv),
      qNorm: headNorms ? `${layer}.self_attn.q_norm.weight` : undefined,
      kNorm: headNorms ? `${layer}.self_attn.k_norm.weight` : undefined,
      output: linear('self_attn.o_proj', dim, heads * headDim, biases.output),
      ...{ heads, kvHeads, headDim, rope, window },
    };
    const feedForward: FeedForwardSpec = {
      kind: 'feedForward',
      norm: `${layer}.post_attention_layernorm.weight`,
      gate: linear('mlp.gate_proj', hidden, dim, biases.feedForward),
      up: linear('mlp.up_proj', hidden, dim, biases.feedForward),
      down: linear('mlp.down_proj', dim, hidden, biases.feedForward),
    };
    return [attention, feedForward];
  });
  return {
    family: traits.family,
    vocabSize,
    contextLength: fields.integer('max_position_embeddings', 1, LIMITS.positions),
    bos: fields.ids('bos_token_id', vocabSize)?.[0],
    eos: fields.ids('eos_token_id', vocabSize) ?? [],
    ...{ dim, epsilon, layers },
    embedding: { name: 'model.embed_tokens', rows: vocabSize, cols: dim, bias: false },
    norm: 'model.norm.weight',
    head: { name: 'lm_head', rows: vocabSize, cols: dim, bias: false },
    tied: fields.flag('tie_word_embeddings'),
  };
}

/**
 * The window of each layer: as `layer_types` says, if it is there, else by the family's own rule.
 * @param rule window of a layer
 */
export function windowsOf(fields: Fields, rule: (window: number, layer: number) => number): number[] {
  const layers = fields.integer('num_hidden_layers', 1, LIMITS.layers);
  const given = fields.get('sliding_window') ?? 0;
  const window = given === 0 ? 0 : fields.integer('sliding_window', 1, LIMITS.positions);
  const types = fields.get('layer_types');
  if (types === undefined || types === null) return Array.from({ length: layers }, (_, layer) => rule(window, layer));
  if (!Array.isArray(types) || types.length !== layers) {
    fields.fail(`layer_types must name each of ${layers} layers: got ${fields.shown('layer_types')}`);
  }
  return types.map((type) => {
    if (type === 'full_attention') return 0;
    if (type !== 'sliding_attention') fields.unsupported('layer_types', 'full_attention, sliding_attention', type);
    return window > 0 ? window : fields.fail('sliding_window must be set where a layer slides: it is not');
  });
}
