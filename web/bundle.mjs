// Bundles the page into build/web: a folder of files for any static host. The page itself, the engine in its worker, and what either imports
// when it is needed, are modules beside one another; the service worker knows all their names.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const outdir = 'build/web';
const MODEL = 'models/books-llama';
/** Where the site of documents is, with a slash at the end: at package.json's homepage, unless the environment's DOCS says where. */
const DOCS = process.env.DOCS ?? JSON.parse(readFileSync('package.json', 'utf8')).homepage;
const DEMO = ['model.safetensors', 'config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'];

/** What is bundled with it and keeps its licence. */
export const PAGE_PACKAGES = [
  ...['preact', '@preact/signals', '@preact/signals-core', 'comlink', 'client-zip', 'd3-array', 'd3-color'],
  ...[
    'd3-format',
    'd3-interpolate',
    'd3-path',
    'd3-scale',
    'd3-shape',
    'd3-time',
    'd3-time-format',
    'internmap',
    'marked',
  ],
];

/** @param {import('esbuild').BuildOptions} shared */
export async function bundlePage(shared) {
  rmSync(outdir, { recursive: true, force: true });
  mkdirSync(`${outdir}/demo`, { recursive: true });
  const page = {
    ...shared,
    external: [],
    outdir,
    minify: true,
    platform: /** @type {const} */ ('browser'),
    tsconfig: 'web/tsconfig.json',
  };
  await build({
    ...page,
    entryPoints: { page: 'web/main.tsx', engine: 'web/engine/worker.ts' },
    define: { DOCS: JSON.stringify(DOCS) },
    splitting: true,
    chunkNames: '[name]-[hash]',
  });
  await build({ ...page, entryPoints: { page: 'web/page.css' } });
  for (const name of ['index.html', 'icon.svg', 'manifest.webmanifest']) cpSync(`web/${name}`, `${outdir}/${name}`);
  const names = readdirSync(outdir).filter((name) => name !== 'demo');
  const hash = createHash('sha256');
  for (const name of names.sort()) hash.update(`${name}\n`).update(readFileSync(`${outdir}/${name}`));
  await build({
    ...page,
    entryPoints: { sw: 'web/sw.ts' },
    define: {
      VERSION: JSON.stringify(hash.digest('hex').slice(0, 16)),
      FILES: JSON.stringify(['./', ...names]),
      POLICY: JSON.stringify(
        /Content-Security-Policy" content="([^"]+)"/.exec(readFileSync('web/index.html', 'utf8'))?.[1],
      ),
    },
  });
  for (const name of DEMO) cpSync(`${MODEL}/${name}`, `${outdir}/demo/${name}`);
}

/** Adds the demo model at 4 bits, which the npm package has room for: what the page makes of it, and what the command that it shows writes. */
export function quantizeDemo() {
  const output = 'build/demo-4bit';
  rmSync(output, { recursive: true, force: true });
  const bits = ['--bits', '4', '--embeddings', 't4'];
  execFileSync(process.execPath, ['build/higgs.js', 'quantize', MODEL, '-o', output, ...bits, '--quiet']);
  for (const name of DEMO) cpSync(`${output}/${name}`, `${outdir}/demo-4bit/${name}`);
  rmSync(output, { recursive: true });
}
