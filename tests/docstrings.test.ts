// Everything that the package exports has a docstring, and so has every member of it. Sources are read as Biome formats them: a declaration
// begins a line, its members stand two spaces further in, and a docstring ends on the line before.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as { exports: Record<string, { types?: string }> };
const entries = Object.values(exports).flatMap(({ types }) =>
  types === undefined ? [] : [types.replace('./build/types/', '').replace('.d.ts', '.ts')],
);

for (const entry of entries) {
  test(`what ${entry} exports has docstrings, members too`, () => {
    const exported = exportsOf(entry);
    assert.ok(exported.size > 0);
    for (const [name, file] of exported) {
      const lines = readFileSync(join('src', file), 'utf8').split('\n');
      assert.equal(undocumented(lines, name), [], `src/${file}`);
    }
  });
}

test('undocumented() finds what has none', () => {
  const lines = (text: string) => text.split('\n');
  assert.equal(undocumented(lines('export const a = 1;'), 'a'), ['a']);
  assert.equal(undocumented(lines('/** One. */\nexport const a = 1;'), 'a'), []);
  const members =
    '/** It. */\nexport interface A {\n  b: number;\n  /** One. */\n  readonly c?: (\n    d: number,\n  ) => void;\n  e(): void;\n}\nconst f = {\n  g: 1,\n};';
  assert.equal(undocumented(lines(members), 'A'), ['A.b', 'A.e']);
  assert.equal(undocumented(lines('/** It. */\nexport class A {\n  #b = 1;\n  constructor() {}\n}'), 'A'), []);
});

test.run();

/** The names that a file exports, and the files that declare them. */
function exportsOf(file: string): Map<string, string> {
  const text = readFileSync(join('src', file), 'utf8');
  const found = new Map<string, string>();
  for (const [, name] of text.matchAll(/^export (?:async )?(?:function\*?|interface|type|class|const) (\w+)/gm))
    found.set(name!, file);
  for (const [, names, from] of text.matchAll(/^export (?:type )?\{([^}]*)\} from '(\.[^']*)';/gm)) {
    const declared = exportsOf(join(file, '..', from!));
    for (const name of names!.split(',').map((word) => word.trim().replace(/^type /, '')))
      if (name !== '') found.set(name, declared.get(name) ?? `${from} lacks ${name}`);
  }
  return found;
}

/** What of a declaration has no docstring: itself, and members. */
function undocumented(lines: readonly string[], name: string): string[] {
  const isDeclared = new RegExp(`^export (?:async )?(?:function\\*?|interface|type|class|const) ${name}\\b`);
  const start = lines.findIndex((line) => isDeclared.test(line));
  if (start < 0) return [`${name} is declared elsewhere`];
  const hasDocstring = (at: number) => lines[at - 1]?.endsWith('*/');
  const missing = hasDocstring(start) ? [] : [name];
  if (!/^export (?:interface|class) |^export type \w+(?:<.*>)? = \{$/.test(lines[start]!)) return missing;
  for (let at = start + 1; at < lines.length && lines[at] !== '}'; at++) {
    const [, member] =
      /^ {2}(?:static |override |readonly |get |async )*(\[?[\w.]+\]?)(?:[?(<:]| =)/.exec(lines[at]!) ?? [];
    if (member !== undefined && member !== 'constructor' && !hasDocstring(at)) missing.push(`${name}.${member}`);
  }
  return missing;
}
