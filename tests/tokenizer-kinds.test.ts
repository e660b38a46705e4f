// Each kind of tokenizer.json in use, against what the Rust tokenizers library makes of hard texts: tokenizer-kinds/make.py has
// the kinds, the texts and the tiny vocabularies.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { piecesOf } from '../src/text/split.ts';
import { createTokenizer, type Tokenizer } from '../src/text/tokenizer.ts';

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
const goldens: { texts: string[]; models: Record<string, object>; tokenizers: Golden[] } = JSON.parse(
  readFileSync('tests/tokenizer-kinds/goldens.json', 'utf8'),
);
const tokenizerOf = ({ name, model, content }: Golden): Tokenizer =>
  createTokenizer({ ...content, model: goldens.models[model] }, {}, name);

for (const golden of goldens.tokenizers) {
  test(`encode(), decode() and stream() give what the Rust library gives: ${golden.name}`, () => {
    const tokenizer = tokenizerOf(golden);
    for (const [i, text] of goldens.texts.entries()) {
      const shown = JSON.stringify(text);
      const ids = golden.ids[i]!;
      assert.equal(tokenizer.encode(text), ids, shown);
      assert.is(tokenizer.decode(ids), golden.text[i], shown);
      assert.is(tokenizer.decode(ids, { special: true }), golden.all[i], shown);
      const stream = tokenizer.stream();
      assert.is(ids.map((id) => stream.push(id)).join('') + stream.end(), golden.text[i], shown);
    }
  });
}

test('piecesOf() keeps all text but what is removed, and joins as told', () => {
  const text = 'a--b-';
  const matches = [
    [1, 2],
    [2, 3],
    [4, 5],
  ] as const;
  const cut = (behavior: Parameters<typeof piecesOf>[2], invert = false) => piecesOf(text, matches, behavior, invert);
  assert.equal(cut('Isolated'), ['a', '-', '-', 'b', '-']);
  assert.equal(cut('Isolated', true), ['a', '-', '-', 'b', '-']);
  assert.equal(cut('Removed'), ['a', 'b']);
  assert.equal(cut('Removed', true), ['-', '-', '-']);
  assert.equal(cut('Contiguous'), ['a', '--', 'b', '-']);
  assert.equal(cut('MergedWithPrevious'), ['a-', '-', 'b-']);
  assert.equal(cut('MergedWithNext'), ['a', '-', '-b', '-']);
  assert.equal(cut('MergedWithNext', true), ['a-', '-', 'b-']);
  assert.equal(piecesOf('', [], 'Isolated', false), []);
});

test.run();
