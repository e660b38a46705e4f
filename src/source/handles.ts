// Regular files that are open to read: few handles for many files, bytes read exactly or ahead of time, and whether a file was changed.

import { closeSync, constants, fstatSync, openSync, read, readSync, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { bufferFrom, refuseKind } from '../check.ts';
import { closed, FileError } from '../errors.ts';
import { spanOf } from './given.ts';
import { attempt, attemptNow, CALL_LIMIT, HANDLE_LIMIT, REASONS } from './system.ts';

/** Bytes that are read ahead at a time. */
const AHEAD_BYTES = 1 << 20;

/**
 * Open handles by path, the least recently used first. One in use is never closed under its reader.
 * @throws {FileError} when a file that is opened again has another size
 */
export function handleCache(owner: string) {
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

/** Files that are read at once, by path, the least recently used first: HANDLE_LIMIT of them at most. */
export function descriptorCache(folder: string) {
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
    async fill(path: string, state: FileState, start: number, end: number, to: Uint8Array): Promise<number> {
      const { descriptor, ahead } = keptOf(path, state);
      return ahead.fill(descriptor, path, state.byteLength, start, end, to);
    },
    async close(): Promise<void> {
      isOpen = false;
      const last = [...kept.values()];
      kept.clear();
      await Promise.all(last.map(drop));
    },
  };
}

/** Reads of a file while the caller computes. */
interface ReadsAhead {
  /** For the system's cache alone. */
  read(descriptor: number, start: number, end: number): void;
  /** To a place of that size; @returns the bytes: all */
  fill(
    descriptor: number,
    path: string,
    byteLength: number,
    start: number,
    end: number,
    to: Uint8Array,
  ): Promise<number>;
  isReading(): boolean;
  /** Resolves when all are done: the descriptor may be closed then. */
  done(): Promise<void>;
}

/** They run on threads of the runtime, also while the caller's computes. What fails ahead is told by the read that wants the bytes. */
export function readsAhead(): ReadsAhead {
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
    async fill(descriptor, path, byteLength, start, last, to) {
      checkPlace(path, byteLength, start, last, to);
      reading++;
      try {
        for (let filled = 0; filled < to.byteLength; ) {
          const length = Math.min(to.byteLength - filled, CALL_LIMIT);
          const count = await attempt('read', path, () => readLater(descriptor, to, filled, length, start + filled));
          if (count === 0) throw shrunk(path, byteLength, start + filled);
          filled += count;
        }
      } finally {
        end();
      }
      return to.byteLength;
    },
    isReading: () => reading > 0,
    done: () => new Promise((resolve) => (reading > 0 ? waiting.push(resolve) : resolve())),
  };
}

function readLater(fd: number, to: Uint8Array, offset: number, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) =>
    read(fd, to, offset, length, position, (error, count) => (error ? reject(error) : resolve(count))),
  );
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

/** What tells whether a file was written to: size and date. */
export interface FileState {
  /** Size in bytes. */
  byteLength: number;
  /** Milliseconds since 1970 of the last change. */
  modified: number;
}

/** A file that was only read is not the worse for a close that fails. */
export function closeRead(handle: FileHandle): Promise<void> {
  return handle.close().catch(() => {});
}

/** @throws {FileError} when the file was written to since then */
export async function checkUnchanged(path: string, { byteLength, modified }: FileState): Promise<void> {
  const now = await attempt('read', path, () => statRegular(path));
  if (now.byteLength === byteLength && now.modified === modified) return;
  throw new FileError('use', path, undefined, 'it was changed while it was read');
}

/** Opens a file to read. @throws {FileError} when it is no regular file */
export async function openRegular(path: string): Promise<FileState & { handle: FileHandle }> {
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

/** Size and date of a file. @throws {FileError} when it is no regular file */
export async function statRegular(path: string): Promise<FileState> {
  const info = await stat(path);
  if (info.isDirectory()) throw new FileError('read', path, 'EISDIR', REASONS.EISDIR);
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

/** The bytes from `start` to `end`, in `spare` if it has that size. @throws {FileError} when the file has shrunk */
export async function readExactly(
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

/** As `readExactly`, while the caller waits. */
export function readAtOnce(
  descriptor: number,
  path: string,
  byteLength: number,
  start: number,
  end: number,
  spare?: ArrayBuffer,
): ArrayBuffer {
  spanOf(start, end, byteLength, path);
  const bytes = bufferOf(end - start, spare);
  readInto(descriptor, path, byteLength, start, end, bytes);
  return bytes.buffer;
}

/**
 * As `readAtOnce`, to a place of that size in memory that may be shared.
 * @returns the bytes: all
 * @throws {RangeError} when `to` has another size
 */
export function readInto(
  descriptor: number,
  path: string,
  byteLength: number,
  start: number,
  end: number,
  bytes: Uint8Array,
): number {
  checkPlace(path, byteLength, start, end, bytes);
  for (let filled = 0; filled < bytes.byteLength; ) {
    const length = Math.min(bytes.byteLength - filled, CALL_LIMIT);
    const read = attemptNow('read', path, () => readSync(descriptor, bytes, filled, length, start + filled));
    if (read === 0) throw shrunk(path, byteLength, start + filled);
    filled += read;
  }
  return bytes.byteLength;
}

function checkPlace(path: string, byteLength: number, start: number, end: number, to: Uint8Array): void {
  spanOf(start, end, byteLength, path);
  if (to.byteLength !== end - start) throw new RangeError(`to must have ${end - start} bytes: it has ${to.byteLength}`);
}

function shrunk(path: string, byteLength: number, now: number): FileError {
  return new FileError('read', path, undefined, `it had ${byteLength} bytes and has shrunk to ${now}`);
}
