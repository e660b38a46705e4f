// Keys and values of the tokens that went through the model. The cache has rows, one a token; each attention block keeps
//
//   keys (kvHeads, rows, headDim)    values (kvHeads, rows, headDim)      f16, f32, or codes of 8 or 4 bits
//   of codes also their scales       (kvHeads, rows) f16 each             assembly/decoder/cachecodes.ts
//
// Latent attention keeps one row a token, and its values are elements of it: both stand at one address. As codes a row is two parts, the
// latent and the turned key, with a scale of each.
// A sequence holds consecutive rows, its first token in row `start`. Nobody else knows an address in it.

import { cacheCodesBytes } from '../kernels/decoder/sizes.ts';
import { dtypeCodes } from '../kernels/layout.ts';
import type { State } from './state.ts';
import type { Thread } from './team.ts';

/** How keys and values may be kept. */
export const CACHE_DTYPES = ['f16', 'f32', 'q8', 'q4'] as const;
/** How keys and values are kept: floats, or codes of 8 or 4 bits. */
export type CacheDtype = (typeof CACHE_DTYPES)[number];

/** What one attention block keeps: plain data, the same for all threads. */
export interface BlockCache {
  /** How keys and values are kept. */
  readonly dtype: CacheDtype;
  /** Address of the keys, (kvHeads, rows, rowBytes). */
  readonly keys: number;
  /** Address of the values, (kvHeads, rows, rowBytes); of latents that of the keys. */
  readonly values: number;
  /** Heads of keys and values. */
  readonly kvHeads: number;
  /** Positions that there is room for, of all sequences. */
  readonly rows: number;
  /** Elements of a key. */
  readonly headDim: number;
  /** Elements of the parts of a key: of all of it, or of latent and turned key. */
  readonly parts: readonly number[];
  /** Bytes of a key, and of a value. */
  readonly rowBytes: number;
  /** Scales of codes, of each part and of values; none of floats. */
  readonly keyScales: readonly number[];
  /** Address of the scales of values; of codes alone. */
  readonly valueScales: number;
  /** Signs that the transform of codes begins with; 0 where they are not turned. */
  readonly masks: number;
  /** One i32, other than 0 when something that was stored is infinite or NaN as f16. */
  readonly special: number;
}

/** What a block keeps, before it has a place. */
export interface CacheShape {
  /** Heads of keys and values; 1 for latents. */
  readonly kvHeads: number;
  /** Elements of a head; of latents two numbers. */
  readonly parts: readonly number[];
}

/** Plans the cache of a block. @param masks signs of the largest part */
export function planCache(
  { kvHeads, parts }: CacheShape,
  dtype: CacheDtype,
  rows: number,
  reserve: (byteLength: number) => number,
  masks: number,
): BlockCache {
  const rowBytes = rowBytesOf(parts, dtype);
  const isLatent = parts.length > 1;
  const keys = reserve(kvHeads * rows * rowBytes);
  const values = isLatent ? keys : reserve(kvHeads * rows * rowBytes);
  const scales = () => reserve(kvHeads * rows * SCALE_BYTES);
  const keyScales = bitsOf(dtype) ? parts.map(scales) : [];
  return {
    ...{ dtype, keys, values, kvHeads, rows, parts, rowBytes, keyScales },
    headDim: parts.reduce((sum, part) => sum + part, 0),
    valueScales: bitsOf(dtype) ? (isLatent ? keyScales[0] : scales()) : 0,
    masks: bitsOf(dtype) ? masks : 0,
    special: dtype === 'f16' ? reserve(4) : 0,
  };
}

/** Bytes of an f16 scale. */
const SCALE_BYTES = 2;

const bitsOf = (dtype: CacheDtype) => (dtype === 'q8' ? 8 : dtype === 'q4' ? 4 : 0);

function rowBytesOf(parts: readonly number[], dtype: CacheDtype): number {
  const bits = bitsOf(dtype);
  return parts.reduce((sum, part) => sum + (bits ? cacheCodesBytes(part, bits) : part * (dtype === 'f16' ? 2 : 4)), 0);
}

// All that is kept of a row of a head, by address and bytes a row.
function arraysOf({
  keys,
  values,
  rowBytes,
  keyScales,
  valueScales,
}: BlockCache): { address: number; bytes: number }[] {
  const scales = keys === values || !valueScales ? keyScales : [...keyScales, valueScales];
  return [
    { address: keys, bytes: rowBytes },
    ...(keys === values ? [] : [{ address: values, bytes: rowBytes }]),
    ...scales.map((address) => ({ address, bytes: SCALE_BYTES })),
  ];
}

/** Bytes of all that a block keeps. @param dtype another one than its own */
export function cacheBytes({ kvHeads, rows, parts }: BlockCache, dtype: CacheDtype): number {
  const scales = bitsOf(dtype) ? parts.length * SCALE_BYTES : 0;
  return (parts.length > 1 ? 1 : 2) * kvHeads * rows * (rowBytesOf(parts, dtype) + scales);
}

/** Where the key of a head, or its value, stands in a row. */
export function keyAt({ keys, rows, rowBytes }: BlockCache, head: number, row: number): number {
  return keys + (head * rows + row) * rowBytes;
}

/** Address of a value in the cache. */
export function valueAt({ values, rows, rowBytes }: BlockCache, head: number, row: number): number {
  return values + (head * rows + row) * rowBytes;
}

/** Stores a key or a value, (headDim) f32, of a head in a row. */
export function store(
  { kernels, ints, index }: Thread,
  { scratch }: State,
  cache: BlockCache,
  which: 'key' | 'value',
  head: number,
  row: number,
  from: number,
): void {
  const { dtype, headDim, parts, special, keyScales, valueScales, masks, rows } = cache;
  const to = (which === 'key' ? keyAt : valueAt)(cache, head, row);
  if (dtype === 'f32') kernels.widen(from, dtypeCodes.F32, 0, headDim, to);
  else if (dtype === 'f16') {
    if (kernels.f32ToF16(from, to, headDim)) ints[special / 4] = 1;
  } else {
    const bits = bitsOf(dtype);
    let [x, codes] = [from, to];
    for (const [i, part] of parts.entries()) {
      const scale = (which === 'key' ? keyScales[i] : valueScales) + (head * rows + row) * SCALE_BYTES;
      kernels.keepCodes(x, part, bits, masks, codes, scale, scratch[index]);
      x += part * 4;
      codes += cacheCodesBytes(part, bits);
    }
  }
}

/** Queries of some heads that share one head of keys and values, of consecutive tokens of a sequence. */
interface Queries {
  readonly queries: number; // (tokens, stride), those of the first head
  readonly mixed: number; // (tokens, stride), what they mix of values
  readonly tokens: number;
  readonly heads: number;
  /** Floats from token to token. */
  readonly stride: number;
  /** The first token's position. */
  readonly position: number;
}

/** What attention does with scores. */
interface Scoring {
  readonly window: number;
  readonly scale: number;
  readonly cap: number;
  readonly sinks: number; // of the first head, 0 for none
}

/** Attention of queries over what a head keeps of the sequence that begins in row `start`. Of latents the first part is mixed. */
export function attendCached(
  { kernels, ints, index }: Thread,
  { tile, span, scratch }: State,
  cache: BlockCache,
  head: number,
  start: number,
  { queries, mixed, tokens, heads, stride, position }: Queries,
  { window, scale, cap, sinks }: Scoring,
): void {
  const { dtype, headDim, parts, rowBytes, keyScales, valueScales, masks, special } = cache;
  const [keys, values] = [keyAt(cache, head, start), valueAt(cache, head, start)];
  const ahead = (head * cache.rows + start) * SCALE_BYTES;
  const how = [position, window, scale, cap, sinks, tile, span, scratch[index]] as const;
  if (dtype === 'f32' || dtype === 'f16') {
    const kind = dtype === 'f32' ? 0 : ints[special / 4] ? 2 : 1;
    kernels.attend(queries, mixed, tokens, heads, stride, headDim, parts[0], keys, values, kind, ...how);
  } else {
    const [first, more = 0] = keyScales;
    kernels.attendCodes(
      ...([queries, mixed, tokens, heads, stride, parts[0], parts[1] ?? 0] as const),
      ...([keys, rowBytes, first + ahead, more && more + ahead, values, rowBytes, valueScales + ahead] as const),
      ...([bitsOf(dtype), masks] as const),
      ...how,
    );
  }
}

/** Copies `count` rows to others; both may overlap. */
export function copyRows(memory: Uint8Array, cache: BlockCache, from: number, to: number, count: number): void {
  for (const { address, bytes } of arraysOf(cache)) {
    for (let head = 0; head < cache.kvHeads; head++) {
      const first = address + head * cache.rows * bytes;
      memory.copyWithin(first + to * bytes, first + from * bytes, first + (from + count) * bytes);
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
  const [source, target] = [new Uint8Array(from.buffer), new Uint8Array(to.buffer)];
  const others = arraysOf(other);
  for (const [i, { address, bytes }] of arraysOf(cache).entries()) {
    for (let head = 0; head < cache.kvHeads; head++) {
      const ahead = (head * cache.rows + row) * bytes;
      target.set(source.subarray(address + ahead, address + ahead + count * bytes), others[i].address + ahead);
    }
  }
  if (cache.special && source[cache.special]) target[other.special] = 1;
}

/** Bytes of `count` rows as `readRows` gives them: whether one was infinite or NaN, then each array's rows, head by head. */
export function rowsBytes(cache: BlockCache, count: number): number {
  return 1 + arraysOf(cache).reduce((sum, { bytes }) => sum + bytes, 0) * cache.kvHeads * count;
}

// The places of `count` rows, in the order of `readRows`.
function* placesOf(cache: BlockCache, row: number, count: number): Generator<{ address: number; bytes: number }> {
  for (const { address, bytes } of arraysOf(cache)) {
    for (let head = 0; head < cache.kvHeads; head++)
      yield { address: address + (head * cache.rows + row) * bytes, bytes: count * bytes };
  }
}

/** Writes `count` rows out. @param to (rowsBytes) */
export function readRows(memory: Uint8Array, cache: BlockCache, row: number, count: number, to: Uint8Array): void {
  to[0] = cache.special ? memory[cache.special] : 0;
  let end = 1;
  for (const { address, bytes } of placesOf(cache, row, count)) {
    to.set(memory.subarray(address, address + bytes), end);
    end += bytes;
  }
}

/** Takes `count` rows that `readRows` wrote out, of a cache of this kind. */
export function writeRows(memory: Uint8Array, cache: BlockCache, row: number, count: number, from: Uint8Array): void {
  if (cache.special && from[0]) memory[cache.special] = 1;
  let end = 1;
  for (const { address, bytes } of placesOf(cache, row, count)) {
    memory.set(from.subarray(end, end + bytes), address);
    end += bytes;
  }
}
