// Writes the type declarations into build/types: what tsc emits for src/, cut down to what package.json's `exports` reach.
// tsc leaves `./grid.ts` in declarations as it stands; users have `./grid.js`, which every resolver knows.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const folder = 'build/types';
rmSync(folder, { recursive: true, force: true });
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], { stdio: 'inherit' });

const { exports } = JSON.parse(readFileSync('package.json', 'utf8'));
const reached = new Set();
for (const { types } of Object.values(exports)) if (types) reach(normalize(types));
for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
  const file = join(folder, name);
  if (name.endsWith('.d.ts') && !reached.has(file)) rmSync(file);
}

/** @param {string} file */
function reach(file) {
  if (reached.has(file)) return;
  reached.add(file);
  const code = readFileSync(file, 'utf8')
    .replace(/((?:from |import\()['"]\.[^'"]*)\.ts(['"])/g, '$1.js$2')
    // Declared by the types of browsers, which not every project has.
    .replace(/\bWebAssembly\.Module\b/g, 'object')
    .replace(/\bWebAssembly\.Memory\b/g, '{ readonly buffer: ArrayBufferLike }');
  writeFileSync(file, code);
  for (const [, target] of code.matchAll(/(?:from |import\()['"](\.[^'"]*)\.js['"]/g)) {
    reach(join(dirname(file), `${target}.d.ts`));
  }
}
