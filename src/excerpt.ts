// Words of files and callers, as a message or a terminal may show them. A name can hold an escape sequence that rewrites the
// screen, a newline that forges a line, a mark that turns reading direction, or 90 MB: whatever is shown comes through here.

/** Longest excerpt of a file's or a caller's own text in a message, in UTF-16 units. */
export const EXCERPT_LIMIT = 80;
/** Longest message, in UTF-16 units: room for long paths; a longer one stands whole in the error's `path`. */
export const MESSAGE_LIMIT = 2000;
/** Elements of an array that a message shows. */
const ELEMENTS = 8;

// Control (C0, DEL, C1), format (turning marks, invisible joiners), line and paragraph separators, lone surrogates.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** The text with each unprintable character as `\u001b`; applied twice, it changes nothing more. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    const code = character.codePointAt(0) as number;
    return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** The text, escaped, and cut to a length that a message can carry. */
export function excerpt(text: string): string {
  return text.length <= EXCERPT_LIMIT ? printable(text) : `${printable(text.slice(0, EXCERPT_LIMIT))}…`;
}

/** A message: one line of printable characters, without its middle where it is too long; applied twice, it changes nothing more. */
export function oneLine(text: string): string {
  const shown = printable(withoutMiddle(text, 2 * MESSAGE_LIMIT));
  return withoutMiddle(shown, MESSAGE_LIMIT);
}

function withoutMiddle(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const half = (limit - 4) / 2;
  return `${text.slice(0, half)} … ${text.slice(-half)}`;
}

/** Any value as a message shows it: strings quoted and cut, eight elements of an array, objects by their kind. Runs no code of the value's. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return `"${excerpt(value.replace(/["\\]/g, '\\$&'))}"`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol') return 'a symbol';
  if (typeof value === 'bigint') return `${excerpt(String(value))}n`;
  if (Object.is(value, -0)) return '-0';
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    if (!Array.isArray(value)) return kindOf(value);
    const elements = Array.from({ length: Math.min(value.length, ELEMENTS) }, (_, i) =>
      Array.isArray(value[i]) ? 'an array' : show(value[i]),
    );
    return `[${elements.join(', ')}${value.length > ELEMENTS ? ', …' : ''}]`;
  } catch {
    return 'an object'; // a getter or a proxy of the caller's throws
  }
}

// `a Float32Array`, `a Promise`, `an object`: the tag, which objects of other realms have, too.
function kindOf(value: object): string {
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  if (tag === 'Object' || tag === 'Map' || !/^\w{1,40}$/.test(tag)) return 'an object';
  return /^[AEIO]/.test(tag) ? `an ${tag}` : `a ${tag}`;
}
