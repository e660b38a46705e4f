// The checkpoint that a verb is pointed at: a directory, or one safetensors file.

import { realpath, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { FormatError } from '../errors.ts';
import { fileError, openFile, openFolder } from '../source/file.ts';
import { folderOf } from '../source/memory.ts';
import type { Folder } from '../source/source.ts';

/** An open input. */
export interface Input {
  folder: Folder & { close(): Promise<void> };
  /** The real path of the directory or file. */
  path: string;
  isFile: boolean;
  /** Names, sizes and dates of its files: tells it from another input, or from itself after a change. */
  identity(): Promise<string>;
}

/** @throws {FileError} when there is nothing to read */
export async function openInput(path: string): Promise<Input> {
  const info = await stat(path).catch((error) => {
    throw fileError('read', path, error);
  });
  const real = await realpath(path);
  if (info.isDirectory()) {
    const folder = await openFolder(path);
    return { folder, path: real, isFile: false, identity: async () => identityOf(real, await folder.list()) };
  }
  if (info.isFile() && !path.endsWith('.safetensors')) {
    throw new FormatError('input must be a directory or a .safetensors file: it is neither', { file: path });
  }
  const file = await openFile(path);
  const folder = { ...folderOf(dirname(path), { [basename(path)]: file }), close: () => file.close() };
  return { folder, path: real, isFile: true, identity: () => identityOf(dirname(real), [basename(real)]) };
}

async function identityOf(folder: string, names: readonly string[]): Promise<string> {
  const files = names.filter((name) => /\.(safetensors|json)$/.test(name));
  const stats = await Promise.all(files.map((name) => stat(`${folder}/${name}`)));
  return JSON.stringify([folder, files.map((name, i) => [name, stats[i]!.size, stats[i]!.mtimeMs])]);
}
