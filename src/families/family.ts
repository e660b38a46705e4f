// The families that are run, by their names: one entry here and one file of how the family reads its config.json.

import { UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import type { Folder } from '../source/source.ts';
import type { Architecture } from './architecture.ts';
import { type Fields, readConfig, readGenerationConfig } from './config.ts';
import { ernie4_5 } from './ernie.ts';
import { gemma2, gemma3 } from './gemma.ts';
import { glm, glm4 } from './glm.ts';
import { granite } from './granite.ts';
import { hunyuanDense } from './hunyuan.ts';
import { llama } from './llama.ts';
import { ministral3, mistral } from './mistral.ts';
import { olmo2, olmo3 } from './olmo.ts';
import { phi3 } from './phi.ts';
import { qwen2, qwen3 } from './qwen.ts';
import { smollm3 } from './smollm.ts';

interface Family {
  /** What stands in `architectures`. */
  readonly architecture: string;
  readonly read: (fields: Fields) => Architecture;
}

/** By `model_type`. */
const FAMILIES: Readonly<Record<string, Family>> = {
  ernie4_5: { architecture: 'Ernie4_5ForCausalLM', read: ernie4_5 },
  gemma2: { architecture: 'Gemma2ForCausalLM', read: gemma2 },
  gemma3_text: { architecture: 'Gemma3ForCausalLM', read: gemma3 },
  glm: { architecture: 'GlmForCausalLM', read: glm },
  glm4: { architecture: 'Glm4ForCausalLM', read: glm4 },
  granite: { architecture: 'GraniteForCausalLM', read: granite },
  hunyuan_v1_dense: { architecture: 'HunYuanDenseV1ForCausalLM', read: hunyuanDense },
  llama: { architecture: 'LlamaForCausalLM', read: llama },
  mistral: { architecture: 'MistralForCausalLM', read: mistral },
  ministral3: { architecture: 'Ministral3ForCausalLM', read: ministral3 },
  olmo2: { architecture: 'Olmo2ForCausalLM', read: olmo2 },
  olmo3: { architecture: 'Olmo3ForCausalLM', read: olmo3 },
  phi3: { architecture: 'Phi3ForCausalLM', read: phi3 },
  qwen2: { architecture: 'Qwen2ForCausalLM', read: qwen2 },
  qwen3: { architecture: 'Qwen3ForCausalLM', read: qwen3 },
  smollm3: { architecture: 'SmolLM3ForCausalLM', read: smollm3 },
};

/**
 * Reads a model's architecture from config.json; where there is a generation_config.json, its `eos_token_id` goes before.
 * @throws {FormatError} when they are faulty
 * @throws {UnsupportedError} when the family, its activation, rope or quantization is not handled; names it
 */
export async function readArchitecture(folder: Folder): Promise<Architecture> {
  const architecture = architectureOf(await readConfig(folder));
  const eos = (await readGenerationConfig(folder))?.ids('eos_token_id', architecture.vocabSize);
  return eos ? { ...architecture, eos } : architecture;
}

/** The architecture that the members of a config.json tell of. */
export function architectureOf(fields: Fields): Architecture {
  const { read } = familyOf(fields);
  checkMethod(fields);
  return read(fields);
}

function familyOf(fields: Fields): Family {
  const names = fields.get('architectures');
  if (names !== undefined && names !== null) {
    if (!Array.isArray(names) || names.length !== 1 || typeof names[0] !== 'string') {
      fields.fail(`architectures must be an array of one string: got ${fields.shown('architectures')}`);
    }
    const found = Object.values(FAMILIES).find(({ architecture }) => architecture === names[0]);
    return found ?? unknown(fields, 'architecture', names[0]);
  }
  const type = fields.get('model_type');
  if (typeof type !== 'string') {
    fields.fail(`config must have architectures or model_type: got ${fields.shown('model_type')}`);
  }
  return Object.hasOwn(FAMILIES, type) ? FAMILIES[type] : unknown(fields, 'model_type', type);
}

function unknown(fields: Fields, key: string, name: string): never {
  const known = Object.keys(FAMILIES).join(', ');
  const message = `${key} must be of a family that runs, ${known}: got ${show(name)}; it can be quantized all the same, and to have it run, open an issue with its config.json`;
  throw new UnsupportedError(`${key} ${name}`, message, { file: fields.file });
}

// Weights of another method have tensors of other names and meanings.
function checkMethod(fields: Fields): void {
  const about = fields.get('quantization_config');
  if (!(about instanceof Map)) return;
  const method = about.get('quant_method') ?? 'unnamed';
  if (method !== 'higgs-wasm') fields.unsupported('quant_method', 'higgs-wasm', method);
}
