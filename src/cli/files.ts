// The small files that verbs read whole: texts, plans, sensitivities.

import { readFile } from 'node:fs/promises';
import { fileError } from '../source/file.ts';

/** @throws {FileError} when it cannot be read */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw fileError('read', path, error);
  }
}

/** A text in UTF-8. @throws {FileError} when it cannot be read */
export async function readText(path: string): Promise<string> {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(await readBytes(path));
}
