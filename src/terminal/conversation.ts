// What a person types in a conversation: turns, of one line or of several between """, and commands, which begin with a slash. And
// what stays of a conversation that outgrows the context: the system's words and the latest turns.

import { printable } from '../excerpt.ts';
import { decimal, integer, nearest } from './usage.ts';

/** What `/set` changes. */
export interface Settings {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  seed: number;
  maxTokens: number;
  system: string;
  thinking: 'show' | 'hide';
}

/** What a line asks for. */
type Typed =
  | { kind: 'turn'; text: string }
  | { kind: 'help' | 'reset' | 'exit' | 'show' | 'nothing' }
  | { kind: 'set'; key: keyof Settings; value: string | number }
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

const READERS: Readonly<Record<keyof Settings, (text: string) => string | number>> = {
  temperature: decimal(0, 100),
  topK: integer(0, 2 ** 24),
  topP: decimal(1e-6, 1),
  minP: decimal(0, 1),
  repetitionPenalty: decimal(1e-3, 100),
  seed: integer(0, 2 ** 32 - 1),
  maxTokens: integer(1, 2 ** 24),
  system: (text) => text,
  thinking: (text) => {
    if (text !== 'show' && text !== 'hide') throw new Error('must be show or hide.');
    return text;
  },
};

/** `topK` is `top-k`. */
const nameOf = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const KEYS = new Map((Object.keys(READERS) as (keyof Settings)[]).map((key) => [nameOf(key), key]));

/** The settings as lines of `/set`. */
export function settingsText(settings: Settings): string {
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
  const [meant] = nearest(name, COMMANDS);
  const question = meant === undefined ? '' : ` Did you mean ${meant}?`;
  return refused(
    `${printable(word)} is no command.${question} /help lists them; a space in front sends it to the model`,
  );
}

function readSetting(text: string): Typed {
  const [, name = '', value = ''] = /^(\S*)\s*(.*)$/.exec(text) ?? [];
  if (name === '') return { kind: 'show' };
  const key = KEYS.get(nameOf(name.replace(/^-+/, '').replace(/_/g, '-')));
  if (key === undefined) {
    const [meant] = nearest(name, [...KEYS.keys()]);
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
