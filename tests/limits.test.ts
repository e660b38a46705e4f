// docs/limits.md has every limit of the sources, with its value.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('limits');

interface Row {
  name: string;
  value: number;
  file: string;
}

const rowOf = ({ name, value, file }: Row) => `| \`${name}\` | ${value} | why | \`${file}\` |`;

// The page's files have `web/` in front of them; others are below src/.
const placeOf = (file: string) => (file.startsWith('web/') ? file : join('src', file));

// Constants of the top level that are written as a number, a product of numbers, or an object of these.
function constantsOf(file: string): Row[] {
  const code = readFileSync(placeOf(file), 'utf8');
  return [...code.matchAll(/^(?:export )?const ([A-Z_]+)(?:: \w+)? = ([\d(.{-][^;]*);/gm)].flatMap(
    ([, name, expression]) => {
      if (!/^([\d\s_.e<*+\-/(){},]|\w+: )*( as const)?$/.test(expression)) return [];
      const value: unknown = new Function(`return (${expression.replace(/ as const$/, '')})`)();
      if (typeof value === 'number') return [{ name: name, value, file }];
      return Object.entries(value as Record<string, number>).map(([key, value]) => ({
        ...{ name: `${name}.${key}`, value, file },
      }));
    },
  );
}

const isLimit = ({ name }: Row) => /(^|_)LIMITS?($|\.)|_CHARACTERS$/.test(name);

const filesOf = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/'));
const files = [...filesOf('src'), ...filesOf('web').map((name) => `web/${name}`)].filter(
  (name) => /^(?!grids\/maker|reference).*\.tsx?$/.test(name) && !name.endsWith('.d.ts'),
);

const rows = [
  ...readFileSync('docs/limits.md', 'utf8').matchAll(/^\| `([\w.]+)` \| ([\d .]+) \| .+ \| `(.+)` \|$/gm),
].map(([, name, value, file]): Row => ({ name: name, value: Number(value.replaceAll(' ', '')), file: file }));

test('docs/limits.md has a row for every limit of the sources', () => {
  const limits = files.flatMap((file) =>
    /_LIMIT|LIMITS|_CHARACTERS/.test(readFileSync(placeOf(file), 'utf8')) ? constantsOf(file).filter(isLimit) : [],
  );
  assert.ok(limits.length > 20, 'limits are found');
  const missing = limits.filter(({ name, file }) => !rows.some((row) => row.name === name && row.file === file));
  assert.is(missing.length, 0, `add to docs/limits.md, with the reason:\n${missing.map(rowOf).join('\n')}`);
});

test('docs/limits.md has no limit that the sources have not, or have with another value', () => {
  assert.ok(rows.length > 20, 'rows are found');
  for (const row of rows) {
    const actual = constantsOf(row.file).find(({ name }) => name === row.name);
    assert.ok(actual, `no constant ${row.name} in src/${row.file}`);
    assert.is(actual.value, row.value, `correct docs/limits.md: ${rowOf(actual)}`);
  }
});

test.run();
