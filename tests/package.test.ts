// The package as users get it: packed, installed into an empty project, used from every kind of module and runtime.

import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { type BuildOptions, build } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openPage } from './browser.ts';
import { testWith } from './installed.ts';
import { serveFolder } from './static.ts';
import { serveWorkerd } from './workerd.ts';

const test = suite('package');
delete process.env.FORCE_COLOR; // the runner sets it, and children would colour numbers
const run = promisify(execFile);
const project = mkdtempSync(join(tmpdir(), 'higgs-package-'));
const installed = join(project, 'node_modules/higgs-wasm');
const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
let packed: { filename: string; size: number; unpackedSize: number; files: { path: string }[] };

test.before(() => {
  execFileSync(process.execPath, ['declarations.mjs'], { stdio: 'inherit' });
  const quiet: { encoding: 'utf8'; stdio: ['ignore', 'pipe', 'ignore'] } = {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  };
  [packed] = JSON.parse(
    execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], quiet),
  );
  write('package.json', '{"private": true}');
  // The dependencies of the command line come from here, so that nothing has to be fetched.
  const dependencies = Object.keys(manifest.dependencies).map((name) => `file:${resolve('node_modules', name)}`);
  const tarball = join(project, packed.filename);
  execFileSync('npm', ['install', '--offline', '--ignore-scripts', tarball, ...dependencies], {
    ...quiet,
    cwd: project,
  });
});
test.after(() => rmSync(project, { recursive: true, force: true }));

test('npm pack holds what users need and nothing else', () => {
  const paths = packed.files.map(({ path }) => path);
  const kinds = paths.map((path) =>
    /^build\/types\/.*\.d\.ts$/.test(path) ? 'build/types' : path.replace(/^build\/web\/.*/, 'build/web'),
  );
  assert.equal(
    [...new Set(kinds)].sort(),
    [
      ...['CHANGELOG.md', 'FORMAT.md', 'LICENSE', 'README.md', 'package.json'],
      ...[
        'build/decoder-edge.js',
        'build/decoder.js',
        'build/decoder.wasm',
        'build/files.js',
        'build/flute.js',
        'build/gguf.js',
        'build/grammar.js',
        'build/grids.js',
        'build/higgs.js',
        'build/higgs.wasm',
        'build/hub.js',
        'build/index-edge.js',
        'build/index.js',
        'build/licenses.txt',
        'build/server.js',
        'build/types',
        'build/web',
      ],
      ...['build/workers-edge.js', 'build/workers-node.js', 'build/workers.js'],
      ...['decoder', 'files', 'flute', 'gguf', 'grids', 'hub', 'index', 'server', 'workers', 'workers-node'].map(
        (name) => `build/${name}.js.map`,
      ),
    ].sort(),
  );
  // 0.7 MB of it, 2.7 MB unpacked, are source maps with their sources: by them debuggers and stacks show what was written.
  // The kernels are in every bundle that has them: error feedback takes 0.08 MB of it.
  // 0.4 MB of it, 1 MB unpacked, are the grammar engine: one file, which a server imports when the first schema comes. 0.1 MB are the server,
  // whose checks of schemas, prompts and clients that leave took it beyond 9.4 MB, unpacked.
  // 0.3 MB are what writes for and reads of other programs: GGUF, types for llama-quantize, transformers, FLUTE, AWQ and its like; 0.1 MB of
  // that, unpacked, are their sources in maps.
  // Parts of several machines and their merging take 0.1 MB, unpacked.
  // 0.4 MB of it, 1.2 MB unpacked, are the page, which `higgs serve` serves: the library once more, as its worker has it. 2.7 MB of it,
  // packed and unpacked, are the demo model at 4 bits: a first sentence needs no network. The original, 10 MB, stays out.
  // 0.08 MB, unpacked, are docstrings of members, in declarations and in maps; 0.03 MB of that are those of structures that rooms share.
  // 0.02 MB, 0.06 MB unpacked, are products of eight activations and folded checksums, in every bundle.
  // 0.02 MB, 0.12 MB unpacked, are sums of two products in i16, integer products of feedback and importance matrices, in bundles and in maps.
  assert.ok(packed.size < 6_545e3, `${packed.size} bytes packed`);
  assert.not.ok(packed.files.some(({ path }) => path.startsWith('build/web/demo/')));
  assert.ok(paths.includes('build/web/demo-4bit/model.safetensors'));
  assert.ok(packed.unpackedSize < 14.7e6, `${packed.unpackedSize} bytes unpacked`);
  for (const target of targetsOf(manifest.exports)) assert.ok(paths.includes(target.slice(2)), target);
  assert.not.ok(existsSync(join(installed, 'node_modules')));
});

test('sizes keep to their budgets', async () => {
  const wasm = readFileSync(join(installed, 'build/higgs.wasm'));
  const core = await bundle(`export * from 'higgs-wasm';`);
  const decoder = await bundle(`export * from 'higgs-wasm/decoder';`);
  const loader = await bundle(`import { load } from 'higgs-wasm'; load();`);
  const gguf = readFileSync(join(installed, 'build/gguf.js'));
  // 8.5 kB of it, 2.4 kB gzipped, search trellises by labels, of 1, 2, 4 and 8 codes with the same low bits; 7.4 kB gzipped are
  // error feedback, of all trellises. 2.1 kB fold what is checked.
  assert.ok(wasm.length <= 69_300 && gzip(wasm) <= 24_450, `higgs.wasm: ${wasm.length} bytes, ${gzip(wasm)} gzipped`);
  // 1.7 kB of it are the checks of what callers give, 1.3 kB the escape of what is shown, 0.9 kB sealed journals, 0.5 kB budgets
  // whose sensitivities are still to be measured, 0.7 kB experts that become matrices, 0.4 kB their
  // grids together and layers behind the last, 0.9 kB requests that go on where an answer broke off or stalled.
  // 0.5 kB are the private file system's access handles and what is asked for ahead, 4.2 kB trellises by labels, 12.7 kB error feedback:
  // 7.7 kB its kernels, which are embedded as text, the rest what calls them, notes and errors. 0.6 kB find weights in the codes of other
  // programs, and what config.json says of ours.
  // 4.3 kB of it are parts: shares, merging, notes, of which what another hand sealed is checked. 0.1 kB are messages that show what
  // they found, 0.05 kB tell archives and empty texts, 0.5 kB fold checksums.
  // 1.3 kB are products of integers for error feedback, 0.3 kB two rows of a factorisation,
  // 0.1 kB the checks of what a source puts in place, and of statistics.
  assert.ok(gzip(core) <= 98_100, `core: ${core.length} bytes minified, ${gzip(core)} gzipped`);
  assert.ok(gzip(loader) <= gzip(core));
  const hub = await bundle(`export * from 'higgs-wasm/hub';`);
  const serving = await bundle(`export * from 'higgs-wasm/server';`);
  assert.ok(gzip(serving) <= 450_000, `server: ${serving.length} bytes minified, ${gzip(serving)} gzipped`);
  assert.ok(gzip(hub) <= 14_000, `hub: ${hub.length} bytes minified, ${gzip(hub)} gzipped`);
  // 3.4 kB of it are architectures, 1.7 kB ways to cut texts, 0.8 kB gpt-oss: MXFP4, rows that take turns; 4.7 kB AWQ,
  // GPTQ, bitsandbytes and compressed-tensors, which stand in the same file. 0.05 kB pass over strings of JSON by expressions.
  assert.ok(gzip(gguf) <= 23_450, `gguf: ${gguf.length} bytes minified, ${gzip(gguf)} gzipped`);
  // 1.8 kB of it are Jinja2's and the Rust tokenizers' ways where the libraries have others.
  // 8 kB of it are the regular expressions and the checks of tokenizer.json: published engines take 45 kB. 33 kB are families, 3 kB
  // sensitivities that are kept, 8.5 kB statistics: their kernel in both builds, the groups, the file. 1.5 kB are experts
  // that share slots, 2 kB gradients of states and gates, 2 kB loading by all threads, 2 kB reading ahead
  // and five families more, 20 kB attention in registers and over codes, 7.5 kB products of trellises by labels, in both builds,
  // 1.5 kB what is gathered to refine by, 2.8 kB products of eight activations and folded checksums, in both builds.
  // 2 kB are plain weights times several activations, in both builds, 0.1 kB norms of rows, 0.1 kB activations with
  // infinity. 2.2 kB are eights by pairs of products, of relaxed SIMD alone.
  // 1.4 kB are sums of two products in i16, in both builds, 0.6 kB rows that threads take in parts and inputs that each makes.
  assert.ok(gzip(decoder) <= 242_800, `decoder: ${decoder.length} bytes minified, ${gzip(decoder)} gzipped`);
});

test('every subpath resolves under every condition, types first', async () => {
  for (const [subpath, conditions] of Object.entries<Record<string, string>>(manifest.exports)) {
    const specifier = `higgs-wasm${subpath.slice(1)}`;
    if (typeof conditions === 'object') assert.is(Object.keys(conditions)[0], 'types');
    for (const condition of ['workerd', 'browser', 'deno', 'bun', 'node', 'default']) {
      const { metafile } = await esbuild(`import ${JSON.stringify(specifier)}`, {
        conditions: [condition],
        platform: 'neutral',
        external: ['node:*'],
        loader: { '.wasm': 'empty', '.json': 'empty' },
        ignoreAnnotations: true,
      });
      const names = Object.keys(metafile.inputs).filter((name) => name.includes('higgs-wasm/'));
      const files = names.map((name) => name.slice(name.lastIndexOf('/') + 1)).filter((name) => name.endsWith('.js'));
      const edge = condition === 'workerd';
      // The core imports what runs models and what reads from hubs when it is asked to, and what reads GGUF when it meets one.
      const decoder = edge ? 'decoder-edge.js' : 'decoder.js';
      const expected: Readonly<Record<string, string[]>> = {
        '.': [decoder, 'flute.js', 'gguf.js', 'hub.js', edge ? 'index-edge.js' : 'index.js'],
        './hub': ['hub.js'],
        './decoder': [decoder, 'flute.js', 'gguf.js'],
        './workers': [edge ? 'workers-edge.js' : condition === 'node' ? 'workers-node.js' : 'workers.js'],
        './grids': ['grids.js'],
        './files': ['files.js'],
        './server': ['grammar.js', 'server.js'],
      };
      assert.equal(files.sort(), expected[subpath] ?? [], `${specifier} for ${condition}`);
    }
  }
});

// What every kind of module and runtime is asked to print.
const USE = `
  const higgs = await load();
  const matrix = higgs.quantize(new Float32Array(64).map((_, i) => i - 31.5), { rows: 2, cols: 32 });
  const pool = await startPool(1);
  console.log(matrix.packed.join(), [...higgs.matvec(matrix, new Float32Array(32).fill(1))].join(), pool.size);
  await pool.close();`;
const IMPORTS = `import { load } from 'higgs-wasm'; import { startPool } from 'higgs-wasm/workers';`;
const REQUIRES = `const { load } = require('higgs-wasm'); const { startPool } = require('higgs-wasm/workers');`;

test('import works in Node', async () => {
  write('use.mjs', IMPORTS + USE);
  assert.is(await output(process.execPath, 'use.mjs'), await expected());
});

test('loadModel imports the decoder beside the core', async () => {
  write(
    'generate.mjs',
    `import { load } from 'higgs-wasm';
    import { openFolder } from 'higgs-wasm/files';
    import { startThreads } from 'higgs-wasm/workers';
    const folder = await openFolder(${JSON.stringify(resolve('models/books-llama'))});
    const model = await (await load()).loadModel(folder, { threads: await startThreads(2) });
    await folder.close();
    const generation = model.generate('The natural selection of species', { maxTokens: 8 });
    for await (const piece of generation);
    console.log(generation.result.text.trim());
    await model.close();`,
  );
  assert.is(await output(process.execPath, 'generate.mjs'), '.\n\nThese differences between');
});

test('errors of one subpath are those of another', async () => {
  write(
    'errors.mjs',
    `import { FileError, FormatError } from 'higgs-wasm';
    import { openFolder } from 'higgs-wasm/files';
    const folder = await openFolder('.');
    const errors = await Promise.all([openFolder('nothing'), folder.open('nothing')].map((run) => run.catch((error) => error)));
    console.log(errors[0] instanceof FileError, errors[1] instanceof FormatError, errors[0] instanceof FormatError);`,
  );
  assert.is(await output(process.execPath, 'errors.mjs'), 'true true false');
});

test('require() works in Node, without a warning', async () => {
  write('use.cjs', `${REQUIRES} (async () => {${USE}})();`);
  const { stdout, stderr } = await run(process.execPath, ['use.cjs'], { cwd: project });
  assert.is(stdout.trim(), await expected());
  assert.is(stderr, '');
});

testWith(test, 'deno', 'import works in Deno', async (deno) => {
  write('use.mjs', IMPORTS + USE);
  assert.is(await output(deno, 'run', 'use.mjs'), await expected());
});

testWith(test, 'bun', 'import and require() work in Bun', async (bun) => {
  write('use.mjs', IMPORTS + USE);
  write('use.cjs', `${REQUIRES} (async () => {${USE}})();`);
  assert.is(await output(bun, 'use.mjs'), await expected());
  assert.is(await output(bun, 'use.cjs'), await expected());
});

// By the names that the condition `workerd` resolves to, or with the bundles of everyone and a module given to `load`.
for (const given of [false, true]) {
  const edge = given ? '' : '-edge';
  const label = given ? 'load(module) works in workerd' : 'load() works in workerd, its kernels compiled by the host';
  testWith(test, 'workerd', label, async (workerd) => {
    const use = given ? USE.replace('load()', 'load(module)').replace('startPool(1)', 'startPool(1, module)') : USE;
    write(
      'worker.js',
      `${given ? "import module from 'higgs.wasm';" : ''}
      ${IMPORTS.replaceAll('import ', '\nimport ')}
      export default {
        async fetch() {
          const lines = [];
          const console = { log: (...words) => lines.push(words.join(' ')) };
          ${use}
          return new Response(lines.join('\\n'));
        },
      };`,
    );
    const build = 'node_modules/higgs-wasm/build';
    write(
      'config.capnp',
      `using Workerd = import "/workerd/workerd.capnp";
      const config :Workerd.Config = (
        services = [(name = "main", worker = (
          compatibilityDate = "2026-01-01",
          modules = [
            (name = "worker.js", esModule = embed "worker.js"),
            (name = "higgs-wasm", esModule = embed "${build}/index${edge}.js"),
            (name = "higgs-wasm/workers", esModule = embed "${build}/workers${edge}.js"),
            (name = "higgs.wasm", wasm = embed "${build}/higgs.wasm"),
            (name = "higgs-wasm/higgs.wasm", wasm = embed "${build}/higgs.wasm"),
          ],
        ))],
        sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")],
      );`,
    );
    const served = await serveWorkerd(workerd, join(project, 'config.capnp'));
    try {
      assert.is(await (await fetch(served.base)).text(), await expected());
    } finally {
      await served.close();
    }
  });
}

testWith(test, 'chromium', 'an import map is all that a page needs', async (chromium) => {
  const map = Object.fromEntries(
    ['index', 'workers'].map((name) => [
      name === 'index' ? 'higgs-wasm' : `higgs-wasm/${name}`,
      `./node_modules/higgs-wasm/build/${name}.js`,
    ]),
  );
  write(
    'index.html',
    `<!doctype html><title>wait</title><script type="importmap">${JSON.stringify({ imports: map })}</script>
    <script type="module">${IMPORTS}
      const console = { log: (...words) => { document.title = words.join(' '); } };
      ${USE}
    </script>`,
  );
  const served = await serveFolder(project);
  const { page, close } = await openPage(chromium);
  try {
    await page.goto(`${served.base}/index.html`);
    await page.waitForFunction(`document.title !== 'wait'`);
    assert.is(await page.title(), await expected());
  } finally {
    await close();
    await served.close();
  }
});

testWith(test, 'chromium', 'a page takes it from a CDN, as docs/runtimes.md has it', async (chromium) => {
  const cdn = await serveFolder(installed, { 'access-control-allow-origin': '*' });
  const [, snippet] = /^```html\n([\s\S]*?)^```$/m.exec(readFileSync('docs/runtimes.md', 'utf8'))!;
  const address = /https:\/\/cdn\.jsdelivr\.net\/npm\/higgs-wasm@0\.1(?=\/build)/;
  assert.match(snippet, address);
  write('cdn.html', `<!doctype html><title>wait</title>${snippet.replace(address, cdn.base)}`);
  const served = await serveFolder(project);
  const { page, close } = await openPage(chromium);
  try {
    await page.goto(`${served.base}/cdn.html`);
    await page.waitForFunction(`document.title !== 'wait'`);
    assert.is(await page.title(), '4.02');
  } finally {
    await close();
    await served.close();
    await cdn.close();
  }
});

test('metadata of other registries and of papers agree with package.json', () => {
  const jsr = JSON.parse(readFileSync('jsr.json', 'utf8'));
  assert.is(jsr.version, manifest.version);
  for (const [name, file] of Object.entries(jsr.exports)) assert.is(file, manifest.exports[name].default);
  assert.match(readFileSync('CITATION.cff', 'utf8'), `\nversion: ${manifest.version}\n`);
});

for (const [module, moduleResolution] of [
  ['node16', 'node16'],
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
] as const) {
  test(`types resolve under moduleResolution ${moduleResolution}, without types of Node`, async () => {
    write(
      'use.mts',
      `import { type Folder, FormatError, type Higgs, load, type QuantizedMatrix } from 'higgs-wasm';
      import { createFolder, openFolder } from 'higgs-wasm/files';
      import { largeGrids, p4n4096 } from 'higgs-wasm/grids';
      import { createSampler, openTokenizer } from 'higgs-wasm/decoder';
      import type { Generation, Model } from 'higgs-wasm';
      import { openHub } from 'higgs-wasm/hub';
      import { startPool, startThreads } from 'higgs-wasm/workers';
      const higgs: Higgs = await load(undefined, { grids: [p4n4096, ...largeGrids] });
      const matrix: QuantizedMatrix = higgs.quantize(new Float32Array(64), { rows: 2, cols: 32, grid: 'p2n256' });
      const y: Float32Array<ArrayBuffer> = higgs.matvec(matrix, new Float32Array(32));
      const input: Folder = await openFolder('in');
      const named: Folder = await openHub('hf:org/model', { token: 'x', endpoint: 'https://hub.test' });
      await higgs.open('hf:org/model').then((checkpoint) => checkpoint.inspect());
      const pool = await startPool(2);
      await higgs.quantizeCheckpoint(input, await createFolder('out'), { pool, include: /x/ });
      const model: Model = await higgs.loadModel(input, { threads: await startThreads(2), context: 128 });
      const generation: Generation = model.generate('x', { temperature: 1, stop: ['y'] });
      for await (const piece of generation) piece.length;
      const ids: number[] = (await openTokenizer(input)).encode('x');
      createSampler({ seed: 1 })(await model.logits(ids), new Set(ids));
      // @ts-expect-error: the types say what is wrong
      higgs.quantize(new Float32Array(64), { rows: 2 });
      export { FormatError, named, y };`,
    );
    await check('use.mts', module, moduleResolution);
  });
}

test('types resolve from CommonJS under nodenext', async () => {
  write(
    'use.cts',
    `import { load } from 'higgs-wasm';\nload().then((higgs) => higgs.grids.get('p2n256')!.mse.toFixed(2));`,
  );
  await check('use.cts', 'nodenext', 'nodenext');
});

test('source maps have the sources, and lead to them', () => {
  for (const name of ['decoder', 'files', 'gguf', 'grids', 'hub', 'index', 'workers', 'workers-node']) {
    const code = readFileSync(join(installed, `build/${name}.js`), 'utf8');
    assert.match(code, new RegExp(`//# sourceMappingURL=${name}\\.js\\.map\n$`));
    const map = JSON.parse(readFileSync(join(installed, `build/${name}.js.map`), 'utf8'));
    const sources = map.sources.filter((source: string) => source.startsWith('../src/'));
    assert.ok(sources.length > 0 && map.sourcesContent.length === map.sources.length, name);
  }
});

test('types need nothing of browsers but what Node declares', async () => {
  write(
    'node.mts',
    `import { type GridName, load } from 'higgs-wasm';
    import { openFolder } from 'higgs-wasm/files';
    const grid: GridName = 't4';
    const higgs = await load();
    const checkpoint = await higgs.open(await openFolder('in'));
    await checkpoint.plan({ grid, embeddings: 'own-grid' });
    // @ts-expect-error: no grid has this name
    const none: GridName = 't7';
    export const text: string = await (await checkpoint.run()).complete('x', { maxTokens: 1 });`,
  );
  const types = ['--types', 'node', '--typeRoots', resolve('node_modules/@types')];
  const options = ['--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2022', ...types];
  const args = [resolve('node_modules/typescript/bin/tsc'), ...options, '--module', 'nodenext', 'node.mts'];
  await run(process.execPath, args, { cwd: project }).catch(({ stdout }) => assert.unreachable(stdout));
});

test('declarations name neither sources nor types that users do not have', () => {
  const paths = packed.files.map(({ path }) => path).filter((path) => path.endsWith('.d.ts'));
  for (const path of paths) {
    const code = readFileSync(join(installed, path), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
    for (const word of [
      /\.ts['"]/,
      /declare module/,
      /\.(wasm|f32)\b/,
      /['"]node:/,
      /\bNodeJS\b/,
      /\bBuffer\b/,
      /<reference/,
      /\bWebAssembly\b/,
    ]) {
      assert.not.match(code, word, path);
    }
  }
});

test('esbuild bundles it for browsers, and importing load brings no larger grids', async () => {
  write('use.mjs', IMPORTS + USE);
  const { outputFiles, metafile } = await esbuild(`import './use.mjs';`, {
    platform: 'browser',
    splitting: false,
    ignoreAnnotations: true,
  });
  assert.equal(
    Object.values(metafile.outputs).flatMap(({ imports }) => imports),
    [],
  );
  for (const name of Object.keys(metafile.inputs)) assert.not.match(name, /grids|files|workers-node/);
  write('bundled.mjs', outputFiles[0].text);
  assert.not.match(outputFiles[0].text, /from ?["']node:/);
});

test('the command works', async () => {
  const higgs = join(project, 'node_modules/.bin/higgs');
  assert.is(await output(higgs, '--version'), manifest.version);
  await run(higgs, ['quantize', resolve('models/books-llama'), '-o', 'books'], { cwd: project });
  assert.match(await output(higgs, 'verify', 'books'), /\S/);
});

test('the command does not import node:http, with which newer Nodes load a client', () => {
  assert.not.match(readFileSync('build/higgs.js', 'utf8'), /from "(node:)?http"/);
});

test('higgs-wasm/higgs.wasm is the kernels, for those who compile them themselves', async () => {
  write(
    'own.mjs',
    `import { readFileSync } from 'node:fs';
    import { fileURLToPath } from 'node:url';
    ${IMPORTS}
    const path = fileURLToPath(import.meta.resolve('higgs-wasm/higgs.wasm'));
    const module = await WebAssembly.compile(readFileSync(path));
    ${USE.replace('load()', 'load(module)')}`,
  );
  assert.is(await output(process.execPath, 'own.mjs'), await expected());
});

test.run();

let line = '';
async function expected(): Promise<string> {
  if (line) return line;
  const { load } = await import('../src/index.ts');
  const higgs = await load();
  const matrix = higgs.quantize(
    new Float32Array(64).map((_, i) => i - 31.5),
    { rows: 2, cols: 32 },
  );
  line = `${matrix.packed.join()} ${higgs.matvec(matrix, new Float32Array(32).fill(1)).join()} 1`;
  return line;
}

function write(name: string, text: string): void {
  mkdirSync(project, { recursive: true });
  writeFileSync(join(project, name), text);
}

async function output(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(program, args, { cwd: project });
  return stdout.trim();
}

async function check(file: string, module: string, moduleResolution: string): Promise<void> {
  const options = [
    '--noEmit',
    '--strict',
    '--target',
    'es2022',
    '--module',
    module,
    '--moduleResolution',
    moduleResolution,
  ];
  const args = [resolve('node_modules/typescript/bin/tsc'), ...options, '--types', '', file];
  await run(process.execPath, args, { cwd: project }).catch(({ stdout }) => assert.unreachable(stdout));
}

function targetsOf(value: string | Record<string, unknown>): string[] {
  return typeof value === 'string' ? [value] : Object.values(value).flatMap((each) => targetsOf(each as string));
}

function esbuild(contents: string, options: BuildOptions) {
  return build({
    stdin: { contents, resolveDir: project },
    bundle: true,
    splitting: true,
    outdir: project,
    format: 'esm',
    logLevel: 'silent',
    ...options,
    write: false,
    metafile: true,
  });
}

async function bundle(contents: string): Promise<Uint8Array> {
  const { outputFiles } = await esbuild(contents, { minify: true, platform: 'browser' });
  return outputFiles.find(({ path }) => path.endsWith('stdin.js'))!.contents;
}

function gzip(bytes: Uint8Array): number {
  return gzipSync(bytes, { level: 9 }).length;
}
