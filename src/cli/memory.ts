// Whether a model fits this machine, before anything of it is read: the sizes, what is free, and what would fit.

import { freemem, platform, totalmem } from 'node:os';
import type { ModelMemory } from '../model/model.ts';
import { bytesText } from '../terminal/figures.ts';

/** Contexts that are offered instead of a longer one. */
const CONTEXTS = [65536, 32768, 16384, 8192, 4096, 2048, 1024, 512];
/** Bits per weight that are offered. */
const BITS = [4, 3, 2];

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

/** What is asked for of a model, to say what could be asked for instead. */
export interface Asked {
  /** Weights of the model, all tensors together. */
  parameters: number;
  cache: 'f16' | 'f32';
  /** Whether its weights are quantized. */
  isQuantized: boolean;
}

/** @throws {RangeError} when a model needs more than is free */
export function checkFits(need: ModelMemory, asked: Asked, free: number): void {
  if (need.bytes <= free) return;
  const { bytes, weights, cache, activations, context } = need;
  const sizes = `weights ${bytesText(weights)}, cache ${bytesText(cache)}, activations ${bytesText(activations)}`;
  const fits = offers(need, asked, free);
  const advice = fits.length > 0 ? `; what fits: ${fits.join(', ')}` : '';
  throw new RangeError(
    `model needs ${bytesText(bytes)} of memory (${sizes}) at a context of ${context}, and ${bytesText(free)} are free${advice}`,
  );
}

function offers({ bytes, weights, cache, context, cacheTokens }: ModelMemory, asked: Asked, free: number): string[] {
  const found: string[] = [];
  const other = bytes - cache;
  if (asked.cache === 'f32' && other + cache / 2 <= free) found.push('--cache f16');
  const shorter = CONTEXTS.find((tokens) => tokens < context && other + (cache / cacheTokens) * tokens <= free);
  if (shorter !== undefined) found.push(`--context ${shorter}`);
  if (found.length > 0) return found;
  const bits = BITS.find(
    (bits) => sizeOf(asked.parameters, bits) < weights && bytes - weights + sizeOf(asked.parameters, bits) <= free,
  );
  if (bits !== undefined) {
    const size = bytesText(sizeOf(asked.parameters, bits));
    const from = asked.isQuantized ? 'the original quantized' : 'the model quantized';
    found.push(`${from} with --bits ${bits} and --embeddings p1n16, ${size} of weights`);
  }
  return found;
}

// Scales take a part of a percent.
const sizeOf = (parameters: number, bits: number): number => (parameters * (bits + 0.06)) / 8;
