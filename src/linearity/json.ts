// Members of the JSON files that this room reads: each of the kind that FORMAT.md says, none that it does not know.

import { decodeText, type Json, parseStrict } from '../checkpoint/safetensors/json.ts';
import { FormatError, type Place } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';

/** Largest file that is read: a thousand times the sensitivities of a large model. */
const FILE_LIMIT = 64 << 20;

/** An object whose members are taken one by one; `end` refuses those that are left. */
export interface Members {
  has(key: string): boolean;
  take(key: string): Json | undefined;
  /** A finite number, `least` or more. */
  number(key: string, least?: number): number;
  /** As `number`, or null; where the member may be left out, that is null too. */
  optional(key: string, least?: number): number | null;
  string(key: string): string;
  boolean(key: string): boolean;
  object(key: string, place?: Place): Members;
  /** The shape of a matrix or a stack of them. */
  shape(key: string): number[];
  entries(): [string, Json][];
  end(): void;
}

/** Parses a file that is one JSON object. */
export function parseFile(content: string | Uint8Array, file: string, subject: string): Members {
  if (content.length > FILE_LIMIT) {
    throw new FormatError(`${subject} must have at most ${FILE_LIMIT} bytes: it has ${content.length}`, { file });
  }
  const text = typeof content === 'string' ? content : decodeText(content, file, subject);
  return membersOf(parseStrict(text, file, { subject }), subject, { file });
}

/** The members of an object. @param subject opens the messages */
export function membersOf(json: Json | undefined, subject: string, place: Place): Members {
  if (!(json instanceof Map)) throw new FormatError(`${subject} must be a JSON object: got ${show(json)}`, place);
  const left = new Map(json);
  const fail = (key: string, kind: string, value: Json | undefined): never => {
    throw new FormatError(`${excerpt(key)} must be ${kind}: got ${show(value)}`, place);
  };
  const members: Members = {
    has: (key) => json.has(key),
    take(key) {
      left.delete(key);
      return json.get(key);
    },
    number(key, least = -Infinity) {
      const value = members.take(key);
      if (typeof value === 'number' && Number.isFinite(value) && value >= least) return value;
      return fail(key, `a number${least > -Infinity ? ` of at least ${least}` : ''}`, value);
    },
    optional(key, least) {
      if (json.get(key) != null) return members.number(key, least);
      members.take(key);
      return null;
    },
    string(key) {
      const value = members.take(key);
      return typeof value === 'string' ? value : fail(key, 'a string', value);
    },
    boolean(key) {
      const value = members.take(key);
      return typeof value === 'boolean' ? value : fail(key, 'true or false', value);
    },
    object: (key, inner = place) => membersOf(members.take(key), key, inner),
    shape(key) {
      const value = members.take(key);
      const isShape =
        Array.isArray(value) &&
        (value.length === 2 || value.length === 3) &&
        value.every((size) => Number.isSafeInteger(size) && Number(size) > 0);
      return isShape ? (value as number[]) : fail(key, 'two or three positive integers', value);
    },
    entries() {
      const entries = [...left];
      left.clear();
      return entries;
    },
    end() {
      for (const key of left.keys())
        throw new FormatError(`${subject} must have no member ${show(key)}: it has`, place);
    },
  };
  return members;
}

/** An object as JSON whose `tensors` stand a line each: readable, and the same bytes for the same content. */
export function writeLines(
  head: Readonly<Record<string, unknown>>,
  tensors: readonly (readonly [string, unknown])[],
): string {
  const lines = Object.entries(head).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)},\n`);
  const rows = tensors.map(([name, about]) => `    ${JSON.stringify(name)}: ${JSON.stringify(about)}`);
  return `{\n${lines.join('')}  "tensors": {\n${rows.join(',\n')}\n  }\n}\n`;
}
