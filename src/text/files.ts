// The small files beside the weights, read whole.

import { argumentError, type Reader, refuseKind } from '../check.ts';
import { FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { foreignText } from '../source/foreign.ts';
import type { Folder } from '../source/source.ts';

/** Largest file that is read whole: the largest tokenizers have some tens of megabytes. */
const SMALL_FILE_BYTES = 128 << 20;

/**
 * @returns the text; undefined when there is no such file
 * @throws {FormatError} when it is too large or not UTF-8
 */
export async function readText(folder: Folder, name: string): Promise<string | undefined> {
  if (!(await folder.list()).includes(name)) return undefined;
  const file = `${folder.name}/${name}`;
  const source = await folder.open(name);
  if (source.byteLength > SMALL_FILE_BYTES) {
    throw new FormatError(`file must have at most ${SMALL_FILE_BYTES} bytes: it has ${source.byteLength}`, { file });
  }
  const bytes = await source.slice(0, source.byteLength);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new FormatError('file must be UTF-8: other bytes are in it', { file });
  }
}

/**
 * @returns the object; undefined when there is no such file
 * @throws {FormatError} when it is no JSON object
 */
export async function readJson(folder: Folder, name: string): Promise<Record<string, unknown> | undefined> {
  const text = await readText(folder, name);
  if (text === undefined) return undefined;
  const file = `${folder.name}/${name}`;
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    const other = foreignText(text);
    if (other) throw new FormatError(`file must be JSON: it is ${other}`, { file });
    const [place] = /at position \d+/.exec((cause as Error).message) ?? [];
    throw new FormatError(`file must be JSON: it cannot be read${place ? ` ${place}` : ''}`, { file });
  }
  if (!isRecord(content)) throw new FormatError(`file must be a JSON object: got ${show(content)}`, { file });
  return content;
}

/** What a caller gives as plain data: a copy of it, as JSON has it. */
export const plainData: Reader<unknown> = (subject, value) => {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw argumentError(`${subject} must be plain data: it cannot be written as JSON`, { cause });
  }
  return text === undefined ? refuseKind(subject, 'plain data', value) : JSON.parse(text);
};

/** An object of plain data. */
export const plainObject: Reader<Record<string, unknown>> = (subject, value) => {
  const content = typeof value === 'object' ? plainData(subject, value) : value;
  return isRecord(content) ? content : refuseKind(subject, 'an object of plain data', value);
};

/** Whether a value of JSON is an object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
