// Gemma 4: layers that slide and layers that see all have heads of their own sizes and ropes; heads of values are normed, too; the last
// layers may read keys and values of earlier ones; values may be the keys. A token may have a vector for each layer, and each layer
// ends in a scalar.

import type { Architecture, AttentionSpec, BlockSpec, LinearSpec, NormSpec, PerLayerSpec } from './architecture.ts';
import { type Fields, LIMITS } from './config.ts';
import { activationOf, layersOf, likeLlama, windowsOf } from './llama.ts';
import { ropesByWindow } from './rope.ts';

const THETAS = { full: 1e6, sliding: 1e4 };

export function gemma4(fields: Fields): Architecture {
  checkHandled(fields);
  const dim = fields.integer('hidden_size', 1, LIMITS.dim, 2304);
  const count = layersOf(fields);
  const hidden = fields.integer('intermediate_size', 1, LIMITS.hidden, 9216);
  const firstBorrower = count - fields.integer('num_kv_shared_layers', 0, count, 0);
  const isWide = fields.flag('use_double_wide_mlp') ?? false;
  const borrows = (layer: number) => firstBorrower > 0 && layer >= firstBorrower;
  const norm = (path: string, name: string): NormSpec => ({ name: `${path}.${name}.weight`, plus: 0 });
  const width = fields.integer('hidden_size_per_layer_input', 0, LIMITS.dim, 256);
  const activation = activationOf(fields, 'hidden_activation', 'gelu_pytorch_tanh');
  if (width > 0 && activation !== 'gelu') fields.unsupported('hidden_activation', 'gelu_pytorch_tanh', activation);
  const linear = (name: string, rows: number, cols: number): LinearSpec => ({ name, rows, cols, bias: false });

  const architecture = likeLlama(fields, {
    family: 'gemma4_text',
    attention: attentionsOf(fields, dim, firstBorrower, borrows),
    feedForward(layer, path) {
      const own = hidden * (isWide && borrows(layer) ? 2 : 1);
      return {
        kind: 'feedForward',
        norm: norm(path, 'pre_feedforward_layernorm'),
        inputs: ['gate_proj', 'up_proj'].map((name) => linear(`${path}.mlp.${name}`, own, dim)),
        activation,
        output: linear(`${path}.mlp.down_proj`, dim, own),
        postNorm: norm(path, 'post_feedforward_layernorm'),
        multiplier: 1,
      };
    },
    multipliers: { embedding: Math.sqrt(dim) },
    logitCap: fields.number('final_logit_softcapping', 0, 1e6, 0),
    tied: true,
    sizes: { vocabulary: 262144, positions: 131072, bos: 2, eos: 1 },
  });

  const perLayer = (layer: number, path: string): PerLayerSpec => ({
    kind: 'perLayer',
    gate: linear(`${path}.per_layer_input_gate`, width, dim),
    first: layer * width,
    output: linear(`${path}.per_layer_projection`, dim, width),
    postNorm: norm(path, 'post_per_layer_input_norm'),
    multiplier: 1,
  });
  const layers = architecture.layers.map((specs, layer): readonly BlockSpec[] => {
    const path = `model.layers.${layer}`;
    const all = width > 0 ? [...specs, perLayer(layer, path)] : specs;
    const scalar = { name: `${path}.layer_scalar` };
    return all.map((spec, i) => (i + 1 === all.length ? ({ ...spec, scalar } as BlockSpec) : spec));
  });
  if (width === 0) return { ...architecture, layers };
  const ids = fields.integer('vocab_size_per_layer_input', architecture.vocabSize, LIMITS.vocabulary, 262144);
  return {
    ...architecture,
    layers,
    perLayer: {
      width,
      embedding: linear('model.embed_tokens_per_layer', ids, count * width),
      projection: linear('model.per_layer_model_projection', count * width, dim),
      norm: norm('model', 'per_layer_projection_norm'),
    },
  };
}

function checkHandled(fields: Fields): void {
  if (fields.flag('enable_moe_block')) fields.unsupported('enable_moe_block', 'false', true);
  if (fields.get('use_bidirectional_attention') === 'all') {
    fields.unsupported('use_bidirectional_attention', 'null, vision', 'all');
  }
}

function attentionsOf(
  fields: Fields,
  dim: number,
  firstBorrower: number,
  borrows: (layer: number) => boolean,
): (layer: number, path: string) => AttentionSpec {
  const heads = fields.integer('num_attention_heads', 1, LIMITS.heads, 8);
  const bias = fields.flag('attention_bias') ?? false;
  const windows = windowsOf(fields, (window, layer) => ((layer + 1) % 6 === 0 ? 0 : window), 512);
  windows[windows.length - 1] = 0; // as the family's own code has it, whatever the file says
  const sizesOf = sizesByLayer(fields, heads);
  const valuesAreKeys = fields.flag('attention_k_eq_v') ?? false;

  return (layer, path) => {
    const isFull = windows[layer] === 0;
    const { headDim, kvHeads } = sizesOf(layer, isFull);
    const { full, sliding } = ropesByWindow(fields, headDim, THETAS);
    const linear = (name: string, rows: number, cols = dim): LinearSpec => ({
      ...{ name: `${path}.self_attn.${name}`, rows, cols, bias },
    });
    const norm = (name: string): NormSpec => ({ name: `${path}.${name}.weight`, plus: 0 });
    const queries = linear('q_proj', heads * headDim);
    const keys = linear('k_proj', kvHeads * headDim);
    const values = isFull && valuesAreKeys ? [] : [linear('v_proj', kvHeads * headDim)];
    // The last layer of its kind that has keys and values of its own lends them to the layers that have none.
    const isLast = !windows.slice(layer + 1, firstBorrower).some((window) => (window === 0) === isFull);
    const key = isFull ? 'full' : 'sliding';
    const shares = borrows(layer) || (isLast && borrows(windows.length - 1));
    return {
      kind: 'attention',
      norm: norm('input_layernorm'),
      inputs: borrows(layer) ? [queries] : [queries, keys, ...values],
      queryKeyNorms: { q: norm('self_attn.q_norm'), k: norm('self_attn.k_norm'), of: 'head' },
      cache: shares ? { key, isOwn: !borrows(layer) } : undefined,
      output: linear('o_proj', dim, heads * headDim),
      postNorm: norm('post_attention_layernorm'),
      multiplier: 1,
      ...{ heads, kvHeads, headDim, normsValues: true },
      rope: isFull ? full : sliding,
      window: windows[layer],
      ...{ scale: 1, cap: 0, temperature: undefined },
    };
  };
}

// Sizes of heads: newer files have those of each layer that differs, older ones two for the layers that see all.
function sizesByLayer(fields: Fields, heads: number) {
  const perLayer = fields.object('per_layer_config');
  const valuesAreKeys = fields.flag('attention_k_eq_v') ?? false;
  return (layer: number, isFull: boolean): { headDim: number; kvHeads: number } => {
    const own = perLayer?.object(String(layer));
    const headDim = fields.integer('head_dim', 2, LIMITS.headDim, 256);
    const kvHeads = fields.integer('num_key_value_heads', 1, LIMITS.heads, 4);
    const global = !perLayer && isFull;
    const sizes = {
      headDim: global
        ? fields.integer('global_head_dim', 2, LIMITS.headDim, 512)
        : (own?.integer('head_dim', 2, LIMITS.headDim, headDim) ?? headDim),
      kvHeads:
        global && valuesAreKeys
          ? fields.integer('num_global_key_value_heads', 1, LIMITS.heads, kvHeads)
          : (own?.integer('num_key_value_heads', 1, LIMITS.heads, kvHeads) ?? kvHeads),
    };
    if (sizes.headDim % 2 !== 0) fields.fail(`head_dim must be even: got ${sizes.headDim}`);
    if (heads % sizes.kvHeads !== 0) {
      const got = `${heads} and ${sizes.kvHeads}`;
      fields.fail(`num_attention_heads must be a multiple of num_key_value_heads: got ${got}`);
    }
    return sizes;
  };
}
