// Programs that tests drive, found where `npm ci` and Debian put them. A test whose program is missing is skipped and says
// what installs it; in CI it fails.

import { existsSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import type { Test } from 'uvu';

const programs = {
  bun: { names: ['bun'], install: 'npm ci' },
  deno: { names: ['deno'], install: 'npm ci' },
  workerd: { names: ['workerd'], install: 'npm ci' },
  chromium: { names: ['chromium', 'chromium-browser', 'google-chrome'], install: 'apt-get install chromium' },
} as const;

export type Program = keyof typeof programs;

/** Path of a program, or undefined. */
export function findProgram(program: Program): string | undefined {
  const folders = [resolve('node_modules/.bin'), ...(process.env.PATH ?? '').split(delimiter)];
  return folders.flatMap((folder) => programs[program].names.map((name) => join(folder, name))).find(existsSync);
}

/** A test that needs a program. */
export function testWith(test: Test, program: Program, name: string, run: (path: string) => Promise<void>): void {
  const path = findProgram(program);
  if (path) {
    test(name, () => run(path));
  } else if (process.env.CI) {
    test(name, () => {
      throw new Error(`${program} must be installed: ${programs[program].install}`);
    });
  } else {
    console.log(`skipped, as ${program} is not installed (${programs[program].install}): ${name}`);
    test.skip(name);
  }
}
