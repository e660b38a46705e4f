// What all verbs share: workers, progress, Ctrl-C, errors and exit codes.

import { availableParallelism } from 'node:os';
import { Option } from 'commander';
import { FileError, FormatError, StateError, UnsupportedError } from '../../errors.ts';
import { largeGrids } from '../../grids/large.ts';
import { type Higgs, load } from '../../higgs.ts';
import type { Progress } from '../../quantize/checkpoint.ts';
import { counted, progressDisplay } from '../../terminal/figures.ts';
import { complain, fault, note, printJson } from '../../terminal/print.ts';
import { parseInteger, UsageError } from '../../terminal/usage.ts';
import { defaultThreads, startPool } from '../../workers/node.ts';
import type { Pool } from '../../workers/pool.ts';

/** 0 done · 1 the input or the system is at fault · 2 the command line is · 130 interrupted. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** Most workers that may be asked for. */
export const WORKERS_OPTION_LIMIT = 256;

/** Cores that this process may use. */
export function cores(): number {
  return availableParallelism();
}

/** The option of how many threads a model runs on. @param text what they do */
export function threadsOption(text = 'threads'): Option {
  const option = new Option('--threads <n>', text).argParser(parseInteger(1, WORKERS_OPTION_LIMIT));
  return option.default(defaultThreads(), 'the physical cores');
}

/** Threads to run on: as asked for, or the cores, where more would wait for each other. */
export function threadCount(asked: number): number {
  const most = cores();
  if (asked <= most) return asked;
  note(`higgs: --threads ${asked} would wait for each other on ${counted(most, 'core')}: ${most} will run`);
  return most;
}

/** What a run works with. */
export interface Equipment {
  /** The library, with all grids loaded. */
  higgs: Higgs;
  /** Workers that encode. */
  pool: Pool;
  /** Aborted by Ctrl-C. */
  signal: AbortSignal;
  /** The line of progress on standard error. */
  progress: ReturnType<typeof progressDisplay>;
}

let library: Promise<Higgs> | undefined;

/** The library with every grid, loaded once. */
export function loadHiggs(): Promise<Higgs> {
  library ??= load(undefined, { grids: largeGrids });
  return library;
}

/** Runs `work` with Ctrl-C as an abort, whose reason is Interrupted. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const interrupt = () => abort.abort(new Interrupted());
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    return await work(abort.signal);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/** Shows how far writing a checkpoint is. */
export function showsWriting({ progress }: Equipment): (now: Progress) => void {
  return ({ bytesRead, bytesIn, weightsDone, weights, tensor }) =>
    progress.update(
      weights > 0
        ? { done: weightsDone, total: weights, unit: 'weights', bytes: bytesRead, tensor }
        : { done: bytesRead, total: bytesIn, unit: 'bytes', bytes: bytesRead, tensor },
    );
}

/** Runs `work` with workers, a progress display, and Ctrl-C as an abort. */
export async function withSession<T>(
  label: string,
  workers: number,
  work: (session: Equipment) => Promise<T>,
): Promise<T> {
  const higgs = await loadHiggs();
  const pool = await startPool(workers);
  const progress = progressDisplay(label);
  try {
    return await interruptible((signal) => work({ higgs, pool, signal, progress }));
  } finally {
    progress.stop();
    await pool.close();
  }
}

/** Ctrl-C, or a polite request to end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  /** What is printed. */
  override message = 'interrupted';
}

/**
 * Prints an error as a person should see it: its message; a stack only for a fault of our own.
 * @param isJson prints it on standard output, too, as JSON
 * @returns the exit code
 */
export function reportError(error: unknown, isJson = false): number {
  const exitCode = tellError(error);
  if (isJson) {
    const { name = 'Error', message = String(error), ...members } = error as Error;
    const { file, tensor, byteOffset, path, code, feature } = members as Record<string, unknown>;
    printJson(errorJson(name, message, exitCode, { file, tensor, byteOffset, path, code, feature }));
  }
  return exitCode;
}

/** An error as `--json` prints it. */
export function errorJson(name: string, message: string, exitCode: number, members: Record<string, unknown> = {}) {
  return { error: { name, message, exitCode, ...members } };
}

function tellError(error: unknown): number {
  if (error instanceof Interrupted) {
    fault(error.message);
    return EXIT.interrupted;
  }
  if (error instanceof UsageError) {
    fault(error.message);
    return EXIT.usage;
  }
  const expected = [FormatError, UnsupportedError, FileError, StateError, RangeError, TypeError];
  // By name: the decoder is a bundle with classes of its own.
  const isExpected = error instanceof Error && expected.some((type) => error.name === type.name) && !isOurFault(error);
  if (isExpected) fault(error.message);
  else complain(`higgs: ${(error as Error)?.stack ?? String(error)}\n`);
  return EXIT.failed;
}

// A TypeError that JavaScript itself raised tells of a bug.
function isOurFault(error: Error): boolean {
  return error instanceof TypeError && (error as { reason?: string }).reason !== 'argument';
}
