// The server over real sockets, asked by the clients that people have: OpenAI's, Vercel's, and bare sockets that do harm.

import { execFile, spawnSync } from 'node:child_process';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { promisify } from 'node:util';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createAdaptorServer } from '@hono/node-server';
import { embedMany, generateText, Output, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { answersOf } from '../src/cli/common/answers.ts';
import { createServer, type Server } from '../src/server/server.ts';
import type { Model } from '../src/text/textmodel.ts';
import { HERMES, servedModel } from './served.ts';

const test = suite('server-clients');
let model: Model;
let server: Server;
let http: ReturnType<typeof createAdaptorServer>;
let port = 0;
let openai: OpenAI;

test.before(async () => {
  model = await servedModel({ template: HERMES, context: 2048, cacheTokens: 16_384 });
  const { open: openSequence } = model.language;
  model.language.open = async (options) => {
    const sequence = await openSequence(options);
    sequences++;
    const { close } = sequence;
    let isOpen = true;
    sequence.close = () => {
      if (isOpen) sequences--;
      isOpen = false;
      close();
    };
    return sequence;
  };
  server = createServer({ models: { tiny: model }, apiKey: 'key', parallel: 16 });
  http = createAdaptorServer({ fetch: (request, env) => server.fetch(request, env) });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  port = (http.address() as AddressInfo).port;
  openai = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: 'key', maxRetries: 0 });
});
test.after(async () => {
  (http as { closeAllConnections?: () => void }).closeAllConnections?.();
  http.close();
  await model.close();
});

const messages = [{ role: 'user' as const, content: 'Hello' }];
let sequences = 0; // that are open
const idle = async () => {
  const busy = () => server.state.active + server.state.waiting + sequences;
  for (let i = 0; i < 3000 && busy() > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal({ ...server.state, sequences }, { active: 0, waiting: 0, loaded: ['tiny'], sequences: 0 });
};

test('openai: chat, with the bits of the model alone', async () => {
  const answer = await openai.chat.completions.create({
    model: 'tiny',
    messages,
    max_completion_tokens: 12,
    temperature: 0,
  });
  assert.is(answer.choices[0].message.content, await model.complete(messages, { maxTokens: 12 }));
  assert.is(answer.usage!.total_tokens, answer.usage!.prompt_tokens + answer.usage!.completion_tokens);
});

test('openai: streams, with usage and probabilities', async () => {
  const request = { model: 'tiny', messages, max_tokens: 9, temperature: 0, logprobs: true, top_logprobs: 2 };
  const stream = await openai.chat.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  });
  let [text, tokens, usage] = ['', 0, 0];
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    tokens += chunk.choices[0]?.logprobs?.content?.length ?? 0;
    usage = chunk.usage?.completion_tokens ?? usage;
  }
  assert.is(text, await model.complete(messages, { maxTokens: 9 }));
  assert.is(tokens, usage);
});

test('openai: tools in its stream helper, schemas, embeddings, completions, models, responses', async () => {
  const parameters = {
    type: 'object',
    properties: { unit: { enum: ['C', 'F'] } },
    required: ['unit'],
    additionalProperties: false,
  };
  const tools = [{ type: 'function' as const, function: { name: 'get_unit', parameters } }];
  const called = openai.chat.completions.stream({
    model: 'tiny',
    messages,
    tools,
    tool_choice: 'required',
    parallel_tool_calls: false,
  });
  const { choices } = await called.finalChatCompletion();
  const [call] = choices[0].message.tool_calls!;
  assert.ok(call.type === 'function' && ['C', 'F'].includes(JSON.parse(call.function.arguments).unit));
  const format = { type: 'json_schema' as const, json_schema: { name: 'unit', strict: true, schema: parameters } };
  const parsed = await openai.chat.completions.parse({ model: 'tiny', messages, response_format: format });
  assert.match(JSON.parse(parsed.choices[0].message.content!).unit, /^[CF]$/);
  const { data } = await openai.embeddings.create({ model: 'tiny', input: ['one', 'two'] }); // asks for base64
  assert.equal(Float32Array.from(data[1].embedding), await model.embed('two', { normalize: true }));
  const completion = await openai.completions.create({ model: 'tiny', prompt: 'Once', max_tokens: 5, temperature: 0 });
  assert.is(completion.choices[0].text, await model.complete('Once', { maxTokens: 5 }));
  assert.equal(
    (await openai.models.list()).data.map(({ id }) => id),
    ['tiny'],
  );
  const response = await openai.responses.create({
    model: 'tiny',
    input: 'Hello',
    max_output_tokens: 6,
    temperature: 0,
  });
  assert.is(response.output_text, await model.complete(messages, { maxTokens: 6 }));
  const events: string[] = [];
  for await (const event of await openai.responses.create({
    model: 'tiny',
    input: 'Hello',
    max_output_tokens: 6,
    stream: true,
  })) {
    events.push(event.type);
  }
  assert.is(events[0], 'response.created');
});

test('openai: errors are of its classes', async () => {
  const fails = (request: Promise<unknown>) =>
    request.then(
      () => assert.unreachable(),
      (error) => error,
    );
  const ask = (more: object) => openai.chat.completions.create({ model: 'tiny', messages, ...more });
  assert.instance(await fails(ask({ temperature: -1 })), OpenAI.BadRequestError);
  assert.instance(await fails(ask({ model: 'other' })), OpenAI.NotFoundError);
  const stranger = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: 'wrong', maxRetries: 0 });
  assert.instance(await fails(stranger.models.list()), OpenAI.AuthenticationError);
});

test('openai: an abort frees the place, of a stream and of an answer', async () => {
  const abort = new AbortController();
  const request = { model: 'tiny', messages, max_tokens: 2000, ignore_eos: true } as const;
  const stream = await openai.chat.completions.create({ ...request, stream: true }, { signal: abort.signal });
  const names: string[] = [];
  try {
    for await (const chunk of stream) {
      names.push(chunk.id);
      if (names.length === 3) abort.abort();
    }
  } catch {}
  await idle();
  const second = new AbortController();
  const answer = openai.chat.completions.create(request, { signal: second.signal }).catch(() => {});
  while (server.state.active === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  second.abort();
  await answer;
  await idle();
});

const vercel = () => {
  const baseURL = `http://127.0.0.1:${port}/v1`;
  const apiKey = 'key';
  const name = 'higgs';
  return createOpenAICompatible({ ...{ name, baseURL, apiKey }, supportsStructuredOutputs: true, includeUsage: true });
};
const unit = z.object({ unit: z.enum(['C', 'F']), hot: z.boolean() });

test('ai: text and streams, with usage', async () => {
  const asked = { model: vercel()('tiny'), messages, maxRetries: 0, temperature: 0, maxOutputTokens: 8 };
  const { text, usage, finishReason } = await generateText(asked);
  assert.is(text, await model.complete(messages, { maxTokens: 8 }));
  const stream = streamText(asked);
  let streamed = '';
  for await (const piece of stream.textStream) streamed += piece;
  assert.is(streamed, text);
  const { inputTokens, outputTokens } = await stream.usage;
  assert.equal([inputTokens, outputTokens], [usage.inputTokens, usage.outputTokens]);
  assert.is(await stream.finishReason, finishReason);
});

test('ai: objects of a schema, whole and as a stream', async () => {
  const output = Output.object({ schema: unit });
  const asked = { model: vercel()('tiny'), messages, maxRetries: 0, temperature: 0, output };
  const whole = await generateText(asked);
  unit.parse(whole.output);
  const stream = streamText(asked);
  let last: unknown;
  for await (const part of stream.partialOutputStream) last = part;
  assert.equal([last, await stream.output], [whole.output, whole.output]);
});

test('ai: tools, whole and as a stream, and what they gave goes back', async () => {
  const asked = { model: vercel()('tiny'), messages, maxRetries: 0, temperature: 0, toolChoice: 'required' } as const;
  const { toolCalls, response } = await generateText({ ...asked, tools: { convert: tool({ inputSchema: unit }) } });
  for (const { toolName, input } of toolCalls) assert.ok(toolName === 'convert' && unit.parse(input));
  const streamed = await streamText({ ...asked, tools: { convert: tool({ inputSchema: unit }) } }).toolCalls;
  const saidBy = (calls: readonly { input: unknown }[]) => calls.map(({ input }) => input);
  assert.equal(saidBy(streamed), saidBy(toolCalls));
  const results = toolCalls.map(({ toolCallId, toolName }) => {
    return { type: 'tool-result' as const, toolCallId, toolName, output: { type: 'text' as const, value: '20 C' } };
  });
  const { text } = await generateText({
    ...{ model: asked.model, maxRetries: 0, temperature: 0, maxOutputTokens: 8 },
    messages: [...messages, ...response.messages, { role: 'tool', content: results }],
  });
  const calls = toolCalls.map(({ toolCallId, toolName, input }) => {
    return {
      id: toolCallId,
      type: 'function' as const,
      function: { name: toolName, arguments: JSON.stringify(input) },
    };
  });
  const { choices } = await openai.chat.completions.create({
    ...{ model: 'tiny', temperature: 0, max_tokens: 8 },
    messages: [
      ...messages,
      { role: 'assistant', content: null, tool_calls: calls },
      ...toolCalls.map(({ toolCallId }) => ({ role: 'tool' as const, tool_call_id: toolCallId, content: '20 C' })),
    ],
  });
  assert.is(text, choices[0].message.content);
});

test('ai: embeddings, and probabilities, which are an option of this provider', async () => {
  const embedding = await embedMany({ model: vercel().embeddingModel('tiny'), values: ['one', 'two'], maxRetries: 0 });
  assert.equal(Float32Array.from(embedding.embeddings[1]), await model.embed('two', { normalize: true }));
  assert.ok(embedding.usage.tokens > 0);
  const { response, usage } = await generateText({
    ...{ model: vercel()('tiny'), messages, maxRetries: 0, temperature: 0, maxOutputTokens: 8 },
    ...{ providerOptions: { higgs: { logprobs: true, top_logprobs: 2 } }, include: { responseBody: true } },
  });
  const { choices } = response.body as OpenAI.ChatCompletion;
  assert.is(choices[0].logprobs!.content!.length, usage.outputTokens);
  for (const { logprob, top_logprobs: top } of choices[0].logprobs!.content!) assert.is(logprob, top[0].logprob);
});

test('ai: an abort frees the place, of a stream and of an answer', async () => {
  const providerOptions = { higgs: { ignore_eos: true } };
  const asked = { model: vercel()('tiny'), messages, maxRetries: 0, maxOutputTokens: 1900, providerOptions };
  const abort = new AbortController();
  const stream = streamText({ ...asked, abortSignal: abort.signal });
  const pieces: string[] = [];
  for await (const { type } of stream.fullStream) {
    pieces.push(type);
    if (type === 'text-delta') abort.abort();
  }
  assert.is(pieces.at(-1), 'abort');
  await idle();
  const second = new AbortController();
  const answer = generateText({ ...asked, abortSignal: second.signal }).catch(({ name }: Error) => name);
  while (server.state.active === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  second.abort();
  assert.is(await answer, 'AbortError');
  await idle();
});

const PYTHON = process.env.OPENAI_PYTHON ?? 'build/python/bin/python';
const hasClient = spawnSync(PYTHON, ['-c', 'import openai']).status === 0;
if (!hasClient) console.log(`skipped, as ${PYTHON} has no openai: openai for Python`);
else {
  test('openai for Python: chat, streams, schemas, tools, probabilities, embeddings, responses, errors, aborts', async () => {
    const script = 'tests/clients/openai_client.py';
    const { stdout } = await promisify(execFile)(PYTHON, [script, `http://127.0.0.1:${port}/v1`, 'key']);
    const got = JSON.parse(stdout);
    const text = await model.complete(messages, { maxTokens: 9 });
    assert.equal([got.text, got.streamed, got.response], [text, text, text]);
    assert.is(got.usage[0], got.usage[1]);
    assert.is(got.logprobs, got.usage[0]);
    assert.match(got.unit + got.call, /^[CF]{2}$/);
    assert.equal(Float32Array.from(got.embedding), await model.embed('two', { normalize: true }));
    assert.is(got.refused, 'temperature');
    const [underWay, after, generated] = got.aborted;
    assert.equal([underWay, after], [1, 0]);
    assert.ok(generated > 0 && generated < 1900, `${generated} tokens`);
    await idle();
  });
}

// --- sockets

const open = () =>
  new Promise<Socket>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    socket.on('error', () => {});
  });
const head = (length: number, more = '') =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer key\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n${more}\r\n`;

test('a socket that breaks off in its body, or announces a huge one, costs nothing', async () => {
  const short = await open();
  short.end(`${head(100)}{"messages": [`);
  const huge = await open();
  const answer = new Promise<string>((resolve) => huge.once('data', (data) => resolve(String(data))));
  huge.write(head(1 << 30));
  assert.match(await answer, /^HTTP\/1\.1 413 /);
  huge.destroy();
  await idle();
});

test('a reader that takes nothing holds up no one', async () => {
  const body = JSON.stringify({
    messages,
    max_tokens: 1500,
    stream: true,
    ignore_eos: true,
    logprobs: true,
    top_logprobs: 20,
  });
  const slow = await open();
  slow.pause();
  slow.write(head(Buffer.byteLength(body)) + body);
  while (server.state.active === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const answer = await openai.chat.completions.create({ model: 'tiny', messages, max_tokens: 5, temperature: 0 });
  assert.is(answer.choices[0].message.content, await model.complete(messages, { maxTokens: 5 }));
  slow.destroy();
  await idle();
});

test('a server that ends writes out what is there, and gives up who takes nothing', async () => {
  const ending = createHttpServer((_, response) => void response.end(Buffer.alloc(64 << 20, 'x')));
  const answers = answersOf(ending, { stalledMs: 2000, closingMs: 60_000 });
  await new Promise<void>((resolve) => ending.listen(0, '127.0.0.1', resolve));
  const { port } = ending.address() as AddressInfo;
  const ask = async () => {
    const socket = await new Promise<Socket>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(socket));
    });
    socket.on('error', () => {});
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n');
    return socket;
  };
  const [reader, stalled] = [await ask(), await ask()];
  await new Promise((resolve) => setTimeout(resolve, 100)); // both answers are there, neither is written
  let taken = 0;
  reader.on('data', (data) => {
    taken += data.length;
  });
  reader.resume();
  await answers.close(async () => {});
  assert.ok(taken > 64 << 20, String(taken));
  stalled.destroy();
});

test('48 streams with aborts: the others have the bits of those alone', async () => {
  const request = (i: number) => ({
    ...{ model: 'tiny', messages: [{ role: 'user' as const, content: `Question ${i % 8}` }], seed: i % 8 },
    ...{ max_tokens: 10 + (i % 8), temperature: 1, stream: true as const },
  });
  const textOf = async (i: number, leave: boolean) => {
    let text = '';
    for await (const chunk of await openai.chat.completions.create(request(i))) {
      text += chunk.choices[0]?.delta.content ?? '';
      if (leave && text.length > 2) break;
    }
    return text;
  };
  const alone: string[] = [];
  for (let i = 0; i < 8; i++) alone.push(await textOf(i, false));
  const all = await Promise.all(Array.from({ length: 48 }, (_, i) => textOf(i, i % 3 === 1)));
  for (const [i, text] of all.entries()) {
    if (i % 3 === 1) assert.ok(alone[i % 8].startsWith(text));
    else assert.is(text, alone[i % 8]);
  }
  await idle();
});

test.run();
