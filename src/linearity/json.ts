// The JSON files that this room reads and writes: an object whose `tensors` have a member each. What a file holds is read as what a
// caller gives is, by the same schemas; what they refuse is the file's fault.

import type { Reader } from '../check.ts';
import { decodeText, type Json, parseStrict } from '../checkpoint/safetensors/json.ts';
import { FormatError, type Place, UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';

/** Largest file that is read: a thousand times the sensitivities of a large model. */
const FILE_LIMIT = 64 << 20;

/** Parses a file that is one JSON object. @throws {FormatError} when it has more than FILE_LIMIT bytes, or is not JSON */
export function parseFile(content: string | Uint8Array, file: string, subject: string): Map<string, Json> {
  if (content.length > FILE_LIMIT) {
    throw new FormatError(`${subject} must have at most ${FILE_LIMIT} bytes: it has ${content.length}`, { file });
  }
  const text = typeof content === 'string' ? content : decodeText(content, file, subject);
  return new Map(jsonMembers(subject, parseStrict(text, file, { subject }), { file }));
}

/** The members of an object of JSON. @throws {FormatError} when it is something else */
export function jsonMembers(subject: string, json: Json | undefined, place: Place): ReadonlyMap<string, Json> {
  if (json instanceof Map) return json;
  throw new FormatError(`${subject} must be a JSON object: got ${show(json)}`, place);
}

/**
 * Takes the version from a file.
 * @param key of the version
 * @param subject with its verb: `alphas must have their`
 * @throws {FormatError} when there is none
 * @throws {UnsupportedError} when it is one that this release does not read
 */
export function takeVersion(
  root: Map<string, Json>,
  key: string,
  expected: number,
  subject: string,
  file: string,
): void {
  const version = root.get(key);
  root.delete(key);
  if (version === expected) return;
  if (typeof version !== 'number') {
    throw new FormatError(`${subject} version as ${key}: got ${show(version)}`, { file });
  }
  const message = `${key} must be ${expected}, the version this release reads: it is ${version}`;
  throw new UnsupportedError(`${key.replace('higgs.', '')} ${version}`, message, { file });
}

/** What a reader makes of a part of a file. @throws {FormatError} with the place, for what the reader throws */
export function fromFile<T>(place: Place, reader: Reader<T>, subject: string, value: unknown): T {
  try {
    return reader(subject, value);
  } catch (error) {
    throw new FormatError((error as Error).message, place);
  }
}

/** Takes the tensors from a file, by name. */
export function takeTensors<T>(
  root: Map<string, Json>,
  reader: Reader<T>,
  subject: string,
  file: string,
): Map<string, T> {
  const entries = [...jsonMembers('tensors', root.get('tensors'), { file })];
  root.delete('tensors');
  return new Map(entries.map(([name, entry]) => [name, fromFile({ file, tensor: name }, reader, subject, entry)]));
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
