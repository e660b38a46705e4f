// POST /v1/completions: text behind a prompt, without a template.

import { flag, givenIds, integer, list, type Schema, text } from '../check.ts';
import type { Model } from '../text/textmodel.ts';
import { type Common, commonMembers, membersOf } from './body.ts';
import { jsonLogprob } from './chat.ts';
import { schemaFrom } from './conversation.ts';
import {
  checkCharacters,
  type Delta,
  type Dialect,
  generationSettings,
  mostCharacters,
  mostTokens,
  newId,
  roomFor,
  seconds,
  type Turn,
  timingsOf,
  usageOf,
  type Ways,
} from './dialect.ts';
import { refused } from './errors.ts';
import type { ServerEvent } from './events.ts';
import { LIMITS } from './limits.ts';
import { generatePieces, promptChances, type TokenChance } from './run.ts';
import { constraintOf } from './structured/constraint.ts';
import type { JsonSchema } from './structured/schema.ts';

/** Tokens that are made unless a request says how many: the API's. */
const DEFAULT_TOKENS = 16;
/** Probabilities beside each token: the API's limit. */
const MOST_LOGPROBS = 5;

interface CompletionRequest extends Common {
  max_tokens?: number;
  logprobs?: number;
  echo?: boolean;
}

const members: Schema<CompletionRequest> = {
  ...commonMembers,
  max_tokens: integer(0),
  logprobs: integer(0, MOST_LOGPROBS),
  echo: flag,
};
const read = membersOf<CompletionRequest>(members);

/** A prompt as text or as ids. */
export type Prompt = string | number[];

/** Reads prompts: one or several, each a text or ids. */
export function promptsFrom(param: string, value: unknown): Prompt[] {
  if (typeof value === 'string') return [value];
  const isIds = (each: unknown): boolean =>
    Array.isArray(each) && each.length > 0 && each.every((id) => typeof id === 'number');
  if (isIds(value)) return [givenIds(param, value)];
  const prompts = list((subject, each) => (isIds(each) ? givenIds(subject, each) : text(subject, each)), LIMITS.inputs)(
    param,
    value,
  );
  if (prompts.length === 0) throw refused(`${param} must have at least one text: it is empty`, param);
  return prompts;
}

/** Ids of a prompt. @throws {HttpError} 400 when the vocabulary has not one of them */
export function promptIdsOf(model: Model, prompt: Prompt, param: string): number[] {
  if (typeof prompt === 'string') {
    checkCharacters(model, prompt, param);
    return model.tokenizer.encode(prompt);
  }
  const { vocabSize } = model.config;
  const wrong = prompt.find((id) => id >= vocabSize);
  if (wrong !== undefined) throw refused(`${param} must be token ids below ${vocabSize}: got ${wrong}`, param);
  return prompt;
}

/** Reads a request. @returns how it is answered by a model */
export function completionRequest(body: Record<string, unknown>): {
  common: Common;
  open: (model: Model, ways: Ways) => Dialect;
} {
  const request = read(body);
  const prompts = promptsFrom('prompt', body.prompt);
  if (body.suffix !== undefined && body.suffix !== '')
    throw refused('suffix must be left out: models here only continue a text', 'suffix');
  const count = prompts.length * (request.n ?? 1);
  if (count > LIMITS.choices)
    throw refused(`prompt and n must make at most ${LIMITS.choices} texts: got ${count}`, 'prompt');
  const schema = schemaFrom('response_format', body.response_format);
  return { common: { ...request, n: count }, open: (model, ways) => dialect(model, request, prompts, schema, ways) };
}

function dialect(
  model: Model,
  request: CompletionRequest,
  prompts: readonly Prompt[],
  schema: JsonSchema | undefined,
  { contextShift, name }: Ways,
): Dialect {
  const {
    n = 1,
    echo = false,
    max_tokens: asked = DEFAULT_TOKENS,
    stream_options: { include_usage = false } = {},
  } = request;
  const idsOfAll = prompts.map((prompt) => {
    const isText = typeof prompt === 'string';
    const ids = promptIdsOf(model, contextShift && isText ? prompt.slice(-mostCharacters(model)) : prompt, 'prompt');
    return contextShift ? endOf(model, ids, asked) : ids;
  });
  const rooms = idsOfAll.map((ids) => roomFor(model, ids, 'prompt'));
  const constraint = schema === undefined ? undefined : () => constraintOf(model, [{ schema }]);
  const settings = generationSettings(model, request, {
    ...{ maxTokens: 1, contextShift, logprobs: request.logprobs, special: false, constraint },
  });
  const texts = idsOfAll.map((ids, i) => (echo ? textOf(model, prompts[i], ids) : ''));
  const head = { id: newId('cmpl'), object: 'text_completion', created: seconds(), model: name };
  const offsets = new Map<number, number>();
  const promptOf = (choice: number) => Math.floor(choice / n);
  const chunk = (choices: readonly unknown[], more: object = {}): ServerEvent => ({
    data: { ...head, choices, ...(include_usage && { usage: null }), ...more },
  });

  // What an answer with `echo` begins with.
  async function echoed(choice: number, signal: AbortSignal): Promise<Delta> {
    const prompt = promptOf(choice);
    const { logprobs } = request;
    const tokens = logprobs === undefined ? [] : await promptChances(model, idsOfAll[prompt], logprobs, signal);
    return { text: texts[prompt], thought: '', tokens };
  }

  async function* runOne(choice: number, signal: AbortSignal): AsyncGenerator<Delta, Turn, void> {
    const promptIds = idsOfAll[promptOf(choice)];
    const all = { text: '', tokens: [] as TokenChance[] };
    if (echo) {
      const begin = await echoed(choice, signal);
      all.text = begin.text;
      all.tokens.push(...begin.tokens);
      yield begin;
    }
    if (asked === 0) {
      const nothing = {
        promptIds,
        ids: [],
        text: '',
        reused: 0,
        promptMs: 0,
        generateMs: 0,
        finish: 'length',
        rest: [],
      } as const;
      return { ...all, thought: '', calls: [], generated: nothing };
    }
    const maxTokens = mostTokens(model, asked, rooms[promptOf(choice)], contextShift);
    const generation = generatePieces(model, promptIds, { ...settings, maxTokens }, choice % n, signal);
    try {
      let next = await generation.next();
      while (!next.done) {
        all.text += next.value.text;
        all.tokens.push(...next.value.tokens);
        yield { ...next.value, thought: '' };
        next = await generation.next();
      }
      all.tokens.push(...next.value.rest);
      if (next.value.rest.length > 0) yield { text: '', thought: '', tokens: next.value.rest };
      return { ...all, thought: '', calls: [], generated: next.value };
    } finally {
      await generation.return(undefined as never);
    }
  }

  // The older way to write probabilities. @param first characters before
  const chances = (tokens: readonly TokenChance[], first: number) => {
    if (request.logprobs === undefined) return null;
    const names = tokens.map(({ id }) => model.tokenizer.decode([id], { special: true }));
    const starts = names.map((_, i) => first + names.slice(0, i).join('').length);
    const top = tokens.map((token) =>
      Object.fromEntries(
        token.top.map(({ id, logprob }) => [model.tokenizer.decode([id], { special: true }), jsonLogprob(logprob)]),
      ),
    );
    return {
      tokens: names,
      token_logprobs: tokens.map(({ logprob }) => (Number.isNaN(logprob) ? null : jsonLogprob(logprob))),
      top_logprobs: tokens.map(({ logprob }, i) => (Number.isNaN(logprob) ? null : top[i])),
      text_offset: starts,
    };
  };
  const finishOf = ({ generated }: Turn) => (generated.finish === 'length' ? 'length' : 'stop');

  return {
    choices: prompts.length * n,
    constraint,
    last: '[DONE]',
    run: runOne,
    begin: () => [],
    delta(index, { text, tokens }) {
      const offset = offsets.get(index) ?? 0;
      offsets.set(index, offset + text.length);
      return [
        chunk([{ index, text, logprobs: tokens.length > 0 ? chances(tokens, offset) : null, finish_reason: null }]),
      ];
    },
    end: (index, turn) => [chunk([{ index, text: '', logprobs: null, finish_reason: finishOf(turn) }])],
    finish: (turns) => (include_usage ? [chunk([], { usage: usage(turns, n) })] : []),
    whole: (turns) => ({
      ...head,
      choices: turns.map((turn, index) => ({
        index,
        text: turn.text,
        logprobs: chances(turn.tokens, 0),
        finish_reason: finishOf(turn),
      })),
      usage: usage(turns, n),
      timings: timingsOf(turns[0]),
    }),
  };
}

// The end of a prompt that is too long, behind the token that texts begin with. Room is left for what is to come, so far as half of the context
// allows.
function endOf({ config: { contextLength, bos } }: Model, ids: number[], asked: number): number[] {
  if (ids.length <= contextLength) return ids;
  const begin = ids[0] === bos ? [ids[0]] : [];
  const most = contextLength - Math.min(asked, contextLength >> 1);
  return [...begin, ...ids.slice(ids.length - most + begin.length)];
}

const textOf = (model: Model, prompt: Prompt, ids: readonly number[]) =>
  typeof prompt === 'string' ? prompt : model.tokenizer.decode(ids);

// Each prompt counts once, whatever is made of it.
function usage(turns: readonly Turn[], n: number) {
  const firsts = turns.filter((_, i) => i % n === 0);
  const prompt = firsts.reduce((sum, turn) => sum + usageOf([turn]).prompt, 0);
  const cached = firsts.reduce((sum, turn) => sum + usageOf([turn]).cached, 0);
  const completion = turns.reduce((sum, { generated }) => sum + generated.ids.length, 0);
  return {
    ...{ prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion },
    prompt_tokens_details: { cached_tokens: cached },
  };
}
