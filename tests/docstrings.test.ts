// Everything that a file exports has a docstring, and so has every member of it: what the package exports, and what rooms share. Sources are
// read as Biome formats them: a declaration begins a line, its members stand two spaces further in, and a docstring ends on the line before.
// A member that can only be one literal tells itself, and one that overrides another has that one's docstring.

import { readdirSync, readFileSync } from 'node:fs';
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

test('what the files of src/ export has docstrings, members too', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const missing = files.flatMap((file) => {
    const lines = readFileSync(join('src', file), 'utf8').split('\n');
    return declaredIn(lines).flatMap((name) => undocumented(lines, name).map((each) => `${file}: ${each}`));
  });
  assert.equal(missing, []);
});

test('undocumented() finds what has none', () => {
  const lines = (text: string) => text.split('\n');
  assert.equal(undocumented(lines('export const a = 1;'), 'a'), ['a']);
  assert.equal(undocumented(lines('/** One. */\nexport const a = 1;'), 'a'), []);
  const members =
    '/** It. */\nexport interface A {\n  b: number;\n  /** One. */\n  readonly c?: (\n    d: number,\n  ) => void;\n  e(): void;\n}\nconst f = {\n  g: 1,\n};';
  assert.equal(undocumented(lines(members), 'A'), ['A.b', 'A.e']);
  assert.equal(undocumented(lines('/** It. */\nexport class A {\n  #b = 1;\n  constructor() {}\n}'), 'A'), []);
  assert.equal(undocumented(lines('/** It. */\nexport type A = B & {\n  c: 1;\n};'), 'A'), ['A.c']);
  const implied =
    "/** It. */\nexport class A extends B {\n  override readonly name = 'A';\n  readonly kind: 'a';\n  of: 'a' | 'b';\n}";
  assert.equal(undocumented(lines(implied), 'A'), ['A.of']);
});

test.run();

/** How a file declares what it exports. */
const DECLARED = /^export (?:abstract )?(?:async )?(?:function\*?|interface|type|class|const) (\w+)/;

/** The names that a file itself declares and exports. */
function declaredIn(lines: readonly string[]): string[] {
  return lines.flatMap((line) => DECLARED.exec(line)?.[1] ?? []);
}

/** The names that a file exports, and the files that declare them. */
function exportsOf(file: string): Map<string, string> {
  const text = readFileSync(join('src', file), 'utf8');
  const actual = new Map<string, string>();
  for (const name of declaredIn(text.split('\n'))) actual.set(name, file);
  for (const [, names, from] of text.matchAll(/^export (?:type )?\{([^}]*)\} from '(\.[^']*)';/gm)) {
    const declared = exportsOf(join(file, '..', from));
    for (const name of names.split(',').map((word) => word.trim().replace(/^type /, '')))
      if (name !== '') actual.set(name, declared.get(name) ?? `${from} lacks ${name}`);
  }
  return actual;
}

/** What of a declaration has no docstring: itself, and members. */
function undocumented(lines: readonly string[], name: string): string[] {
  const start = lines.findIndex((line) => DECLARED.exec(line)?.[1] === name);
  if (start < 0) return [`${name} is declared elsewhere`];
  const hasDocstring = (index: number) => lines[index - 1]?.endsWith('*/');
  const missing = hasDocstring(start) ? [] : [name];
  if (!/^export (?:interface|(?:abstract )?class) .*\{$|^export type .*\{$/.test(lines[start])) return missing;
  for (let at = start + 1; at < lines.length && !lines[at].startsWith('}'); at++) {
    if (/^ {2}override |^ {2}(?:readonly )?\w+: '\w+';$/.test(lines[at])) continue;
    const [, member] = /^ {2}(?:static |readonly |get |async )*(\[?[\w.]+\]?)(?:[?(<:]| =)/.exec(lines[at]) ?? [];
    if (member !== undefined && member !== 'constructor' && !hasDocstring(at)) missing.push(`${name}.${member}`);
  }
  return missing;
}
