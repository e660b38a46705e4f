// A directory in which small texts are kept by name: sensitivities, beside the model that they are of.

import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { attempt } from '../source/system.ts';
import { isAbsent, writeAtomically } from './commit.ts';
import { readTextFile } from './files.ts';
import { type Replaced, replacedFile } from './replaced.ts';

/** The directory as a `Store` of the library, made when something is to be kept. What is there and is no file counts as nothing: writing tells of it. */
export function directoryStore(path: string) {
  const files = new Map<string, Replaced>();
  const make = () => attempt('create', path, () => mkdir(path, { recursive: true }));
  return {
    name: path,
    async read(name: string): Promise<string | undefined> {
      const file = join(path, name);
      const isFile = await attempt('read', file, () =>
        stat(file).then(
          (stats) => stats.isFile(),
          (error) => {
            if (isAbsent(error)) return false;
            throw error;
          },
        ),
      );
      return isFile ? readTextFile(file) : undefined;
    },
    async write(name: string, content: string): Promise<void> {
      await make();
      await writeAtomically(join(path, name), content, { force: true });
    },
    remove: (name: string) => files.get(name)?.remove() ?? rm(join(path, name), { force: true }),
    file(name: string): Replaced {
      const cached = files.get(name);
      if (cached) return cached;
      const file = replacedFile(join(path, name));
      const recorded = { ...file, create: () => make().then(() => file.create()) };
      files.set(name, recorded);
      return recorded;
    },
    /** Closes files that are open. */
    async close(): Promise<void> {
      for (const file of files.values()) await file.close();
    },
  };
}
