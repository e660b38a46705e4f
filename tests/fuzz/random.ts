// Choices of a case: one stream for each, told by seed, target and index, so that any case can be run again alone.

import { uniform } from '../bits.ts';

export interface Random {
  /** In [0, 1). */
  float(): number;
  /** An integer from 0 to `count` − 1. */
  below(count: number): number;
  /** An integer from `low` to `high`, small ones more often. */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
  bytes(count: number): Uint8Array<ArrayBuffer>;
}

export function randomOf(seed: number, target: string, index: number): Random {
  let state = (seed ^ Math.imul(index + 1, 0x9e3779b9)) >>> 0;
  for (const character of target) state = Math.imul(state ^ character.charCodeAt(0), 0x01000193) >>> 0;
  const float = uniform(state);
  const below = (count: number) => Math.floor(float() * count);
  return {
    float,
    below,
    between: (low, high) => low + Math.floor(float() ** 2 * (high - low + 1)),
    chance: (probability) => float() < probability,
    pick: (from) => from[below(from.length)],
    bytes: (count) => Uint8Array.from({ length: count }, () => below(256)),
  };
}

/** Runs one to five times, mostly once or twice. */
export function aFewTimes(random: Random, change: () => void): void {
  let left = 5;
  do change();
  while (--left > 0 && random.chance(0.4));
}

/** Where code changes its mind: around zero, powers of two, the ends of types; none, not a number. */
export const NUMBERS: readonly number[] = [
  ...[0, -0, 1, -1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000],
  ...[
    1023,
    1024,
    1025,
    4095,
    4096,
    4097,
    65535,
    65536,
    2 ** 20,
    2 ** 24,
    2 ** 24 + 1,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32 - 1,
  ],
  ...[
    2 ** 32,
    2 ** 40,
    2 ** 53 - 1,
    2 ** 53,
    2 ** 64,
    1e21,
    1e300,
    1e308,
    Number.MAX_VALUE,
    -1e308,
    -(2 ** 31),
    -(2 ** 53),
  ],
  ...[0.1, 0.5, 1.5, 1e-6, 1e-38, 1e-45, 1e-300, 5e-324, Number.NaN, Infinity, -Infinity],
];

/** Names and texts that break what is put together from them: escapes, marks, prototypes, paths, lengths. */
export const TEXTS: readonly string[] = [
  ...[
    '',
    ' ',
    'a',
    '0',
    '-1',
    'null',
    'true',
    'constructor',
    '__proto__',
    'toString',
    'valueOf',
    'hasOwnProperty',
    'length',
  ],
  ...[
    '__metadata__',
    'higgs.format',
    'higgs.padding.0',
    'higgs.checksums.0',
    'higgs.errors.0',
    'higgs.grid.p1n4',
    'weight',
  ],
  ...[
    '\u001b[2J\u001b]0;x\u0007',
    '\u0000',
    'a\nb',
    'a\r',
    '\u0085',
    '\u007f',
    '\u202e',
    '\u2028',
    '\ufeff',
    '\ud800',
    '\udc00a',
  ],
  ...[
    '../x',
    '/etc/passwd',
    'C:\\x',
    'x.safetensors',
    '%00',
    '{{ x }}',
    '"',
    '\\',
    "'",
    '😀',
    'ﷺ',
    'é',
    'ΑΣ',
    '\u0301',
  ],
  ...[
    'F32',
    'F16',
    'BF16',
    'F8_E4M3',
    'U8',
    'F64',
    'p2n256',
    't4',
    't2',
    'x'.repeat(90),
    'é\u001b'.repeat(200),
    'long '.repeat(2000),
  ],
];
