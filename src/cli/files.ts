// The small files that verbs read and write whole: texts, plans, sensitivities.

import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
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

/** Writes a file by another name and renames it: under its own it is whole or not there. @throws {FileError} */
export async function replaceFile(path: string, content: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  try {
    await writeFile(aside, content);
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true }).catch(() => {});
    throw fileError('write', path, error);
  }
}

export async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
