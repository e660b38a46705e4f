// Output is written to <out>.partial and renamed when it is complete: under its own name it is whole or not there.

import { lstat, mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { FileError } from '../errors.ts';
import { SENSITIVITIES_NAME } from '../quantize/carry.ts';
import { JOURNAL_NAME } from '../quantize/journal.ts';
import { createFolder, fileError, openFolder } from '../source/file.ts';
import type { ResumableFolder } from '../source/source.ts';
import type { Input } from './input.ts';
import { UsageError } from './usage.ts';

/** Names the process that writes to a directory; with the journal it tells that the directory is ours. */
const LOCK_NAME = 'higgs.lock';

export interface OutputOptions {
  /** Replaces what is at the output's name, and what an interrupted run left. */
  force?: boolean | undefined;
  /** Goes on with an interrupted run. */
  resume?: boolean | undefined;
}

/** An output on its way. */
export interface Staging {
  folder: ResumableFolder;
  /** Where the files are until `commit`. */
  path: string;
  /** Whether nothing of an earlier run is in it. */
  isNew: boolean;
  /** Set if the output is one file: its name. */
  fileName: string | undefined;
  /** Renames the output to its own name. */
  commit(): Promise<void>;
  /** Removes what was written. */
  discard(): Promise<void>;
  /** Closes files and leaves what was written, to be resumed. */
  leave(): Promise<void>;
}

/**
 * Prepares the output.
 * @param out a directory; or, for an input of one file, a name that ends in .safetensors
 * @throws {UsageError} when it would touch the input
 * @throws {FileError} when it exists and `force` is not set, or cannot be written
 */
export async function stageOutput(out: string, input: Input, options: OutputOptions): Promise<Staging> {
  const { target, path, isFile, existing } = await placeOf(out, input, options);
  const isNew = await claim(out, path, options);
  const folder = await createFolder(path, { resume: true });
  const fileName = isFile ? basename(target) : undefined;
  const unlock = () => attempt('write', path, () => rm(join(path, LOCK_NAME), { force: true }));

  return {
    folder,
    path,
    isNew,
    fileName,
    async commit() {
      await folder.close();
      await unlock();
      // The old output goes out of the way under a name that nobody has, so that at any time one of the two is whole.
      const aside =
        existing === 'checkpoint' ? await attempt('replace', out, () => mkdtemp(`${target}.replaced-`)) : undefined;
      const old = aside && join(aside, basename(target));
      await attempt('replace', out, async () => {
        if (old) await rename(target, old);
        if (existing === 'empty') await rmdir(target);
        try {
          await rename(fileName ? join(path, fileName) : path, target);
        } catch (error) {
          if (old) await rename(old, target);
          throw error;
        }
        if (fileName) await rm(path, { recursive: true });
      });
      if (aside) await remove(aside);
    },
    async discard() {
      await folder.close();
      await remove(path);
    },
    async leave() {
      await folder.close();
      await unlock();
    },
  };
}

/** Raises what `stageOutput` would, and writes nothing: for before long work. */
export async function checkOutput(out: string, input: Input, options: OutputOptions): Promise<void> {
  const { path } = await placeOf(out, input, options);
  await heldAt(out, path, options);
}

// Where the output goes, and what is there.
async function placeOf(out: string, input: Input, options: OutputOptions) {
  if (out === '') throw new UsageError('--output must not be empty');
  const target = await realTarget(out);
  const path = `${target}.partial`;
  for (const place of [target, path]) checkApart(out, place, [input.path, ...(await input.files())]);
  const isFile = input.isFile && target.endsWith('.safetensors');
  if (!input.isFile && target.endsWith('.safetensors')) {
    throw new UsageError(`--output must be a directory, as the input is one: got ${out}`);
  }
  const existing = await inspectTarget(out, target, isFile);
  if (existing === 'other' || (existing === 'checkpoint' && !options.force)) {
    const hint =
      existing === 'checkpoint' ? 'give --force to replace it' : 'it is no checkpoint, and so never replaced';
    throw new FileError('write', out, undefined, `it is there already; ${hint}`);
  }
  return { target, path, isFile, existing };
}

// Makes the place where the files are until they are complete this run's own. Whether it was not there before.
async function claim(out: string, path: string, options: OutputOptions): Promise<boolean> {
  const held = await heldAt(out, path, options);
  if (held.length > 0 && !options.resume) await remove(path);
  // Not recursive: on a read-only file system that would say that there is no such directory.
  await attempt('create', path, () => makeDirectory(path));
  const lock = join(path, LOCK_NAME);
  await attempt('write', lock, () => rm(lock, { force: true })); // of a process that ended
  await attempt('write', lock, () => writeFile(lock, `${process.pid}\n`, { flag: 'wx' }));
  return held.length === 0 || !options.resume;
}

// What an interrupted run left there, if the options say what becomes of it.
async function heldAt(out: string, path: string, options: OutputOptions): Promise<string[]> {
  const held = await readdir(path).catch((error): string[] => {
    if (error.code === 'ENOENT') return [];
    throw fileError('read', path, error);
  });
  if (held.length > 0) {
    const isRun = held.includes(LOCK_NAME) || held.includes(JOURNAL_NAME);
    if (!isRun || !held.every(isOurs)) {
      throw new FileError('write', path, undefined, 'it holds files that higgs did not write');
    }
    const other = await ownerOf(path);
    if (other !== undefined) {
      const hint = `if process ${other} is none of higgs, remove ${join(path, LOCK_NAME)}`;
      throw new FileError('write', out, undefined, `another run is writing it; ${hint}`);
    }
    if (!options.resume && !options.force) {
      const hint = 'give --resume to go on with it, or --force to start again';
      throw new FileError('write', out, undefined, `${out}.partial holds an interrupted run; ${hint}`);
    }
  }
  return held;
}

async function makeDirectory(path: string): Promise<void> {
  await mkdir(path).catch((error) => {
    if (error.code !== 'EEXIST') throw error;
  });
}

// The process that writes there, if it still runs.
async function ownerOf(path: string): Promise<number | undefined> {
  const pid = Number(await readFile(join(path, LOCK_NAME), 'utf8').catch(() => ''));
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return undefined;
  }
  return pid;
}

/** Whether an interrupted run can be resumed: at least its journal is there. */
export async function canResume({ path }: Staging): Promise<boolean> {
  return (await readdir(path).catch((): string[] => [])).includes(JOURNAL_NAME);
}

// The real path of a name that need not exist: its directory must.
async function realTarget(out: string): Promise<string> {
  const full = resolve(out);
  const parent = await realpath(dirname(full)).catch((error) => {
    throw fileError('write', out, error);
  });
  const target = join(parent, basename(full));
  return realpath(target).catch(() => target);
}

function checkApart(out: string, place: string, inputs: readonly string[]): void {
  const inside = (inner: string, outer: string) => inner.startsWith(outer.endsWith(sep) ? outer : outer + sep);
  for (const input of inputs) {
    if (place === input) throw new UsageError(`--output must not be the input: got ${out}`);
    if (inside(place, input)) throw new UsageError(`--output must not be inside the input: got ${out}`);
    if (inside(input, place)) throw new UsageError(`--output must not contain the input: got ${out}`);
  }
}

// What is at the output's name: nothing, an empty directory (which may be written to), a checkpoint, something else.
async function inspectTarget(
  out: string,
  target: string,
  isFile: boolean,
): Promise<'nothing' | 'empty' | 'checkpoint' | 'other'> {
  const info = await lstat(target).catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw fileError('write', out, error);
  });
  if (!info) return 'nothing';
  if (isFile) return info.isFile() ? 'checkpoint' : 'other';
  if (!info.isDirectory()) return 'other';
  if (target === process.cwd()) throw new UsageError('--output must not be the working directory');
  if (info.dev !== (await lstat(dirname(target))).dev) {
    throw new FileError('write', out, undefined, 'it is a mount point; name a directory below it');
  }
  const names = await attempt('read', out, () => readdir(target));
  if (names.length === 0) return 'empty';
  const folder = await openFolder(target);
  const files = await folder.list();
  await folder.close();
  const isCheckpoint = files.length === names.length && files.some((name) => name.endsWith('.safetensors'));
  return isCheckpoint && files.every(isOurs) ? 'checkpoint' : 'other';
}

// Names of files that a run may write.
function isOurs(name: string): boolean {
  const kinds = /\.(safetensors|json|txt|model|tiktoken|jinja|py|md)$|^(LICEN[CS]E|NOTICE|USE_POLICY)/i;
  return [JOURNAL_NAME, LOCK_NAME, `${SENSITIVITIES_NAME}.partial`].includes(name) || kinds.test(name);
}

async function remove(path: string): Promise<void> {
  await attempt('remove', path, () => rm(path, { recursive: true, force: true }));
}

async function attempt<T>(action: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw fileError(action, path, error);
  }
}
