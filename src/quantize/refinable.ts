// Which grids weights can be refined to. It is said before statistics are gathered, which takes hours.

import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import { placeOf } from '../checkpoint/tensor.ts';
import { UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import type { Grid } from '../grids/grid.ts';
import { isRefinable } from '../kernels/layout.ts';
import { isEmbedding } from './select.ts';

/** A choice of grids, as the options of `quantize` have it. */
interface Choice {
  /** Of every weight, unless there is a plan or there are grids to choose from. */
  grid: string | Grid;
  grids?: Iterable<string | Grid> | undefined;
  keep?: Iterable<readonly [RegExp, string | Grid]> | undefined;
  plan?: { tensors: readonly { name: string; grid: string }[] } | ReadonlyMap<string, string | Grid> | undefined;
}

/** @throws {UnsupportedError} when weights of the grid cannot be encoded with error feedback */
export function checkRefinable(grid: Grid, tensor?: CheckpointTensor): void {
  if (isRefinable(grid)) return;
  const what = tensor ? 'grid of a refined weight' : 'grid';
  const message = `${what} must be one that can be refined, such as t4, t3, t2 and all p grids: got ${show(grid.name)}`;
  throw new UnsupportedError(`refining ${grid.name}`, message, tensor && placeOf(tensor));
}

/**
 * Checks all grids that a choice may give to weights that are refined; embeddings are not.
 * @param names of the checkpoint's tensors
 * @throws {UnsupportedError} when one cannot be refined to
 */
export function checkRefinedGrids(
  { grid, grids, keep = [], plan }: Choice,
  names: readonly string[],
  gridOf: (grid: string | Grid) => Grid,
): void {
  const check = (each: string | Grid) => checkRefinable(gridOf(each));
  if (plan) {
    const planned = 'tensors' in plan ? plan.tensors.map(({ name, grid }) => [name, grid] as const) : [...plan];
    for (const [name, each] of planned) if (!isEmbedding(name)) check(each);
    return;
  }
  for (const each of grids ?? [grid]) check(each);
  for (const [pattern, each] of keep) {
    if (names.some((name) => name.search(pattern) >= 0 && !isEmbedding(name))) check(each);
  }
}
