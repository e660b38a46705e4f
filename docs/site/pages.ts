// Which documents the site has, and where. They stand as in the repository, so that links between them hold; README is the first page.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Folders of examples that have a README. */
export const examples = ['examples/cluster', 'examples/edge'];
/** Documents at the repository's top, without `.md`. */
export const about = ['FORMAT', 'ARCHITECTURE', 'DECISIONS', 'CONTRIBUTING', 'CHANGELOG'];

/** Guides, the documents in docs/. @param root the repository's folder */
export const guidesOf = (root: string): string[] =>
  readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));

/** Each file of the site: where it comes from, and where it stands among the site's sources. Markdown is built to a page of the same name, `.html`. */
export function filesOf(root: string): { readonly from: string; readonly to: string }[] {
  const inPlace = [
    'docs/page.png',
    ...examples.map((folder) => `${folder}/README.md`),
    ...about.map((name) => `${name}.md`),
    ...guidesOf(root).map((name) => `docs/${name}`),
  ];
  return [{ from: 'README.md', to: 'index.md' }, ...inPlace.map((path) => ({ from: path, to: path }))];
}

/**
 * Checks what the page links to (`web/documents.ts`) in a site that is built.
 * @param site its folder
 * @param places in it, '' for the first page
 * @throws when a page is missing
 */
export function checkPlaces(site: string, places: readonly string[]): void {
  const missing = places.filter((place) => !existsSync(join(site, place || 'index.html')));
  if (missing.length > 0) throw new Error(`the page links to ${missing.join(', ')}: the site has no such page`);
}
