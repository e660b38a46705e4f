// Requests of a server: bodies of every endpoint with members changed, taken out, and bytes changed. The answer is JSON or events, never a fault of ours.

import { createServer, type Server } from '../../src/server/server.ts';
import { servedModel } from '../served.ts';
import { changeBytes } from './bytes.ts';
import { Fault } from './oracle.ts';
import { NUMBERS, type Random, TEXTS } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, encode, type Target } from './target.ts';

const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: [{ type: 'text', text: 'Hi' }] },
];
const schema = {
  type: 'object',
  properties: { a: { enum: ['x', 1] }, b: { type: 'string', maxLength: 3 } },
  required: ['a'],
};
const tool = { type: 'function', function: { name: 'f', parameters: schema } };
const BODIES: readonly (readonly [path: string, body: Record<string, unknown>])[] = [
  [
    '/v1/chat/completions',
    { messages, max_tokens: 3, temperature: 1, top_p: 0.9, seed: 1, stop: ['x'], n: 2, logit_bias: { 5: 1 } },
  ],
  [
    '/v1/chat/completions',
    { messages, max_tokens: 3, stream: true, stream_options: { include_usage: true }, logprobs: true, top_logprobs: 2 },
  ],
  ['/v1/chat/completions', { messages, max_tokens: 3, tools: [tool], tool_choice: 'required' }],
  [
    '/v1/chat/completions',
    {
      messages,
      max_tokens: 3,
      response_format: { type: 'json_schema', json_schema: { name: 'a', strict: true, schema } },
    },
  ],
  ['/v1/completions', { prompt: ['a', 'b'], max_tokens: 2, logprobs: 1, echo: true, min_p: 0.1, presence_penalty: 1 }],
  [
    '/v1/responses',
    {
      input: [{ role: 'user', content: 'Hi' }],
      max_output_tokens: 2,
      instructions: 'x',
      text: { format: { type: 'text' } },
      tools: [],
    },
  ],
  ['/v1/embeddings', { input: ['a', [1, 2]], encoding_format: 'base64' }],
  ['/tokenize', { content: 'a', add_special: true, with_pieces: true }],
  ['/detokenize', { tokens: [1, 2, 3] }],
];

let server: Promise<Server> | undefined;
let cause: unknown;

async function open(): Promise<Server> {
  const model = await servedModel({ context: 64, cacheTokens: 512 });
  return createServer({ models: { tiny: model }, onRequest: (log) => (cause = log.cause) });
}

// Changes a value somewhere within. @returns the value, or another
function changed(value: unknown, random: Random): unknown {
  if (random.chance(0.3) || typeof value !== 'object' || value === null) {
    return random.pick<() => unknown>([
      () => random.pick(NUMBERS),
      () => random.pick(TEXTS),
      () => random.pick([null, true, [], {}, [[]], { type: 'object' }, { $ref: '#' }, [null], -1, 1e9]),
      () => [value, value],
      () => ({ a: value }),
    ])();
  }
  const keys = Object.keys(value);
  if (keys.length === 0) return random.pick(TEXTS);
  const key = random.pick(keys);
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>;
  if (random.chance(0.1)) delete copy[key];
  else copy[key] = changed(copy[key], random);
  return copy;
}

export const asked: Target = {
  name: 'asked',
  make(random) {
    const [path, body] = random.pick(BODIES);
    let made: unknown = body;
    for (let i = random.below(4); i > 0; i--) made = changed(made, random);
    const bytes = encode(JSON.stringify(made) ?? '');
    return { [CASE_NAME]: caseOf({ path }), body: random.chance(0.1) ? changeBytes(bytes, random) : bytes };
  },
  async run(files) {
    server ??= open();
    const { path } = choicesOf<{ path: string }>(files);
    cause = undefined;
    const response = await (await server).request(path, {
      method: 'POST',
      body: files.body as Uint8Array<ArrayBuffer>,
    });
    const text = await response.text();
    if (response.status >= 500) throw new Fault(`${response.status}: ${(cause as Error)?.stack ?? text}`);
    if (response.headers.get('content-type')?.startsWith('text/event-stream')) {
      if (cause) throw new Fault(`a stream failed: ${(cause as Error).stack}`);
      return;
    }
    const answer = JSON.parse(text);
    if (response.status !== 200 && typeof answer.error?.message !== 'string') throw new Fault(`no message: ${text}`);
  },
};
