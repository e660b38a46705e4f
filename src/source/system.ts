// Errors of node:fs as one sentence: what was tried, on which path, and why it failed.

import { types } from 'node:util';
import { text } from '../check.ts';
import { FileError } from '../errors.ts';

/** Bytes in one system call: Node and Linux refuse or cut calls of 2 GB and more. */
export const CALL_LIMIT = 1 << 30;

/** Handles that a folder keeps open: checkpoints have hundreds of shards, systems allow as few as 256 handles. */
export const HANDLE_LIMIT = 16;

/** What codes of the system mean. */
export const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EBUSY: 'the file is in use',
  EDQUOT: 'disk quota exceeded',
  EEXIST: 'it exists already',
  EFBIG: 'too large for the file system',
  EIO: 'input/output error',
  EISDIR: 'it is a directory',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
  ENFILE: 'too many open files',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'a part of the path is not a directory',
  ENOTEMPTY: 'the directory is not empty',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
  ETXTBSY: 'the file is being executed',
  EXDEV: 'on another file system',
};

/**
 * Turns an error of `node:fs` into a FileError; any other comes back as it is.
 * @param action what was tried: `read`, `write`, `rename`
 * @throws {TypeError} when action or path is no string
 */
export function fileError(action: string, path: string, error: unknown): unknown {
  text('action', action);
  text('path', path);
  if (!types.isNativeError(error) || error instanceof FileError) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) return error;
  // `ENOSPC: no space left on device, write`
  return new FileError(action, path, code, REASONS[code] ?? /: ([^,]+)/.exec(error.message)?.[1] ?? 'system error');
}

/** Runs calls of `node:fs`; an error of the system becomes a FileError. */
export async function attempt<T>(action: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw fileError(action, path, error);
  }
}

/** Runs a call of `node:fs` that does not wait; an error of the system becomes a FileError. */
export function attemptNow<T>(action: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw fileError(action, path, error);
  }
}
