// Conversations by the checkpoint's template, and templates that were written to do harm.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FormatError, UnsupportedError } from '../src/errors.ts';
import { folderOf } from '../src/source/memory.ts';
import { type ChatOptions, type Message, readChatTemplate } from '../src/text/chat.ts';
import { parseTemplate } from '../src/text/jinja/template.ts';

const test = suite('chat');

const HELLO: Message[] = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hi' },
];
// As SmolLM2 and Qwen have it, and as Llama 2 has it.
const CHATML = `{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`;
const INST = `{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}{% else %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}`;

async function render(config: object, messages: Message[] = HELLO, options?: ChatOptions): Promise<string> {
  return (await readChatTemplate(folderOf('m', {}), config as Record<string, unknown>)).render(messages, options);
}

test('render() writes what the template says', async () => {
  const text = '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n';
  assert.is(await render({ chat_template: CHATML }), `${text}<|im_start|>assistant\n`);
  assert.is(await render({ chat_template: CHATML }, HELLO, { addGenerationPrompt: false }), text);
});

test('render() gives the template its special tokens, whichever way they are written', async () => {
  const messages = [
    { role: 'user', content: ' Hi ' },
    { role: 'assistant', content: 'Hello' },
    { role: 'user', content: 'Bye' },
  ];
  const config = { chat_template: INST, bos_token: { content: '<s>', special: true }, eos_token: '</s>' };
  assert.is(await render(config, messages), '<s>[INST] Hi [/INST] Hello </s>[INST] Bye [/INST]');
});

test('render() passes on what the template refuses, as a RangeError', async () => {
  const error = await render({ chat_template: INST }).catch((each) => each);
  assert.instance(error, RangeError);
  assert.is(
    error.message,
    'messages must suit the chat template: Conversation roles must alternate user/assistant/user/assistant/...',
  );
});

test('render() takes chat_template.jinja before tokenizer_config.json, and templates by name', async () => {
  const source = new TextEncoder().encode('own').buffer as ArrayBuffer;
  const named = [
    { name: 'default', template: 'plain' },
    { name: 'tool_use', template: 'tools: {{ tools | length }}' },
  ];
  const chat = await readChatTemplate(folderOf('m', { 'chat_template.jinja': source }), { chat_template: named });
  assert.equal(chat.names, ['default', 'tool_use']);
  assert.is(chat.render(HELLO), 'own');
  assert.is(chat.render(HELLO, { template: 'tool_use', values: { tools: [1, 2] } }), 'tools: 2');
  assert.is(await render({ chat_template: named }), 'plain');
  assert.throws(
    () => chat.render(HELLO, { template: 'x' }),
    /template must be one of \["default", "tool_use"\]: got "x"/,
  );
});

test('render() of a model without a template says so and names generate', async () => {
  const error = await render({}).catch((each) => each);
  assert.instance(error, UnsupportedError);
  assert.is(error.message, 'm: chat must have a chat template: the model has none; let it continue a text instead');
});

test('render() names messages that are none', async () => {
  assert.match(
    (await render({ chat_template: CHATML }, []).catch((each) => each)).message,
    /messages must have at least one/,
  );
  const wrong = [{ content: 'Hi' }] as unknown as Message[];
  assert.match(
    (await render({ chat_template: CHATML }, wrong).catch((each) => each)).message,
    /messages must be objects/,
  );
});

test('readChatTemplate() names what is no template', async () => {
  for (const chat_template of [7, {}, [{ name: 'x' }]]) {
    const error = await readChatTemplate(folderOf('m', {}), { chat_template }).catch((each) => each);
    assert.instance(error, FormatError);
    assert.match(error.message, /^m\/tokenizer_config\.json: chat_template(\[0\])? must be/);
  }
});

test('strftime_now() writes English whatever the host speaks', () => {
  const now = new Date(2026, 1, 3, 4, 5, 6);
  const template = parseTemplate(`{{ strftime_now('%d %b %Y, %A %B %H:%M:%S %% %Q') }}`, 'm');
  assert.is(template.render({}, now), '03 Feb 2026, Tuesday February 04:05:06 % %Q');
});

test('range() counts as Python does', () => {
  const template = parseTemplate('{{ range(3) }} {{ range(1, 4) }} {{ range(5, 0, -2) }} {{ range(2, 1) }}', 'm');
  assert.is(template.render({}, new Date()), '[0, 1, 2] [1, 2, 3] [5, 3, 1] []');
});

// Each in a few hundred characters; without limits they take hours or all memory.
const nested = (depth: number, body: string) =>
  `${'{% for i in range(9999) %}'.repeat(depth)}${body}${'{% endfor %}'.repeat(depth)}`;
const hostile: [name: string, template: string, message: RegExp][] = [
  ['a long range', '{{ range(1000000000) }}', /range\(\) has more than 10000 elements/],
  ['loops in loops', nested(5, ''), /more than 500000 steps/],
  ['output without end', nested(2, 'x'.repeat(100)), /string of more than|steps/],
  [
    'a string that doubles',
    `{% set ns = namespace(x='aaaaaaaa') %}${nested(1, '{% set ns.x = ns.x + ns.x %}')}`,
    /string of more than/,
  ],
  [
    'a list that doubles',
    `{% set ns = namespace(x=[1]) %}${nested(1, '{% set ns.x = ns.x + ns.x %}')}`,
    /more than \d+ elements/,
  ],
  [
    'a list of itself and itself',
    `{% set ns = namespace(x=[1]) %}${nested(1, '{% set ns.x = [ns.x, ns.x] %}')}{{ ns.x }}`,
    /more than \d+ elements/,
  ],
  ['a macro that calls itself', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', /chat template must run/],
  ['an indent without end', `{{ 'a\nb' | indent(1000000000) }}`, /chat template must run/],
  [
    'a replacement that multiplies',
    `{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(18) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | replace('a', ns.x) }}`,
    /chat template must run/,
  ],
  ['a call of what is no function', '{{ messages() }}', /chat template must run/],
];
for (const [name, template, message] of hostile) {
  test(`render() ends in an error: ${name}`, () => {
    assert.throws(
      () => parseTemplate(template, 'm/file').render({ messages: HELLO }, new Date()),
      (error: Error) =>
        error instanceof FormatError &&
        error.message.startsWith('m/file: chat template') &&
        message.test(error.message),
    );
  });
}

// Each works through large values again and again, or would make one that no memory holds.
const LONG = `{% set ns = namespace(x='aaaaaaaa', l=[1]) %}{% for i in range(18) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{% set x = ns.x %}`;
const LIST = `${LONG}{% for i in range(18) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{% set l = ns.l %}`;
const again = (body: string) => nested(2, body);
const working: [name: string, template: string, message?: RegExp][] = [
  ['sort of many', `${LIST}${again('{% set y = l | sort %}')}`],
  ['sort of long texts', `${LONG}{% set l = [x, x + '1', x + '2', x + '3'] %}${again('{% set y = l | sort %}')}`],
  [
    'sort by an attribute',
    `${LONG}{% set l = [{'a': x}, {'a': x + '1'}] %}${again("{% set y = l | sort(attribute='a') %}")}`,
  ],
  ['dictsort as a filter', `${LONG}{% set d = {x: 1, x + '1': 2} %}${again('{% set y = d | dictsort %}')}`],
  ['dictsort as a method', `${LONG}{% set d = {x: 1, x + '1': 2} %}${again('{% set y = d.dictsort() %}')}`],
  ['sorted keys', `${LONG}{% set d = {x: 1, x + '1': 2} %}${again('{% set y = d | tojson(sort_keys=true) %}')}`],
  ['join', `${LIST}${again('{% set y = l | join | length %}')}`],
  ['unique', `${LIST}${again('{% set y = l | unique | length %}')}`],
  ['tojson', `${LIST}${again('{% set y = l | tojson | length %}')}`],
  ['reverse', `${LIST}${again('{% set y = l | reverse | length %}')}`],
  ['slices of a list', `${LIST}${again('{% set y = l[::100000] %}')}`],
  ['slices of a text', `${LONG}${again('{% set y = x[::100000] %}')}`],
  ['search of a list', `${LIST}${again('{% set y = 5 in l %}')}`],
  ['search of a text by half of it', `${LONG}{% set y = ('b' + x[:1000000]) in x %}`],
  ['split by half of a text', `${LONG}{% set y = x.split('b' + x[:1000000]) %}`],
  ['replace', `${LONG}${again("{% set y = x | replace('a', 'b') | length %}")}`],
  ['replace by much', `${LONG}{{ x.replace('a', x) }}`],
  ['replace as a block', `${LONG}${again("{% filter replace('a', 'b') %}{{ x }}{% endfilter %}")}`],
  ['upper', `${LONG}${again('{% set y = x | upper | length %}')}`],
  ['comparison of a list with a text', `${LIST}{% set m = [l] %}${again("{% set y = 'x' == m %}")}`],
  ['macros made again and again', again(`{% macro f() %}${'{{ a }}'.repeat(7000)}{% endmacro %}`)],
  ['a call with a list', `${LIST}{% macro f() %}{{ varargs | length }}{% endmacro %}${again('{% set y = f(*l) %}')}`],
  [
    'names that are unknown, in deep scopes',
    `${'{% for i in [1] %}'.repeat(300)}${again('{{ a }}')}${'{% endfor %}'.repeat(300)}`,
  ],
  ['a list of long texts', `${LONG}{{ [x, x, x, x, x, x, x, x, x, x] }}`, /more than 1048576 elements/],
  [
    'a value that grows behind a namespace',
    `${LIST}{% set a = namespace() %}{% set b = [a, a, a, a, a, a, a, a] %}{% set a.x = l %}{{ b }}`,
    /more than 1048576 elements/,
  ],
  ['a namespace that holds itself', '{% set a = namespace() %}{% set a.x = [a, a] %}{{ a }}', /deeper than 100/],
  ['wide indentation', '{{ messages | tojson(indent=100000000) }}', /indents by more than 64/],
];
for (const [name, template, message = /more than 500000 steps/] of working) {
  test(`render() pays before it works: ${name}`, () => {
    assert.throws(
      () => parseTemplate(template, 'm/file').render({ messages: HELLO }, new Date()),
      (error: Error) =>
        error instanceof FormatError &&
        error.message.startsWith('m/file: chat template must run: ') &&
        message.test(error.message),
    );
  });
}

test('render() and parseTemplate() have words of their own for what the library does not expect', () => {
  const cases: [template: string, message: string][] = [
    ['{% if 1 %}', 'm/file: chat template must be Jinja: a block or an expression is not closed'],
    ['{{ 1 +', 'm/file: chat template must be Jinja: a block or an expression is not closed'],
    ["{{ 'a'.replace('', 'b', -1) | x }}", 'm/file: chat template must run: Unknown StringValue filter: x'],
    [
      '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
      'm/file: chat template must run: it goes deeper than 500 levels',
    ],
  ];
  for (const [template, message] of cases) {
    assert.throws(
      () => parseTemplate(template, 'm/file').render({}, new Date()),
      (error: Error) => error instanceof FormatError && error.message === message,
      template,
    );
  }
  assert.is(parseTemplate('{{ [] | first }}.', 'm/file').render({}, new Date()), '.');
});

test('render() names messages and values that are no plain data', async () => {
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  for (const values of [cyclic, { a: 1n }, { namespace: 1 }]) {
    const error = await render({ chat_template: CHATML }, HELLO, { values }).catch((each) => each);
    assert.instance(error, TypeError);
    assert.match(error.message, /^(messages and )?values must be plain data: /);
  }
});

test('readChatTemplate() names a special token that is no text', async () => {
  const error = await render({ chat_template: CHATML, bos_token: { content: 5 } }).catch((each) => each);
  assert.instance(error, FormatError);
  assert.is(error.message, 'm/tokenizer_config.json: bos_token must be a text, or have one as its content: got 5');
});

const unreadable: [name: string, template: string, message: RegExp][] = [
  ['too long', ' '.repeat(65537), /at most 65536 characters: it has 65537/],
  ['not closed', '{% if x %}', /chat template must be Jinja/],
  ['deep', `{{ ${'('.repeat(30000)}`, /chat template must be Jinja/],
  ['spaces that are looked at again and again', `${' '.repeat(65000)}x{%`, /at most 4096 spaces in a row/],
];
for (const [name, template, message] of unreadable) {
  test(`parseTemplate() names the fault: ${name}`, () => {
    assert.throws(
      () => parseTemplate(template, 'm/file'),
      (error: Error) => error instanceof FormatError && message.test(error.message),
    );
  });
}

test('a conversation of a thousand messages stays within the limits', async () => {
  const messages = Array.from({ length: 1000 }, (_, i) => ({
    role: i % 2 ? 'assistant' : 'user',
    content: `message ${i} ${'x'.repeat(1000)}`,
  }));
  assert.ok((await render({ chat_template: INST, bos_token: '<s>', eos_token: '</s>' }, messages)).length > 1e6);
});

test.run();
