// Sources over HTTP, against a server on this machine: range requests, none, faults on the way, changes meanwhile.

import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load, urlFolder, urlSource } from '../src/index.ts';
import { openFolder } from '../src/source/file.ts';
import { sameBits } from './bits.ts';

const test = suite('HTTP');
const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i);
const files = new Map<string, Uint8Array>([
  ['bytes', bytes],
  ['empty', new Uint8Array()],
]);
for (const name of ['model.safetensors', 'config.json', 'tokenizer.json']) {
  files.set(`model/${name}`, readFileSync(`models/books-llama/${name}`));
}

// How the server behaves: the first part of the path.
const behaviours: Readonly<
  Record<string, (file: Uint8Array, request: IncomingMessage, response: ServerResponse) => void>
> = {
  ranges: serveRange,
  plain: (file, _, response) => response.end(file),
  flaky: (file, request, response) => {
    if (calls.length % 2 === 1) response.writeHead(503).end();
    else serveRange(file, request, response);
  },
  broken: (file, request, response) => {
    if (calls.length % 2 === 1) request.socket.destroy();
    else serveRange(file, request, response);
  },
  // Breaks off in the middle of every other body.
  cut: (file, request, response) => {
    if (calls.length === 1 || calls.length % 2 === 1) return serveRange(file, request, response);
    response.writeHead(206, { 'content-range': `bytes 10-19/${file.length}`, 'content-length': 10, etag: '"1"' });
    response.write(file.subarray(10, 13), () => request.socket.destroy());
  },
  changing: (file, request, response) => serveRange(file, request, response, `"${calls.length}"`),
  guarded: (file, request, response) => {
    if (request.headers.authorization === 'Bearer key') serveRange(file, request, response);
    else response.writeHead(401).end();
  },
  // Answers what it does not have with a page.
  page: serveRange,
  untyped: serveRange,
  slow: (file, request, response) => setTimeout(() => serveRange(file, request, response), 20),
  // Gives a part of every other body, then nothing more.
  stalled: (file, request, response) => {
    if (calls.length === 1 || calls.length % 2 === 1) return serveRange(file, request, response);
    response.writeHead(206, { 'content-range': `bytes 10-19/${file.length}`, 'content-length': 10, etag: '"1"' });
    response.write(file.subarray(10, 14));
  },
  // Takes every question, and answers none.
  silent: () => {},
  down: (_, __, response) => response.writeHead(500).end(),
};

let calls: string[] = [];
let [underWay, most] = [0, 0];
const PAGE = Buffer.from('\n<!doctype html>\n<html><body>Hello</body></html>');
const server = createServer((request, response) => {
  most = Math.max(most, ++underWay);
  response.on('close', () => underWay--);
  calls.push(request.headers.range ?? '');
  const [, behaviour, ...rest] = new URL(request.url!, base).pathname.split('/');
  const file = files.get(rest.join('/'));
  if (file) behaviours[behaviour](file, request, response);
  else if (behaviour === 'page') response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(PAGE);
  else if (behaviour === 'untyped') response.writeHead(200).end(PAGE);
  else response.writeHead(404).end();
});
let base = '';
test.before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
test.after(() => {
  server.closeAllConnections();
  server.close();
});
test.before.each(() => {
  calls = [];
  most = 0;
});

test('urlSource() asks once for the size and once for each slice', async () => {
  const source = await urlSource(`${base}/ranges/bytes`);
  assert.is(source.byteLength, 1000);
  sameBits(new Uint8Array(await source.slice(10, 20)), bytes.slice(10, 20));
  sameBits(new Uint8Array(await source.slice(999, 1000)), bytes.slice(999));
  assert.is((await source.slice(5, 5)).byteLength, 0);
  assert.equal(calls, ['bytes=0-0', 'bytes=10-19', 'bytes=999-999']);
});

test('urlSource() reads the whole file once when the server knows no ranges', async () => {
  const source = await urlSource(`${base}/plain/bytes`);
  sameBits(new Uint8Array(await source.slice(10, 20)), bytes.slice(10, 20));
  sameBits(new Uint8Array(await source.slice(0, 1000)), bytes);
  assert.is(calls.length, 1);
});

test('urlSource() opens an empty file', async () => {
  assert.is((await urlSource(`${base}/ranges/empty`)).byteLength, 0);
  assert.is((await urlSource(`${base}/plain/empty`)).byteLength, 0);
});

test('urlSource() asks again when an answer breaks off', async () => {
  const source = await urlSource(`${base}/cut/bytes`);
  sameBits(new Uint8Array(await source.slice(10, 20)), bytes.slice(10, 20));
  assert.is(calls.length, 3);
});

test('urlSource() asks again for what is missing when an answer stalls, after the time that is given', async () => {
  const source = await urlSource(`${base}/stalled/bytes`, { timeout: 60 });
  const began = performance.now();
  sameBits(new Uint8Array(await source.slice(10, 20)), bytes.slice(10, 20));
  assert.equal(calls, ['bytes=0-0', 'bytes=10-19', 'bytes=14-19']);
  assert.ok(performance.now() - began < 30_000, 'the minute of the default was waited for');
});

test('urlSource() says how long nothing came from a server that is silent', async () => {
  await rejects(
    () => urlSource(`${base}/silent/bytes`, { timeout: 30 }),
    'FileError',
    /no answer: nothing came for 0\.03 s$/,
  );
  assert.is(calls.length, 4);
  await rejects(
    () => urlSource(base, { timeout: 0 }),
    'RangeError',
    /timeout must be an integer from 1 to 2147483647: got 0/,
  );
});

test('urlFolder() keeps the query of an address', async () => {
  const folder = await urlFolder(`${base}/ranges/model?key=1`);
  assert.equal(await folder.list(), ['config.json', 'model.safetensors', 'tokenizer.json']);
});

for (const behaviour of ['flaky', 'broken']) {
  test(`urlSource() asks again when the server is ${behaviour}`, async () => {
    const source = await urlSource(`${base}/${behaviour}/bytes`);
    sameBits(new Uint8Array(await source.slice(10, 20)), bytes.slice(10, 20));
    assert.ok(calls.length >= 4);
  });
}

test('urlSource() fails when the file changes meanwhile', async () => {
  const source = await urlSource(`${base}/changing/bytes`);
  await rejects(async () => source.slice(0, 10), 'FormatError', /must stay as it is/);
});

test('urlSource() names URL and status when the server refuses', async () => {
  await rejects(
    () => urlSource(`${base}/ranges/nothing`),
    'FileError',
    /^cannot read http.*\/nothing: Not Found \(404\)$/,
  );
  await rejects(() => urlSource(`${base}/guarded/bytes`), 'FileError', /\(401\)$/);
  assert.is(calls.length, 2); // a refusal is final
  await urlSource(`${base}/guarded/bytes`, { headers: { authorization: 'Bearer key' } });
});

test('urlSource() gives up after four failures', async () => {
  await rejects(() => urlSource(`${base}/down/bytes`), 'FileError', /\(500\)$/);
  assert.is(calls.length, 4);
});

test('urlSource() stops when it is aborted', async () => {
  await rejects(() => urlSource(`${base}/ranges/bytes`, { signal: AbortSignal.abort() }), 'AbortError', /./);
});

test('urlFolder() quantizes a checkpoint from a server to the same bytes as from a directory', async () => {
  const higgs = await load();
  const run = async (input: Parameters<typeof higgs.planCheckpoint>[0]) => {
    const written = new Map<string, Uint8Array[]>();
    await higgs.quantizeCheckpoint(input, {
      create: async (name) => {
        const parts: Uint8Array[] = [];
        written.set(name, parts);
        return { write: async (part) => void parts.push(part.slice()), close: async () => {}, abort: async () => {} };
      },
    });
    return new Map([...written].map(([name, parts]) => [name, Buffer.concat(parts)]));
  };
  const local = await openFolder('models/books-llama');
  const [here, there] = [await run(local), await run(await urlFolder(`${base}/ranges/model`))];
  await local.close();
  assert.equal([...there.keys()].sort(), ['config.json', 'model.safetensors', 'tokenizer.json']);
  for (const [name, content] of there) sameBits(content, here.get(name)!, name);
});

test('urlFolder() says what it looked for when there is no checkpoint', async () => {
  await rejects(
    () => urlFolder(`${base}/ranges/elsewhere`),
    'FormatError',
    /must have model\.safetensors or model\.safetensors\.index\.json/,
  );
});

for (const behaviour of ['page', 'untyped']) {
  test(`urlFolder() takes no web page for a file when the server answers with pages (${behaviour})`, async () => {
    const folder = await urlFolder(`${base}/${behaviour}/model`);
    assert.equal(await folder.list(), ['config.json', 'model.safetensors', 'tokenizer.json']);
    await rejects(
      () => urlFolder(`${base}/${behaviour}/elsewhere`),
      'FormatError',
      /must have model\.safetensors or model\.safetensors\.index\.json: the server answers with a web page$/,
    );
    await rejects(() => urlSource(`${base}/${behaviour}/nothing`), 'FileError', /a web page, not with the file/);
  });
}

test('urlFolder() asks for several side files at once, and not for all', async () => {
  const folder = await urlFolder(`${base}/slow/model`);
  assert.equal(await folder.list(), ['config.json', 'model.safetensors', 'tokenizer.json']);
  assert.ok(most > 1 && most <= 6, `${most} at once`);
});

test('urlFolder() refuses when one side file is refused', async () => {
  await rejects(() => urlFolder(`${base}/guarded/model`), 'FileError', /\(401\)$/);
});

test('urlFolder() gives the address of the files when it is given a page of the hub', async () => {
  const cases = [
    ['https://huggingface.co/org/model', 'main'],
    ['https://huggingface.co/org/model/', 'main'],
    ['https://huggingface.co/org/model/tree/v1.0', 'v1.0'],
    ['https://huggingface.co/org/model/blob/main/model.safetensors', 'main'],
  ] as const;
  const fetch = () => Promise.reject(new Error('nothing is to be asked for'));
  for (const [address, revision] of cases) {
    const says = new RegExp(`, https://huggingface\\.co/org/model/resolve/${revision}/: got "${address}"$`);
    await rejects(() => urlFolder(address, { fetch }), 'RangeError', says);
  }
});

// Answers that no honest server gives, from a function instead of one.
const answers = (...given: (() => Response)[]) => ({ fetch: async () => given.shift()!() });
const opening = () => new Response('x', { status: 206, headers: { 'content-range': 'bytes 0-0/9' } });

test('urlSource() reads no more of an answer than it asked for', async () => {
  let sent = 0;
  const endless = new ReadableStream({
    pull(controller) {
      sent += 1024;
      controller.enqueue(new Uint8Array(1024));
    },
  });
  const headers = { 'content-range': 'bytes 2-4/9' };
  const options = answers(opening, () => new Response(endless, { status: 206, headers }));
  const source = await urlSource('http://a.test/b', options);
  await rejects(
    async () => source.slice(2, 5),
    'FormatError',
    /^http:\/\/a\.test\/b: server must give the 3 bytes asked for: it gives more$/,
  );
  assert.ok(sent < 10_000);
});

test('urlSource() takes an answer without a body for an empty file', async () => {
  assert.is(
    (
      await urlSource(
        'http://a.test/b',
        answers(() => new Response(null)),
      )
    ).byteLength,
    0,
  );
});

test('urlSource() shows only the beginning of what a server says', async () => {
  const options = answers(() => new Response('', { status: 403, statusText: 'no '.repeat(3000) }));
  await rejects(
    () => urlSource('http://a.test/b', options),
    'FileError',
    /^cannot read http:\/\/a\.test\/b: (no ?){27}… \(403\)$/,
  );
});

test.run();

function serveRange(file: Uint8Array, { headers }: IncomingMessage, response: ServerResponse, tag = '"1"'): void {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
  if (Number(first) >= file.length) {
    response.writeHead(416, { 'content-range': `bytes */${file.length}` }).end();
    return;
  }
  const part = file.subarray(Number(first), Number(last) + 1);
  response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${file.length}`, etag: tag }).end(part);
}

async function rejects(run: () => unknown, name: string, message: RegExp): Promise<void> {
  try {
    await run();
  } catch (error) {
    assert.is((error as Error).name, name);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable('it did not fail');
}
