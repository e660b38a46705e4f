// Where a verb writes: what is at the output's name, what an interrupted run left beside it, and whose it is. How the output gets its name
// is commit.ts's.

import { lstat, mkdir, readdir, realpath, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import type { Shard } from '../checkpoint/safetensors/layout.ts';
import { FileError } from '../errors.ts';
import { SENSITIVITIES_NAME } from '../quantize/carry.ts';
import { JOURNAL_NAME } from '../quantize/journal.ts';
import { createFolder, openFolder } from '../source/file.ts';
import type { ResumableFolder } from '../source/source.ts';
import { attempt, fileError } from '../source/system.ts';
import { say } from '../terminal/print.ts';
import { UsageError } from '../terminal/usage.ts';
import {
  type Ending,
  emptyRun,
  endingOf,
  finishOutput,
  isThere,
  LOCK_NAME,
  type OutputPlace,
  placeOutput,
  removeRun,
  restore,
  takeBack,
  undoTakeBack,
} from './commit.ts';
import type { Input } from './input.ts';
import { type Lock, lookAt, takeLock } from './lock.ts';

interface OutputOptions {
  /** Replaces what is at the output's name, and what an interrupted run left. */
  force?: boolean | undefined;
  /** Goes on with an interrupted run; left out by verbs that cannot. */
  resume?: boolean;
  /** The files that the run will write, by whose headers it knows a complete output that has no journal. */
  shards?: readonly Shard[];
}

/** An output on its way. */
interface StagedOutput {
  folder: ResumableFolder;
  /** Where the files are until `commit`. */
  path: string;
  /** Whether nothing of an earlier run is in it. */
  isNew: boolean;
  /** Whether an earlier run's files are complete, by their headers, and have no journal. */
  isBare: boolean;
  /** Set if the output is one file: its name. */
  fileName: string | undefined;
  /** Gives the output its name. A fault of the system is told with how far that came. */
  commit(): Promise<void>;
  /** Removes what was written. A fault of the system is told, not raised: there was one before. */
  discard(): Promise<void>;
  /** Closes files and leaves what was written, to be resumed. As `discard`, it raises nothing. */
  leave(): Promise<void>;
}

/**
 * Prepares the output.
 * @param out a directory; or, for an input of one file, a name that ends in .safetensors
 * @throws {UsageError} when it would touch the input
 * @throws {FileError} when it exists and `force` is not set, or cannot be written
 */
export async function stageOutput(out: string, input: Input, options: OutputOptions): Promise<StagedOutput> {
  const { place, ending, held, mayReplace } = await survey(out, input, options);
  const { target, path, fileName } = place;
  // An unfinished ending comes first to its end, or is taken back to where a run can be gone on with.
  const isTakenBack = ending?.isPlaced === true && options.resume === true;
  if (isTakenBack) await takeBack(place, ending.aside);
  else if (ending?.isPlaced) await finishOutput(place, ending.aside);
  else if (ending?.aside) await restore(place, ending.aside);
  const isKept = options.resume === true && (isTakenBack || held === 'run' || held === 'bare');
  const firstMade = await makeParents(path);
  const lock = await claim(path, isKept);
  const folder = await createFolder(path, { resume: true });

  return {
    folder,
    path,
    isNew: !isKept,
    isBare: isKept && held === 'bare',
    fileName,
    async commit() {
      await folder.close();
      await lock.stop();
      try {
        if (!(await lock.isHeld()))
          throw new FileError('write', out, undefined, 'another run considered this one dead, and continues it');
        const existing = await inspectTarget(out, target, fileName !== undefined);
        if (existing === 'other' || (existing === 'checkpoint' && !mayReplace)) {
          throw new FileError(
            'write',
            out,
            undefined,
            'it was made while this ran; give --force with --resume to replace it',
          );
        }
        await placeOutput(place, existing);
      } catch (error) {
        say(await endingText(out, place, options));
        throw error;
      }
    },
    async discard() {
      await quietly(async () => {
        await folder.close();
        await lock.stop();
        if (!(await lock.isHeld())) return; // another run goes on with it
        await removeRun(path);
        await removeParents(path, firstMade);
      });
    },
    async leave() {
      await quietly(async () => {
        await folder.close();
        await lock.stop();
        if (!(await lock.isHeld())) return;
        if (isTakenBack) await undoTakeBack(place);
        // Without a journal it is the lock by which the directory is known to be ours.
        else if (await isThere(join(path, JOURNAL_NAME))) await rm(join(path, LOCK_NAME), { force: true });
      });
    },
  };
}

/**
 * Raises what `stageOutput` would, and writes nothing: for before long work.
 * @returns the name of the output if it is one file
 */
export async function checkOutput(out: string, input: Input, options: OutputOptions): Promise<string | undefined> {
  return (await survey(out, input, options, true)).place.fileName;
}

/**
 * Raises what a part of an output cannot be written for: a run that puts parts together may be at work.
 * @returns whether there is an output that is of the plan, as far as headers tell
 * @throws {FileError} when an output of another plan is there and may not be replaced
 */
export async function checkWhole(
  out: string,
  input: Input,
  { force, shards }: { force?: boolean | undefined; shards: readonly Shard[] },
): Promise<boolean> {
  const { target, fileName } = await placeOf(out, input);
  const existing = await inspectTarget(out, target, fileName !== undefined);
  if (existing === 'other') refuseOther(out);
  if (force || existing !== 'checkpoint') return false;
  if (await haveHeaders(target, await readdir(target), shards)) return true;
  throw new FileError('write', out, undefined, 'it already exists, of another plan; give --force to replace it');
}

// What is there, if the options say what becomes of it.
async function survey(out: string, input: Input, options: OutputOptions, isEarly = false) {
  const { force, resume } = options;
  const place = await placeOf(out, input);
  await checkOwner(out, place);
  const existing = await inspectTarget(out, place.target, place.fileName !== undefined);
  const held = await heldAt(place, options, isEarly);
  const ending = await endingOf(place);
  const mayReplace = force || (resume && ending?.replaces) || false;
  const refuse = (reason: string): never => {
    throw new FileError('write', out, undefined, reason);
  };
  const partial = `${out}.partial`;
  if (ending?.isPlaced) {
    if (force || resume) return { place, ending, held, mayReplace };
    const left = ending.aside ? `, what it replaced is still in ${ending.aside}` : '';
    if (resume === undefined) refuse(`it already exists${left}; give --force to replace it`);
    refuse(
      `it is complete and in its place${left}; give --resume to finish the run that wrote it, or --force to replace it`,
    );
  }
  if (existing === 'other') refuseOther(out);
  const isRun = held === 'run' || held === 'bare';
  const goOn = resume === undefined ? 'give --force' : 'give --resume to continue it, or --force';
  if (existing === 'checkpoint' && !mayReplace) {
    if (!isRun) refuse('it already exists; give --force to replace it');
    const both = resume === undefined ? '' : '--resume with --force to continue it and replace that, or ';
    refuse(`it already exists, and ${partial} holds an interrupted run; give ${both}--force to start again`);
  }
  if (isRun && !force && !resume) {
    if (!ending?.aside) refuse(`${partial} holds an interrupted run; ${goOn} to start again`);
    refuse(
      `${partial} holds an interrupted run, which moved the old output to ${ending?.aside}; ${goOn} to put that back and start again`,
    );
  }
  return { place, ending, held, mayReplace };
}

function refuseOther(out: string): never {
  throw new FileError('write', out, undefined, 'it already exists, and is not a checkpoint: higgs never replaces it');
}

// Where the output goes: never into the input, or around it.
async function placeOf(out: string, input: Input): Promise<OutputPlace> {
  if (out === '') throw new UsageError('--output must not be empty');
  const target = await realTarget(out);
  const path = `${target}.partial`;
  for (const place of [target, path]) checkApart(out, place, [input.path, ...(await input.files())]);
  const isFile = input.isFile && target.endsWith('.safetensors');
  if (!input.isFile && target.endsWith('.safetensors')) {
    throw new UsageError(`--output must be a directory, as the input is one: got ${out}`);
  }
  return { target, path, fileName: isFile ? basename(target) : undefined };
}

// What an earlier run left where the output grows: a run, one that is complete and has no journal, or nothing to go on with.
// @param isEarly before it is known what the run will write
async function heldAt(
  { path }: OutputPlace,
  { shards }: OutputOptions,
  isEarly: boolean,
): Promise<'nothing' | 'run' | 'bare'> {
  const names = await readdir(path).catch((error): string[] => {
    if (error.code === 'ENOENT') return [];
    throw fileError('read', path, error);
  });
  const contents = names.filter((name) => name !== LOCK_NAME);
  if (contents.length === 0) return 'nothing';
  if (names.every(isOurs)) {
    const isBegun =
      !contents.includes(JOURNAL_NAME) || (await attempt('read', path, () => stat(join(path, JOURNAL_NAME)))).size > 0;
    if (contents.length === 1 && !isBegun) return 'nothing';
    if (contents.length < names.length || contents.includes(JOURNAL_NAME)) return 'run';
    if (isEarly || (shards && (await haveHeaders(path, names, shards)))) return 'bare';
  }
  throw new FileError('write', path, undefined, 'it holds files that higgs did not write');
}

// Whether the files are those that a run would write, as far as headers tell.
async function haveHeaders(path: string, names: readonly string[], shards: readonly Shard[]): Promise<boolean> {
  const weights = names.filter((name) => name.endsWith('.safetensors'));
  if (weights.length !== shards.length) return false;
  const folder = await openFolder(path);
  try {
    for (const { fileName, header, byteLength } of shards) {
      if (!weights.includes(fileName)) return false;
      const source = await folder.open(fileName);
      if (source.byteLength !== byteLength) return false;
      if (Buffer.compare(new Uint8Array(await source.slice(0, header.length)), header) !== 0) return false;
    }
    return true;
  } finally {
    await folder.close();
  }
}

// Makes the place where the files are until they are complete this run's own, with what it holds or without.
async function claim(path: string, isKept: boolean): Promise<Lock> {
  // Not recursive: on a read-only file system that would say that there is no such directory.
  await attempt('create', path, () => makeDirectory(path));
  let lock: Lock;
  try {
    // That of a process that died is written over, not removed: by it the rest is known to be ours.
    lock = await takeLock(join(path, LOCK_NAME), 'writes');
  } catch (error) {
    await rmdir(path).catch(() => {}); // unless it holds an earlier run
    throw error;
  }
  if (!isKept) await emptyRun(path);
  return lock;
}

async function makeDirectory(path: string): Promise<void> {
  await mkdir(path).catch((error) => {
    if (error.code !== 'EEXIST') throw error;
  });
}

// Refuses an output that another process is writing, which may have given it its name already.
async function checkOwner(out: string, { target, path }: OutputPlace): Promise<void> {
  for (const place of [path, target]) {
    const lock = join(place, LOCK_NAME);
    const { holder } = await lookAt(lock);
    if (holder === undefined) continue;
    const hint = `if ${holder} is not higgs, remove ${lock}`;
    throw new FileError('write', out, undefined, `another run is writing it; ${hint}`);
  }
}

// What is where after an ending that failed.
async function endingText(out: string, place: OutputPlace, { resume }: OutputOptions): Promise<string> {
  const hint = resume === undefined ? 'run again with --force' : 'run again with --resume';
  const ending: Ending | undefined = await endingOf(place).catch(() => undefined);
  const aside = ending?.aside ? `, the old output in ${ending.aside}` : '';
  if (ending?.isPlaced) return `the output is complete and in its place${aside}; ${hint} to finish`;
  return `the output is complete, in ${out}.partial${aside}; ${hint}`;
}

async function quietly(run: () => Promise<void>): Promise<void> {
  await run().catch((error) => say(error instanceof FileError ? error.message : String(error)));
}

/** Whether an interrupted run can be resumed: at least its journal is there. */
export async function canResume({ path }: StagedOutput): Promise<boolean> {
  return isThere(join(path, JOURNAL_NAME));
}

// The real path of a name that need not exist, nor the directories that it is to be in.
async function realTarget(out: string): Promise<string> {
  const realOf = (path: string): Promise<string> =>
    realpath(path).catch(async (error) => {
      const parent = dirname(path);
      if (error.code !== 'ENOENT' || parent === path) throw fileError('write', out, error);
      return join(await realOf(parent), basename(path));
    });
  return realOf(resolve(out));
}

// @returns the outermost directory that was made, if one was
async function makeParents(path: string): Promise<string | undefined> {
  const parent = dirname(path);
  if (await isThere(parent)) return undefined;
  return attempt('create', parent, () => mkdir(parent, { recursive: true }));
}

// Removes the directories that `makeParents` made, as far as nothing else is in them.
async function removeParents(path: string, firstMade: string | undefined): Promise<void> {
  if (firstMade === undefined) return;
  for (let parent = dirname(path); parent.length >= firstMade.length; parent = dirname(parent)) {
    const isRemoved = await rmdir(parent).then(
      () => true,
      () => false,
    );
    if (!isRemoved) return;
  }
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
  if (info.dev !== (await attempt('read', dirname(target), () => lstat(dirname(target)))).dev) {
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

/** Whether a run may write a file of that name. */
export function isOurs(name: string): boolean {
  const kinds = /\.(safetensors|json|txt|model|tiktoken|jinja|py|md)$|^(LICEN[CS]E|NOTICE|USE_POLICY)/i;
  return (
    [JOURNAL_NAME, LOCK_NAME, `${SENSITIVITIES_NAME}.partial`, `${SENSITIVITIES_NAME}.partial.sequence`].includes(
      name,
    ) || kinds.test(name)
  );
}
