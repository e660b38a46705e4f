// Chat templates out of a grammar, and tokenizers out of three that are whole. A text that is encoded must give ids, and ids a text.

import { openChatTemplate, openTokenizer } from '../../src/decoder.ts';
import { byteLevelContent } from '../tokenizers.ts';
import { changeBytes } from './bytes.ts';
import type { Files } from './checkpoint.ts';
import { changedJson } from './json.ts';
import { expect } from './oracle.ts';
import { aFewTimes, type Random, TEXTS } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, encode, folderOfCase, type Target } from './target.ts';

const templates = [
  "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
  "{%- if messages[0].role == 'system' -%}{% set system = messages[0].content %}{% set rest = messages[1:] %}{%- else -%}{% set rest = messages %}{% set system = '' %}{%- endif -%}{{ bos_token }}{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{{ '[INST] ' ~ m.content ~ ' [/INST]' }}{% endfor %}",
  "{% macro show(x, n=2) %}{{ x * n }}{% endmacro %}{% set ns = namespace(found=false, n=0) %}{% for m in messages if m.content is string %}{% set ns.n = ns.n + 1 %}{{ show(m.content) }}{{ m | tojson(indent=2) }}{% endfor %}{{ ns.n }} {{ strftime_now('%d %b %Y') }}",
];

// A grammar of Jinja; depth bounds the text.
function expression(random: Random, depth: number): string {
  const e = () => expression(random, depth - 1);
  if (depth <= 0 || random.chance(0.25)) return random.pick(ATOMS);
  const kind = random.below(9);
  if (kind === 0) return `(${e()} ${random.pick(OPERATORS)} ${e()})`;
  if (kind === 1) return `${e()} | ${random.pick(FILTERS)}`;
  if (kind === 2) return `${e()} is ${random.pick(TESTS)}`;
  if (kind === 3) return `${e()}.${random.pick(MEMBERS)}`;
  if (kind === 4) return `${e()}.${random.pick(MEMBERS)}(${random.chance(0.5) ? e() : ''})`;
  if (kind === 5) return `${e()}[${random.pick([e(), '1:', ':-1', '::2', '::0', '-1', ':', '1e3'])}]`;
  if (kind === 6) return random.pick([`[${e()}, ${e()}]`, `(${e()},)`, `{${e()}: ${e()}}`]);
  if (kind === 7)
    return `${random.pick(['range', 'namespace', 'raise_exception', 'strftime_now', 'cycler', 'foo'])}(${e()})`;
  return `${e()} if ${e()} else ${e()}`;
}

function statement(random: Random, depth: number): string {
  const e = () => expression(random, 2);
  const s = () => (depth > 0 ? statements(random, depth - 1) : 'x');
  switch (random.below(8)) {
    case 0:
      return `{% for x in ${e()} %}${s()}{% else %}${s()}{% endfor %}`;
    case 1:
      return `{% if ${e()} %}${s()}{% elif ${e()} %}${s()}{% endif %}`;
    case 2:
      return `{% set x = ${e()} %}`;
    case 3:
      return `{%- set x -%}${s()}{% endset %}`;
    case 4:
      return `{% macro f(a, b=${e()}) %}${s()}{% endmacro %}{{ f(${e()}) }}`;
    case 5:
      return `{% filter ${random.pick(FILTERS)} %}${s()}{% endfilter %}`;
    case 6:
      return `{# ${random.pick(TEXTS)} #}`;
    default:
      return `{{ ${e()} }}`;
  }
}

function statements(random: Random, depth: number): string {
  let text = '';
  aFewTimes(random, () => {
    text += random.chance(0.2) ? random.pick([' ', '\n', ...TEXTS]) : statement(random, depth);
  });
  return text;
}

const ATOMS = [
  ...[
    'messages',
    'messages[0]',
    'x',
    'undefined_name',
    'true',
    'none',
    '0',
    '-1',
    '1.5',
    '1e308',
    '9007199254740993',
    "'a'",
    '"\\u001b"',
  ],
  ...[
    '[]',
    '{}',
    '()',
    'loop',
    'loop.index',
    'bos_token',
    'range(9)',
    'range(9999)',
    "'ab' * 9",
    '[0] * 9',
    'self',
    'caller',
    'constructor',
  ],
];
const OPERATORS = [
  '+',
  '-',
  '*',
  '/',
  '//',
  '%',
  '**',
  '~',
  '==',
  '!=',
  '<',
  '>=',
  'in',
  'not in',
  'and',
  'or',
  'if',
  '|',
];
const FILTERS = [
  ...[
    'trim',
    'upper',
    'length',
    'join',
    "join(',')",
    'tojson',
    'tojson(indent=9)',
    'first',
    'last',
    'sort',
    'reverse',
    'unique',
    'int',
    'float',
  ],
  ...[
    'list',
    'items',
    'string',
    'indent(4)',
    'default(1)',
    "map(attribute='role')",
    "selectattr('role', 'equalto', 'user')",
    'safe',
    'foo',
  ],
  ...["replace('a', 'bbb')", 'dictsort', 'batch(2)', 'groupby(1)', 'capitalize', 'abs', 'sum', 'round', 'random'],
];
const TESTS = ['defined', 'string', 'mapping', 'iterable', 'none', 'odd', 'equalto(1)', 'in [1]', 'not defined', 'foo'];
const MEMBERS = [
  ...[
    'role',
    'content',
    'strip',
    'split',
    'items',
    'keys',
    'get',
    'startswith',
    'replace',
    'append',
    'pop',
    'format',
    'title',
    'join',
  ],
  ...['constructor', '__proto__', 'value', 'type', 'length', 'toString', 'update', 'index'],
];

function randomMessages(random: Random): unknown[] {
  return Array.from({ length: 1 + random.below(3) }, (_, i) => ({
    role: random.chance(0.9) ? ['user', 'assistant', 'system'][i] : random.pick(TEXTS),
    content: random.pick<unknown>(['Hello', ...TEXTS.slice(0, 40), null, 5, ['a'], { a: [1] }]),
    ...(random.chance(0.2) && { tool_calls: [{ name: random.pick(TEXTS), arguments: { x: random.below(9) } }] }),
  }));
}

export const template: Target = {
  name: 'template',
  subjects: ['memory', 'messages must', 'template must', 'chat must'],
  // Of the templates' language and its interpreter; what a template raises is its own.
  theirs:
    /(chat template must (run|be Jinja): (Cannot (perform|access|call|apply|convert|compare|unpack|assign to member)|'\w+' object is not iterable|Unknown|Invalid|Expected|Unexpected|Unsupported)|messages must suit the chat template:).*/,
  make(random) {
    let text = encode(random.chance(0.6) ? statements(random, 3) : random.pick(templates));
    if (random.chance(0.4))
      aFewTimes(random, () => {
        text = changeBytes(text, random, encode(random.pick(templates)));
      });
    const config = { bos_token: '<s>', eos_token: { content: '</s>' } };
    const files: Files = { [CASE_NAME]: caseOf({ messages: randomMessages(random), config }) };
    if (random.chance(0.8)) files['chat_template.jinja'] = text;
    else {
      const named = {
        ...config,
        chat_template: random.pick<unknown>([
          new TextDecoder().decode(text),
          [{ name: 'default', template: templates[0] }],
        ]),
      };
      files[CASE_NAME] = caseOf({
        messages: randomMessages(random),
        config: JSON.parse(safeJson(changedJson(named, random), named)),
      });
    }
    return files;
  },
  async run(files) {
    const { messages, config } = choicesOf<{
      messages: { role: string; content: string }[];
      config: Record<string, unknown>;
    }>(files);
    const actual = await openChatTemplate(folderOfCase(files), config);
    const now = new Date(Date.UTC(2026, 0, 2));
    const text = actual.render(messages, { now });
    expect(typeof text === 'string', `a conversation is a text: ${typeof text}`);
    expect(actual.render(messages, { now }) === text, 'a conversation is written alike twice');
  },
};

function safeJson(text: string, otherwise: unknown): string {
  try {
    const actual = JSON.parse(text);
    return typeof actual === 'object' && actual !== null && !Array.isArray(actual) ? text : JSON.stringify(otherwise);
  } catch {
    return JSON.stringify(otherwise);
  }
}

const special = (id: number, content: string) => ({
  id,
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
});
const VOCABULARY = [
  '<unk>',
  '<s>',
  '</s>',
  '▁',
  'a',
  'b',
  'ab',
  '▁ab',
  '<0x0A>',
  '<0xF0>',
  'é',
  '[CLS]',
  '[SEP]',
  '##b',
  'hello',
];
const vocabulary = Object.fromEntries(VOCABULARY.map((token, id) => [token, id]));
const metaspace = {
  type: 'Metaspace',
  replacement: '▁',
  add_prefix_space: true,
  prepend_scheme: 'always',
  split: false,
};
const tokenizers: Record<string, unknown>[] = [
  byteLevelContent(),
  {
    ...{ added_tokens: [special(0, '<unk>'), special(1, '<s>')], pre_tokenizer: null },
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    post_processor: {
      ...{
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      },
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: vocabulary,
      merges: ['a b', '▁ ab'],
    },
  },
  {
    ...{
      added_tokens: [special(0, '<unk>')],
      normalizer: { type: 'NFKC' },
      pre_tokenizer: metaspace,
      decoder: metaspace,
      post_processor: null,
    },
    model: { type: 'Unigram', unk_id: 0, byte_fallback: false, vocab: VOCABULARY.map((token, id) => [token, -id]) },
  },
  {
    ...{
      added_tokens: [special(11, '[CLS]'), special(12, '[SEP]')],
      normalizer: {
        type: 'BertNormalizer',
        lowercase: true,
        strip_accents: null,
        clean_text: true,
        handle_chinese_chars: true,
      },
    },
    ...{
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: { type: 'BertProcessing', sep: ['[SEP]', 12], cls: ['[CLS]', 11] },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '<unk>',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: vocabulary,
    },
  },
  {
    ...{
      added_tokens: [],
      normalizer: { type: 'Replace', pattern: { Regex: '[a-c]+\\s?' }, content: 'ab' },
      post_processor: null,
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: '\\p{L}+|\\s+(?!\\S)|\\d{1,3}' }, behavior: 'Isolated', invert: false },
        { type: 'Digits', individual_digits: true },
        { type: 'Punctuation', behavior: 'Isolated' },
      ],
    },
    decoder: { type: 'ByteFallback' },
    model: { type: 'BPE', unk_token: '<unk>', vocab: vocabulary, merges: [['a', 'b']] },
  },
];

export const tokenizer: Target = {
  name: 'tokenizer',
  subjects: ['memory'],
  make(random) {
    const text = changedJson(random.pick(tokenizers), random);
    const files: Files = {
      'tokenizer.json': random.chance(0.9) ? encode(text) : changeBytes(encode(text), random),
      [CASE_NAME]: caseOf({
        text: random.pick(['hello ab', 'ab a b\n', '<s>é😀', 'a'.repeat(40), ...TEXTS.slice(0, 40)]),
        ids: [random.below(300), 1, 2, 5],
      }),
    };
    if (random.chance(0.5))
      files['tokenizer_config.json'] = encode(
        changedJson({ eos_token: '</s>', add_bos_token: true, model_max_length: 512 }, random),
      );
    return files;
  },
  async run(files) {
    const { text, ids } = choicesOf<{ text: string; ids: number[] }>(files);
    const opened = await openTokenizer(folderOfCase(files));
    const encoded = opened.encode(text);
    expect(
      Array.isArray(encoded) && encoded.every((id) => Number.isSafeInteger(id) && id >= 0),
      `ids are integers: ${encoded}`,
    );
    for (const list of [encoded, ids]) {
      const decoded = opened.decode(list);
      expect(typeof decoded === 'string', 'ids give a text');
      const stream = opened.stream();
      const pieces = list.map((id) => stream.push(id)).join('') + stream.end();
      expect(pieces === decoded, 'a stream gives the text, too');
    }
  },
};
