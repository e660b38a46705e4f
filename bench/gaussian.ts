// Seeded Gaussian weights without end. They come from a pool of a million samples at seeded places: their statistics matter
// here, their independence not.

import { normals, uniform } from '../tests/bits.ts';

const POOL = 1 << 20;

export type FloatType = 'bf16' | 'f32';

/** Gives as many weights as asked for, of standard deviation 0.02, as bytes in parts. */
export function gaussianBytes(dtype: FloatType): (count: number) => Iterable<Uint8Array> {
  const samples = normals(POOL).map((z) => z * 0.02);
  const width = dtype === 'bf16' ? 2 : 4;
  const array = dtype === 'bf16' ? Uint16Array.from(new Uint32Array(samples.buffer), (u) => u >>> 16) : samples;
  const pool = new Uint8Array(array.buffer);
  const next = uniform(1);
  return function* (count) {
    for (let left = count * width; left > 0; ) {
      const start = Math.floor((next() * POOL) / 2) * width;
      const part = pool.subarray(start, start + left);
      yield part;
      left -= part.length;
    }
  };
}
