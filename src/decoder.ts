// higgs-wasm/decoder: language models that run. A bundle of its own, with the tokenizer and the templates' interpreter in it;
// `loadModel` of the core imports it when it is called.

import { readable } from './checkpoint/checkpoint.ts';
import { loadLanguage, type ModelOptions } from './model/model.ts';
import { givenFolder } from './source/given.ts';
import type { Folder } from './source/source.ts';
import { type ChatTemplate, readChatTemplate } from './text/chat.ts';
import type { Language } from './text/language.ts';
import { assembleModel, type Model } from './text/textmodel.ts';
import { readTokenizer, type Tokenizer } from './text/tokenizer.ts';

export { type AdviceOptions, advise, type Size } from './advice/advise.ts';
export { measureSpeed, type Speed, type SpeedOptions } from './advice/speed.ts';
export type { ModelMemory } from './model/fits.ts';
export { estimateMemory, type ModelOptions } from './model/model.ts';
export type { PromptStore } from './model/sequences/prompts.ts';
export { type GatheredRefinement, gatherRefinement, type RefineOptions } from './refinement/gather.ts';
export { type CostOptions, estimateSensitivity, type SensitivityCost } from './sensitivity/cost.ts';
export type { StatisticsOptions, StatisticsOutput } from './sensitivity/growing.ts';
export type { KeptNews, Store } from './sensitivity/kept.ts';
export { keptSensitivity, measureSensitivity, type SensitivityOptions } from './sensitivity/measure.ts';
export type { SensitivityProgress } from './sensitivity/progress.ts';
export { mergeSensitivities, type NamedPart, type SensitivityPart } from './sensitivity/results/part.ts';
export type { SensitivitySettings } from './sensitivity/settings.ts';
export type { ReplacedFile } from './sensitivity/underway.ts';
export {
  readStatistics,
  type Statistics,
  type StatisticsAbout,
  type StatisticsWeight,
} from './statistics/file.ts';
export type { StatisticsKind } from './statistics/matrices.ts';
export type { TextStream } from './text/bytes.ts';
export type { ChatOptions, ChatTemplate, Message } from './text/chat.ts';
export type { EmbedOptions } from './text/embed.ts';
export type { FinishReason, GenerateOptions, Generation, GenerationResult } from './text/generate.ts';
export type { ExtendOptions, Language, LanguageConfig, OpenOptions, Sequence } from './text/language.ts';
export type { Divergence, Perplexity, PerplexityOptions } from './text/perplexity.ts';
export { createSampler, type Sampler, type SamplingOptions } from './text/sample.ts';
export type { Model, ModelGenerateOptions } from './text/textmodel.ts';
export type { Tokenizer } from './text/tokenizer.ts';
export type { Threads } from './workers/threads.ts';

/**
 * Loads a model of a family that runs, quantized or not, with its tokenizer and chat template.
 * @throws {UnsupportedError} when its architecture, or something of its configuration, is not handled: names it
 * @throws {FormatError} when a file is malformed, or a checksum of a quantized checkpoint does not hold
 * @throws {RangeError} when the runtime has not the memory, or an option is out of range
 * @throws {TypeError} when an argument is of another kind, or an option is not known
 * @throws {StateError} when the threads are another model's, or closed
 * @example
 * const model = await loadModel(await openFolder('Llama-3.2-1B-higgs'));
 * console.log(await model.complete('Once upon a time'));
 */
export async function loadModel(input: Folder, options?: ModelOptions): Promise<Model> {
  const language = await loadLanguage(input, options);
  try {
    return await textModel(input, language);
  } catch (error) {
    await language.close();
    throw error;
  }
}

/**
 * Puts a decoder together with the tokenizer and the chat template beside its weights.
 * @param folder the one that has them @param language the decoder, such as the `language` of another model
 * @throws {TypeError} when `folder` or `language` is none
 * @throws {FormatError} when one of them is malformed; a missing one is an error when it is needed
 * @example
 * const model = await textModel(folder, language);
 * console.log(await model.complete('Once upon a time', { maxTokens: 8 }));
 */
export async function textModel(folder: Folder, language: Language): Promise<Model> {
  return assembleModel(await readable(givenFolder('folder', folder)), language);
}

/**
 * Opens the tokenizer of a checkpoint.
 * @throws {TypeError} when `folder` is none
 * @throws {FileError} when there is none
 * @throws {FormatError} when it is malformed
 * @throws {UnsupportedError} when it has parts that are not handled
 * @example
 * const tokenizer = await openTokenizer(await openFolder('Llama-3.2-1B'));
 * console.log(tokenizer.decode(tokenizer.encode('Once upon a time'))); // Once upon a time
 */
export async function openTokenizer(folder: Folder): Promise<Tokenizer> {
  return readTokenizer(await readable(givenFolder('folder', folder)));
}

/**
 * Finds a checkpoint's chat templates: `chat_template.jinja`, or `chat_template` in tokenizer_config.json.
 * @param config tokenizer_config.json
 * @throws {TypeError} when an argument is of another kind @throws {FormatError} when a template is malformed
 * @example
 * const template = await openChatTemplate(folder, tokenizer.config);
 * const prompt = template.render([{ role: 'user', content: 'Hello' }]);
 */
export async function openChatTemplate(
  folder: Folder,
  config: Readonly<Record<string, unknown>>,
): Promise<ChatTemplate> {
  return readChatTemplate(await readable(givenFolder('folder', folder)), config);
}
