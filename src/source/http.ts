// Bytes over HTTP: a URL read by range requests, so that a checkpoint streams from where it lies.

import { callback, classOf, integer, optionsOf, type Reader, reading, recordOf, signalOf, text } from '../check.ts';
import { FileError, FormatError, UnsupportedError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import { spanOf } from './given.ts';
import type { Source } from './source.ts';

/** Largest file, in bytes, that is held in memory whole because its server knows no range requests. */
const UNRANGED_LIMIT = 1 << 30;
/** How often a request is made that gets no byte, and what is waited for in between, in milliseconds: 0.5 s, 1 s, 2 s. */
const ATTEMPTS = 4;
const FIRST_WAIT = 500;
/** The same of a range of a file that is open, where hours of work may be lost: … 2 s, 4 s, 8 s, 8 s, 8 s. */
const RANGE_ATTEMPTS = 8;
const LAST_WAIT = 8000;
/** Most requests for one range, each of which got a part of it before it broke off. */
const PARTS_LIMIT = 100;
/** Longest wait that a server may ask for by Retry-After, and the time without a byte after which an answer counts as broken off, in ms. */
const LONGEST_WAIT = 60_000;
const STALLED = 60_000;
/** Longest time that a caller may ask for: timers take no more. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/** The `code` of a FileError where a web page was the answer: that of a server for addresses it does not know, or of a login. */
export const WEB_PAGE = 'text/html';

/** How files are read from a server. */
export interface HttpOptions {
  /** Headers of every request, such as `authorization`. */
  headers?: Readonly<Record<string, string>>;
  /** Aborts requests under way. */
  signal?: AbortSignal;
  /** Milliseconds without a byte after which an answer counts as broken off and is asked for again; 60 000 if left out. */
  timeout?: number;
  /** The function to fetch with; the runtime's if left out. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** Headers of a request: servers refuse more. */
const HEADERS_LIMIT = 1000;
const headersOf = recordOf(text, HEADERS_LIMIT);

/** Milliseconds without a byte. */
export const timeoutOf: Reader<number> = integer(1, LONGEST_TIMEOUT);

/** Options of requests, as a caller gives them. */
export const httpOptions = optionsOf<HttpOptions>({
  headers: (subject, value) => Object.fromEntries(headersOf(subject, value)),
  signal: signalOf,
  timeout: timeoutOf,
  fetch: callback,
});

/** A URL, or its text: as text. */
export const urlOf: Reader<string> = (subject, value) => {
  const address = text(subject, classOf(subject, value) === 'URL' ? reading(subject, () => String(value)) : value);
  if (URL.canParse(address)) return address;
  throw new RangeError(`${subject} must be a whole URL, such as https://example.org/model/: got ${show(address)}`);
};

/** A token, as it stands in a header. It is a secret, and so not shown. */
export const tokenOf: Reader<string> = (subject, value) => {
  const token = text(subject, value);
  if (/^[\x21-\x7e]{1,1000}$/.test(token)) return token;
  throw new RangeError(
    `${subject} must be one word of printable ASCII, at most 1000 characters: got other characters or lengths`,
  );
};
/**
 * A URL as a source. One request tells its size; then every slice is a range request. From a server that knows none, the
 * whole file is read now, up to UNRANGED_LIMIT bytes. Requests that fail on the way, or with 429 or 5xx, are made again.
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

/** What else the house says of requests. */
export interface Requests extends HttpOptions {
  /** What messages call the file; its address if left out. */
  readonly subject?: string;
  /** How often a request is made that gets nothing; ATTEMPTS if left out. */
  readonly attempts?: number;
  /** What a refusal means, where more than its status is known. */
  explain?(response: Response): string | undefined;
  /** Sees every answer that is not a refusal. @throws what ends the request */
  inspect?(response: Response): void;
}

/** As `urlSource`, of what was checked already. */
export async function openUrl(address: string, options: Requests): Promise<Source> {
  const place: Address = { path: address };
  const path = options.subject ?? address;
  const first = await request(
    place,
    () => 'bytes=0-0',
    options,
    async (response) => {
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
    },
  );
  if (first instanceof ArrayBuffer) return first;
  const { byteLength, tag } = first;
  return {
    byteLength,
    slice: async (first, last, spare) => {
      const [start, end] = spanOf(first, last, byteLength, path);
      if (start === end) return new ArrayBuffer(0);
      const bytes = new Uint8Array(spare?.byteLength === end - start ? spare : new ArrayBuffer(end - start));
      let filled = 0; // what an answer gave before it broke off is not asked for again
      const range = () => `bytes=${start + filled}-${end - 1}`;
      return request(place, range, { attempts: RANGE_ATTEMPTS, ...options }, async (response, alive) => {
        if (response.status !== 206 || tagOf(response) !== tag || sizeOf(response, path) !== byteLength) {
          await response.body?.cancel();
          const message = 'file must stay as it is while it is read: the server has another one now';
          throw new FormatError(message, { file: path });
        }
        if (!response.headers.get('content-range')?.startsWith(`bytes ${start + filled}-`)) {
          const message = `server must give the bytes from ${start + filled}: it gives others`;
          throw new FormatError(message, { file: path });
        }
        const left = end - start - filled;
        const fits = await readUpTo(response, left, (part) => {
          bytes.set(part, filled);
          filled += part.length;
          alive();
        });
        if (!fits) {
          const message = `server must give the ${left} bytes asked for: it gives more`;
          throw new FormatError(message, { file: path });
        }
        if (start + filled < end) throw new Error('the answer broke off');
        return bytes.buffer;
      });
    },
  };
}

/** Reads a whole file, of at most `limit` bytes. @throws as `urlSource`, and FormatError when it has more */
export async function readUrl(address: string, limit: number, options: Requests): Promise<ArrayBuffer> {
  const path = options.subject ?? address;
  return request(
    { path: address },
    () => undefined,
    options,
    async (response, alive) => {
      if (response.headers.get('content-type')?.startsWith(WEB_PAGE)) {
        await response.body?.cancel();
        throw pageError(path);
      }
      const parts: Uint8Array<ArrayBuffer>[] = [];
      const take = (part: Uint8Array<ArrayBuffer>) => {
        parts.push(part);
        alive();
      };
      if (await readUpTo(response, limit, take)) return new Blob(parts).arrayBuffer();
      throw new FormatError(`answer must have at most ${limit} bytes: it has more`, { file: path });
    },
  );
}

function pageError(path: string): FileError {
  return new FileError('read', path, WEB_PAGE, 'the server answers with a web page, not with the file');
}

// By its first characters, for servers that tell no type.
function isPage(bytes: ArrayBuffer): boolean {
  const first = new TextDecoder().decode(new Uint8Array(bytes, 0, Math.min(bytes.byteLength, 64)));
  return /^\s*<(!doctype html|html)\b/i.test(first);
}

// An address, and where its server sent us: there the next range is asked for, without what the caller's headers say.
interface Address {
  readonly path: string;
  elsewhere?: string | undefined;
}

// Reads a response that is 200, 206, or 416 (to the first byte of an empty file); again, if it breaks off.
async function request<T>(
  place: Address,
  range: () => string | undefined,
  options: Requests,
  read: (response: Response, alive: () => void) => Promise<T>,
): Promise<T> {
  const { fetch = globalThis.fetch, signal, timeout = STALLED, attempts = ATTEMPTS } = options;
  const { explain, inspect, subject = place.path } = options;
  for (let attempt = 1, parts = 1; ; attempt++, parts++) {
    let reason: FileError;
    let wait = Math.min(FIRST_WAIT * 2 ** (attempt - 1), LAST_WAIT);
    const watch = watchAnswer(signal, timeout);
    const { elsewhere } = place;
    let isBegun = false;
    try {
      const asked = range();
      const headers = { ...(elsewhere === undefined && options.headers), ...(asked !== undefined && { range: asked }) };
      const response = await fetch(elsewhere ?? place.path, { headers, signal: watch.signal });
      if (typeof response?.headers?.get !== 'function' || typeof response.arrayBuffer !== 'function')
        throw new FormatError(`fetch must return a Response: got ${show(response)}`, { file: subject });
      if ([200, 206, 416].includes(response.status)) {
        inspect?.(response);
        place.elsewhere = elsewhere ?? sentTo(response, place.path);
        return await read(response, () => {
          isBegun = true;
          watch.alive();
        });
      }
      await response.body?.cancel();
      reason = new FileError(
        'read',
        subject,
        String(response.status),
        (explain?.(response) ?? excerpt(response.statusText)) || 'the server refuses',
      );
      wait = Math.max(wait, waitOf(response));
      // What it was sent to may be good for a time only.
      if (elsewhere !== undefined && response.status < 500 && response.status !== 429) {
        place.elsewhere = undefined;
        wait = 0;
      } else if (response.status !== 429 && response.status < 500) throw reason;
    } catch (error) {
      const isFinal = [FileError, FormatError, UnsupportedError].some((type) => error instanceof type);
      if (isFinal || signal?.aborted) throw error;
      reason = new FileError(
        'read',
        subject,
        undefined,
        `no answer: ${watch.isStalled() ? `nothing came for ${timeout / 1000} s` : faultOf(error)}`,
      );
      if (isBegun && parts < PARTS_LIMIT) {
        attempt = 0;
        wait = FIRST_WAIT;
      }
    } finally {
      watch.end();
    }
    if (attempt >= attempts) throw reason;
    await pause(wait, signal);
  }
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener('abort', end);
  });
  signal?.throwIfAborted();
}

function faultOf(error: unknown): string {
  if (!(error instanceof Error)) return show(error);
  const { cause } = error; // `fetch failed` says nothing; what it was caused by does
  return excerpt(cause instanceof Error && cause.message !== '' ? cause.message : error.message);
}

// A signal that also aborts when nothing comes for so many milliseconds.
function watchAnswer(signal: AbortSignal | undefined, timeout: number) {
  const controller = new AbortController();
  const abort = () => controller.abort(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  let isStalled = false;
  const start = () =>
    setTimeout(() => {
      isStalled = true;
      controller.abort();
    }, timeout);
  let timer = start();
  return {
    signal: controller.signal,
    isStalled: () => isStalled,
    alive() {
      clearTimeout(timer);
      timer = start();
    },
    end() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    },
  };
}

// Where a redirect led, if to another server: hubs keep large files at one.
function sentTo(response: Response, path: string): string | undefined {
  const { redirected, url } = response;
  if (!redirected || typeof url !== 'string' || !URL.canParse(url)) return undefined;
  return new URL(url).origin === new URL(path).origin ? undefined : url;
}

// The milliseconds that a server asks to wait.
function waitOf(response: Response): number {
  const seconds = Number(/^\d{1,6}$/.exec(response.headers.get('retry-after') ?? '')?.[0] ?? 0);
  return Math.min(seconds * 1000, LONGEST_WAIT);
}

function sizeOf(response: Response, path: string): number {
  const range = response.headers.get('content-range');
  const size = Number(/^bytes (?:\d+-\d+|\*)\/(\d+)$/.exec(range ?? '')?.[1]);
  if (!Number.isSafeInteger(size)) {
    throw new FormatError(`content-range must state the size of the file: got ${show(range)}`, { file: path });
  }
  return size;
}

// What changes when the file does, as far as the server says.
function tagOf(response: Response): string | null {
  return response.headers.get('etag') ?? response.headers.get('last-modified');
}

async function readWhole(response: Response, path: string): Promise<ArrayBuffer> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  if (await readUpTo(response, UNRANGED_LIMIT, (part) => parts.push(part))) return new Blob(parts).arrayBuffer();
  const message = `server must know range requests for files above ${UNRANGED_LIMIT} bytes: it does not; download the file first`;
  throw new UnsupportedError('range requests', message, { file: path });
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
