// higgs-wasm/server: the OpenAI API over loaded models, as one app that answers a Request with a Response, in Node, Deno, Bun and wherever else
// there is fetch. A request passes the guard, is read, waits at the gate, takes its model from the shelf, and runs.

import { Hono, type Context as HonoContext } from 'hono';
import { cors } from 'hono/cors';
import {
  bytesOf,
  callback,
  flag,
  integer,
  list,
  member,
  needed,
  optionsOf,
  type Reader,
  recordOf,
  refuseKind,
  text,
} from '../check.ts';
import type { Model } from '../text/textmodel.ts';
import { jsonBody } from './body.ts';
import { chatRequest } from './chat.ts';
import { completionRequest, promptIdsOf, promptsFrom } from './completions.ts';
import { type Dialect, type Turn, together, usageOf, type Ways } from './dialect.ts';
import { embeddingsOf } from './embeddings.ts';
import { errorResponse, HttpError, httpError } from './errors.ts';
import { eventResponse, type ServerEvent } from './events.ts';
import { openGate } from './gate.ts';
import { guard, keyGuard } from './guard.ts';
import { LIMITS } from './limits.ts';
import { openMetrics } from './metrics.ts';
import { openPage, plainPage } from './page.ts';
import { responsesRequest } from './responses.ts';
import { type ModelLoader, openShelf } from './shelf.ts';
import { detokenizeRequest, tokenizeRequest } from './tokenize.ts';

export type { ModelLoader } from './shelf.ts';

/** Texts at once, and requests that wait, unless more are asked for. */
const PARALLEL = 16;
const QUEUE = 256;

/** What a request was, when it is over. */
export interface RequestLog {
  /** Such as `POST`. */
  readonly method: string;
  /** The path without what follows a question mark. */
  readonly path: string;
  /** Of HTTP, such as 200. */
  readonly status: number;
  /** The model that answered, if one did. */
  readonly model?: string;
  /** Milliseconds: in all, and to the first token. */
  readonly ms: number;
  /** Milliseconds to the first token, if there was one. */
  readonly firstMs?: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Of those, tokens that the cache held already. */
  readonly cachedTokens: number;
  /** Tokens generated, of all choices. */
  readonly generatedTokens: number;
  /** Why it failed, or was left. */
  readonly error?: string;
  /** The fault of ours that the client was not told. */
  readonly cause?: unknown;
}

/** How to serve. */
export interface ServerOptions {
  /** Models by the names that clients know: loaded ones, and such as are loaded when they are asked for. */
  models: Readonly<Record<string, Model | ModelLoader>> | ReadonlyMap<string, Model | ModelLoader>;
  /** Most bytes of the memories of all models; those that were not used for longest are closed for others. No bound if left out. */
  memory?: number;
  /** What clients must give as a bearer token. Everybody may ask if left out. */
  apiKey?: string;
  /** Origins of pages that may ask, or `*`. None but the server's own if left out. */
  cors?: string | readonly string[];
  /** Names, beside localhost and addresses, by which clients may call the server. */
  hosts?: readonly string[];
  /** Texts that are generated at once; 16 if left out. */
  parallel?: number;
  /** Requests that wait; 256 if left out. Others are answered with 429. */
  queue?: number;
  /** Leaves the oldest of a prompt out where it does not fit the context, instead of refusing it. */
  contextShift?: boolean;
  /** Files of the page at `/`, by path without the first slash, index.html among them: they need no key. A short page if left out. */
  page?: Readonly<Record<string, Uint8Array>> | ReadonlyMap<string, Uint8Array>;
  /** Who asks, for a fair share: an address. All are one client if left out. @param env what the host gives beside the request */
  clientOf?: (request: Request, env: unknown) => string;
  /** Called after every request. */
  onRequest?: (log: RequestLog) => void;
}

/** A server. */
export interface Server {
  /**
   * Answers a request.
   * @param env what the host gives beside it, for `clientOf`
   */
  fetch(request: Request, env?: unknown): Promise<Response>;
  /** Answers a request to a path, without a socket: for tests. */
  request(path: string, init?: RequestInit): Promise<Response>;
  /** What it is doing now. */
  readonly state: { readonly active: number; readonly waiting: number; readonly loaded: readonly string[] };
  /** Refuses new requests and waits for those under way; then closes the models that it loaded. */
  close(): Promise<void>;
}

const modelOrLoader: Reader<Model | ModelLoader> = (subject, value) => {
  const has = (name: string) =>
    typeof value === 'object' && value !== null && typeof member(subject, value, name) === 'function';
  if (has('load') || has('generate')) return value as Model | ModelLoader;
  return refuseKind(subject, 'a model, or an object with load()', value);
};
const modelsOf: Reader<ServerOptions['models']> = recordOf(modelOrLoader, LIMITS.models);
const pageOf: Reader<NonNullable<ServerOptions['page']>> = recordOf(bytesOf, LIMITS.pageFiles);
const originsOf = list(text, LIMITS.models, 'a string or a list of strings');
const serverOptions = optionsOf<ServerOptions>({
  models: needed(modelsOf),
  memory: integer(1),
  apiKey: text,
  cors: (subject, value) => (typeof value === 'string' ? value : originsOf(subject, value)),
  hosts: list(text, LIMITS.models),
  parallel: integer(1, LIMITS.waiting),
  queue: integer(0, LIMITS.waiting),
  contextShift: flag,
  page: pageOf,
  clientOf: callback,
  onRequest: callback,
});

// What is noted of a request while it runs.
interface Note {
  model?: string;
  firstMs?: number;
  prompt: number;
  cached: number;
  generated: number;
  error?: string;
  cause?: unknown;
  /** Whether the answer goes on after the response is there. */
  isOpen: boolean;
  finish(): void;
}
type Env = {
  Variables: { note: Note; signal: AbortSignal; leave: (reason: Error) => void };
  Bindings: Record<string, unknown>;
};

type Context = HonoContext<Env>;

/**
 * Makes a server of the OpenAI API.
 * @throws {TypeError} when an option is not known, or of another kind @throws {RangeError} when it is out of range
 * @example
 * const server = createServer({ models: { books: model } });
 * Deno.serve({ port: 11435 }, (request) => server.fetch(request));
 */
export function createServer(options: ServerOptions): Server {
  const given = serverOptions('options', options);
  const { memory = Number.MAX_SAFE_INTEGER, parallel = PARALLEL, queue = QUEUE, contextShift = false } = given;
  const shelf = openShelf(new Map(given.models as Map<string, Model | ModelLoader>), memory);
  if (shelf.names.length === 0) throw new RangeError('models must have at least one model: got none');
  const gate = openGate(parallel, queue);
  const metrics = openMetrics();
  const began = Math.floor(Date.now() / 1000);
  const origins = given.cors === undefined ? [] : [given.cors].flat();
  const app = new Hono<Env>();

  // A note of each request, and a signal that tells when its client has gone.
  app.use(async (c, next) => {
    const start = performance.now();
    const abort = new AbortController();
    const gone = () => abort.abort(new Error('the client has gone'));
    const { raw } = c.req;
    // To be taken off again: Node keeps a request's signal until the request is collected, which what listens may lead to.
    raw.signal.addEventListener('abort', gone);
    let isNoted = false;
    const note: Note = {
      ...{ prompt: 0, cached: 0, generated: 0, isOpen: false },
      finish() {
        if (isNoted) return;
        isNoted = true;
        raw.signal.removeEventListener('abort', gone);
        const { status } = c.res;
        const { model, firstMs, prompt, cached, generated, error, cause } = note;
        const ms = performance.now() - start;
        const route = ROUTES.has(c.req.path) ? c.req.path : 'other';
        metrics.observe({ route, status, ms, firstMs, prompt, cached, generated });
        given.onRequest?.({
          ...{ method: c.req.method, path: c.req.path, status, ms },
          ...(model !== undefined && { model }),
          ...(firstMs !== undefined && { firstMs }),
          ...{ promptTokens: prompt, cachedTokens: cached, generatedTokens: generated },
          ...(error !== undefined && { error }),
          ...(cause !== undefined && { cause }),
        });
      },
    };
    c.set('note', note);
    c.set('signal', abort.signal);
    c.set('leave', (reason) => abort.abort(reason));
    await next();
    if (!note.isOpen) note.finish();
  });
  app.use(guard({ origins, hosts: given.hosts ?? [] }));
  // Clients send headers of their own: all that a page asks for are allowed.
  if (origins.length > 0)
    app.use(cors({ origin: origins.includes('*') ? '*' : origins, exposeHeaders: ['retry-after'] }));
  // In front of the key: a browser that asks for a page has none.
  const files = openPage(new Map(given.page as Map<string, Uint8Array> | undefined), ROUTES);
  app.use(async (c, next) => {
    const file = c.req.method === 'GET' || c.req.method === 'HEAD' ? files.get(c.req.path) : undefined;
    return file ? new Response(file.bytes, { headers: file.headers }) : next();
  });
  // Behind cors: a page is to read that its key is wrong.
  if (given.apiKey !== undefined) app.use(keyGuard(given.apiKey));

  app.get('/health', (c) => c.json({ status: 'ok' }));
  app.get('/', () => plainPage(shelf));
  app.get('/v1/models', (c) => c.json({ object: 'list', data: shelf.names.map((id) => modelOf(id)) }));
  app.get('/v1/models/:id{.+}', (c) => c.json(modelOf(shelf.nameOf(c.req.param('id')))));
  app.get('/metrics', () => {
    const { loads, evictions } = shelf.counts;
    const bytes = [...shelf.loaded.values()].reduce((sum, each) => sum + each, 0);
    const gauges: Parameters<typeof metrics.text>[0] = {
      active_texts: ['Texts that are generated now.', gate.active],
      waiting_requests: ['Requests that wait.', gate.waiting],
      loaded_models: ['Models in memory.', shelf.loaded.size],
      model_bytes: ['Bytes of models in memory.', bytes],
      model_loads: ['Models loaded so far.', loads],
      model_evictions: ['Models closed for others so far.', evictions],
    };
    return new Response(metrics.text(gauges, shelf.passes), {
      headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
    });
  });
  const modelOf = (id: string) => ({ id, object: 'model', created: began, owned_by: 'higgs-wasm' });

  const client = (c: Context) => given.clientOf?.(c.req.raw, c.env) ?? '';

  // Takes a place and a model for as long as `work` says.
  async function admitted<T>(
    c: Context,
    { model: asked, n = 1 }: { model?: string; n?: number },
    work: (model: Model, free: () => void) => Promise<T>,
  ): Promise<T> {
    const [note, signal] = [c.get('note'), c.get('signal')];
    const name = shelf.nameOf(asked);
    note.model = name;
    const leave = await gate.enter(client(c), n, signal);
    let release = () => {};
    const free = () => {
      release();
      leave();
    };
    try {
      const taken = await shelf.take(name, signal);
      release = taken.release;
      return await work(taken.model, free);
    } catch (error) {
      free();
      throw error;
    }
  }

  type Reader = (body: Record<string, unknown>) => {
    common: { model?: string; n?: number; stream?: boolean };
    open: (model: Model, ways: Ways) => Dialect;
  };
  const generating = (read: Reader) => async (c: Context) => {
    const [note, signal] = [c.get('note'), c.get('signal')];
    const start = performance.now();
    const { common, open } = read(await jsonBody(c.req.raw));
    const name = shelf.nameOf(common.model);
    return admitted(c, { ...common, model: name }, async (model, free) => {
      const dialect = open(model, { contextShift, name });
      const tried = dialect.constraint?.();
      await tried?.begin();
      tried?.close();
      const counted = (turn: Turn) => {
        const { prompt, cached, completion } = usageOf([turn]);
        note.prompt += prompt;
        note.cached += cached;
        note.generated += completion;
      };
      async function* events(): AsyncGenerator<ServerEvent, void, void> {
        const choices = together(dialect, signal, counted);
        try {
          yield* dialect.begin();
          for (;;) {
            const next = await choices.next();
            note.firstMs ??= performance.now() - start;
            if (next.done) {
              yield* dialect.finish(next.value);
              return;
            }
            const { choice } = next.value;
            if ('turn' in next.value) yield* dialect.end(choice, next.value.turn);
            else yield* dialect.delta(choice, next.value.delta);
          }
        } finally {
          // A client that left may have left in the middle: texts give their places in the model back first.
          await choices.return([]).catch(() => {});
          free();
          note.finish();
        }
      }
      if (common.stream) {
        note.isOpen = true;
        const from = events();
        return eventResponse(from, {
          ...(dialect.last !== undefined && { last: dialect.last }),
          leave(reason) {
            note.error ??= reason.message;
            c.get('leave')(reason);
            const end = () => {
              free();
              note.finish();
            };
            // A text that has not begun has no one else to give its place back.
            from.return().then(end, end);
          },
          fail(error) {
            note.error = (error as Error).message;
            if (httpError(error).status === 500) note.cause = error;
          },
        });
      }
      try {
        const choices = together(dialect, signal, counted);
        for (;;) {
          const next = await choices.next();
          note.firstMs ??= performance.now() - start;
          if (next.done) return c.json(dialect.whole(next.value) as object);
        }
      } finally {
        free();
      }
    });
  };
  app.post('/v1/chat/completions', generating(chatRequest));
  app.post('/v1/completions', generating(completionRequest));
  app.post('/v1/responses', generating(responsesRequest));

  app.post('/v1/embeddings', async (c) => {
    const body = await jsonBody(c.req.raw);
    const inputs = promptsFrom('input', body.input);
    const name = shelf.nameOf(body.model === undefined ? undefined : text('model', body.model));
    return admitted(c, { model: name }, async (model, free) => {
      try {
        const ids = inputs.map((input) => promptIdsOf(model, input, 'input'));
        const answer = await embeddingsOf(model, name, body, ids, c.get('signal'));
        c.get('note').prompt = answer.usage.prompt_tokens;
        return c.json(answer);
      } finally {
        free();
      }
    });
  });
  const telling = (read: (body: Record<string, unknown>) => (model: Model) => object) => async (c: Context) => {
    const body = await jsonBody(c.req.raw);
    const answer = read(body);
    const name = shelf.nameOf(body.model === undefined ? undefined : text('model', body.model));
    return admitted(c, { model: name }, async (model, free) => {
      try {
        return c.json(answer(model));
      } finally {
        free();
      }
    });
  };
  app.post('/tokenize', telling(tokenizeRequest));
  app.post('/detokenize', telling(detokenizeRequest));

  app.notFound((c) => {
    const isRoute = ROUTES.has(c.req.path);
    const message = `${c.req.method} ${c.req.path.slice(0, 80)} is not served here`;
    return errorResponse(new HttpError(isRoute ? 405 : 404, message, { code: 'not_found' }));
  });
  app.onError((error, c) => {
    const note: Note | undefined = c.get('note');
    const answer = httpError(error);
    if (note) {
      note.error = c.get('signal').aborted ? 'the client has gone' : error.message;
      if (answer.status === 500 && !c.get('signal').aborted) note.cause = error;
    }
    return errorResponse(c.get('signal')?.aborted ? new HttpError(499, 'the client has gone') : answer);
  });

  return {
    fetch: async (request, env) => app.fetch(request, (env ?? {}) as Record<string, unknown>),
    request: async (path, init) => app.request(path, init),
    get state() {
      return { active: gate.active, waiting: gate.waiting, loaded: [...shelf.loaded.keys()] };
    },
    async close() {
      await gate.shut();
      await shelf.close();
    },
  };
}

/** Paths that metrics tell apart; others could be any. */
const ROUTES: ReadonlySet<string> = new Set([
  ...['/', '/health', '/metrics', '/v1/models', '/v1/chat/completions', '/v1/completions', '/v1/responses'],
  ...['/v1/embeddings', '/tokenize', '/detokenize'],
]);
