// Who may ask. A page of a stranger in the user's browser reaches a server on the same machine: by a name that its own server makes mean
// 127.0.0.1, or by a request whose answer it cannot read. So the Host must be a name that is the server's, or an address, and the Origin, if
// there is one, one that was allowed. A key is compared in constant time.

import type { MiddlewareHandler } from 'hono';
import { excerpt } from '../excerpt.ts';
import { errorResponse, HttpError } from './errors.ts';

interface GuardOptions {
  readonly origins: readonly string[];
  readonly hosts: readonly string[];
}

const LOCAL = new Set(['localhost', 'ip6-localhost', 'host.docker.internal']);
const ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|\[[\da-f:.]+\])$/i;

/** Refuses hosts and origins that are not the server's. */
export function guard({ origins, hosts }: GuardOptions): MiddlewareHandler {
  const names = new Set(hosts.map((host) => host.toLowerCase()));
  return async (c, next) => {
    const url = new URL(c.req.url);
    const host = (c.req.header('host') ?? url.host).toLowerCase();
    const name = host.replace(/:\d+$/, '');
    if (!LOCAL.has(name) && !ADDRESS.test(name) && !names.has(name) && !name.endsWith('.localhost')) {
      const message = `host must be localhost, an address, or one that the server was told of: got ${JSON.stringify(excerpt(name))}`;
      return errorResponse(new HttpError(403, message, { code: 'host_not_allowed' }));
    }
    const origin = c.req.header('origin');
    const isOwn =
      origin === undefined || /^https?:\/\//.test(origin) ? origin?.replace(/^https?:\/\//, '') === host : false;
    if (origin !== undefined && !isOwn && !origins.includes('*') && !origins.includes(origin)) {
      const message = `origin must be one that the server allows: got ${JSON.stringify(excerpt(origin))}`;
      return errorResponse(new HttpError(403, message, { code: 'origin_not_allowed' }));
    }
    await next();
  };
}

/** Refuses whoever has not the key. */
export function keyGuard(key: string): MiddlewareHandler {
  const digest = digestOf(key);
  return async (c, next) => {
    const isOpen = c.req.path === '/health' || c.req.method === 'OPTIONS';
    if (!isOpen && !(await isSame(await digest, keyOf(c.req.header('authorization'))))) {
      return errorResponse(
        new HttpError(401, 'authorization must be Bearer and the key of this server', { code: 'invalid_api_key' }),
      );
    }
    await next();
  };
}

const keyOf = (header: string | undefined): string => /^Bearer\s+(.+)$/i.exec(header ?? '')?.[1] ?? '';

async function digestOf(key: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(key)));
}

// All bytes of the digests are compared, whatever was given.
async function isSame(wanted: Uint8Array, given: string): Promise<boolean> {
  const digest = await digestOf(given);
  let difference = 0;
  for (let i = 0; i < wanted.length; i++) difference |= wanted[i] ^ digest[i];
  return difference === 0;
}
