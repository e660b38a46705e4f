// The page at the server's address: which models are here, and how to ask them.

import type { Shelf } from './shelf.ts';

export function page({ names, loaded }: Shelf): Response {
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
  return new Response(html, {
    headers: { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy },
  });
}

const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
