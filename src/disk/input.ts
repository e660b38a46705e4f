// The checkpoint that a verb is pointed at: a directory, one safetensors file, a model in GGUF by its file, a name of the hub, an address.

import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readable } from '../checkpoint/checkpoint.ts';
import { siblingsOf } from '../checkpoint/gguf/parts.ts';
import { FileError, FormatError } from '../errors.ts';
import { isRemote } from '../hub/name.ts';
import { SENSITIVITIES_NAME } from '../quantize/carry.ts';
import { JOURNAL_NAME } from '../quantize/journal.ts';
import { openFile, openFolder } from '../source/file.ts';
import { folderOf } from '../source/memory.ts';
import { readOnce } from '../source/once.ts';
import type { Folder } from '../source/source.ts';
import { attempt, fileError } from '../source/system.ts';
import { say } from '../terminal/print.ts';
import { isAbsent, isThere } from './commit.ts';
import { openHubInput } from './hub.ts';

/** An open input, read once whatever is done with it. */
export interface Input {
  /** Its files. */
  folder: Folder & { close(): Promise<void> };
  /** The real path of the directory or file; the name or address of what is on a server. */
  path: string;
  /** Where what is measured of it is kept: the directory, or that of the file; of a model on a server, one of our own. */
  directory: string;
  /** Whether it is weights alone, without configuration and tokenizer. */
  isFile: boolean;
  /** Real paths of the files that matter: links seen through. */
  files(): Promise<string[]>;
  /** Tells it from another input, where files are not all that does. */
  identity?: string;
}

/**
 * Opens whatever a name stands for: hf:org/model, an address, a directory, a file.
 * @throws {FileError} when there is nothing to read
 */
export async function openInput(path: string): Promise<Input> {
  if (isRemote(path)) {
    const { folder, ...remote } = await openHubInput(path);
    return { ...remote, folder: await closable(folder, folder.close) };
  }
  const info = await stat(path).catch((error) => {
    if (isAbsent(error) && /^[\w.-]+\/[\w.-]+$/.test(path) && !path.startsWith('.')) {
      const hint = `no such file or directory; if you mean the model on the hub, give hf:${path}`;
      throw new FileError('read', path, undefined, hint);
    }
    throw fileError('read', path, error);
  });
  const real = await realPath(path);
  if (info.isDirectory()) {
    if (await isThere(join(path, JOURNAL_NAME))) {
      say(`${path} holds ${JOURNAL_NAME}: that run has not finished; repeat its command with --resume`);
    }
    const { close, ...opened } = await openFolder(path);
    const folder = await closable(readOnce(opened), close);
    const files = async () => {
      const names = (await opened.list()).filter(
        (name) => /\.(safetensors|gguf|json)$/.test(name) && name !== SENSITIVITIES_NAME, // which may come and go
      );
      return Promise.all(names.map((name) => realPath(join(path, name))));
    };
    return { folder, path: real, directory: real, isFile: false, files };
  }
  const isGguf = path.endsWith('.gguf');
  if (info.isFile() && !isGguf && !path.endsWith('.safetensors')) {
    throw new FormatError('input must be a directory, a .safetensors or a .gguf file: this file is of another kind', {
      file: path,
    });
  }
  const directory = dirname(path);
  const names = isGguf ? siblingsOf(basename(path)) : [basename(path)];
  const opened = await openFiles(directory, names);
  const folder = await closable(readOnce(opened), opened.close);
  const files = () => Promise.all(names.map((name) => realPath(join(directory, name))));
  return { folder, path: real, directory: dirname(real), isFile: !isGguf, files };
}

// The folder as all read it. What is opened is closed when it is not even a checkpoint.
async function closable(folder: Folder, close: () => Promise<void>): Promise<Input['folder']> {
  try {
    return Object.assign(await readable(folder), { close });
  } catch (error) {
    await close();
    throw error;
  }
}

// Some files of a directory, as a folder: the parts of a model, opened at once.
async function openFiles(directory: string, names: readonly string[]) {
  const files = new Map<string, Awaited<ReturnType<typeof openFile>>>();
  const close = async () => {
    for (const file of files.values()) await file.close();
  };
  try {
    for (const name of names) files.set(name, await openFile(join(directory, name)));
  } catch (error) {
    await close();
    throw error;
  }
  const unchanged = async () => {
    for (const file of files.values()) await file.unchanged();
  };
  return { ...folderOf(directory, files), unchanged, close };
}

/** Opens a model. @throws {RangeError} when it is one file */
export async function openModel(path: string): Promise<Input> {
  const input = await openInput(path);
  try {
    checkModel(input);
    return input;
  } catch (error) {
    await input.folder.close();
    throw error;
  }
}

/** A model is a directory: configuration and tokenizer stand beside the weights. @throws {RangeError} when it is one file */
export function checkModel({ isFile, path }: Input): void {
  if (!isFile) return;
  throw new RangeError(
    `model must be a directory, with config.json beside the weights: give ${dirname(path)}, not the file`,
  );
}

/** Real paths, sizes and dates of an input's files: tells it from another input, or from itself after a change. */
export async function identityOf(input: Input): Promise<string> {
  if (input.identity !== undefined) return input.identity;
  const files = await input.files();
  const stats = await Promise.all(files.map((file) => attempt('read', file, () => stat(file))));
  return JSON.stringify(files.map((file, i) => [file, stats[i].size, stats[i].mtimeMs]));
}

function realPath(path: string): Promise<string> {
  return attempt('read', path, () => realpath(path));
}
