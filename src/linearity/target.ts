// The plan of a checkpoint: which of its tensors want a grid, and the budget that makes its files a given size.

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { Grid } from '../grids/grid.ts';
import { type LayoutOptions, planCheckpoint } from '../quantize/plan.ts';
import type { Scheme } from '../quantize/scheme.ts';
import { isEmbedding, type Selection } from '../quantize/select.ts';
import { type Offer, offer, type PlanTensor, planOf } from './allocate.ts';
import type { Alphas } from './alphas.ts';
import { type BitPlan, schemesOf } from './plan.ts';

/** Which tensors to plan for, and which of them have their grid given. */
export interface Wanted extends Pick<Selection, 'include' | 'exclude'> {
  /** Plan embeddings and head too: at this grid, or at any. */
  embeddings: Grid | 'any' | undefined;
  /** Grids of the tensors whose names match; the first that matches counts. */
  keep: readonly (readonly [RegExp, Grid])[];
}

/**
 * The tensors of a checkpoint that would be quantized.
 * @throws {RangeError} when a pattern of `keep` matches none of them; what `planCheckpoint` throws
 */
export function planTensors(checkpoint: Checkpoint, wanted: Wanted, options: Offer): PlanTensor[] {
  const { embeddings, include, exclude, keep } = wanted;
  const scheme = schemeOf(smallest(options.grids), options);
  const selection = { scheme, include, exclude, embeddings: embeddings === 'any' ? scheme.grid : embeddings };
  const unused = new Set(keep);
  const tensors = planCheckpoint(checkpoint, selection).items.flatMap((item): PlanTensor[] => {
    if (item.kind !== 'quantize') return [];
    const { name, shape, byteLength } = item.tensor;
    const kept = keep.find(([pattern]) => pattern.test(name));
    if (kept) unused.delete(kept);
    const grid = kept?.[1] ?? (embeddings !== 'any' && isEmbedding(name) ? embeddings : undefined);
    return [{ name, shape, bytes: byteLength, ...(grid && { keep: grid }) }];
  });
  for (const [pattern] of unused)
    throw new RangeError(`a pattern to keep must match a tensor: ${pattern} matches none first`);
  return tensors;
}

/** A budget: bits per weight, or bytes of the safetensors files. */
export type Budget = { bpw: number } | { size: number };

/**
 * The best plan of a checkpoint for a budget.
 * @throws {RangeError} when no plan is that small, or a tensor has no sensitivity
 */
export function planBits(
  checkpoint: Checkpoint,
  tensors: readonly PlanTensor[],
  alphas: Alphas,
  options: Offer,
  layout: LayoutOptions,
  budget: Budget,
): BitPlan {
  const ready = offer(tensors, alphas, options);
  if ('bpw' in budget) return planOf(ready, alphas, options, budget.bpw);
  // What the files take beside codes and scales, such as grids and headers, depends a little on the plan: the budget is lowered by
  // what a plan is too large, until one fits.
  const { problem, weights } = ready;
  if (weights === 0)
    throw new RangeError('a size can be had only of a checkpoint with weights to quantize: there are none');
  const byName = new Map(
    [...options.grids, ...tensors.flatMap(({ keep }) => keep ?? [])].map((grid) => [grid.name, grid]),
  );
  const bytesOf = (plan: BitPlan) => {
    const schemes = schemesOf(plan, (name) => byName.get(name)!);
    return planCheckpoint(checkpoint, { scheme: [...schemes.values()][0], plan: schemes }, layout).bytesOut;
  };
  const floor = problem.least / weights;
  let plan = planOf(ready, alphas, options, floor);
  const least = bytesOf(plan);
  if (!(budget.size >= least)) {
    throw new RangeError(`size must be at least ${least} bytes, that of the smallest plan: got ${budget.size}`);
  }
  let bits = Math.min(problem.most, problem.least + (budget.size - least) * 8);
  while (bits > problem.least) {
    const next = planOf(ready, alphas, options, bits / weights);
    const excess = bytesOf(next) - budget.size;
    if (excess <= 0) {
      plan = next;
      break;
    }
    bits -= excess * 8;
  }
  return plan;
}

function schemeOf(grid: Grid, { groupSize, seed }: { groupSize: number; seed: number | null }): Scheme {
  return { grid, groupSize, seed };
}

function smallest(grids: readonly Grid[]): Grid {
  return grids.reduce((least, grid) => (grid.bits / grid.p < least.bits / least.p ? grid : least));
}
