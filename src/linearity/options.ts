// Options of planning, as a caller gives them.

import {
  callback,
  finite,
  flag,
  list,
  number,
  oneOf,
  optionsOf,
  pair,
  pattern,
  type Reader,
  type Schema,
} from '../check.ts';
import { type Grid, gridOrName } from '../grids/grid.ts';
import type { AnyGridName } from '../grids/name.ts';
import { type MatrixOptions, schemeMembers, schemeOf } from '../quantize/matrix.ts';
import { type LayoutOptions, layoutMembers } from '../quantize/plan.ts';
import { patternsOf, stateless } from '../quantize/select.ts';
import type { Offer, PlanTensor } from './allocate.ts';
import { type Alphas, givenAlphas } from './alphas.ts';
import type { Wanted } from './target.ts';

/** What a plan chooses from. */
export interface OfferOptions extends Pick<MatrixOptions, 'groupSize' | 'seed' | 'signs'> {
  /** All that are loaded, if left out. */
  grids?: Iterable<AnyGridName | Grid>;
  /** Whether scales count as bits; true if left out. */
  scales?: boolean;
  /** Least and most bits of a code per weight, for tensors whose grid is free. */
  minBits?: number;
  /** Most bits of a code per weight, for tensors whose grid is free. */
  maxBits?: number;
  /**
   * Whether experts that stand one by one have a grid `each`, or all of a layer and kind one together, as a `stack`. `each` if left out.
   * A tensor that is a stack already has one grid.
   */
  experts?: 'each' | 'stack';
}

/** Which tensors of a checkpoint want a grid. */
export interface TensorOptions extends OfferOptions {
  /** Also plan token embeddings and the output head: at this grid, or at `any`. */
  embeddings?: AnyGridName | Grid;
  /** Plan for the tensors whose names match, instead of the linear weights. */
  include?: RegExp;
  /** Never plan for the tensors whose names match. */
  exclude?: RegExp;
  /** Grids of the tensors whose names match; the first pattern that matches counts. */
  keep?: Iterable<readonly [RegExp, AnyGridName | Grid]>;
}

/** A budget, as bits per weight or as bytes of the safetensors files written, and what a plan chooses from. */
export type BudgetOptions = TensorOptions & LayoutOptions & ({ bpw: number } | { size: number });

/** Most grids to choose from, and most patterns of grids to keep. */
export const GRIDS_LIMIT = 1000;

/** Sensitivities, or what makes them for the tensors that are planned: `priorAlphas`, `uniformAlphas`, a measurement. */
export type AlphasOrMaker = Alphas | ((tensors: readonly PlanTensor[]) => Alphas | Promise<Alphas>);

/** Sensitivities, or a function that makes them. */
export const givenAlphasOrMaker: Reader<AlphasOrMaker> = (subject, value) =>
  typeof value === 'function' ? callback(subject, value) : givenAlphas(subject, value);

/** Members of options of planning. All verbs of planning take those of the others, to be called with the same object. */
export const planningMembers: Schema<TensorOptions & LayoutOptions & { bpw?: number; size?: number }> = {
  ...schemeMembers,
  ...layoutMembers,
  grids: list(gridOrName, GRIDS_LIMIT),
  scales: flag,
  minBits: number(0, Number.POSITIVE_INFINITY),
  maxBits: number(0, Number.POSITIVE_INFINITY),
  experts: oneOf('each', 'stack'),
  embeddings: gridOrName,
  include: pattern,
  exclude: pattern,
  keep: list(pair(pattern, gridOrName), GRIDS_LIMIT),
  bpw: finite,
  size: finite,
};

/** Options of planning, as a caller gives them. */
export const planningOptions = optionsOf<TensorOptions & LayoutOptions & { bpw?: number; size?: number }>(
  planningMembers,
);

/** What options that were checked offer. @throws {RangeError} when there are no grids */
export function offerOf(options: OfferOptions, loaded: Iterable<Grid>, gridOf: (grid: string | Grid) => Grid): Offer {
  const offered = [...(options.grids ?? loaded)].map(gridOf);
  if (offered.length === 0) throw new RangeError('grids must be at least one: got none');
  const { minBits = 0, maxBits = Infinity, scales = true } = options;
  const { groupSize, seed } = schemeOf({ ...options, grid: offered[0] }, gridOf);
  return { grids: offered, groupSize, seed, scales, minBits, maxBits, experts: options.experts };
}

/** Which tensors the options want. @param layers of the model, where they are known */
export function wantedOf(
  options: TensorOptions,
  gridOf: (grid: string | Grid) => Grid,
  layers: number | undefined,
): Wanted {
  const { embeddings } = options;
  return {
    ...patternsOf(options),
    embeddings: embeddings === undefined ? embeddings : embeddings === 'any' ? 'any' : gridOf(embeddings),
    keep: [...(options.keep ?? [])].map(([pattern, grid]) => [stateless(pattern), gridOf(grid)] as const),
    layers,
  };
}
