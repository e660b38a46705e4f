// Bodies of requests to a server: every endpoint with members that are right, almost right, and wrong, down to schemas, tools and parts of contents.

import { NUMBERS, type Random, TEXTS } from './random.ts';

type Json = unknown;

/** Values that a member is not for. */
const WRONG: readonly Json[] = [
  ...[null, true, false, [], {}, [[]], [null], { type: 'object' }, { a: 1 }, '', 'x', 0, -1, 0.5, 1e9],
  ...['1', 'true', '[]', ['a', 1], { length: 3 }, { toString: 1 }],
];
const ODD_TEXTS: readonly string[] = [
  ...TEXTS,
  ...['<|begin|>', '<|end|>', '<|end|>'.repeat(40), '<think>', '</think>x', '<tool_call>\n{"name": "f"}', '{{ 7*7 }}'],
  ...['\ud83d', 'a\u0300'.repeat(30), '\u202eabc', '0'.repeat(64), 'the '.repeat(90), '\u0000\u0001', '\uffff'],
];

const text = (random: Random): Json =>
  random.chance(0.5) ? random.pick(['Hi', 'Once upon a time', 'a', 'What is it?']) : random.pick(ODD_TEXTS);
const times = <T>(random: Random, most: number, make: () => T): T[] =>
  Array.from({ length: random.below(most + 1) }, make);

/** A schema: mostly one that can be enforced, of few levels. */
function schema(random: Random, depth = 3): Json {
  const inner = () => (depth === 0 ? { type: 'boolean' } : schema(random, depth - 1));
  const name = () =>
    random.chance(0.8) ? random.pick(['a', 'b', 'c d', 'é', '$ref', 'type', '__proto__', 'length']) : text(random);
  const bound = () => (random.chance(0.8) ? random.below(5) : random.pick(NUMBERS));
  const object = () => ({
    type: 'object',
    properties: Object.fromEntries(times(random, 4, () => [name(), inner()])),
    ...(random.chance(0.7) && { required: times(random, 2, name) }),
    ...(random.chance(0.3) && { additionalProperties: random.pick([true, false, { type: 'null' }, 'x']) }),
  });
  return random.pick<() => Json>([
    object,
    object,
    () => ({ type: 'array', items: inner(), minItems: bound(), maxItems: bound() }),
    () => ({ type: 'string', minLength: bound(), maxLength: bound() }),
    () => ({ type: random.pick(['integer', 'number']), minimum: bound(), maximum: bound(), exclusiveMinimum: bound() }),
    () => ({ type: random.pick(['null', 'boolean', 'integer', ['string', 'null'], [], 'text', 'any']) }),
    () => ({ enum: times(random, 3, () => random.pick([text(random), 1, null, true, [1], { a: 1 }, 1e300, -0.5])) }),
    () => ({ const: random.pick([text(random), 1, null, { a: [text(random)] }, -1e21]) }),
    () => ({ [random.pick(['anyOf', 'oneOf', 'allOf'])]: times(random, 3, inner) }),
    () => ({ $ref: random.pick(['#', '#/$defs/a', '#/$defs/b', '#/properties/a', 'http://x', '#/a/b', '#/$defs/é']) }),
    () => ({ ...object(), $defs: { a: inner(), b: { $ref: random.pick(['#', '#/$defs/a', '#/$defs/b']) } } }),
    () => ({ type: 'string', pattern: random.pick(PATTERNS) }),
    () => ({ type: 'string', format: random.pick(['date', 'uuid', 'email', 'ipv6', 'duration', 'uri', 'x']) }),
    () => ({ enum: Array.from({ length: random.pick([900, 1001]) }, (_, i) => `v${i}`) }),
    () => ({ type: 'array', prefixItems: times(random, 3, inner), items: random.chance(0.5) ? false : inner() }),
    () => ({
      [random.pick(['not', 'if', 'uniqueItems', 'multipleOf', 'patternProperties', 'title', '__proto__'])]: inner(),
    }),
    () => nested(random.pick([8, 31, 40, 70])),
    () => random.pick(WRONG),
  ])();
}
const PATTERNS = [
  '^(a+)+$',
  '^[a-c]{2,4}$',
  '^((a|b){0,9}){0,9}$',
  'a',
  '^\\d+$',
  '^(?=a)$',
  '^[^a]$',
  '^(a{999}){9}$',
  '^($',
];
const nested = (depth: number): Json =>
  depth === 0 ? { type: 'null' } : { type: 'object', properties: { a: nested(depth - 1) }, required: ['a'] };

const names = ['f', 'g_2', 'get.it', 'x-y', '', 'a b', 'é', 'f'.repeat(64), 'f'.repeat(65), '__proto__'];
const tool = (random: Random): Json => ({
  type: random.chance(0.95) ? 'function' : random.pick(WRONG),
  function: {
    name: random.chance(0.7) ? random.pick(names.slice(0, 4)) : random.pick(names),
    ...(random.chance(0.3) && { description: text(random) }),
    ...(random.chance(0.8) && { parameters: schema(random, 2) }),
    ...(random.chance(0.3) && { strict: random.chance(0.5) }),
  },
});

const part = (random: Random): Json =>
  random.pick<() => Json>([
    () => ({ type: 'text', text: text(random) }),
    () => ({ type: 'text', text: text(random) }),
    () => ({ type: 'input_text', text: text(random) }),
    () => ({ type: 'refusal', refusal: text(random) }),
    () => ({ type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }),
    () => ({ type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } }),
    () => ({ type: 'file', file: { file_id: '../../etc/passwd' } }),
    () => random.pick(WRONG),
  ])();
const content = (random: Random): Json => (random.chance(0.7) ? text(random) : times(random, 3, () => part(random)));
const call = (random: Random): Json => ({
  id: text(random),
  type: 'function',
  function: { name: random.pick(names), arguments: random.pick(['{"a": 1}', '[]', '{', '', 'null', {}, 5]) },
});
const message = (random: Random): Json =>
  random.chance(0.03)
    ? random.pick(WRONG)
    : {
        role: random.chance(0.9)
          ? random.pick(['user', 'user', 'assistant', 'system', 'developer', 'tool'])
          : text(random),
        content: content(random),
        ...(random.chance(0.2) && { tool_calls: times(random, 2, () => call(random)), tool_call_id: text(random) }),
        ...(random.chance(0.1) && { reasoning_content: text(random), name: text(random) }),
      };

const count = (random: Random): Json => (random.chance(0.9) ? 1 + random.below(12) : random.pick(NUMBERS));
const share = (random: Random): Json => (random.chance(0.9) ? random.float() : random.pick(NUMBERS));

/** What each member may be. */
type Members = Readonly<Record<string, (random: Random) => Json>>;
const COMMON: Members = {
  model: (random) =>
    random.chance(0.9) ? random.pick(['hermes', 'plain', 'named']) : random.pick(['other', '../x', '']),
  stream: (random) => random.chance(0.5),
  stream_options: (random) => ({ include_usage: random.chance(0.5) }),
  n: (random) => (random.chance(0.8) ? 1 + random.below(3) : random.pick(NUMBERS)),
  stop: (random) => random.pick<Json>([text(random), times(random, 4, () => text(random)), ['e', 'a']]),
  seed: (random) => (random.chance(0.8) ? random.below(1000) : random.pick(NUMBERS)),
  temperature: share,
  top_p: share,
  top_k: count,
  min_p: share,
  repetition_penalty: share,
  frequency_penalty: share,
  presence_penalty: share,
  logit_bias: (random) =>
    Object.fromEntries(
      times(random, 3, () => [
        random.chance(0.8) ? random.below(300) : random.pick(['-1', '1e3', '999999999', 'a', '0x1']),
        random.chance(0.8) ? random.below(201) - 100 : random.pick(NUMBERS),
      ]),
    ),
  ignore_eos: (random) => random.chance(0.5),
};
const format = (random: Random): Json =>
  random.pick<() => Json>([
    () => ({ type: 'text' }),
    () => ({ type: 'json_object' }),
    () => ({ type: 'json_object', schema: schema(random) }),
    () => ({ type: 'json_schema', json_schema: { name: 'x', strict: random.chance(0.5), schema: schema(random) } }),
    () => ({ type: 'json_schema', json_schema: { name: 'x', schema: schema(random) } }),
    () => ({ type: 'json_schema', schema: schema(random), strict: random.chance(0.5) }),
    () => ({ type: text(random) }),
  ])();
const TOOLS: Members = {
  tools: (random) => times(random, 3, () => tool(random)),
  tool_choice: (random) =>
    random.pick<Json>([
      'auto',
      'none',
      'required',
      { type: 'function', function: { name: 'f' } },
      { name: 'g_2' },
      'x',
    ]),
  parallel_tool_calls: (random) => random.chance(0.5),
};
const prompt = (random: Random): Json =>
  random.pick<() => Json>([
    () => text(random),
    () => times(random, 4, () => text(random)),
    () => times(random, 6, () => random.below(270)),
    () => times(random, 3, () => times(random, 4, () => random.below(300))),
    () => times(random, 3, () => random.pick<Json>([text(random), [1, 2], [], 1, random.pick(NUMBERS)])),
  ])();

/** Endpoints: what a body always has, and what it may have. */
const ENDPOINTS: Readonly<Record<string, { always: Members; often: Members }>> = {
  '/v1/chat/completions': {
    always: {
      messages: (random) => [...times(random, 3, () => message(random)), { role: 'user', content: 'Hi' }],
      max_tokens: count,
    },
    often: {
      ...COMMON,
      ...TOOLS,
      response_format: format,
      max_completion_tokens: count,
      logprobs: (random) => random.chance(0.7),
      top_logprobs: count,
      chat_template_kwargs: (random) => ({ [String(text(random))]: random.pick(WRONG), tools: random.pick(WRONG) }),
    },
  },
  '/v1/completions': {
    always: { prompt, max_tokens: count },
    often: {
      ...COMMON,
      response_format: format,
      logprobs: (random) => random.below(7),
      echo: (random) => random.chance(0.5),
    },
  },
  '/v1/responses': {
    always: {
      input: (random) =>
        random.chance(0.4)
          ? text(random)
          : [
              ...times(random, 3, () =>
                random.pick<() => Json>([
                  () => message(random),
                  () => ({ type: 'function_call', name: random.pick(names), arguments: '{}', call_id: text(random) }),
                  () => ({ type: 'function_call_output', call_id: text(random), output: content(random) }),
                  () => ({
                    type: random.pick(['reasoning', 'item_reference', 'x']),
                    role: 'user',
                    content: content(random),
                  }),
                ])(),
              ),
              { role: 'user', content: 'Hi' },
            ],
      max_output_tokens: count,
    },
    often: {
      ...COMMON,
      ...TOOLS,
      instructions: text,
      text: (random) => ({ format: format(random) }),
      metadata: (random) => ({ a: text(random) }),
      background: (random) => random.chance(0.2),
    },
  },
  '/v1/embeddings': {
    always: { input: prompt },
    often: {
      model: COMMON.model,
      encoding_format: (random) => random.pick(['float', 'base64', 'int8', 1]),
      dimensions: (random) => random.pick([64, 32, 0, -1, 'x']),
    },
  },
  '/tokenize': {
    always: { content: text },
    often: {
      model: COMMON.model,
      add_special: (random) => random.chance(0.5),
      with_pieces: (random) => random.chance(0.5),
    },
  },
  '/detokenize': {
    always: {
      tokens: (random) => times(random, 6, () => (random.chance(0.9) ? random.below(300) : random.pick(NUMBERS))),
    },
    often: { model: COMMON.model },
  },
};

/** Endpoints with most of the members: they are asked more often. */
const DEEP = [
  '/v1/chat/completions',
  '/v1/chat/completions',
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/responses',
];

/** A request: where to, and its body. */
export function randomBody(random: Random): { path: string; body: Record<string, unknown> } {
  const path = random.pick([...Object.keys(ENDPOINTS), ...DEEP]);
  const { always, often } = ENDPOINTS[path];
  const body: Record<string, unknown> = { model: random.pick(['hermes', 'plain', 'named']) };
  for (const [name, make] of Object.entries(always)) if (!random.chance(0.02)) body[name] = make(random);
  const share = random.pick([0.05, 0.2, 0.5]);
  for (const [name, make] of Object.entries(often)) if (random.chance(share)) body[name] = make(random);
  // Of another kind than it is for, or deeper in.
  for (let i = random.pick([0, 0, 0, 1, 2]); i > 0; i--) {
    const name = random.pick(Object.keys(body));
    if (name !== undefined) body[name] = changed(body[name], random);
  }
  return { path, body };
}

// Changes a value somewhere within. @returns the value, or another
function changed(value: unknown, random: Random): unknown {
  if (random.chance(0.3) || typeof value !== 'object' || value === null) {
    return random.pick<() => unknown>([
      () => random.pick(NUMBERS),
      () => random.pick(ODD_TEXTS),
      () => random.pick(WRONG),
      () => [value, value],
      () => ({ a: value }),
    ])();
  }
  const keys = Object.keys(value);
  if (keys.length === 0) return random.pick(ODD_TEXTS);
  const key = random.pick(keys);
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>;
  if (random.chance(0.1)) delete copy[key];
  else copy[key] = changed(copy[key], random);
  return copy;
}
