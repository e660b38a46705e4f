// The body of a request: JSON within limits, then members of known kinds. Members that nobody reads are let by: clients send many.

import {
  anyNumber,
  flag,
  integer,
  list,
  number,
  object,
  type Reader,
  refuseKind,
  refuseValue,
  type Schema,
  text,
} from '../check.ts';
import { show } from '../excerpt.ts';
import { isRecord } from '../text/files.ts';
import type { SamplingOptions } from '../text/sample.ts';
import { HttpError, refused } from './errors.ts';
import { LIMITS, TIME_LIMITS } from './limits.ts';

/** Reads JSON of a request. @throws {HttpError} 400, 408, 413 */
export async function jsonBody(request: Request): Promise<Record<string, unknown>> {
  const bytes = await bodyBytes(request);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw refused('body must be JSON in UTF-8: it cannot be read');
  }
  if (!isRecord(value)) throw refused(`body must be a JSON object: got ${show(value)}`);
  checkShape(value);
  return withoutNulls(value);
}

async function bodyBytes(request: Request): Promise<Uint8Array> {
  const declared = Number(request.headers.get('content-length') ?? 0);
  const tooLarge = (closes: boolean) =>
    new HttpError(413, `body must have at most ${LIMITS.bodyBytes} bytes: it has more`, { closes });
  // The connection of a client that sends far too much is of no use any more.
  if (declared > LIMITS.unreadBytes) throw tooLarge(true);
  if (!request.body) return new Uint8Array();
  const slow = new HttpError(408, `body must arrive within ${TIME_LIMITS.body / 1000} s: it is incomplete`, {
    closes: true,
  });
  const reader = request.body.getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(slow), TIME_LIMITS.body);
  });
  late.catch(() => {});
  let parts: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) break;
      length += value.length;
      if (length > LIMITS.unreadBytes) throw tooLarge(true);
      // What is too large is read on, but not kept: a client takes its answer when it has sent all.
      if (length <= LIMITS.bodyBytes) parts.push(value);
      else parts = [];
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    if (error === slow && Math.max(declared, length) > LIMITS.bodyBytes) throw tooLarge(true);
    throw error instanceof HttpError ? error : refused('body must arrive whole: it broke off');
  } finally {
    clearTimeout(timer);
  }
  if (length > LIMITS.bodyBytes) throw tooLarge(false);
  return joined(parts, length);
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

// Depth and number of values, without recursion: what reads them afterwards may recurse.
function checkShape(value: unknown): void {
  let level: unknown[] = [value];
  let values = 0;
  for (let depth = 0; level.length > 0; depth++) {
    values += level.length;
    if (values > LIMITS.values) throw refused(`body must have at most ${LIMITS.values} values: it has more`);
    if (depth > LIMITS.depth) throw refused(`body must have at most ${LIMITS.depth} levels: it has more`);
    const next: unknown[] = [];
    for (const each of level) {
      if (typeof each === 'object' && each !== null) for (const member of Object.values(each)) next.push(member);
    }
    level = next;
  }
}

// Clients write null for what they leave out.
function withoutNulls(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null));
}

/** An object as JSON has it. */
export const record: Reader<Record<string, unknown>> = (subject, value) =>
  isRecord(value) ? value : refuseKind(subject, 'an object', value);

/** Text of at most so many bytes. */
const stopText: Reader<string> = (subject, value) => {
  const stop = text(subject, value);
  if (stop === '') refuseValue(subject, 'a text of at least one character', stop);
  return stop.length <= LIMITS.stopBytes ? stop : refuseValue(subject, `at most ${LIMITS.stopBytes} characters`, stop);
};
const stops = list(stopText, LIMITS.stops, 'a string or a list of strings');

const seedOf: Reader<number> = (subject, value) => {
  const seed = integer(-Number.MAX_SAFE_INTEGER)(subject, value);
  return seed >>> 0;
};

const biases: Reader<Map<number, number>> = (subject, value) => {
  const entries = Object.entries(record(subject, value));
  if (entries.length > LIMITS.biases) refuseValue(subject, `at most ${LIMITS.biases} tokens`, entries.length);
  return new Map(
    entries.map(([id, bias]) => {
      if (!/^\d{1,9}$/.test(id)) refuseValue(subject, 'biases by token id', id);
      return [Number(id), number(-100, 100)(`${subject}.${id}`, bias)];
    }),
  );
};

/** What every way to generate has. */
export interface Common {
  /** Name of the model; left out, the only one. */
  model?: string;
  /** Whether the answer comes as server-sent events. */
  stream?: boolean;
  /** With `include_usage` a last event counts tokens. */
  stream_options?: { include_usage?: boolean };
  /** Answers to one prompt, 1 to 16. */
  n?: number;
  /** Texts before which an answer ends, at most 16. */
  stop?: string[];
  /** Seed of the random choices, modulo 2^32. */
  seed?: number;
  /** Logits are divided by it, 0 to 100; 0 takes the most likely token. Left out, here and below, the model's own. */
  temperature?: number;
  /** Tokens are taken from among the fewest that have this probability together; 1 for all. */
  top_p?: number;
  /** Tokens are taken from among so many of the most likely; 0 for all. */
  top_k?: number;
  /** Least probability of a token, as a part of the most likely one's; 0 for all. */
  min_p?: number;
  /** What logits of tokens that occurred are divided by, or multiplied where they are negative; 1 for none. */
  repetition_penalty?: number;
  /** Taken from a token's logit for each time that it occurred in the answer, −2 to 2. */
  frequency_penalty?: number;
  /** Taken from the logit of each token that occurred in the answer, −2 to 2. */
  presence_penalty?: number;
  /** Added to logits, −100 to 100, by id. */
  logit_bias?: Map<number, number>;
  /** Whether an answer goes on where the model would end it. */
  ignore_eos?: boolean;
}

/** How members are read that every way to generate has. */
export const commonMembers: Schema<Common> = {
  model: text,
  stream: flag,
  stream_options: object<{ include_usage?: boolean }>('an object', { include_usage: flag }),
  n: integer(1, LIMITS.choices),
  stop: (subject, value) => (typeof value === 'string' ? [stopText(subject, value)] : stops(subject, value)),
  seed: seedOf,
  temperature: number(0, 100),
  // 0 is sent for "the most likely one alone".
  top_p: (subject, value) => Math.max(number(0, 1)(subject, value), Number.MIN_VALUE),
  top_k: (subject, value) => Math.max(0, integer(-1)(subject, value)), // -1 is sent for none
  min_p: number(0, 1),
  repetition_penalty: number(0, 100, true),
  frequency_penalty: number(-2, 2),
  presence_penalty: number(-2, 2),
  logit_bias: biases,
  ignore_eos: flag,
};

/** Reads the members that a schema names, of a body. */
export function membersOf<T extends object>(schema: Schema<T>): (body: Record<string, unknown>) => T {
  const read = object<T>('an object', schema);
  // Without "body." in front: clients know members by their own names.
  return (body) => {
    try {
      return read('body', body);
    } catch (error) {
      (error as Error).message = (error as Error).message.replace(/^(\w+ of )?body\./, '$1');
      throw error;
    }
  };
}

/** How tokens are chosen: as the request says, else as the model's author does, else as the API does. */
export function samplingFrom(request: Common, recommended: SamplingOptions): SamplingOptions {
  return {
    temperature: request.temperature ?? recommended.temperature ?? 1,
    topP: request.top_p ?? recommended.topP ?? 1,
    topK: request.top_k ?? recommended.topK ?? 0,
    minP: request.min_p ?? recommended.minP ?? 0,
    repetitionPenalty: request.repetition_penalty ?? recommended.repetitionPenalty ?? 1,
  };
}

/** A number of tokens that are to be made. */
export const tokenCount: Reader<number> = (subject, value) => integer(1)(subject, anyNumber(subject, value));
