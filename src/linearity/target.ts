// The plan of a checkpoint: which of its tensors want a grid, and the budget that makes its files a given size.

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { Grid } from '../grids/grid.ts';
import { type LayoutOptions, planCheckpoint } from '../quantize/plan.ts';
import type { Scheme } from '../quantize/scheme.ts';
import { isEmbedding, type Selection } from '../quantize/select.ts';
import { budgetBits, type Offer, offer, type PlanTensor, planOf, type Ready } from './allocate.ts';
import type { Alphas } from './alphas.ts';
import { type BitPlan, schemesOf } from './plan.ts';
import { uniformAlphas } from './prior.ts';

/** Which tensors to plan for, and which of them have their grid given. */
export interface Wanted extends Pick<Selection, 'include' | 'exclude'> {
  /** Plan embeddings and head too: at this grid, or at any. */
  embeddings: Grid | 'any' | undefined;
  /** Grids of the tensors whose names match; the first that matches counts. */
  keep: readonly (readonly [RegExp, Grid])[];
  /** Layers that run, where it is known. Those behind them predict further tokens. */
  layers: number | undefined;
}

/**
 * The tensors of a checkpoint that would be quantized. Those of layers behind the last are named with the like ones of the last; what has
 * no like one there is left out, and so stays as it is.
 * @throws {RangeError} when a pattern of `keep` matches none of them; what `planCheckpoint` throws
 */
export function planTensors(checkpoint: Checkpoint, wanted: Wanted, options: Offer): PlanTensor[] {
  const { embeddings, include, exclude, keep, layers = Infinity } = wanted;
  const scheme = schemeOf(leastOf(options.grids), options);
  const selection = { scheme, include, exclude, embeddings: embeddings === 'any' ? scheme.grid : embeddings };
  const unused = new Set(keep);
  const path = checkpoint.tensors.flatMap(({ name }) => LAYER.exec(name)?.[1] ?? [])[0] ?? '';
  const tensors = planCheckpoint(checkpoint, selection).items.flatMap((item): PlanTensor[] => {
    if (item.kind !== 'quantize') return [];
    const { name, shape, byteLength } = item.tensor;
    const kept = keep.find(([pattern]) => pattern.test(name));
    if (kept) unused.delete(kept);
    const grid = kept?.[1] ?? (embeddings !== 'any' && isEmbedding(name) ? embeddings : undefined);
    const like = likeOf(name, layers, path);
    if (like !== undefined && !grid && String(checkpoint.get(like)?.shape) !== String(shape)) return [];
    return [{ name, shape, bytes: byteLength, ...(grid && { keep: grid }), ...(like !== undefined && { like }) }];
  });
  for (const [pattern] of unused)
    throw new RangeError(`a pattern to keep must match a tensor before other patterns do: ${pattern} matches none`);
  return tensors;
}

const LAYER = /^((?:model\.|language_model\.)*layers\.)(\d+)(\..+)$/;
/** Layers behind the last by names of their own: Qwen's `mtp.layers.0`, ERNIE's `model.mtp_block.0`, and what stands beside them. */
const NAMED = /^(?:model\.)?mtp(?:(?:\.layers|_block)\.\d+)?([._].+)$/;

// The name in the last layer of a tensor of a layer behind it: none has it where there is no like one. @param path of the layers
function likeOf(name: string, layers: number, path: string): string | undefined {
  const [, , layer, rest = NAMED.exec(name)?.[1]] = LAYER.exec(name) ?? [];
  const isBehind = rest !== undefined && layers !== Infinity && Number(layer ?? layers) >= layers;
  return isBehind ? `${path}${layers - 1}${rest}` : undefined;
}

/** A budget: bits per weight, or bytes of the safetensors files. */
export type Budget = { bpw: number } | { size: number };

/** What is planned for, on what terms. */
interface BudgetProblem {
  readonly checkpoint: Checkpoint;
  readonly tensors: readonly PlanTensor[];
  readonly offered: Offer;
  readonly layout: LayoutOptions;
  readonly budget: Budget;
}

/**
 * The best plan of a checkpoint for a budget.
 * @param alphas sensitivities, or what measures them: called if there is something to plan, and the budget can be met
 * @throws {RangeError} when no plan is that small, or a tensor has no sensitivity
 */
export async function planBits(problem: BudgetProblem, alphas: Alphas | (() => Promise<Alphas>)): Promise<BitPlan> {
  const { tensors, offered, budget } = problem;
  const sensitivities = typeof alphas === 'object' ? alphas : uniformAlphas(tensors); // the least size is that of any
  const ready = offer(tensors, sensitivities, offered);
  if (typeof alphas === 'function' && tensors.length > 0) {
    if ('bpw' in budget) budgetBits(ready, budget.bpw);
    else smallest(problem, budget.size, ready, sensitivities);
    return planBits(problem, await alphas());
  }
  if ('bpw' in budget) return planOf(ready, sensitivities, offered, budget.bpw);
  // What the files take beside codes and scales, such as grids and headers, depends a little on the plan: the budget is lowered by
  // what a plan is too large, until one fits.
  const { weights } = ready;
  const { least, most } = ready.problem;
  const { bytes, ...solution } = smallest(problem, budget.size, ready, sensitivities);
  let { plan } = solution;
  let bits = Math.min(most, least + (budget.size - bytes) * 8);
  while (bits > least) {
    const next = planOf(ready, sensitivities, offered, bits / weights);
    const excess = bytesOf(problem, next) - budget.size;
    if (excess <= 0) {
      plan = next;
      break;
    }
    bits -= excess * 8;
  }
  return plan;
}

// The smallest plan and what its files take. @throws {RangeError} when that is above the budget
function smallest(
  problem: BudgetProblem,
  size: number,
  ready: Ready,
  alphas: Alphas,
): { plan: BitPlan; bytes: number } {
  const { weights } = ready;
  if (weights === 0) throw new RangeError('size must be for a checkpoint with weights to quantize: this one has none');
  const plan = planOf(ready, alphas, problem.offered, ready.problem.least / weights);
  const bytes = bytesOf(problem, plan);
  if (size >= bytes) return { plan, bytes };
  throw new RangeError(`size must be at least ${bytes} bytes, that of the smallest plan: got ${size}`);
}

function bytesOf({ checkpoint, tensors, offered, layout }: BudgetProblem, plan: BitPlan): number {
  const grids = [...offered.grids, ...tensors.flatMap(({ keep }) => keep ?? [])];
  const byName = new Map(grids.map((grid) => [grid.name, grid]));
  const schemes = schemesOf(plan, (name) => byName.get(name)!);
  return planCheckpoint(checkpoint, { scheme: [...schemes.values()][0], plan: schemes }, layout).bytesOut;
}

function schemeOf(grid: Grid, { groupSize, seed }: { groupSize: number; seed: number | null }): Scheme {
  return { grid, groupSize, seed };
}

function leastOf(grids: readonly Grid[]): Grid {
  return grids.reduce((least, grid) => (grid.bits / grid.p < least.bits / least.p ? grid : least));
}
