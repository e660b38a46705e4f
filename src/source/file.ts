// Files as sources and sinks, for Node and what follows its `node:fs`: Deno, Bun.
// Reads and writes carry their position and are repeated until every byte is through; a system error becomes one
// sentence with the path.

import { lstat, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOf, flag, integer, list, optionsOf, type Reader, text } from '../check.ts';
import { closed, FileError, FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';

export { FileError, fileError };

import {
  checkUnchanged,
  closeRead,
  descriptorCache,
  type FileState,
  handleCache,
  openRegular,
  readAtOnce,
  readExactly,
  readInto,
  readsAhead,
  statRegular,
} from './handles.ts';
import type { Folder, ResumableFolder, Sink, Source } from './source.ts';
import { attempt, CALL_LIMIT, fileError, REASONS } from './system.ts';

/** Bytes after which what was written is sent on to the disk, while more is made: else all of it waits for the end. */
const FLUSH_BYTES = 64 << 20;

const appending = optionsOf<{ append?: number }>({ append: integer(0) });
const resuming = optionsOf<{ resume?: boolean }>({ resume: flag });

/** Longest path: no system takes more. */
const PATH_LIMIT = 32767;

/** Most directories that are opened together. */
const FOLDERS_LIMIT = 1 << 16;

const pathOf: Reader<string> = (subject, value) => {
  const path = text(subject, value);
  if (path.includes('\0')) throw new RangeError(`${subject} must have no NUL: got ${show(path)}`);
  if (path.length > PATH_LIMIT)
    throw new RangeError(`${subject} must have at most ${PATH_LIMIT} characters: got ${path.length}`);
  return path;
};
const pathsOf = list(pathOf, FOLDERS_LIMIT);

/** Longest name of a file: twice what systems take. */
const NAME_LIMIT = 512;

// The name of a file in a folder: no path, which could lead out of it.
const isPlainName = (name: string) =>
  name !== '' && name.length <= NAME_LIMIT && name !== '.' && name !== '..' && !/[/\\\0]/.test(name);
const nameOf: Reader<string> = (subject, value) => {
  const name = text(subject, value);
  if (!isPlainName(name)) throw new RangeError(`${subject} must be that of a file, not a path: got ${show(name)}`);
  return name;
};

/** A file that is open to read. */
export interface OpenFile extends Source {
  /** Whether there are bytes behind `byteLength`: it grows, or is of a kind without a size, as those of /proc. */
  hasMore(): Promise<boolean>;
  /** @throws {FileError} when it was written to since it was opened */
  unchanged(): Promise<void>;
  /** Closes the file. */
  close(): Promise<void>;
}

/**
 * Opens a file to read.
 * @example
 * const file = await openFile('model.safetensors');
 * const header = await file.slice(0, 8);
 * @throws {FileError} when it cannot be read or is not a regular file; of `slice`, too when the file has shrunk
 * @throws {StateError} of `slice`, when it is closed
 */
export async function openFile(path: string): Promise<OpenFile> {
  pathOf('path', path);
  const { handle, ...state } = await openRegular(path);
  const { byteLength } = state;
  const ahead = readsAhead();
  let isOpen = true;
  return {
    byteLength,
    slice: async (start, end, spare) => {
      if (!isOpen) throw closed(`file ${path}`);
      return readExactly(handle, path, byteLength, start, end, spare);
    },
    sliceSync: (start, end, spare) => {
      if (!isOpen) throw closed(`file ${path}`);
      return readAtOnce(handle.fd, path, byteLength, start, end, spare);
    },
    sliceInto: (start, end, to) => {
      if (!isOpen) throw closed(`file ${path}`);
      return readInto(handle.fd, path, byteLength, start, end, to);
    },
    sliceIntoLater: async (start, end, to) => {
      if (!isOpen) throw closed(`file ${path}`);
      return ahead.fill(handle.fd, path, byteLength, start, end, to);
    },
    prefetch: (start, end) => {
      if (isOpen) ahead.read(handle.fd, start, end);
    },
    hasMore: () =>
      attempt('read', path, async () => (await handle.read(new Uint8Array(1), 0, 1, byteLength)).bytesRead > 0),
    unchanged: () => checkUnchanged(path, state),
    close: async () => {
      isOpen = false;
      await ahead.done();
      await closeRead(handle);
    },
  };
}

/**
 * Creates a file to write, or goes on with one. `close` returns once the bytes are on the disk; `abort` keeps what was
 * written, for a later `append`. After a failed write every other fails the same way.
 * @param append goes on at this byte of an existing file and drops what follows; if left out, the file must be new
 * @throws {FileError} when it cannot be written, exists without `append`, or is shorter than `append`
 * @throws {StateError} of `write`, when it is closed
 * @example
 * const sink = await createFile('out.bin');
 * await sink.write(new Uint8Array([1, 2, 3]));
 * await sink.close();
 */
export async function createFile(path: string, given: { append?: number } = {}): Promise<Sink> {
  pathOf('path', path);
  const { append } = appending('options', given);
  const handle = await attempt('write', path, () => open(path, append === undefined ? 'wx' : 'r+'));
  let position = append ?? 0;
  if (append !== undefined) {
    try {
      const { size } = await handle.stat();
      if (size < append)
        throw new FileError('write', path, undefined, `it must still have its first ${append} bytes: it has ${size}`);
      await handle.truncate(append);
    } catch (error) {
      await handle.close();
      throw fileError('write', path, error);
    }
  }

  const writeAll = async (bytes: Uint8Array): Promise<void> => {
    for (let written = 0; written < bytes.byteLength; ) {
      const length = Math.min(bytes.byteLength - written, CALL_LIMIT);
      const { bytesWritten } = await handle.write(bytes, written, length, position);
      if (bytesWritten === 0) throw new FileError('write', path, undefined, 'the system takes no more bytes');
      written += bytesWritten;
      position += bytesWritten;
    }
    await flush();
  };

  // One flush at a time. A failed one is told by the next write or by `close`: a later sync may succeed all the same.
  let flushed = position;
  let flushing: Promise<void> | undefined;
  let flushError: unknown;
  const flush = async (): Promise<void> => {
    if (flushError) throw flushError;
    if (flushing || position - flushed < FLUSH_BYTES) return;
    flushed = position;
    flushing = handle
      .datasync()
      .catch((error) => {
        flushError = error;
      })
      .finally(() => {
        flushing = undefined;
      });
  };

  let isOpen = true;
  let last: Promise<void> = Promise.resolve();
  return {
    write: async (bytes) => {
      if (!isOpen) throw closed(`file ${path}`);
      const given = bytesOf('bytes', bytes);
      last = last.then(() => attempt('write', path, () => writeAll(given)));
      return last;
    },
    close: async () => {
      if (!isOpen) return;
      isOpen = false;
      try {
        await last;
        await flushing;
        await attempt('write', path, async () => {
          if (flushError) throw flushError;
          await handle.sync();
        });
      } finally {
        await attempt('write', path, () => handle.close());
      }
    },
    abort: async () => {
      if (!isOpen) return;
      isOpen = false;
      await last.catch(() => {});
      await flushing;
      await handle.close();
    },
  };
}

/** A directory that is open to read. */
type GuardedFolder = Folder & { unchanged(): Promise<void>; close(): Promise<void> };

/**
 * A directory as a folder: its regular files, and symbolic links to such (the caches of Hugging Face are links).
 * Sources stay usable until `close`, with at most HANDLE_LIMIT idle handles among them.
 * @throws {FileError} when it cannot be read or is not a directory
 * @throws {StateError} of the sources, when it is closed
 * @example
 * const checkpoint = await higgs.open(await openFolder('Llama-3.2-1B'));
 */
export async function openFolder(path: string): Promise<GuardedFolder> {
  return folderAt(pathOf('path', path), handleCache(`folder ${path}`));
}

/**
 * Many directories, with at most HANDLE_LIMIT idle handles among all: systems give a process few.
 * @returns the folders; closing one closes all
 * @throws {FileError} when one cannot be read or is not a directory
 * @example
 * const parts = await openFolders(['part-1', 'part-2']);
 * await higgs.mergeParts(parts, await createFolder('whole'));
 */
export async function openFolders(paths: readonly string[]): Promise<GuardedFolder[]> {
  const cache = handleCache('folders');
  return Promise.all(pathsOf('paths', paths).map((path) => folderAt(path, cache)));
}

async function folderAt(path: string, cache: ReturnType<typeof handleCache>): Promise<GuardedFolder> {
  const info = await attempt('read', path, () => stat(path));
  if (!info.isDirectory()) throw new FileError('read', path, undefined, 'it is not a directory');
  const descriptors = descriptorCache(path);
  const opened = new Map<string, FileState>();
  return {
    name: path,
    list: () => attempt('read', path, () => listFiles(path)),
    open: async (name) => {
      const missing = `folder must have the file ${show(name)}: it is missing`;
      if (!isPlainName(text('name', name))) throw new FormatError(missing, { file: path });
      const file = join(path, name);
      const isThere = await lstat(file).catch((error) => error.code !== 'ENOENT');
      if (!isThere) throw new FormatError(missing, { file: path });
      const state = await attempt('read', file, () => statRegular(file));
      if (!opened.has(file)) opened.set(file, state);
      const { byteLength } = state;
      return {
        byteLength,
        slice: (start, end, spare) =>
          cache.use(file, byteLength, (handle) => readExactly(handle, file, byteLength, start, end, spare)),
        sliceSync: (start, end, spare) => readAtOnce(descriptors.of(file, state), file, byteLength, start, end, spare),
        sliceInto: (start, end, to) => readInto(descriptors.of(file, state), file, byteLength, start, end, to),
        sliceIntoLater: (start, end, to) => descriptors.fill(file, state, start, end, to),
        prefetch: (start, end) => descriptors.readAhead(file, state, start, end),
      };
    },
    unchanged: async () => {
      for (const [file, state] of opened) await checkUnchanged(file, state);
    },
    close: async () => {
      await Promise.all([descriptors.close(), cache.close()]);
    },
  };
}

/**
 * A directory to write to, made if it is not there.
 * @param resume whether it may hold files already, which `create` then replaces
 * @throws {FileError} when it cannot be made, or holds something and `resume` is not set
 * @example
 * await checkpoint.quantize(await createFolder('Llama-3.2-1B-higgs'));
 */
export async function createFolder(
  path: string,
  given: { resume?: boolean } = {},
): Promise<ResumableFolder & { close(): Promise<void> }> {
  pathOf('path', path);
  const { resume = false } = resuming('options', given);
  await attempt('create', path, () => mkdir(path, { recursive: true }));
  const { unchanged: _, ...folder } = await openFolder(path); // it is written to
  const holds = await attempt('read', path, () => readdir(path));
  if (holds.length > 0 && !resume) throw new FileError('write to', path, 'ENOTEMPTY', REASONS.ENOTEMPTY);
  const pathTo = (name: string) => join(path, nameOf('name', name));
  const extend = async (name: string, byteLength: number) =>
    createFile(pathTo(name), { append: integer(0)('byteLength', byteLength) });
  return {
    ...folder,
    create: async (name) => ((await folder.list()).includes(name) ? extend(name, 0) : createFile(pathTo(name))),
    extend,
    remove: async (name) => {
      const file = pathTo(name);
      await attempt('remove', file, () => rm(file, { force: true }));
    },
  };
}

async function listFiles(path: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const isFile = entry.isSymbolicLink()
      ? await stat(join(path, entry.name)).then(
          (target) => target.isFile(),
          () => false,
        )
      : entry.isFile();
    if (isFile) names.push(entry.name);
  }
  return names.sort();
}
