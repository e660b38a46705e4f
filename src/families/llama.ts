// Llama, and the parts that its descendants share: attention, then a gated feed-forward block, with what each of them has besides.

import type {
  Activation,
  Architecture,
  AttentionSpec,
  BlockSpec,
  FeedForwardSpec,
  LinearSpec,
  NormSpec,
} from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { type Rope, ropeOf } from './rope.ts';

/** Norms of a block, by their names in a layer. */
interface Norms {
  readonly before?: string;
  readonly after?: string;
}

/** What tells the descendants from one another; what is left out is as in Llama, without biases and windows. */
export interface Traits {
  /** Name of the family, as `docs/families.md` has it. */
  readonly family: string;
  /** Which weights have a bias. */
  readonly biases?: { readonly qkv?: boolean; readonly output?: boolean; readonly feedForward?: boolean };
  /** Where config.json does not say. */
  readonly epsilon?: number;
  /** What a member of config.json is where it is left out. */
  readonly sizes?: Partial<Record<'heads' | 'kvHeads' | 'vocabulary' | 'positions' | 'bos' | 'eos', number>>;
  /** Elements of a head where config.json does not say; else dim / heads. */
  readonly headDim?: number;
  /** For each layer the positions that a token sees, itself among them; 0 for all. */
  readonly windows?: readonly number[];
  /** The rope of each layer, if it has one. */
  readonly ropes?: (layer: number, headDim: number) => Rope | undefined;
  /** Norms of queries and keys, by their names. */
  readonly queryKeyNorms?: {
    readonly q: string;
    readonly k: string;
    readonly of: NonNullable<AttentionSpec['queryKeyNorms']>['of'];
  };
  /** Which norms stand before and behind each part, by the names of their tensors. */
  readonly norms?: { readonly attention: Norms; readonly feedForward: Norms };
  /** What is added to the weights of norms. */
  readonly normPlus?: 0 | 1;
  /** Whether the weight of queries has a gate behind each head. */
  readonly gated?: boolean;
  /** Weights that have the rows of several: `qkv_proj`, `gate_up_proj`. */
  readonly fused?: { readonly qkv?: boolean; readonly gateUp?: boolean };
  /** What scores are multiplied by, else 1 / √headDim; their cap. */
  readonly scale?: number;
  /** Scores s become cap · tanh(s / cap); none if left out. */
  readonly cap?: number;
  /** What multiplies queries from position `original` on. */
  readonly temperature?: AttentionSpec['temperature'];
  /** Where config.json names it by another member than `hidden_act`. */
  readonly activation?: Activation;
  /** What embeddings, what each block adds, and logits are multiplied by; 1 where left out. */
  readonly multipliers?: { readonly embedding?: number; readonly branch?: number; readonly logits?: number };
  /** Logits z become cap · tanh(z / cap); none if left out. */
  readonly logitCap?: number;
  /** Whether the head is the embedding where config.json does not say; else the checkpoint tells. */
  readonly tied?: boolean;
  /** What stands in attention's place in a layer, where it is of another kind. @param path of the layer's tensors */
  readonly attention?: (layer: number, path: string) => BlockSpec | undefined;
  /** The block behind attention, where it is of another kind. @param path of the layer's tensors */
  readonly feedForward?: (layer: number, path: string) => BlockSpec | undefined;
}

/** Reads the config.json of Llama. */
export function llama(fields: Fields): Architecture {
  const bias = fields.flag('attention_bias') ?? false;
  const feedForward = fields.flag('mlp_bias') ?? false;
  return likeLlama(fields, {
    family: 'llama',
    biases: { qkv: bias, output: bias, feedForward },
    windows: layerWindows(fields, () => 0), // Llama has none, whatever the file says
  });
}

/** A decoder of Llama's shape and tensor names. */
export function likeLlama(fields: Fields, traits: Traits): Architecture {
  const { multipliers = {}, logitCap = 0, sizes = {} } = traits;
  const dim = fields.integer('hidden_size', 1, CONFIG_LIMITS.dim);
  const vocabSize = fields.integer('vocab_size', 1, CONFIG_LIMITS.vocabulary, sizes.vocabulary);
  const epsilon = fields.number('rms_norm_eps', 0, 1, traits.epsilon ?? 1e-6);
  const attention = once(() => attentionsOf(fields, dim, traits));
  const feedForward = once(() => feedForwardsOf(fields, dim, traits));

  const layers = Array.from({ length: layerCount(fields) }, (_, layer): readonly BlockSpec[] => {
    const path = `model.layers.${layer}`;
    const first = traits.attention?.(layer, path) ?? attention()(layer, path);
    return [first, traits.feedForward?.(layer, path) ?? feedForward()(path)];
  });
  return {
    family: traits.family,
    vocabSize,
    contextLength: fields.integer('max_position_embeddings', 1, CONFIG_LIMITS.positions, sizes.positions),
    bos: fields.ids('bos_token_id', vocabSize)?.[0] ?? sizes.bos,
    eos: fields.ids('eos_token_id', vocabSize) ?? (sizes.eos === undefined ? [] : [sizes.eos]),
    ...{ dim, epsilon, layers },
    embedding: { name: 'model.embed_tokens', rows: vocabSize, cols: dim, bias: false },
    embeddingScale: multipliers.embedding ?? 1,
    norm: { name: 'model.norm.weight', plus: traits.normPlus ?? 0 },
    head: { name: 'lm_head', rows: vocabSize, cols: dim, bias: false },
    logitScale: multipliers.logits ?? 1,
    logitCap,
    tied: fields.flag('tie_word_embeddings') ?? traits.tied,
  };
}

// Made when it is first asked for: not all families have it.
function once<T>(make: () => T): () => T {
  let instance: T | undefined;
  return () => {
    instance ??= make();
    return instance;
  };
}

/** The norm of a layer of that name, if there is one. */
function normOf(path: string, name: string | undefined, { normPlus = 0 }: Traits): NormSpec | undefined {
  return name === undefined ? undefined : { name: `${path}.${name}.weight`, plus: normPlus };
}

// Attention of a layer, from what all layers share.
function attentionsOf(fields: Fields, dim: number, traits: Traits): (layer: number, path: string) => AttentionSpec {
  const { biases = {}, fused = {}, queryKeyNorms: normNames, multipliers = {}, sizes = {} } = traits;
  const heads = fields.integer('num_attention_heads', 1, CONFIG_LIMITS.heads, sizes.heads);
  // null means one for each head of queries, in files that would else leave the number to the family.
  const usual = fields.get('num_key_value_heads') === null ? heads : (sizes.kvHeads ?? heads);
  const kvHeads = fields.integer('num_key_value_heads', 1, CONFIG_LIMITS.heads, usual);
  if (heads % kvHeads !== 0) {
    fields.fail(`num_attention_heads must be a multiple of num_key_value_heads: got ${heads} and ${kvHeads}`);
  }
  const headDim = fields.integer('head_dim', 2, CONFIG_LIMITS.headDim, traits.headDim ?? dim / heads);
  if (headDim % 2 !== 0) fields.fail(`head_dim must be even: got ${headDim}`);
  const common = traits.ropes ? undefined : ropeOf(fields, headDim);
  const windows = traits.windows ?? [];
  const norms = traits.norms?.attention ?? { before: 'input_layernorm' };
  const [wide, narrow] = [heads * headDim, kvHeads * headDim];

  return (layer, path) => {
    const linear = (name: string, rows: number, cols = dim, bias = biases.qkv ?? false): LinearSpec => ({
      ...{ name: `${path}.self_attn.${name}`, rows, cols, bias },
    });
    const norm = (name: string) => normOf(`${path}.self_attn`, name, traits)!;
    return {
      kind: 'attention',
      norm: normOf(path, norms.before, traits),
      inputs: fused.qkv
        ? [linear('qkv_proj', wide + 2 * narrow)]
        : [linear('q_proj', traits.gated ? 2 * wide : wide), linear('k_proj', narrow), linear('v_proj', narrow)],
      queryKeyNorms: normNames && { q: norm(normNames.q), k: norm(normNames.k), of: normNames.of },
      output: linear('o_proj', dim, wide, biases.output ?? false),
      postNorm: normOf(path, norms.after, traits),
      multiplier: multipliers.branch ?? 1,
      ...{ heads, kvHeads, headDim, gated: traits.gated ?? false },
      rope: traits.ropes ? traits.ropes(layer, headDim) : common,
      window: windows[layer] ?? 0,
      scale: traits.scale ?? 1 / Math.sqrt(headDim),
      cap: traits.cap ?? 0,
      temperature: traits.temperature,
    };
  };
}

// The feed-forward block of a layer.
function feedForwardsOf(fields: Fields, dim: number, traits: Traits): (path: string) => FeedForwardSpec {
  const { biases = {}, fused = {}, multipliers = {} } = traits;
  const hidden = fields.integer('intermediate_size', 1, CONFIG_LIMITS.hidden);
  const activation = traits.activation ?? activationOf(fields, 'hidden_act', 'silu');
  const norms = traits.norms?.feedForward ?? { before: 'post_attention_layernorm' };
  const bias = biases.feedForward ?? false;

  return (path) => {
    const linear = (name: string, rows: number, cols: number): LinearSpec => ({
      ...{ name: `${path}.mlp.${name}`, rows, cols, bias },
    });
    return {
      kind: 'feedForward',
      norm: normOf(path, norms.before, traits),
      inputs: fused.gateUp
        ? [linear('gate_up_proj', 2 * hidden, dim)]
        : [...(activation === 'reluSquared' ? [] : [linear('gate_proj', hidden, dim)]), linear('up_proj', hidden, dim)],
      activation,
      output: linear('down_proj', dim, hidden),
      postNorm: normOf(path, norms.after, traits),
      multiplier: multipliers.branch ?? 1,
    };
  };
}

/** The activation that config.json names. @param otherwise its name where it is left out */
export function activationOf(fields: Fields, key: string, otherwise: string): Activation {
  const name = fields.get(key) ?? otherwise;
  if (name === 'silu' || name === 'swish') return 'silu';
  if (name === 'gelu_pytorch_tanh' || name === 'gelu_new') return 'gelu';
  return fields.unsupported(key, 'silu, gelu_pytorch_tanh', name);
}

/** Number of layers. */
export const layerCount = (fields: Fields): number => fields.integer('num_hidden_layers', 1, CONFIG_LIMITS.layers);

/** The window that config.json names; 0 for none. @param otherwise where it does not say */
export function windowOf(fields: Fields, otherwise = 0): number {
  if (fields.get('sliding_window') === undefined) return otherwise;
  return (fields.get('sliding_window') ?? 0) === 0 ? 0 : fields.integer('sliding_window', 1, CONFIG_LIMITS.positions);
}

/**
 * The window of each layer: as `layer_types` says, if it is there, else by the family's own rule.
 * @param rule window of a layer
 * @param otherwise the window where config.json does not say
 */
export function layerWindows(fields: Fields, rule: (window: number, layer: number) => number, otherwise = 0): number[] {
  const layers = layerCount(fields);
  const window = windowOf(fields, otherwise);
  const types = fields.get('layer_types');
  if (types === undefined || types === null) return Array.from({ length: layers }, (_, layer) => rule(window, layer));
  if (!Array.isArray(types) || types.length !== layers) {
    fields.fail(`layer_types must name each of ${layers} layers: got ${fields.shown('layer_types')}`);
  }
  return types.map((type) => {
    if (type === 'full_attention') return 0;
    if (type !== 'sliding_attention') fields.unsupported('layer_types', 'full_attention, sliding_attention', type);
    return window > 0 ? window : fields.fail(`sliding_window must be above 0 where a layer slides: got ${window}`);
  });
}
