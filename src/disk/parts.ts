// Where parts are written: <out>.parts/part-3-of-8.5e1f00aa/, one directory an attempt, so that a task which runs twice at once writes two.
// An attempt is complete when it has its note; nothing is renamed then, and without --resume nothing is appended to: stores that can do neither
// will do. With --resume a journal is kept, and a run may go on with an attempt that has died: it gives it a name of its own, so that what still
// writes there under the old name cannot complete it.

import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { FileError, FormatError } from '../errors.ts';
import { differenceOf, PART_NAME, type PartIdentity, type PartNote, readNote } from '../parts/note.ts';
import type { Part } from '../parts/shares.ts';
import { JOURNAL_NAME } from '../quantize/journal.ts';
import { createFolder, openFolder, openFolders } from '../source/file.ts';
import type { Folder, ResumableFolder } from '../source/source.ts';
import { attempt, fileError } from '../source/system.ts';
import { say } from '../terminal/print.ts';
import { beside, isAbsent, isThere, LOCK_NAME } from './commit.ts';
import type { Input } from './input.ts';
import { type Lock, lookAt, type Seen, takeLock } from './lock.ts';

/** Directories that a run makes, if others take what it makes for dead. */
const BIRTHS = 4;
/** Bytes of each file of weights that tell it from one with the same header. */
const SAMPLE_BYTES = 4096;

/** One attempt at a part. */
export interface PartAttempt {
  /** Where the part is written. */
  readonly folder: ResumableFolder;
  /** The attempt's directory. */
  readonly path: string;
  /** Whether nothing of an earlier run is in it. */
  readonly isNew: boolean;
  /** Ends it with success. */
  finish(): Promise<void>;
  /** Ends it without: it stays, to be gone on with. */
  leave(): Promise<void>;
  /** Removes it. */
  discard(): Promise<void>;
}

interface Attempt {
  readonly part: number;
  readonly parts: number;
  readonly path: string;
}

/** What a run left that has died, and what its lock said then. */
interface Left {
  readonly path: string;
  readonly lock: string | undefined;
}

/** Where the parts of an output are. */
export function partsPath(out: string): string {
  return beside(out, '.parts');
}

/** Where a part of sensitivities is. */
export function partFile(out: string, { index, count }: Part): string {
  return join(partsPath(out), `part-${index}-of-${count}.json`);
}

/** The files of sensitivities that parts wrote for `out`, in the order of their names; none if its parts are of something else. */
export async function partFiles(out: string): Promise<string[]> {
  const directory = partsPath(out);
  if (!(await isThere(directory))) return [];
  const names = await attempt('read', directory, () => readdir(directory));
  return names
    .filter((name) => /^part-\d+-of-\d+\.json$/.test(name))
    .sort()
    .map((name) => join(directory, name));
}

interface StagingOptions {
  /** Keeps a journal, and goes on with an attempt that has died. */
  resume?: boolean | undefined;
  /** Replaces what is there. */
  force?: boolean | undefined;
}

/**
 * Prepares the directory of a part.
 * @returns undefined if the part is complete already
 * @throws {FileError} when there is another part of that index, or what an interrupted run left, and no option says what becomes of it
 */
export async function stagePart(
  out: string,
  identity: PartIdentity,
  options: StagingOptions,
  tries = BIRTHS,
): Promise<PartAttempt | undefined> {
  const directory = partsPath(out);
  const { part, parts } = identity;
  await attempt('create', directory, () => mkdir(directory, { recursive: true }));
  const attempts = await survey(directory, identity, options);
  if (attempts === 'complete') return undefined;
  const path = join(directory, `part-${part}-of-${parts}.${randomBytes(4).toString('hex')}`);
  const isNew = !attempts.begun || !(await take(attempts.begun, path));
  if (isNew) await attempt('create', path, () => mkdir(path));
  let lock: Lock;
  try {
    lock = await takeLock(join(path, LOCK_NAME), 'writes');
  } catch (error) {
    // Before there was a lock, another run took it for dead: that one is known by its own lock now.
    if (tries > 1 && !(await isThere(path))) return stagePart(out, identity, options, tries - 1);
    throw error;
  }
  for (const { path: one, lock: content } of attempts.useless) {
    if ((await lookAt(join(one, LOCK_NAME))).content === content) await removeAttempt(one);
  }
  const folder = await createFolder(path, { resume: true });
  const close = async () => {
    await lock.stop();
    await folder.close();
  };
  return {
    folder,
    path,
    isNew,
    async finish() {
      await close();
      await tidy(path);
      await removeOthers(directory, path, identity);
    },
    async leave() {
      await quietly(async () => {
        await close();
        await lock.release();
      });
    },
    async discard() {
      await quietly(async () => {
        await close();
        await removeAttempt(path);
      });
    },
  };
}

/**
 * Looks whether an output that is there already may be of the parts beside it, as far as some are left.
 * @throws {FileError} when one is of another input, plan or search
 */
export async function checkMade(out: string, identity: PartIdentity): Promise<void> {
  const directory = partsPath(out);
  if (!(await isThere(directory))) return;
  for (const { path } of await attemptsIn(directory)) {
    const note = await soundNote(path);
    if (!note || note === 'damaged') continue;
    const difference = differenceOf(note, { ...identity, parts: note.parts });
    if (difference) refuse(out, `it already exists, and ${path} ${difference}; give --force to replace it`);
  }
}

/** The folders of all complete parts; of one that is there twice, the first. @throws {FileError} when there are none */
export async function completeParts(out: string): Promise<(Folder & { close(): Promise<void> })[]> {
  const directory = partsPath(out);
  const missing = 'no part of it is there; higgs quantize --part writes them';
  if (!(await isThere(directory))) throw new FileError('merge', out, undefined, missing);
  const all = await attemptsIn(directory);
  const counts = [...new Set(all.map(({ parts }) => parts))].sort((a, b) => a - b);
  if (counts.length > 1) {
    const which = counts.map((count) => `of ${count}`).join(' and ');
    throw new FileError('merge', out, undefined, `${directory} holds parts ${which}: remove those of one`);
  }
  const paths = new Map<number, string>();
  for (const { part, path } of all) {
    if (!paths.has(part) && (await isThere(join(path, PART_NAME)))) paths.set(part, path);
  }
  if (paths.size === 0)
    throw new FileError(
      'merge',
      out,
      undefined,
      all.length > 0 ? `no part of it is complete in ${directory}` : missing,
    );
  return openFolders([...paths.values()]);
}

/**
 * What tells an input's weights from others, on every machine: names, sizes, and some bytes of the middle of each file. Dates differ from one
 * copy to another.
 */
export async function contentIdentity(input: Input): Promise<string> {
  if (input.identity !== undefined) return input.identity;
  const hash = createHash('sha256');
  for (const name of (await input.folder.list()).filter((name) => /\.(safetensors|gguf)$/.test(name))) {
    const source = await input.folder.open(name);
    const start = Math.max(0, Math.floor((source.byteLength - SAMPLE_BYTES) / 2));
    hash.update(`${name} ${source.byteLength}\n`);
    hash.update(new Uint8Array(await source.slice(start, Math.min(source.byteLength, start + SAMPLE_BYTES))));
  }
  return hash.digest('hex');
}

// What there is of a part: it is complete, or paths of an attempt to go on with, and of some that are of no use.
async function survey(
  directory: string,
  { part, parts, ...rest }: PartIdentity,
  { resume = false, force = false }: StagingOptions,
): Promise<'complete' | { begun: string | undefined; useless: Left[] }> {
  const left: Left[] = [];
  for (const one of await attemptsIn(directory)) {
    if (one.part !== part || one.parts !== parts) continue;
    const lock = await lookAt(join(one.path, LOCK_NAME));
    const state = await stateOf(one, lock, { part, parts, ...rest });
    if (state === 'same' && !force) {
      if (lock.holder === undefined) await tidy(one.path);
      return 'complete';
    }
    if (state === 'alive') continue;
    if (state !== 'dead' && state !== 'same' && !force) refuse(one.path, `${state}; give --force to replace it`);
    left.push({ path: one.path, lock: lock.content });
  }
  const haveJournals = await Promise.all(left.map(({ path }) => isThere(join(path, JOURNAL_NAME))));
  const begun = force ? undefined : left[haveJournals.indexOf(true)]?.path;
  if (begun !== undefined && !resume)
    refuse(begun, 'it holds an interrupted run; give --resume to continue it, or --force to start again');
  return { begun, useless: left.filter(({ path }) => path !== begun) };
}

async function attemptsIn(directory: string): Promise<Attempt[]> {
  const names = await attempt('read', directory, () => readdir(directory));
  return names.sort().flatMap((name) => {
    const [, part, parts] = /^part-(\d+)-of-(\d+)\.[0-9a-f]{8}$/.exec(name) ?? [];
    return part === undefined ? [] : [{ part: Number(part), parts: Number(parts), path: join(directory, name) }];
  });
}

// What an attempt is: the part that is wanted, a run that works or has died, or why it is another part.
async function stateOf({ path }: Attempt, { content, holder }: Seen, identity: PartIdentity): Promise<string> {
  if (!(await isThere(path))) return 'alive'; // another run has just renamed it
  const note = await soundNote(path);
  if (note && note !== 'damaged') {
    const difference = differenceOf(note, identity);
    return difference === undefined ? 'same' : `it ${difference}`;
  }
  if (note === 'damaged' && content === undefined) return 'it is damaged';
  return holder === undefined ? 'dead' : 'alive';
}

// The note of a part whose files have their sizes.
async function soundNote(path: string): Promise<PartNote | 'damaged' | undefined> {
  const folder = await openFolder(path);
  try {
    const note = await readNote(folder);
    for (const [name, bytes] of note?.files ?? []) {
      if ((await folder.open(name)).byteLength !== bytes) return 'damaged';
    }
    return note;
  } catch (error) {
    if (!(await isThere(path))) return undefined; // another run has just renamed or removed it
    if (error instanceof FormatError) return 'damaged';
    throw error;
  } finally {
    await folder.close();
  }
}

// What a complete part does not need, which a run left that died at its end.
async function tidy(path: string): Promise<void> {
  for (const name of [JOURNAL_NAME, LOCK_NAME]) {
    await attempt('remove', join(path, name), () => rm(join(path, name), { force: true }));
  }
}

async function take(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false; // another run took it
    throw fileError('rename', from, error);
  }
}

// Of attempts at a part that are complete, the one with the first name stays.
async function removeOthers(directory: string, path: string, identity: PartIdentity): Promise<void> {
  for (const one of await attemptsIn(directory)) {
    if (one.part !== identity.part || one.parts !== identity.parts || one.path === path) continue;
    if (!(await isThere(join(one.path, PART_NAME)))) continue;
    if (basename(one.path) < basename(path)) return removeAttempt(path);
  }
}

// The note first: what is half removed is not complete.
async function removeAttempt(path: string): Promise<void> {
  await attempt('remove', path, async () => {
    await rm(join(path, PART_NAME), { force: true });
    await rm(path, { recursive: true, force: true });
  });
}

function refuse(path: string, reason: string): never {
  throw new FileError('write', path, undefined, reason);
}

async function quietly(run: () => Promise<void>): Promise<void> {
  await run().catch((error) => say(error instanceof FileError ? error.message : String(error)));
}
