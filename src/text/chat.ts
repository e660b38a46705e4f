// A conversation as the text that the model was trained on: the checkpoint's own chat template.

import {
  argumentError,
  classOf,
  flag,
  optionsOf,
  type Reader,
  refuseKind,
  refuseValue,
  type Schema,
  text,
} from '../check.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { isRecord, plainData, plainObject, readText } from './files.ts';
import { parseTemplate, type Template } from './jinja/template.ts';

const TEMPLATE_NAME = 'chat_template.jinja';
const CONFIG_NAME = 'tokenizer_config.json';
const DEFAULT = 'default';
/** What templates may ask for and find to be none: the original gives these to each. */
const ABSENT = { tools: null, documents: null };

/** One turn of a conversation; templates may know of more fields than these. */
export interface Message {
  /** `system`, `user` or `assistant`, and what else the template knows. */
  role: string;
  /** What was said. */
  content: string;
  /** What else the template knows. */
  [field: string]: unknown;
}

/** How a conversation is written. */
export interface ChatOptions {
  /** Whether to open the assistant's turn; it is, by default. */
  addGenerationPrompt?: boolean;
  /** Which of the checkpoint's templates, where they have names. */
  template?: string;
  /** Further values for the template, such as `tools` or `enable_thinking`. */
  values?: Readonly<Record<string, unknown>>;
  /** What templates that write the date take for now. */
  now?: Date;
}

const dateOf: Reader<Date> = (subject, value) => {
  if (classOf(subject, value) !== 'Date') refuseKind(subject, 'a Date', value);
  const time = Number(Date.prototype.getTime.call(value));
  return Number.isNaN(time) ? refuseValue(subject, 'a Date of some time', time) : new Date(time);
};

/** Members of options that say how a conversation is written. */
export const chatMembers: Schema<ChatOptions> = {
  addGenerationPrompt: flag,
  template: text,
  values: plainObject,
  now: dateOf,
};
const chatOptions = optionsOf<ChatOptions>(chatMembers);

/** Writes conversations. */
export interface ChatTemplate {
  /** The names of the templates, `default` first if it is there. */
  readonly names: readonly string[];
  /**
   * @returns the text, special tokens included: to be encoded without adding any
   * @throws {TypeError} when messages or options are of another kind
   * @throws {RangeError} when there are no messages, or the template refuses them
   */
  render(messages: readonly Message[], options?: ChatOptions): string;
}

/**
 * Finds a checkpoint's chat templates: `chat_template.jinja`, or `chat_template` in tokenizer_config.json.
 * @param config tokenizer_config.json
 * @throws {TypeError} when an argument is of another kind @throws {FormatError} when a template is malformed
 * @example
 * const template = await readChatTemplate(folder, tokenizer.config);
 * const text = template.render([{ role: 'user', content: 'Hello' }]);
 */
export async function readChatTemplate(from: Folder, given: Readonly<Record<string, unknown>>): Promise<ChatTemplate> {
  const folder = givenFolder('folder', from);
  const config = plainObject('config', given);
  const templateFile = await readText(folder, TEMPLATE_NAME);
  const texts = new Map<string, { text: string; file: string }>();
  if (templateFile !== undefined) texts.set(DEFAULT, { text: templateFile, file: `${folder.name}/${TEMPLATE_NAME}` });
  const file = `${folder.name}/${CONFIG_NAME}`;
  for (const [name, text] of namedTemplates(config.chat_template, file)) {
    if (!texts.has(name)) texts.set(name, { text, file });
  }
  const special = specialTokens(config, file);
  const parsed = new Map<string, Template>();

  function templateOf(name: string): Template {
    let template = parsed.get(name);
    if (!template) {
      const source = texts.get(name);
      if (!source) {
        if (texts.size === 0) {
          const message = 'chat must have a chat template: the model has none; let it continue a text instead';
          throw new UnsupportedError('chat without a template', message, { file: folder.name });
        }
        throw new RangeError(`template must be one of ${show([...texts.keys()])}: got ${show(name)}`);
      }
      template = parseTemplate(source.text, source.file);
      parsed.set(name, template);
    }
    return template;
  }

  return {
    names: [...texts.keys()],
    render(given, options) {
      const { addGenerationPrompt = true, template = DEFAULT, values, now } = chatOptions('options', options);
      const messages = typeof given === 'object' ? plainData('messages', given) : given;
      if (!Array.isArray(messages)) return refuseKind('messages', 'a list', given);
      if (messages.length === 0) throw new RangeError('messages must have at least one message: got none');
      for (const [i, message] of messages.entries()) {
        const subject = `messages must be objects with a role and a content: message ${i}`;
        if (!isRecord(message)) throw argumentError(`${subject} is ${show(message)}`);
        if (typeof message.role !== 'string') throw argumentError(`${subject} has the role ${show(message.role)}`);
      }
      return templateOf(template).render(
        { ...ABSENT, ...special, ...values, messages, add_generation_prompt: addGenerationPrompt },
        now ?? new Date(),
      );
    },
  };
}

// A text, or a list of { name, template }.
function namedTemplates(value: unknown, file: string): [name: string, text: string][] {
  if (value === undefined || value === null) return [];
  if (typeof value === 'string') return [[DEFAULT, value]];
  if (!Array.isArray(value)) {
    throw new FormatError(`chat_template must be a text or a list of them: got ${show(value)}`, { file });
  }
  return value.map((each, i) => {
    const { name, template } = isRecord(each) ? each : {};
    if (typeof name === 'string' && typeof template === 'string') return [name, template];
    const got = isRecord(each) ? `${show(name)} and ${show(template)}` : show(each);
    throw new FormatError(`chat_template[${i}] must be a name and a template: got ${got}`, { file });
  });
}

// `bos_token` and the like: a text, or an object with its `content`.
function specialTokens(config: Readonly<Record<string, unknown>>, file: string): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const name of ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'sep_token', 'cls_token', 'mask_token']) {
    const value = config[name];
    const text = isRecord(value) ? value.content : value;
    if (typeof text === 'string') tokens[name] = text;
    else if (text)
      throw new FormatError(`${name} must be a text, or have one as its content: got ${show(text)}`, { file });
  }
  return tokens;
}
