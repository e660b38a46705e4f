// A model within so many bytes: where it takes more, routed experts share slots, as many as fit. All else stays resident.

import type { Architecture } from '../../families/architecture.ts';
import type { LayoutOptions } from '../layout.ts';
import { type Layout, planModel } from '../memories.ts';
import { megabytes } from '../region.ts';
import type { Weights } from '../weights.ts';

/**
 * Lays a model out within `memory` bytes in all: where it takes more, routed experts share as many slots as fit.
 * @param limit most bytes of a memory
 * @throws {RangeError} when all but the experts, and an expert, take more
 */
export function planWithin(
  architecture: Architecture,
  weights: Weights,
  options: LayoutOptions,
  memory: number,
  limit?: number,
): Layout {
  const whole = planModel(architecture, weights, options, limit);
  if (whole.bytes <= memory) return whole;
  const { count, bytes } = whole.routed;
  if (count === 0) {
    const sizes = `it needs ${megabytes(whole.bytes)} MB, of ${Math.floor(memory / 2 ** 20)} MB`;
    throw new RangeError(`model must fit memory, or have experts that can be read when they are needed: ${sizes}`);
  }
  for (let slotShare = 1 - (whole.bytes - memory) / bytes; ; ) {
    const layout = planModel(architecture, weights, { ...options, slotShare: Math.max(0, slotShare) }, limit);
    if (layout.bytes <= memory) return layout;
    if (slotShare <= 0) {
      const sizes = `they need ${megabytes(layout.bytes)} MB, of ${Math.floor(memory / 2 ** 20)} MB`;
      throw new RangeError(`all weights but experts, cache and activations must fit memory: ${sizes}`);
    }
    slotShare -= Math.max((layout.bytes - memory) / bytes, 1 / count);
  }
}
