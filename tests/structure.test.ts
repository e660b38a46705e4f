// The arrows between the rooms of src/ point one way, and what belongs to one runtime stands where ARCHITECTURE.md says. What the
// documents say of files, rooms, arrows and commands is so.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
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
  hub: ['checkpoint', 'source'],
  workers: ['kernels', 'grids'],
  quantize: ['grids', 'kernels', 'checkpoint', 'source', 'workers'],
  parts: ['quantize', 'grids', 'kernels', 'checkpoint', 'source', 'workers'],
  linearity: ['grids', 'quantize', 'checkpoint'],
  'text/jinja': [],
  'text/patterns': [],
  text: ['text/jinja', 'text/patterns', 'source'],
  families: ['checkpoint', 'source'],
  model: ['families', 'grids', 'kernels', 'quantize', 'checkpoint', 'source', 'workers'],
  advice: ['families', 'model', 'linearity', 'grids', 'quantize', 'checkpoint', 'source', 'workers'],
  statistics: ['model', 'kernels', 'linearity', 'checkpoint', 'source'],
  'sensitivity/program': ['families', 'model', 'statistics', 'kernels'],
  'sensitivity/results': ['linearity', 'source'],
  sensitivity: [
    ...[
      'sensitivity/program',
      'sensitivity/results',
      'text',
      'families',
      'model',
      'statistics',
      'kernels',
      'linearity',
      'quantize',
    ],
    ...['checkpoint', 'source', 'workers'],
  ],
  refinement: ['sensitivity', 'statistics', 'families', 'linearity', 'quantize', 'kernels', 'source'],
  'decoder.ts': [
    ...[
      'advice',
      'text',
      'model',
      'refinement',
      'sensitivity',
      'sensitivity/results',
      'statistics',
      'checkpoint',
      'source',
      'workers',
    ],
  ],
  'higgs.ts': ['open.ts', 'linearity', 'grids', 'kernels', 'parts', 'quantize', 'source', 'workers'],
  'openoptions.ts': ['refinement', 'sensitivity', 'linearity', 'grids', 'parts', 'quantize', 'workers'],
  'open.ts': [
    ...[
      'openoptions.ts',
      'decoder.ts',
      'hub',
      'advice',
      'text',
      'model',
      'refinement',
      'sensitivity',
      'linearity',
      'grids',
      'kernels',
      'parts',
      'quantize',
      'checkpoint',
      'source',
    ],
    'workers',
  ],
  'index.ts': [
    ...[
      'higgs.ts',
      'open.ts',
      'text',
      'model',
      'refinement',
      'sensitivity',
      'sensitivity/results',
      'linearity',
      'grids',
      'kernels',
      'parts',
      'quantize',
      'checkpoint',
    ],
    ...['statistics', 'source', 'workers'],
  ],
  interop: ['text', 'families', 'linearity', 'grids', 'quantize', 'checkpoint', 'source', 'workers'],
  server: ['text'],
  terminal: ['interop', 'linearity', 'grids', 'parts', 'quantize'],
  disk: ['terminal', 'hub', 'parts', 'quantize', 'checkpoint', 'source'],
  cli: [
    ...[
      'higgs.ts',
      'open.ts',
      'advice',
      'interop',
      'server',
      'terminal',
      'disk',
      'hub',
      'text',
      'model',
      'refinement',
      'sensitivity',
      'sensitivity/results',
      'linearity',
      'grids',
      'kernels',
      'parts',
    ],
    ...['families', 'statistics', 'quantize', 'checkpoint', 'source', 'workers'],
  ],
};
const drawn = { ...allowed }; // as ARCHITECTURE.md has them
// Leaves know each other in this order.
for (const [i, leaf] of leaves.entries()) allowed[leaf] = leaves.slice(0, i);

test('imports follow the arrows', () => {
  for (const [name, code] of text) {
    const room = roomOf(name);
    assert.ok(allowed[room], `src/${name} is in no room that the house has`);
    for (const [, target] of code.matchAll(/from '(\.[^']+)'/g)) {
      const path = normalize(join(dirname(name), target)).replaceAll('\\', '/');
      if (path.startsWith('..')) continue; // build/higgs.wasm, package.json
      const other = roomOf(path);
      const permitted = leaves.includes(room) ? allowed[room] : [...leaves, ...allowed[room]];
      assert.ok(other === room || permitted.includes(other), `src/${name} must not import src/${path}`);
    }
  }
});

test('what a file exports is imported somewhere, or is public', () => {
  const doors =
    /^(index|decoder|hub\/hub|server\/server|source\/file|workers\/(web|node|worker)|grids\/large|sensitivity\/program\/worker)\.ts$/;
  const users = [...text].concat(
    ['tests', 'bench', 'examples'].flatMap((folder) =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.[mt]s$/.test(name) && !name.includes('node_modules'))
        .map((name): [string, string] => [name, readFileSync(join(folder, name), 'utf8')]),
    ),
  );
  const words = users.map(([name, code]) => [name, new Set(code.match(/\w+/g))] as const);
  const unused = [...text].flatMap(([name, code]) =>
    [
      ...(doors.test(name) ? '' : code).matchAll(
        /^export (?:async )?(?:function\*?|const|class|interface|type) (\w+)/gm,
      ),
    ]
      .filter(([, word]) => !words.some(([other, used]) => other !== name && used.has(word)))
      .map(([, word]) => `src/${name}: ${word}`),
  );
  assert.equal(unused, []);
});

// Names that two files export on purpose, and why.
const shared: Readonly<Record<string, string>> = {
  Sequence: 'text/ and model/ meet by this shape alone',
  ExtendOptions: 'text/ and model/ meet by this shape alone',
  OpenOptions: 'text/ and model/ meet by this shape alone',
  startPool: 'workers/web.ts and workers/node.ts are one face in two runtimes',
  startThreads: 'workers/web.ts and workers/node.ts are one face in two runtimes',
};

test('an exported name stands for one thing, and no other type has the name of an exported one', () => {
  const declaration = /^(export )?(?:async )?(?:abstract )?(function\*?|const|class|interface|type) (\w+)/gm;
  const places: Record<string, { types: string[]; exported: Set<string> }> = {};
  for (const [name, code] of text) {
    for (const [, isExported, kind, word] of code.matchAll(declaration)) {
      const place = Object.hasOwn(places, word) ? places[word] : { types: [], exported: new Set<string>() };
      places[word] = place;
      if (isExported) place.exported.add(name);
      else if (kind === 'interface' || kind === 'type') place.types.push(name);
    }
  }
  const twice = Object.entries(places).flatMap(([word, { types, exported }]) => {
    const files = [...exported, ...types];
    return exported.size > 0 && files.length > 1 && !Object.hasOwn(shared, word)
      ? [`${word}: ${files.join(', ')}`]
      : [];
  });
  assert.equal(twice, []);
  for (const word of Object.keys(shared)) assert.is(places[word]?.exported.size, 2, `${word} stands once: take it out`);
});

test('no room has more than 3,000 lines, those within it counted apart', () => {
  const lines: Record<string, number> = {};
  for (const [name, code] of text) lines[dirname(name)] = (lines[dirname(name)] ?? 0) + code.split('\n').length;
  for (const [room, count] of Object.entries(lines)) assert.ok(count <= 3000, `src/${room} has ${count}: divide it`);
});

test('files import nothing in a circle, types neither', () => {
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    assert.not.ok(path.includes(name), `circle: ${[...path, name].join(' → ')}`);
    if (done.has(name)) return;
    for (const [, target] of (text.get(name) ?? '').matchAll(/from '(\.[^']+)'/g)) {
      visit(normalize(join(dirname(name), target)), [...path, name]);
    }
    done.add(name);
  };
  for (const name of files) visit(name, []);
});

const homes: readonly [what: RegExp, where: RegExp][] = [
  [
    /from 'node:/,
    /^(source\/(file|handles|system)|workers\/(node|spawn)|grids\/maker\/\w+|(cli|cli\/common|disk|terminal)\/\w+)\.ts$/,
  ],
  [/\bWebAssembly\./, /^(kernels\/[\w/]+|higgs|workers\/web)\.ts$/],
  [/@assemblyscript\/loader/, /^kernels\/instantiate\.ts$/],
  [/@huggingface\/hub/, /^hub\/client\.ts$/],
  [/@mlc-ai\/web-xgrammar/, /^server\/structured\/grammar\.ts$/],
  [/from 'hono/, /^server\/(server|guard)\.ts$/],
  [/\bprocess\.|\bBuffer\b/, /^(cli|cli\/common|disk|terminal|grids\/maker)\/\w+\.ts$/],
  [/process\.(stdout|stderr)|\bconsole\./, /^(terminal\/print|grids\/maker\/index)\.ts$/],
  [/\bdocument\.|\bwindow\./, /^$/],
  [/\beval\(|new Function\(/, /^$/],
];

for (const [label, where] of homes) {
  test(`${label.source} stands only where it belongs`, () => {
    for (const [name, code] of text) {
      if (!where.test(name)) assert.not.ok(label.test(code.replace(/\/\/.*|\/\*[\s\S]*?\*\//g, '')), `src/${name}`);
    }
  });
}

for (const name of [
  'index',
  'index-edge',
  'decoder',
  'decoder-edge',
  'hub',
  'server',
  'grids',
  'workers',
  'workers-edge',
]) {
  test(`build/${name}.js has nothing of one runtime`, () => {
    const bundle = readFileSync(`build/${name}.js`, 'utf8').replace(/^\/\/.*$|\/\*[\s\S]*?\*\//gm, '');
    for (const word of [/\bBuffer\b/, /\bprocess\b/, /\brequire\(/, /\bdocument\b/, /['"]node:/, /['"]fs['"]/]) {
      assert.not.match(bundle, word);
    }
  });
}

const documents = ['ARCHITECTURE.md', 'DECISIONS.md', 'CONTRIBUTING.md', 'FORMAT.md', 'CHANGELOG.md'];
const architecture = readFileSync('ARCHITECTURE.md', 'utf8');

test('ARCHITECTURE.md is a map: 150 lines at most', () => {
  const lines = architecture.trimEnd().split('\n').length;
  assert.ok(lines <= 150, `${lines} lines`);
});

test('the tree of ARCHITECTURE.md has every room, and every file at the top of src/', () => {
  const [tree] = blocksOf(architecture);
  const [, ofSources] = /^src\/\n((?: {2}.*\n)+)/m.exec(tree) ?? [];
  const named = [...(ofSources ?? '').matchAll(/^ {2}([\w.]+\/?) /gm)].map(([, name]) => name);
  const there = readdirSync('src').map((name) => (statSync(join('src', name)).isDirectory() ? `${name}/` : name));
  assert.equal(named.sort(), there.sort());
  for (const [, folder] of tree.matchAll(/^(\w+\/)/gm)) assert.ok(existsSync(folder), folder);
});

test('the arrows of ARCHITECTURE.md are those that imports follow', () => {
  const [, arrows] = blocksOf(architecture);
  const arrowsOf = [...arrows.matchAll(/^(\S+) +→(.*)$/gm)].map(([, room, others]) => [room, words(others).sort()]);
  const held = Object.entries(drawn).map(([room, others]) => [room, [...others].sort()]);
  assert.equal(Object.fromEntries(arrowsOf), Object.fromEntries(held));
  const [, named] = /The leaves are (.*)\.$/m.exec(architecture) ?? [];
  assert.equal([...(named ?? '').matchAll(/`([\w.]+)\/?`/g)].map(([, leaf]) => leaf).sort(), [...leaves].sort());
});

for (const name of documents) {
  test(`${name} names files and commands that are there`, () => {
    const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
    for (const [, span] of readFileSync(name, 'utf8').matchAll(/`([^`\n]+)`/g)) {
      if (/^(src|assembly|tests|bench|examples)\/[\w./-]*$|^[A-Z]+\.md$/.test(span)) assert.ok(existsSync(span), span);
      const [, script] = /^npm run (?:--silent )?([\w:]+)/.exec(span) ?? [];
      if (script) assert.ok(scripts[script], span);
      const [, bench] = /^node build\/bench\/(\w+)\.js/.exec(span) ?? [];
      if (bench) assert.ok(existsSync(`bench/${bench}.ts`), span);
    }
  });
}

test('links within DECISIONS.md and from the documents to one another lead somewhere', () => {
  const pages = readdirSync('docs').filter((name) => name.endsWith('.md'));
  for (const name of [...documents, 'README.md', ...pages.map((page) => `docs/${page}`)]) {
    const document = readFileSync(name, 'utf8');
    const places = [...document.matchAll(/^#+ (.*)$/gm)].map(([, title]) => title.toLowerCase().replaceAll(' ', '-'));
    for (const [, place] of document.matchAll(/\]\(#([^)]+)\)/g))
      assert.ok(places.includes(place), `${name}: #${place}`);
    for (const [, path] of document.matchAll(/\]\((?!https?:|#)([^)#]+)/g))
      assert.ok(existsSync(join(dirname(name), path)), `${name}: ${path}`);
  }
});

test('comments name files that are there', () => {
  const folders = readdirSync('.', { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const sources = folders.map(({ name }) => name).filter((name) => !/^(\..*|build|node_modules)$/.test(name));
  const paths = sources.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map((path) => `/${folder}/${path.replaceAll('\\', '/')}`)
      .filter((path) => !path.includes('/node_modules/')),
  );
  const targets = [...paths, ...readdirSync('.').map((name) => `/${name}`)];
  for (const path of paths.filter((path) => /\.(ts|mjs)$/.test(path))) {
    for (const [, comment] of readFileSync(`.${path}`, 'utf8').matchAll(/(?:^|\s)(?:\/\/|\*|\/\*\*) (.*)$/gm)) {
      for (const [named] of comment.matchAll(/(?<![\w*./-])\w[\w./-]*\.(?:ts|mjs|md)\b/g)) {
        assert.ok(
          targets.some((place) => place.endsWith(`/${named}`)),
          `${path} names ${named}`,
        );
      }
    }
  }
});

test.run();

function blocksOf(document: string): string[] {
  return [...document.matchAll(/^```\n([\s\S]*?)^```$/gm)].map(([, block]) => block);
}

function words(text: string): string[] {
  return text.split(' ').filter((word) => word !== '');
}

function roomOf(name: string): string {
  for (const inner of ['grids/maker', 'sensitivity/program', 'sensitivity/results', 'text/jinja', 'text/patterns'])
    if (name.startsWith(`${inner}/`)) return inner;
  return name.includes('/') ? name.slice(0, name.indexOf('/')) : name;
}
