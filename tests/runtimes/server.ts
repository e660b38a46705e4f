// A page that runs the bundle and posts the outcome back, served on this machine; cross-origin isolated, so that threads can share memory.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Outcome } from './portable.ts';
import { BUNDLES } from './runtime.ts';

const page = `<!doctype html>
<meta charset="utf-8">
<title>higgs-wasm tests</title>
<script type="module">
  import { startWorker } from './workers.js';
  const post = (result) => fetch('/outcome', { method: 'POST', body: JSON.stringify(result) });
  // Files are read at once in workers alone.
  const files = () =>
    new Promise((resolve, reject) => {
      const worker = new Worker('./files.js', { type: 'module' });
      worker.onerror = ({ message }) => reject(new Error('in the worker: ' + message));
      worker.onmessage = ({ data }) => {
        if (data.port) startWorker(data.url, data.port);
        else if (data.error) reject(new Error(data.error));
        else resolve(data);
      };
    });
  const joined = (a, b) => ({
    ...a,
    passed: a.passed + b.passed,
    skipped: a.skipped + b.skipped,
    failures: [...a.failures, ...b.failures],
  });
  import('./portable.js')
    .then(({ outcome }) => outcome())
    .then(async (own) => joined(own, await files()))
    .then(post, (error) => post({ error: String(error) + '\\n' + error?.stack }));
</script>
`;

/** Serves the page while `visit` makes a browser open it; gives what the page posts. */
export async function servePage(visit: (url: string) => Promise<void>, signal: AbortSignal): Promise<Outcome> {
  signal.throwIfAborted();
  let resolve: (outcome: Outcome) => void;
  let reject: (reason: unknown) => void;
  const posted = new Promise<Outcome>((...both) => {
    [resolve, reject] = both;
  });
  const server = createServer(async (request, response) => {
    if (request.method === 'POST') {
      const result = JSON.parse(await text(request));
      response.end();
      if ('error' in result) reject(new Error(result.error));
      else resolve(result);
    } else if (request.url === '/') {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      response.setHeader('Content-Type', 'text/html').end(page);
    } else if (/^\/(portable|files|workers)\.js$/.test(request.url!)) {
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      response.setHeader('Content-Type', 'text/javascript').end(readFileSync(BUNDLES + request.url));
    } else {
      response.writeHead(404).end();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  try {
    const opened = visit(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    return await Promise.race([posted, opened.then(() => posted)]);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}
