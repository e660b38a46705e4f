// A decoder with its tokenizer and its chat template: what a user holds.

import { FileError } from '../errors.ts';
import type { Folder } from '../source/source.ts';
import { type ChatOptions, type ChatTemplate, type Message, openChatTemplate } from './chat.ts';
import { type EmbedOptions, embed } from './embed.ts';
import { isRecord } from './files.ts';
import { type GenerateOptions, type Generation, generate } from './generate.ts';
import { checkIds, type Language, type LanguageConfig, withSequence } from './language.ts';
import { type Perplexity, type PerplexityOptions, perplexity } from './perplexity.ts';
import { openTokenizer, type Tokenizer } from './tokenizer.ts';

/** A loaded model. Calls may overlap: each gives what it would give alone. */
export interface Model {
  readonly config: LanguageConfig;
  /** @throws {FileError} when the checkpoint has no tokenizer.json */
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ChatTemplate;
  /** The decoder itself. */
  readonly language: Language;
  /**
   * Generates behind a prompt; by default greedily, up to 256 tokens.
   * @param prompt text, to which the tokenizer adds what the model expects in front, or ids as they stand
   * @throws {RangeError} when the prompt is empty or longer than the context, or an option is out of range
   * @example
   * for await (const piece of model.generate('Once upon a time')) process.stdout.write(piece);
   */
  generate(prompt: string | ArrayLike<number>, options?: GenerateOptions): Generation;
  /**
   * Generates the assistant's turn of a conversation.
   * @throws {UnsupportedError} when the checkpoint has no chat template
   */
  chat(messages: readonly Message[], options?: GenerateOptions & ChatOptions): Generation;
  /**
   * Runs ids from the beginning of a text.
   * @returns (vocabSize) behind the last of the ids, or (ids.length, vocabSize) behind each of them
   */
  logits(ids: ArrayLike<number>, options?: { rows?: 'last' | 'all' }): Promise<Float32Array>;
  /** Scores a text, or its ids without special ones. */
  perplexity(
    text: string | ArrayLike<number>,
    options?: Omit<PerplexityOptions, 'against'> & { against?: Model },
  ): Promise<Perplexity>;
  /** @returns (dim): the mean of a text's hidden states */
  embed(text: string | ArrayLike<number>, options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>>;
  /** Frees the weights and ends the threads. */
  close(): Promise<void>;
}

/**
 * Puts a decoder together with the tokenizer and the chat template beside its weights.
 * @throws {FormatError} when one of them is malformed; a missing one is an error when it is needed
 */
export async function textModel(folder: Folder, language: Language): Promise<Model> {
  let missing: FileError | undefined;
  const found = await openTokenizer(folder).catch((error) => {
    if (!(error instanceof FileError)) throw error;
    missing = error;
    return undefined;
  });
  const chatTemplate = await openChatTemplate(folder, found?.config ?? {});
  const ends = new Set([...language.config.eos, ...endOf(found)]);

  const tokenizer = (): Tokenizer => {
    if (!found) throw missing!;
    return found;
  };
  const idsOf = (text: string | ArrayLike<number>, special: boolean): number[] =>
    typeof text === 'string' ? tokenizer().encode(text, { special }) : Array.from(text);
  const { config } = language;

  return {
    config,
    language,
    chatTemplate,
    get tokenizer() {
      return tokenizer();
    },
    generate(prompt, options) {
      const { stream } = tokenizer();
      if (prompt === '') throw new RangeError('prompt must have at least one token: it is empty');
      return generate(language, stream, idsOf(prompt, true), ends, options);
    },
    chat(messages, options) {
      const { encode, stream } = tokenizer();
      const ids = encode(chatTemplate.render(messages, options), { special: false });
      return generate(language, stream, ids, ends, options);
    },
    async logits(ids, { rows = 'last' } = {}) {
      checkIds('ids', ids, language);
      const begin = rows === 'last' ? { ids } : {};
      return withSequence(language, { capacity: ids.length, ...begin }, (sequence) =>
        sequence.extend(Array.prototype.slice.call(ids, sequence.ids.length), { rows }),
      );
    },
    async perplexity(text, { against, ...options } = {}) {
      const bytes = typeof text === 'string' ? { bytes: new TextEncoder().encode(text).length } : {};
      return perplexity(language, idsOf(text, false), {
        ...bytes,
        ...options,
        ...(against && { against: against.language }),
      });
    },
    embed: async (text, options) => embed(language, idsOf(text, true), options),
    close: () => language.close(),
  };
}

// The tokenizer's end token: chat models often have it in tokenizer_config.json alone.
function endOf(tokenizer: Tokenizer | undefined): number[] {
  const token = tokenizer?.config.eos_token;
  const text = isRecord(token) ? token.content : token;
  const id = typeof text === 'string' ? tokenizer?.idOf(text) : undefined;
  return id === undefined ? [] : [id];
}
