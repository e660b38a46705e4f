// Where the command line gathers statistics: in <file>.partial, which each group of sequences writes anew as <file>.partial.next, until
// all sequences are in it and it gets its name.

import { rm, stat } from 'node:fs/promises';
import { FileError } from '../errors.ts';
import { attempt } from '../source/system.ts';
import { checkWritable, renameWhole } from './commit.ts';
import { type Replaced, replacedFile } from './replaced.ts';

interface GrowingFile extends Omit<Replaced, 'remove'> {
  /** Gives the complete file its name. @returns its bytes */
  commit(): Promise<number>;
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
  if (!resume) await attempt('remove', partial, () => rm(partial, { force: true }));
  const file = replacedFile(partial, path);
  return {
    ...file,
    async commit() {
      await file.close();
      await checkWritable(path, { force }); // meanwhile another may have written it
      await renameWhole(partial, target);
      return (await attempt('read', target, () => stat(target))).size;
    },
  };
}
