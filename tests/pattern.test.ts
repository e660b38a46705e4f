// Regular expressions of files: the matches of the engine's own, in linear time; what cannot be had so is named.

import { readFileSync } from 'node:fs';
import { SplitPreTokenizer } from '@huggingface/tokenizers';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UnsupportedError } from '../src/errors.ts';
import { compilePattern, type Spend } from '../src/text/patterns/pattern.ts';
import { isPublished } from '../src/text/patterns/published.ts';

const test = suite('pattern');
const free: Spend = () => {};
const matchesOf = (source: string, text: string, spend = free) => [
  ...compilePattern(source, spend, 'file').matches(text),
];
const expected = (source: string, text: string) =>
  [...text.matchAll(new RegExp(source, 'gu'))].map((match) => [match.index, match.index + match[0].length]);
const same = (source: string, text: string) =>
  assert.equal(matchesOf(source, text), expected(source, text), `${source} on ${JSON.stringify(text)}`);

/** Steps that the matches of a text take. */
function stepsOf(source: string, text: string): number {
  let steps = 0;
  matchesOf(source, text, (count) => {
    steps += count;
  });
  return steps;
}

test('matches() finds what RegExp finds, whatever the pattern', () => {
  const leaf = fc.constantFrom(
    ...['a', 'b', '[ab]', '[^a]', '\\s', '\\S', 'é', '\\p{L}', '\\p{White_Space}', '[^\\s\\p{L}]', ''],
    ...['(?!\\S)', '(?<!a)', '(?=b)', '(?<=[ab])'],
  );
  const quantifiers = ['*', '+', '?', '*?', '+?', '??', '{2}', '{0,2}', '{1,3}?', '{2,}', '{0}'];
  const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
    pattern: fc.oneof(
      { depthSize: 'small' },
      leaf,
      fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => a + b),
      fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => `(?:${a}|${b})`),
      fc.tuple(tie('pattern'), fc.constantFrom(...quantifiers)).map(([a, times]) => `(${a})${times}`),
      fc.tuple(tie('pattern'), fc.constantFrom('?=', '?!', '?<=', '?<!')).map(([a, look]) => `(${look}${a})`),
    ),
  }));
  const text = fc.array(fc.constantFrom('a', 'b', ' ', 'é', '\n', 'c', '1'), { maxLength: 14 });
  fc.assert(
    fc.property(pattern, fc.array(text, { minLength: 3, maxLength: 6 }), (source, texts) => {
      fc.pre((source.match(/\(\?[=!<]/g) ?? []).length <= 16);
      for (const each of texts) same(source, each.join(''));
    }),
    { numRuns: 2000 },
  );
});

test('matches() takes characters beyond the basic plane, lone surrogates, escapes and names as one each', () => {
  const text = 'a😀\ud83d\udc68b\ud800c/-]^\x07\u00e9';
  for (const source of [
    ...['[^a]', '.', '😀|b', '\\u{1f600}', '\\ud83d\\ude00+', '[😀-🙏]', '\\p{Emoji_Presentation}', '[\\s\\S]{2}'],
    ...['\\x07', '\\cG', '\\/', '[\\]\\^-]', '\\u00E9', '(?<name>a)', '\\P{L}+'],
  ]) {
    same(source, text);
  }
});

// As the files have them; published ones run on RegExp itself, which must give the same.
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const published = [
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+${CONTRACTIONS}?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*${CONTRACTIONS}?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+',
  ' ?[^(\\s|[.,!?…。，、।۔،])]+',
];
const others = ['\\d{1,3}(?=(?:\\d{3})*\\b)', '\\w+|[^\\w\\s]+', '^\\s+|\\s+$', '(?<=\\p{Ll})(?=\\p{Lu})'];
const translated = (Regex: string): RegExp => {
  const split = new SplitPreTokenizer({ pattern: { Regex } } as unknown as ConstructorParameters<
    typeof SplitPreTokenizer
  >[0]);
  return split.pattern as RegExp;
};

test('published patterns are known, and give the same matches either way', () => {
  const text = `${readFileSync('models/books-llama/test.txt', 'utf8').slice(0, 20_000)} 12345678 I'LL iPhone Ǆungla 你好，世界。\r\n\r\n \t x 😀`;
  for (const pattern of [...published, ...others]) {
    assert.is(isPublished(pattern), published.includes(pattern), pattern);
    same(translated(pattern).source, text);
  }
});

test('published patterns look at each character a bounded number of times', () => {
  const worst = [' ', '\n', 'A', 'a', '1', '你', 'Aa', ' \n', '!', "'"];
  for (const pattern of published) {
    for (const each of worst) {
      for (const end of ['', 'x', '\n', '!', 'A']) {
        const source = translated(pattern).source;
        const [short, long] = [1000, 4000].map((length) => stepsOf(source, each.repeat(length) + end));
        assert.ok(long < 5 * short, `${pattern} on ${JSON.stringify(each + end)}: ${short} and ${long}`);
      }
    }
  }
});

test('matches() takes linear time where RegExp takes exponential time', () => {
  const text = `${'a'.repeat(40)}!`;
  for (const source of ['(a+)+b', '(a|a)*b', '(a*)*b', '(?:a?){40}a{40}b', '(?=(a+)+b)a', '(?<=(a+)+b)a', '(.*)*x']) {
    assert.equal(matchesOf(source, text), [], source);
    assert.ok(stepsOf(source, text) < 100_000, source);
  }
});

test('compilePattern() names a pattern that it does not match in linear time', () => {
  const cases: [source: string, message: RegExp][] = [
    ['(a)\\1', /^file: regular expression must have characters, groups and looks around alone, from 3 on: got "\(a\)/],
    ['(?<x>a)\\k<x>', /characters, groups and looks around alone/],
    ['a{0,99999999}', /at most 4096 instructions, repetitions written out: got "a\{0,99999999\}"/],
    ['(?:(?:(?:a{99}){99}){99}){99}', /at most 4096 instructions/],
    ['(?:(?:(?:(?:){99999}){99999}){99999}){99999}', /at most 4096 instructions/],
    ['('.repeat(101) + ')'.repeat(101), /at most 100 groups in groups/],
    ['(?=a)'.repeat(17), /at most 16 looks around/],
  ];
  for (const [source, message] of cases) {
    assert.throws(
      () => compilePattern(source, free, 'file'),
      (error: Error) => error instanceof UnsupportedError && message.test(error.message),
      source,
    );
  }
});

test('matches() tells of its work while it is at it', () => {
  const text = 'a'.repeat(100_000);
  const stop = new Error('enough');
  let left = 1_000_000;
  const spend = (steps: number) => {
    left -= steps;
    if (left < 0) throw stop;
  };
  assert.throws(
    () => matchesOf('a*b', text, spend), // from each place to the end
    (error: unknown) => error === stop,
  );
});

test.run();
