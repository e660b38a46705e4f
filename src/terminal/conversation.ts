// What a person types in a conversation: turns, of one line or of several between """, and commands, which begin with a slash. And
// what stays of a conversation that outgrows the context: the system's words and the latest turns.

import { printable } from '../excerpt.ts';
import { decimal, parseInteger, similarNames } from './usage.ts';

/** What `/set` changes. */
export interface ChatSettings {
  /** Logits are divided by it; 0 takes the most likely token. */
  temperature: number;
  /** Tokens are taken from among so many of the most likely; 0 for all. */
  topK: number;
  /** Tokens are taken from among the fewest that have this probability together; 1 for all. */
  topP: number;
  /** Least probability of a token, as a part of the most likely one's; 0 for all. */
  minP: number;
  /** What logits of tokens that occurred are divided by, or multiplied where they are negative; 1 for none. */
  repetitionPenalty: number;
  /** Seed of the random choices, 0 to 2^32 − 1. */
  seed: number;
  /** Most tokens of a turn. */
  maxTokens: number;
  /** Text of the system message; empty for the template's own. */
  system: string;
  /** Whether thoughts are printed. */
  thinking: 'show' | 'hide';
}

/** What a line asks for. */
type Typed =
  | { kind: 'turn'; text: string }
  | { kind: 'help' | 'reset' | 'exit' | 'show' | 'nothing' }
  | { kind: 'set'; key: keyof ChatSettings; value: string | number }
  | { kind: 'save'; file: string }
  | { kind: 'refused'; reason: string };

/** Begins and ends a turn of several lines. */
export const FENCE = '"""';

/** What `/help` shows. */
export const HELP: readonly (readonly [typed: string, what: string])[] = [
  ['/set', 'show how tokens are chosen, and what else can be set'],
  ['/set NAME VALUE', 'set one of them from the next turn on'],
  ['/save FILE', 'write the conversation as JSON'],
  ['/reset', 'forget the conversation'],
  ['/exit', 'leave; so do Ctrl-D, and Ctrl-C twice'],
  [FENCE, 'begin and end a turn of several lines'],
  ['Ctrl-C', 'stop an answer'],
];

const ALIASES: Readonly<Record<string, string>> = {
  '/bye': '/exit',
  '/quit': '/exit',
  '/clear': '/reset',
  '/?': '/help',
};
const COMMANDS = ['/help', '/set', '/save', '/reset', '/exit'];

const READERS: Readonly<Record<keyof ChatSettings, (text: string) => string | number>> = {
  temperature: decimal(0, 100),
  topK: parseInteger(0, 2 ** 24),
  topP: decimal(1e-6, 1),
  minP: decimal(0, 1),
  repetitionPenalty: decimal(1e-3, 100),
  seed: parseInteger(0, 2 ** 32 - 1),
  maxTokens: parseInteger(1, 2 ** 24),
  system: (text) => text,
  thinking: (text) => {
    if (text !== 'show' && text !== 'hide') throw new Error('must be show or hide.');
    return text;
  },
};

/** `topK` is `top-k`. */
const nameOf = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const KEYS = new Map((Object.keys(READERS) as (keyof ChatSettings)[]).map((key) => [nameOf(key), key]));

/** The settings as lines of `/set`. */
export function settingsText(settings: ChatSettings): string {
  const width = Math.max(...[...KEYS.keys()].map((name) => name.length));
  return [...KEYS]
    .map(([name, key]) => `${name.padEnd(width)}  ${settings[key] === '' ? '(none)' : settings[key]}`)
    .join('\n');
}

/** Reads one line. What begins with a slash and a word is a command; a path such as /usr/bin is none, nor is a line with a space in front. */
export function readLine(line: string): Typed {
  if (line.trim() === '') return { kind: 'nothing' };
  const [, word, rest = ''] = /^(\/[a-z?]\w*|\/\?)(?:\s+(.*))?$/i.exec(line.trimEnd()) ?? [];
  if (word === undefined) return { kind: 'turn', text: line };
  const name = ALIASES[word.toLowerCase()] ?? word.toLowerCase();
  if (name === '/help') return { kind: 'help' };
  if (name === '/reset') return { kind: 'reset' };
  if (name === '/exit') return { kind: 'exit' };
  if (name === '/save')
    return rest === '' ? refused('/save must have a file’s name after it') : { kind: 'save', file: rest };
  if (name === '/set') return readSetting(rest);
  const [meant] = similarNames(name, COMMANDS);
  const question = meant === undefined ? '' : ` Did you mean ${meant}?`;
  return refused(
    `${printable(word)} is not a command.${question} /help lists them; a space in front sends it to the model`,
  );
}

function readSetting(text: string): Typed {
  const [, name = '', value = ''] = /^(\S*)\s*(.*)$/.exec(text) ?? [];
  if (name === '') return { kind: 'show' };
  const key = KEYS.get(nameOf(name.replace(/^-+/, '').replace(/_/g, '-')));
  if (key === undefined) {
    const [meant] = similarNames(name, [...KEYS.keys()]);
    return refused(
      `${printable(name)} cannot be set.${meant === undefined ? ' /set lists what can' : ` Did you mean ${meant}?`}`,
    );
  }
  if (value === '' && key !== 'system') return refused(`${nameOf(key)} must have a value after it`);
  try {
    return { kind: 'set', key, value: READERS[key](value) };
  } catch (error) {
    return refused(`${nameOf(key)} ${(error as Error).message.replace(/\.$/, '')}: got ${printable(value)}`);
  }
}

const refused = (reason: string): Typed => ({ kind: 'refused', reason });
