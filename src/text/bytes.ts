// Token ids to text. Every token stands for bytes; a streaming UTF-8 decoder makes text of them, so that no character is ever
// split and what stays incomplete becomes U+FFFD at the end alone. Three families of vocabularies, told by tokenizer.json's
// `decoder`: byte-level ones write every byte as a printable character (GPT-2's table); WordPiece marks what goes on within a word
// with ##; the others write spaces as ▁ and bytes that are no token of their own as <0x0A>.

import { FormatError, UnsupportedError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import { PARTS, TOKEN_CHARACTERS } from './definition.ts';
import { isRecord } from './files.ts';

/** Longest text of a token, after each step; the longest published ones have a tenth of it. */
const TEXT_CHARACTERS = 4096;

/** A stream of tokens to text. */
export interface TextStream {
  /** @returns the text that this token completes; empty if that is none */
  push(id: number): string;
  /** @returns U+FFFD for what stayed incomplete, or nothing */
  end(): string;
}

/** What makes bytes of tokens. */
interface TokenBytes {
  bytes(token: string, isAdded: boolean, isFirst: boolean): Uint8Array;
  /** How many of this character are removed where the text begins. */
  strip: { content: string; count: number };
}

interface DecoderConfig {
  type?: unknown;
  decoders?: unknown;
  pattern?: { String?: unknown };
  content?: unknown;
  start?: unknown;
  stop?: unknown;
  replacement?: unknown;
  prepend_scheme?: unknown;
  prefix?: unknown;
  cleanup?: unknown;
  add_prefix_space?: unknown;
}

const utf8 = new TextEncoder();
const BYTE_TOKEN = /^<0x([0-9a-fA-F]{2})>$/;

/**
 * @param decoder the `decoder` of tokenizer.json
 * @throws {FormatError} when it is malformed
 * @throws {UnsupportedError} when a step of it is not handled
 */
export function tokenBytes(decoder: unknown, file: string): TokenBytes {
  const steps: DecoderConfig[] = [];
  flatten(decoder ?? null, 'decoder', steps, { left: PARTS }, file);
  const types = steps.map(({ type }) => (typeof type === 'string' ? type : show(type)));
  const none = { content: ' ', count: 0 };
  if (steps.length === 0) {
    return { strip: none, bytes: (token, _, isFirst) => utf8.encode(isFirst ? token : ` ${token}`) };
  }
  if (types.includes('ByteLevel') && types.every((type) => type === 'ByteLevel' || type === 'Fuse')) {
    const table = byteLevelTable();
    return { strip: none, bytes: (token, isAdded) => (isAdded ? utf8.encode(token) : byteLevel(token, table)) };
  }
  if (types.includes('WordPiece') && types.every((type) => type === 'WordPiece' || type === 'Fuse')) {
    const { prefix = '##', cleanup = true } = steps[types.indexOf('WordPiece')];
    if (typeof prefix !== 'string' || prefix.length > TOKEN_CHARACTERS) {
      const must = `must be a text of up to ${TOKEN_CHARACTERS} characters`;
      throw new FormatError(`decoder WordPiece's prefix ${must}: got ${show(prefix)}`, { file });
    }
    return {
      strip: none,
      bytes(token, _, isFirst) {
        const text = isFirst ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
        return utf8.encode(cleanup === false ? text : withoutSpaces(text));
      },
    };
  }
  const replacements: [from: string, to: string][] = [];
  let byteFallback = false;
  let strip = none;
  for (const [i, step] of steps.entries()) {
    const { type, pattern, prepend_scheme, add_prefix_space } = step;
    const textOf = (name: string, value: unknown, least: number) => {
      if (typeof value === 'string' && value.length >= least && value.length <= TOKEN_CHARACTERS) return value;
      const range = `a text of ${least} to ${TOKEN_CHARACTERS} characters`;
      throw new FormatError(`decoder ${type}'s ${name} must be ${range}: got ${show(value)}`, { file });
    };
    if (type === 'Replace' && pattern?.String !== undefined) {
      replacements.push([textOf('pattern', pattern.String, 1), textOf('content', step.content, 0)]);
    } else if (type === 'Metaspace') {
      replacements.push([textOf('replacement', step.replacement ?? '▁', 1), ' ']);
      if (prepend_scheme !== 'never' && add_prefix_space !== false) strip = { content: ' ', count: 1 };
    } else if (type === 'ByteFallback') {
      byteFallback = true;
    } else if (type === 'Strip' && types.lastIndexOf('Fuse', i) >= 0 && !step.stop) {
      const { start = 0 } = step;
      if (!(Number.isInteger(start) && (start as number) >= 0 && (start as number) <= TOKEN_CHARACTERS)) {
        const message = `decoder Strip's start must be an integer from 0 to ${TOKEN_CHARACTERS}: got ${show(start)}`;
        throw new FormatError(message, { file });
      }
      strip = { content: textOf('content', step.content, 1), count: start as number };
    } else if (type !== 'Fuse') {
      const supported = 'ByteLevel, WordPiece, or of Replace, Metaspace, ByteFallback, Fuse and Strip';
      const message = `tokenizer's decoder must be ${supported}: got ${excerpt(types.join(', '))}`;
      throw new UnsupportedError(`decoder ${excerpt(types[i])}`, message, { file });
    }
  }
  return {
    strip,
    bytes(token) {
      const byte = byteFallback ? BYTE_TOKEN.exec(token) : null;
      if (byte) return Uint8Array.of(Number.parseInt(byte[1], 16));
      let text = token;
      for (const [from, to] of replacements) {
        text = text.split(from).join(to);
        if (text.length > TEXT_CHARACTERS) {
          const message = `decoder must make at most ${TEXT_CHARACTERS} characters of a token: it makes more of ${show(token)}`;
          throw new FormatError(message, { file });
        }
      }
      return utf8.encode(text);
    },
  };
}

/**
 * Streams text.
 * @param bytesOf the bytes of a token; none for special ones
 * @param behind ids whose text stands before and is not given out
 */
export function textStream(
  bytesOf: (id: number, isFirst: boolean) => Uint8Array,
  strip: TokenBytes['strip'],
  behind: Iterable<number> = [],
): TextStream {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let isFirst = true;
  let strippable = strip.count;
  const give = (text: string): string => {
    let rest = text;
    while (strippable > 0 && rest !== '') {
      strippable = rest.startsWith(strip.content) ? strippable - 1 : -1;
      if (strippable >= 0) rest = rest.slice(strip.content.length);
    }
    return rest;
  };
  const push = (id: number): string => {
    const bytes = bytesOf(id, isFirst);
    if (bytes.length === 0) return '';
    isFirst = false;
    return give(decoder.decode(bytes, { stream: true }));
  };
  for (const id of behind) push(id);
  return { push, end: () => give(decoder.decode()) };
}

// A Sequence's members, as one list.
function flatten(decoder: unknown, path: string, steps: DecoderConfig[], parts: { left: number }, file: string): void {
  if (decoder === null) return;
  if (--parts.left < 0) throw new FormatError(`decoder must have at most ${PARTS} parts: it has more`, { file });
  if (!isRecord(decoder)) throw new FormatError(`${path} must be an object: got ${show(decoder)}`, { file });
  if (decoder.type !== 'Sequence') {
    steps.push(decoder);
    return;
  }
  const { decoders } = decoder;
  if (!Array.isArray(decoders))
    throw new FormatError(`${path}.decoders must be a list: got ${show(decoders)}`, { file });
  for (const [i, member] of decoders.entries()) flatten(member, `${path}.decoders[${i}]`, steps, parts, file);
}

// What WordPiece cuts off a word, back on it: in this order, as the library for Python does, token by token.
const JOINED = [' .', ' ?', ' !', ' ,', " ' ", " n't", " 'm", ' do not', " 's", " 've", " 're"];

function withoutSpaces(token: string): string {
  let text = token;
  for (const each of JOINED) text = text.split(each).join(each === ' do not' ? " don't" : each.trim());
  return text;
}

// GPT-2's table: printable Latin-1 characters stand for themselves, the other bytes, in order, for U+0100 and on.
function byteLevelTable(): ReadonlyMap<string, number> {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const table = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) table.set(String.fromCharCode(isPrintable(byte) ? byte : next++), byte);
  return table;
}

// A token with a character that is not in the table stands for itself.
function byteLevel(token: string, table: ReadonlyMap<string, number>): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = table.get(token[i]);
    if (byte === undefined) return utf8.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}
