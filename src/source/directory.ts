// Directories of browsers: the origin's private file system (OPFS), or one that a person picked.

import { FormatError } from '../errors.ts';
import type { ResumableFolder, Sink } from './source.ts';

/**
 * A directory handle as a folder to read from and write to.
 * @param handle from `navigator.storage.getDirectory()` or `showDirectoryPicker()`
 */
export function directoryFolder(handle: FileSystemDirectoryHandle): ResumableFolder {
  const write = async (name: string, byteLength: number): Promise<Sink> => {
    const file = await handle.getFileHandle(name, { create: true });
    const stream = await file.createWritable({ keepExistingData: byteLength > 0 });
    if (byteLength > 0) {
      await stream.truncate(byteLength);
      await stream.seek(byteLength);
    }
    return {
      write: (bytes) => stream.write(bytes as Uint8Array<ArrayBuffer>),
      close: () => stream.close(),
      abort: () => stream.close(), // what was written stays, to be gone on with
    };
  };
  return {
    name: handle.name,
    async list() {
      const names: string[] = [];
      for await (const entry of (handle as unknown as { values(): AsyncIterable<FileSystemHandle> }).values()) {
        if (entry.kind === 'file') names.push(entry.name);
      }
      return names.sort();
    },
    async open(name) {
      const file = await handle.getFileHandle(name).catch(() => undefined);
      if (!file)
        throw new FormatError(`folder must have the file ${JSON.stringify(name)}: it has not`, { file: handle.name });
      const blob = await file.getFile();
      return { byteLength: blob.size, slice: (start, end) => blob.slice(start, end).arrayBuffer() };
    },
    create: (name) => write(name, 0),
    extend: write,
  };
}
