// The checkpoint that a verb is pointed at: a directory, one safetensors file, a name of the hub, an address.

import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
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
  folder: Folder & { close(): Promise<void> };
  /** The real path of the directory or file; the name or address of what is on a server. */
  path: string;
  isFile: boolean;
  /** Real paths of the files that matter: links seen through. */
  files(): Promise<string[]>;
  /** The directory that keeps small texts about it. */
  store: string;
  /** Tells it from another input, where files are not all that does. */
  identity?: string;
}

/**
 * Opens whatever a name stands for: hf:org/model, an address, a directory, a file.
 * @throws {FileError} when there is nothing to read
 */
export async function openInput(path: string): Promise<Input> {
  if (isRemote(path)) return openHubInput(path);
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
      say(`${path} holds ${JOURNAL_NAME}: the run that writes it has not ended; repeat that with --resume`);
    }
    const { close, ...opened } = await openFolder(path);
    const folder = Object.assign(readOnce(opened), { close });
    const files = async () => {
      const names = (await folder.list()).filter(
        (name) => /\.(safetensors|json)$/.test(name) && name !== SENSITIVITIES_NAME, // which may come and go
      );
      return Promise.all(names.map((name) => realPath(join(path, name))));
    };
    return { folder, path: real, isFile: false, files, store: real };
  }
  if (info.isFile() && !path.endsWith('.safetensors')) {
    throw new FormatError('input must be a directory or a .safetensors file: it is neither', { file: path });
  }
  const file = await openFile(path);
  const { unchanged, close } = file;
  const opened = { ...folderOf(dirname(path), { [basename(path)]: file }), unchanged };
  const folder = Object.assign(readOnce(opened), { close });
  return { folder, path: real, isFile: true, files: async () => [real], store: dirname(real) };
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
