// How a model's author says that its tokens are to be chosen: generation_config.json, read as Hugging Face reads it.

import type { Folder } from '../source/source.ts';
import { readJson } from './files.ts';
import { type SamplingOptions, samplingMembers } from './sample.ts';

const FILE_NAME = 'generation_config.json';
/** Where the file samples and does not say how: the defaults of Hugging Face. */
const SAMPLED: SamplingOptions = { temperature: 1, topK: 50 };
const MEMBERS = {
  temperature: 'temperature',
  topK: 'top_k',
  topP: 'top_p',
  minP: 'min_p',
  repetitionPenalty: 'repetition_penalty',
} as const;

/**
 * @returns what the file says of sampling; empty where it says nothing. Values that no sampler takes are left out
 * @throws {FormatError} when the file is no JSON object
 */
export async function recommendedSampling(folder: Folder): Promise<SamplingOptions> {
  const content = (await readJson(folder, FILE_NAME)) ?? {};
  const options: SamplingOptions = {};
  for (const [key, name] of Object.entries(MEMBERS) as [keyof typeof MEMBERS, string][]) {
    try {
      if (typeof content[name] === 'number') options[key] = samplingMembers[key](name, content[name]);
    } catch {} // another program's extreme: as if it were not there
  }
  if (content.do_sample === true) return { ...SAMPLED, ...options };
  const { repetitionPenalty } = options;
  // The author samples not: what else stands there has no effect.
  return content.do_sample === false
    ? { temperature: 0, ...(repetitionPenalty !== undefined && { repetitionPenalty }) }
    : options;
}
