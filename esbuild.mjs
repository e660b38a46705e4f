// Builds everything into build/: kernels (asc), bundles (esbuild). `--tests`, `--fuzz`, `--runtimes`, `--bench`,
// `--docs` and `--grids` bundle those as well. The type declarations come from declarations.mjs.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { build } from 'esbuild';
import { bundleRuntimes } from './tests/runtimes/bundle.mjs';
import { bundlePage, PAGE_PACKAGES, quantizeDemo } from './web/bundle.mjs';

const wanted = new Set(process.argv.slice(2));
const dependencies = [
  'commander',
  'cli-progress',
  'uvu',
  'uvu/*',
  'benchmark',
  'fast-check',
  'esbuild',
  'puppeteer-core',
  'openai',
  'ai',
  '@ai-sdk/*',
  'zod',
  'yaml',
  'kubernetes-models/*',
];

// The hub's client by its sources: of its bundle, none of which may be left out, one needs a twentieth.
/** @type {import('esbuild').Plugin} */
const hubClient = {
  name: 'hub client',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^@huggingface\/hub$/ }, () => ({ path: 'client', namespace: 'hub' }));
    onLoad({ filter: /./, namespace: 'hub' }, () => ({
      contents: ['consts', 'lib/list-files', 'lib/model-info']
        .map((name) => `export * from './${name}.ts';`)
        .join('\n'),
      resolveDir: 'node_modules/@huggingface/hub/src',
    }));
  },
};

// The grammar engine as a function that makes an instance: one that has failed is of no use. It says that it is a module, and is none; and it asks for files of Node's, though its kernel is within it.
/** @type {import('esbuild').Plugin} */
const grammarEngine = {
  name: 'grammar engine',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^@mlc-ai\/web-xgrammar$/ }, () => ({ path: 'xgrammar', namespace: 'grammar' }));
    onLoad({ filter: /./, namespace: 'grammar' }, () => {
      const place =
        /\(typeof document === 'undefined' && typeof location === 'undefined' \? require\('u' \+ 'rl'\)(?:[^()]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))*\)/g;
      const contents = readFileSync('node_modules/@mlc-ai/web-xgrammar/lib/index.js', 'utf8')
        .replace(place, "''")
        .replace("await import('module')", '{}')
        .replace(/console\.\w+\.bind\(console\)/g, '(() => {})') // it tells of each schema that it refuses
        .replace(/ENVIRONMENT_IS_(WEB|WORKER|NODE)=typeof [^;]*;/g, 'ENVIRONMENT_IS_$1=false;');
      if (/require\('u'/.test(contents)) throw new Error('the grammar engine is not as it was: see esbuild.mjs');
      return {
        contents: `export function openEngine() { const module = { exports: {} }; const { exports } = module; ${contents}\nreturn exports; }`,
        loader: 'js',
      };
    });
  },
};

// node:http by require(): who imports it has Node 26 load a client of HTTP that takes 80 ms, as one of its exports.
/** @type {import('esbuild').Plugin} */
const serversOfHttp = {
  name: 'servers of http',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^(node:)?http$/ }, () => ({ path: 'http', namespace: 'required' }));
    onLoad({ filter: /./, namespace: 'required' }, () => ({
      contents: `import { createRequire } from 'node:module';
        export const { createServer, ServerResponse, STATUS_CODES } = createRequire(import.meta.url)('node:http');`,
    }));
  },
};

/** @type {import('esbuild').BuildOptions} */
const shared = {
  bundle: true,
  format: 'esm',
  target: 'es2022',
  loader: { '.wasm': 'binary', '.f32': 'binary', '.safetensors': 'binary', '.py': 'text' },
  external: ['node:*', ...dependencies],
  logLevel: 'warning',
  plugins: [hubClient, grammarEngine],
};

const asc = 'node_modules/assemblyscript/bin/asc.js';
compileKernels();

/**
 * The core imports what runs models and what reads from hubs when it is asked to, and what reads weights of other programs when it meets them: files beside it.
 * @param {string} decoder the name of the one @returns {import('esbuild').Plugin}
 */
const beside = (decoder) => ({
  name: 'beside the core',
  setup: ({ onResolve }) => {
    onResolve({ filter: /^\.[./]*\/decoder\.ts$/ }, () => ({ path: decoder, external: true }));
    onResolve({ filter: /^\.\/hub\/hub\.ts$/ }, () => ({ path: './hub.js', external: true }));
    onResolve({ filter: /^\.\/foreign\.ts$/ }, () => ({ path: './gguf.js', external: true }));
    onResolve({ filter: /^\.\/flute\/read\.ts$/ }, () => ({ path: './flute.js', external: true }));
    onResolve({ filter: /^\.\.\/server\/server\.ts$/ }, () => ({ path: './server.js', external: true }));
    onResolve({ filter: /^\.\/grammar\.ts$/ }, () => ({ path: './grammar.js', external: true }));
  },
});

/** @type {import('esbuild').BuildOptions} */
const library = { ...shared, outdir: 'build', platform: 'neutral', mainFields: ['module', 'main'] };
// First, because the pools embed them as text.
const workers = { worker: 'src/workers/worker.ts', 'decoder-worker': 'src/sensitivity/program/worker.ts' };
await build({ ...library, entryPoints: workers, minify: true });
await build({
  ...library,
  entryPoints: {
    index: 'src/index.ts',
    grids: 'src/grids/large.ts',
    files: 'src/source/file.ts',
    workers: 'src/workers/web.ts',
    'workers-node': 'src/workers/node.ts',
  },
  minifySyntax: true,
  sourcemap: true,
  plugins: [beside('./decoder.js')],
});
// Code of workers, which stands in the pools as text, is not what was written: maps need not have it once more.
for (const map of ['build/workers.js.map', 'build/workers-node.js.map']) {
  const content = JSON.parse(readFileSync(map, 'utf8'));
  const written = (/** @type {string | null} */ text, /** @type {number} */ i) =>
    content.sources[i].startsWith('../') ? text : null;
  writeFileSync(map, JSON.stringify({ ...content, sourcesContent: content.sourcesContent.map(written) }));
}
await build({
  ...library,
  entryPoints: { decoder: 'src/decoder.ts' },
  minify: true,
  sourcemap: true,
  plugins: [beside('./decoder.js')],
});
await build({ ...library, entryPoints: { gguf: 'src/checkpoint/foreign.ts' }, minify: true, sourcemap: true });
await build({ ...library, entryPoints: { flute: 'src/checkpoint/flute/read.ts' }, minify: true, sourcemap: true });
await build({
  ...library,
  entryPoints: { hub: 'src/hub/hub.ts' },
  minify: true,
  sourcemap: true,
  plugins: [hubClient, beside('./decoder.js')],
});
await build({
  ...library,
  entryPoints: { server: 'src/server/server.ts' },
  minify: true,
  sourcemap: true,
  plugins: [beside('./decoder.js')],
});
await build({ ...library, entryPoints: { grammar: 'src/server/structured/grammar.ts' }, minify: true });
// Edge workers may not compile bytes: there the kernels are modules beside the bundles, which the host compiles.
/** @type {import('esbuild').Plugin} */
const kernelsBeside = {
  name: 'kernels as a module',
  setup: ({ onResolve, onLoad }) => {
    // A host compiles every module that is imported, and not every one knows relaxed SIMD.
    onResolve({ filter: /decoder\.relaxed\.wasm$/ }, () => ({ path: 'none', namespace: 'none' }));
    onLoad({ filter: /./, namespace: 'none' }, () => ({ contents: 'export default new Uint8Array();' }));
    onResolve({ filter: /\.wasm$/ }, ({ path }) => ({ path: `./${basename(path)}`, external: true }));
  },
};
await build({
  ...library,
  entryPoints: { 'index-edge': 'src/index.ts', 'workers-edge': 'src/workers/web.ts' },
  minifySyntax: true,
  plugins: [kernelsBeside, beside('./decoder-edge.js')],
});
await build({
  ...library,
  entryPoints: { 'decoder-edge': 'src/decoder.ts' },
  minify: true,
  plugins: [kernelsBeside, beside('./decoder-edge.js')],
});
await bundlePage(shared);
// What is bundled keeps its licence.
const bundled = [
  licence('@assemblyscript/loader', 'assemblyscript'),
  licence('@huggingface/tokenizers'),
  licence('@huggingface/jinja'),
  licence('@huggingface/hub'),
  licence('@mlc-ai/web-xgrammar', '@huggingface/tokenizers'), // both Apache-2.0; this one has no copy of it
  ...PAGE_PACKAGES.map((name) => licence(name)),
  licence('hono'),
  licence('@hono/node-server'),
];
writeFileSync('build/licenses.txt', bundled.join('\n'));
// The mark lets a bundler drop the grids that are not used.
const grids = 'build/grids.js';
writeFileSync(grids, readFileSync(grids, 'utf8').replaceAll('= __toBinary(', '= /* @__PURE__ */ __toBinary('));
await build({
  ...shared,
  entryPoints: { higgs: 'src/cli/main.ts' },
  outdir: 'build',
  platform: 'node',
  banner: { js: '#!/usr/bin/env node' },
  plugins: [hubClient, serversOfHttp, beside('./decoder.js')],
});
quantizeDemo();
if (wanted.has('--tests'))
  await bundle(
    'tests',
    readdirSync('tests').filter((name) => name.endsWith('.test.ts')),
  );
if (wanted.has('--docs')) await bundle('docs/make', ['index.ts']);
if (wanted.has('--fuzz')) await bundle('tests/fuzz', ['index.ts', 'runner.ts']);
if (wanted.has('--runtimes')) await bundleRuntimes(shared);
if (wanted.has('--bench'))
  await bundle('bench', [
    'index.ts',
    'cache.ts',
    'against.ts',
    'decoder.ts',
    'linearity.ts',
    'llamacpp.ts',
    'mixtures.ts',
    'native.ts',
    'paging.ts',
    'quality.ts',
    'refining.ts',
    'sequences.ts',
    'serving.ts',
    'soak.ts',
    'synthesize.ts',
    'widths.ts',
  ]);
if (wanted.has('--grids'))
  await build({
    ...shared,
    entryPoints: { 'grids-maker': 'src/grids/maker/index.ts' },
    outdir: 'build',
    platform: 'node',
  });

/** Compiles the kernels, unless build/ has them of these sources already: that takes most of a build. */
function compileKernels() {
  const sources = ['assembly', 'bench/assembly'].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${folder}/${name}`),
  );
  const hash = createHash('sha256');
  for (const file of [...sources.sort(), 'asconfig.json', 'esbuild.mjs', 'node_modules/assemblyscript/package.json']) {
    hash.update(`${file}\n`).update(readFileSync(file));
  }
  const sum = hash.digest('hex');
  const decoder = ['assembly/decoder/index.ts', '--importMemory'];
  const release = ['--target', 'release'];
  /** @type {Record<string, string[]>} */
  const outputs = {
    'build/higgs.debug.wasm': ['assembly/index.ts', 'assembly/sizes.ts', '--target', 'debug'],
    'build/higgs.wasm': ['assembly/index.ts', ...release],
    'build/decoder.debug.wasm': [...decoder, 'assembly/decoder/sizes.ts', '--target', 'debug'],
    'build/decoder.wasm': [...decoder, ...release],
    // Integer products of relaxed SIMD, for runtimes that have it; everything else in it is the same.
    'build/decoder.relaxed.wasm': [...decoder, '--enable', 'relaxed-simd', ...release],
    // Other encoders, on the same base, to compare with; a test holds them to their scalar form.
    'build/bench/peers.wasm': ['bench/assembly/index.ts', ...release],
  };
  const note = 'build/kernels.sha256';
  const isFresh = existsSync(note) && readFileSync(note, 'utf8') === sum && Object.keys(outputs).every(existsSync);
  if (isFresh) return;
  rmSync(note, { force: true });
  for (const [file, options] of Object.entries(outputs)) {
    execFileSync(process.execPath, [asc, ...options, '--outFile', file], { stdio: 'inherit' });
  }
  writeFileSync(note, sum);
}

/** @param {string} name of a package @param {string} from the package that has its licence */
function licence(name, from = name) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8'));
  const file = ['LICENSE', 'LICENSE.txt'].map((own) => `node_modules/${from}/${own}`).find(existsSync);
  return `${name} ${version}\n\n${readFileSync(file ?? '', 'utf8')}`;
}

/** @param {string} folder @param {string[]} names */
async function bundle(folder, names) {
  await build({
    ...shared,
    entryPoints: names.map((name) => `${folder}/${name}`),
    outdir: `build/${folder}`,
    platform: 'node',
  });
}
