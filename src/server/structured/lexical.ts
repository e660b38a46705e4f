// Which tokens keep JSON lawful, whatever a grammar says: within a string no control character stands as it is, and bytes are UTF-8 (RFC 8259,
// RFC 3629). A text is in one of a few states, and so each token is looked at once a state.

/** Tokens by the state of the text in front. */
export interface Lexical {
  /** The state at the beginning, and wherever the text is within no string. */
  readonly start: number;
  /** One bit for each token that may come. */
  mask(state: number): Int32Array;
  /** The state behind a token that may come. */
  after(state: number, id: number): number;
}

// A state is where the text is, and how much of a character is still to come: 8 · place + character.
const OUTSIDE = 0;
const STRING = 1;
const ESCAPE = 2;
const WRONG = -1;

// Bytes of a character that are to come, and the next one's range.
const CHARACTERS = [
  { left: 0, low: 0, high: 0 },
  { left: 1, low: 0x80, high: 0xbf },
  { left: 2, low: 0x80, high: 0xbf },
  { left: 3, low: 0x80, high: 0xbf },
  { left: 2, low: 0xa0, high: 0xbf }, // behind E0: no shorter form
  { left: 2, low: 0x80, high: 0x9f }, // behind ED: no surrogate
  { left: 3, low: 0x90, high: 0xbf }, // behind F0: no shorter form
  { left: 3, low: 0x80, high: 0x8f }, // behind F4: nothing above U+10FFFF
];

function step(state: number, byte: number): number {
  const place = state >> 3;
  const { left, low, high } = CHARACTERS[state & 7];
  if (left > 0) return byte >= low && byte <= high ? (place << 3) | (left - 1) : WRONG;
  if (byte >= 0x80) return place === STRING ? lead(place, byte) : WRONG;
  if (place === OUTSIDE) return byte === 0x22 ? STRING << 3 : state;
  if (byte < 0x20) return WRONG;
  if (place === ESCAPE) return STRING << 3;
  return byte === 0x22 ? OUTSIDE : byte === 0x5c ? ESCAPE << 3 : state;
}

function lead(place: number, byte: number): number {
  if (byte < 0xc2 || byte > 0xf4) return WRONG;
  const character =
    byte < 0xe0
      ? 1
      : byte === 0xe0
        ? 4
        : byte === 0xed
          ? 5
          : byte < 0xf0
            ? 2
            : byte === 0xf0
              ? 6
              : byte === 0xf4
                ? 7
                : 3;
  return (place << 3) | character;
}

function behind(state: number, bytes: Uint8Array): number {
  let now = state;
  for (let i = 0; i < bytes.length && now !== WRONG; i++) now = step(now, bytes[i]);
  return now;
}

/** @param tokens the bytes of each */
export function lexicalOf(tokens: readonly Uint8Array[]): Lexical {
  const masks = new Map<number, Int32Array>();
  return {
    start: OUTSIDE,
    mask(state) {
      let mask = masks.get(state);
      if (!mask) {
        mask = new Int32Array((tokens.length + 31) >>> 5);
        for (const [id, bytes] of tokens.entries()) {
          if (behind(state, bytes) !== WRONG) mask[id >>> 5] |= 1 << (id & 31);
        }
        masks.set(state, mask);
      }
      return mask;
    },
    after: (state, id) => behind(state, tokens[id]),
  };
}
