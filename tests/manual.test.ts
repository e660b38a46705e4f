// Pages that are made from the program are what `npm run docs` makes.

import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { optionsPage } from '../docs/make/options.ts';

test('docs/options.md is what the program says', () => {
  assert.fixture(readFileSync('docs/options.md', 'utf8'), optionsPage());
});

test.run();
