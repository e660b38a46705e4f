// A hub on this machine: the API that tells commits and listings, files by ranges, large ones by a redirect to a second server, tokens,
// gates, and faults on the way. What was asked for is kept (Node and what follows it only).

import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A repository: files by path, at each commit. */
export interface Repo {
  commits: Record<string, Record<string, Uint8Array>>;
  refs: Record<string, string>;
  /** Who may read it; everyone if left out. */
  token?: string;
  /** Whether its owners ask for terms to be accepted; with `token`, who has done so. */
  isGated?: boolean;
}

/** A request as it came. */
export interface Asked {
  server: 'hub' | 'files';
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** What is done in place of the right answer. */
export interface Fault {
  status?: number;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** Breaks off after so many bytes of the body. */
  cutAfter?: number;
  /** Waits so many milliseconds first. */
  wait?: number;
  /** Gives the whole file, whatever range is asked for. */
  noRanges?: boolean;
  /** Gives another file. */
  content?: Uint8Array;
  etag?: string;
}

/** A running hub. */
export interface Hub {
  endpoint: string;
  repos: Record<string, Repo>;
  asked: Asked[];
  /** Decides on each request; `nth` counts from 0. */
  fault: (asked: Asked, nth: number) => Fault | undefined;
  close(): Promise<void>;
}

/** A commit's name, for tests: forty digits. */
export const commitNamed = (text: string): string => createHash('sha1').update(text).digest('hex');

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
export const gitOid = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

/** What git keeps of a large file. */
export const pointerOf = (bytes: Uint8Array): string =>
  `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256Of(bytes)}\nsize ${bytes.length}\n`;

// As the hub's .gitattributes.
const isLarge = (path: string): boolean => /\.(safetensors|gguf|bin)$/.test(path);

/** What the hub tells browsers: any page may ask, and read these headers. */
const CORS = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers':
    'X-Repo-Commit, X-Error-Code, X-Error-Message, ETag, Link, Accept-Ranges, Content-Range, X-Linked-Size, X-Linked-ETag',
};

/** Files in a page of a listing: the hub has a thousand. */
const PAGE = 3;

export async function startHub(repos: Record<string, Repo>): Promise<Hub> {
  const hub: Hub = { endpoint: '', repos, asked: [], fault: () => undefined, close };
  let filesBase = '';
  const files = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, filesBase).pathname.slice(1));
    const fault = note('files', request);
    const content = Object.values(hub.repos)
      .flatMap(({ commits }) => Object.values(commits).flatMap((each) => Object.values(each)))
      .find((bytes) => sha256Of(bytes) === path);
    if (content) send(request, response, content, {}, fault);
    else response.writeHead(404).end();
  });
  const server = createServer((request, response) => {
    const fault = note('hub', request);
    if (fault?.status !== undefined)
      return void end(request, response, fault.status, fault.headers ?? {}, fault.body ?? '', fault);
    const url = new URL(request.url!, hub.endpoint);
    const [, api] = /^\/api\/models\/(.*)$/.exec(url.pathname) ?? [];
    if (api !== undefined) {
      answerApi(request, response, api, url, fault);
      return;
    }
    const [, name, revision, path] = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname) ?? [];
    const actual = access(request, response, name ?? '', decodeURIComponent(revision ?? ''));
    if (!actual) return;
    const file = decodeURIComponent(path);
    const content = actual.repo.commits[actual.commit][file];
    if (!content) return void end(request, response, 404, { 'x-error-code': 'EntryNotFound' }, 'Entry not found');
    const headers = {
      'x-repo-commit': actual.commit,
      etag: `"${isLarge(file) ? sha256Of(content) : gitOid(content)}"`,
    };
    if (!isLarge(file) || fault?.content || fault?.noRanges) return send(request, response, content, headers, fault);
    const linked = {
      'x-linked-etag': headers.etag,
      'x-linked-size': String(content.length),
      'x-repo-commit': actual.commit,
    };
    response.writeHead(302, { ...CORS, ...linked, location: `${filesBase}/${sha256Of(content)}` }).end();
  });
  hub.endpoint = await listen(server, '127.0.0.1');
  filesBase = await listen(files, 'localhost'); // another host: clients trust that of the endpoint
  return hub;

  async function close(): Promise<void> {
    for (const each of [server, files]) {
      each.closeAllConnections();
      await new Promise((resolve) => each.close(resolve));
    }
  }

  function note(name: 'hub' | 'files', { url, headers }: IncomingMessage): Fault | undefined {
    const asked = { server: name, path: url!, range: headers.range, authorization: headers.authorization };
    hub.asked.push(asked);
    return hub.fault(asked, hub.asked.length - 1);
  }

  function answerApi(request: IncomingMessage, response: ServerResponse, api: string, url: URL, fault?: Fault): void {
    const [, name, verb, rest = ''] = /^([^/]+\/[^/]+)\/(revision|tree)\/(.+)$/.exec(api) ?? [];
    const [revision = '', ...folder] = rest.split('/').map(decodeURIComponent);
    const actual = access(request, response, name ?? '', revision);
    if (!actual) return;
    const contents = Object.entries(actual.repo.commits[actual.commit]);
    if (verb === 'revision') {
      const siblings = contents.map(([rfilename]) => ({ rfilename }));
      json(request, response, { id: name, sha: actual.commit, private: false, gated: false, siblings }, {}, fault);
      return;
    }
    const within = folder.length > 0 ? `${folder.join('/')}/` : '';
    const isRecursive = url.searchParams.get('recursive')?.toLowerCase() === 'true';
    const entries = new Map<string, object>();
    for (const [path, bytes] of contents) {
      if (!path.startsWith(within)) continue;
      const parts = path.slice(within.length).split('/');
      for (let depth = 1; depth < parts.length; depth++) {
        const directory = within + parts.slice(0, depth).join('/');
        if (isRecursive || depth === 1)
          entries.set(directory, { type: 'directory', path: directory, size: 0, oid: commitNamed(directory) });
      }
      if (parts.length > 1 && !isRecursive) continue;
      const lfs = { oid: sha256Of(bytes), size: bytes.length, pointerSize: pointerOf(bytes).length };
      const oid = isLarge(path) ? gitOid(Buffer.from(pointerOf(bytes))) : gitOid(bytes);
      entries.set(path, { type: 'file', path, size: bytes.length, oid, ...(isLarge(path) && { lfs }) });
    }
    if (entries.size === 0)
      return void end(request, response, 404, { 'x-error-code': 'EntryNotFound' }, 'Entry not found');
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const page = [...entries.values()].slice(from, from + PAGE);
    const isMore = from + PAGE < entries.size;
    url.searchParams.set('cursor', String(from + PAGE));
    json(request, response, page, isMore ? { link: `<${url}>; rel="next"` } : {}, fault);
  }

  function access(request: IncomingMessage, response: ServerResponse, name: string, revision: string) {
    const repo = hub.repos[name];
    const isIn = repo?.token === undefined || request.headers.authorization === `Bearer ${repo.token}`;
    if (!repo || (!isIn && !repo.isGated)) {
      end(request, response, 401, { 'x-error-code': 'RepoNotFound' }, 'Repository not found');
      return undefined;
    }
    const isFile = request.url!.includes('/resolve/');
    if (!isIn && isFile) {
      const headers = { 'x-error-code': 'GatedRepo', 'x-error-message': 'Access to model is restricted.' };
      end(request, response, request.headers.authorization ? 403 : 401, headers, 'Access to model is restricted.');
      return undefined;
    }
    const commit = repo.refs[revision] ?? (repo.commits[revision] && revision);
    if (commit !== undefined) return { repo, commit };
    end(request, response, 404, { 'x-error-code': 'RevisionNotFound' }, 'Invalid rev id');
    return undefined;
  }
}

async function listen(server: Server, host: string): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return `http://${host}:${(server.address() as AddressInfo).port}`;
}

function json(
  request: IncomingMessage,
  response: ServerResponse,
  value: unknown,
  headers: Record<string, string>,
  fault?: Fault,
): void {
  end(request, response, 200, { 'content-type': 'application/json', ...headers }, JSON.stringify(value), fault);
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  content: Uint8Array,
  headers: Record<string, string>,
  fault: Fault = {},
): void {
  if (fault.status !== undefined)
    return void end(request, response, fault.status, fault.headers ?? {}, fault.body ?? '', fault);
  const bytes = fault.content ?? content;
  const all = { ...headers, ...(fault.etag !== undefined && { etag: fault.etag }) };
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  if (first === undefined || fault.noRanges) return void end(request, response, 200, all, bytes, fault);
  if (Number(first) >= bytes.length)
    return void end(request, response, 416, { ...all, 'content-range': `bytes */${bytes.length}` }, '');
  const to = Math.min(last === '' ? bytes.length - 1 : Number(last), bytes.length - 1);
  const range = `bytes ${first}-${to}/${bytes.length}`;
  end(request, response, 206, { ...all, 'content-range': range }, bytes.subarray(Number(first), to + 1), fault);
}

async function end(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body: string | Uint8Array,
  { cutAfter, wait }: Fault = {},
): Promise<void> {
  if (wait !== undefined) await new Promise((resolve) => setTimeout(resolve, wait));
  const bytes = Buffer.from(body as Uint8Array);
  response.writeHead(status, { 'content-length': bytes.length, ...CORS, ...headers });
  if (request.method === 'HEAD') return void response.end();
  if (cutAfter === undefined || cutAfter >= bytes.length) return void response.end(bytes);
  response.write(bytes.subarray(0, cutAfter), () => request.socket.destroy());
}
