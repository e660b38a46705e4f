// The families that are run, by their names: one entry here and one file of how the family reads its config.json.

import type { Folder } from '../../source/source.ts';
import type { Architecture } from '../architecture.ts';
import { type Fields, readConfig, readGenerationConfig } from '../config.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import { qwen2, qwen3 } from './qwen.ts';

interface Family {
  /** What stands in `architectures`. */
  readonly architecture: string;
  readonly read: (fields: Fields) => Architecture;
}

/** By `model_type`. */
const FAMILIES: Readonly<Record<string, Family>> = {
  llama: { architecture: 'LlamaForCausalLM', read: llama },
  mistral: { architecture: 'MistralForCausalLM', read: mistral },
  qwen2: { architecture: 'Qwen2ForCausalLM', read: qwen2 },
  qwen3: { architecture: 'Qwen3ForCausalLM', read: qwen3 },
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
    const families = Object.values(FAMILIES);
    const found = families.find(({ architecture }) => architecture === names[0]);
    const known = families.map(({ architecture }) => architecture).join(', ');
    return found ?? fields.unsupported('architecture', known, names[0]);
  }
  const type = fields.get('model_type');
  if (typeof type !== 'string') {
    fields.fail(`config must have architectures or model_type: got ${fields.shown('model_type')}`);
  }
  if (!Object.hasOwn(FAMILIES, type)) fields.unsupported('model_type', Object.keys(FAMILIES).join(', '), type);
  return FAMILIES[type];
}

// Weights of another method have tensors of other names and meanings.
function checkMethod(fields: Fields): void {
  const about = fields.get('quantization_config');
  if (!(about instanceof Map)) return;
  const method = about.get('quant_method') ?? 'unnamed';
  if (method !== 'higgs-wasm') fields.unsupported('quant_method', 'higgs-wasm', method);
}
