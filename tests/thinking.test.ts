// Thoughts and answers, told apart in texts that come in pieces.

import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hasSpecialMarks, thinkingFilter } from '../src/text/thinking.ts';

const test = suite('thinking');

// In pieces that end at these places.
function split(text: string, prompt = '', places: readonly number[] = []): { thought: string; answer: string } {
  const filter = thinkingFilter(prompt);
  const cuts = [0, ...places.map((place) => place % (text.length + 1)).sort((a, b) => a - b), text.length];
  const pieces = cuts.slice(1).map((end, i) => text.slice(cuts[i], end));
  const parts = [...pieces.flatMap((piece) => filter.push(piece)), ...filter.end()];
  const joined = (thinking: boolean) =>
    parts
      .filter((part) => part.thinking === thinking)
      .map(({ text }) => text)
      .join('');
  return { thought: joined(true), answer: joined(false) };
}

const cases: [name: string, text: string, prompt: string, thought: string, answer: string][] = [
  ['Qwen', '<think>\nTwo and two.\n</think>\n\n4 < 5', '', 'Two and two.\n', '4 < 5'],
  ['Qwen that need not think', '<think>\n\n</think>\n\n4', '', '', '4'],
  ['DeepSeek R1, whose prompt begins the thought', 'Two.</think>\n4', '<|Assistant|><think>\n', 'Two.', '4'],
  ['a prompt that ends the thought', '4', '<think>\n\n</think>\n\n', '', '4'],
  ['Ministral', '[THINK]Two.[/THINK]4', '', 'Two.', '4'],
  ['Gemma 4', '<|channel>thought\nTwo.<channel|>4', '', 'Two.', '4'],
  [
    'gpt-oss',
    '<|channel|>analysis<|message|>Two.<|end|><|start|>assistant<|channel|>final<|message|>4',
    '<|start|>assistant',
    'Two.',
    '4',
  ],
  [
    'gpt-oss that speaks before its answer',
    '<|channel|>commentary<|message|>I add. <|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>4',
    '<|start|>assistant',
    '',
    'I add. 4',
  ],
  ['gpt-oss without a thought', '<|channel|>final<|message|>4', '', '', '4'],
  ['a thought that is cut off', '<think>Two an', '', 'Two an', ''],
  ['an answer alone, as it stands', ' 4\n', '', '', ' 4\n'],
  ['an answer that speaks of marks', 'Write <think>x</think> <thin', '', '', 'Write <think>x</think> <thin'],
  ['marks within a thought', '<think>a <think> [THINK] b</think>c', '', 'a <think> [THINK] b', 'c'],
];
for (const [name, text, prompt, thought, answer] of cases) {
  test(`thinkingFilter() tells thought from answer, whatever the pieces: ${name}`, () => {
    fc.assert(
      fc.property(fc.array(fc.nat(200), { maxLength: 8 }), (places) =>
        assert.equal(split(text, prompt, places), { thought, answer }),
      ),
    );
  });
}

test('thinkingFilter() gives text as soon as it can begin no mark', () => {
  const filter = thinkingFilter();
  assert.equal(filter.push('<th'), []);
  assert.equal(filter.push('ink>a'), [{ thinking: true, text: 'a' }]);
  assert.equal(filter.push('b</'), [{ thinking: true, text: 'b' }]);
  assert.equal(filter.push('think>c'), [{ thinking: false, text: 'c' }]);
  assert.equal(filter.push('<'), []);
  assert.equal(filter.end(), [{ thinking: false, text: '<' }]);
});

test('hasSpecialMarks() knows the vocabularies whose marks a stream leaves out', () => {
  assert.not.ok(hasSpecialMarks((token) => (token === '<think>' ? 1 : undefined)));
  assert.ok(hasSpecialMarks((token) => (token === '<|channel|>' ? 1 : undefined)));
});

test.run();
