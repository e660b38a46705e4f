// Keys and values of the tokens that went through the model. The cache has rows, one a token; each attention block keeps
//
//   keys (kvHeads, rows, headDim)    values (kvHeads, rows, headDim)    f16 or f32
//
// Latent attention keeps one row a token, and its values are elements of it: both stand at one address.
// A sequence holds consecutive rows, its first token in row `start`. Nobody else knows an address in it.

import type { DecoderExports } from '../kernels/decoder/exports.ts';
import { dtypeCodes } from '../kernels/layout.ts';

/** What one attention block keeps: plain data, the same for all threads. */
export interface BlockCache {
  readonly keys: number;
  readonly values: number;
  readonly kvHeads: number;
  readonly rows: number;
  readonly headDim: number;
  /** Bytes of an element: 2 for f16, 4 for f32. */
  readonly width: number;
}

/** Plans the cache of a block. @param isLatent whether values are elements of the keys */
export function planCache(
  kvHeads: number,
  headDim: number,
  isLatent: boolean,
  rows: number,
  width: number,
  reserve: (byteLength: number) => number,
): BlockCache {
  const byteLength = kvHeads * rows * headDim * width;
  const keys = reserve(byteLength);
  return { keys, values: isLatent ? keys : reserve(byteLength), kvHeads, rows, headDim, width };
}

const arraysOf = ({ keys, values }: BlockCache) => (keys === values ? [keyAt] : [keyAt, valueAt]);

/** Bytes of all that a block keeps. */
export function cacheBytes(cache: BlockCache): number {
  const { kvHeads, rows, headDim, width } = cache;
  return arraysOf(cache).length * kvHeads * rows * headDim * width;
}

/** Where the key of a head, or its value, stands in a row. */
export function keyAt({ keys, rows, headDim, width }: BlockCache, head: number, row: number): number {
  return keys + (head * rows + row) * headDim * width;
}

export function valueAt({ values, rows, headDim, width }: BlockCache, head: number, row: number): number {
  return values + (head * rows + row) * headDim * width;
}

/** Stores a key or a value, (headDim) f32, at an address of the cache. */
export function store(kernels: DecoderExports, { headDim, width }: BlockCache, from: number, to: number): void {
  if (width === 2) kernels.f32ToF16(from, to, headDim);
  else kernels.widen(from, dtypeCodes.F32, 0, headDim, to);
}

/** Copies `count` rows to others; both may overlap. */
export function copyRows(memory: Uint8Array, cache: BlockCache, from: number, to: number, count: number): void {
  const bytes = count * cache.headDim * cache.width;
  for (let head = 0; head < cache.kvHeads; head++) {
    for (const at of arraysOf(cache)) {
      const source = at(cache, head, from);
      memory.copyWithin(at(cache, head, to), source, source + bytes);
    }
  }
}

/** Copies `count` rows to the same place in the cache of another memory, of the same shape. */
export function copyAcross(
  from: Float32Array,
  cache: BlockCache,
  to: Float32Array,
  other: BlockCache,
  row: number,
  count: number,
): void {
  const bytes = count * cache.headDim * cache.width;
  const [source, target] = [new Uint8Array(from.buffer), new Uint8Array(to.buffer)];
  for (let head = 0; head < cache.kvHeads; head++) {
    for (const at of arraysOf(cache)) {
      const start = at(cache, head, row);
      target.set(source.subarray(start, start + bytes), at(other, head, row));
    }
  }
}
