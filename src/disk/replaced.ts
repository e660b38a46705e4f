// A file that is replaced whole: the next is written beside it, as <file>.next, and takes its place when it is done.

import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createFile, type OpenFile, openFile } from '../source/file.ts';
import type { Sink } from '../source/source.ts';
import { attempt } from '../source/system.ts';
import { isThere, renameWhole } from './commit.ts';

export interface Replaced {
  readonly name: string;
  open(): Promise<OpenFile | undefined>;
  create(): Promise<Sink>;
  isThere(): Promise<boolean>;
  remove(): Promise<void>;
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
