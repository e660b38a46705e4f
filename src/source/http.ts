// Bytes over HTTP: a URL read by range requests, so that a checkpoint streams from where it lies.

import { callback, classOf, options as optionsOf, type Reader, reading, recordOf, signal, text } from '../check.ts';
import { FileError, FormatError, UnsupportedError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import { spanOf } from './given.ts';
import type { Source } from './source.ts';

/** Largest file, in bytes, that is held in memory whole because its server knows no range requests. */
export const WHOLE_LIMIT = 1 << 30;
/** How often a request is made, and what is waited for in between, in milliseconds: 0.5 s, 1 s, 2 s. */
const ATTEMPTS = 4;
const FIRST_WAIT = 500;

/** The `code` of a FileError where a web page was the answer: that of a server for addresses it does not know, or of a login. */
export const WEB_PAGE = 'text/html';

export interface HttpOptions {
  /** Headers of every request, such as `authorization`. */
  headers?: Readonly<Record<string, string>>;
  /** Aborts requests under way. */
  signal?: AbortSignal;
  /** The function to fetch with; the runtime's if left out. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** Headers of a request: servers refuse more. */
const HEADERS_LIMIT = 1000;
const headersOf = recordOf(text, HEADERS_LIMIT);

/** Options of requests, as a caller gives them. */
export const httpOptions = optionsOf<HttpOptions>({
  headers: (subject, value) => Object.fromEntries(headersOf(subject, value)),
  signal,
  fetch: callback,
});

/** A URL, or its text: as text. */
export const urlOf: Reader<string> = (subject, value) => {
  const address = text(subject, classOf(subject, value) === 'URL' ? reading(subject, () => String(value)) : value);
  if (URL.canParse(address)) return address;
  throw new RangeError(`${subject} must be a whole URL, such as https://example.org/model/: got ${show(address)}`);
};

/**
 * A URL as a source. One request tells its size; then every slice is a range request. From a server that knows none, the
 * whole file is read now, up to WHOLE_LIMIT bytes. Requests that fail on the way, or with 429 or 5xx, are made again.
 * @throws {RangeError} when the URL is none
 * @throws {FileError} when the server refuses; `code` is its status, or WEB_PAGE when it answers with a page
 * @throws {UnsupportedError} `range requests` when the file is too large to be read whole
 * @throws {FormatError} of `slice`, when the file changed meanwhile
 * @example
 * const source = await urlSource('https://example.org/models/llama/model.safetensors');
 */
export async function urlSource(url: string | URL, options: HttpOptions = {}): Promise<Source> {
  return openUrl(urlOf('url', url), httpOptions('options', options));
}

/** As `urlSource`, of what was checked already. */
export async function openUrl(path: string, options: HttpOptions): Promise<Source> {
  const first = await request(path, { range: 'bytes=0-0' }, options, async (response) => {
    if (response.headers.get('content-type')?.startsWith(WEB_PAGE)) {
      await response.body?.cancel();
      throw pageError(path);
    }
    if (response.status === 200) {
      const whole = await readWhole(response, path);
      if (isPage(whole)) throw pageError(path);
      return whole;
    }
    await response.body?.cancel();
    return { byteLength: sizeOf(response, path), tag: tagOf(response) };
  });
  if (first instanceof ArrayBuffer) return first;
  const { byteLength, tag } = first;
  return {
    byteLength,
    slice: async (first, last) => {
      const [start, end] = spanOf(first, last, byteLength, path);
      if (start === end) return new ArrayBuffer(0);
      return request(path, { range: `bytes=${start}-${end - 1}` }, options, async (response) => {
        if (response.status === 206 && tagOf(response) === tag && sizeOf(response, path) === byteLength) {
          return readPart(response, path, end - start);
        }
        await response.body?.cancel();
        const message = 'file must stay as it is while it is read: the server has another one now';
        throw new FormatError(message, { file: path });
      });
    },
  };
}

function pageError(path: string): FileError {
  return new FileError('read', path, WEB_PAGE, 'the server answers with a web page, not with the file');
}

// By its first characters, for servers that tell no type.
function isPage(bytes: ArrayBuffer): boolean {
  const first = new TextDecoder().decode(new Uint8Array(bytes, 0, Math.min(bytes.byteLength, 64)));
  return /^\s*<(!doctype html|html)\b/i.test(first);
}

// Reads a response that is 200, 206, or 416 (to the first byte of an empty file); again, if it breaks off.
async function request<T>(
  path: string,
  headers: Record<string, string>,
  options: HttpOptions,
  read: (response: Response) => Promise<T>,
): Promise<T> {
  const { fetch = globalThis.fetch, signal } = options;
  for (let attempt = 1; ; attempt++) {
    let reason: FileError;
    try {
      const response = await fetch(path, { headers: { ...options.headers, ...headers }, ...(signal && { signal }) });
      if (typeof response?.headers?.get !== 'function' || typeof response.arrayBuffer !== 'function')
        throw new FormatError(`fetch must give a Response: got ${show(response)}`, { file: path });
      if ([200, 206, 416].includes(response.status)) return await read(response);
      await response.body?.cancel();
      reason = new FileError(
        'read',
        path,
        String(response.status),
        excerpt(response.statusText) || 'the server refuses',
      );
      if (response.status !== 429 && response.status < 500) throw reason;
    } catch (error) {
      const isFinal = [FileError, FormatError, UnsupportedError].some((type) => error instanceof type);
      if (isFinal || signal?.aborted) throw error;
      reason = new FileError(
        'read',
        path,
        undefined,
        `no answer: ${error instanceof Error ? excerpt(error.message) : show(error)}`,
      );
    }
    if (attempt === ATTEMPTS) throw reason;
    await new Promise((resolve) => setTimeout(resolve, FIRST_WAIT * 2 ** (attempt - 1)));
    signal?.throwIfAborted();
  }
}

function sizeOf(response: Response, path: string): number {
  const range = response.headers.get('content-range');
  const size = Number(/^bytes (?:\d+-\d+|\*)\/(\d+)$/.exec(range ?? '')?.[1]);
  if (!Number.isSafeInteger(size)) {
    throw new FormatError(`content-range must tell the size of the file: got ${show(range)}`, { file: path });
  }
  return size;
}

// What changes when the file does, as far as the server says.
function tagOf(response: Response): string | null {
  return response.headers.get('etag') ?? response.headers.get('last-modified');
}

async function readWhole(response: Response, path: string): Promise<ArrayBuffer> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  if (await readUpTo(response, WHOLE_LIMIT, (part) => parts.push(part))) return new Blob(parts).arrayBuffer();
  const message = `server must know range requests for files above ${WHOLE_LIMIT} bytes: it does not`;
  throw new UnsupportedError('range requests', message, { file: path });
}

async function readPart(response: Response, path: string, byteLength: number): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(byteLength);
  let filled = 0;
  const put = (part: Uint8Array<ArrayBuffer>) => {
    bytes.set(part, filled);
    filled += part.length;
  };
  if (await readUpTo(response, byteLength, put))
    return filled === byteLength ? bytes.buffer : bytes.buffer.slice(0, filled);
  throw new FormatError(`server must give the ${byteLength} bytes asked for: it gives more`, { file: path });
}

// Gives the body out in parts; false where it has more than `limit` bytes, which are not read to their end.
async function readUpTo(
  response: Response,
  limit: number,
  take: (part: Uint8Array<ArrayBuffer>) => void,
): Promise<boolean> {
  const reader = response.body?.getReader();
  let byteLength = 0;
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    byteLength += part.value.length;
    if (byteLength > limit) {
      await reader?.cancel();
      return false;
    }
    take(part.value);
  }
  return true;
}
