// What run.ts needs to know of a runtime, and finding programs.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Outcome } from './portable.ts';

/** The folder of the bundles. */
export const BUNDLES = 'build/tests/runtimes';

/** What a runtime may take: three times what it takes on a slow machine, beside another. */
export const LIMIT_MS = 1_200_000;

/** A run of the bundle. */
export interface Run {
  version: string;
  outcome: Outcome;
}

export interface Runtime {
  name: string;
  /** The command that installs it. */
  install: string;
  /** The program to start, or undefined where it is not installed. */
  program: string | undefined;
  /** Runs the bundle; ends what it started, also when `signal` aborts it. */
  run(program: string, signal: AbortSignal): Promise<Run>;
}

/** The first of these files that exists; a bare name is looked for on the PATH. */
export function find(...candidates: string[]): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return candidates
    .flatMap((candidate) => (candidate.includes('/') ? [candidate] : folders.map((folder) => join(folder, candidate))))
    .find(existsSync);
}

/** The first number with dots of what a program says of its version. */
export function versionIn(text: string): string {
  return /\d+([.-]\d+)+/.exec(text)?.[0] ?? text.trim();
}
