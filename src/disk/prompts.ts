// Prompts that models have read, on disk: one file a piece, named by its hash, in one directory that several models and processes may share. What
// was not used for longest is removed for others. Whoever has written an eighth of the limit lists the directory again: what other processes
// wrote counts, so that files are beyond the limit by an eighth for each of them, at most.

import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { attempt } from '../source/system.ts';
import { isAbsent } from './commit.ts';

const NAME = /^[0-9a-f]{64}\.rows$/;
const UNFINISHED = /^[0-9a-f-]{36}\.next$/;
/** Milliseconds after which a file that is not finished is nobody's. */
const ABANDONED = 3_600_000;
/** Listings of a directory while as many bytes are written as it may have. */
const LISTINGS = 8;

/**
 * Opens a directory, which is made where there is none.
 * @param limit bytes of all files
 * @param onFault called once, with the first error of a write
 * @throws {FileError} when it cannot be made or listed
 */
export async function openPromptDirectory(path: string, limit: number, onFault: (error: Error) => void) {
  await attempt('create', path, () => mkdir(path, { recursive: true }));
  const sizes = await attempt('read', path, () => sizesIn(path)); // the one used last is at the end
  let total = 0;
  let unseen = 0; // bytes that were written since the directory was listed
  for (const size of sizes.values()) total += size;
  let isFaulty = false;
  const fileOf = (name: string) => join(path, `${name}.rows`);

  function forget(name: string): void {
    total -= sizes.get(name) ?? 0;
    sizes.delete(name);
  }
  function use(name: string, size: number): void {
    forget(name);
    sizes.set(name, size);
    total += size;
  }
  async function remove(name: string): Promise<void> {
    forget(name);
    await rm(fileOf(name), { force: true });
  }

  // What others wrote counts as used now; what they removed is forgotten.
  async function listAgain(): Promise<void> {
    const bySize = await sizesIn(path);
    for (const name of [...sizes.keys()]) if (!bySize.has(name)) forget(name);
    for (const [name, size] of bySize) if (!sizes.has(name)) use(name, size);
    unseen = 0;
  }

  async function write(name: string, bytes: Uint8Array): Promise<void> {
    if (bytes.length > limit) return;
    const next = join(path, `${randomUUID()}.next`);
    try {
      if (unseen + bytes.length > limit / LISTINGS) await listAgain();
      unseen += bytes.length;
      while (total + bytes.length > limit) await remove(sizes.keys().next().value!);
      await writeFile(next, bytes);
      await rename(next, fileOf(name));
      use(name, bytes.length);
    } catch (error) {
      await rm(next, { force: true }).catch(() => {});
      if (!isFaulty) onFault(error as Error);
      isFaulty = true;
      throw error;
    }
  }

  return {
    /** The store of a model. @param identity tells it from others, and from itself after a change */
    of: (identity: string) => ({
      ...{ identity, remove, write },
      async has(name: string): Promise<boolean> {
        const size = sizes.get(name);
        if (size === undefined) return false;
        use(name, size);
        // So that the next process knows: another one may have removed it.
        const now = new Date();
        try {
          await utimes(fileOf(name), now, now);
          return true;
        } catch (error) {
          if (isAbsent(error)) forget(name);
          return !isAbsent(error);
        }
      },
      async read(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
        if (!sizes.has(name)) return undefined;
        try {
          return new Uint8Array(await readFile(fileOf(name)));
        } catch (error) {
          if (isAbsent(error)) forget(name);
          return undefined;
        }
      },
    }),
  };
}

/** Pieces of prompts on disk. */
export type PromptDirectory = Awaited<ReturnType<typeof openPromptDirectory>>;

// Names and sizes of what is there, by when it was used; what was never finished is removed.
async function sizesIn(path: string): Promise<Map<string, number>> {
  const snapshots: { name: string; size: number; used: number }[] = [];
  for (const file of await readdir(path)) {
    if (!NAME.test(file) && !UNFINISHED.test(file)) continue;
    const info = await stat(join(path, file)).catch(() => undefined); // another process may remove it
    if (!info?.isFile()) continue;
    if (NAME.test(file)) snapshots.push({ name: file.slice(0, -'.rows'.length), size: info.size, used: info.mtimeMs });
    else if (Date.now() - info.mtimeMs > ABANDONED) await rm(join(path, file), { force: true });
  }
  snapshots.sort((a, b) => a.used - b.used);
  return new Map(snapshots.map(({ name, size }) => [name, size]));
}
