// The documents as a static site with search: `npm run docs:site` writes build/site/. TypeDoc wrote pages/api before.
// Files are copied to where they stand in the repository, so that links between them hold.

import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitepress';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const source = join(root, 'docs/site/pages');
const examples = ['examples/cluster', 'examples/edge'];
const about = ['FORMAT', 'ARCHITECTURE', 'DECISIONS', 'CONTRIBUTING', 'CHANGELOG'];
const api = {
  'higgs-wasm': 'index.md',
  'higgs-wasm/decoder': 'decoder.md',
  'higgs-wasm/files': 'source/file.md',
  'higgs-wasm/workers': 'workers/web.md',
  'higgs-wasm/hub': 'hub/hub.md',
  'higgs-wasm/server': 'server/server.md',
  'higgs-wasm/grids': 'grids/large.md',
};
const pages = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));

mkdirSync(join(source, 'docs'), { recursive: true });
cpSync(join(root, 'README.md'), join(source, 'index.md'));
for (const name of examples) cpSync(join(root, name, 'README.md'), join(source, name, 'README.md'));
for (const name of about) cpSync(join(root, `${name}.md`), join(source, `${name}.md`));
cpSync(join(root, 'docs/page.png'), join(source, 'docs/page.png'));
for (const name of pages) cpSync(join(root, 'docs', name), join(source, 'docs', name));

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
  themeConfig: {
    search: { provider: 'local' },
    outline: 'deep',
    sidebar: [
      { text: 'Start', items: [{ text: 'What it is', link: '/' }] },
      { text: 'Guides', items: pages.map((name) => ({ text: title(name), link: `/docs/${name}` })) },
      { text: 'Examples', items: examples.map((name) => ({ text: title(name.slice(9)), link: `/${name}/README.md` })) },
      { text: 'API', items: Object.entries(api).map(([text, page]) => ({ text, link: `/api/${page}` })) },
      { text: 'About', items: about.map((name) => ({ text: title(name.toLowerCase()), link: `/${name}.md` })) },
    ],
  },
});
