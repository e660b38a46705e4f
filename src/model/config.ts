// A model's config.json, checked: the sizes and choices of a Llama-family decoder.

import { sliceExactly } from '../checkpoint/safetensors/file.ts';
import { decodeText, type Json, parseStrict } from '../checkpoint/safetensors/json.ts';
import { FormatError, type Place, UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import type { Folder } from '../source/source.ts';
import type { Rope, RopeScaling } from './rope.ts';

const CONFIG_NAME = 'config.json';
const GENERATION_NAME = 'generation_config.json';

/** Largest sizes that are believed: several times those of any model of the family, and products of two stay exact. */
export const LIMITS = {
  dim: 1 << 16,
  hidden: 1 << 18,
  layers: 1 << 10,
  heads: 1 << 10,
  headDim: 1 << 10,
  vocabulary: 1 << 22,
  positions: 1 << 24,
  configBytes: 1 << 20,
} as const;

/** Architectures that are run, by the `model_type` that stands for each. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};

/** A decoder's shape. Matrices are (out_features, in_features). */
export interface ModelConfig {
  readonly architecture: string;
  readonly vocabSize: number;
  /** Most ids of a text: positions that the model was made for; of a loaded model, that its cache has room for. */
  readonly contextLength: number;
  /** The id that begins a text, if there is one. */
  readonly bos: number | undefined;
  /** Ids that end a text; none if the model has no such id. */
  readonly eos: readonly number[];
  readonly layers: number;
  /** Elements of a hidden state. */
  readonly dim: number;
  /** Elements between the matrices of a feed-forward layer. */
  readonly hidden: number;
  readonly heads: number;
  /** Heads of keys and values; `heads` is a multiple. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly epsilon: number;
  readonly rope: Rope;
  /** For each layer the positions that a token sees, itself among them; 0 for all. */
  readonly windows: readonly number[];
  readonly biases: { readonly qkv: boolean; readonly output: boolean; readonly feedForward: boolean };
  /** Whether each head of queries and keys is normed (Qwen3). */
  readonly headNorms: boolean;
  /** Whether the output head is the token embedding; undefined if config.json does not say. */
  readonly tied: boolean | undefined;
}

/**
 * Reads config.json, and generation_config.json where it is there: its `eos_token_id` goes before.
 * @throws {FormatError} when they are faulty
 * @throws {UnsupportedError} when the architecture, its activation, rope or quantization is not handled; names it
 */
export async function readConfig(folder: Folder): Promise<ModelConfig> {
  const config = parseConfig(await readText(folder, CONFIG_NAME), `${folder.name}/${CONFIG_NAME}`);
  if (!(await folder.list()).includes(GENERATION_NAME)) return config;
  const fields = fieldsOf(await readText(folder, GENERATION_NAME), `${folder.name}/${GENERATION_NAME}`);
  const eos = fields.ids('eos_token_id', config.vocabSize);
  return eos ? { ...config, eos } : config;
}

/** @param file its name, for messages */
export function parseConfig(text: string, file: string): ModelConfig {
  const fields = fieldsOf(text, file);
  const architecture = architectureOf(fields);
  checkMethod(fields);
  const qwen = architecture === 'qwen2' || architecture === 'qwen3';
  const dim = fields.integer('hidden_size', 1, LIMITS.dim);
  const layers = fields.integer('num_hidden_layers', 1, LIMITS.layers);
  const heads = fields.integer('num_attention_heads', 1, LIMITS.heads);
  const kvHeads = fields.integer('num_key_value_heads', 1, LIMITS.heads, heads);
  if (heads % kvHeads !== 0) {
    fields.fail(`num_attention_heads must be a multiple of num_key_value_heads: got ${heads} and ${kvHeads}`);
  }
  const headDim = fields.integer('head_dim', 2, LIMITS.headDim, architecture === 'qwen3' ? 128 : dim / heads);
  if (headDim % 2 !== 0) fields.fail(`head_dim must be even: got ${headDim}`);
  const activation = fields.get('hidden_act') ?? 'silu';
  if (activation !== 'silu' && activation !== 'swish') fields.unsupported('hidden_act', 'silu', activation);
  const vocabSize = fields.integer('vocab_size', 1, LIMITS.vocabulary);
  const bias = fields.flag('attention_bias') ?? false;
  return {
    architecture,
    vocabSize,
    contextLength: fields.integer('max_position_embeddings', 1, LIMITS.positions),
    bos: fields.ids('bos_token_id', vocabSize)?.[0],
    eos: fields.ids('eos_token_id', vocabSize) ?? [],
    layers,
    dim,
    hidden: fields.integer('intermediate_size', 1, LIMITS.hidden),
    heads,
    kvHeads,
    headDim,
    epsilon: fields.number('rms_norm_eps', 0, 1, 1e-6),
    rope: ropeOf(fields),
    windows: windowsOf(fields, architecture, layers),
    biases: {
      qkv: architecture === 'qwen2' || (architecture !== 'mistral' && bias),
      output: !qwen ? architecture === 'llama' && bias : architecture === 'qwen3' && bias,
      feedForward: architecture === 'llama' && (fields.flag('mlp_bias') ?? false),
    },
    headNorms: architecture === 'qwen3',
    tied: fields.flag('tie_word_embeddings'),
  };
}

function architectureOf(fields: Fields): string {
  const names = fields.get('architectures');
  if (names !== undefined && names !== null) {
    if (!Array.isArray(names) || names.length !== 1 || typeof names[0] !== 'string') {
      fields.fail(`architectures must be an array of one string: got ${show(names)}`);
    }
    const found = Object.entries(ARCHITECTURES).find(([, name]) => name === names[0]);
    return found?.[0] ?? fields.unsupported('architecture', Object.values(ARCHITECTURES).join(', '), names[0]);
  }
  const type = fields.get('model_type');
  if (typeof type !== 'string') fields.fail(`config must have architectures or model_type: got ${show(type)}`);
  if (!Object.hasOwn(ARCHITECTURES, type)) {
    fields.unsupported('model_type', Object.keys(ARCHITECTURES).join(', '), type);
  }
  return type;
}

// Weights of another method have tensors of other names and meanings.
function checkMethod(fields: Fields): void {
  const about = fields.get('quantization_config');
  if (!(about instanceof Map)) return;
  const method = about.get('quant_method') ?? 'unnamed';
  if (method !== 'higgs-wasm') fields.unsupported('quant_method', 'higgs-wasm', method);
}

// Older files have rope_theta and rope_scaling, newer ones rope_parameters.
function ropeOf(fields: Fields): Rope {
  const given = fields.get('rope_parameters') ?? fields.get('rope_scaling') ?? new Map<string, Json>();
  if (!(given instanceof Map)) return fields.fail(`rope_scaling must be an object or null: got ${show(given)}`);
  const own = new Fields(given, fields.file);
  const partial = own.get('partial_rotary_factor') ?? fields.get('partial_rotary_factor') ?? 1;
  if (partial !== 1) fields.unsupported('partial_rotary_factor', '1', partial);
  const theta = own.has('rope_theta') ? own : fields;
  return {
    theta: theta.number('rope_theta', 1, 1e12, 10000),
    interleaved: fields.flag('rope_interleaved') ?? false,
    scaling: scalingOf(own),
  };
}

function scalingOf(own: Fields): RopeScaling {
  const type = own.get('rope_type') ?? own.get('type') ?? 'default';
  if (type === 'default') return { type };
  if (type === 'linear') return { type, factor: own.number('factor', 1, 1e6) };
  if (type !== 'llama3') return own.unsupported('rope_type', 'default, linear, llama3', type);
  const lowTurns = own.number('low_freq_factor', 1e-6, 1e6);
  const highTurns = own.number('high_freq_factor', 1e-6, 1e6);
  if (highTurns <= lowTurns) {
    own.fail(`high_freq_factor must be above low_freq_factor: got ${highTurns} and ${lowTurns}`);
  }
  const original = own.integer('original_max_position_embeddings', 1, LIMITS.positions);
  return { type, factor: own.number('factor', 1, 1e6), lowTurns, highTurns, original };
}

function windowsOf(fields: Fields, architecture: string, layers: number): number[] {
  const given = fields.get('sliding_window') ?? 0;
  const window = given === 0 ? 0 : fields.integer('sliding_window', 1, LIMITS.positions);
  const types = fields.get('layer_types');
  if (types !== undefined && types !== null) {
    if (!Array.isArray(types) || types.length !== layers) {
      fields.fail(`layer_types must name each of ${layers} layers: got ${show(types)}`);
    }
    return types.map((type) => {
      if (type === 'full_attention') return 0;
      if (type !== 'sliding_attention')
        return fields.unsupported('layer_types', 'full_attention, sliding_attention', type);
      return window > 0 ? window : fields.fail('sliding_window must be set where a layer slides: it is not');
    });
  }
  if (architecture === 'mistral') return new Array(layers).fill(window);
  if (architecture === 'llama' || !fields.flag('use_sliding_window')) return new Array(layers).fill(0);
  const full = fields.integer('max_window_layers', 0, LIMITS.positions, layers);
  return Array.from({ length: layers }, (_, layer) => (layer < full ? 0 : window));
}

async function readText(folder: Folder, name: string): Promise<string> {
  const file = `${folder.name}/${name}`;
  const source = await folder.open(name);
  if (source.byteLength > LIMITS.configBytes) {
    throw new FormatError(`config must have at most ${LIMITS.configBytes} bytes: it has ${source.byteLength}`, {
      file,
    });
  }
  return decodeText(new Uint8Array(await sliceExactly(source, file, 0, source.byteLength)), file, 'config');
}

function fieldsOf(text: string, file: string): Fields {
  const json = parseStrict(text, file, { subject: 'config' });
  if (!(json instanceof Map)) throw new FormatError(`config must be a JSON object: got ${show(json)}`, { file });
  return new Fields(json, file);
}

// The members of a JSON object, each checked as it is read. null counts as missing.
class Fields {
  readonly #members: Map<string, Json>;
  readonly file: string;

  constructor(members: Map<string, Json>, file: string) {
    this.#members = members;
    this.file = file;
  }

  get(key: string): Json | undefined {
    return this.#members.get(key);
  }

  has(key: string): boolean {
    return (this.get(key) ?? null) !== null;
  }

  fail(message: string): never {
    throw new FormatError(message, { file: this.file } satisfies Place);
  }

  unsupported(key: string, known: string, got: Json): never {
    const feature = `${key} ${typeof got === 'string' ? got : show(got)}`;
    throw new UnsupportedError(feature, `${key} must be one of ${known}: got ${show(got)}`, { file: this.file });
  }

  number(key: string, low: number, high: number, otherwise?: number): number {
    const value = this.has(key) ? this.get(key) : otherwise;
    if (typeof value === 'number' && value >= low && value <= high) return value;
    return this.fail(`${key} must be a number from ${low} to ${high}: got ${show(value)}`);
  }

  integer(key: string, low: number, high: number, otherwise?: number): number {
    const value = this.has(key) ? this.get(key) : otherwise;
    if (Number.isInteger(value) && Number(value) >= low && Number(value) <= high) return value as number;
    return this.fail(`${key} must be an integer from ${low} to ${high}: got ${show(value)}`);
  }

  flag(key: string): boolean | undefined {
    if (!this.has(key)) return undefined;
    const value = this.get(key);
    return typeof value === 'boolean' ? value : this.fail(`${key} must be true or false: got ${show(value)}`);
  }

  /** One id or an array of ids, each below `vocabSize`; undefined if there is none. */
  ids(key: string, vocabSize: number): number[] | undefined {
    if (!this.has(key)) return undefined;
    const value = this.get(key);
    const ids = Array.isArray(value) ? value : [value];
    const valid = ids.every((id) => Number.isInteger(id) && Number(id) >= 0 && Number(id) < vocabSize);
    return valid ? (ids as number[]) : this.fail(`${key} must be ids below ${vocabSize}: got ${show(value)}`);
  }
}
