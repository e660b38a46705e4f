// The server by requests in the process: answers as the API has them, bits as the model alone has them, errors in their shape.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { logSumExp } from '../src/numerics/exponential.ts';
import { TIME_LIMITS } from '../src/server/limits.ts';
import { createServer, type RequestLog, type Server, type ServerOptions } from '../src/server/server.ts';
import type { Model } from '../src/text/textmodel.ts';
import { eventsOf, servedModel } from './served.ts';

const test = suite('server');
const models: Model[] = [];
let model: Model;
let server: Server;
let logs: RequestLog[] = [];

test.before(async () => {
  model = await servedModel();
  models.push(model);
  server = serve();
});
test.after(async () => {
  for (const each of models) await each.close();
});

const serve = (options: Partial<ServerOptions> = {}) =>
  createServer({ models: { tiny: model }, onRequest: (log) => logs.push(log), ...options });

interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into
  json: any;
  headers: Headers;
}

const init = (body: unknown, more: RequestInit = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: typeof body === 'string' ? body : JSON.stringify(body),
  ...more,
});
async function post(path: string, body: unknown, to = server): Promise<Answer> {
  const response = await to.request(path, init(body));
  return { status: response.status, json: await response.json(), headers: response.headers };
}
const hello = [{ role: 'user', content: 'Hello' }];

/** Waits for what comes soon, whatever the machine's speed; what never comes fails. */
async function until(label: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000 && !label(); i++) await new Promise((resolve) => setTimeout(resolve));
  assert.ok(label(), `it does not come: ${label}`);
}
const CHAT = '/v1/chat/completions';

test('GET /health, /v1/models, /metrics and / say what is here', async () => {
  assert.equal(await (await server.request('/health')).json(), { status: 'ok' });
  const { data } = await (await server.request('/v1/models')).json();
  assert.equal(
    data.map(({ id, object }: { id: string; object: string }) => [id, object]),
    [['tiny', 'model']],
  );
  assert.is((await (await server.request('/v1/models/tiny')).json()).id, 'tiny');
  assert.is((await server.request('/v1/models/other')).status, 404);
  const page = await server.request('/');
  assert.match(await page.text(), /<code>tiny<\/code>/);
  assert.match(
    await (await server.request('/metrics')).text(),
    /^higgs_requests_total\{route="\/health",status="200"\} 1$/m,
  );
});

test('chat completions give what the model gives alone', async () => {
  const { status, json } = await post(CHAT, { model: 'tiny', messages: hello, max_tokens: 12, temperature: 0 });
  assert.is(status, 200);
  const alone = await model.complete(hello, { maxTokens: 12 });
  assert.is(json.object, 'chat.completion');
  assert.is(json.choices[0].message.content, alone);
  assert.is(json.choices[0].message.role, 'assistant');
  assert.match(json.choices[0].finish_reason, /^(length|stop)$/);
  assert.is(json.usage.total_tokens, json.usage.prompt_tokens + json.usage.completion_tokens);
  assert.is(json.timings.predicted_n, json.usage.completion_tokens);
});

test('a prompt that the cache holds is counted as cached', async () => {
  const body = { messages: [{ role: 'user', content: 'A rather long question, asked twice' }], max_tokens: 2 };
  await post(CHAT, body);
  const { json } = await post(CHAT, body);
  assert.is(json.usage.prompt_tokens_details.cached_tokens, json.usage.prompt_tokens - 1);
});

test('streams begin with the role, end with [DONE], and say the same as the whole', async () => {
  const body = { messages: hello, max_tokens: 10, seed: 5, temperature: 0.9 };
  const whole = await post(CHAT, body);
  const response = await server.request(CHAT, init({ ...body, stream: true, stream_options: { include_usage: true } }));
  assert.match(response.headers.get('content-type')!, /^text\/event-stream/);
  const events = await eventsOf(response);
  assert.is(events.at(-1)!.data, '[DONE]');
  const chunks = events.slice(0, -1).map(({ data }) => JSON.parse(data));
  assert.equal(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
  const usage = chunks.pop();
  assert.equal(usage.choices, []);
  assert.is(usage.usage.completion_tokens, whole.json.usage.completion_tokens);
  assert.ok(chunks.every((chunk) => chunk.usage === null && chunk.object === 'chat.completion.chunk'));
  const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
  assert.is(text, whole.json.choices[0].message.content);
  assert.is(chunks.at(-1).choices[0].finish_reason, whole.json.choices[0].finish_reason);
});

test('n gives choices of seeds that follow one another, each as alone', async () => {
  const body = { messages: hello, max_tokens: 8, temperature: 1, seed: 11, n: 3 };
  const { json } = await post(CHAT, body);
  assert.equal(
    json.choices.map(({ index }: { index: number }) => index),
    [0, 1, 2],
  );
  for (const [i, { message }] of json.choices.entries()) {
    const alone = await model.complete(hello, { maxTokens: 8, temperature: 1, seed: 11 + i });
    assert.is(message.content, alone);
  }
  assert.is(json.usage.prompt_tokens, (await post(CHAT, { ...body, n: 1 })).json.usage.prompt_tokens);
});

test('requests at once give what they give alone', async () => {
  const bodies = Array.from({ length: 12 }, (_, i) => ({
    messages: [{ role: 'user', content: `Question ${i}`.repeat(1 + (i % 3)) }],
    ...{ max_tokens: 4 + i, temperature: i % 2, seed: i, min_p: 0.01, top_p: 0.9 },
  }));
  const alone: string[] = [];
  for (const body of bodies) alone.push((await post(CHAT, body)).json.choices[0].message.content);
  const together = await Promise.all(bodies.map((body) => post(CHAT, body)));
  assert.equal(
    together.map(({ json }) => json.choices[0].message.content),
    alone,
  );
});

test('stop ends a text, and logit_bias rules tokens in and out', async () => {
  const id = model.tokenizer.encode('z', { special: false })[0];
  const biased = await post('/v1/completions', {
    prompt: 'a',
    max_tokens: 5,
    temperature: 0,
    logit_bias: { [id]: 100 },
  });
  assert.is(biased.json.choices[0].text, 'zzzzz');
  const stopped = await post('/v1/completions', {
    ...{ prompt: 'a', max_tokens: 5, temperature: 0, logit_bias: { [id]: 100 }, stop: ['zzz'] },
  });
  assert.is(stopped.json.choices[0].text, '');
  assert.is(stopped.json.choices[0].finish_reason, 'stop');
  const penalised = await post('/v1/completions', {
    ...{
      prompt: 'a',
      max_tokens: 6,
      temperature: 0,
      logit_bias: { [id]: 20 },
      presence_penalty: 2,
      frequency_penalty: 2,
    },
  });
  assert.ok(penalised.json.choices[0].text.startsWith('zzz'));
});

test('logprobs are those of the model, of the token and of the most likely ones', async () => {
  const { json } = await post(CHAT, {
    messages: hello,
    max_tokens: 4,
    temperature: 0,
    logprobs: true,
    top_logprobs: 3,
  });
  const prompt = model.tokenizer.encode(model.chatTemplate.render(hello), { special: false });
  const logits = await model.logits(prompt);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  const { content } = json.choices[0].logprobs;
  assert.is(content.length, json.usage.completion_tokens);
  assert.is(content[0].top_logprobs.length, 3);
  assert.is(content[0].top_logprobs[0].logprob, content[0].logprob);
  assert.ok(Math.abs(content[0].logprob - (Math.max(...logits) - Math.log(sum))) < 1e-6);
  assert.ok(content[0].bytes.length > 0);
  const events = await eventsOf(
    await server.request(CHAT, init({ messages: hello, max_tokens: 4, temperature: 0, logprobs: true, stream: true })),
  );
  const streamed = events.slice(0, -1).flatMap(({ data }) => JSON.parse(data).choices[0].logprobs?.content ?? []);
  assert.equal(
    streamed.map(({ logprob }) => logprob),
    content.map(({ logprob }: { logprob: number }) => logprob),
  );
});

test('completions take texts and ids, several at once, and echo', async () => {
  const ids = model.tokenizer.encode('Once');
  const { json } = await post('/v1/completions', {
    prompt: ['Once', 'Twice'],
    max_tokens: 6,
    temperature: 0,
    echo: true,
  });
  assert.is(json.choices[0].text, `Once${await model.complete('Once', { maxTokens: 6 })}`);
  assert.is(json.choices[1].text, `Twice${await model.complete('Twice', { maxTokens: 6 })}`);
  const byIds = await post('/v1/completions', { prompt: ids, max_tokens: 6, temperature: 0, logprobs: 2 });
  assert.is(byIds.json.choices[0].text, await model.complete('Once', { maxTokens: 6 }));
  const { tokens, token_logprobs, top_logprobs, text_offset } = byIds.json.choices[0].logprobs;
  assert.is(tokens.length, byIds.json.usage.completion_tokens);
  assert.is(token_logprobs.length, tokens.length);
  assert.is(top_logprobs.length, tokens.length);
  assert.is(text_offset[0], 0);
  assert.is((await post('/v1/completions', { prompt: 'a', max_tokens: 0, echo: true })).json.choices[0].text, 'a');
});

test('echo beside logprobs gives the prompt’s tokens their probabilities, whole and as a stream', async () => {
  const request = { prompt: 'Once more', max_tokens: 3, temperature: 0, echo: true, logprobs: 2 };
  const ids = model.tokenizer.encode('Once more');
  const rows = await model.logits(ids, { rows: 'all' });
  const { text, logprobs } = (await post('/v1/completions', request)).json.choices[0];
  assert.is(text, `Once more${await model.complete('Once more', { maxTokens: 3 })}`);
  assert.is(logprobs.tokens.length, ids.length + 3);
  assert.equal([logprobs.token_logprobs[0], logprobs.top_logprobs[0]], [null, null]);
  for (let i = 1; i < ids.length; i++) {
    const row = rows.subarray((i - 1) * model.config.vocabSize, i * model.config.vocabSize);
    assert.is(logprobs.token_logprobs[i], row[ids[i]] - logSumExp(row));
  }
  assert.equal(logprobs.text_offset.slice(0, 3), [0, 1, 2]);
  const response = await server.request('/v1/completions', {
    method: 'POST',
    body: JSON.stringify({ ...request, stream: true }),
  });
  const streamed: { text: string; logprobs: { token_logprobs: number[]; text_offset: number[] } | null }[] = [];
  for (const { data } of await eventsOf(response)) if (data !== '[DONE]') streamed.push(JSON.parse(data).choices[0]);
  assert.is(streamed.map((choice) => choice.text).join(''), text);
  assert.equal(
    streamed.flatMap((choice) => choice.logprobs?.token_logprobs ?? []),
    logprobs.token_logprobs,
  );
  assert.equal(
    streamed.flatMap((choice) => choice.logprobs?.text_offset ?? []),
    logprobs.text_offset,
  );
  const alone = await post('/v1/completions', { ...request, max_tokens: 0 });
  assert.equal(alone.json.choices[0].logprobs.token_logprobs, logprobs.token_logprobs.slice(0, ids.length));
});

test('metrics tell how many texts went through together', async () => {
  const server = createServer({ models: { tiny: model } });
  const passesOf = async () => {
    const text = await (await server.request('/metrics')).text();
    const bucket = (name: string) => Number(new RegExp(`^higgs_batch_size${name} (\\d+)$`, 'm').exec(text)![1]);
    return { one: bucket('_bucket{le="1"}'), all: bucket('_count'), texts: bucket('_sum') };
  };
  const before = await passesOf();
  const ask = (seed: number) =>
    server.request('/v1/completions', {
      method: 'POST',
      body: JSON.stringify({ prompt: 'Once', max_tokens: 8, seed }),
    });
  await (await ask(1)).text();
  const one = await passesOf();
  assert.is(one.all - before.all, one.texts - before.texts);
  await Promise.all([1, 2, 3, 4].map(async (seed) => (await ask(seed)).text()));
  const four = await passesOf();
  assert.ok(four.texts - one.texts > four.all - one.all);
});

test('embeddings are vectors of length 1, as floats or bytes', async () => {
  const { json } = await post('/v1/embeddings', { input: ['one', 'two'], model: 'tiny' });
  assert.is(json.data.length, 2);
  assert.equal(json.data[1].embedding, [...(await model.embed('two', { normalize: true }))]);
  const coded = await post('/v1/embeddings', { input: 'two', encoding_format: 'base64' });
  const bytes = Uint8Array.from(atob(coded.json.data[0].embedding), (character) => character.charCodeAt(0));
  assert.equal([...new Float32Array(bytes.buffer)], json.data[1].embedding);
  assert.is((await post('/v1/embeddings', { input: 'two', dimensions: 3 })).status, 400);
});

test('responses are the text subset of the API, whole and as events', async () => {
  const body = { input: 'Hello', max_output_tokens: 8, temperature: 0 };
  const { json } = await post('/v1/responses', body);
  assert.is(json.object, 'response');
  assert.is(json.output[0].content[0].text, await model.complete(hello, { maxTokens: 8 }));
  assert.is(json.status, json.usage.output_tokens === 8 ? 'incomplete' : 'completed');
  const events = await eventsOf(await server.request('/v1/responses', init({ ...body, stream: true })));
  const datas = events.map(({ data }) => JSON.parse(data));
  assert.equal(
    datas.map(({ sequence_number }) => sequence_number),
    datas.map((_, i) => i),
  );
  assert.ok(events.every(({ event }, i) => event === datas[i].type));
  const deltas = datas.filter(({ type }) => type === 'response.output_text.delta').map(({ delta }) => delta);
  assert.is(deltas.join(''), json.output[0].content[0].text);
  assert.match(datas.at(-1).type, /^response\.(completed|incomplete)$/);
  assert.is((await post('/v1/responses', { ...body, previous_response_id: 'x' })).status, 400);
});

test('tokenize and detokenize are each other’s inverse', async () => {
  const { json } = await post('/tokenize', { content: 'Grüße, 世界' });
  assert.is((await post('/detokenize', { tokens: json.tokens })).json.content, 'Grüße, 世界');
  const pieces = await post('/tokenize', { content: 'ab', with_pieces: true });
  assert.is(pieces.json.tokens.map(({ piece }: { piece: string }) => piece).join(''), 'ab');
});

for (const [label, path, body, status, message] of [
  ['no JSON', CHAT, '{"messages": [', 400, 'body must be JSON in UTF-8: it cannot be read'],
  ['no object', CHAT, '[]', 400, 'body must be a JSON object: got []'],
  ['no messages', CHAT, {}, 400, 'messages must be a list: got nothing'],
  ['empty messages', CHAT, { messages: [] }, 400, 'messages must have at least one message: got none'],
  ['a role of another kind', CHAT, { messages: [{ role: 7 }] }, 400, 'messages[0].role must be a string: got 7'],
  [
    'a temperature out of range',
    CHAT,
    { messages: hello, temperature: -1 },
    400,
    'temperature must be a number from 0 to 100: got -1',
  ],
  ['n out of range', CHAT, { messages: hello, n: 99 }, 400, 'n must be an integer from 1 to 16: got 99'],
  ['another model', CHAT, { model: 'gpt', messages: hello }, 404, 'model must be one of "tiny": got "gpt"'],
  [
    'an image',
    CHAT,
    { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] },
    400,
    'messages[0].content[0].type must be text: this model reads nothing else, got "image_url"',
  ],
  [
    'a bias beyond the vocabulary',
    CHAT,
    { messages: hello, logit_bias: { 99999: 1 } },
    400,
    'logit_bias must be for tokens below 361: got 99999',
  ],
  ['a prompt beyond the context', '/v1/completions', { prompt: 'word '.repeat(600) }, 400, undefined],
  ['another path', '/v1/images', {}, 404, 'POST /v1/images is not served here'],
  ['another method', '/health', {}, 405, 'POST /health is not served here'],
] as const) {
  test(`a request with ${label} is refused in the API’s shape`, async () => {
    const { status: got, json } = await post(path, body);
    assert.is(got, status);
    assert.equal(Object.keys(json), ['error']);
    assert.equal(Object.keys(json.error), ['message', 'type', 'param', 'code']);
    if (message) assert.is(json.error.message, message);
    else assert.is(json.error.code, 'context_length_exceeded');
  });
}

test('a body that is too large, too deep or has too many values is refused', async () => {
  assert.is((await post(CHAT, `{"a":"${'x'.repeat(9 << 20)}"}`)).status, 413);
  assert.match((await post(CHAT, `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`)).json.error.message, /at most 64 levels/);
  assert.match((await post(CHAT, `{"a":[${'1,'.repeat(500_000)}1]}`)).json.error.message, /at most 400000 values/);
});

test('hosts that are not the server’s, and origins that are not allowed, are refused', async () => {
  const ask = (headers: Record<string, string>, to = server) => to.request('/v1/models', { headers });
  for (const host of ['localhost:11435', '127.0.0.1', '192.168.0.7:80', '[::1]:11435', 'a.localhost']) {
    assert.is((await ask({ host })).status, 200, host);
  }
  for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:11435', '']) {
    assert.is((await ask({ host })).status, 403, host);
  }
  assert.is((await ask({ host: 'box' }, serve({ hosts: ['box'] }))).status, 200);
  assert.is((await ask({ host: 'localhost', origin: 'https://evil.example' })).status, 403);
  assert.is((await ask({ host: 'localhost', origin: 'null' })).status, 403);
  assert.is((await ask({ host: 'localhost:1', origin: 'http://localhost:1' })).status, 200);
  const open = serve({ cors: 'https://app.example' });
  const allowed = await ask({ host: 'localhost', origin: 'https://app.example' }, open);
  assert.is(allowed.headers.get('access-control-allow-origin'), 'https://app.example');
  const preflight = await open.request(CHAT, {
    method: 'OPTIONS',
    headers: { host: 'localhost', origin: 'https://app.example', 'access-control-request-method': 'POST' },
  });
  assert.is(preflight.status, 204);
  const asked = 'authorization,x-stainless-lang';
  const { headers: answer } = await serve({ cors: 'https://app.example', apiKey: 'k' }).request(CHAT, {
    method: 'OPTIONS',
    headers: {
      ...{ host: 'localhost', origin: 'https://app.example' },
      ...{ 'access-control-request-method': 'POST', 'access-control-request-headers': asked },
    },
  });
  assert.is(answer.get('access-control-allow-headers'), asked);
  const keyless = await ask(
    { host: 'localhost', origin: 'https://app.example' },
    serve({ cors: 'https://app.example', apiKey: 'k' }),
  );
  assert.is(keyless.status, 401);
  assert.is(keyless.headers.get('access-control-allow-origin'), 'https://app.example');
  assert.is((await ask({ host: 'localhost', origin: 'https://other.example' }, open)).status, 403);
});

test('a key is asked for everywhere but at /health', async () => {
  const locked = serve({ apiKey: 'secret' });
  const ask = (path: string, key?: string) =>
    locked.request(path, { headers: key === undefined ? {} : { authorization: key } });
  assert.is((await ask('/health')).status, 200);
  for (const key of [undefined, 'secret', 'Bearer ', 'Bearer secre', 'Bearer secret1']) {
    assert.is((await ask('/v1/models', key)).status, 401, String(key));
  }
  assert.is((await ask('/v1/models', 'Bearer secret')).status, 200);
});

test('requests beyond the queue get 429 and when to come back', async () => {
  const narrow = serve({ parallel: 1, queue: 1 });
  const body = { messages: hello, max_tokens: 20 };
  const all = await Promise.all(Array.from({ length: 4 }, () => post(CHAT, body, narrow)));
  assert.equal(all.map(({ status }) => status).sort(), [200, 200, 429, 429]);
  const { headers, json } = all.find(({ status }) => status === 429)!;
  assert.ok(Number(headers.get('retry-after')) >= 1);
  assert.is(json.error.type, 'rate_limit_error');
});

test('a client with many requests does not hold up another', async () => {
  const order: string[] = [];
  const fair = serve({
    ...{ parallel: 1, queue: 10 },
    clientOf: (request) => request.headers.get('x-client')!,
  });
  const ask = async (client: string) => {
    const more = { headers: { 'x-client': client } };
    await (await fair.request(CHAT, init({ messages: hello, max_tokens: 3 }, more))).json();
    order.push(client);
  };
  await Promise.all(['a', 'a', 'a', 'a'].map(ask).concat(ask('b')));
  assert.is(order.indexOf('b'), 1);
});

test('a client that goes frees its place at once, in a stream and in a queue', async () => {
  const narrow = serve({ parallel: 1, queue: 2 });
  const stream = await narrow.request(CHAT, init({ messages: hello, max_tokens: 400, stream: true, ignore_eos: true }));
  const reader = stream.body!.getReader();
  await reader.read();
  assert.is(narrow.state.active, 1);
  const abort = new AbortController();
  const waiting = Promise.resolve(
    narrow.request(CHAT, init({ messages: hello, max_tokens: 400 }, { signal: abort.signal })),
  );
  await until(() => narrow.state.waiting === 1);
  abort.abort();
  await waiting.catch(() => {});
  assert.is(narrow.state.waiting, 0);
  await reader.cancel();
  await until(() => narrow.state.active === 0);
  assert.is((await post(CHAT, { messages: hello, max_tokens: 2 }, narrow)).status, 200);
});

test('a slow reader that goes leaves no sequence in the model, no grammar in use, and a log of what it took', async () => {
  const { language } = model;
  const { open } = language;
  const sequences = new Set<object>();
  language.open = async (options) => {
    const sequence = await open(options);
    sequences.add(sequence);
    const { close } = sequence;
    sequence.close = () => {
      sequences.delete(sequence);
      close();
    };
    return sequence;
  };
  const body = { messages: hello, max_tokens: 400, stream: true, n: 2, response_format: { type: 'json_object' } };
  for (const more of [{}, { response_format: undefined, ignore_eos: true }]) {
    const reader = (await server.request(CHAT, init({ ...body, ...more }))).body!.getReader();
    for (let i = 0; i < 4; i++) await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 30)); // texts are ahead of the reader, and wait for it
    assert.ok(sequences.size > 0);
    await reader.cancel();
    await until(() => sequences.size === 0 && server.state.active === 0);
    const { promptTokens, generatedTokens, error } = logs.at(-1)!;
    assert.ok(promptTokens > 0 && generatedTokens > 0 && error === 'the client has gone', JSON.stringify(logs.at(-1)));
  }
  language.open = open;
});

test('a stream whose client takes nothing ends with an error, and frees its place', async () => {
  const { stalled } = TIME_LIMITS;
  TIME_LIMITS.stalled = 40;
  try {
    const response = await server.request(
      CHAT,
      init({ messages: hello, max_tokens: 400, stream: true, ignore_eos: true }),
    );
    const reader = response.body!.getReader();
    await reader.read();
    await until(() => logs.at(-1)?.error === 'the client takes no events');
    assert.is(server.state.active, 0);
    let text = '';
    for (let next = await reader.read(); !next.done; next = await reader.read())
      text += new TextDecoder().decode(next.value);
    assert.match(
      text,
      /^data: \{"error":\{"message":"events must be taken within 0\.04 s: the client is too slow".*\n\n$/,
    );
  } finally {
    TIME_LIMITS.stalled = stalled;
  }
});

test('a text whose client goes is not generated further', async () => {
  const long = await servedModel({ context: 4096 });
  models.push(long);
  const app = serve({ models: { long } });
  const abort = new AbortController();
  logs = [];
  const body = { messages: hello, max_tokens: 4000, ignore_eos: true };
  const answer = Promise.resolve(app.request(CHAT, init(body, { signal: abort.signal }))).catch(() => {});
  await until(() => app.state.active === 1);
  abort.abort();
  await answer;
  await until(() => logs.length > 0);
  assert.is(app.state.active, 0);
  assert.is(logs.at(-1)?.error, 'the client has gone');
  assert.ok(logs.at(-1)!.generatedTokens < 4000);
});

test('models are loaded when they are asked for, and the one not used for longest makes room', async () => {
  const one = model.language.memory.bytes;
  const closedNames: string[] = [];
  const loader = (name: string) => ({
    bytes: async () => one,
    async load() {
      const served = await servedModel({ seed: name.length });
      const close = served.close;
      return Object.assign(served, {
        close() {
          closedNames.push(name);
          return close();
        },
      });
    },
  });
  const shelf = createServer({ models: { a: loader('a'), bb: loader('bb'), ccc: loader('ccc') }, memory: 2 * one });
  const ask = (name: string) => post(CHAT, { model: name, messages: hello, max_tokens: 2 }, shelf);
  for (const name of ['a', 'bb', 'a', 'ccc']) assert.is((await ask(name)).status, 200);
  assert.equal(shelf.state.loaded.slice().sort(), ['a', 'ccc']);
  assert.equal(closedNames, ['bb']);
  const all = await Promise.all(['a', 'bb', 'ccc', 'a', 'bb', 'ccc'].map(ask));
  assert.ok(all.every(({ status }) => status === 200));
  await shelf.close();
  const small = createServer({ models: { a: loader('a') }, memory: one - 1 });
  assert.is((await ask('a').catch(() => ({ status: 503 }))).status, 503);
  assert.is((await post(CHAT, { messages: hello }, small)).status, 503);
  await small.close();
});

test('a model that is larger than it said, and than the memory, is closed and told of', async () => {
  const one = model.language.memory.bytes;
  let closes = 0;
  const loader = {
    bytes: async () => 1,
    async load() {
      const served = await servedModel();
      const { close } = served;
      return Object.assign(served, {
        close: () => {
          closes++;
          return close();
        },
      });
    },
  };
  const small = createServer({ models: { large: loader }, memory: one - 1 });
  const { status, json } = await post(CHAT, { messages: hello, max_tokens: 2 }, small);
  assert.is(status, 503);
  assert.is(json.error.code, 'model_too_large');
  assert.match(json.error.message, /^model .* needs \d+ MB of memory: the server has \d+ MB for models$/);
  assert.is(closes, 1);
  // It is known by now: it is not loaded again.
  assert.is((await post(CHAT, { messages: hello, max_tokens: 2 }, small)).status, 503);
  assert.is(closes, 1);
  await small.close();
});

test('a client that goes while its model waits for memory waits no longer, and others get theirs', async () => {
  const one = model.language.memory.bytes;
  const loader = { bytes: async () => one, load: () => servedModel() };
  const shelf = createServer({ models: { a: loader, b: loader }, memory: one });
  const stream = await shelf.request(
    CHAT,
    init({ model: 'a', messages: hello, max_tokens: 400, stream: true, ignore_eos: true }),
  );
  const reader = stream.body!.getReader();
  await reader.read();
  const abort = new AbortController();
  const body = { messages: hello, max_tokens: 2 };
  const left = Promise.resolve(shelf.request(CHAT, init({ model: 'b', ...body }, { signal: abort.signal })));
  await until(() => shelf.state.active === 2);
  abort.abort();
  await left.catch(() => {});
  await until(() => shelf.state.active === 1);
  // The model of one that waits is not closed for another, which would wait for it in turn.
  const all = [post(CHAT, { model: 'a', ...body }, shelf), post(CHAT, { model: 'b', ...body }, shelf)];
  all.push(post(CHAT, { model: 'a', ...body }, shelf));
  await reader.cancel();
  assert.equal(
    (await Promise.all(all)).map(({ status }) => status),
    [200, 200, 200],
  );
  await shelf.close();
});

test('requests for models in turn, with memory for one, are all answered', async () => {
  const one = model.language.memory.bytes;
  const loader = { bytes: async () => one, load: () => servedModel() };
  const shelf = createServer({ models: { a: loader, b: loader }, memory: one });
  const names = ['a', 'b', 'a', 'b', 'a'];
  const all = await Promise.all(
    names.map((name) => post(CHAT, { model: name, messages: hello, max_tokens: 2 }, shelf)),
  );
  assert.ok(all.every(({ status }) => status === 200));
  await shelf.close();
});

test('close() refuses new requests and waits for those under way', async () => {
  const ending = serve();
  const running = post(CHAT, { messages: hello, max_tokens: 400, ignore_eos: true }, ending);
  await until(() => ending.state.active === 1);
  const closed = ending.close();
  assert.is((await post(CHAT, { messages: hello }, ending)).status, 503);
  assert.is((await running).status, 200);
  await closed;
  assert.is(ending.state.active, 0);
});

test('contextShift leaves the oldest out, and keeps what the system said', async () => {
  const shifting = serve({ contextShift: true });
  const turns = Array.from({ length: 30 }, (_, i) => ({
    role: i % 2 ? 'assistant' : 'user',
    content: `${i} `.repeat(20),
  }));
  const messages = [{ role: 'system', content: 'Be brief.' }, ...turns, { role: 'user', content: 'And now?' }];
  assert.is((await post(CHAT, { messages, max_tokens: 4 })).json.error.code, 'context_length_exceeded');
  const { json, status } = await post(CHAT, { messages, max_tokens: 4 }, shifting);
  assert.is(status, 200);
  assert.ok(json.usage.prompt_tokens <= 512);
  assert.is((await post('/v1/completions', { prompt: 'word '.repeat(600) }, shifting)).status, 200);
});

test('contextShift keeps the token that texts begin with', async () => {
  const shifting = serve({ contextShift: true });
  const { bos, contextLength } = model.config;
  for (const [max_tokens, most] of [
    [4, contextLength - 4],
    [1000, contextLength / 2],
  ]) {
    const end = Array.from({ length: most - 1 }, (_, i) => 30 + (i % 50));
    const chances = async (prompt: (number | undefined)[], max_tokens: number) => {
      const body = { prompt, max_tokens, logprobs: 1, temperature: 0, ignore_eos: true };
      const { json } = await post('/v1/completions', body, shifting);
      assert.is(json.usage.prompt_tokens, most);
      return json.choices[0].logprobs.token_logprobs.slice(0, 4);
    };
    const long = [bos, ...Array(600).fill(40), ...end];
    assert.equal(await chances(long, max_tokens), await chances([bos, ...end], 4));
  }
});

test('contextShift keeps as many turns as fit, and writes few conversations to find them', async () => {
  const shifting = serve({ contextShift: true });
  const messages = Array.from({ length: 401 }, (_, i) => ({
    role: i % 2 ? 'assistant' : 'user',
    content: `${i} word`,
  }));
  const { render } = model.chatTemplate;
  let renders = 0;
  Object.assign(model.chatTemplate, {
    render: (...given: Parameters<typeof render>) => {
      renders++;
      return render(...given);
    },
  });
  const { status, json } = await post(CHAT, { messages, max_tokens: 1 }, shifting);
  Object.assign(model.chatTemplate, { render });
  assert.is(status, 200);
  assert.ok(renders <= 10, String(renders));
  const lengths = messages.map((_, first) => model.tokenizer.encode(render(messages.slice(first)), { special: false }));
  const fitting = lengths.filter((ids, i) => i % 2 === 0 && ids.length <= 512).map(({ length }) => length);
  assert.is(json.usage.prompt_tokens, Math.max(...fitting));
});

test('contextShift goes on where the context is full, as the model itself does', async () => {
  const small = await servedModel({ context: 48, cacheTokens: 96 });
  const ask = async (contextShift: boolean) => {
    const server = createServer({ models: { small }, contextShift });
    const body = { prompt: 'Once upon', max_tokens: 120, temperature: 0, ignore_eos: true };
    return (await server.request('/v1/completions', { method: 'POST', body: JSON.stringify(body) })).json();
  };
  const options = { maxTokens: 120, ignoreEos: true };
  assert.is((await ask(false)).choices[0].text, await small.complete('Once upon', options));
  const { choices, usage } = await ask(true);
  assert.is(usage.completion_tokens, 120);
  assert.is(choices[0].text, await small.complete('Once upon', { ...options, contextShift: true }));
  await small.close();
});

test('a text that contextShift lets go on ends behind sixteen contexts, whatever is asked', async () => {
  const small = await servedModel({ context: 48, cacheTokens: 96 });
  const server = createServer({ models: { small }, contextShift: true });
  const body = { prompt: 'Once upon', max_tokens: 1e9, temperature: 0, ignore_eos: true };
  for (const [path, more] of [
    ['/v1/completions', {}],
    [CHAT, { prompt: undefined, messages: [{ role: 'user', content: 'a' }] }],
  ] as const) {
    const { json } = await post(path, { ...body, ...more }, server);
    assert.is(json.usage.completion_tokens, 16 * 48, path);
    assert.is(json.choices[0].finish_reason, 'length', path);
  }
  await small.close();
});

test('a prompt far beyond the context is refused before it is encoded', async () => {
  const far = 'word '.repeat(10_000);
  for (const [path, body] of [
    [CHAT, { messages: [{ role: 'user', content: far }] }],
    ['/v1/completions', { prompt: far }],
    ['/v1/embeddings', { input: far }],
  ] as const) {
    const { status, json } = await post(path, body);
    assert.is(status, 400);
    assert.is(json.error.code, 'context_length_exceeded');
    assert.match(json.error.message, /must fit the context of 512 tokens: it has \d+ characters/);
  }
  assert.is((await post('/v1/completions', { prompt: far }, serve({ contextShift: true }))).status, 200);
});

test('/tokenize and /detokenize wait at the gate, and refuse what is too long', async () => {
  const narrow = serve({ parallel: 1, queue: 0 });
  const stream = await narrow.request(CHAT, init({ messages: hello, max_tokens: 400, stream: true, ignore_eos: true }));
  const reader = stream.body!.getReader();
  await reader.read();
  assert.is((await post('/tokenize', { content: 'a' }, narrow)).status, 429);
  await reader.cancel();
  await until(() => narrow.state.active === 0);
  assert.is((await post('/tokenize', { content: 'a' }, narrow)).status, 200);
  const long = await post('/tokenize', { content: 'a'.repeat(600_000) });
  assert.is(long.json.error.message, 'content must be at most 524288 characters: got 600000');
  const many = await post('/detokenize', { tokens: Array(140_000).fill(1) });
  assert.is(many.json.error.message, 'tokens must be at most 131072 tokens: got 140000');
});

test('answers name the model, whether the request does or not', async () => {
  for (const [path, body] of [
    [CHAT, { messages: hello, max_tokens: 1 }],
    ['/v1/completions', { prompt: 'a', max_tokens: 1 }],
    ['/v1/responses', { input: 'a', max_output_tokens: 1 }],
    ['/v1/embeddings', { input: 'a' }],
  ] as const)
    assert.is((await post(path, body)).json.model, 'tiny', path);
});

test('a stream of a request that cannot be is refused with 400, and no stream', async () => {
  const ask = (body: object) => post('/v1/completions', { prompt: 'a', ...body });
  assert.is((await ask({ stream: true, logit_bias: { 99999: 1 } })).status, 400);
});

test('values that the template cannot run with are refused, and no path is told', async () => {
  const odd = await servedModel({ template: '{{ messages | nosuch }}' });
  models.push(odd);
  const { status, json } = await post(CHAT, { messages: hello }, createServer({ models: { odd } }));
  assert.is(status, 400);
  assert.is(json.error.message, 'messages must suit the chat template: Unknown ArrayValue filter: nosuch');
});

test('responses refuse a call_id that is no string', async () => {
  const output = { type: 'function_call_output', call_id: { toString: 1 }, output: 'x' };
  const { status, json } = await post('/v1/responses', { input: [output] });
  assert.is(status, 400);
  assert.match(json.error.message, /^input\[0\]\.call_id must be a string/);
});

test('a model without a template says so', async () => {
  const bare = await servedModel({ template: '' });
  models.push(bare);
  const { status, json } = await post(CHAT, { messages: hello }, createServer({ models: { bare } }));
  assert.is(status, 400);
  assert.match(json.error.message, /must have a chat template/);
});

test('the page is files that were given, with their types, alone in its browser, and without a key', async () => {
  const page = {
    'index.html': new TextEncoder().encode('<!doctype html>'),
    'a b/x.js': new TextEncoder().encode('1'),
    'demo/model.safetensors': new Uint8Array(3),
    health: new Uint8Array(5),
  };
  const server = createServer({ models: { tiny: model }, apiKey: 'secret', page });
  const get = (path: string, method = 'GET') => server.request(path, { method });
  const index = await get('/');
  assert.is(await index.text(), '<!doctype html>');
  assert.is(index.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.is(index.headers.get('cross-origin-opener-policy'), 'same-origin');
  assert.is(index.headers.get('cross-origin-embedder-policy'), 'require-corp');
  assert.match(index.headers.get('content-security-policy')!, /frame-ancestors 'none'/);
  assert.is((await get('/a%20b/x.js')).headers.get('content-type'), 'text/javascript; charset=utf-8');
  assert.is((await get('/demo/model.safetensors')).headers.get('content-type'), 'application/octet-stream');
  const head = await get('/index.html', 'HEAD');
  assert.equal([head.status, await head.text()], [200, '']);
  assert.is((await (await get('/health')).json()).status, 'ok');
  for (const path of ['/a', '/demo', '/demo/../index.htm', '/..%2findex.html', '/v1/models', '/metrics']) {
    assert.is((await get(path)).status, 401, path);
  }
  assert.is((await get('/', 'POST')).status, 401);
  const stranger = await server.request('/', { headers: { host: 'evil.example' } });
  assert.is(stranger.status, 403);
});

test('createServer() refuses options that it does not know', () => {
  assert.throws(() => serve({ prallel: 3 } as never), /must have only known members, .*parallel/);
  assert.throws(() => createServer({ models: {} }), /models must have at least one model: got none/);
  assert.throws(() => createServer({ models: { a: 7 as never } }), /must be a model/);
});

test.run();
