// The README's examples run as they stand: JavaScript blocks as modules, shell blocks line by line, in an empty directory
// that has the models.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';
import { families } from './families/index.ts';
import { type Config, modelFolder } from './models.ts';
import { farthest, logitsOf, referencesOf } from './references.ts';

delete process.env.FORCE_COLOR; // the runner sets it, and children would colour numbers
const readme = readFileSync('README.md', 'utf8');
const test = suite('README');
const scratch = mkdtempSync(join(tmpdir(), 'higgs-readme-'));
cpSync('models', join(scratch, 'models'), { recursive: true }); // commands keep sensitivities beside the model
mkdirSync('build/tests/readme', { recursive: true }); // inside the package, so that its own name resolves
test.after(() => rmSync(scratch, { recursive: true }));

for (const [index, code] of blocks('js').entries()) {
  test(`example ${index + 1} runs and prints what its comments say`, () => {
    const file = resolve(`build/tests/readme/${index}.mjs`);
    writeFileSync(file, code);
    const output = execFileSync(process.execPath, [file], { cwd: scratch, encoding: 'utf8' });
    const promised = [...code.matchAll(/^console\.log\(.*; \/\/ (.*)$/gm)].map(([, comment]) => comment);
    assert.ok(promised.length > 0);
    assert.is(output.trim(), promised.join('\n'));
  });
}

test('the demo prints what stands here, but for times', () => {
  const timeless = (text: string) => text.replace(/^( +[234] .*) +[\d.]+$/gm, '$1').replace(/\d+ a second/, '');
  const [, shown] = /^```\n(books-llama[\s\S]*?)^```$/m.exec(readme)!;
  assert.is(timeless(execFileSync(process.execPath, ['examples/demo.mjs'], { encoding: 'utf8' })), timeless(shown!));
});

test('commands run', () => {
  const lines = blocks('sh').flatMap((block) => block.trim().split('\n'));
  assert.ok(lines.length > 0);
  for (const line of lines) {
    const [program, ...args] = line.split(' ');
    assert.is(program, 'higgs');
    execFileSync(process.execPath, [resolve('build/higgs.js'), ...args], { cwd: scratch, stdio: 'pipe' });
  }
});

test('the table of grids has the figures of the data', () => {
  for (const { name, n, p, mse } of [...smallGrids, ...largeGrids]) {
    const bits = Math.log2(n) / p;
    const row = `| \`${name}\` | ${Number(bits.toFixed(2))} | ${mse.toPrecision(6)} | ${(mse * 4 ** bits).toFixed(2)} |`;
    assert.ok(readme.includes(row), row);
  }
  for (const { name, bits, mse } of trellises) {
    const row = `| \`${name}\` | ${bits} | ${mse.toPrecision(4)} | ${(mse * 4 ** bits).toFixed(2)} |`;
    assert.ok(readme.includes(row), row);
  }
});

test('the table of families has all that run, with the largest difference of their logits', async () => {
  const [, table] = /^\| `model_type`.*\n\|.*\n((?:\|.*\n)+)/m.exec(readme)!;
  const listed: string[] = [];
  for (const row of table!.trim().split('\n')) {
    const [, types, , figure] = row.split('|').map((cell) => cell.trim());
    const names = [...types!.matchAll(/`(\w+)`/g)].map(([, name]) => name!);
    listed.push(...names);
    let most = 0;
    // Of a model of texts and images the text model alone may have no checkpoint of its own here.
    const own = names.flatMap((name) => families[name] ?? []);
    assert.ok(own.length > 0, row);
    for (const { config, model, logits } of own) {
      for (const reference of referencesOf(logits)) {
        most = Math.max(most, farthest(await logitsOf(modelFolder(config, model), reference), reference.logits));
      }
    }
    assert.is(figure, most.toExponential(0), row);
  }
  // Others here are further ones of a family.
  const named = Object.entries(families).filter(([name, { config }]) => name === (config as Config).model_type);
  assert.equal(listed.filter((name) => name in families).sort(), named.map(([name]) => name).sort());
  const read = readFileSync('src/families/family.ts', 'utf8');
  for (const [, name] of read.matchAll(/^ {2}(\w+): \{ architecture/gm)) assert.ok(listed.includes(name!), name);
});

test.run();

function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, code]) => code!);
}
