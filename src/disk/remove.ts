// Removes models from this machine: from the hub's cache, or what a run of ours wrote.

import { realpath, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FileError } from '../errors.ts';
import { excerpt } from '../excerpt.ts';
import { attempt } from '../source/system.ts';
import { bytesBelow, isOwnDirectory, namesIn, orAbsent, refsBelow } from './cache.ts';
import { isOurs } from './output.ts';

/** What `removeCached` removed, or would. */
export interface Removed {
  /** The files and directories. */
  readonly paths: readonly string[];
  /** Their size. */
  readonly bytes: number;
}

/**
 * Removes a model from the hub's cache; with a commit, its snapshot and what no other needs.
 * @param isDry tells what would be removed, and removes nothing
 */
export async function removeCached(path: string, commit: string | undefined, isDry: boolean): Promise<Removed> {
  const commits = await namesIn(join(path, 'snapshots'));
  if (commit === undefined || commits.every((other) => other === commit)) return removeAll(path, isDry);
  const needed = new Set<string>();
  for (const other of commits) if (other !== commit) await bytesBelow(join(path, 'snapshots', other), needed);
  const removable = new Set<string>();
  await bytesBelow(join(path, 'snapshots', commit), removable);
  const refs = await refsBelow(join(path, 'refs'));
  const blobs = await realpath(join(path, 'blobs')).catch(() => join(path, 'blobs'));
  // Links first: a blob without a link is waste, a link without a blob a fault.
  const paths = [
    join(path, 'snapshots', commit),
    ...[...refs].filter(([, of]) => of === commit).map(([ref]) => join(path, 'refs', ref)),
    ...[...removable].filter((blob) => !needed.has(blob) && dirname(blob) === blobs),
  ];
  let bytes = 0;
  for (const blob of removable) if (!needed.has(blob)) bytes += (await orAbsent(stat(blob)))?.size ?? 0;
  if (!isDry) for (const each of paths) await attempt('remove', each, () => rm(each, { recursive: true, force: true }));
  return { paths, bytes };
}

/**
 * Removes a quantized model's directory.
 * @throws {FileError} when it holds something that no run of ours wrote
 */
export async function removeQuantized(path: string, isDry: boolean): Promise<Removed> {
  for (const name of await namesIn(path)) {
    if (!isOurs(name) || (await isOwnDirectory(join(path, name))))
      throw new FileError('remove', path, undefined, `it holds ${excerpt(name)}, which higgs did not write`);
  }
  return removeAll(path, isDry);
}

async function removeAll(path: string, isDry: boolean): Promise<Removed> {
  const bytes = await bytesBelow(path, new Set());
  if (!isDry) await attempt('remove', path, () => rm(path, { recursive: true, force: true }));
  return { paths: [path], bytes };
}
