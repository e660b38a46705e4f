// Directories of browsers: the origin's private file system (OPFS), or one that a person picked.

import { bytes as bytesOf, having, integer, text } from '../check.ts';
import { FileError, FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { blobSource } from './memory.ts';
import type { ResumableFolder, Sink } from './source.ts';

/** What is used of the browser's FileSystemDirectoryHandle, so that types do not need the DOM's. */
export interface DirectoryHandle {
  readonly name: string;
  values(): AsyncIterable<{ readonly kind: 'file' | 'directory'; readonly name: string }>;
  getFileHandle(name: string, options?: { create?: boolean }): Promise<FileHandle>;
  removeEntry(name: string): Promise<void>;
}

interface FileHandle {
  getFile(): Promise<Blob>;
  createWritable(options?: { keepExistingData?: boolean }): Promise<{
    write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
    truncate(byteLength: number): Promise<void>;
    seek(position: number): Promise<void>;
    close(): Promise<void>;
  }>;
}

const directory = having<DirectoryHandle>('a directory handle', ['values', 'getFileHandle', 'removeEntry']);

/**
 * A directory handle as a folder to read from and write to. Browsers keep what was written when a file is closed: an aborted run
 * can be gone on with, a tab that crashed left nothing of the file it was writing.
 * @param handle from `navigator.storage.getDirectory()` or `showDirectoryPicker()`
 * @throws {TypeError} when it is none
 * @example
 * const output = directoryFolder(await navigator.storage.getDirectory());
 */
export function directoryFolder(handle: DirectoryHandle): ResumableFolder {
  directory('handle', handle);
  const write = async (name: string, byteLength: number): Promise<Sink> => {
    text('name', name);
    integer(0)('byteLength', byteLength);
    const file = await handle.getFileHandle(name, { create: true });
    const stream = await file.createWritable({ keepExistingData: byteLength > 0 });
    if (byteLength > 0) {
      await stream.truncate(byteLength);
      await stream.seek(byteLength);
    }
    const attempt = (run: () => Promise<void>) =>
      run().catch((error: Error) => {
        throw new FileError('write', `${handle.name}/${name}`, error.name, error.message);
      });
    return {
      write: async (bytes) => {
        const given = bytesOf('bytes', bytes) as Uint8Array<ArrayBuffer>;
        await attempt(() => stream.write(given));
      },
      close: () => attempt(() => stream.close()),
      abort: () => stream.close().catch(() => {}), // what was written stays, to be gone on with
    };
  };
  const folderNames = async () => {
    const names: string[] = [];
    for await (const entry of handle.values()) if (entry.kind === 'file') names.push(entry.name);
    return names.sort();
  };
  return {
    name: handle.name,
    list: folderNames,
    async open(name) {
      const file = await handle.getFileHandle(text('name', name)).catch(() => undefined);
      if (!file) throw new FormatError(`folder must have the file ${show(name)}: it has not`, { file: handle.name });
      const blob = await file.getFile();
      return blobSource(blob);
    },
    create: (name) => write(name, 0),
    extend: write,
    remove: async (name) => {
      if ((await folderNames()).includes(text('name', name))) await handle.removeEntry(name);
    },
  };
}
