// How many threads a model runs on by default.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { threadsThatHelp } from '../src/workers/cores.ts';

const eightPairs = Array.from({ length: 16 }, (_, i) => `${i % 8},${(i % 8) + 8}`);

test('physical cores, where a system tells them, else the logical ones', () => {
  assert.is(threadsThatHelp({ logical: 16, siblings: eightPairs }), 8);
  assert.is(threadsThatHelp({ logical: 4, siblings: ['0-1', '0-1', '2-3', '2-3'] }), 2);
  assert.is(threadsThatHelp({ logical: 4, siblings: ['0', '1', '2', '3'] }), 4);
  assert.is(threadsThatHelp({ logical: 6, siblings: [] }), 6);
  assert.is(threadsThatHelp({ logical: 1, siblings: [] }), 1);
});

test('both threads of a single core', () => {
  assert.is(threadsThatHelp({ logical: 2, siblings: ['0-1', '0-1'] }), 2);
});

test('never more than this process may use, or than a quota feeds', () => {
  assert.is(threadsThatHelp({ logical: 3, siblings: eightPairs }), 3);
  assert.is(threadsThatHelp({ logical: 16, siblings: eightPairs, quota: 'max 100000\n' }), 8);
  assert.is(threadsThatHelp({ logical: 16, siblings: eightPairs, quota: '250000 100000\n' }), 2);
  assert.is(threadsThatHelp({ logical: 16, siblings: [], quota: '50000 100000\n' }), 1);
  assert.is(threadsThatHelp({ logical: 16, siblings: [], quota: '3200000 100000' }), 16);
  assert.is(threadsThatHelp({ logical: 16, siblings: [], quota: '' }), 16);
});

test.run();
