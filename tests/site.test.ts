// The page links to documents of the site. Building the site needs packages of its own, and checks the same in what it built; here each
// link has the document that its page is built from.

import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkPlaces, filesOf } from '../docs/site/pages.ts';
import { documents } from '../web/documents.ts';

const files = filesOf('.');
const { homepage } = JSON.parse(readFileSync('package.json', 'utf8')) as { homepage: string };

test('what the page links to is in the site', () => {
  const pages = new Set(files.map(({ to }) => to.replace(/\.md$/, '.html')));
  assert.ok(documents.length > 0);
  for (const { place } of documents) assert.ok(pages.has(place || 'index.html'), `${place}: the site has no such page`);
});

test('documents of the site are there, each in one place', () => {
  for (const { from } of files) assert.ok(readFileSync(from).length > 0, from);
  assert.is(new Set(files.map(({ to }) => to)).size, files.length);
});

test('checkPlaces() throws when a page is missing', () => {
  checkPlaces('docs', ['page.png']);
  assert.throws(
    () => checkPlaces('docs', ['page.png', 'nowhere.html']),
    /^the page links to nowhere\.html: the site has no such page$/,
  );
  assert.throws(() => checkPlaces('docs', ['']), /the site has no such page/);
});

test('the page that is built has the site’s address', () => {
  assert.ok(homepage.endsWith('/'), homepage);
  assert.ok(readFileSync('build/web/page.js', 'utf8').includes(JSON.stringify(homepage)), homepage);
});

test.run();
