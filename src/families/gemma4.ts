// Gemma 4: layers that slide and layers that see all have heads of their own sizes and ropes; heads of values are normed, too; the last
// layers may read keys and values of earlier ones; values may be the keys. A token may have a vector for each layer, and each layer
// ends in a scalar. Where there are experts, the feed-forward block stands beside them, each part with norms of its own.

import type {
  Architecture,
  AttentionSpec,
  BlockSpec,
  ExpertsSpec,
  FeedForwardSpec,
  LinearSpec,
  NamedTensor,
  NormSpec,
  PerLayerSpec,
} from './architecture.ts';
import { CONFIG_LIMITS, Fields } from './config.ts';
import { checkRouting } from './experts.ts';
import { activationOf, layerCount, layerWindows, likeLlama } from './llama.ts';
import { ropesByWindow } from './rope.ts';

const THETAS = { full: 1e6, sliding: 1e4 };
// Of layers that see all, where config.json has no rope_parameters.
const USUAL_ROPE = { rope_type: 'proportional', partial_rotary_factor: 0.25 };

/** Reads the config.json of Gemma 4, of its text part. */
export function gemma4(fields: Fields): Architecture {
  checkHandled(fields);
  const dim = fields.integer('hidden_size', 1, CONFIG_LIMITS.dim, 2304);
  const count = layerCount(fields);
  const hidden = fields.integer('intermediate_size', 1, CONFIG_LIMITS.hidden, 9216);
  const firstBorrower = count - fields.integer('num_kv_shared_layers', 0, count, 0);
  const isWide = fields.flag('use_double_wide_mlp') ?? false;
  const borrows = (layer: number) => firstBorrower > 0 && layer >= firstBorrower;
  const norm = (path: string, name: string): NormSpec => ({ name: `${path}.${name}.weight`, plus: 0 });
  const width = fields.integer('hidden_size_per_layer_input', 0, CONFIG_LIMITS.dim, 256);
  const activation = activationOf(fields, 'hidden_activation', 'gelu_pytorch_tanh');
  if (width > 0 && activation !== 'gelu') fields.unsupported('hidden_activation', 'gelu_pytorch_tanh', activation);
  const linear = (name: string, rows: number, cols: number): LinearSpec => ({ name, rows, cols, bias: false });

  const experts = fields.flag('enable_moe_block') ? expertsBeside(fields, dim) : undefined;
  const architecture = likeLlama(fields, {
    family: 'gemma4_text',
    attention: attentionsOf(fields, dim, firstBorrower, borrows),
    feedForward(layer, path) {
      const layerHidden = hidden * (isWide && borrows(layer) ? 2 : 1);
      const dense: FeedForwardSpec = {
        kind: 'feedForward',
        norm: norm(path, 'pre_feedforward_layernorm'),
        inputs: ['gate_proj', 'up_proj'].map((name) => linear(`${path}.mlp.${name}`, layerHidden, dim)),
        activation,
        output: linear(`${path}.mlp.down_proj`, dim, layerHidden),
        postNorm: norm(path, 'post_feedforward_layernorm'),
        multiplier: 1,
      };
      return experts?.(dense, path) ?? dense;
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
    return all.map((spec, i) => (i + 1 === all.length ? scaled(spec, scalar) : spec));
  });
  if (width === 0) return { ...architecture, layers };
  const ids = fields.integer('vocab_size_per_layer_input', architecture.vocabSize, CONFIG_LIMITS.vocabulary, 262144);
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

const scaled = (spec: BlockSpec, scalar: NamedTensor): BlockSpec =>
  spec.kind === 'experts' ? { ...spec, apart: { ...spec.apart!, scalar } } : ({ ...spec, scalar } as BlockSpec);

// The feed-forward block of a layer with experts beside it.
function expertsBeside(fields: Fields, dim: number): (dense: FeedForwardSpec, path: string) => ExpertsSpec {
  const count = fields.integer('num_experts', 1, CONFIG_LIMITS.experts);
  const hidden = fields.integer('moe_intermediate_size', 1, CONFIG_LIMITS.hidden);
  const top = fields.integer('top_k_experts', 1, CONFIG_LIMITS.experts);
  const plain = { sigmoid: false, groups: 1, taken: 1, two: false, factor: 1 };
  const routing = checkRouting(fields, count, { ...plain, normalize: true, top }, 'top_k_experts');
  return ({ inputs: [gate, up], activation, output, norm, postNorm }, path) => {
    const normAt = (name: string): NormSpec => ({ name: `${path}.${name}.weight`, plus: 0 });
    const stack = `${path}.experts`;
    const both = { name: `${stack}.gate_up_proj`, shape: [count, 2 * hidden, dim] } as const;
    const last = { name: `${stack}.down_proj`, shape: [count, dim, hidden] } as const;
    const linear = (e: number, name: string, rows: number, cols: number) => ({
      ...{ name: `${stack}.${e}.${name}`, rows, cols, bias: false },
    });
    return {
      kind: 'experts',
      norm: normAt('pre_feedforward_layernorm_2'),
      router: { name: `${path}.router.proj`, rows: count, cols: dim, bias: false },
      ...{ correction: undefined, routing, activation },
      experts: Array.from({ length: count }, (_, e) => ({
        gate: { ...linear(e, 'gate_proj', hidden, dim), stack: { ...both, first: 2 * hidden * e } },
        up: { ...linear(e, 'up_proj', hidden, dim), stack: { ...both, first: 2 * hidden * e + hidden } },
        down: { ...linear(e, 'down_proj', dim, hidden), stack: { ...last, first: dim * e } },
      })),
      shared: { gate, up, down: output },
      sharedGate: undefined,
      apart: {
        routerNorm: { name: `${path}.router.scale`, plus: 0 },
        sharedNorm: norm!,
        sharedPost: normAt('post_feedforward_layernorm_1'),
        expertsPost: normAt('post_feedforward_layernorm_2'),
        postNorm: postNorm!,
        logitScale: 1 / Math.sqrt(dim),
        factors: { name: `${path}.router.per_expert_scale` },
      },
    };
  };
}

function checkHandled(fields: Fields): void {
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
  const heads = fields.integer('num_attention_heads', 1, CONFIG_LIMITS.heads, 8);
  const bias = fields.flag('attention_bias') ?? false;
  const windows = layerWindows(fields, (window, layer) => ((layer + 1) % 6 === 0 ? 0 : window), 512);
  windows[windows.length - 1] = 0; // as the family's own code has it, whatever the file says
  const sizesOf = sizesByLayer(fields, heads);
  const valuesAreKeys = fields.flag('attention_k_eq_v') ?? false;

  return (layer, path) => {
    const isFull = windows[layer] === 0;
    const { headDim, kvHeads } = sizesOf(layer, isFull);
    const { full, sliding } = ropesByWindow(
      fields,
      headDim,
      THETAS,
      new Fields(new Map(Object.entries(USUAL_ROPE)), fields.file),
    );
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
    const sizesOfLayer = perLayer?.object(String(layer));
    const headDim = fields.integer('head_dim', 2, CONFIG_LIMITS.headDim, 256);
    const kvHeads = fields.integer('num_key_value_heads', 1, CONFIG_LIMITS.heads, 4);
    const global = !perLayer && isFull;
    const sizes = {
      headDim: global
        ? fields.integer('global_head_dim', 2, CONFIG_LIMITS.headDim, 512)
        : (sizesOfLayer?.integer('head_dim', 2, CONFIG_LIMITS.headDim, headDim) ?? headDim),
      kvHeads:
        global && valuesAreKeys
          ? fields.integer('num_global_key_value_heads', 1, CONFIG_LIMITS.heads, kvHeads)
          : (sizesOfLayer?.integer('num_key_value_heads', 1, CONFIG_LIMITS.heads, kvHeads) ?? kvHeads),
    };
    if (sizes.headDim % 2 !== 0) fields.fail(`head_dim must be even: got ${sizes.headDim}`);
    if (heads % sizes.kvHeads !== 0) {
      const got = `${heads} and ${sizes.kvHeads}`;
      fields.fail(`num_attention_heads must be a multiple of num_key_value_heads: got ${got}`);
    }
    return sizes;
  };
}
