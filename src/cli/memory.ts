// Whether a model fits this machine, before anything of it is read: the sizes, what is free, and what would fit.

import { freemem, platform, totalmem } from 'node:os';
import type { ModelMemory } from '../model/model.ts';
import { bytesText } from '../terminal/figures.ts';

/** Contexts that are offered instead of a longer one. */
const CONTEXTS = [65536, 32768, 16384, 8192, 4096, 2048, 1024, 512];
/** Bits per weight that are offered, and what scales add at most. */
const BITS = [4, 3, 2];
const SCALE_BITS = 0.06;

/** Bytes that this process can have: what is free where the system tells it, else what the machine has. */
export function freeMemory(): number {
  if (platform() !== 'linux') return totalmem(); // what others call free leaves out caches, which give way
  const { availableMemory, constrainedMemory } = process as {
    availableMemory?: () => number;
    constrainedMemory?: () => number;
  };
  const limit = constrainedMemory?.() || Number.POSITIVE_INFINITY; // of a container; absurdly large for none
  return Math.min(availableMemory?.() ?? freemem(), limit, totalmem());
}

/**
 * @param dtype of the cache, as asked for
 * @param free bytes
 * @throws {RangeError} when a model needs more than is free: says what would fit
 */
export function checkFits(need: ModelMemory, dtype: 'f16' | 'f32', free: number): void {
  if (need.bytes <= free) return;
  const { bytes, weights, cache, activations, context } = need;
  const sizes = `weights ${bytesText(weights)}, cache ${bytesText(cache)}, activations ${bytesText(activations)}`;
  const fits = offers(need, dtype, free);
  const advice = fits.length > 0 ? `; what fits: ${fits.join(' or ')}` : '';
  throw new RangeError(
    `model needs ${bytesText(bytes)} of memory at a context of ${context}: ${sizes}; ${bytesText(free)} are free${advice}`,
  );
}

function offers(need: ModelMemory, dtype: 'f16' | 'f32', free: number): string[] {
  const { bytes, weights, cache, context, cacheTokens, parameters } = need;
  const found: string[] = [];
  const other = bytes - cache;
  // An eighth of the experts is what a token is routed to, or more.
  const least = bytes - need.experts.bytes * (7 / 8);
  if (need.experts.resident === need.experts.count && need.experts.count > 0 && least <= free) {
    found.push(`--memory ${Math.floor(free / 1e6)}MB`);
  }
  if (dtype === 'f32' && other + cache / 2 <= free) found.push('--cache f16');
  const shorter = CONTEXTS.find((tokens) => tokens < context && other + (cache / cacheTokens) * tokens <= free);
  if (shorter !== undefined) found.push(`--context ${shorter}`);
  if (found.length > 0) return found;
  const sizeOf = (bits: number) => (parameters * (bits + SCALE_BITS)) / 8;
  const bits = BITS.find((bits) => sizeOf(bits) < weights && bytes - weights + sizeOf(bits) <= free);
  if (bits === undefined) return [];
  return [`the original quantized with --bits ${bits} --embeddings t${bits}, ${bytesText(sizeOf(bits))} of weights`];
}
