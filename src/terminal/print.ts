// The one door of the command line to the terminal. Names and texts of files come through here: no escape sequence, no forged
// line, no mark that turns reading direction gets out, whoever wrote it. Standard output has results, standard error the rest.

import { oneLine, printable } from '../excerpt.ts';

/** Columns of a terminal that does not tell its own. */
const COLUMNS = 80;
let isQuiet = false;

/** Leaves out notes and progress from now on: results, warnings and errors stay. */
export function beQuiet(): void {
  isQuiet = true;
}

/** Columns of the terminal, of COLUMNS in the environment, or 80. */
export function columns(): number {
  return process.stdout.columns || Number(process.env.COLUMNS) || COLUMNS;
}

/** Whether a stream shows colours: a terminal, unless NO_COLOR or TERM=dumb is set. */
const hasColors = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';

const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], yellow: [33, 39] } as const;

/** Whether standard output shows colours. */
export const hasColor = (): boolean => hasColors(process.stdout);

/** Text in a style, where the stream shows colours. The text must be printable already. */
export function styled(text: string, style: keyof typeof STYLES, stream: NodeJS.WriteStream = process.stdout): string {
  const [on, off] = STYLES[style];
  return hasColors(stream) ? `\u001b[${on}m${text}\u001b[${off}m` : text;
}

/**
 * Prints text, a newline after it. Newlines stand; every other unprintable character is shown as `\u001b`. On a terminal sentences are
 * wrapped to its width, and the head of a table is bold.
 */
export function print(text: string): void {
  const lines = printableLines(text);
  process.stdout.write(`${process.stdout.isTTY ? dressed(lines) : lines}\n`);
}

/** Prints help: text of our own, with colours where commander put them. */
export function printHelp(text: string): void {
  process.stdout.write(text);
}

/** Prints a value as JSON on one line, unprintable characters as escapes of JSON. */
export function printJson(value: unknown): void {
  process.stdout.write(`${printableJson(JSON.stringify(value))}\n`);
}

/** Prints JSON that is written already. */
export function printJsonText(json: string): void {
  process.stdout.write(printableJson(json));
}

/**
 * Prints a piece of a text as it stands, to be read by a program; on a terminal without control characters but newline and tab.
 * Each is shown by itself, so a sequence in two pieces does not pass either.
 */
export function printPiece(piece: string): void {
  process.stdout.write(process.stdout.isTTY ? piece.replace(/[^\P{Cc}\n\t]/gu, printable) : piece);
}

/** Prints a piece of what a model thinks: as `printPiece`, and dimmed on a terminal that has colors. */
export function printThought(piece: string): void {
  const isDimmed = hasColors(process.stdout);
  if (isDimmed) process.stdout.write('\u001b[2m');
  printPiece(piece);
  if (isDimmed) process.stdout.write('\u001b[22m');
}

/** Whether standard output is a terminal. */
export const isTerminal = (): boolean => process.stdout.isTTY === true;

/** Says one line on standard error, after the name of the program: what must be read. */
export function say(text: string): void {
  process.stderr.write(`higgs: ${oneLine(text)}\n`);
}

/** Says what went wrong. */
export function fault(text: string): void {
  process.stderr.write(`${styled('higgs:', 'red', process.stderr)} ${oneLine(text)}\n`);
}

/** Warns of what may be wrong. */
export function warn(text: string): void {
  process.stderr.write(`higgs: ${styled('warning:', 'yellow', process.stderr)} ${oneLine(text)}\n`);
}

/** Writes one line on standard error, unless quiet. */
export function note(line: string): void {
  if (!isQuiet) process.stderr.write(`${styled(oneLine(line), 'dim', process.stderr)}\n`);
}

/** Writes lines on standard error: a stack, a usage message. */
export function complain(lines: string): void {
  process.stderr.write(printableLines(lines));
}

/** What draws on standard error, and escapes what it shows itself; undefined where nothing is to be drawn. */
export const canvas = (): NodeJS.WriteStream | undefined =>
  process.stderr.isTTY && !isQuiet ? process.stderr : undefined;

/** Where lines are typed, and their echo. */
export function keyboard() {
  return { input: process.stdin, output: process.stdout };
}

/** Calls back when standard output takes no more. */
export function onOutputError(listener: (error: NodeJS.ErrnoException) => void): void {
  process.stdout.on('error', listener);
}

// Lines of two spaces in a row are of tables: they stand as they are, bold above a rule.
function dressed(text: string): string {
  const lines = text.split('\n');
  return lines
    .map((line, i) => {
      if (line.startsWith('─')) return styled(line, 'dim');
      if (lines[i + 1]?.startsWith('─')) return styled(line, 'bold');
      return / {2}/.test(line) ? line : wrapped(line, columns());
    })
    .join('\n');
}

// A sentence in lines of at most `width` characters, cut at spaces.
function wrapped(line: string, width: number): string {
  const lines = [''];
  for (const word of line.split(' ')) {
    const last = lines.length - 1;
    if (lines[last] === '') lines[last] = word;
    else if (lines[last].length + 1 + word.length <= width) lines[last] += ` ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}

function printableLines(text: string): string {
  return text.replace(/[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, printable);
}

// JSON has escapes of its own for C0 and lone surrogates; it lets the rest through. Newlines stand between members.
function printableJson(json: string): string {
  return json.replace(/[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}
