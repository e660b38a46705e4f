// Files that say which process is at work on others: <path> holds its number.

import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError } from '../errors.ts';
import { attempt } from '../source/system.ts';
import { isAbsent, isAlive } from './commit.ts';

/**
 * Lets one process at a time do what `path` is the lock of; a lock of a process that ended is taken over.
 * @param does what the other process does to it, for the message @returns what lets others
 * @throws {FileError} when another process holds it
 */
export async function lock(path: string, does: string): Promise<() => Promise<void>> {
  await attempt('create', dirname(path), () => mkdir(dirname(path), { recursive: true }));
  for (;;) {
    try {
      const handle = await open(path, 'wx');
      await handle.writeFile(`${process.pid}\n`);
      await handle.close();
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
        return attempt('create', path, () => Promise.reject(error));
    }
    const owner = Number(
      await readFile(path, 'utf8').catch((error) => (isAbsent(error) ? '0' : Promise.reject(error))),
    );
    if (owner > 0 && owner !== process.pid && isAlive(owner))
      throw new FileError(
        'write',
        path,
        undefined,
        `process ${owner} ${does} it; if that is no process of higgs, remove the file`,
      );
    await attempt('remove', path, () => rm(path, { force: true }));
  }
}
