// The one door of the command line to the terminal. Names and texts of files come through here: no escape sequence, no forged
// line, no mark that turns reading direction gets out, whoever wrote it. Standard output has results, standard error the rest.

import { oneLine, printable } from '../excerpt.ts';

/** Prints text, a newline after it. Newlines stand; every other unprintable character is shown as `\u001b`. */
export function print(text: string): void {
  process.stdout.write(`${printableLines(text)}\n`);
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
  const isDimmed = process.stdout.isTTY && !process.env.NO_COLOR;
  if (isDimmed) process.stdout.write('\u001b[2m');
  printPiece(piece);
  if (isDimmed) process.stdout.write('\u001b[22m');
}

/** Whether standard output is a terminal. */
export const isTerminal = (): boolean => process.stdout.isTTY === true;

/** Says one line on standard error, after the name of the program. */
export function say(text: string): void {
  note(`higgs: ${text}`);
}

/** Writes one line on standard error. */
export function note(line: string): void {
  process.stderr.write(`${oneLine(line)}\n`);
}

/** Writes lines on standard error: a stack, a usage message. */
export function complain(lines: string): void {
  process.stderr.write(printableLines(lines));
}

/** What draws on standard error, and escapes what it shows itself. */
export const canvas: NodeJS.WriteStream = process.stderr;

/** Where lines are typed, and their echo. */
export function keyboard() {
  return { input: process.stdin, output: process.stdout };
}

/** Calls back when standard output takes no more. */
export function onOutputError(listener: (error: NodeJS.ErrnoException) => void): void {
  process.stdout.on('error', listener);
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
