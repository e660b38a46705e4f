// The files of a web page, read at once: whoever serves them never looks into the directory again.

import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { FormatError } from '../errors.ts';
import { attempt } from '../source/system.ts';

/** Files of a page, and bytes of all of them: they stay in memory. */
const FILES_LIMIT = 1000;
const BYTES_LIMIT = 128 << 20;

/**
 * Reads a directory and those within it; links are left out.
 * @returns contents by path below it, with `/`
 * @throws {FileError} when it cannot be read @throws {FormatError} when it has no index.html, too many files or too many bytes
 */
export async function readPage(directory: string): Promise<Map<string, Uint8Array>> {
  const fail = (reason: string): never => {
    throw new FormatError(`page must ${reason}`, { file: directory });
  };
  const entries = await attempt('read', directory, () => readdir(directory, { recursive: true, withFileTypes: true }));
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  if (paths.length > FILES_LIMIT) fail(`have at most ${FILES_LIMIT} files: it has ${paths.length}`);
  const files = new Map<string, Uint8Array>();
  let left = BYTES_LIMIT;
  for (const path of paths.sort()) {
    const bytes = await attempt('read', path, () => readFile(path));
    left -= bytes.length;
    if (left < 0) fail(`have at most ${BYTES_LIMIT} bytes: it has more`);
    files.set(relative(directory, path).split(sep).join('/'), bytes);
  }
  if (!files.has('index.html')) fail('have an index.html: there is none');
  return files;
}
