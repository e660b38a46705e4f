// The documents as a static site with search: `npm run docs:site` writes build/site/. TypeDoc wrote pages/api before.

import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitepress';
import { documents } from '../../../web/documents.ts';
import { about, checkPlaces, examples, filesOf, guidesOf } from '../pages.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const source = join(root, 'docs/site/pages');
const api = {
  'higgs-wasm': 'index.md',
  'higgs-wasm/decoder': 'decoder.md',
  'higgs-wasm/files': 'source/file.md',
  'higgs-wasm/workers': 'workers/web.md',
  'higgs-wasm/hub': 'hub/hub.md',
  'higgs-wasm/server': 'server/server.md',
  'higgs-wasm/grids': 'grids/large.md',
};
for (const { from, to } of filesOf(root)) cpSync(join(root, from), join(source, to));

/** @param {string} page a file's name */
const title = (page) =>
  page
    .replace('.md', '')
    .replaceAll('-', ' ')
    .replace(/^\w/, (first) => first.toUpperCase());

export default defineConfig({
  title: 'higgs-wasm',
  description: 'Quantize and run language models on a CPU, from JavaScript.',
  srcDir: source,
  outDir: join(root, 'build/site'),
  base: process.env.SITE_BASE ?? '/',
  markdown: { html: false },
  buildEnd: ({ outDir }) =>
    checkPlaces(
      outDir,
      documents.map(({ place }) => place),
    ),
  themeConfig: {
    search: { provider: 'local' },
    outline: 'deep',
    sidebar: [
      { text: 'Start', items: [{ text: 'What it is', link: '/' }] },
      { text: 'Guides', items: guidesOf(root).map((name) => ({ text: title(name), link: `/docs/${name}` })) },
      { text: 'Examples', items: examples.map((name) => ({ text: title(name.slice(9)), link: `/${name}/README.md` })) },
      { text: 'API', items: Object.entries(api).map(([text, page]) => ({ text, link: `/api/${page}` })) },
      { text: 'About', items: about.map((name) => ({ text: title(name.toLowerCase()), link: `/${name}.md` })) },
    ],
  },
});
