// The arrows between the rooms of src/ point one way, and what belongs to one runtime stands where ARCHITECTURE.md says.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('structure');
const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .map((name) => name.replaceAll('\\', '/'))
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'));
const text = new Map(files.map((name) => [name, readFileSync(join('src', name), 'utf8')]));

// Any room may import these.
const leaves: readonly string[] = ['excerpt.ts', 'check.ts', 'errors.ts', 'numerics'];
// What a room may import, beside itself and the leaves.
const allowed: Record<string, readonly string[]> = {
  reference: [],
  source: [],
  grids: [],
  kernels: [],
  'grids/maker': ['grids', 'kernels'],
  checkpoint: ['source'],
  workers: ['kernels', 'grids'],
  quantize: ['grids', 'kernels', 'checkpoint', 'source', 'workers'],
  linearity: ['grids', 'quantize', 'checkpoint'],
  text: ['source'],
  model: ['grids', 'kernels', 'quantize', 'checkpoint', 'source', 'workers'],
  sensitivity: ['text', 'model', 'kernels', 'linearity', 'checkpoint', 'source', 'workers'],
  'decoder.ts': ['text', 'model', 'sensitivity', 'source', 'workers'],
  'higgs.ts': [
    ...['text', 'model', 'sensitivity', 'linearity', 'grids', 'kernels', 'quantize', 'checkpoint', 'source'],
    'workers',
  ],
  'index.ts': [
    ...['higgs.ts', 'text', 'model', 'sensitivity', 'linearity', 'grids', 'kernels', 'quantize', 'checkpoint'],
    ...['source', 'workers'],
  ],
  cli: [
    ...['higgs.ts', 'text', 'model', 'sensitivity', 'linearity', 'grids', 'kernels', 'quantize', 'checkpoint'],
    ...['source', 'workers'],
  ],
};
// Leaves know each other in this order.
for (const [i, leaf] of leaves.entries()) allowed[leaf] = leaves.slice(0, i);

test('imports follow the arrows', () => {
  for (const [name, code] of text) {
    const room = roomOf(name);
    assert.ok(allowed[room], `src/${name} is in no room that the house has`);
    for (const [, target] of code.matchAll(/from '(\.[^']+)'/g)) {
      const path = normalize(join(dirname(name), target!)).replaceAll('\\', '/');
      if (path.startsWith('..')) continue; // build/higgs.wasm, package.json
      const other = roomOf(path);
      const known = leaves.includes(room) ? allowed[room] : [...leaves, ...allowed[room]];
      assert.ok(other === room || known.includes(other), `src/${name} must not import src/${path}`);
    }
  }
});

test('files import nothing in a circle', () => {
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    assert.not.ok(path.includes(name), `circle: ${[...path, name].join(' → ')}`);
    if (done.has(name)) return;
    for (const [, target] of (text.get(name) ?? '').matchAll(/^(?:import|export) (?!type).*? from '(\.[^']+)'/gms)) {
      visit(normalize(join(dirname(name), target!)), [...path, name]);
    }
    done.add(name);
  };
  for (const name of files) visit(name, []);
});

const homes: readonly [what: RegExp, where: RegExp][] = [
  [/from 'node:/, /^(source\/file|workers\/node|grids\/maker\/\w+|cli\/\w+)\.ts$/],
  [/\bWebAssembly\./, /^(kernels\/[\w/]+|higgs|workers\/web)\.ts$/],
  [/\bprocess\.|\bBuffer\b/, /^(cli|grids\/maker)\/\w+\.ts$/],
  [/\bdocument\.|\bwindow\./, /^$/],
  [/\beval\(|new Function\(/, /^$/],
];

for (const [what, where] of homes) {
  test(`${what.source} stands only where it belongs`, () => {
    for (const [name, code] of text) {
      if (!where.test(name)) assert.not.ok(what.test(code.replace(/\/\/.*|\/\*[\s\S]*?\*\//g, '')), `src/${name}`);
    }
  });
}

for (const name of ['index', 'index-edge', 'decoder', 'decoder-edge', 'grids', 'workers', 'workers-edge']) {
  test(`build/${name}.js has nothing of one runtime`, () => {
    const bundle = readFileSync(`build/${name}.js`, 'utf8').replace(/^\/\/.*$|\/\*[\s\S]*?\*\//gm, '');
    for (const word of [/\bBuffer\b/, /\bprocess\b/, /\brequire\(/, /\bdocument\b/, /['"]node:/, /['"]fs['"]/]) {
      assert.not.match(bundle, word);
    }
  });
}

test.run();

function roomOf(name: string): string {
  if (name.startsWith('grids/maker/')) return 'grids/maker';
  return name.includes('/') ? name.slice(0, name.indexOf('/')) : name;
}
