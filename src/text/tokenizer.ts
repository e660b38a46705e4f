// Text to token ids and back, as tokenizer.json says. Encoding is that of @huggingface/tokenizers; decoding is bytes.ts.

import { Tokenizer as Encoder } from '@huggingface/tokenizers';
import { FileError, FormatError, UnsupportedError } from '../errors.ts';
import type { Folder } from '../source/source.ts';
import { type TextStream, textStream, tokenBytes } from './bytes.ts';
import { isRecord, readJson } from './files.ts';

const TOKENIZER_NAME = 'tokenizer.json';
const CONFIG_NAME = 'tokenizer_config.json';

/** A vocabulary, and how text is cut into it. */
export interface Tokenizer {
  /** One above the largest id. */
  readonly size: number;
  /** tokenizer_config.json, or an empty object. */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * Whatever stands in the text for a special token becomes that token.
   * @param special whether to add what the model expects around a text, such as the token that begins one; it is, by default
   * @throws {FormatError} when a token that is to be added has no id
   */
  encode(text: string, options?: { special?: boolean }): number[];
  /** @param special whether special tokens are written out; they are left out by default */
  decode(ids: ArrayLike<number>, options?: { special?: boolean }): string;
  /** Text as its tokens come, behind ids whose text stands before. */
  stream(behind?: ArrayLike<number>): TextStream;
  /** The id of a token, by its exact text in the vocabulary. */
  idOf(token: string): number | undefined;
}

/**
 * Opens the tokenizer of a checkpoint.
 * @throws {FileError} when there is none
 * @throws {FormatError} when it is malformed
 * @throws {UnsupportedError} when it has parts that are not handled
 */
export async function openTokenizer(folder: Folder): Promise<Tokenizer> {
  const file = `${folder.name}/${TOKENIZER_NAME}`;
  const content = await readJson(folder, TOKENIZER_NAME);
  if (content === undefined) throw new FileError('read', file, undefined, 'there is no such file');
  return createTokenizer(content, (await readJson(folder, CONFIG_NAME)) ?? {}, file);
}

/**
 * @param content tokenizer.json
 * @param config tokenizer_config.json
 * @param file names tokenizer.json in messages
 */
export function createTokenizer(
  content: Readonly<Record<string, unknown>>,
  config: Readonly<Record<string, unknown>>,
  file: string,
): Tokenizer {
  const { model, added_tokens, decoder = null } = content;
  if (!isRecord(model)) throw new FormatError('tokenizer must have a model: it has none', { file });
  const added = addedTokens(added_tokens ?? [], file);
  const encoder = createEncoder({ ...content, model, added_tokens: added }, config, file);
  const vocabulary: ReadonlyMap<string, number> = encoder.model!.tokens_to_ids;
  const names = encoder.model!.vocab; // by id, with holes
  const addedIds = new Set(added.map(({ id }) => id));
  const specialIds = new Set(added.filter(({ special }) => special).map(({ id }) => id));
  const { bytes, strip } = tokenBytes(decoder, file);
  let size = 0;
  for (const id of vocabulary.values()) size = Math.max(size, id + 1);

  const nothing = new Uint8Array(0);
  const known = new Map<number, Uint8Array>();
  const bytesOf = (withSpecial: boolean) => (id: number, isFirst: boolean) => {
    const token = names[id];
    if (token === undefined || (!withSpecial && specialIds.has(id))) return nothing;
    if (isFirst) return bytes(token, addedIds.has(id), true);
    const found = known.get(id) ?? bytes(token, addedIds.has(id), false);
    known.set(id, found);
    return found;
  };

  return {
    size,
    config,
    encode(text, { special = true } = {}) {
      if (typeof text !== 'string') throw new TypeError(`text must be a string: got ${typeof text}`);
      const { ids, tokens } = encoder.encode(text, { add_special_tokens: special });
      const at = ids.indexOf(undefined as unknown as number);
      if (at >= 0) throw new FormatError(`tokenizer must have an id for each token: ${tokens[at]} has none`, { file });
      return ids;
    },
    decode(ids, { special = false } = {}) {
      const stream = textStream(bytesOf(special), strip);
      return Array.from(ids, (id) => stream.push(id)).join('') + stream.end();
    },
    stream: (behind = []) => textStream(bytesOf(false), strip, Array.from(behind)),
    idOf: (token) => vocabulary.get(token),
  };
}

interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

function addedTokens(list: unknown, file: string): AddedToken[] {
  if (!Array.isArray(list)) throw new FormatError('added_tokens must be a list: it is not', { file });
  for (const token of list) {
    if (!isRecord(token) || typeof token.content !== 'string' || token.content === '' || !isId(token.id)) {
      throw new FormatError('added_tokens must have ids and contents: one has not', { file });
    }
  }
  return list as AddedToken[];
}

const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31;

function createEncoder(content: Record<string, unknown>, config: object, file: string): Encoder {
  const model = content.model as Record<string, unknown>;
  const vocabulary = model.vocab;
  const ids = isRecord(vocabulary) ? Object.values(vocabulary) : [];
  if (!(Array.isArray(vocabulary) || isRecord(vocabulary)) || !ids.every(isId)) {
    throw new FormatError('tokenizer must have a vocabulary of tokens and ids: it has none', { file });
  }
  const parts = { decoder: null, post_processor: null, pre_tokenizer: null, normalizer: null, ...content };
  let encoder: Encoder;
  try {
    encoder = new Encoder({ ...parts, model: { merges: [], ...model } }, config);
  } catch (cause) {
    const { message } = cause as Error;
    const unknown = /^Unknown (\w+) type: (.*)$/.exec(message);
    if (unknown)
      throw new UnsupportedError(`${unknown[1]} ${unknown[2]}`, `tokenizer must be known: ${message}`, { file });
    throw new FormatError(`tokenizer must be well-formed: ${message}`, { file });
  }
  const before = encoder.pre_tokenizer;
  if ((before === null || typeOf(content.pre_tokenizer) === 'Metaspace') && splitsAtSpaces(model)) {
    // A callable, as the library's own are.
    const words = (text: string, options?: object) =>
      (before ? before(text, options) : [text]).flatMap((piece) => piece.split(/(?<=[^▁])(?=▁)/u));
    encoder.pre_tokenizer = words as unknown as NonNullable<Encoder['pre_tokenizer']>;
  }
  return encoder;
}

const typeOf = (part: unknown) => (isRecord(part) ? part.type : undefined);

/**
 * Whether BPE may work word by word: no merge joins something to a ▁ behind it, so that none ever reaches over the place
 * before a ▁, and the pieces between such places are merged as if each stood alone. Whole texts are one word otherwise.
 */
function splitsAtSpaces({
  type,
  merges,
  ignore_merges,
  continuing_subword_prefix,
  end_of_word_suffix,
}: Record<string, unknown>): boolean {
  if (type !== 'BPE' || !Array.isArray(merges) || ignore_merges === true) return false;
  if (continuing_subword_prefix || end_of_word_suffix) return false;
  return merges.every((merge) => {
    const [left, right] = Array.isArray(merge) ? merge : String(merge).split(' ', 2);
    return typeof left === 'string' && typeof right === 'string' && !(right.startsWith('▁') && !left.endsWith('▁'));
  });
}
