// Where the command line gathers statistics: in <file>.partial, which each group of sequences writes anew as <file>.partial.next, until
// all sequences are in it and it gets its name.

import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError } from '../errors.ts';
import { createFile, type OpenFile, openFile } from '../source/file.ts';
import type { Sink } from '../source/source.ts';
import { attempt } from '../source/system.ts';
import { checkWritable, isThere, renameWhole } from './commit.ts';

interface GrowingFile {
  readonly name: string;
  open(): Promise<OpenFile | undefined>;
  create(): Promise<Sink>;
  /** Gives the complete file its name. @returns its bytes */
  commit(): Promise<number>;
  /** Whether there is something to go on from. */
  isBegun(): Promise<boolean>;
  close(): Promise<void>;
}

/**
 * A file that grows beside its name.
 * @param options.resume whether what an earlier run left is continued
 * @throws {FileError} when the file is there and `force` is not set, or is no regular file
 */
export async function growingFile(
  path: string,
  { resume = false, force = false }: { resume?: boolean | undefined; force?: boolean | undefined },
): Promise<GrowingFile> {
  const target = await checkWritable(path, { force });
  if (target === undefined) throw new FileError('write', path, undefined, 'it is not a regular file');
  const partial = `${target}.partial`;
  const next = `${partial}.next`;
  let current: OpenFile | undefined;
  const close = async () => {
    await current?.close();
    current = undefined;
  };
  if (!resume) await attempt('remove', partial, () => rm(partial, { force: true }));
  return {
    name: path,
    async open() {
      await close();
      if (await isThere(partial)) current = await openFile(partial);
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
          await renameWhole(next, partial);
        },
        async abort(reason) {
          await sink.abort(reason);
          await rm(next, { force: true }).catch(() => {}); // the reason is the one to tell
        },
      };
    },
    async commit() {
      await close();
      await checkWritable(path, { force }); // meanwhile another may have written it
      await renameWhole(partial, target);
      return (await attempt('read', target, () => stat(target))).size;
    },
    isBegun: () => isThere(partial),
    close,
  };
}
