// Errors as clients of the OpenAI API know them: a status, and { error: { message, type, param, code } }.

import { oneLine } from '../excerpt.ts';

/** An answer that is an error. */
export class HttpError extends Error {
  override readonly name = 'HttpError';

  constructor(
    readonly status: number,
    message: string,
    readonly about: {
      readonly code?: string;
      readonly param?: string | undefined;
      readonly retryAfter?: number;
      /** Whether the connection ends with the answer: the rest of the request is not read. */
      readonly closes?: boolean;
    } = {},
  ) {
    super(message);
  }
}

/** A request that asks for what is not there. */
export function refused(message: string, param?: string, code?: string): HttpError {
  return new HttpError(400, message, { param, ...(code !== undefined && { code }) });
}

// Errors of ours that the request is to blame for. By name: other bundles have classes of their own.
const BLAMED = new Set(['RangeError', 'UnsupportedError']);

/** What a client is told of an error. What is no one's but ours is not told. */
export function httpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  const { name, message, reason } = error as { name?: unknown; message?: unknown; reason?: unknown };
  if (typeof message === 'string' && !/call stack/.test(message)) {
    if (BLAMED.has(String(name)) || (name === 'TypeError' && reason === 'argument'))
      return refused(message, paramOf(message));
    if (name === 'FileError' || name === 'FormatError' || name === 'StateError') return new HttpError(503, message);
  }
  return new HttpError(500, 'the server failed: its log says how');
}

// A message of ours begins with its subject.
function paramOf(message: string): string | undefined {
  return /^([a-z_]+(?:\[\d+\]|\.\w+)*) must /.exec(message)?.[1];
}

const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
  500: 'server_error',
  503: 'server_error',
};

/** The body of an error. */
export function errorBody({ status, message, about }: HttpError) {
  const { param = null, code = null } = about;
  return { error: { message: oneLine(message), type: TYPES[status] ?? 'invalid_request_error', param, code } };
}

/** An error as a response. */
export function errorResponse(error: HttpError): Response {
  const { retryAfter, closes = false } = error.about;
  const headers = {
    ...(retryAfter !== undefined && { 'retry-after': String(retryAfter) }),
    ...(closes && { connection: 'close' }),
  };
  return Response.json(errorBody(error), { status: error.status, headers });
}
