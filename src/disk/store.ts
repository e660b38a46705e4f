// A directory in which small texts are kept by name: sensitivities, beside the model that they are of.

import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { attempt } from '../source/system.ts';
import { isAbsent, writeWhole } from './commit.ts';
import { readText } from './files.ts';
import { type Replaced, replacedFile } from './replaced.ts';

/** The directory as a `Store` of the library. What is there and is no file counts as nothing: writing tells of it. */
export function directoryStore(path: string) {
  const files = new Map<string, Replaced>();
  return {
    name: path,
    async read(name: string): Promise<string | undefined> {
      const file = join(path, name);
      const isFile = await attempt('read', file, () =>
        stat(file).then(
          (found) => found.isFile(),
          (error) => {
            if (isAbsent(error)) return false;
            throw error;
          },
        ),
      );
      return isFile ? readText(file) : undefined;
    },
    write: (name: string, content: string) => writeWhole(join(path, name), content, { force: true }),
    remove: (name: string) => files.get(name)?.remove() ?? rm(join(path, name), { force: true }),
    file(name: string): Replaced {
      const file = files.get(name) ?? replacedFile(join(path, name));
      files.set(name, file);
      return file;
    },
    /** Closes files that are open. */
    async close(): Promise<void> {
      for (const file of files.values()) await file.close();
    },
  };
}
