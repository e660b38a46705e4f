// Files as sources and sinks, for Node and what follows its `node:fs`: Deno, Bun.
// Reads and writes carry their position and are repeated until every byte is through; a system error becomes one
// sentence with the path.

import { closeSync, constants, fstatSync, openSync, read, readSync, type Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { bufferFrom, bytes as bytesOf, flag, integer, list, options, type Reader, refuseKind, text } from '../check.ts';
import { closed, FileError, FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';

export { FileError, fileError };

import { spanOf } from './given.ts';
import type { Folder, ResumableFolder, Sink, Source } from './source.ts';
import { attempt, attemptNow, fileError, HANDLE_LIMIT, REASONS } from './system.ts';

/** Bytes in one system call: Node and Linux refuse or cut calls of 2 GB and more. */
const CALL_LIMIT = 1 << 30;

/** Bytes after which what was written is sent on to the disk, while more is made: else all of it waits for the end. */
const FLUSH_BYTES = 64 << 20;

/** Bytes that are read ahead at a time. */
const AHEAD_BYTES = 1 << 20;

const appending = options<{ append?: number }>({ append: integer(0) });
const resuming = options<{ resume?: boolean }>({ resume: flag });

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
        throw new FileError('write', path, undefined, `it has ${size} bytes, ${append} were to be kept`);
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
type OpenFolder = Folder & { unchanged(): Promise<void>; close(): Promise<void> };

/**
 * A directory as a folder: its regular files, and symbolic links to such (the caches of Hugging Face are links).
 * Sources stay usable until `close`, with at most HANDLE_LIMIT idle handles among them.
 * @throws {FileError} when it cannot be read or is not a directory
 * @throws {StateError} of the sources, when it is closed
 * @example
 * const checkpoint = await higgs.open(await openFolder('Llama-3.2-1B'));
 */
export async function openFolder(path: string): Promise<OpenFolder> {
  return folderAt(pathOf('path', path), handleCache(`folder ${path}`));
}

/**
 * Many directories, with at most HANDLE_LIMIT idle handles among all: systems give a process few.
 * @returns the folders; closing one closes all
 * @throws {FileError} when one cannot be read or is not a directory
 */
export async function openFolders(paths: readonly string[]): Promise<OpenFolder[]> {
  const cache = handleCache('folders');
  return Promise.all(pathsOf('paths', paths).map((path) => folderAt(path, cache)));
}

async function folderAt(path: string, cache: ReturnType<typeof handleCache>): Promise<OpenFolder> {
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
  if (holds.length > 0 && !resume) throw new FileError('write to', path, 'ENOTEMPTY', REASONS.ENOTEMPTY!);
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

// Open handles by path, the least recently used first. One in use is never closed under its reader.
function handleCache(owner: string) {
  interface Kept {
    handle: Promise<FileHandle>;
    users: number;
  }
  const kept = new Map<string, Kept>();
  const drop = (path: string, { handle }: Kept): Promise<void> => {
    kept.delete(path);
    return handle.then(closeRead, () => {});
  };
  let isOpen = true;

  const openSame = async (path: string, byteLength: number): Promise<FileHandle> => {
    const opened = await openRegular(path);
    if (opened.byteLength === byteLength) return opened.handle;
    await opened.handle.close();
    throw new FileError('read', path, undefined, `it had ${byteLength} bytes and now has ${opened.byteLength}`);
  };

  return {
    async use<T>(path: string, byteLength: number, read: (handle: FileHandle) => Promise<T>): Promise<T> {
      if (!isOpen) throw closed(owner);
      let entry = kept.get(path);
      if (entry === undefined) entry = { handle: openSame(path, byteLength), users: 0 };
      else kept.delete(path);
      kept.set(path, entry);
      entry.users++;
      try {
        return await read(await entry.handle);
      } catch (error) {
        if (kept.get(path) === entry && entry.users === 1) await drop(path, entry);
        throw error;
      } finally {
        entry.users--;
        await trim();
      }
    },
    async close(): Promise<void> {
      isOpen = false;
      await trim();
    },
  };

  async function trim(): Promise<void> {
    for (const [path, entry] of kept) {
      if (isOpen && kept.size <= HANDLE_LIMIT) return;
      if (entry.users === 0) await drop(path, entry);
    }
  }
}

// Files that are read at once, by path, the least recently used first: HANDLE_LIMIT of them at most.
function descriptorCache(folder: string) {
  interface Kept {
    readonly descriptor: number;
    readonly ahead: ReadsAhead;
  }
  const kept = new Map<string, Kept>();
  let isOpen = true;
  const drop = async ({ descriptor, ahead }: Kept): Promise<void> => {
    if (ahead.isReading()) await ahead.done();
    closeSync(descriptor);
  };
  const keptOf = (path: string, state: FileState): Kept => {
    if (!isOpen) throw closed(`folder ${folder}`);
    let entry = kept.get(path);
    kept.delete(path);
    entry ??= { descriptor: attemptNow('read', path, () => openUnchanged(path, state)), ahead: readsAhead() };
    kept.set(path, entry);
    for (const [other, last] of kept) {
      if (kept.size <= HANDLE_LIMIT) break;
      kept.delete(other);
      void drop(last);
    }
    return entry;
  };
  return {
    of: (path: string, state: FileState): number => keptOf(path, state).descriptor,
    readAhead(path: string, state: FileState, start: number, end: number): void {
      let entry: Kept;
      try {
        entry = keptOf(path, state);
      } catch {
        return; // told by the read that wants the bytes
      }
      entry.ahead.read(entry.descriptor, start, end);
    },
    async close(): Promise<void> {
      isOpen = false;
      const last = [...kept.values()];
      kept.clear();
      await Promise.all(last.map(drop));
    },
  };
}

/** Reads of a file for the system's cache alone. */
interface ReadsAhead {
  read(descriptor: number, start: number, end: number): void;
  isReading(): boolean;
  /** Resolves when all are done: the descriptor may be closed then. */
  done(): Promise<void>;
}

// They run on threads of the runtime, also while the caller's computes. What fails is told by the read that wants the bytes.
function readsAhead(): ReadsAhead {
  let reading = 0;
  let waiting: (() => void)[] = [];
  const end = () => {
    if (--reading > 0) return;
    for (const resolve of waiting) resolve();
    waiting = [];
  };
  return {
    read(descriptor, start, last) {
      for (let at = start; at < last; at += AHEAD_BYTES) {
        reading++;
        read(descriptor, nowhere(), 0, Math.min(AHEAD_BYTES, last - at), at, end);
      }
    },
    isReading: () => reading > 0,
    done: () => new Promise((resolve) => (reading > 0 ? waiting.push(resolve) : resolve())),
  };
}

// Where what is read ahead goes: nobody reads it there.
let bytes: Uint8Array<ArrayBuffer> | undefined;
function nowhere(): Uint8Array<ArrayBuffer> {
  bytes ??= new Uint8Array(AHEAD_BYTES);
  return bytes;
}

function openUnchanged(path: string, { byteLength, modified }: FileState): number {
  const descriptor = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  const { size, mtimeMs } = fstatSync(descriptor);
  if (size === byteLength && mtimeMs === modified) return descriptor;
  closeSync(descriptor);
  throw new FileError('use', path, undefined, 'it was changed since it was opened');
}

// What tells whether a file was written to: size and date.
interface FileState {
  byteLength: number;
  modified: number;
}

// A file that was only read is not the worse for a close that fails.
function closeRead(handle: FileHandle): Promise<void> {
  return handle.close().catch(() => {});
}

async function checkUnchanged(path: string, { byteLength, modified }: FileState): Promise<void> {
  const now = await attempt('read', path, () => statRegular(path));
  if (now.byteLength === byteLength && now.modified === modified) return;
  throw new FileError('use', path, undefined, 'it was changed while it was read');
}

async function openRegular(path: string): Promise<FileState & { handle: FileHandle }> {
  return attempt('read', path, async () => {
    await statRegular(path); // before `open`: that of a pipe would wait for a writer
    const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)); // it may have become a pipe
    try {
      const { size, mtimeMs } = await handle.stat();
      return { handle, byteLength: size, modified: mtimeMs };
    } catch (error) {
      await handle.close();
      throw error;
    }
  });
}

async function statRegular(path: string): Promise<FileState> {
  const info = await stat(path);
  if (info.isDirectory()) throw new FileError('read', path, 'EISDIR', REASONS.EISDIR!);
  if (!info.isFile()) throw new FileError('read', path, undefined, `it is ${kindOf(info)}, not a regular file`);
  return { byteLength: info.size, modified: info.mtimeMs };
}

function kindOf(info: Stats): string {
  if (info.isFIFO()) return 'a pipe';
  if (info.isSocket()) return 'a socket';
  return info.isCharacterDevice() || info.isBlockDevice() ? 'a device' : 'something else';
}

// What is filled: the spare one, if it has that size.
function bufferOf(byteLength: number, spare: ArrayBuffer | undefined): Uint8Array<ArrayBuffer> {
  if (spare !== undefined && !bufferFrom('spare', spare)) refuseKind('spare', 'an ArrayBuffer', spare);
  return new Uint8Array(spare?.byteLength === byteLength ? spare : new ArrayBuffer(byteLength));
}

async function readExactly(
  handle: FileHandle,
  path: string,
  byteLength: number,
  start: number,
  end: number,
  spare?: ArrayBuffer,
): Promise<ArrayBuffer> {
  spanOf(start, end, byteLength, path);
  const bytes = bufferOf(end - start, spare);
  await attempt('read', path, async () => {
    for (let filled = 0; filled < bytes.byteLength; ) {
      const length = Math.min(bytes.byteLength - filled, CALL_LIMIT);
      const { bytesRead } = await handle.read(bytes, filled, length, start + filled);
      if (bytesRead === 0) throw shrunk(path, byteLength, start + filled);
      filled += bytesRead;
    }
  });
  return bytes.buffer;
}

function readAtOnce(
  descriptor: number,
  path: string,
  byteLength: number,
  start: number,
  end: number,
  spare?: ArrayBuffer,
): ArrayBuffer {
  spanOf(start, end, byteLength, path);
  const bytes = bufferOf(end - start, spare);
  for (let filled = 0; filled < bytes.byteLength; ) {
    const length = Math.min(bytes.byteLength - filled, CALL_LIMIT);
    const read = attemptNow('read', path, () => readSync(descriptor, bytes, filled, length, start + filled));
    if (read === 0) throw shrunk(path, byteLength, start + filled);
    filled += read;
  }
  return bytes.buffer;
}

function shrunk(path: string, byteLength: number, now: number): FileError {
  return new FileError('read', path, undefined, `it had ${byteLength} bytes and has shrunk to ${now}`);
}
