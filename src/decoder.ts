// higgs-wasm/decoder: language models that run. A bundle of its own, with the tokenizer and the templates' interpreter in it;
// `loadModel` of the core imports it when it is called.

import { type ModelOptions, loadModel as openLanguage } from './decoder/model.ts';
import { type Model, textModel } from './decoder/textmodel.ts';
import type { Folder } from './source/source.ts';

export { type ChatOptions, type ChatTemplate, type Message, openChatTemplate } from './decoder/chat.ts';
export type { EmbedOptions } from './decoder/embed.ts';
export type { FinishReason, GenerateOptions, Generation, GenerationResult } from './decoder/generate.ts';
export type { Language, LanguageConfig, PassOptions } from './decoder/language.ts';
export type { ModelOptions } from './decoder/model.ts';
export type { Divergence, Perplexity, PerplexityOptions } from './decoder/perplexity.ts';
export { createSampler, type Sampler, type SamplingOptions } from './decoder/sample.ts';
export { estimateSensitivity, type SensitivityCost } from './decoder/sensitivity/cost.ts';
export { measureSensitivity, type SensitivityOptions } from './decoder/sensitivity/measure.ts';
export type { SensitivitySettings } from './decoder/sensitivity/settings.ts';
export type { SensitivityProgress } from './decoder/sensitivity/steps.ts';
export type { TextStream } from './decoder/text.ts';
export { type Model, textModel } from './decoder/textmodel.ts';
export { openTokenizer, type Tokenizer } from './decoder/tokenizer.ts';
export type { Threads } from './workers/threads.ts';

/**
 * Loads a Llama-family model, quantized or not, with its tokenizer and chat template.
 * @throws {UnsupportedError} when its architecture, or something of its configuration, is not handled: names it
 * @throws {FormatError} when a file is malformed, or a checksum of a quantized checkpoint does not hold
 * @throws {RangeError} when it does not fit 4 GB
 */
export async function loadModel(input: Folder, options?: ModelOptions): Promise<Model> {
  const language = await openLanguage(input, options);
  try {
    return await textModel(input, language);
  } catch (error) {
    await language.close();
    throw error;
  }
}
