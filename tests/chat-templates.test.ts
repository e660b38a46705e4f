// Chat templates with the Jinja that published families use, against Jinja2: chat-templates/make.py has the templates, the
// conversations, and what transformers' environment renders.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { folderOf } from '../src/source/memory.ts';
import { type Message, readChatTemplate } from '../src/text/chat.ts';
import { parseTemplate } from '../src/text/jinja/template.ts';

type Conversation = { messages: Message[]; add_generation_prompt?: boolean; [value: string]: unknown };
interface Golden {
  template: string;
  /** By conversation: the text, or what the template itself refuses. */
  rendered: Record<string, string | { error: string }>;
}

const test = suite('chat templates');
const { conversations, templates }: { conversations: Record<string, Conversation>; templates: Record<string, Golden> } =
  JSON.parse(readFileSync('tests/chat-templates/goldens.json', 'utf8'));
const now = new Date(2026, 1, 3, 4, 5, 6);

for (const [name, { template, rendered }] of Object.entries(templates)) {
  test(`render() gives what Jinja2 gives: ${name}`, async () => {
    const config = { chat_template: template, bos_token: '<s>', eos_token: '</s>' };
    const chat = await readChatTemplate(folderOf('m', {}), config);
    for (const [each, expected] of Object.entries(rendered)) {
      const { messages, add_generation_prompt: addGenerationPrompt = true, ...values } = conversations[each];
      const run = () => chat.render(messages, { addGenerationPrompt, values, now });
      if (typeof expected === 'string') assert.is(run(), expected, each);
      else assert.throws(run, (error: Error) => error instanceof RangeError && error.message.endsWith(expected.error));
    }
  });
}

test('methods of strings refuse what is no text, and stay within the limits', () => {
  const render = (text: string) => parseTemplate(text, 'm').render({}, now);
  const cases: [template: string, message: RegExp][] = [
    ["{{ 'a'.find(1) }}", /find\(\) must be called with a text/],
    ["{{ 'a'.join('b') }}", /join\(\) must be called with a list of texts/],
    ["{{ 'a'.join([1]) }}", /join\(\) must be called with a text/],
    ["{{ 'a'.removesuffix() }}", /removesuffix\(\) must be called with a text/],
    [`{% set x = 'a'.join(range(9999) | map('string') | list) %}`, /unknown|Unknown|must run/],
    [
      `{% set ns = namespace(x='a') %}{% for i in range(30) %}{% set ns.x = ns.x.join([ns.x, ns.x]) %}{% endfor %}`,
      /more than \d+ (characters|steps)/,
    ],
    [
      `{% set ns = namespace(x='a\n') %}{% for i in range(30) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x.splitlines() }}`,
      /more than \d+ (characters|steps|elements)/,
    ],
  ];
  for (const [template, message] of cases) assert.throws(() => render(template), message, template);
  assert.is(render(`{{ '😀a😀'.strip('😀') }}{{ '\ufeffa'.strip() | length }}`), 'a2');
});

test.run();
