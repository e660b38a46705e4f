// What the three ways to ask for text have in common: choices that run, and what is told of each as events or as a whole.

import type { Model } from '../text/textmodel.ts';
import { type Common, samplingFrom } from './body.ts';
import { refused } from './errors.ts';
import type { ServerEvent } from './events.ts';
import { LIMITS } from './limits.ts';
import type { GeneratedText, GenerationSettings, TokenChance } from './run.ts';
import type { Constraint } from './structured/constraint.ts';
import type { Call } from './structured/tools.ts';

/** What a choice says next. */
export interface Delta {
  /** Text of the answer. */
  readonly text: string;
  /** Text of what the model thinks. */
  readonly thought: string;
  /** The tokens of both, with their chances. */
  readonly tokens: readonly TokenChance[];
}

/** What a choice said. */
export interface Turn {
  /** The answer. */
  readonly text: string;
  /** What the model thought before it. */
  readonly thought: string;
  /** Tools that it calls. */
  readonly calls: readonly Call[];
  /** All tokens, with their chances. */
  readonly tokens: readonly TokenChance[];
  /** How the text ended, and what it took. */
  readonly generated: GeneratedText;
}

/** A request that was read and suits its model, in the way that its client speaks. */
export interface Dialect {
  /** How many texts are asked for. */
  readonly choices: number;
  /** What the texts must be, tried once before anything is answered. */
  readonly constraint: (() => Constraint) | undefined;
  /** Makes a choice, piece by piece. */
  run(choice: number, signal: AbortSignal): AsyncGenerator<Delta, Turn, void>;
  /** Events of a stream: at its beginning, of a piece, at a choice's end, at its end. */
  begin(): ServerEvent[];
  /** Events of a piece. */
  delta(choice: number, delta: Delta): ServerEvent[];
  /** Events of a choice's end. */
  end(choice: number, turn: Turn): ServerEvent[];
  /** Events of the stream's end. */
  finish(turns: readonly Turn[]): ServerEvent[];
  /** Data that ends a stream. */
  readonly last?: string;
  /** The answer to a request without a stream. */
  whole(turns: readonly Turn[]): unknown;
}

/** How a server treats what is too long, and what it calls the model. */
export interface Ways {
  /** Whether the oldest part of a long prompt is left out. */
  readonly contextShift: boolean;
  /** The model's name: it stands in answers, whether the request has it or not. */
  readonly name: string;
}

/** Settings of a request, as all ways to ask have them. */
export function generationSettings(
  model: Model,
  request: Common,
  about: {
    maxTokens: number;
    contextShift: boolean;
    logprobs: number | undefined;
    special: boolean;
    constraint: (() => Constraint) | undefined;
  },
): GenerationSettings {
  const { vocabSize } = model.config;
  for (const id of request.logit_bias?.keys() ?? []) {
    if (id >= vocabSize) throw refused(`logit_bias must be for tokens below ${vocabSize}: got ${id}`, 'logit_bias');
  }
  return {
    sampling: samplingFrom(request, model.sampling),
    seed: request.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
    stop: request.stop ?? [],
    bias: request.logit_bias ?? new Map(),
    frequencyPenalty: request.frequency_penalty ?? 0,
    presencePenalty: request.presence_penalty ?? 0,
    ignoreEos: request.ignore_eos ?? false,
    ...about,
  };
}

const tooLong = (param: string, contextLength: number, has: string) =>
  refused(`${param} must fit the context of ${contextLength} tokens: it has ${has}`, param, 'context_length_exceeded');

/** Most characters of a prompt that are encoded: what is far too long is to be refused before it takes time. */
export const mostCharacters = ({ config }: Model): number => config.contextLength * LIMITS.charactersPerToken;

/** @throws {HttpError} 400 when a prompt is too long for any tokens to hold it */
export function checkCharacters(model: Model, prompt: string, param: string): void {
  if (prompt.length > mostCharacters(model))
    throw tooLong(param, model.config.contextLength, `${prompt.length} characters`);
}

/** Tokens that a text behind a prompt may have. @throws {HttpError} 400 when there is no room for the prompt */
export function roomFor(model: Model, promptIds: readonly number[], param: string): number {
  const { contextLength } = model.config;
  if (promptIds.length === 0) throw refused(`${param} must have at least one token: it is empty`, param);
  if (promptIds.length <= contextLength) return contextLength + 1 - promptIds.length;
  throw tooLong(param, contextLength, String(promptIds.length));
}

/**
 * Most tokens of a text, so that every text ends.
 * @param asked by the request
 * @param room that the context has behind the prompt
 */
export function mostTokens(model: Model, asked: number | undefined, room: number, contextShift: boolean): number {
  const most = contextShift ? model.config.contextLength * LIMITS.shiftedContexts : room;
  return Math.min(asked ?? room, most);
}

/**
 * Runs choices together: the first one alone until it has begun, so that the others copy its prompt from the cache.
 * @param ended called with what each choice said, also where the caller takes no more and it ends in the middle
 */
export async function* together(
  { choices, run }: Dialect,
  signal: AbortSignal,
  ended: (turn: Turn) => void,
): AsyncGenerator<{ choice: number } & ({ delta: Delta } | { turn: Turn }), Turn[], void> {
  const running = new Map<number, AsyncGenerator<Delta, Turn, void>>();
  const pending = new Map<number, Promise<{ choice: number; next: IteratorResult<Delta, Turn> }>>();
  const turns: Turn[] = [];
  const ask = (choice: number) => {
    const promise = running
      .get(choice)!
      .next()
      .then((next) => ({ choice, next }));
    promise.catch(() => {}); // it is raced
    pending.set(choice, promise);
  };
  // A signal for each, since hosts warn of many who listen to one.
  const aborts = Array.from({ length: choices }, () => new AbortController());
  const abort = () => {
    for (const each of aborts) each.abort(signal.reason);
  };
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  const open = (choice: number) => {
    running.set(choice, run(choice, aborts[choice].signal));
    ask(choice);
  };
  try {
    open(0);
    while (pending.size > 0) {
      const { choice, next } = await Promise.race(pending.values());
      for (let other = running.size; other < choices; other++) open(other);
      pending.delete(choice);
      if (next.done) {
        turns[choice] = next.value;
        ended(next.value);
        yield { choice, turn: next.value };
      } else {
        ask(choice); // the model goes on while the client reads
        yield { choice, delta: next.value };
      }
    }
    signal.throwIfAborted();
    return turns;
  } finally {
    signal.removeEventListener('abort', abort);
    abort();
    const ends = [...pending].map(async ([choice, promise]) => {
      let { next } = await promise;
      while (!next.done) next = await running.get(choice)!.next();
      ended(next.value);
    });
    await Promise.allSettled(ends);
  }
}

/** Tokens of a request's prompt and answers. */
export function usageOf(turns: readonly Turn[]) {
  const [first] = turns;
  const prompt = first.generated.promptIds.length;
  const completion = turns.reduce((sum, { generated }) => sum + generated.ids.length, 0);
  return { prompt, completion, total: prompt + completion, cached: first.generated.reused };
}

/** What an answer took, by the names of llama.cpp's server. */
export function timingsOf({ generated }: Turn) {
  const { promptIds, ids, reused, promptMs, generateMs } = generated;
  const rate = (count: number, ms: number) => (ms > 0 ? (count / ms) * 1000 : 0);
  const prompt = promptIds.length - reused;
  const next = Math.max(0, ids.length - 1); // the first one is the prompt's
  return {
    ...{ prompt_n: prompt, prompt_ms: promptMs, prompt_per_second: rate(prompt, promptMs), cache_n: reused },
    ...{ predicted_n: ids.length, predicted_ms: generateMs, predicted_per_second: rate(next, generateMs) },
  };
}

/** An id that no other answer has. */
export const newId = (prefix: string): string => `${prefix}-${crypto.randomUUID().replaceAll('-', '')}`;

/** Seconds since 1970. */
export const seconds = (): number => Math.floor(Date.now() / 1000);
