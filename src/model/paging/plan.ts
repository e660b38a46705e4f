// A model within so many bytes: where it takes more, routed experts share slots, as many as fit. All else stays resident.

import type { Architecture } from '../../families/architecture.ts';
import type { MemoryLayoutOptions } from '../layout.ts';
import { type ModelLayout, orTooLarge, planModel, planWhole } from '../memories.ts';
import { megabytes } from '../region.ts';
import type { ModelWeights } from '../weights.ts';

/** Of the slots of a layer that exceeds a memory, so many are tried next. */
const LESS = 3 / 4;

/**
 * Lays a model out within `memory` bytes in all: where it takes more, routed experts share as many slots as fit.
 * @param limit most bytes of a memory
 * @throws {RangeError} when all but the experts, and an expert, take more
 */
export function planWithin(
  architecture: Architecture,
  weights: ModelWeights,
  options: MemoryLayoutOptions,
  memory: number,
  limit?: number,
): ModelLayout {
  const plan = (slotShare?: number) =>
    planModel(architecture, weights, slotShare === undefined ? options : { ...options, slotShare }, limit);
  const { bytes, routed } = planWhole(architecture, weights, options); // for its sizes: no memory may be as large
  const { count } = routed;
  if (count === 0 || bytes <= memory) {
    const layout = count === 0 ? plan() : orTooLarge(plan);
    if (layout && layout.bytes <= memory) return layout;
    if (count === 0) {
      const sizes = `it needs ${megabytes(layout!.bytes)} MB, of ${Math.floor(memory / 2 ** 20)} MB`;
      throw new RangeError(`model must fit memory, or have experts that can be read when they are needed: ${sizes}`);
    }
  }
  for (let share = Math.max(0, bytes <= memory ? LESS : 1 - (bytes - memory) / routed.bytes); ; ) {
    const layout = share > 0 ? orTooLarge(() => plan(share)) : plan(0);
    if (layout && layout.bytes <= memory) return layout;
    if (layout && share === 0) {
      const sizes = `they need ${megabytes(layout.bytes)} MB, of ${Math.floor(memory / 2 ** 20)} MB`;
      throw new RangeError(`all weights except experts, the cache and the activations must fit memory: ${sizes}`);
    }
    const step = layout ? (layout.bytes - memory) / routed.bytes : share * (1 - LESS);
    share = Math.max(0, share - Math.max(step, 1 / count));
  }
}
