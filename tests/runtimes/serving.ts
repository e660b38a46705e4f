// What processes run besides: the server, by requests and over the runtime's own sockets, and answers that follow schemas.

import '../server.test.ts';
import '../structured.test.ts';
import * as assert from 'uvu/assert';
import { createServer } from '../../src/server/server.ts';
import { eventsOf, servedModel } from '../served.ts';
import { suite } from './uvu.ts';

export { outcome } from './portable.ts';

type Answers = (request: Request) => Promise<Response>;
/** What Deno and Bun have of their own. */
interface Hosts {
  Deno?: {
    serve(options: object, answer: Answers): { addr: { port: number }; shutdown(): Promise<void> };
  };
  Bun?: {
    serve(options: { port: number; hostname: string; fetch: Answers }): { port: number; stop(now: boolean): void };
  };
}
const { Deno: deno, Bun: bun } = globalThis as Hosts;

// Listens as the documents say, with what the runtime has.
async function listen(answer: Answers): Promise<{ port: number; close(): unknown }> {
  const hostname = '127.0.0.1';
  if (deno) {
    const server = deno.serve({ port: 0, hostname, onListen() {} }, answer);
    return { port: server.addr.port, close: () => server.shutdown() };
  }
  if (bun) {
    const server = bun.serve({ port: 0, hostname, fetch: answer });
    return { port: server.port, close: () => server.stop(true) };
  }
  const [{ createAdaptorServer }, { default: events }] = await Promise.all([
    import('@hono/node-server'),
    import('node:events'),
  ]);
  const server = createAdaptorServer({ fetch: answer });
  server.listen(0, hostname);
  await events.once(server, 'listening');
  return { port: (server.address() as { port: number }).port, close: () => server.close() };
}

const test = suite('a server of this runtime');

test('answers, streams and ends with who leaves, over a socket', async () => {
  const model = await servedModel({ context: 512 });
  const server = createServer({ models: { tiny: model } });
  const { port, close } = await listen((request) => server.fetch(request));
  const ask = (body: object, signal: AbortSignal | null = null) =>
    fetch(`http://127.0.0.1:${port}/v1/completions`, { method: 'POST', body: JSON.stringify(body), signal });
  const wanted = await model.complete('Once', { maxTokens: 9 });
  const request = { prompt: 'Once', max_tokens: 9, temperature: 0 };
  assert.is((await (await ask(request)).json()).choices[0].text, wanted);
  const events = await eventsOf(await ask({ ...request, stream: true }));
  assert.is(events.at(-1)!.data, '[DONE]');
  const texts = events.slice(0, -1).map(({ data }) => JSON.parse(data).choices[0].text);
  assert.is(texts.join(''), wanted);
  const abort = new AbortController();
  const left = await ask({ ...request, max_tokens: 400, stream: true, ignore_eos: true }, abort.signal);
  const reader = left.body!.getReader();
  await reader.read();
  abort.abort();
  await reader.read().catch(() => {});
  for (let i = 0; i < 3000 && server.state.active > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(server.state, { active: 0, waiting: 0, loaded: ['tiny'] });
  await close();
  await model.close();
});

test.run();
