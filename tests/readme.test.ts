// Examples of README and docs/ run as they stand: blocks `js` as modules, blocks `sh` line by line, in an empty directory
// that has the models. Blocks of other languages need what is not here: a network, a large model, a browser.

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';

delete process.env.FORCE_COLOR; // the runner sets it, and children would colour numbers
const pages = readdirSync('docs').filter((name) => name.endsWith('.md'));
const documents = ['README.md', ...pages.map((name) => `docs/${name}`)];
const test = suite('documents');
const scratch = mkdtempSync(join(tmpdir(), 'higgs-readme-'));
cpSync('models', join(scratch, 'models'), { recursive: true }); // commands keep sensitivities beside the model
mkdirSync('build/tests/readme', { recursive: true }); // inside the package, so that its own name resolves
test.after(() => rmSync(scratch, { recursive: true }));

for (const document of documents) {
  const content = readFileSync(document, 'utf8');
  for (const [index, code] of blocks(content, 'js').entries()) {
    test(`${document}: example ${index + 1} runs and prints what its comments say`, () => {
      const file = resolve(`build/tests/readme/${document.replace('/', '-')}-${index}.mjs`);
      writeFileSync(file, code);
      const output = execFileSync(process.execPath, [file], { cwd: scratch, encoding: 'utf8' });
      const promised = [...code.matchAll(/^console\.log\(.*; \/\/ (.*)$/gm)].map(([, comment]) => comment);
      assert.ok(promised.length > 0);
      assert.is(output.trim(), promised.join('\n'));
      forget();
    });
  }

  const lines = blocks(content, 'sh').flatMap((block) => block.trim().split('\n'));
  if (lines.length > 0)
    test(`${document}: commands run`, () => {
      for (const line of lines) {
        const [program, ...args] = line.split(' ');
        assert.is(program, 'higgs');
        execFileSync(process.execPath, [resolve('build/higgs.js'), ...args], { cwd: scratch, stdio: 'pipe' });
      }
      forget();
    });
}

test('the demo prints what stands here, but for times', () => {
  const timeless = (text: string) => text.replace(/^( +[234] .*) +[\d.]+$/gm, '$1').replace(/\d+ a second/, '');
  const [, shown] = /^```\n(books-llama[\s\S]*?)^```$/m.exec(readFileSync('README.md', 'utf8'))!;
  assert.is(timeless(execFileSync(process.execPath, ['examples/demo.mjs'], { encoding: 'utf8' })), timeless(shown));
});

test('the tables of grids have the figures of the data', () => {
  const page = readFileSync('docs/grids.md', 'utf8');
  for (const { name, n, p, mse } of [...smallGrids, ...largeGrids]) {
    const bits = Math.log2(n) / p;
    const row = `| \`${name}\` | ${Number(bits.toFixed(2))} | ${mse.toPrecision(6)} | ${(mse * 4 ** bits).toFixed(2)} |`;
    assert.ok(page.includes(row), row);
  }
  for (const { name, bits, mse } of trellises) {
    const row = `| \`${name}\` | ${bits} | ${mse.toPrecision(4)} | ${(mse * 4 ** bits).toFixed(2)} |`;
    assert.ok(page.includes(row), row);
  }
});

test('docs/interop.md and the README name readers, tests that are there, and commands that the program has', () => {
  const [readme, page] = ['README.md', 'docs/interop.md'].map((name) => readFileSync(name, 'utf8')) as [string, string];
  const rowsOf = (text: string) =>
    (/^## Who reads it\n\n\|.*\n\|.*\n((?:\|.*\n)+)/m.exec(text)?.[1] ?? '').trim().split('\n');
  assert.is(rowsOf(readme).length, 5);
  for (const row of rowsOf(page)) {
    const [, , , , held = ''] = row.split('|');
    assert.ok(existsSync(/`(tests\/[\w.-]+)`/.exec(held)?.[1] ?? 'none'), row);
  }
  for (const [, verb, rest] of `${rowsOf(readme)}\n${rowsOf(page)}`.matchAll(/`higgs (\w+)([^`]*)`/g)) {
    const help = execFileSync(process.execPath, [resolve('build/higgs.js'), verb, '--help'], { encoding: 'utf8' });
    for (const [option] of rest.matchAll(/--[\w-]+/g)) assert.ok(help.includes(`${option}`), `${verb} ${option}`);
  }
});

test.run();

function blocks(document: string, language: string): string[] {
  return [...document.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, code]) => code);
}

/** Removes what a page's examples wrote: another page may use the same names. */
function forget(): void {
  for (const name of readdirSync(scratch)) if (name !== 'models') rmSync(join(scratch, name), { recursive: true });
}
