// Sentences of the documents are short. Paragraphs count; tables, lists, headings and code do not.

import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/** Most words of half of the sentences, and of nine in ten; most commas, colons and semicolons of a sentence, on average. */
const MEDIAN = 13;
const NINE_IN_TEN = 24;
const STOPS = 1.1;

const files = ['README', 'ARCHITECTURE', 'CONTRIBUTING', 'DECISIONS', 'FORMAT', 'SECURITY'].map((name) => `${name}.md`);
files.push('examples/cluster/README.md', 'examples/edge/README.md');
files.push(...readdirSync('docs').flatMap((name) => (name.endsWith('.md') ? `docs/${name}` : [])));

for (const file of files) {
  test(`${file} has short sentences`, () => {
    const sentences = sentencesOf(readFileSync(file, 'utf8'));
    const lengths = sentences.map((sentence) => sentence.split(/\s+/).length).sort((a, b) => a - b);
    const stops = sentences.reduce((sum, sentence) => sum + (sentence.match(/[,;:]/g)?.length ?? 0), 0);
    const quantile = (part: number) => lengths[Math.floor((lengths.length - 1) * part)];
    const longest = sentences.reduce((a, b) => (b.split(/\s+/).length > a.split(/\s+/).length ? b : a), '');
    assert.ok(quantile(0.5) <= MEDIAN, `the median is ${quantile(0.5)} words; the longest: ${longest}`);
    assert.ok(quantile(0.9) <= NINE_IN_TEN, `nine in ten have up to ${quantile(0.9)} words; the longest: ${longest}`);
    assert.ok(
      stops <= STOPS * sentences.length,
      `${(stops / sentences.length).toFixed(2)} commas and the like a sentence`,
    );
  });
}

test('sentencesOf() leaves out tables, lists, headings and code', () => {
  const text =
    '# A title\nOne, `a. b` two.\nThree [a link](x.md).\n\n- An item.\n  Of it.\n\n| a | b. |\n\n```\ncode. Code.\n```\n\nEnd.';
  assert.equal(sentencesOf(text), ['One, code two.', 'Three a link.', 'End.']);
});

test.run();

function sentencesOf(markdown: string): string[] {
  const paragraphs = markdown
    .replace(/^```[\s\S]*?^```$/gm, '')
    .replace(/^#+ .*$/gm, '')
    .replace(/<!--[\s\S]*?-->/g, '')
    .split(/\n\s*\n/)
    .filter((block) => !/^\s*(\||[-*] |\d+\. |>|<|!\[|\[!)/.test(block));
  return paragraphs.flatMap((paragraph) =>
    paragraph
      .replace(/`[^`]*`/g, 'code')
      .replaceAll('**', '')
      .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
      .trim()
      .split(/(?<=[.!?:])\s+(?=[A-Z“"(]|code\b)/)
      .map((sentence) => sentence.replace(/\s+/g, ' ').trim())
      .filter((sentence) => /\w/.test(sentence)),
  );
}
