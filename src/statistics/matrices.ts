// Statistics of a block's weights, as sums of outer products: of inputs x, Σ w_τ x_τ x_τᵀ, where w_τ is the squared norm of the gradients
// of the outputs, summed over label draws, or 1; of those gradients δ, Σ δ δᵀ. A matrix is symmetric: its lower triangle stands for it,
// row by row, in half the bytes. Of wide inputs only blocks on the diagonal are kept, one for each group of columns that a quantizer
// rotates together: nothing here is a matrix of hidden².

import { type Block, statisticsOf, weightsOf } from '../model/blocks/blocks.ts';
import type { Linear } from '../model/linear.ts';

/** What is gathered. */
export interface StatisticsKind {
  /** `both`: inputs, weighted by gradients, and gradients. `inputs`: inputs alone, all alike; the model only goes forward. */
  readonly mode: 'both' | 'inputs';
  /** Columns of a block on the diagonal where inputs are cut: a power of two. */
  readonly groupSize: number;
}

/** A matrix of sums. */
export interface Sums {
  /** Of its weight, in the block. */
  readonly place: number;
  /** Whether the sums are of inputs or of outputs' gradients. */
  readonly of: 'inputs' | 'outputs';
  /** Widths of its blocks on the diagonal. */
  readonly parts: readonly number[];
  /** Where its first f32 stands among those of the block's, and how many it has. */
  readonly at: number;
  /** How many f32 it has. */
  readonly floats: number;
}

/** Elements of a lower triangle with its diagonal. */
export function triangleOf(width: number): number {
  return (width * (width + 1)) / 2;
}

/** Widths of the groups of a row (FORMAT.md, "Groups"). */
export function groupsOf(cols: number, groupSize: number): number[] {
  const widths: number[] = [];
  for (let [rest, width] = [cols, groupSize]; rest > 0; ) {
    if (width > rest) width /= 2;
    else rest -= widths[widths.push(width) - 1];
  }
  return widths;
}

/** The matrices of a block, in the order of their weights. Of equal inputs without weights one is computed for all. */
export function sumsOf(block: Block, { mode, groupSize }: StatisticsKind): Sums[] {
  const all: Sums[] = [];
  const kinds = statisticsOf(block);
  const weights = weightsOf(block);
  let end = 0;
  const add = (place: number, of: Sums['of'], parts: readonly number[], equal?: Sums) => {
    const floats = parts.reduce((sum, width) => sum + triangleOf(width), 0);
    all.push({ place, of, parts, floats, at: equal?.at ?? end });
    if (!equal) end += floats;
  };
  for (const [place, { rows, cols, input }] of weights.entries()) {
    const parts = kinds[place].cut ? groupsOf(cols, groupSize) : [cols];
    const { reads } = kinds[place];
    const equal = all.find(
      (own) => mode === 'inputs' && weights[own.place].input === input && kinds[own.place].reads === reads,
    );
    add(place, 'inputs', parts, equal);
    if (mode === 'both' && kinds[place].outputs) add(place, 'outputs', [rows]);
  }
  return all;
}

/** What statistics name a weight: as its tensor, of a stack as if experts stood one by one. */
export function statisticsName({ name, single }: Linear): string {
  return single ?? name;
}

/** Floats of all matrices. */
export function floatsOf(all: readonly Sums[]): number {
  return all.reduce((most, { at, floats }) => Math.max(most, at + floats), 0);
}
