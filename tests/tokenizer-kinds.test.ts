// Each kind of tokenizer.json in use, against what the Rust tokenizers library makes of hard texts, and of random ones:
// tokenizer-kinds/make.py has the kinds, the texts and the tiny vocabularies. SEED tells which random ones.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { splitPieces } from '../src/text/patterns/split.ts';
import { createTokenizer, type Tokenizer } from '../src/text/tokenizer.ts';
import { testWith } from './installed.ts';

/** What the library made of each text: ids, and the text of these ids without and with special tokens. */
interface Golden {
  name: string;
  model: string;
  content: Record<string, unknown>;
  ids: number[][];
  text: string[];
  all: string[];
}

const test = suite('tokenizer kinds');
interface Goldens {
  texts: string[];
  models: Record<string, object>;
  tokenizers: Golden[];
}

const goldens = goldensOf('tests/tokenizer-kinds/goldens.json');

for (const golden of goldens.tokenizers) {
  test(`encode(), decode() and stream() give what the Rust library gives: ${golden.name}`, () => {
    compare(golden, goldens);
  });
}

const seed = process.env.SEED ?? '1';
testWith(
  test,
  'python',
  `encode(), decode() and stream() give what the Rust library gives: random texts of seed ${seed}`,
  async (python) => {
    const folder = mkdtempSync(join(tmpdir(), 'higgs-tokenizers-'));
    try {
      const file = join(folder, 'random.json');
      execFileSync(python, ['tests/tokenizer-kinds/make.py', '--seed', seed, '--out', file], { stdio: 'pipe' });
      const random = goldensOf(file);
      for (const golden of random.tokenizers) compare(golden, random);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test('splitPieces() keeps all text but what is removed, and joins as told', () => {
  const text = 'a--b-';
  const matches = [
    [1, 2],
    [2, 3],
    [4, 5],
  ] as const;
  const cut = (behavior: Parameters<typeof splitPieces>[2], invert = false) =>
    splitPieces(text, matches, behavior, invert);
  assert.equal(cut('Isolated'), ['a', '-', '-', 'b', '-']);
  assert.equal(cut('Isolated', true), ['a', '-', '-', 'b', '-']);
  assert.equal(cut('Removed'), ['a', 'b']);
  assert.equal(cut('Removed', true), ['-', '-', '-']);
  assert.equal(cut('Contiguous'), ['a', '--', 'b', '-']);
  assert.equal(cut('MergedWithPrevious'), ['a-', '-', 'b-']);
  assert.equal(cut('MergedWithNext'), ['a', '-', '-b', '-']);
  assert.equal(cut('MergedWithNext', true), ['a-', '-', 'b-']);
  assert.equal(splitPieces('', [], 'Isolated', false), []);
});

test.run();

function goldensOf(path: string): Goldens {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function compare(golden: Golden, { texts, models }: Goldens): void {
  const tokenizer: Tokenizer = createTokenizer({ ...golden.content, model: models[golden.model] }, {}, golden.name);
  for (const [i, text] of texts.entries()) {
    const shown = `${golden.name}: ${JSON.stringify(text)}`;
    const ids = golden.ids[i];
    assert.equal(tokenizer.encode(text), ids, shown);
    assert.is(tokenizer.decode(ids), golden.text[i], shown);
    assert.is(tokenizer.decode(ids, { special: true }), golden.all[i], shown);
    const stream = tokenizer.stream();
    assert.is(ids.map((id) => stream.push(id)).join('') + stream.end(), golden.text[i], shown);
  }
}
