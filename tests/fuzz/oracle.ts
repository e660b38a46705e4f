// What may come of a hostile input: success, or an error of this package that one printable line explains.

/** What is wrong with how a case ended. */
export class Fault extends Error {}

/** @throws {Fault} unless it holds: an invariant of a success */
export function expect(holds: boolean, label: string): asserts holds {
  if (!holds) throw new Fault(label);
}

/** Longest message: some excerpts, each of whose characters may take eight. */
const MESSAGE_LIMIT = 3000;
/** StateError: of what is closed. */
const CLASSES: readonly string[] = [
  'TypeError',
  'RangeError',
  'FormatError',
  'UnsupportedError',
  'FileError',
  'StateError',
];
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
// Words of engines and of `String(value)`.
const RAW =
  /is not a function|is not iterable|is not a constructor|not defined|Cannot (read|set|access|convert|mix|assign|destructure)|Invalid (array|string|typed array|regular|time|count|code|URL)|[Cc]all stack|out of (bounds|memory|range)|allocation failed|unreachable|Unexpected (token [^:]|end of|non-wh)|not valid JSON|\[object |\bundefined\b|\bnull \(|Unterminated|detached|WebAssembly\.\w+\(|Reduce of empty|circular structure|Symbol\(|offset is/;

/** The kind of an outcome, for counting, or what is wrong with it. */
export type Verdict = { outcome: string; fault?: undefined } | { fault: string; outcome?: undefined };

/**
 * Judges what a case threw.
 * @param subjects what messages of malformed files must name one of
 * @param theirs words that are no engine's, though they look it: those of a template language
 */
export function judge(error: unknown, subjects: readonly string[], theirs?: RegExp): Verdict {
  if (error instanceof Fault) return { fault: `invariant: ${error.message}` };
  if (!(error instanceof Error)) return { fault: `threw what is no error: ${typeof error}` };
  const { name, message } = error;
  const fault = (label: string): Verdict => ({ fault: `${label}: ${name}: ${firstOf(message)}${placeOf(error)}` });
  if (!CLASSES.includes(name)) return fault('an error of no class of ours');
  const wrong = wrongIn(message, theirs);
  if (wrong !== undefined) return fault(wrong);
  const words = unquoted(message);
  const isOwn = name !== 'TypeError' && name !== 'RangeError';
  if (!isOwn && !/ must |^cannot /.test(words)) return fault('a message that does not say what must be');
  if (isOwn && !subjects.some((subject) => message.includes(subject))) return fault('a message that names no file');
  return { outcome: `${name}: ${shapeOf(message)}` };
}

const unquoted = (message: string) => message.replace(/"(?:[^"\\]|\\.)*"?/g, '""');

/** What is wrong with a message, whatever it says. */
export function wrongIn(message: string, theirs?: RegExp): string | undefined {
  if (UNPRINTABLE.test(message)) return 'a message that is not one printable line';
  if (message.length > MESSAGE_LIMIT) return `a message of ${message.length} characters`;
  const words = unquoted(message);
  return RAW.test(theirs ? words.replace(theirs, '') : words) ? "an engine's words" : undefined;
}

/** A message without what is the input's: numbers, quoted text. */
export function shapeOf(message: string): string {
  return unquoted(message)
    .replace(/tensor ""|[\w./-]*\.(safetensors|json|jinja)/g, '')
    .replace(/-?\d[\d.e+]*/g, '0')
    .slice(0, 160);
}

function firstOf(message: string): string {
  const line = message.replace(new RegExp(UNPRINTABLE, 'gu'), '·');
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}

// The function of ours that is nearest to where it was thrown.
function placeOf({ stack = '' }: Error): string {
  const frame = /\n\s+at (?:async )?([\w.#$<> ]+?) \(/.exec(stack)?.[1];
  return frame ? ` (in ${frame})` : '';
}

/** A fault without the numbers and texts of its case: what it is, how its message begins, where it was thrown. */
export function kindOf(fault: string): string {
  const plain = fault.replace(/"(?:[^"\\]|\\.)*"?/g, '""').replace(/-?\d[\d.e+]*|NaN|-?Infinity/g, '0');
  const [, label = plain, message = '', place = ''] = /^([^:]*: \w+Error): (.*?)( \(in [^)]*\))?$/.exec(plain) ?? [];
  return `${label}: ${message.slice(0, 24)}${place}`;
}
