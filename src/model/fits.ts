// Whether a model fits, from headers alone: what it takes, what a device has, and what would fit instead. Of browsers only Chromium's tell
// how much memory the device has; none tells how much is free. docs/browsers.md has what is known of them.

import { type CacheDtype, cacheBytes } from './cache.ts';
import type { ModelLayout } from './memories.ts';
import { megabytes } from './region.ts';

/** What a model takes of linear memory, in bytes. */
export interface ModelMemory {
  /** All of it. */
  readonly bytes: number;
  /** Weights, as they lie in memory. */
  readonly weights: number;
  /** Keys and values, and recurrent states. */
  readonly cache: number;
  /** The cache of each dtype. */
  readonly caches: Readonly<Record<CacheDtype, number>>;
  /** Activations, tables, what threads work in. */
  readonly activations: number;
  /** Weights of its matrices, quantized or not. */
  readonly parameters: number;
  /** Memories that it lies in. */
  readonly memories: number;
  /** Routed experts, bytes of their weights if all are in memory, and how many fit at once: all, or the slots that they share. */
  readonly experts: { readonly count: number; readonly bytes: number; readonly resident: number };
  /** Most tokens of a text, and tokens that the cache has room for. */
  readonly context: number;
  /** Tokens that the cache has room for, of all texts together. */
  readonly cacheTokens: number;
}

/** @returns what a layout takes, in bytes */
export function memoryNeeded(
  layout: ModelLayout,
  { context, cacheTokens }: Pick<ModelMemory, 'context' | 'cacheTokens'>,
): ModelMemory {
  const { bytes, weightBytes, cacheBytes: cache, memories, routed } = layout;
  // Of all that is kept as it is, and of others: keys and values alone are of a dtype, recurrent states are not.
  const kept = layout.state.blocks.flatMap((block) =>
    'cache' in block && !('borrows' in block && block.borrows) ? [block.cache] : [],
  );
  const lent = memories.flatMap(({ replicas }) => [...replicas.values()]);
  const keptAs = (dtype?: CacheDtype) =>
    [...kept, ...lent].reduce((sum, one) => sum + cacheBytes(one, dtype ?? one.dtype), 0);
  const as = (dtype: CacheDtype) => cache - keptAs() + keptAs(dtype);
  const loads = memories.flatMap(({ pieces, pages }) => [...pieces.flat(), ...pages.flat(2)]);
  const sizes = loads.map((load) => ('linear' in load ? load.linear.rows * load.linear.cols : 0));
  return {
    parameters: sizes.reduce((sum, size) => sum + size, 0),
    ...{
      bytes,
      weights: weightBytes,
      cache,
      activations: bytes - weightBytes - cache,
      caches: { f32: as('f32'), f16: as('f16'), q8: as('q8'), q4: as('q4') },
    },
    ...{ memories: memories.length, context, cacheTokens },
    experts: { count: routed.count, bytes: routed.bytes, resident: routed.slots || routed.count },
  };
}

/** Contexts that are offered instead of a longer one. */
const CONTEXTS = [65536, 32768, 16384, 8192, 4096, 2048, 1024, 512];
/** Bits per weight that are offered, and what scales add at most. */
const BITS = [4, 3, 2];
const SCALE_BITS = 0.06;

/** What a cache may be, the largest first. */
const SMALLER: readonly CacheDtype[] = ['f32', 'f16', 'q8', 'q4'];

/** What would make a model fit: one of these options with this value; or codes of so many bits, whose weights take so many bytes. */
export type Fitting =
  | { readonly option: 'memory' | 'context' | 'cacheTokens'; readonly value: number }
  | { readonly option: 'cache'; readonly value: CacheDtype }
  | { readonly option: 'bits'; readonly value: number; readonly bytes: number };

/**
 * What would fit in `free` bytes; nothing, if nothing is known to. Codes are offered where no option is enough.
 * @param dtype of the cache, as asked for
 */
export function whatFits(need: ModelMemory, dtype: CacheDtype, free: number): Fitting[] {
  const { bytes, weights, cache, caches, context, cacheTokens, parameters, experts } = need;
  const fitting: Fitting[] = [];
  const other = bytes - cache;
  // An eighth of the experts is what a token is routed to, or more.
  const least = bytes - experts.bytes * (7 / 8);
  if (experts.resident === experts.count && experts.count > 0 && least <= free) {
    fitting.push({ option: 'memory', value: free });
  }
  const smaller = SMALLER.slice(SMALLER.indexOf(dtype) + 1).find((kind) => other + caches[kind] <= free);
  if (smaller) fitting.push({ option: 'cache', value: smaller });
  if (cacheTokens > context && other + (cache / cacheTokens) * context <= free) {
    fitting.push({ option: 'cacheTokens', value: context });
  }
  const shorter = CONTEXTS.find((tokens) => tokens < context && other + (cache / cacheTokens) * tokens <= free);
  if (shorter !== undefined) fitting.push({ option: 'context', value: shorter });
  if (fitting.length > 0) return fitting;
  const sizeOf = (bits: number) => (parameters * (bits + SCALE_BITS)) / 8;
  const value = BITS.find((bits) => sizeOf(bits) < weights && bytes - weights + sizeOf(bits) <= free);
  return value === undefined ? [] : [{ option: 'bits', value, bytes: sizeOf(value) }];
}

/** Values of `deviceMemory` that may stand for more: browsers tell no more than 8, or than 32. */
const CUT = [8, 32];

/** Most bytes that this device may have; undefined where the runtime does not tell. */
export function deviceBytes(runtime: object | undefined = globalThis.navigator): number | undefined {
  const { deviceMemory } = (runtime ?? {}) as { readonly deviceMemory?: unknown };
  if (typeof deviceMemory !== 'number' || !(deviceMemory > 0) || CUT.includes(deviceMemory)) return undefined;
  return deviceMemory * 1.5 * 2 ** 30; // it is told as the nearest power of two
}

/** The error of a model that does not fit. @param there what is there instead, in words */
export function doesNotFit(need: ModelMemory, dtype: CacheDtype, free: number, there: string): RangeError {
  const sizes = `weights ${megabytes(need.weights)} MB, cache ${megabytes(need.cache)} MB, activations ${megabytes(need.activations)} MB`;
  const fits = whatFits(need, dtype, free).flatMap((fitting) => {
    const { option, value } = fitting;
    if (option === 'memory') return []; // which asks for files that can be read at once
    if (option !== 'bits') return [`${option} ${value}`];
    return [`the original quantized with bits ${value}, embeddings too, ${megabytes(fitting.bytes)} MB of weights`];
  });
  const advice = fits.length > 0 ? `; what fits: ${fits.join(' or ')}` : '';
  return new RangeError(
    `model must fit memory: at a context of ${need.context} it needs ${megabytes(need.bytes)} MB, ${sizes}; ${there}${advice}`,
  );
}

/** @throws {RangeError} when a model needs more than the device can have, if the runtime tells: says what would fit */
export function checkDevice(need: ModelMemory, dtype: CacheDtype): void {
  const most = deviceBytes();
  if (most !== undefined && need.bytes > most) {
    throw doesNotFit(need, dtype, most, `this device has less than ${megabytes(most)} MB`);
  }
}
