// Strings as Python has them: the methods that chat templates call, with a template's arguments, and repr().

/** White space to Python, beyond JavaScript's; the byte order mark is none. */
const SEPARATORS = '\u001c\u001d\u001e\u001f\u0085';
const isSpace = (character: string): boolean =>
  (/\s/.test(character) && character !== '\ufeff') || SEPARATORS.includes(character);

const isText = (value: unknown): value is string => typeof value === 'string';

function textOf(method: string, value: unknown): string {
  if (!isText(value)) throw new Error(`${method}() must be called with a text`);
  return value;
}

// From `start` and from `end`, as told, what is white space or among the characters.
function strip(text: string, characters: unknown, atStart: boolean, atEnd: boolean): string {
  const isOut = isText(characters) ? (character: string) => characters.includes(character) : isSpace;
  let [start, end] = [0, text.length];
  while (atStart && start < end) {
    const first = String.fromCodePoint(text.codePointAt(start)!);
    if (!isOut(first)) break;
    start += first.length;
  }
  while (atEnd && start < end) {
    const last = Array.from(text.slice(Math.max(start, end - 2), end)).at(-1)!;
    if (!isOut(last)) break;
    end -= last.length;
  }
  return text.slice(start, end);
}

/** By name: the text, then the arguments. */
export const methods: Readonly<Record<string, (text: string, ...given: unknown[]) => unknown>> = {
  strip: (text, characters) => strip(text, characters, true, true),
  lstrip: (text, characters) => strip(text, characters, true, false),
  rstrip: (text, characters) => strip(text, characters, false, true),
  capitalize: (text) => text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase(),
  find: (text, part) => text.indexOf(textOf('find', part)),
  count: (text, part) => text.split(textOf('count', part)).length - 1,
  join(text, parts) {
    if (!Array.isArray(parts)) throw new Error('join() must be called with a list of texts');
    return parts.map((part) => textOf('join', (part as { value?: unknown }).value)).join(text);
  },
  removeprefix(text, part) {
    const prefix = textOf('removeprefix', part);
    return text.startsWith(prefix) ? text.slice(prefix.length) : text;
  },
  removesuffix(text, part) {
    const suffix = textOf('removesuffix', part);
    return suffix !== '' && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text;
  },
  splitlines(text) {
    const lines = text.split(/\r\n|[\n\r]/);
    return lines.at(-1) === '' ? lines.slice(0, -1) : lines;
  },
  isdigit: (text) => /^\p{Nd}+$/u.test(text),
};

/** A text as Python's repr() writes it. */
export function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const names: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };
  const inner = text.replace(/[\\'\p{Cc}]/gu, (character) => {
    if (character === "'") return quote === "'" ? "\\'" : "'";
    return names[character] ?? `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
  return quote + inner + quote;
}
