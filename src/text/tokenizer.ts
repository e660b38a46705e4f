// Text to token ids and back, as tokenizer.json says. definition.ts checks that file, encoder.ts has the library encode by it,
// bytes.ts decodes.

import { flag, givenIds as idsOf, optionsOf, text as textOf, tokenId } from '../check.ts';
import { FileError } from '../errors.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { type TextStream, textStream, tokenBytes } from './bytes.ts';
import { checkDefinition } from './definition.ts';
import { createEncoder } from './encoder.ts';
import { readJson } from './files.ts';

const TOKENIZER_NAME = 'tokenizer.json';
const CONFIG_NAME = 'tokenizer_config.json';

const specialOptions = optionsOf<{ special?: boolean }>({ special: flag });

/**
 * A vocabulary, and how text is cut into it.
 * Methods throw a TypeError for arguments of another kind and options that they do not know, a RangeError for ids below 0.
 */
export interface Tokenizer {
  /** One above the largest id. */
  readonly size: number;
  /** tokenizer_config.json, or an empty object. */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * Whatever stands in the text for a special token becomes that token.
   * @param special whether to add what the model expects around a text, such as the token that begins one; it is, by default
   * @returns ids from 0 to `size` − 1
   * @throws {FormatError} when tokenizer.json gives a token no id, or takes too many steps
   */
  encode(text: string, options?: { special?: boolean }): number[];
  /**
   * Ids without a token have no text: a model's vocabulary may be padded.
   * @param special whether special tokens are written out; they are left out by default
   */
  decode(ids: ArrayLike<number>, options?: { special?: boolean }): string;
  /**
   * Text as its tokens come, behind ids whose text stands before.
   * @param special whether special tokens are written out; they are left out by default
   */
  stream(behind?: ArrayLike<number>, options?: { special?: boolean }): TextStream;
  /** The bytes that a token stands for within a text; none of a special one, nor of an id without a token. */
  bytes(id: number): Uint8Array<ArrayBuffer>;
  /** The id of a token, by its exact text in the vocabulary. */
  idOf(token: string): number | undefined;
}

/**
 * Opens the tokenizer of a checkpoint.
 * @throws {TypeError} when `folder` is none
 * @throws {FileError} when there is none
 * @throws {FormatError} when it is malformed
 * @throws {UnsupportedError} when it has parts that are not handled
 * @example
 * const tokenizer = await readTokenizer(await openFolder('Llama-3.2-1B'));
 * const ids = tokenizer.encode('Once upon a time');
 */
export async function readTokenizer(from: Folder): Promise<Tokenizer> {
  const folder = givenFolder('folder', from);
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
  const definition = checkDefinition(content, file);
  const encoder = createEncoder(definition, config, file);
  const { ids: vocabulary, names } = encoder;
  const added = definition.added_tokens;
  const addedIds = new Set(added.map(({ id }) => id));
  const specialIds = new Set(added.filter(({ special }) => special).map(({ id }) => id));
  const { bytes, strip } = tokenBytes(content.decoder, file);
  let size = 0;
  for (const id of vocabulary.values()) size = Math.max(size, id + 1);
  for (const { id } of added) size = Math.max(size, id + 1); // two may have one content

  const nothing = new Uint8Array(0);
  const bytesById = new Map<number, Uint8Array>();
  const bytesOf = (withSpecial: boolean) => (id: number, isFirst: boolean) => {
    const token = names[id];
    if (token === undefined || (!withSpecial && specialIds.has(id))) return nothing;
    if (isFirst) return bytes(token, addedIds.has(id), true);
    const tokenBytes = bytesById.get(id) ?? bytes(token, addedIds.has(id), false);
    bytesById.set(id, tokenBytes);
    return tokenBytes;
  };

  return {
    size,
    config,
    encode(text, options) {
      const { special = true } = specialOptions('options', options);
      return encoder.encode(textOf('text', text), special);
    },
    decode(ids, options) {
      const { special = false } = specialOptions('options', options);
      const stream = textStream(bytesOf(special), strip);
      return (
        idsOf('ids', ids, { low: Number.MIN_SAFE_INTEGER })
          .map((id) => stream.push(id))
          .join('') + stream.end()
      );
    },
    stream(behind = [], options) {
      const { special = false } = specialOptions('options', options);
      const { push, end } = textStream(bytesOf(special), strip, idsOf('behind', behind));
      return { push: (id) => push(tokenId('id', id)), end };
    },
    bytes: (id) => new Uint8Array(bytesOf(false)(tokenId('id', id), false)),
    idOf: (token) => vocabulary.get(textOf('token', token)),
  };
}
