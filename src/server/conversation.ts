// A conversation that is to be gone on with: messages as the template takes them, and the model's turn taken apart into thoughts, text
// and calls.

import { list, text } from '../check.ts';
import { show } from '../excerpt.ts';
import type { Message } from '../text/chat.ts';
import { isRecord } from '../text/files.ts';
import type { Model } from '../text/textmodel.ts';
import { closingMark, hasSpecialMarks, openingOf, thinkingFilter } from '../text/thinking.ts';
import { type Common, record } from './body.ts';
import {
  checkCharacters,
  type Delta,
  generationSettings,
  mostCharacters,
  mostTokens,
  roomFor,
  type Turn,
  type Ways,
} from './dialect.ts';
import { HttpError, refused } from './errors.ts';
import { LIMITS } from './limits.ts';
import { type GenerationSettings, generatePieces, type TokenChance } from './run.ts';
import { type Constraint, constraintOf, thoughtConstraint } from './structured/constraint.ts';
import { checkedSchema, type JsonSchema } from './structured/schema.ts';
import {
  type Choice,
  callFilter,
  hasSpecialCalls,
  promptWithTools,
  type Tool,
  toolConstraint,
} from './structured/tools.ts';

/** What is asked of a conversation. */
export interface Asked {
  /** The conversation so far, as the template takes it. */
  readonly messages: readonly Message[];
  /** Functions that may be called. */
  readonly tools: readonly Tool[];
  /** Which of them may, or must, be called. */
  readonly choice: Choice;
  /** Whether one turn may have several calls. */
  readonly isParallel: boolean;
  /** What the answer must be, where it must be JSON. */
  readonly schema: JsonSchema | undefined;
  /** Most tokens of the answer; undefined for what the context has room for. */
  readonly maxTokens: number | undefined;
  /** Alternatives that are told with each token, 0 for the token alone; undefined for no probabilities. */
  readonly logprobs: number | undefined;
  /** Further values for the chat template. */
  readonly values: Readonly<Record<string, unknown>>;
  /** What the messages are called in errors. */
  readonly param: string;
}

/** A conversation that suits its model. */
interface Prepared {
  readonly promptIds: readonly number[];
  readonly prompt: string;
  readonly settings: GenerationSettings;
  readonly tools: readonly Tool[];
  readonly isParallel: boolean;
}

/** Reads `messages`. */
export function messagesFrom(value: unknown): Message[] {
  const messages = list(record, LIMITS.values)('messages', value);
  if (messages.length === 0) throw refused('messages must have at least one message: got none', 'messages');
  return messages.map((given, i) => {
    const subject = `messages[${i}]`;
    const role = text(`${subject}.role`, given.role);
    const message: Message = {
      role: role === 'developer' ? 'system' : role,
      content: contentFrom(`${subject}.content`, given.content),
    };
    if (role === 'tool' || role === 'function') {
      Object.assign(message, { role: 'tool', ...fieldsOf(given, ['name', 'tool_call_id']) });
    }
    if (role === 'assistant') {
      Object.assign(message, fieldsOf(given, ['reasoning_content']));
      if (given.tool_calls != null) message.tool_calls = callsFrom(`${subject}.tool_calls`, given.tool_calls);
    }
    return message;
  });
}

const fieldsOf = (given: Record<string, unknown>, names: readonly string[]) =>
  Object.fromEntries(names.filter((name) => typeof given[name] === 'string').map((name) => [name, given[name]]));

/** A content: text, or parts of text. */
export function contentFrom(subject: string, value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  return list(record, LIMITS.values)(subject, value)
    .map((part, i) => {
      const { type } = part;
      if (type === 'text' || type === 'input_text' || type === 'output_text')
        return text(`${subject}[${i}].text`, part.text);
      if (type === 'refusal') return text(`${subject}[${i}].refusal`, part.refusal);
      throw refused(`${subject}[${i}].type must be text: this model reads nothing else, got ${show(type)}`, subject);
    })
    .join('');
}

// Templates write arguments out themselves: they take an object.
function callsFrom(subject: string, value: unknown): unknown[] {
  return list(record, LIMITS.tools)(subject, value).map((call, i) => {
    const given = record(`${subject}[${i}].function`, call.function);
    return {
      ...fieldsOf(call, ['id']),
      type: 'function',
      function: { name: text(`${subject}[${i}].function.name`, given.name), arguments: callArguments(given.arguments) },
    };
  });
}

/** Arguments of a call as an object, where they are one. */
export function callArguments(value: unknown): unknown {
  if (typeof value !== 'string') return value ?? {};
  try {
    const parsed: unknown = JSON.parse(value);
    return isRecord(parsed) ? parsed : value;
  } catch {
    return value;
  }
}

/** Reads `response_format`, or `text.format`: the schema of the answer, if it has one. */
export function schemaFrom(
  param: string,
  value: unknown,
  tools: readonly Tool[] = [],
  choice: Choice = 'none',
): JsonSchema | undefined {
  if (value === undefined || value === null) return undefined;
  const format = record(param, value);
  if (format.type === 'text') return undefined;
  if (tools.length > 0 && choice !== 'none')
    throw refused(`${param} must be left out beside tools, unless tool_choice is none: a call has another form`, param);
  if (format.type === 'json_object')
    return format.schema ? checkedSchema(`${param}.schema`, format.schema, false) : { type: 'object' };
  if (format.type !== 'json_schema') {
    throw refused(`${param}.type must be text, json_object or json_schema: got ${show(format.type)}`, param);
  }
  const inner = format.json_schema === undefined ? format : record(`${param}.json_schema`, format.json_schema);
  const subject = inner === format ? `${param}.schema` : `${param}.json_schema.schema`;
  return checkedSchema(subject, inner.schema ?? {}, inner.strict !== false);
}

/** Makes a prompt of a conversation. @throws {HttpError} 400 when it does not fit, or the model has no template */
export function preparePrompt(model: Model, request: Common, asked: Asked, ways: Ways): Prepared {
  const tools = asked.choice === 'none' ? [] : asked.tools;
  const { messages, values } = promptWithTools(model, asked.messages, tools);
  const write = (some: readonly Message[]) => written(model, some, { ...asked.values, ...values }, asked.param);
  const idsOf = (text: string) => model.tokenizer.encode(text, { special: false });
  const prompt = ways.contextShift ? shortened(messages, write, (text) => fits(model, text)) : write(messages);
  checkCharacters(model, prompt, asked.param);
  const promptIds = idsOf(prompt);
  const room = roomFor(model, promptIds, asked.param);
  const called = toolConstraint(model, tools, asked.choice, asked.isParallel);
  const constraint = called ?? schemaConstraint(model, asked.schema, openingOf(prompt));
  // A text that a thought comes first in is constrained behind it; with tools that may be called, it is free until a call anyway.
  const isFree = called !== undefined && asked.choice === 'auto';
  const close = isFree ? undefined : closingMark(prompt);
  const { idOf } = model.tokenizer;
  const special = hasSpecialMarks(idOf) || (tools.length > 0 && hasSpecialCalls(model));
  const settings = generationSettings(model, request, {
    maxTokens: mostTokens(model, asked.maxTokens, room, ways.contextShift),
    contextShift: ways.contextShift,
    logprobs: asked.logprobs,
    special,
    constraint: constraint && close !== undefined ? () => thoughtConstraint(model, close, constraint) : constraint,
  });
  return { promptIds, prompt, settings, tools, isParallel: asked.isParallel };
}

function schemaConstraint(
  model: Model,
  schema: JsonSchema | undefined,
  opening: string,
): (() => Constraint) | undefined {
  if (schema === undefined) return undefined;
  return () => constraintOf(model, opening === '' ? [{ schema }] : [{ literal: opening }, { schema }]);
}

// A template's faults are of the request's values, as far as a template that was parsed can have them; where its file lies is no one's business.
function written(
  model: Model,
  messages: readonly Message[],
  values: Readonly<Record<string, unknown>>,
  param: string,
): string {
  try {
    return model.chatTemplate.render(messages, { values });
  } catch (error) {
    const { name, message, file } = error as { name: string; message: string; file?: string };
    if (name !== 'FormatError') throw error;
    const words =
      file !== undefined && message.startsWith(file) ? message.slice(file.length).replace(/^\W+/, '') : message;
    const [, fault] = /^chat template must run: (.*)/s.exec(words) ?? [];
    if (fault === undefined) throw new HttpError(503, words);
    throw refused(`${param} must suit the chat template: ${fault}`, param);
  }
}

const fits = (model: Model, text: string) =>
  text.length <= mostCharacters(model) &&
  model.tokenizer.encode(text, { special: false }).length <= model.config.contextLength;

// The longest end of a conversation that fits, else the shortest one: its oldest turns are left out. What the system said stays, and so does
// the last message. Each turn less is shorter: half of what is left is asked for at a time.
function shortened(
  messages: readonly Message[],
  write: (messages: readonly Message[]) => string,
  fits: (text: string) => boolean,
): string {
  const whole = write(messages);
  if (fits(whole)) return whole;
  const begin = messages.filter(({ role }) => role === 'system');
  const rest = messages.filter(({ role }) => role !== 'system');
  const firsts = rest.flatMap(({ role }, i) => (i > 0 && role === 'user' ? [i] : []));
  let text = whole;
  let [low, high] = [0, firsts.length - 1];
  let isFound = false;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const shorter = write([...begin, ...rest.slice(firsts[middle])]);
    if (fits(shorter)) {
      [text, isFound] = [shorter, true];
      high = middle - 1;
    } else {
      if (!isFound) text = shorter;
      low = middle + 1;
    }
  }
  return text;
}

/** The model's turn, as it comes. */
export async function* turnOf(
  model: Model,
  { promptIds, prompt, settings, tools, isParallel }: Prepared,
  choice: number,
  signal: AbortSignal,
): AsyncGenerator<Delta, Turn, void> {
  const thinking = thinkingFilter(prompt);
  const calling = tools.length > 0 ? callFilter(model, tools, isParallel) : undefined;
  const all = { text: '', thought: '', tokens: [] as TokenChance[] };
  let waiting: TokenChance[] = []; // tokens whose text is held back

  const deltaOf = (parts: readonly { thinking: boolean; text: string }[]): Delta | undefined => {
    let [text, thought] = ['', ''];
    for (const part of parts) {
      if (part.thinking) thought += part.text;
      else text += calling ? calling.push(part.text) : part.text;
    }
    if (text === '' && thought === '') return undefined;
    const tokens = waiting;
    waiting = [];
    all.text += text;
    all.thought += thought;
    return { text, thought, tokens };
  };

  const generation = generatePieces(model, promptIds, settings, choice, signal);
  try {
    let next = await generation.next();
    while (!next.done) {
      waiting.push(...next.value.tokens);
      all.tokens.push(...next.value.tokens);
      const delta = deltaOf(thinking.push(next.value.text));
      if (delta) yield delta;
      next = await generation.next();
    }
    const generated = next.value;
    waiting.push(...generated.rest);
    all.tokens.push(...generated.rest);
    const delta = deltaOf(thinking.end());
    if (delta) yield delta;
    const ended = calling?.end() ?? { text: '', calls: [] };
    if (ended.text !== '' || waiting.length > 0) {
      all.text += ended.text;
      yield { text: ended.text, thought: '', tokens: waiting };
    }
    return { ...all, calls: ended.calls, generated };
  } finally {
    await generation.return(undefined as never);
  }
}
