// Calls of tools, in the words of the model's own chat template. How a call is written is found by having the template write one: JSON with a
// name and arguments behind a mark, alone or in a list, or a name, a mark and the arguments, or tags (tagged.ts). A model whose template knows no
// tools is told of them in the system message, and calls them as Hermes does.
// gpt-oss names the function in front of the channel, as its template does, or behind it:
//
//   to=functions.NAME<|channel|>commentary json<|message|>{…}      <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}

import { list, needed, object, oneOf, text } from '../../check.ts';
import { show } from '../../excerpt.ts';
import type { Message } from '../../text/chat.ts';
import { isRecord } from '../../text/files.ts';
import { longestBeginning } from '../../text/stop.ts';
import type { Model } from '../../text/textmodel.ts';
import { behindThought } from '../../text/thinking.ts';
import { record } from '../body.ts';
import { refused } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { type Constraint, constraintOf, markedConstraint, type TextPart } from './constraint.ts';
import { checkedSchema, type JsonSchema } from './schema.ts';
import { argumentsOf, type Tags, taggedCalls, tagsIn } from './tagged.ts';

/** A function that a model may call. */
export interface Tool {
  /** As the model has to write it. */
  readonly name: string;
  /** JSON schema of its arguments. */
  readonly schema: JsonSchema;
  /** As the request has it, for the template. */
  readonly given: Record<string, unknown>;
}

/** What the model calls. */
export interface Call {
  /** Name of the tool. */
  readonly name: string;
  /** JSON. */
  readonly arguments: string;
}

/** Which tools may, or must, be called. */
export type Choice = 'none' | 'auto' | 'required' | { readonly name: string };

/** How a template writes a call. */
interface Format {
  /** Whether the template tells the model of tools itself. */
  readonly isTold: boolean;
  readonly before: string;
  readonly after: string;
  /** Between a call's id and its name, where an id stands in front of the name. */
  readonly lead?: string;
  /** Keys of the JSON; undefined where the name stands in front of the arguments. */
  readonly keys: { readonly name: string; readonly arguments: string; readonly isList: boolean } | undefined;
  /** Between a name and its arguments, where there are no keys. */
  readonly between: string;
  /** Where arguments stand between tags. A call that is enforced is JSON all the same. */
  readonly tags?: Tags;
}

/** Channels of gpt-oss, in front of the mark, and what then stands between a name and its arguments. */
const CHANNELS = ['<|channel|>commentary ', '<|channel|>analysis '];
const BEHIND_CHANNEL = ' <|constrain|>json<|message|>';
const hasChannels = ({ between }: Format) => between.startsWith('<|channel|>');

const HERMES: Format = {
  isTold: false,
  before: '<tool_call>\n',
  after: '\n</tool_call>',
  keys: { name: 'name', arguments: 'arguments', isList: false },
  between: '',
};

const functionMembers = object<{ name: string; strict?: boolean }>('an object', {
  name: needed((subject, value) => {
    const name = text(subject, value);
    if (!/^[\w.-]{1,64}$/.test(name))
      throw refused(`${subject} must be 1 to 64 letters, digits, _ . and -: got ${show(name)}`, subject);
    return name;
  }),
  strict: (_, value) => value === true,
});

/** Reads `tools`: of chat completions, `{ type, function }`; of responses, the function's members beside the type. */
export function toolsFrom(value: unknown): Tool[] {
  return list(record, LIMITS.tools)('tools', value).map((given, i) => {
    const subject = `tools[${i}]`;
    oneOf('function')(`${subject}.type`, given.type);
    const inner = given.function === undefined ? given : record(`${subject}.function`, given.function);
    const { name, strict = false } = functionMembers(subject, inner);
    const { description, parameters = { type: 'object', properties: {} } } = inner;
    const schema = checkedSchema(`${subject}.function.parameters`, parameters ?? {}, strict);
    const definition = { name, ...(typeof description === 'string' && { description }), parameters };
    return {
      name,
      schema: typeof schema === 'object' ? { type: 'object', ...schema } : schema,
      given: { type: 'function', function: definition },
    };
  });
}

/** Reads `tool_choice`. */
export function choiceFrom(value: unknown, tools: readonly Tool[]): Choice {
  if (value === undefined || value === null) return tools.length > 0 ? 'auto' : 'none';
  if (typeof value === 'string') {
    const choice = oneOf('none', 'auto', 'required')('tool_choice', value);
    if (choice === 'required' && tools.length === 0)
      throw refused('tool_choice must come with tools: got none', 'tool_choice');
    return choice;
  }
  const given = record('tool_choice', value);
  const name = isRecord(given.function) ? given.function.name : given.name;
  if (!tools.some((tool) => tool.name === name)) {
    throw refused(`tool_choice must name one of the tools: got ${show(name)}`, 'tool_choice');
  }
  return { name: String(name) };
}

const formats = new WeakMap<Model, Format>();

/** How the model's template writes calls. */
export function formatOf(model: Model): Format {
  let format = formats.get(model);
  if (!format) {
    format = probe(model);
    formats.set(model, format);
  }
  return format;
}

const PROBE = { id: 'zq0000000', name: 'zq_name', key: 'zq_key', value: 'zq_value' };

function probe(model: Model): Format {
  const properties = { [PROBE.key]: { type: 'string', description: 'zq' } };
  const parameters = { type: 'object', properties, required: [PROBE.key] };
  const tools = [{ type: 'function', function: { name: PROBE.name, description: 'zq', parameters } }];
  const call = { name: PROBE.name, arguments: { [PROBE.key]: PROBE.value } };
  const question: Message = { role: 'user', content: 'zq' };
  const answer: Message = {
    role: 'assistant',
    content: '',
    tool_calls: [{ id: PROBE.id, type: 'function', function: call }],
  };
  try {
    const asked = model.chatTemplate.render([question], { values: { tools } });
    if (!asked.includes(PROBE.name)) return HERMES;
    const whole = model.chatTemplate.render([question, answer], { values: { tools }, addGenerationPrompt: false });
    let length = 0;
    while (length < asked.length && asked[length] === whole[length]) length++;
    // Not from within a tag, such as that of a thought which only the question ends with; nor from a thought that the answer begins with.
    length -= /<[^\s<>]*$/.exec(whole.slice(0, length))?.[0].length ?? 0;
    return read(behindThought(whole.slice(length))) ?? { ...HERMES, isTold: true };
  } catch {
    return HERMES; // it refuses tools, or calls
  }
}

// The way of writing, from a call that was written.
function read(written: string): Format | undefined {
  for (let at = 0; at < written.length; at++) {
    if (written[at] !== '{' && written[at] !== '[') continue;
    const json = jsonAt(written, at);
    if (json === undefined) continue;
    const isList = Array.isArray(json.value);
    const value = isList ? (json.value as unknown[])[0] : json.value;
    if (!isRecord(value)) continue;
    const before = written.slice(0, at);
    const keys = Object.keys(value);
    const name = keys.find((key) => value[key] === PROBE.name);
    const args = keys.find((key) => isRecord(value[key]) && PROBE.key in value[key]);
    const after = closing(before, written.slice(json.end));
    if (name !== undefined && args !== undefined) {
      return { isTold: true, before, after, keys: { name, arguments: args, isList }, between: '' };
    }
    const place = before.lastIndexOf(PROBE.name);
    if (PROBE.key in value && place >= 0) {
      const between = before.slice(place + PROBE.name.length);
      const [mark, lead] = before.slice(0, place).split(PROBE.id);
      const way = { isTold: true, before: mark, after, keys: undefined, between };
      if (mark.trim() !== '') return lead === undefined ? way : { ...way, lead };
    }
  }
  const tagged = tagsIn(written, PROBE);
  const before = written.slice(0, tagged?.begin);
  if (!tagged || before.trim() === '') return undefined;
  return { ...HERMES, isTold: true, before, after: closing(before, written.slice(tagged.end)), tags: tagged.tags };
}

// What closes the mark in front: `</x>` for `<x>`, and what stands before it.
function closing(before: string, behind: string): string {
  const [, tag] = /<(\w+)>\s*$/.exec(before) ?? [];
  const end = tag === undefined ? -1 : behind.indexOf(`</${tag}>`);
  return end < 0 ? '' : behind.slice(0, end + tag.length + 3);
}

// The JSON value that begins there, and where it ends.
function jsonAt(text: string, start: number): { value: unknown; end: number } | undefined {
  let depth = 0;
  let isText = false;
  for (let end = start; end < text.length; end++) {
    const character = text[end];
    if (isText) {
      if (character === '\\') end++;
      else if (character === '"') isText = false;
    } else if (character === '"') isText = true;
    else if (character === '{' || character === '[') depth++;
    else if ((character === '}' || character === ']') && --depth === 0) {
      try {
        return { value: JSON.parse(text.slice(start, end + 1)), end: end + 1 };
      } catch {
        return undefined;
      }
    }
  }
  return undefined;
}

/** Messages and values that tell the model of tools. */
export function promptWithTools(
  model: Model,
  messages: readonly Message[],
  tools: readonly Tool[],
): { messages: readonly Message[]; values: Record<string, unknown> } {
  if (tools.length === 0) return { messages, values: {} };
  const given = tools.map((tool) => tool.given);
  if (formatOf(model).isTold) return { messages, values: { tools: given } };
  const instructions = [
    'You may call functions. They are, as JSON in <tools></tools>:',
    `<tools>\n${given.map((tool) => JSON.stringify(tool)).join('\n')}\n</tools>`,
    'To call one, write its name and arguments as JSON:',
    '<tool_call>\n{"name": "…", "arguments": {…}}\n</tool_call>',
  ].join('\n');
  const [first, ...rest] = messages;
  const isSystem = first?.role === 'system';
  const system = { role: 'system', content: isSystem ? `${first.content}\n\n${instructions}` : instructions };
  return { messages: [system, ...(isSystem ? rest : messages)].map(writtenOut), values: {} };
}

// A template without tools knows neither calls nor their results: they are written out.
function writtenOut(message: Message): Message {
  if (message.role === 'tool')
    return { role: 'user', content: `<tool_response>\n${message.content}\n</tool_response>` };
  if (!Array.isArray(message.tool_calls)) return message;
  const calls = message.tool_calls.map((call) => `<tool_call>\n${JSON.stringify(call.function)}\n</tool_call>`);
  return { role: message.role, content: [message.content, ...calls].filter((each) => each !== '').join('\n') };
}

/** Whether marks of calls are special tokens, which a text leaves out unless told otherwise. */
export function hasSpecialCalls(model: Model): boolean {
  const { before, between } = formatOf(model);
  return (
    model.tokenizer.decode(model.tokenizer.encode(before + between, { special: false })).trim() !==
    (before + between).trim()
  );
}

/** What a text with these tools must be; undefined where it is free. */
export function toolConstraint(
  model: Model,
  tools: readonly Tool[],
  choice: Choice,
  isParallel: boolean,
): (() => Constraint) | undefined {
  if (choice === 'none' || tools.length === 0) return undefined;
  const format = formatOf(model);
  const callable = typeof choice === 'object' ? tools.filter(({ name }) => name === choice.name) : tools;
  const mark = format.before.trimEnd();
  if (choice === 'auto') {
    if (mark === '' || format.tags) return undefined;
    // Behind the mark, which the model has written itself.
    const rest = { ...format, before: format.before.slice(mark.length) };
    return () => markedConstraint(model, mark, () => constraintOf(model, partsOf(rest, callable, isParallel)));
  }
  return () => constraintOf(model, partsOf(format, callable, isParallel));
}

function partsOf(format: Format, tools: readonly Tool[], isParallel: boolean) {
  const { before, after, lead, keys, between } = format;
  const parts: (TextPart | ((text: string) => TextPart))[] = before === '' ? [] : [{ literal: before }];
  if (keys) {
    // Definitions, so that references within a tool's schema have a place that a pointer reaches.
    const $defs = Object.fromEntries(tools.map(({ schema }, i) => [`tool${i}`, rebased(schema, `#/$defs/tool${i}`)]));
    const calls = tools.map(({ name }, i) => ({
      type: 'object',
      properties: { [keys.name]: { const: name }, [keys.arguments]: { $ref: `#/$defs/tool${i}` } },
      required: [keys.name, keys.arguments],
      additionalProperties: false,
    }));
    const call = calls.length === 1 ? calls[0] : { anyOf: calls };
    const most = isParallel ? {} : { maxItems: 1 };
    parts.push({ schema: { $defs, ...(keys.isList ? { type: 'array', items: call, minItems: 1, ...most } : call) } });
  } else {
    const front = lead === undefined ? '' : PROBE.id + lead;
    const betweens = hasChannels(format) ? [between, BEHIND_CHANNEL] : [between];
    const heads = new Map(
      tools.flatMap(({ name, schema }) => betweens.map((each) => [front + name + each, schema] as const)),
    );
    parts.push({ oneOf: [...heads.keys()] });
    parts.push((text) => ({ schema: heads.get(text)! }));
  }
  if (after !== '') parts.push({ literal: after });
  return parts;
}

// A schema whose references are of its own document, which now stands at `base`. What is data stays as it is.
function rebased(value: unknown, base: string): unknown {
  if (Array.isArray(value)) return value.map((member) => rebased(member, base));
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).map(([key, member]): [string, unknown] => {
    if (key === '$ref' && typeof member === 'string' && member.startsWith('#')) return [key, base + member.slice(1)];
    return [key, key === 'const' || key === 'enum' ? member : rebased(member, base)];
  });
  return Object.fromEntries(entries);
}

/** Tells calls from text, as the text comes. */
interface CallFilter {
  /** @returns text that is no call's */
  push(text: string): string;
  /** @returns what is left: text, and the calls */
  end(): { text: string; calls: Call[] };
}

/** @param isParallel tells more than one call */
export function callFilter(model: Model, tools: readonly Tool[], isParallel: boolean): CallFilter {
  const format = formatOf(model);
  const mark = format.before.trim();
  const marks = hasChannels(format) ? [...CHANNELS.map((channel) => channel + mark), ` ${mark}`, mark] : [mark];
  let held = '';
  let isCalling = false;
  let isBegun = false; // whether the text has anything but space
  return {
    push(text) {
      held += text;
      if (isCalling) return '';
      if (mark === '') {
        // A call is JSON from the beginning on.
        if (isBegun || held.trim() === '') return isBegun ? taken() : '';
        isCalling = /^\s*[[{]/.test(held);
        isBegun = !isCalling;
        return isCalling ? '' : taken();
      }
      const position = Math.min(...marks.map((each) => held.indexOf(each)).filter((index) => index >= 0));
      if (position !== Number.POSITIVE_INFINITY) {
        isCalling = true;
        const shown = held.slice(0, position).trimEnd();
        held = held.slice(position);
        return shown;
      }
      const length = held.length - longestBeginning(held, marks);
      const shown = held.slice(0, length);
      held = held.slice(length);
      return shown;
    },
    end() {
      const calls = isCalling ? callsIn(held, format, tools) : [];
      if (calls.length > 0) return { text: '', calls: isParallel ? calls : calls.slice(0, 1) };
      return { text: held, calls };
    },
  };

  function taken(): string {
    const shown = held;
    held = '';
    return shown;
  }
}

// The calls of a text that begins with one.
function callsIn(text: string, { before, lead = '', keys, tags }: Format, tools: readonly Tool[]): Call[] {
  const mark = before.trim();
  const calls: Call[] = [];
  for (const call of tags ? taggedCalls(text, tags) : []) {
    const tool = tools.find(({ name }) => name === call.name);
    if (tool) calls.push({ name: tool.name, arguments: argumentsOf(call, tool.schema) });
  }
  if (calls.length > 0) return calls;
  const isKnown = (name: unknown) => tools.some((tool) => tool.name === name);
  const parts = mark === '' ? [text] : text.split(mark).slice(1);
  for (const part of parts) {
    if (!keys) {
      const named = part.slice(part.indexOf(lead) + lead.length);
      const [whole, name] = /^\s*([\w.-]+)/.exec(named) ?? ['', ''];
      const brace = part.indexOf('{', part.length - named.length + whole.length);
      const json = brace < 0 ? undefined : jsonAt(part, brace);
      if (json && isKnown(name)) calls.push({ name, arguments: JSON.stringify(json.value) });
      continue;
    }
    const begin = part.search(/[[{]/);
    const json = begin < 0 ? undefined : jsonAt(part, begin);
    for (const each of json ? [json.value].flat() : []) {
      if (!isRecord(each) || !isKnown(each[keys.name])) continue;
      const args = each[keys.arguments] ?? each.arguments ?? each.parameters ?? {};
      calls.push({ name: String(each[keys.name]), arguments: typeof args === 'string' ? args : JSON.stringify(args) });
    }
  }
  return calls;
}
