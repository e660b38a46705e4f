// The families that are run, by their names: one entry here and one file of how the family reads its config.json.

import { openCheckpoint, READ_METHODS, readable } from '../checkpoint/checkpoint.ts';
import { UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import type { Folder } from '../source/source.ts';
import { arcee } from './arcee.ts';
import type { Architecture } from './architecture.ts';
import { type Fields, readConfig, readGenerationConfig } from './config.ts';
import { deepseekV2, deepseekV3 } from './deepseek.ts';
import { dots1 } from './dots.ts';
import { ernie4_5, ernie4_5Moe } from './ernie.ts';
import { exaone4 } from './exaone.ts';
import { gemma2, gemma3 } from './gemma.ts';
import { gemma4 } from './gemma4.ts';
import { glm, glm4 } from './glm.ts';
import { glm4Moe, glm4MoeLite } from './glmmoe.ts';
import { gptOss } from './gptoss.ts';
import { granite } from './granite.ts';
import { hunyuanDense } from './hunyuan.ts';
import { lfm2, lfm2Moe } from './lfm.ts';
import { llama } from './llama.ts';
import { ministral3, mistral } from './mistral.ts';
import { mixtral } from './mixtral.ts';
import { olmo2, olmo3, olmoe } from './olmo.ts';
import { phi3 } from './phi.ts';
import { qwen2, qwen3 } from './qwen.ts';
import { qwen3_5, qwen3_5Moe, qwen3Next } from './qwen-hybrid.ts';
import { qwen2Moe, qwen3Moe } from './qwenmoe.ts';
import { seedOss } from './seed.ts';
import { smollm3 } from './smollm.ts';

interface Family {
  /** What stands in `architectures`. */
  readonly architecture: string;
  readonly read: (fields: Fields) => Architecture;
}

/** By `model_type`. */
const FAMILIES: Readonly<Record<string, Family>> = {
  arcee: { architecture: 'ArceeForCausalLM', read: arcee },
  deepseek_v2: { architecture: 'DeepseekV2ForCausalLM', read: deepseekV2 },
  deepseek_v3: { architecture: 'DeepseekV3ForCausalLM', read: deepseekV3 },
  dots1: { architecture: 'Dots1ForCausalLM', read: dots1 },
  ernie4_5: { architecture: 'Ernie4_5ForCausalLM', read: ernie4_5 },
  ernie4_5_moe: { architecture: 'Ernie4_5_MoeForCausalLM', read: ernie4_5Moe },
  exaone4: { architecture: 'Exaone4ForCausalLM', read: exaone4 },
  gemma2: { architecture: 'Gemma2ForCausalLM', read: gemma2 },
  gemma3_text: { architecture: 'Gemma3ForCausalLM', read: gemma3 },
  gemma4_text: { architecture: 'Gemma4ForCausalLM', read: gemma4 },
  glm: { architecture: 'GlmForCausalLM', read: glm },
  glm4: { architecture: 'Glm4ForCausalLM', read: glm4 },
  glm4_moe: { architecture: 'Glm4MoeForCausalLM', read: glm4Moe },
  glm4_moe_lite: { architecture: 'Glm4MoeLiteForCausalLM', read: glm4MoeLite },
  gpt_oss: { architecture: 'GptOssForCausalLM', read: gptOss },
  granite: { architecture: 'GraniteForCausalLM', read: granite },
  hunyuan_v1_dense: { architecture: 'HunYuanDenseV1ForCausalLM', read: hunyuanDense },
  lfm2: { architecture: 'Lfm2ForCausalLM', read: lfm2 },
  lfm2_moe: { architecture: 'Lfm2MoeForCausalLM', read: lfm2Moe },
  llama: { architecture: 'LlamaForCausalLM', read: llama },
  mistral: { architecture: 'MistralForCausalLM', read: mistral },
  ministral3: { architecture: 'Ministral3ForCausalLM', read: ministral3 },
  mixtral: { architecture: 'MixtralForCausalLM', read: mixtral },
  olmo2: { architecture: 'Olmo2ForCausalLM', read: olmo2 },
  olmo3: { architecture: 'Olmo3ForCausalLM', read: olmo3 },
  olmoe: { architecture: 'OlmoeForCausalLM', read: olmoe },
  phi3: { architecture: 'Phi3ForCausalLM', read: phi3 },
  qwen2: { architecture: 'Qwen2ForCausalLM', read: qwen2 },
  qwen2_moe: { architecture: 'Qwen2MoeForCausalLM', read: qwen2Moe },
  qwen3: { architecture: 'Qwen3ForCausalLM', read: qwen3 },
  qwen3_5_text: { architecture: 'Qwen3_5ForCausalLM', read: qwen3_5 },
  qwen3_5_moe_text: { architecture: 'Qwen3_5MoeForCausalLM', read: qwen3_5Moe },
  qwen3_next: { architecture: 'Qwen3NextForCausalLM', read: qwen3Next },
  qwen3_moe: { architecture: 'Qwen3MoeForCausalLM', read: qwen3Moe },
  seed_oss: { architecture: 'SeedOssForCausalLM', read: seedOss },
  smollm3: { architecture: 'SmolLM3ForCausalLM', read: smollm3 },
};

/** Other names of `model_type` for the same. */
const ALSO: Readonly<Record<string, string>> = {
  kimi_k2: 'deepseek_v3',
  // Text alone: all three positions of a token are the same.
  qwen2_5_vl_text: 'qwen2',
  qwen3_vl_text: 'qwen3',
};

/**
 * Reads a model's architecture from config.json; where there is a generation_config.json, its `eos_token_id` goes before. Of a model of
 * texts and images it is the text model's, with the names that its tensors have in the checkpoint.
 * @throws {FormatError} when they are faulty
 * @throws {UnsupportedError} when the family, its activation, rope or quantization is not handled; names it
 */
export async function readArchitecture(from: Folder): Promise<Architecture> {
  const folder = await readable(from);
  const fields = await readConfig(folder);
  const read = architectureOf(fields);
  const architecture = textOf(fields) ? await named(read, folder) : read;
  const eos = (await readGenerationConfig(folder))?.ids('eos_token_id', architecture.vocabSize);
  return eos ? { ...architecture, eos } : architecture;
}

/** The architecture that the members of a config.json tell of. */
export function architectureOf(fields: Fields): Architecture {
  checkMethod(fields);
  const text = textOf(fields);
  if (!text) return familyOf(fields).read(fields);
  checkMethod(text);
  const architecture = FAMILIES[familyName(text) as string].read(text);
  const ids = (key: string) => (text.has(key) ? undefined : fields.ids(key, architecture.vocabSize));
  return {
    ...architecture,
    bos: ids('bos_token_id')?.[0] ?? architecture.bos,
    eos: ids('eos_token_id') ?? architecture.eos,
    tied: undefined, // releases disagree on whose flag counts: the checkpoint tells
  };
}

// The members that tell of the text model, where there are others beside it.
function textOf(fields: Fields): Fields | undefined {
  const text = familyName(fields) ? undefined : fields.object('text_config');
  return text && familyName(text) ? text : undefined;
}

// The family that `model_type` names, if there is one.
function familyName(fields: Fields): string | undefined {
  const type = fields.get('model_type');
  if (typeof type !== 'string') return undefined;
  const name = Object.hasOwn(ALSO, type) ? ALSO[type] : type;
  return Object.hasOwn(FAMILIES, name) ? name : undefined;
}

/** What text models in larger ones have before the names of their tensors: of all, of the head. */
const PREFIXES = [
  ['model', 'lm_head'],
  ['model.language_model', 'lm_head'],
  ['model.text_model', 'lm_head'],
  ['language_model.model', 'language_model.lm_head'],
] as const;

async function named(architecture: Architecture, folder: Folder): Promise<Architecture> {
  const { tensors } = await openCheckpoint(folder);
  const isThere = (model: string) => tensors.some(({ name }) => name.startsWith(`${model}.embed_tokens.`));
  const [model, head] = PREFIXES.find(([model]) => isThere(model)) ?? PREFIXES[1];
  return renamed(architecture, (name) => name.replace(/^model(?=\.)/, model).replace(/^lm_head$/, head));
}

// Plain data with every `name` in it changed.
function renamed<T>(value: T, rename: (name: string) => string): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((element) => renamed(element, rename)) as T;
  const members = Object.entries(value).map(([key, member]) => [
    key,
    key === 'name' ? rename(member) : renamed(member, rename),
  ]);
  return Object.fromEntries(members);
}

function familyOf(fields: Fields): Family {
  const names = fields.get('architectures');
  if (names !== undefined && names !== null) {
    if (!Array.isArray(names) || names.length !== 1 || typeof names[0] !== 'string') {
      fields.fail(`architectures must be an array of one string: got ${fields.shown('architectures')}`);
    }
    const family = Object.values(FAMILIES).find(({ architecture }) => architecture === names[0]);
    return family ?? unknown(fields, 'architecture', names[0]);
  }
  const type = fields.get('model_type');
  if (typeof type !== 'string') {
    fields.fail(`config must have architectures or model_type: got ${fields.shown('model_type')}`);
  }
  const name = familyName(fields);
  return name ? FAMILIES[name] : unknown(fields, 'model_type', type);
}

function unknown(fields: Fields, key: string, name: string): never {
  const supported = Object.keys(FAMILIES).join(', ');
  const message = `${key} must be of a family that runs, ${supported}: got ${show(name)}; it can be quantized all the same, and to have it run, open an issue with its config.json`;
  throw new UnsupportedError(`${key} ${name}`, message, { file: fields.file });
}

// Weights of another method have tensors of other names and meanings. F8 and MXFP4 are decoded as they are read.
/** Methods whose weights are read. */
const METHODS: readonly string[] = ['higgs-wasm', ...READ_METHODS];

function checkMethod(fields: Fields): void {
  const about = fields.get('quantization_config');
  if (!(about instanceof Map)) return;
  const method = about.get('quant_method') ?? 'unnamed';
  if (!METHODS.includes(String(method))) fields.unsupported('quant_method', METHODS.join(', '), method);
}
