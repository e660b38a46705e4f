// A strict JSON reader for files from strangers: RFC 8259, and no key twice, no `__proto__`, bounded depth and count.
// Objects become Maps, so no name can reach a prototype. One pass: JSON.parse would build an object from
// hostile text before anything could be checked, and forgets repeated keys.

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';

/** What `parseStrict` returns: plain JSON with objects as Maps, keys in the order of the text. */
export type Json = null | boolean | number | string | Json[] | Map<string, Json>;

/** A header is 3 deep, an index 2; the rest is for metadata of others. It bounds the recursion below. */
export const DEPTH_LIMIT = 32;

/**
 * Values in one text, an object counted as four since it takes the memory of that many. A tensor takes about 12: this
 * holds 300 k tensors. A header of 100 MB at this limit takes 0.6 GB while it is read (Node 20), and 0.3 GB afterwards.
 */
export const VALUE_LIMIT = 4_000_000;

/**
 * Longest key in characters. Names of tensors are keys, and are shown, padded and copied; published models have up to 150
 * characters, and a path of the systems that models are kept on 4096.
 */
export const NAME_LIMIT = 4096;

/** How `parseStrict` words its errors and hands out what it reads. */
interface JsonContext {
  /** Opens the message: `header`, `index`. `file` if left out. */
  subject?: string;
  /** The tensor that a path of keys is about, if it is about one. */
  tensorOf?: (path: readonly string[]) => string | undefined;
  /**
   * Takes the members of the outermost object as they are read, and null stands for them in the result. What it
   * throws ends the reading: of a large text only the first faulty member is ever built.
   */
  take?: (key: string, value: Json) => void;
}

/**
 * Decodes bytes as UTF-8.
 * @param subject opens the message: `header`, `index`
 * @returns the text; a byte order mark is kept, for JSON to refuse
 * @throws {FormatError} when the bytes are not UTF-8
 */
export function decodeText(bytes: Uint8Array, file: string, subject: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FormatError(`${subject} must be UTF-8: other bytes are in it`, { file });
  }
}

/**
 * Reads JSON strictly, in time and memory linear in the text.
 * @param file its name, for messages
 * @returns the value, with objects as Maps
 * @throws {FormatError} on anything but JSON, a repeated key (escaped or plain), a key `__proto__`, a lone surrogate,
 *   more than DEPTH_LIMIT levels or VALUE_LIMIT values, a key above NAME_LIMIT
 */
export function parseStrict(text: string, file: string, { subject = 'file', tensorOf, take }: JsonContext = {}): Json {
  const path: string[] = [];
  let position = 0;
  let depth = 0;
  let values = 0;

  function fail(message: string): never {
    const tensor = tensorOf?.(path);
    throw new FormatError(`${subject} ${message}`, tensor === undefined ? { file } : { file, tensor });
  }

  function unexpected(): never {
    if (position >= text.length) fail(`must be JSON: it ends at character ${text.length}, unfinished`);
    fail(
      `must be JSON: unexpected ${show(String.fromCodePoint(text.codePointAt(position)!))} at character ${position}`,
    );
  }

  function skipSpace(): void {
    for (; position < text.length; position++) {
      const c = text.charCodeAt(position);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
    }
  }

  function expect(c: number): void {
    if (text.charCodeAt(position) !== c) unexpected();
    position++;
  }

  function readKey(): string {
    const start = position;
    const key = readString(6 * NAME_LIMIT); // each character may be an escape of six
    if (key.length > NAME_LIMIT) tooLong(start);
    return key;
  }

  function tooLong(start: number): never {
    fail(`must have keys of at most ${NAME_LIMIT} characters: longer at character ${start}`);
  }

  // Raises before anything is copied where there are more than `most` characters between the quotes.
  function readString(most = Number.POSITIVE_INFINITY): string {
    const start = position;
    let escaped = false;
    expect(0x22);
    for (; ; position++) {
      position = endOf(PLAIN, text, position);
      const c = text.charCodeAt(position);
      if (c === 0x22) break;
      if (c === 0x5c) {
        escaped = true;
        position++;
      } else if (!(c >= 0x20)) unexpected(); // a control character, or NaN: the end
    }
    if (position - start - 1 > most) tooLong(start);
    position++;
    if (!escaped) return text.slice(start + 1, position - 1);
    let string: string;
    try {
      string = JSON.parse(text.slice(start, position));
    } catch {
      fail(`must be JSON: bad escape in the string at character ${start}`);
    }
    if (/\p{Surrogate}/u.test(string)) fail(`must be Unicode: lone surrogate in the string at character ${start}`);
    return string;
  }

  function skipDigits(): void {
    const start = position;
    position = endOf(DIGITS, text, position);
    if (position === start) unexpected();
  }

  function readNumber(): number {
    const start = position;
    if (text.charCodeAt(position) === 0x2d) position++;
    if (text.charCodeAt(position) === 0x30) position++;
    else skipDigits();
    if (text.charCodeAt(position) === 0x2e) {
      position++;
      skipDigits();
    }
    if ((text.charCodeAt(position) | 0x20) === 0x65) {
      position++;
      const sign = text.charCodeAt(position);
      if (sign === 0x2b || sign === 0x2d) position++;
      skipDigits();
    }
    return Number(text.slice(start, position));
  }

  function readWord<T>(word: string, value: T): T {
    if (!text.startsWith(word, position)) unexpected();
    position += word.length;
    return value;
  }

  // `enter` takes the opening bracket, `next` the comma between members; both say whether a member follows.
  function enter(close: number): boolean {
    if (++depth > DEPTH_LIMIT) fail(`must nest at most ${DEPTH_LIMIT} levels: deeper at character ${position}`);
    position++;
    skipSpace();
    if (text.charCodeAt(position) !== close) return true;
    position++;
    depth--;
    return false;
  }

  function next(close: number): boolean {
    skipSpace();
    if (text.charCodeAt(position) !== close) {
      expect(0x2c);
      return true;
    }
    position++;
    depth--;
    return false;
  }

  function readObject(): Map<string, Json> {
    const object = new Map<string, Json>();
    for (let more = enter(0x7d); more; more = next(0x7d)) {
      skipSpace();
      const start = position;
      const key = readKey();
      path.push(key);
      if (object.has(key)) fail(`must not repeat a key: ${show(key)} again at character ${start}`);
      if (key === '__proto__') fail(`must not have the key "__proto__": at character ${start}`);
      skipSpace();
      expect(0x3a);
      const value = readValue();
      path.pop();
      if (depth === 1 && take !== undefined) {
        take(key, value);
        object.set(key, null);
      } else object.set(key, value);
    }
    return object;
  }

  function readArray(): Json[] {
    const array: Json[] = [];
    for (let more = enter(0x5d); more; more = next(0x5d)) array.push(readValue());
    return array;
  }

  function readValue(): Json {
    if (++values > VALUE_LIMIT) fail(`must have at most ${VALUE_LIMIT} values: more at character ${position}`);
    skipSpace();
    switch (text.charCodeAt(position)) {
      case 0x7b:
        values += 3;
        return readObject();
      case 0x5b:
        return readArray();
      case 0x22:
        return readString();
      case 0x74:
        return readWord('true', true);
      case 0x66:
        return readWord('false', false);
      case 0x6e:
        return readWord('null', null);
      default:
        return readNumber();
    }
  }

  const value = readValue();
  skipSpace();
  if (position < text.length) unexpected();
  return value;
}

// Characters of a string that stand for themselves, and digits. A header is read once, by code that no engine has compiled: expressions
// pass over them sooner than loops. Node 20 reads one of 45 KB in 0.6 of the time.
const PLAIN = /[ !#-[\]-\uffff]*/y;
const DIGITS = /[0-9]*/y;

// Where they end; behind the text, as after its last backslash, there are none.
function endOf(some: RegExp, text: string, position: number): number {
  some.lastIndex = position;
  return some.test(text) ? some.lastIndex : position;
}
