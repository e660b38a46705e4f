// LFM2: most layers have a gated short convolution in attention's place. Heads of queries and keys are normed; the last norm stands where
// others have one of the embeddings. LFM2-MoE has experts by sigmoid in all layers but the first; that code adds 10^-6 to the sum which it
// divides their weights by, where DeepSeek-V3's, and so the router here, adds 10^-20.

import type { Architecture, BlockSpec, ConvolutionSpec, ExpertsSpec, LinearSpec } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { expertCount, expertsAt, groupRouting } from './experts.ts';
import { layerCount, likeLlama } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of LFM2. */
export function lfm2(fields: Fields): Architecture {
  return likeLfm(fields, 'lfm2', hiddenOf(fields));
}

/** Reads the config.json of LFM2 with experts. */
export function lfm2Moe(fields: Fields): Architecture {
  const dense = fields.integer('num_dense_layers', 0, CONFIG_LIMITS.layers, 2);
  const count = expertCount(fields, ['num_experts', 'num_local_experts'], 32);
  const hidden = fields.integer('moe_intermediate_size', 1, CONFIG_LIMITS.hidden, 1792);
  const routing = groupRouting(fields, count, { groups: 1, taken: 1, top: 4, factor: 1 });
  const isCorrected = fields.flag('use_expert_bias') ?? true;
  const path = 'feed_forward';
  const names = { gate: 'w1', up: 'w3', down: 'w2', stacks: path, norm: 'ffn_norm', correction: 'expert_bias', path };
  return likeLfm(
    fields,
    'lfm2_moe',
    fields.integer('intermediate_size', 1, CONFIG_LIMITS.hidden, 7168),
    (layer, layerPath) =>
      layer < dense ? undefined : expertsAt(fields, layerPath, { count, hidden, routing, isCorrected, names }),
  );
}

function likeLfm(
  fields: Fields,
  family: string,
  hidden: number,
  experts: (layer: number, path: string) => ExpertsSpec | undefined = () => undefined,
): Architecture {
  const dim = fields.integer('hidden_size', 1, CONFIG_LIMITS.dim);
  const convolves = convolvingLayers(fields);
  const theta = fields.number('theta', 1, 1e12, 1e6); // in older files
  const linear = (name: string, rows: number, cols: number, bias = false): LinearSpec => ({ name, rows, cols, bias });
  const branch = { postNorm: undefined, multiplier: 1 } as const;

  const convolution = (layer: number, path: string): ConvolutionSpec | undefined => {
    if (!convolves[layer]) return undefined;
    const bias = fields.flag('conv_bias') ?? false;
    return {
      kind: 'convolution',
      norm: { name: `${path}.operator_norm.weight`, plus: 0 },
      input: linear(`${path}.conv.in_proj`, 3 * dim, dim, bias),
      kernel: {
        ...{ name: `${path}.conv.conv`, channels: dim, bias },
        taps: fields.integer('conv_L_cache', 1, CONFIG_LIMITS.taps, 3),
      },
      output: linear(`${path}.conv.out_proj`, dim, dim, bias),
      ...branch,
    };
  };
  const architecture = likeLlama(fields, {
    family,
    epsilon: fields.number('norm_eps', 0, 1, 1e-5),
    sizes: { kvHeads: 8 },
    queryKeyNorms: { q: 'q_layernorm', k: 'k_layernorm', of: 'head' },
    norms: { attention: { before: 'operator_norm' }, feedForward: {} },
    ropes: (_, headDim) => ropeOf(fields, headDim, { theta }),
    attention: convolution,
    feedForward: (layer, path) =>
      experts(layer, path) ?? {
        kind: 'feedForward',
        norm: { name: `${path}.ffn_norm.weight`, plus: 0 },
        inputs: ['w1', 'w3'].map((name) => linear(`${path}.feed_forward.${name}`, hidden, dim)),
        activation: 'silu',
        output: linear(`${path}.feed_forward.w2`, dim, hidden),
        ...branch,
      },
  });
  const renamed = (spec: BlockSpec): BlockSpec =>
    spec.kind === 'attention'
      ? { ...spec, output: { ...spec.output, name: spec.output.name.replace(/o_proj$/, 'out_proj') } }
      : spec;
  return {
    ...architecture,
    layers: architecture.layers.map((specs) => specs.map(renamed)),
    norm: { name: 'model.embedding_norm.weight', plus: 0 },
    tied: fields.flag('tie_embedding') ?? fields.flag('tie_word_embeddings') ?? true,
  };
}

// `layer_types` says which layers convolve; older files have a list of those that attend.
function convolvingLayers(fields: Fields): boolean[] {
  const count = layerCount(fields);
  const types = fields.get('layer_types');
  if (Array.isArray(types)) {
    if (types.length !== count) fields.fail(`layer_types must name each of ${count} layers: it names ${types.length}`);
    return types.map((type) => {
      if (type !== 'conv' && type !== 'full_attention') fields.unsupported('layer_types', 'conv, full_attention', type);
      return type === 'conv';
    });
  }
  const attend = fields.get('full_attn_idxs');
  return Array.from({ length: count }, (_, layer) => Array.isArray(attend) && !attend.includes(layer));
}

// The inner width of the feed-forward network, by default two thirds of what is told, and rounded up.
function hiddenOf(fields: Fields): number {
  const key = fields.has('block_ff_dim') ? 'block_ff_dim' : 'intermediate_size';
  const size = fields.integer(key, 1, CONFIG_LIMITS.hidden, 12288);
  if (fields.flag('block_auto_adjust_ff_dim') === false) return size;
  const some = Math.trunc((2 * size) / 3);
  if (fields.get('block_ffn_dim_multiplier') === null) return some;
  const apart = fields.integer('block_multiple_of', 1, CONFIG_LIMITS.hidden, 256);
  return Math.ceil(Math.trunc(fields.number('block_ffn_dim_multiplier', 0, 1e3, 1) * some) / apart) * apart;
}
