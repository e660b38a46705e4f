// POST /v1/responses, its subset of text: input, instructions, functions, formats, and the events of its streams. Nothing is stored:
// a conversation is given whole. https://platform.openai.com/docs/api-reference/responses

import { flag, list, type Schema, text } from '../check.ts';
import { show } from '../excerpt.ts';
import type { Message } from '../text/chat.ts';
import { isRecord } from '../text/files.ts';
import type { Model } from '../text/textmodel.ts';
import { type Common, commonMembers, membersOf, record, tokenCount } from './body.ts';
import { callArguments, contentFrom, preparePrompt, schemaFrom, turnOf } from './conversation.ts';
import { type Dialect, newId, seconds, type Turn, usageOf, type Ways } from './dialect.ts';
import { refused } from './errors.ts';
import type { ServerEvent } from './events.ts';
import { LIMITS } from './limits.ts';
import { choiceFrom, toolsFrom } from './structured/tools.ts';

interface ResponsesRequest extends Common {
  max_output_tokens?: number;
  instructions?: string;
  parallel_tool_calls?: boolean;
  background?: boolean;
  metadata?: Record<string, unknown>;
}

const members: Schema<ResponsesRequest> = {
  ...commonMembers,
  max_output_tokens: tokenCount,
  instructions: text,
  parallel_tool_calls: flag,
  background: flag,
  metadata: record,
};
const read = membersOf<ResponsesRequest>(members);

/** Reads a request. @returns how it is answered by a model */
export function responsesRequest(body: Record<string, unknown>): {
  common: Common;
  open: (model: Model, ways: Ways) => Dialect;
} {
  const request = read(body);
  for (const name of ['previous_response_id', 'conversation', 'prompt']) {
    if (body[name] !== undefined)
      throw refused(`${name} must be left out: this server stores nothing; give the whole input`, name);
  }
  if (request.background) throw refused('background must be false: this server stores nothing', 'background');
  const messages = inputFrom(body.input);
  if (request.instructions !== undefined) messages.unshift({ role: 'system', content: request.instructions });
  const tools = body.tools === undefined ? [] : toolsFrom(body.tools);
  const choice = choiceFrom(body.tool_choice, tools);
  const format = body.text === undefined ? undefined : record('text', body.text).format;
  const schema = schemaFrom('text.format', format, tools, choice);
  const asked = {
    ...{ messages, tools, choice, schema, param: 'input', values: {} },
    isParallel: request.parallel_tool_calls ?? true,
    maxTokens: request.max_output_tokens,
    logprobs: undefined,
  };
  return {
    common: { ...request, n: 1 },
    open: (model, ways) => dialect(model, ways.name, body, request, preparePrompt(model, request, asked, ways)),
  };
}

const callIdOf = (subject: string, value: unknown): string =>
  value === undefined || value === null ? '' : text(`${subject}.call_id`, value);

// A text, or items: messages, calls, and what they gave.
function inputFrom(value: unknown): Message[] {
  if (typeof value === 'string') return [{ role: 'user', content: value }];
  const messages: Message[] = [];
  for (const [i, item] of list(record, LIMITS.values)('input', value).entries()) {
    const subject = `input[${i}]`;
    const { type = 'message' } = item;
    if (type === 'message') {
      const role = text(`${subject}.role`, item.role);
      messages.push({
        role: role === 'developer' ? 'system' : role,
        content: contentFrom(`${subject}.content`, item.content),
      });
    } else if (type === 'function_call') {
      const name = text(`${subject}.name`, item.name);
      const call = {
        id: callIdOf(subject, item.call_id),
        type: 'function',
        function: { name, arguments: callArguments(item.arguments) },
      };
      const before = messages.at(-1);
      if (before?.role === 'assistant' && Array.isArray(before.tool_calls)) before.tool_calls.push(call);
      else messages.push({ role: 'assistant', content: '', tool_calls: [call] });
    } else if (type === 'function_call_output') {
      messages.push({
        role: 'tool',
        content: contentFrom(`${subject}.output`, item.output),
        tool_call_id: callIdOf(subject, item.call_id),
      });
    } else if (type !== 'reasoning') {
      throw refused(
        `${subject}.type must be message, function_call or function_call_output: got ${show(type)}`,
        subject,
      );
    }
  }
  if (messages.length === 0) throw refused('input must have at least one message: got none', 'input');
  return messages;
}

function dialect(
  model: Model,
  name: string,
  body: Record<string, unknown>,
  request: ResponsesRequest,
  prepared: ReturnType<typeof preparePrompt>,
): Dialect {
  const id = newId('resp');
  const created = seconds();
  const message = newId('msg');
  let number = 0;
  let isOpen = false; // whether the message's item has been told
  const sampling = prepared.settings.sampling;

  const response = (status: string, output: readonly unknown[], more: object = {}) => ({
    ...{ id, object: 'response', created_at: created, status, error: null, incomplete_details: null },
    ...{ instructions: request.instructions ?? null, max_output_tokens: request.max_output_tokens ?? null },
    ...{ model: name, output, parallel_tool_calls: prepared.isParallel, previous_response_id: null },
    ...{ temperature: sampling.temperature, top_p: sampling.topP, store: false, usage: null },
    text: isRecord(body.text) ? body.text : { format: { type: 'text' } },
    ...{ tool_choice: body.tool_choice ?? 'auto', tools: body.tools ?? [], truncation: 'disabled' },
    metadata: request.metadata ?? {},
    ...more,
  });
  const event = (type: string, data: object): ServerEvent => ({
    event: type,
    data: { type, ...data, sequence_number: number++ },
  });
  const part = (text: string) => ({ type: 'output_text', text, annotations: [], logprobs: [] });
  const item = (status: string, content: readonly unknown[]) => ({
    id: message,
    type: 'message',
    status,
    role: 'assistant',
    content,
  });
  const place = { item_id: message, output_index: 0, content_index: 0 };

  const opening = (): ServerEvent[] => {
    if (isOpen) return [];
    isOpen = true;
    return [
      event('response.output_item.added', { output_index: 0, item: item('in_progress', []) }),
      event('response.content_part.added', { ...place, part: part('') }),
    ];
  };
  const hasMessage = ({ text, calls }: Turn) => text !== '' || calls.length === 0;
  const statusOf = ({ generated }: Turn) => (generated.finish === 'length' ? 'incomplete' : 'completed');
  const callIds = new WeakMap<object, { id: string; call_id: string }>();
  const callsOf = ({ calls }: Turn) =>
    calls.map((call) => {
      const ids = callIds.get(call) ?? { id: newId('fc'), call_id: newId('call') };
      callIds.set(call, ids);
      return { type: 'function_call', status: 'completed', ...ids, name: call.name, arguments: call.arguments };
    });
  const outputOf = (turn: Turn) => [
    ...(hasMessage(turn) ? [item(statusOf(turn), [part(turn.text)])] : []),
    ...callsOf(turn),
  ];
  const whole = (turn: Turn) => {
    const { prompt, completion, total, cached } = usageOf([turn]);
    return response(statusOf(turn), outputOf(turn), {
      ...(turn.generated.finish === 'length' && { incomplete_details: { reason: 'max_output_tokens' } }),
      usage: {
        ...{ input_tokens: prompt, input_tokens_details: { cached_tokens: cached } },
        ...{ output_tokens: completion, output_tokens_details: { reasoning_tokens: 0 }, total_tokens: total },
      },
    });
  };

  return {
    choices: 1,
    constraint: prepared.settings.constraint,
    run: (choice, signal) => turnOf(model, prepared, choice, signal),
    begin: () => [
      event('response.created', { response: response('in_progress', []) }),
      event('response.in_progress', { response: response('in_progress', []) }),
    ],
    delta: (_, { text }) =>
      text === '' ? [] : [...opening(), event('response.output_text.delta', { ...place, delta: text, logprobs: [] })],
    end(_, turn) {
      const events: ServerEvent[] = [];
      if (hasMessage(turn)) {
        events.push(
          ...opening(),
          event('response.output_text.done', { ...place, text: turn.text, logprobs: [] }),
          event('response.content_part.done', { ...place, part: part(turn.text) }),
          event('response.output_item.done', { output_index: 0, item: item(statusOf(turn), [part(turn.text)]) }),
        );
      }
      for (const [i, call] of callsOf(turn).entries()) {
        const output_index = i + (hasMessage(turn) ? 1 : 0);
        const position = { item_id: call.id, output_index };
        events.push(
          event('response.output_item.added', {
            output_index,
            item: { ...call, status: 'in_progress', arguments: '' },
          }),
          event('response.function_call_arguments.delta', { ...position, delta: call.arguments }),
          event('response.function_call_arguments.done', { ...position, name: call.name, arguments: call.arguments }),
          event('response.output_item.done', { output_index, item: call }),
        );
      }
      return events;
    },
    finish: ([turn]) => [
      event(turn.generated.finish === 'length' ? 'response.incomplete' : 'response.completed', {
        response: whole(turn),
      }),
    ],
    whole: ([turn]) => whole(turn),
  };
}
