// JSON of a schema, and calls of tools: whatever the model would say, what it says parses, validates, and names a tool.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadModel } from '../src/decoder.ts';
import { createServer, type Server } from '../src/server/server.ts';
import { constraintOf, markedConstraint } from '../src/server/structured/constraint.ts';
import { callFilter, formatOf as callFormatOf, toolConstraint, toolsFrom } from '../src/server/structured/tools.ts';
import type { Model } from '../src/text/textmodel.ts';
import { thinkingFilter } from '../src/text/thinking.ts';
import { uniform } from './bits.ts';
import { memoryFolder } from './checkpoints.ts';
import { validates } from './schemas.ts';
import {
  BARE,
  BEHIND_IDS,
  BLOCK,
  CHANNELS,
  eventsOf,
  HERMES,
  LIST,
  NAMED,
  PLAIN,
  servedFiles,
  servedModel,
  TAGGED,
} from './served.ts';
import { byteLevelContent } from './tokenizers.ts';

const test = suite('structured');
const templates = { PLAIN, HERMES, BARE, LIST, NAMED, TAGGED, CHANNELS, BEHIND_IDS, BLOCK };
const models = new Map<string, Model>();
let server: Server;

test.before(async () => {
  for (const [name, template] of Object.entries(templates)) {
    models.set(name, await servedModel({ template, context: 2048, cacheTokens: 2048 * 4 }));
  }
  server = createServer({ models, onRequest: ({ cause }) => cause && console.error(cause) });
});
test.after(async () => {
  for (const model of models.values()) await model.close();
});

const init = (body: unknown): RequestInit => ({ method: 'POST', body: JSON.stringify(body) });
// biome-ignore lint/suspicious/noExplicitAny: answers are looked into
async function post(path: string, body: unknown): Promise<{ status: number; json: any }> {
  const response = await server.request(path, init(body));
  return { status: response.status, json: await response.json() };
}
const CHAT = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'Tell me' }];
const formatOf = (schema: unknown, strict = true) => ({
  type: 'json_schema',
  json_schema: { name: 'answer', strict, schema },
});
// A random model writes without end: what closes is made more likely. Byte tokens are what these vocabularies have.
const closers = () => {
  const { tokenizer } = models.get('PLAIN')!;
  const idOf = (text: string) => tokenizer.encode(text, { special: false })[0];
  return { [idOf('"')]: 4, [idOf('}')]: 4, [idOf(']')]: 4, [idOf('\\')]: -100 };
};

/** A random schema, of what the engine enforces, whose every text is short. */
function schemaOf(next: () => number, depth = 0): Record<string, unknown> {
  const pick = <T>(...from: T[]): T => from[Math.floor(next() * from.length)];
  const kinds = ['string', 'integer', 'number', 'boolean', 'null', 'enum', 'const'];
  const kind = pick(...kinds, ...(depth < 3 ? ['object', 'object', 'array', 'anyOf', 'nullable'] : []));
  const count = 1 + Math.floor(next() * 3);
  if (kind === 'string')
    return { type: 'string', minLength: Math.floor(next() * 3), maxLength: 3 + Math.floor(next() * 6) };
  if (kind === 'integer')
    return { type: 'integer', minimum: -Math.floor(next() * 50), maximum: Math.floor(next() * 1000) };
  if (kind === 'number') return { type: 'number', minimum: 0, maximum: 100 };
  if (kind === 'boolean' || kind === 'null') return { type: kind };
  if (kind === 'enum')
    return { enum: [pick('red', 'rot'), 'a "quoted" one', pick(1, 2.5), null, { a: [1] }].slice(0, count + 2) };
  if (kind === 'const') return { const: pick<unknown>('x', 7, true, null, ['é', 2]) };
  if (kind === 'nullable') return { type: ['boolean', 'null'] };
  if (kind === 'anyOf') return { anyOf: Array.from({ length: count + 1 }, () => schemaOf(next, depth + 1)) };
  if (kind === 'array')
    return { type: 'array', items: schemaOf(next, depth + 1), minItems: Math.floor(next() * 2), maxItems: count + 1 };
  const names = ['name', 'größe', 'a b', "z'q"].slice(0, count + 1);
  const properties = Object.fromEntries(names.map((name) => [name, schemaOf(next, depth + 1)]));
  const required = names.filter(() => next() < 0.7);
  return { type: 'object', properties, required, additionalProperties: false };
}

test('200 random schemas: every answer parses and validates', async () => {
  const next = uniform(77);
  const logit_bias = closers();
  for (let i = 0; i < 200; i++) {
    const schema = {
      type: 'object',
      properties: { value: schemaOf(next) },
      required: ['value'],
      additionalProperties: false,
    };
    const body = { model: 'PLAIN', messages, logit_bias, seed: i, temperature: i % 3 ? 1 : 0, max_tokens: 1500 };
    const { status, json } = await post(CHAT, { ...body, response_format: formatOf(schema) });
    const about = `${i}: ${JSON.stringify(schema)}`;
    assert.is(status, 200, `${about}: ${JSON.stringify(json)}`);
    const { message, finish_reason } = json.choices[0];
    assert.is(finish_reason, 'stop', about);
    const value = JSON.parse(message.content);
    assert.ok(validates(schema, value), `${about}: ${message.content}`);
  }
});

test('json_object gives an object, in streams too', async () => {
  const body = {
    model: 'PLAIN',
    messages,
    logit_bias: closers(),
    seed: 4,
    temperature: 1,
    response_format: { type: 'json_object' },
  };
  const { json } = await post(CHAT, body);
  assert.is(json.choices[0].finish_reason, 'stop');
  assert.type(JSON.parse(json.choices[0].message.content), 'object');
  const events = await eventsOf(await server.request(CHAT, init({ ...body, stream: true })));
  const text = events.slice(0, -1).map(({ data }) => JSON.parse(data).choices[0].delta.content ?? '');
  assert.is(text.join(''), json.choices[0].message.content);
});

test('a recursive schema is followed', async () => {
  const schema = {
    type: 'object',
    properties: {
      name: { type: 'string', maxLength: 3 },
      children: { type: 'array', items: { $ref: '#' }, maxItems: 2 },
    },
    required: ['name', 'children'],
    additionalProperties: false,
  };
  const { json } = await post(CHAT, {
    model: 'PLAIN',
    messages,
    logit_bias: closers(),
    response_format: formatOf(schema),
    max_tokens: 900,
  });
  assert.is(json.choices[0].finish_reason, 'stop', JSON.stringify(json));
  assert.type(JSON.parse(json.choices[0].message.content).name, 'string');
});

test('responses and completions take schemas, too', async () => {
  const schema = {
    type: 'object',
    properties: { ok: { type: 'boolean' } },
    required: ['ok'],
    additionalProperties: false,
  };
  const format = { type: 'json_schema', name: 'answer', strict: true, schema };
  const { json } = await post('/v1/responses', { model: 'PLAIN', input: 'Well?', text: { format } });
  assert.type(JSON.parse(json.output[0].content[0].text).ok, 'boolean');
  const plain = await post('/v1/completions', {
    model: 'PLAIN',
    prompt: 'Well?',
    max_tokens: 50,
    response_format: formatOf(schema),
  });
  assert.type(JSON.parse(plain.json.choices[0].text).ok, 'boolean');
});

for (const [label, schema, message] of [
  [
    'a pattern that takes for ever',
    { type: 'string', pattern: '(a+)+$' },
    /pattern .* more than letters, classes, groups and counts/,
  ],
  ['a keyword that is not known', { type: 'object', wrong: 1 }, /it has .*wrong/],
  ['a reference to elsewhere', { $ref: 'https://example.com/x.json' }, /a reference leads elsewhere/],
  ['a huge enum', { enum: Array.from({ length: 5000 }, (_, i) => i) }, /at most 1000 values of an enum/],
  ['a deep nest', JSON.parse(`${'{"items":'.repeat(40)}{}${'}'.repeat(40)}`), /at most 32 levels/],
  ['many alternatives', { anyOf: Array.from({ length: 3000 }, () => ({ type: 'string' })) }, /at most 1024 schemas/],
  [
    'many properties',
    { properties: Object.fromEntries(Array.from({ length: 201 }, (_, i) => [`p${i}`, {}])) },
    /at most 200 properties/,
  ],
  ['a name with a quote', { properties: { 'a"b': {} } }, /does not stand in JSON as it is/],
  ['counts within counts', { type: 'string', pattern: '^(a{900}){900}$' }, /pattern/],
  ['a long count', { type: 'string', maxLength: 1e9 }, /maxLength is above 2000/],
  ['a lookahead', { type: 'string', pattern: '^(?=a)b$' }, /pattern/],
  ['a reference to nowhere', { $ref: '#/$defs/none' }, /a reference leads nowhere/],
  ['values that are compared', { type: 'array', uniqueItems: true }, /it has .*uniqueItems/],
  ['a range without a value', { type: 'integer', minimum: 7, maximum: 3 }, /minimum is above maximum/],
  ['a long text', { const: 'x'.repeat(70_000) }, /at most 65536 characters/],
  ['no schema', 7, /must be a JSON Schema/],
  ['nothing that it allows', false, /./],
  [
    'a length beside a reference',
    { $defs: { a: { type: 'string' } }, $ref: '#/$defs/a', maxLength: 3 },
    /maxLength.* beside .*\$ref/,
  ],
  ['a range beside a constant', { const: 4, minimum: 5 }, /minimum.* beside .*const/],
  ['an enum of another type', { type: 'string', enum: ['a', 1] }, /type.* beside .*enum/],
  ['names beside alternatives', { anyOf: [{ type: 'object' }], required: ['a'] }, /required.* beside .*anyOf/],
  ['two lengths', { allOf: [{ type: 'string', minLength: 5 }], minLength: 1 }, /minLength.* twice/],
  ['alternatives of both kinds', { anyOf: [{ type: 'string' }], oneOf: [{ type: 'null' }] }, /anyOf.* twice/],
  ['a required name with a quote', { type: 'object', required: ['a"b'] }, /does not stand in JSON as it is/],
] as const) {
  test(`a schema with ${label} is refused`, async () => {
    const { status, json } = await post(CHAT, {
      model: 'PLAIN',
      messages,
      max_tokens: 8,
      response_format: formatOf(schema),
    });
    assert.is(status, 400, JSON.stringify(json));
    assert.match(json.error.message, message);
  });
}

test('a type that agrees may stand beside a constant, an enum and alternatives', async () => {
  const properties = {
    kind: { type: 'string', const: 'a' },
    unit: { type: ['string', 'null'], enum: ['C', null] },
    size: { type: 'number', anyOf: [{ type: 'integer', minimum: 0, maximum: 9 }, { const: 10.5 }] },
  };
  const schema = { type: 'object', properties, required: Object.keys(properties), additionalProperties: false };
  const { status, json } = await post(CHAT, {
    ...{ model: 'PLAIN', messages, logit_bias: closers(), max_tokens: 200 },
    response_format: formatOf(schema),
  });
  assert.is(status, 200, JSON.stringify(json));
  assert.is(JSON.parse(json.choices[0].message.content).kind, 'a');
});

test('an answer behind a thought that the prompt opens is what the schema says', async () => {
  const files = servedFiles({ template: `${PLAIN}<think>\n` });
  const content = byteLevelContent();
  const close = 267;
  (content.added_tokens as object[]).push({
    ...{ id: close, content: '</think>', special: false, single_word: false },
    ...{ lstrip: false, rstrip: false, normalized: false },
  });
  files['tokenizer.json'] = new TextEncoder().encode(JSON.stringify(content));
  const thinking = await loadModel(memoryFolder(files), { context: 512 });
  models.set('THINKING', thinking);
  const thoughtful = createServer({ models: { thinking } });
  const schema = { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] };
  const ask = async (more: object) => {
    const body = { messages, max_tokens: 200, temperature: 1, seed: 3, response_format: formatOf(schema), ...more };
    return (await (await thoughtful.request(CHAT, init(body))).json()).choices[0];
  };
  const { message, finish_reason } = await ask({ logit_bias: { [close]: 4 } });
  assert.is(finish_reason, 'stop');
  assert.type(JSON.parse(message.content).ok, 'boolean');
  assert.ok(message.reasoning_content.length > 0);
  // A thought is not the end, whatever the model would have.
  const [end] = thinking.ends;
  const endless = await ask({ logit_bias: { [close]: -100, [end]: 100 } });
  assert.is(endless.finish_reason, 'length');
});

test('a mark that ends within a token is one, and what the token has behind it counts', async () => {
  const hermes = models.get('HERMES')!;
  const constraint = markedConstraint(hermes, '<tool_call>', () => constraintOf(hermes, [{ literal: '\n{"name"' }]));
  const idOf = (text: string) => hermes.tokenizer.encode(text, { special: false })[0];
  constraint.accept(0, 'well <tool');
  constraint.accept(0, '_call>\n{');
  const allowed = async () => {
    const row = new Float32Array(hermes.config.vocabSize);
    await constraint.mask(row);
    return [...row.keys()].filter((id) => row[id] === 0);
  };
  assert.equal(await allowed(), [idOf('"')]);
  constraint.accept(idOf('"'), '"');
  assert.ok((await allowed()).includes(idOf('n')));
  constraint.close();
});

test('two requests at once with one new schema make one grammar', async () => {
  const schema = { type: 'object', properties: { once: { type: 'boolean' } }, required: ['once'] };
  const body = { model: 'PLAIN', messages, max_tokens: 60, logit_bias: closers(), response_format: formatOf(schema) };
  // It is written out by each request's check, and once for the engine.
  const { stringify } = JSON;
  let count = 0;
  JSON.stringify = (value: { properties?: object }, ...more: never[]) => {
    if (value?.properties && 'once' in value.properties) count++;
    return stringify(value, ...more);
  };
  const asked = [1, 2, 3].map(() => post(CHAT, body));
  const all = await Promise.all(asked).finally(() => Object.assign(JSON, { stringify }));
  for (const { json } of all) assert.type(JSON.parse(json.choices[0].message.content).once, 'boolean');
  assert.is(count, 3 + 1);
});

test('schemas that no grammar can be made of, however many, leave the engine as it was', async () => {
  const impossible = [
    { type: 'string', minLength: 5, maxLength: 1 },
    { type: 'integer', minimum: 5, maximum: 1 },
    { type: 'array', items: { type: 'null' }, minItems: 4, maxItems: 2 },
    { $ref: '#/$defs/nope' },
  ];
  const body = { model: 'PLAIN', messages, max_tokens: 60, logit_bias: closers() };
  for (let i = 0; i < 80; i++) {
    const schema = { type: 'object', properties: { [`p${i}`]: impossible[i % impossible.length] } };
    const { status, json } = await post(CHAT, { ...body, response_format: formatOf(schema) });
    assert.is(status, 400, JSON.stringify(schema));
    assert.match(json.error.message, /^response_format[\w.]* must /);
  }
  const schema = { type: 'object', properties: { well: { type: 'boolean' } }, required: ['well'] };
  const { json } = await post(CHAT, { ...body, response_format: formatOf(schema) });
  assert.type(JSON.parse(json.choices[0].message.content).well, 'boolean');
});

test('a format beside tools is refused, unless none is to be called', async () => {
  const schema = { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] };
  const body = { model: 'HERMES', messages, tools, max_tokens: 60, response_format: formatOf(schema) };
  const { status, json } = await post(CHAT, body);
  assert.is(status, 400);
  assert.match(json.error.message, /^response_format must be left out beside tools/);
  assert.is((await post(CHAT, { ...body, tool_choice: 'none' })).status, 200);
});

const tools = [
  {
    type: 'function',
    function: {
      name: 'get_weather',
      description: 'The weather of a city.',
      parameters: {
        $defs: { unit: { enum: ['C', 'F'] } },
        ...{ type: 'object', required: ['city', 'unit'], additionalProperties: false },
        properties: { city: { type: 'string', maxLength: 5, pattern: '^x' }, unit: { $ref: '#/$defs/unit' } },
      },
    },
  },
  {
    type: 'function',
    function: { name: 'get_time', parameters: { type: 'object', properties: {}, additionalProperties: false } },
  },
];

for (const name of Object.keys(templates)) {
  test(`tool_choice makes calls that parse and validate: ${name}`, async () => {
    for (let seed = 0; seed < 6; seed++) {
      const body = {
        model: name,
        messages,
        tools,
        logit_bias: closers(),
        seed,
        temperature: 1,
        max_tokens: 400,
        parallel_tool_calls: false,
      };
      for (const tool_choice of ['required', { type: 'function', function: { name: 'get_weather' } }]) {
        const { json, status } = await post(CHAT, { ...body, tool_choice });
        assert.is(status, 200, JSON.stringify(json));
        const [choice] = json.choices;
        assert.is(choice.finish_reason, 'tool_calls', JSON.stringify(choice));
        assert.is(choice.message.content, null);
        const [call] = choice.message.tool_calls;
        assert.match(call.function.name, tool_choice === 'required' ? /^get_(weather|time)$/ : /^get_weather$/);
        const args = JSON.parse(call.function.arguments);
        if (call.function.name === 'get_time') assert.equal(args, {});
        else assert.ok([...args.city].length <= 5 && ['C', 'F'].includes(args.unit), call.function.arguments);
      }
    }
  });

  test(`a call and its result go back to the model: ${name}`, async () => {
    const call = { id: 'call_1', type: 'function', function: { name: 'get_time', arguments: '{}' } };
    const said = [
      ...messages,
      { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'call_1', content: 'noon' },
    ];
    const { status, json } = await post(CHAT, { model: name, messages: said, tools, max_tokens: 4, temperature: 0 });
    assert.is(status, 200, JSON.stringify(json));
  });
}

// Templates as they are of models that think, that are asked within a thought, and that give calls ids.
const AFTER_THOUGHT = HERMES.replace('<tool_call>', '<think>\n\n</think>\n\n<tool_call>');
const IN_THOUGHT = HERMES.replace(/assistant: \{% endif %\}$/, 'assistant: <think>\n{% endif %}').replace(
  '{{ m.role }}: {{ m.content }}{% if m.tool_calls %}',
  '{{ m.role }}: {% if m.tool_calls %}',
);
const WITH_IDS = NAMED.replace('[ARGS]', '[CALL_ID]{{ c.id }}[ARGS]');

for (const [name, template, call] of [
  ['behind a thought', AFTER_THOUGHT, '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'],
  [
    'where the question begins a thought',
    IN_THOUGHT,
    '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>',
  ],
  ['with ids', WITH_IDS, '[TOOL_CALLS]get_time[CALL_ID]abcdefghi[ARGS]{}'],
  [
    'behind ids',
    BEHIND_IDS,
    '<|tool_calls|><|tool_call:begin|>call_7<|tool_call:name|>get_time<|tool_call:args|>{}<|tool_call:end|>',
  ],
  ['in a block of code', BLOCK, 'Action:\n```json\n[\n    {\n"tool_name": "get_time",\n"parameters": {}\n}\n]\n```'],
  ['to a function, in front of the channel', CHANNELS, ' to=functions.get_time<|channel|>commentary json<|message|>{}'],
  [
    'to a function, behind the channel',
    CHANNELS,
    '<|channel|>commentary to=functions.get_time <|constrain|>json<|message|>{}<|call|>',
  ],
] as const) {
  test(`calls are found as the model writes them: ${name}`, async () => {
    const model = await servedModel({ template });
    const filter = callFilter(model, toolsFrom(tools), true);
    assert.is([...call].map((character) => filter.push(character)).join(''), '');
    assert.equal(filter.end(), { text: '', calls: [{ name: 'get_time', arguments: '{}' }] });
    await model.close();
  });
}

test('messages of gpt-oss are thoughts, text and calls', async () => {
  const model = models.get('CHANNELS')!;
  const text =
    '<|channel|>analysis<|message|>Paris?<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>' +
    '<|start|>assistant<|channel|>commentary to=functions.get_time <|constrain|>json<|message|>{}<|call|>' +
    '<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{"city":"x","unit":"C"}';
  for (const size of [1, 5, 1000]) {
    const [thinking, calling] = [thinkingFilter('<|start|>assistant'), callFilter(model, toolsFrom(tools), true)];
    let [thought, shown] = ['', ''];
    const take = (parts: ReturnType<typeof thinking.push>) => {
      for (const part of parts) {
        if (part.thinking) thought += part.text;
        else shown += calling.push(part.text);
      }
    };
    for (let at = 0; at < text.length; at += size) take(thinking.push(text.slice(at, at + size)));
    take(thinking.end());
    const { text: rest, calls } = calling.end();
    assert.equal([thought, shown + rest], ['Paris?', 'I look.']);
    assert.equal(calls, [
      { name: 'get_time', arguments: '{}' },
      { name: 'get_weather', arguments: '{"city":"x","unit":"C"}' },
    ]);
  }
});

test('a schema is for what gpt-oss says in its final message', async () => {
  const schema = { type: 'object', properties: { a: { enum: [1, 2] } }, required: ['a'] };
  const body = { model: 'CHANNELS', messages, response_format: formatOf(schema), max_tokens: 100, temperature: 0 };
  const { status, json } = await post(CHAT, body);
  assert.is(status, 200, JSON.stringify(json));
  assert.ok([1, 2].includes(JSON.parse(json.choices[0].message.content).a), JSON.stringify(json));
});

const typed = [
  {
    type: 'function',
    function: {
      name: 'edit',
      parameters: {
        $defs: { count: { type: ['integer', 'null'] } },
        type: 'object',
        properties: {
          text: { type: 'string' },
          count: { $ref: '#/$defs/count' },
          mode: { enum: ['1', '2'] },
          way: { anyOf: [{ type: 'string' }, { type: 'null' }] },
          list: { type: 'array', items: { type: 'number' } },
          flag: { type: 'boolean' },
        },
      },
    },
  },
];
const written = (values: Record<string, string>) => {
  const each = Object.entries(values).map(([key, text]) => `<parameter=${key}>\n${text}\n</parameter>\n`);
  return `<tool_call>\n<function=edit>\n${each.join('')}</function>\n</tool_call>`;
};
/** What is told of a text that comes piece by piece: what is shown, and calls. */
function filtered(text: string, size: number) {
  const filter = callFilter(models.get('TAGGED')!, toolsFrom(typed), true);
  let shown = '';
  for (let at = 0; at < text.length; at += size) shown += filter.push(text.slice(at, at + size));
  const { text: rest, calls } = filter.end();
  return { shown: shown + rest, calls };
}

test('calls between tags are known by the template, and read by the kinds of the schema', () => {
  const model = models.get('TAGGED')!;
  const { tags, before, after } = callFormatOf(model);
  assert.equal(tags, { call: 'function', argument: 'parameter' });
  assert.equal([before.trim(), after.trim()], ['<tool_call>', '</tool_call>']);
  assert.is(toolConstraint(model, toolsFrom(typed), 'auto', true), undefined);
  const values = {
    text: ' 5',
    count: '12345678901234567890',
    mode: '1',
    way: '7',
    list: '[1, 2.50]',
    flag: 'True',
    other: '{"a": [1]}',
    __proto__x: 'say "so"',
  };
  const json =
    '{"text":" 5","count":12345678901234567890,"mode":"1","way":"7","list":[1, 2.50],"flag":true,"other":{"a": [1]},"__proto__x":"say \\"so\\""}';
  for (const size of [1, 7, 1000]) {
    const { shown, calls } = filtered(`Well. ${written(values)}\n${written({ count: 'None', way: 'null' })}`, size);
    assert.is(shown.trim(), 'Well.');
    assert.equal(calls, [
      { name: 'edit', arguments: json },
      { name: 'edit', arguments: '{"count":null,"way":null}' },
    ]);
  }
});

test('a value between tags may have tags, lines and space within it', () => {
  const text = '\n<tool_call>\n  if (a < b) {\n</parameter> and </function>\n<function=edit>\n';
  const { calls } = filtered(written({ text, flag: 'false' }), 5);
  assert.equal(
    calls.map((call) => JSON.parse(call.arguments)),
    [{ text, flag: false }],
  );
});

test('calls between tags that are cut, or of no tool, are text; JSON is read as well', () => {
  const whole = written({ text: 'a' });
  for (const text of [whole.slice(0, -25), whole.replace('=edit', '=other'), '<tool_call>\n<function=edit>\nwell']) {
    assert.equal(filtered(text, 3), { shown: text, calls: [] });
  }
  const json = '<tool_call>\n{"name": "edit", "arguments": {"text": "a"}}\n</tool_call>';
  assert.equal(filtered(json, 3), { shown: '', calls: [{ name: 'edit', arguments: '{"text":"a"}' }] });
  assert.equal(filtered('<tool_call>\n<function=edit>\n</function>', 3).calls, [{ name: 'edit', arguments: '{}' }]);
});

test('streams tell calls with index, id, name and arguments', async () => {
  const body = {
    model: 'HERMES',
    messages,
    tools,
    tool_choice: 'required',
    logit_bias: closers(),
    max_tokens: 400,
    stream: true,
  };
  const events = await eventsOf(await server.request(CHAT, init(body)));
  const deltas = events.slice(0, -1).map(({ data }) => JSON.parse(data).choices[0]);
  const [call] = deltas.flatMap(({ delta }) => delta.tool_calls ?? []);
  assert.is(call.index, 0);
  assert.match(call.id, /^call-/);
  JSON.parse(call.function.arguments);
  assert.is(deltas.map(({ delta }) => delta.content ?? '').join(''), '');
  assert.is(deltas.at(-1).finish_reason, 'tool_calls');
  const responses = await post('/v1/responses', {
    ...body,
    input: 'x',
    tools: tools.map((tool) => ({ type: 'function', ...tool.function })),
    stream: false,
  });
  assert.is(responses.json.output[0].type, 'function_call', JSON.stringify(responses.json));
});

test('tool_choice must name a tool', async () => {
  const ask = async (more: object) =>
    (await post(CHAT, { model: 'HERMES', messages, max_tokens: 1, ...more })).json.error.message;
  assert.is(await ask({ tool_choice: 'required' }), 'tool_choice must come with tools: got none');
  const other = { type: 'function', function: { name: 'other' } };
  assert.match(await ask({ tools, tool_choice: other }), /tool_choice must name one of the tools: got "other"/);
  assert.match(await ask({ tools: [{ type: 'web_search' }] }), /tools\[0\]\.type must be/);
});

test.run();
