// Programs that tests drive, found where `npm ci`, Debian and tests/families/install.sh put them. A test whose program is missing
// is skipped and says what installs it; in CI it fails.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, resolve } from 'node:path';
import type { Test } from 'uvu';

const programs = {
  bun: { names: ['bun'], install: 'npm ci' },
  deno: { names: ['deno'], install: 'npm ci' },
  workerd: { names: ['workerd'], install: 'npm ci' },
  chromium: { names: ['chromium', 'chromium-browser', 'google-chrome'], install: 'apt-get install chromium' },
  firefox: { names: ['firefox-esr', 'firefox'], install: 'apt-get install firefox-esr' },
  webkit: { names: ['WebKitWebDriver'], install: 'apt-get install webkit2gtk-driver xvfb' },
  sbatch: { names: ['sbatch'], install: 'tests/cluster/install.sh' },
  // With the families' own code. PYTHON names another one.
  python: { names: ['python3'], install: 'tests/families/install.sh' },
} as const;

export type Program = keyof typeof programs;

const PACKAGES = ['torch', 'transformers', 'tokenizers', 'safetensors'];

/** Path of a program, or undefined. */
export function findProgram(program: Program): string | undefined {
  const folders = ['build/python/bin', 'node_modules/.bin', ...(process.env.PATH ?? '').split(delimiter)];
  const actual = folders.flatMap((folder) => programs[program].names.map((name) => resolve(folder, name)));
  if (program !== 'python') return actual.find(existsSync);
  return (process.env.PYTHON ? [process.env.PYTHON] : actual.filter(existsSync)).find(hasPackages);
}

function hasPackages(python: string): boolean {
  const program = `import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ${JSON.stringify(PACKAGES)})))`;
  return spawnSync(python, ['-c', program]).status === 0;
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
