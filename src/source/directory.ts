// Directories of browsers: the origin's private file system (OPFS), or one that a person picked.

import { bufferFrom, bytesOf, having, integer, refuseKind, text } from '../check.ts';
import { closed, FileError, FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { spanOf } from './given.ts';
import { blobSource } from './memory.ts';
import type { Folder, ResumableFolder, Sink, Source } from './source.ts';

/** What is used of the browser's FileSystemDirectoryHandle, so that types do not need the DOM's. */
export interface DirectoryHandle {
  /** The directory's name. */
  readonly name: string;
  /** What is in it. */
  values(): AsyncIterable<{ readonly kind: 'file' | 'directory'; readonly name: string }>;
  /** A file of it. @param options `create` makes the file where there is none */
  getFileHandle(name: string, options?: { create?: boolean }): Promise<FileHandle>;
  /** Removes a file of it. */
  removeEntry(name: string): Promise<void>;
}

interface FileHandle {
  getFile(): Promise<Blob>;
  /** Of the origin's private file system, in workers alone. */
  createSyncAccessHandle?(options?: { mode: 'read-only' | 'readwrite' }): Promise<SyncAccessHandle>;
  createWritable(options?: { keepExistingData?: boolean }): Promise<{
    write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
    truncate(byteLength: number): Promise<void>;
    seek(position: number): Promise<void>;
    close(): Promise<void>;
  }>;
}

interface SyncAccessHandle {
  getSize(): number;
  read(into: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  write(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  truncate(byteLength: number): void;
  flush(): void;
  close(): void;
}

const directory = having<DirectoryHandle>('a directory handle', ['values', 'getFileHandle', 'removeEntry']);

/**
 * A directory handle as a folder to read from and write to. In a worker the private file system is written in place, by access handles: a
 * run can be resumed after an abort and after a crash of the tab. Elsewhere browsers keep what was written when a file is closed, so that
 * a crash leaves nothing of the file under way.
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
    const path = `${handle.name}/${name}`;
    // A directory that a person picked refuses them.
    const access = await accessOf(file, 'readwrite');
    return access ? accessSink(access, byteLength, path) : streamSink(file, byteLength, path);
  };
  return {
    name: handle.name,
    list: () => namesIn(handle),
    open: async (name) => blobSource(await (await fileIn(handle, name)).getFile()),
    create: (name) => write(name, 0),
    extend: write,
    remove: async (name) => {
      if ((await namesIn(handle)).includes(text('name', name))) await handle.removeEntry(name);
    },
  };
}

/**
 * A directory to read, of the origin's private file system in a worker by access handles: experts that do not fit memory come faster from them
 * than from Blobs. Browsers lock a file that has one until the folder is closed. Where there are none, in pages and of files that
 * another tab has locked, files are Blobs.
 * @param handle from `navigator.storage.getDirectory()`
 * @throws {TypeError} when it is none
 * @example
 * const folder = openDirectory(await navigator.storage.getDirectory());
 * const model = await loadModel(folder, { memory: 2 * 2 ** 30 });
 */
export function openDirectory(handle: DirectoryHandle): Folder & { close(): Promise<void> } {
  directory('handle', handle);
  const opened = new Map<string, Promise<{ source: Source; close(): void }>>();
  let isOpen = true;
  const check = () => {
    if (!isOpen) throw closed(`folder ${handle.name}`);
  };
  const open = async (name: string) => {
    const file = await fileIn(handle, name);
    const access = await accessOf(file, 'read-only');
    if (access) return { source: accessSource(access, `${handle.name}/${name}`, check), close: () => access.close() };
    return { source: blobSource(await file.getFile()), close() {} };
  };
  return {
    name: handle.name,
    list: () => namesIn(handle),
    async open(name) {
      check();
      const file = opened.get(name) ?? open(name);
      opened.set(name, file);
      try {
        return (await file).source;
      } catch (error) {
        opened.delete(name);
        throw error;
      }
    },
    async close() {
      isOpen = false;
      for (const file of opened.values()) (await file.catch(() => undefined))?.close();
      opened.clear();
    },
  };
}

// A handle, where the browser gives one: not in pages, and not for a file that another tab has locked.
async function accessOf(file: FileHandle, mode: 'read-only' | 'readwrite'): Promise<SyncAccessHandle | undefined> {
  if (!(await handlesWork())) return undefined;
  return file.createSyncAccessHandle?.({ mode }).catch(() => undefined);
}

let works: Promise<boolean> | undefined;

/** Whether access handles of the private file system open, asked once. */
function handlesWork(): Promise<boolean> {
  works ??= tryHandle();
  return works;
}

// WebKitGTK has the method, which fails, and the file can then be written in no way. So a file of its own tries it.
async function tryHandle(): Promise<boolean> {
  const { storage } = (globalThis.navigator ?? {}) as { storage?: { getDirectory?(): Promise<DirectoryHandle> } };
  if (!storage?.getDirectory) return true;
  const name = `.higgs-${globalThis.crypto.randomUUID()}`;
  try {
    const root = await storage.getDirectory();
    const file = await root.getFileHandle(name, { create: true });
    const access = await file.createSyncAccessHandle?.({ mode: 'readwrite' }).catch(() => undefined);
    access?.close();
    await root.removeEntry(name);
    return access !== undefined;
  } catch {
    return false;
  }
}

// What was written before an abort stays, to be resumed.
async function streamSink(file: FileHandle, byteLength: number, path: string): Promise<Sink> {
  const stream = await file.createWritable({ keepExistingData: byteLength > 0 });
  if (byteLength > 0) {
    await stream.truncate(byteLength);
    await stream.seek(byteLength);
  }
  return {
    write: (bytes) => written(path, () => stream.write(bytesOf('bytes', bytes) as Uint8Array<ArrayBuffer>)),
    close: () => written(path, () => stream.close()),
    abort: () => stream.close().catch(() => {}),
  };
}

async function accessSink(access: SyncAccessHandle, byteLength: number, path: string): Promise<Sink> {
  let end = byteLength;
  try {
    await written(path, async () => access.truncate(end));
  } catch (error) {
    access.close();
    throw error;
  }
  return {
    write: async (given) => {
      const bytes = bytesOf('bytes', given) as Uint8Array<ArrayBuffer>;
      await written(path, async () => {
        for (let done = 0; done < bytes.length; ) {
          const count = access.write(bytes.subarray(done), { at: end + done });
          if (count === 0)
            throw new FileError(
              'write',
              path,
              undefined,
              `no room for ${bytes.length - done} of ${bytes.length} bytes`,
            );
          done += count;
        }
        end += bytes.length;
      });
    },
    close: () =>
      written(path, async () => {
        try {
          access.flush();
        } finally {
          access.close(); // it locks the file
        }
      }),
    abort: async () => access.close(),
  };
}

async function written(path: string, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (error instanceof FileError) throw error;
    const { name, message } = error as Error;
    throw new FileError('write', path, name, message);
  }
}

function accessSource(access: SyncAccessHandle, path: string, check: () => void): Source {
  const byteLength = access.getSize();
  const sliceSync = (start: number, end: number, spare?: ArrayBuffer): ArrayBuffer => {
    check();
    spanOf(start, end, byteLength, path);
    if (spare !== undefined && !bufferFrom('spare', spare)) refuseKind('spare', 'an ArrayBuffer', spare);
    const bytes = new Uint8Array(spare?.byteLength === end - start ? spare : new ArrayBuffer(end - start));
    for (let filled = 0; filled < bytes.length; ) {
      const read = access.read(bytes.subarray(filled), { at: start + filled });
      if (read === 0) throw new FileError('read', path, undefined, `it had ${byteLength} bytes and has shrunk`);
      filled += read;
    }
    return bytes.buffer;
  };
  return { byteLength, slice: async (start, end, spare) => sliceSync(start, end, spare), sliceSync };
}

async function namesIn(handle: DirectoryHandle): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of handle.values()) if (entry.kind === 'file') names.push(entry.name);
  return names.sort();
}

async function fileIn(handle: DirectoryHandle, name: string): Promise<FileHandle> {
  const file = await handle.getFileHandle(text('name', name)).catch(() => undefined);
  if (file) return file;
  throw new FormatError(`folder must have the file ${show(name)}: it is missing`, { file: handle.name });
}
