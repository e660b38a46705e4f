// Comparing arrays by their bits, and seeded random numbers: what every test of a kernel needs.

import * as assert from 'uvu/assert';

type Elements = Float32Array | Float64Array | Uint8Array | Uint16Array | Uint32Array;

/** Fails unless both arrays have the same length and the same bits; names the first index that differs. */
export function sameBits(actual: Elements, expected: Elements, label = 'arrays'): void {
  const width = expected.BYTES_PER_ELEMENT;
  if (actual.length !== expected.length)
    assert.unreachable(`${label}: ${actual.length} elements, not ${expected.length}`);
  const a = new Uint8Array(actual.buffer, actual.byteOffset, actual.byteLength);
  const b = new Uint8Array(expected.buffer, expected.byteOffset, expected.byteLength);
  const index = a.findIndex((byte, i) => byte !== b[i]);
  if (index >= 0) {
    const i = Math.floor(index / width);
    assert.unreachable(`${label} differ first at [${i}]: ${actual[i]} is not ${expected[i]}`);
  }
}

/** Seeded uniform numbers in [0, 1): mulberry32. */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` seeded samples of N(0, 1), by Box and Muller. */
export function normals(count: number, seed = 1): Float32Array<ArrayBuffer> {
  const next = uniform(seed);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    return radius * Math.cos(2 * Math.PI * next());
  });
}
