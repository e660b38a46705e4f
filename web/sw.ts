// The service worker: files of the page come from its cache once they are there, and every answer of this host has the headers that
// isolate the page, so that threads may share memory, and its policy, which bounds workers too. Nothing else is touched: hubs are asked by the page itself.

/** Made new by every build, so that a new release replaces the old one's files. */
declare const VERSION: string;
declare const FILES: readonly string[];
/** The page's own policy, which its workers have by their answers alone. */
declare const POLICY: string;

/** What is used of a service worker's scope, which the types of pages leave out. */
interface Scope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(
    type: 'install' | 'activate',
    listen: (event: { waitUntil(work: Promise<unknown>): void }) => void,
  ): void;
  addEventListener(
    type: 'fetch',
    listen: (event: { readonly request: Request; respondWith(answer: Promise<Response>): void }) => void,
  ): void;
}

const scope = globalThis as unknown as Scope;
const CACHE = `higgs-${VERSION}`;

scope.addEventListener('install', (event) => {
  const keep = async () => {
    await (await caches.open(CACHE)).addAll(FILES.map((name) => new Request(name, { cache: 'reload' })));
    await scope.skipWaiting();
  };
  event.waitUntil(keep());
});

scope.addEventListener('activate', (event) => {
  const clean = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith('higgs-') && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await scope.clients.claim();
  };
  event.waitUntil(clean());
});

scope.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || !request.url.startsWith(scope.registration.scope)) return;
  event.respondWith(answer(request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const plain = request.url.replace(/[?#].*$/, '');
  const cached = await cache.match(plain);
  if (cached) return isolated(cached);
  // The demo model is kept when it is first asked for: whole, whatever range is wanted.
  const isDemo = /\/demo(-4bit)?\//.test(plain);
  const fresh = await fetch(isDemo ? plain : request);
  if (isDemo && fresh.status === 200) await cache.put(plain, fresh.clone()).catch(() => {}); // the storage may be full
  return isolated(fresh);
}

function isolated(response: Response): Response {
  if (response.type === 'opaque' || response.type === 'opaqueredirect' || response.status === 304) return response;
  const headers = new Headers(response.headers);
  for (const name of ['Content-Encoding', 'Content-Length']) headers.delete(name); // of what was sent, not of what is here
  headers.set('Content-Security-Policy', POLICY);
  headers.set('Cross-Origin-Opener-Policy', 'same-origin');
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp');
  headers.set('Cross-Origin-Resource-Policy', 'same-origin');
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
