// The page at the server's address: files of a directory that were read when the server began, each at its path; without any, a short page that
// says which models are here and how to ask them. No path of a request reaches a file system.

import type { Shelf } from './shelf.ts';

/** A file of the page, ready to be sent. */
interface PageFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly headers: Readonly<Record<string, string>>;
}

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  json: 'application/json; charset=utf-8',
  webmanifest: 'application/manifest+json; charset=utf-8',
  svg: 'image/svg+xml',
  png: 'image/png',
  ico: 'image/x-icon',
  txt: 'text/plain; charset=utf-8',
  wasm: 'application/wasm',
  woff2: 'font/woff2',
};
/** Scripts of the page's own, workers from blobs, WebAssembly; models from the hub, and servers on this machine. */
const POLICY = [
  "default-src 'self' blob: data:",
  "script-src 'self' blob: 'wasm-unsafe-eval'",
  "style-src 'self' 'unsafe-inline'",
  "connect-src 'self' blob: https: http://localhost:* http://127.0.0.1:*",
  ...["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"],
].join('; ');
// The page is alone with itself: shared memory, which threads need, is allowed to such pages only.
const ALONE = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
};
const INDEX = 'index.html';

/**
 * The answers of a page, by path.
 * @param files contents by name, directories with `/`
 * @param taken paths that the server answers otherwise
 */
export function openPage(
  files: ReadonlyMap<string, Uint8Array>,
  taken: ReadonlySet<string>,
): ReadonlyMap<string, PageFile> {
  const answers = new Map<string, PageFile>();
  for (const [name, bytes] of files) {
    const extension = /\.(\w+)$/.exec(name)?.[1] ?? '';
    const type = TYPES[extension] ?? 'application/octet-stream';
    const headers = {
      ...{ 'content-type': type, 'content-security-policy': POLICY, ...ALONE },
      ...{ 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff' },
    };
    const answer = { bytes: new Uint8Array(bytes), headers };
    const path = `/${name}`; // decoded, as the paths of requests are
    if (!taken.has(path)) answers.set(path, answer);
    if (name === INDEX) answers.set('/', answer);
  }
  return answers;
}

/** The page of a server that was given none. */
export function plainPage({ names, loaded }: Shelf): Response {
  const rows = names.map((name) => `<li><code>${escaped(name)}</code>${loaded.has(name) ? ', in memory' : ''}</li>`);
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>higgs serve</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em }</style>
<h1>higgs serve</h1>
<p>The OpenAI API, by models that run as WebAssembly: give a client this address and <code>/v1</code> behind it.</p>
<ul>${rows.join('')}</ul>
<p><a href="/v1/models">/v1/models</a> · <a href="/metrics">/metrics</a> · <a href="/health">/health</a></p>
</html>
`;
  const policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
  return new Response(html, { headers: { 'content-type': TYPES.html, 'content-security-policy': policy } });
}

const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
