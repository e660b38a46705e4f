// Output is written to <out>.partial and renamed when it is complete: under its own name it is whole or not there.

import { lstat, readdir, realpath, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { FileError } from '../errors.ts';
import { JOURNAL_NAME } from '../quantize/journal.ts';
import { INDEX_NAME } from '../safetensors/checkpoint.ts';
import { createFolder, fileError, openFolder } from '../source/file.ts';
import type { ResumableFolder } from '../source/source.ts';
import type { Input } from './input.ts';
import { UsageError } from './usage.ts';

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
  const target = await realTarget(out);
  checkApart(out, target, input.path);
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

  const path = `${target}.partial`;
  const held = await readdir(path).catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw fileError('read', path, error);
  });
  if (held !== undefined && held.length > 0 && !options.resume) {
    if (!options.force) {
      throw new FileError(
        'write',
        out,
        undefined,
        `${out}.partial holds an interrupted run; give --resume to go on with it, or --force to start again`,
      );
    }
    if (!held.every((name) => isOurs(name))) {
      throw new FileError('replace', path, undefined, 'it holds files that higgs did not write');
    }
    await remove(path);
  }
  const folder = await createFolder(path, { resume: true });
  const fileName = isFile ? basename(target) : undefined;

  return {
    folder,
    path,
    fileName,
    async commit() {
      await folder.close();
      await attempt('write', path, () => rm(join(path, JOURNAL_NAME), { force: true }));
      const old = existing === 'checkpoint' ? `${target}.replaced` : undefined;
      await attempt('replace', out, async () => {
        if (old) await rm(old, { recursive: true, force: true }); // left by a run that ended between two renames
        if (old) await rename(target, old);
        await rename(fileName ? join(path, fileName) : path, target);
        if (fileName) await rm(path, { recursive: true });
      });
      if (old) await remove(old);
    },
    async discard() {
      await folder.close();
      await remove(path);
    },
    leave: () => folder.close(),
  };
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

function checkApart(out: string, target: string, input: string): void {
  const inside = (inner: string, outer: string) =>
    inner === outer || inner.startsWith(outer.endsWith(sep) ? outer : outer + sep);
  if (target === input) throw new UsageError(`--output must not be the input: got ${out}`);
  if (inside(target, input)) throw new UsageError(`--output must not be inside the input: got ${out}`);
  if (inside(input, target)) throw new UsageError(`--output must not contain the input: got ${out}`);
}

// What is at the output's name: nothing, an empty directory (which may be written to), a checkpoint, something else.
async function inspectTarget(
  out: string,
  target: string,
  isFile: boolean,
): Promise<'nothing' | 'checkpoint' | 'other'> {
  const info = await lstat(target).catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw fileError('write', out, error);
  });
  if (!info) return 'nothing';
  if (isFile) return info.isFile() ? 'checkpoint' : 'other';
  if (!info.isDirectory()) return 'other';
  const names = await attempt('read', out, () => readdir(target));
  if (names.length === 0) {
    await attempt('replace', out, () => rmdir(target));
    return 'nothing';
  }
  const folder = await openFolder(target);
  const files = await folder.list();
  await folder.close();
  const isCheckpoint = files.length === names.length && files.some((name) => name.endsWith('.safetensors'));
  return isCheckpoint && files.every(isOurs) ? 'checkpoint' : 'other';
}

// Names of files that a run may write.
function isOurs(name: string): boolean {
  return (
    name === JOURNAL_NAME ||
    name === INDEX_NAME ||
    /\.(safetensors|json|txt|model|tiktoken|jinja|py|md)$|^(LICEN[CS]E|NOTICE|USE_POLICY)/i.test(name)
  );
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
