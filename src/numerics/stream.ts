// Seeded streams of numbers, one for each use: the same in every runtime, and of 128 bits of state each, so that the millions of
// streams that noise takes do not meet. Words are sfc32 (Doty-Humphrey, PractRand); normal numbers are Marsaglia's polar method,
// from +, −, ×, ÷, √ and a logarithm of our own.

import { log } from './exponential.ts';

/** What a stream is for: streams of different uses never share a seed. */
export const USE = { tokens: 1, labels: 2, noise: 3, own: 4 } as const;

/** Uniform numbers in [0, 1), multiples of 2⁻⁵³. @param seeds four words that tell this stream from others */
export function uniformStream(...seeds: readonly [number, number, number, number]): () => number {
  const word = words(seeds);
  return () => {
    const high = word() >>> 5;
    return (high * 67108864 + (word() >>> 6)) / 9007199254740992; // (2²⁶ high + low) / 2⁵³
  };
}

/** Fills `to` with samples of N(0, 1). */
export function fillNormals(to: Float32Array, ...seeds: readonly [number, number, number, number]): void {
  const word = words(seeds);
  const signed = () => (word() | 0) / 2147483648;
  for (let i = 0; i < to.length; i += 2) {
    let [a, b, square] = [0, 0, 0];
    do {
      a = signed();
      b = signed();
      square = a * a + b * b;
    } while (square >= 1 || square === 0);
    const factor = Math.sqrt((-2 * log(square)) / square);
    to[i] = a * factor;
    if (i + 1 < to.length) to[i + 1] = b * factor;
  }
}

function words(seeds: readonly [number, number, number, number]): () => number {
  let last = 0x9e3779b9;
  const spread = seeds.map((seed) => {
    last = finalise(last ^ seed);
    return last;
  });
  let [a, b, c, counter] = spread as [number, number, number, number];
  const next = () => {
    const result = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + result) | 0;
    return result >>> 0;
  };
  for (let i = 0; i < 15; i++) next();
  return next;
}

// murmur3's: every bit of the result depends on every bit of the word.
function finalise(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) | 0;
}
