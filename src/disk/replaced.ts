// A file that is replaced whole: the next is written beside it, as <file>.next, and takes its place when it is done.

import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createFile, type OpenFile, openFile } from '../source/file.ts';
import type { Sink } from '../source/source.ts';
import { attempt } from '../source/system.ts';
import { isThere, renameWhole } from './commit.ts';

/** A file that is written beside its place and then put there, so that a reader finds the old one or the new one. */
export interface Replaced {
  /** The file's name. */
  readonly name: string;
  /** The file as it is; undefined where there is none. */
  open(): Promise<OpenFile | undefined>;
  /** Writes a new one; it takes the place when it is closed. */
  create(): Promise<Sink>;
  /** Whether there is one. */
  isThere(): Promise<boolean>;
  /** Removes it, if there is one. */
  remove(): Promise<void>;
  /** Frees what it holds. */
  close(): Promise<void>;
}

/** @param name for messages; the path if left out */
export function replacedFile(path: string, name = path): Replaced {
  const next = `${path}.next`;
  let current: OpenFile | undefined;
  const close = async () => {
    await current?.close();
    current = undefined;
  };
  return {
    name,
    async open() {
      await close();
      if (await isThere(path)) current = await openFile(path);
      return current;
    },
    async create() {
      await attempt('remove', next, () => rm(next, { force: true }));
      await attempt('create', dirname(next), () => mkdir(dirname(next), { recursive: true }));
      const sink = await createFile(next);
      return {
        write: sink.write,
        async close() {
          await sink.close();
          await close();
          await renameWhole(next, path);
        },
        async abort(reason) {
          await sink.abort(reason);
          await rm(next, { force: true }).catch(() => {}); // the reason is the one to tell
        },
      };
    },
    isThere: () => isThere(path),
    async remove() {
      await close();
      for (const file of [next, path]) await attempt('remove', file, () => rm(file, { force: true }));
    },
    close,
  };
}
