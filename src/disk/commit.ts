// What appears under its name whole or not at all, whatever moment the system fails or the process dies.
//
// A file is written under another name, flushed, renamed. A run's output grows in <out>.partial, and ends in five steps:
//   1 the journal's last line says complete, and where an old output goes     2 out → out.replaced-…     3 out.partial → out
//   4 out.replaced-… is removed                                               5 lock and journal are removed
// Between any two the journal tells what is there. Steps 2 and 3 can be taken back, 4 and 5 be done again.

import { randomBytes } from 'node:crypto';
import { lstat, mkdir, open, readdir, readFile, realpath, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FileError } from '../errors.ts';
import { JOURNAL_NAME } from '../quantize/journal.ts';
import { readSealed, type SealedLine, sealLine } from '../source/lines.ts';
import { attempt, fileError } from '../source/system.ts';

/** Names the process that writes to a directory; with the journal it tells that the directory is ours. */
export const LOCK_NAME = 'higgs.lock';

// Systems that cannot flush a directory say so by one of these: a rename is then as durable as they make it.
const CANNOT_FLUSH = ['EACCES', 'EINVAL', 'EISDIR', 'ENOTSUP', 'EPERM'];

/** @throws {FileError} when the system does not tell */
export async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw fileError('read', path, error);
  }
}

/** What a run keeps beside its output, whose name may end in a slash. */
export function beside(out: string, ending: string): string {
  return out.replace(/(?<=.)\/+$/, '') + ending;
}

/** Whether an error says that there is no such file. */
export function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Whether a process runs, as far as this one may know. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
  return true;
}

// --- one file

/**
 * Writes a file so that it appears whole, or what was there stays.
 * @param options.force replaces a file; devices and pipes are written as they are
 * @throws {FileError} when it is there and `force` is not set, or cannot be written
 */
export async function writeAtomically(
  path: string,
  content: string | Uint8Array,
  options: { force: boolean },
): Promise<void> {
  const target = await checkWritable(path, options);
  if (target === undefined) return attempt('write', path, () => writeFile(path, content));
  const aside = `${target}.${process.pid}.partial`;
  try {
    await mkdir(dirname(target), { recursive: true });
    await removeStale(target);
    await writeFlushed(aside, content);
    await checkWritable(path, options); // meanwhile another may have written it
    await rename(aside, target);
  } catch (error) {
    await rm(aside, { force: true }).catch(() => {}); // the first error is the one to tell
    throw fileError('write', path, error);
  }
  await attempt('write', path, () => flushDirectory(dirname(target)));
}

/**
 * Raises what `writeAtomically` would of what is there, and writes nothing: for before long work.
 * @returns the file's own path, links seen through; undefined for what is written as it is
 * @throws {FileError} when a directory is there, or a file that may not be replaced
 */
export async function checkWritable(path: string, { force }: { force: boolean }): Promise<string | undefined> {
  const info = await stat(path).catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw fileError('write', path, error);
  });
  if (!info) return path;
  if (info.isDirectory()) throw new FileError('write', path, 'EISDIR', 'it is a directory');
  if (!info.isFile()) return undefined;
  if (!force) throw new FileError('write', path, undefined, 'it already exists; give --force to replace it');
  return attempt('write', path, () => realpath(path));
}

/** Removes what processes left that died as they wrote this file. */
export async function removeStale(target: string): Promise<void> {
  const name = basename(target);
  for (const other of await readdir(dirname(target))) {
    if (!other.startsWith(`${name}.`)) continue;
    const pid = /^(\d+)\.partial$/.exec(other.slice(name.length + 1))?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(dirname(target), other), { force: true });
  }
}

/** Gives a flushed file another name, in place of what has it. */
export async function renameWhole(from: string, to: string): Promise<void> {
  await attempt('rename', from, async () => {
    await rename(from, to);
    await flushDirectory(dirname(to));
  });
}

async function writeFlushed(path: string, content: string | Uint8Array): Promise<void> {
  const handle = await open(path, 'w');
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function flushDirectory(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!CANNOT_FLUSH.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

// --- a run's output

/** Where an output goes. */
export interface OutputPlace {
  /** The output's real path. */
  readonly target: string;
  /** The directory in which it grows. */
  readonly path: string;
  /** Set if the output is one file: its name. */
  readonly fileName: string | undefined;
}

/** How far the five steps have come that a run ended with. */
export interface Ending {
  /** Whether the output has its name: steps 4 and 5 are left. */
  readonly isPlaced: boolean;
  /** Whether it was to replace an old output. */
  readonly replaces: boolean;
  /** Where the old output is, if it is out of its place. */
  readonly aside: string | undefined;
}

/** What an interrupted ending left; undefined where no run came as far as that. */
export async function endingOf({ target, path, fileName }: OutputPlace): Promise<Ending | undefined> {
  const mark = await readMark(path, target);
  if (mark) {
    const isPlaced = fileName !== undefined && !(await isThere(join(path, fileName))) && (await isThere(target));
    return { ...mark, isPlaced, ...(!isPlaced && (await isThere(target)) && { aside: undefined }) };
  }
  if (await isThere(path)) {
    // The last line may be damaged: with nothing under the output's name, what lies aside is what had it.
    const [aside, ...more] = (await isThere(target)) ? [] : await asidesOf(target);
    const isRun = aside !== undefined && more.length === 0 && (await isThere(join(path, JOURNAL_NAME)));
    return isRun ? { isPlaced: false, replaces: true, aside } : undefined;
  }
  const placed = await readMark(target, target);
  return placed && { isPlaced: true, ...placed };
}

/**
 * Puts the complete output in its place: steps 1 to 5.
 * @param existing what has its name now
 * @throws {FileError} `endingOf` then tells how far it came
 */
export async function placeOutput(place: OutputPlace, existing: 'nothing' | 'empty' | 'checkpoint'): Promise<void> {
  const { target, path, fileName } = place;
  const aside = existing === 'checkpoint' ? `${target}.replaced-${randomBytes(4).toString('hex')}` : undefined;
  await attempt('write', path, () => markComplete(path, aside && basename(aside)));
  await attempt('replace', target, async () => {
    if (aside) await rename(target, aside);
    if (existing === 'empty') await rmdir(target);
    try {
      // A file would be replaced without a word, had another process made it meanwhile.
      if (await isThere(target))
        throw new FileError('write', target, undefined, 'another process has made it meanwhile');
      await rename(fileName ? join(path, fileName) : path, target);
    } catch (error) {
      if (aside && !(await isThere(target))) await rename(aside, target);
      throw error;
    }
    await flushDirectory(dirname(target));
  });
  await finishOutput(place, aside);
}

/** Does what is left to do once the output has its name: steps 4 and 5. */
export async function finishOutput(place: OutputPlace, aside: string | undefined): Promise<void> {
  const { target, path, fileName } = place;
  if (aside) await removeAside(aside);
  if (fileName) return removeRun(path);
  for (const name of [LOCK_NAME, JOURNAL_NAME]) {
    await attempt('remove', join(target, name), () => rm(join(target, name), { force: true }));
  }
}

/** Takes back that the output has its name, so that it can be checked and gone on with: it is in `path` again. */
export async function takeBack({ target, path, fileName }: OutputPlace, aside: string | undefined): Promise<void> {
  if (aside) await removeAside(aside); // it may be half removed already
  await attempt('rename', target, () => rename(target, fileName ? join(path, fileName) : path));
}

/** Gives the output its name again after `takeBack`, unless what it held was written to. */
export async function undoTakeBack({ target, path, fileName }: OutputPlace): Promise<void> {
  if (!(await readMark(path, target)) || (await isThere(target))) return;
  await attempt('rename', path, () => rename(fileName ? join(path, fileName) : path, target));
}

/** Puts an old output back in its place. */
export async function restore({ target }: OutputPlace, aside: string): Promise<void> {
  await attempt('rename', aside, async () => {
    await rename(aside, target);
    await flushDirectory(dirname(target));
  });
}

/** Removes a directory in which an output grew: the journal first, for it speaks of the others; the lock, by which it is ours, last. */
export async function removeRun(path: string): Promise<void> {
  await emptyRun(path);
  await attempt('remove', path, async () => {
    await rm(join(path, LOCK_NAME), { force: true });
    await rmdir(path);
  });
}

/** Removes what an output's directory holds, but for the lock. */
export async function emptyRun(path: string): Promise<void> {
  await attempt('remove', path, async () => {
    await rm(join(path, JOURNAL_NAME), { force: true });
    for (const name of await readdir(path)) {
      if (name !== LOCK_NAME) await rm(join(path, name), { recursive: true, force: true });
    }
  });
}

async function removeAside(aside: string): Promise<void> {
  await attempt('remove', aside, async () => {
    await rm(aside, { recursive: true, force: true });
    await flushDirectory(dirname(aside)); // before the journal goes, which names it
  });
}

// The journal's last line, as a run writes it that is complete: {"complete":true,"replaces":"out.replaced-5e1f00aa"}.
async function readMark(directory: string, target: string): Promise<Omit<Ending, 'isPlaced'> | undefined> {
  const file = join(directory, JOURNAL_NAME);
  const bytes = await readFile(file).catch((error) => {
    if (!isAbsent(error)) throw fileError('read', file, error);
  });
  const last = bytes && lastLine(bytes);
  if (!last || last.end !== bytes.length) return undefined;
  const { complete, replaces } = (last.value ?? {}) as { complete?: unknown; replaces?: unknown };
  if (complete !== true) return undefined;
  if (typeof replaces !== 'string' || !isAside(replaces, target)) return { replaces: false, aside: undefined };
  const aside = join(dirname(target), replaces);
  return { replaces: true, aside: (await isThere(aside)) ? aside : undefined };
}

async function markComplete(path: string, replaces: string | undefined): Promise<void> {
  const file = join(path, JOURNAL_NAME);
  const handle = await open(file, 'a+');
  try {
    const before = lastLine(await handle.readFile())?.seal ?? 0;
    await handle.write(sealLine({ complete: true, ...(replaces && { replaces }) }, before).bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await flushDirectory(path);
}

function lastLine(bytes: Uint8Array): SealedLine | undefined {
  return readSealed(bytes).at(-1);
}

async function asidesOf(target: string): Promise<string[]> {
  const names = await attempt('read', dirname(target), () => readdir(dirname(target)));
  return names.filter((name) => isAside(name, target)).map((name) => join(dirname(target), name));
}

function isAside(name: string, target: string): boolean {
  const start = `${basename(target)}.replaced-`;
  return name.startsWith(start) && /^[0-9a-f]{8}$/.test(name.slice(start.length));
}
