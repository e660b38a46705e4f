// A decoder with its tokenizer and its chat template: what a user holds.

import { givenIds, having, member, oneOf, optionsOf, type Reader, reading } from '../check.ts';
import { FileError } from '../errors.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { type ChatOptions, type ChatTemplate, chatMembers, type Message, readChatTemplate } from './chat.ts';
import { type EmbedOptions, embed } from './embed.ts';
import { isRecord } from './files.ts';
import { type GenerateOptions, type Generation, generate, generateMembers } from './generate.ts';
import { checkIds, givenLanguage, type Language, type LanguageConfig, logitsOf, withSequence } from './language.ts';
import { type Perplexity, type PerplexityOptions, perplexity, perplexityMembers } from './perplexity.ts';
import { recommendedSampling } from './recommended.ts';
import type { SamplingOptions } from './sample.ts';
import { readTokenizer, type Tokenizer } from './tokenizer.ts';

/** How a model generates, perhaps beside another one. */
export type ModelGenerateOptions = Omit<GenerateOptions, 'against'> & { against?: Model };

/**
 * A loaded model. Calls may overlap: each gives what it would give alone.
 *
 * Each method throws, or its promise rejects with, a TypeError for an argument of the wrong kind and for an option that it does not
 * know, a RangeError for a value out of range, a StateError when the model is closed.
 */
export interface Model {
  /** What the configuration says of ids and context. */
  readonly config: LanguageConfig;
  /** @throws {FileError} when the checkpoint has no tokenizer.json */
  readonly tokenizer: Tokenizer;
  /** The chat template of the checkpoint; without one, its `render` throws an UnsupportedError. */
  readonly chatTemplate: ChatTemplate;
  /** The decoder itself. */
  readonly language: Language;
  /** Ids that end a text: the configuration's, and the tokenizer's own. */
  readonly ends: ReadonlySet<number>;
  /**
   * How the model's author says that tokens are to be chosen, by generation_config.json: to be given to `generate` and `chat`, which
   * otherwise take the most likely token. Empty where the file says nothing.
   * @example
   * const text = await model.complete('Once upon a time', { ...model.sampling, seed: 7 });
   */
  readonly sampling: SamplingOptions;
  /**
   * Generates behind a prompt; by default greedily, up to 256 tokens.
   * @param prompt text, to which the tokenizer adds what the model expects in front, or ids as they stand
   * @throws {RangeError} when the prompt is empty or longer than the context, or an option is out of range
   * @example
   * for await (const piece of model.generate('Once upon a time')) process.stdout.write(piece);
   */
  generate(prompt: string | ArrayLike<number>, options?: ModelGenerateOptions): Generation;
  /**
   * Generates as `generate` does, of messages as `chat` does, and waits for the end.
   * @returns the whole text, without the prompt
   * @throws {UnsupportedError} when messages are given, and the checkpoint has no chat template
   * @example
   * const text = await model.complete('Once upon a time', { maxTokens: 40 });
   */
  complete(
    prompt: string | ArrayLike<number> | readonly Message[],
    options?: ModelGenerateOptions & ChatOptions,
  ): Promise<string>;
  /**
   * Generates the assistant's turn of a conversation.
   * @throws {UnsupportedError} when the checkpoint has no chat template
   * @example
   * const messages = [{ role: 'user', content: 'What is the capital of France?' }];
   * for await (const piece of model.chat(messages, model.sampling)) process.stdout.write(piece);
   */
  chat(messages: readonly Message[], options?: ModelGenerateOptions & ChatOptions): Generation;
  /**
   * Runs ids from the beginning of a text.
   * @returns (vocabSize) behind the last of the ids, or (ids.length, vocabSize) behind each of them
   * @example
   * const logits = await model.logits(model.tokenizer.encode('The capital of France is'));
   */
  logits(ids: ArrayLike<number>, options?: { rows?: 'last' | 'all' }): Promise<Float32Array>;
  /**
   * Scores a text, or its ids without special ones.
   * @example
   * const { perplexity, bitsPerByte } = await model.perplexity(text, { context: 512 });
   */
  perplexity(
    text: string | ArrayLike<number>,
    options?: Omit<PerplexityOptions, 'against'> & { against?: Model },
  ): Promise<Perplexity>;
  /**
   * @returns (dim): the mean of a text's hidden states
   * @example
   * const vector = await model.embed('the worst of times', { normalize: true });
   */
  embed(text: string | ArrayLike<number>, options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>>;
  /** Frees the weights and ends the threads. */
  close(): Promise<void>;
}

const logitsOptions = optionsOf<{ rows?: 'last' | 'all' }>({ rows: oneOf('last', 'all') });

const modelLike = having<Model>('a model', ['generate', 'perplexity'], ', as loadModel() gives');
const languageOfModel: Reader<Language> = (subject, value) =>
  givenLanguage(`language of ${subject}`, member(subject, modelLike(subject, value), 'language'));
const beside = { ...generateMembers, against: languageOfModel };
const generateOptions = optionsOf<GenerateOptions>(beside);
const chatOptions = optionsOf<GenerateOptions & ChatOptions>({ ...beside, ...chatMembers });
const perplexityOptions = optionsOf<PerplexityOptions>({ ...perplexityMembers, against: languageOfModel });

/**
 * Puts a decoder together with the tokenizer and the chat template beside its weights.
 * @throws {TypeError} when `folder` or `language` is none
 * @throws {FormatError} when one of them is malformed; a missing one is an error when it is needed
 * @example
 * const model = await assembleModel(folder, language);
 */
export async function assembleModel(from: Folder, given: Language): Promise<Model> {
  const folder = givenFolder('folder', from);
  const language = givenLanguage('language', given);
  let missing: FileError | undefined;
  const ownTokenizer = await readTokenizer(folder).catch((error) => {
    if (!(error instanceof FileError)) throw error;
    missing = error;
    return undefined;
  });
  const chatTemplate = await readChatTemplate(folder, ownTokenizer?.config ?? {});
  const sampling = await recommendedSampling(folder);
  const ends = new Set([...language.config.eos, ...endOf(ownTokenizer)]);

  const tokenizer = (): Tokenizer => {
    if (!ownTokenizer) throw missing!;
    return ownTokenizer;
  };
  const idsOf = (subject: string, text: string | ArrayLike<number>, special: boolean): number[] =>
    typeof text === 'string'
      ? tokenizer().encode(text, { special })
      : givenIds(subject, text, { what: 'a string or a list of token ids' });
  const { config } = language;

  const model: Model = {
    config,
    language,
    ends,
    chatTemplate,
    sampling,
    get tokenizer() {
      return tokenizer();
    },
    generate(prompt, options) {
      const { stream } = tokenizer();
      if (prompt === '') throw new RangeError('prompt must have at least one token: it is empty');
      return generate(language, stream, idsOf('prompt', prompt, true), ends, generateOptions('options', options));
    },
    chat(messages, given) {
      const { addGenerationPrompt = true, template, values, now, ...options } = chatOptions('options', given);
      const { encode, stream } = tokenizer();
      const text = chatTemplate.render(messages, {
        addGenerationPrompt,
        ...(template !== undefined && { template }),
        ...(values && { values }),
        ...(now && { now }),
      });
      return generate(language, stream, encode(text, { special: false }), ends, options);
    },
    async logits(given, options) {
      const { rows = 'last' } = logitsOptions('options', options);
      const ids = givenIds('ids', given);
      checkIds('ids', ids, language);
      // Of all ids no logits are at hand: nothing is copied of what others hold.
      const begin = rows === 'last' ? { ids } : {};
      return withSequence(language, { capacity: ids.length, ...begin }, (sequence) =>
        logitsOf(language, sequence, ids.slice(sequence.ids.length), { rows }),
      );
    },
    async perplexity(text, given) {
      // The model itself is an option of ours, its language that of `perplexity`.
      const options = perplexityOptions('options', given);
      const bytes = typeof text === 'string' ? { bytes: new TextEncoder().encode(text).length } : {};
      return perplexity(language, idsOf('text', text, false), { ...bytes, ...options });
    },
    async complete(prompt, options) {
      const generation = isConversation(prompt) ? model.chat(prompt, options) : model.generate(prompt, options);
      let text = '';
      for await (const piece of generation) text += piece;
      return text;
    },
    embed: async (text, options) => embed(language, idsOf('text', text, true), options),
    close: () => language.close(),
  };
  return model;
}

const isConversation = (prompt: string | ArrayLike<number> | readonly Message[]): prompt is readonly Message[] =>
  reading('prompt', () => Array.isArray(prompt) && typeof prompt[0] === 'object' && prompt[0] !== null);

// The tokenizer's end token: chat models often have it in tokenizer_config.json alone.
function endOf(tokenizer: Tokenizer | undefined): number[] {
  const token = tokenizer?.config.eos_token;
  const text = isRecord(token) ? token.content : token;
  const id = typeof text === 'string' ? tokenizer?.idOf(text) : undefined;
  return id === undefined ? [] : [id];
}
