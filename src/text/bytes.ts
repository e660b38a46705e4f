// Token ids to text. Every token stands for bytes; a streaming UTF-8 decoder makes text of them, so that no character is ever
// split and what stays incomplete becomes U+FFFD at the end alone. Two families of vocabularies, told by tokenizer.json's
// `decoder`: byte-level ones write every byte as a printable character (GPT-2's table); the others write spaces as ▁ and bytes
// that are no token of their own as <0x0A>.

import { UnsupportedError } from '../errors.ts';

/** A stream of tokens to text. */
export interface TextStream {
  /** @returns the text that this token completes; empty if that is none */
  push(id: number): string;
  /** @returns U+FFFD for what stayed incomplete, or nothing */
  end(): string;
}

/** What makes bytes of tokens. */
export interface TokenBytes {
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
  add_prefix_space?: unknown;
}

const utf8 = new TextEncoder();
const BYTE_TOKEN = /^<0x([0-9a-fA-F]{2})>$/;

/**
 * @param decoder the `decoder` of tokenizer.json
 * @throws {UnsupportedError} when a step of it is not handled
 */
export function tokenBytes(decoder: unknown, file: string): TokenBytes {
  const steps = flatten(decoder, 0);
  const types = steps.map(({ type }) => type);
  const none = { content: ' ', count: 0 };
  if (steps.length === 0) {
    return { strip: none, bytes: (token, _, isFirst) => utf8.encode(isFirst ? token : ` ${token}`) };
  }
  if (types.includes('ByteLevel') && types.every((type) => type === 'ByteLevel' || type === 'Fuse')) {
    const table = byteLevelTable();
    return { strip: none, bytes: (token, isAdded) => (isAdded ? utf8.encode(token) : byteLevel(token, table)) };
  }
  const replacements: [from: string, to: string][] = [];
  let byteFallback = false;
  let strip = none;
  for (const [i, step] of steps.entries()) {
    const { type, pattern, content, replacement = '▁', prepend_scheme, add_prefix_space } = step;
    if (type === 'Replace' && typeof pattern?.String === 'string' && typeof content === 'string') {
      replacements.push([pattern.String, content]);
    } else if (type === 'Metaspace' && typeof replacement === 'string') {
      replacements.push([replacement, ' ']);
      if (prepend_scheme !== 'never' && add_prefix_space !== false) strip = { content: ' ', count: 1 };
    } else if (type === 'ByteFallback') {
      byteFallback = true;
    } else if (type === 'Strip' && types.lastIndexOf('Fuse', i) >= 0 && typeof content === 'string' && !step.stop) {
      strip = { content, count: Number(step.start) || 0 };
    } else if (type !== 'Fuse') {
      const message = `tokenizer's decoder must be ByteLevel, or of Replace, Metaspace, ByteFallback, Fuse and Strip: got ${types.join(', ')}`;
      throw new UnsupportedError(`decoder ${String(type)}`, message, { file });
    }
  }
  return {
    strip,
    bytes(token) {
      const byte = byteFallback ? BYTE_TOKEN.exec(token) : null;
      if (byte) return Uint8Array.of(Number.parseInt(byte[1], 16));
      return utf8.encode(replacements.reduce((text, [from, to]) => text.replaceAll(from, to), token));
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
function flatten(decoder: unknown, depth: number): DecoderConfig[] {
  if (typeof decoder !== 'object' || decoder === null) return [];
  const config = decoder as DecoderConfig;
  if (config.type !== 'Sequence' || !Array.isArray(config.decoders) || depth > 8) return [config];
  return config.decoders.flatMap((member) => flatten(member, depth + 1));
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
