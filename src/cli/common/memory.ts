// Whether a model fits this machine, before anything of it is read: the sizes, what is free, and what would fit.

import { freemem, platform, totalmem } from 'node:os';
import type { CacheDtype } from '../../model/cache.ts';
import { type Fitting, type ModelMemory, whatFits } from '../../model/fits.ts';
import { bytesText } from '../../terminal/figures.ts';

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
export function checkFits(need: ModelMemory, dtype: CacheDtype, free: number): void {
  if (need.bytes <= free) return;
  const { bytes, weights, cache, activations, context } = need;
  const sizes = `weights ${bytesText(weights)}, cache ${bytesText(cache)}, activations ${bytesText(activations)}`;
  const fits = whatFits(need, dtype, free).map(optionOf);
  const advice = fits.length > 0 ? `; what fits: ${fits.join(' or ')}` : '';
  throw new RangeError(
    `model needs ${bytesText(bytes)} of memory at a context of ${context}: ${sizes}; ${bytesText(free)} are free${advice}`,
  );
}

// As options of the command line.
function optionOf(fitting: Fitting): string {
  const { option, value } = fitting;
  if (option === 'memory') return `--memory ${Math.floor(value / 1e6)}MB`;
  if (option !== 'bits') return `--${option} ${value}`;
  return `the original quantized with --bits ${value} --embeddings t${value}, ${bytesText(fitting.bytes)} of weights`;
}
