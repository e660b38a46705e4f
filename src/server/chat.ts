// POST /v1/chat/completions, as https://platform.openai.com/docs/api-reference/chat has it.

import { flag, integer, type Schema } from '../check.ts';
import type { Model } from '../text/textmodel.ts';
import { type Common, commonMembers, membersOf, record, tokenCount } from './body.ts';
import { messagesFrom, preparePrompt, schemaFrom, turnOf } from './conversation.ts';
import { type Dialect, newId, seconds, type Turn, timingsOf, usageOf, type Ways } from './dialect.ts';
import { refused } from './errors.ts';
import type { ServerEvent } from './events.ts';
import { LIMITS } from './limits.ts';
import type { TokenChance } from './run.ts';
import { choiceFrom, toolsFrom } from './structured/tools.ts';

interface ChatRequest extends Common {
  max_tokens?: number;
  max_completion_tokens?: number;
  logprobs?: boolean;
  top_logprobs?: number;
  parallel_tool_calls?: boolean;
  chat_template_kwargs?: Record<string, unknown>;
}

const members: Schema<ChatRequest> = {
  ...commonMembers,
  max_tokens: tokenCount,
  max_completion_tokens: tokenCount,
  logprobs: flag,
  top_logprobs: integer(0, LIMITS.logprobs),
  parallel_tool_calls: flag,
  chat_template_kwargs: record,
};
const read = membersOf<ChatRequest>(members);

/** Reads a request. @returns how it is answered by a model */
export function chatRequest(body: Record<string, unknown>): {
  common: Common;
  open: (model: Model, ways: Ways) => Dialect;
} {
  const request = read(body);
  const messages = messagesFrom(body.messages);
  const tools = body.tools === undefined ? [] : toolsFrom(body.tools);
  const choice = choiceFrom(body.tool_choice, tools);
  const schema = schemaFrom('response_format', body.response_format, tools, choice);
  if (request.top_logprobs !== undefined && !request.logprobs) {
    throw refused('top_logprobs must come with logprobs: true', 'top_logprobs');
  }
  const asked = {
    ...{ messages, tools, choice, schema, param: 'messages' },
    isParallel: request.parallel_tool_calls ?? true,
    maxTokens: request.max_completion_tokens ?? request.max_tokens,
    logprobs: request.logprobs ? (request.top_logprobs ?? 0) : undefined,
    values: request.chat_template_kwargs ?? {},
  };
  return {
    common: request,
    open: (model, ways) => dialect(model, ways.name, request, preparePrompt(model, request, asked, ways)),
  };
}

function dialect(
  model: Model,
  name: string,
  request: ChatRequest,
  prepared: ReturnType<typeof preparePrompt>,
): Dialect {
  const { n = 1, stream_options: { include_usage = false } = {} } = request;
  const id = newId('chatcmpl');
  const created = seconds();
  const head = (object: string) => ({ id, object, created, model: name, system_fingerprint: 'higgs-wasm' });
  const chunk = (choices: readonly unknown[], more: object = {}): ServerEvent => ({
    data: { ...head('chat.completion.chunk'), choices, ...(include_usage && { usage: null }), ...more },
  });
  const choiceOf = (index: number, delta: object, logprobs: unknown = null, finish_reason: string | null = null) => ({
    ...{ index, delta, logprobs, finish_reason },
  });
  const chances = (tokens: readonly TokenChance[]) =>
    request.logprobs ? { content: tokens.map((token) => chanceOf(model, token)), refusal: null } : null;

  return {
    choices: n,
    constraint: prepared.settings.constraint,
    last: '[DONE]',
    run: (choice, signal) => turnOf(model, prepared, choice, signal),
    begin: () => Array.from({ length: n }, (_, i) => chunk([choiceOf(i, { role: 'assistant', content: '' })])),
    delta: (choice, { text, thought, tokens }) => [
      chunk([
        choiceOf(
          choice,
          {
            ...(thought !== '' && { reasoning_content: thought }),
            ...((text !== '' || thought === '') && { content: text }),
          },
          tokens.length > 0 ? chances(tokens) : null,
        ),
      ]),
    ],
    end: (choice, turn) => [
      ...callsOf(turn).map((call, index) => chunk([choiceOf(choice, { tool_calls: [{ index, ...call }] })])),
      chunk([choiceOf(choice, {}, null, finishOf(turn))], choice === 0 ? { timings: timingsOf(turn) } : {}),
    ],
    finish: (turns) => (include_usage ? [chunk([], { usage: usage(turns) })] : []),
    whole: (turns) => ({
      ...head('chat.completion'),
      choices: turns.map((turn, index) => ({
        index,
        message: {
          role: 'assistant',
          content: turn.calls.length > 0 && turn.text === '' ? null : turn.text,
          ...(turn.thought !== '' && { reasoning_content: turn.thought }),
          ...(turn.calls.length > 0 && { tool_calls: callsOf(turn) }),
          refusal: null,
        },
        logprobs: chances(turn.tokens),
        finish_reason: finishOf(turn),
      })),
      usage: usage(turns),
      timings: timingsOf(turns[0]),
    }),
  };
}

const callsOf = ({ calls }: Turn) =>
  calls.map(({ name, arguments: given }) => ({
    id: newId('call'),
    type: 'function',
    function: { name, arguments: given },
  }));

const finishOf = ({ calls, generated }: Turn) =>
  calls.length > 0 ? 'tool_calls' : generated.finish === 'length' ? 'length' : 'stop';

function usage(turns: readonly Turn[]) {
  const { prompt, completion, total, cached } = usageOf(turns);
  return {
    ...{ prompt_tokens: prompt, completion_tokens: completion, total_tokens: total },
    prompt_tokens_details: { cached_tokens: cached },
  };
}

function chanceOf(model: Model, { id, logprob, top }: TokenChance) {
  const one = (id: number, logprob: number) => {
    const token = model.tokenizer.decode([id], { special: true });
    const bytes = model.tokenizer.bytes(id);
    return {
      token,
      logprob: jsonLogprob(logprob),
      bytes: [...(bytes.length > 0 ? bytes : new TextEncoder().encode(token))],
    };
  };
  return { ...one(id, logprob), top_logprobs: top.map((each) => one(each.id, each.logprob)) };
}

/** JSON has no −∞: a token without a probability has what the API writes for it. */
const IMPOSSIBLE = -9999;
/** A logarithm of a probability that JSON can hold. */
export const jsonLogprob = (logprob: number): number => (Number.isFinite(logprob) ? logprob : IMPOSSIBLE);
