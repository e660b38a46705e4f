// Follows a trellis' recipe: scatter, anneal, round to integers, polish them, measure what is stored.

import { random } from '../gaussian.ts';
import { anneal } from './anneal.ts';
import type { Coder } from './coder.ts';
import { measure } from './measure.ts';
import { polish } from './polish.ts';
import type { TrellisRecipe } from './recipes.ts';
import { quantiles, shuffle } from './sample.ts';
import { type Integers, scattered, toIntegers } from './tables.ts';

export interface MadeTrellis {
  readonly trellis: Integers;
  readonly mse: number;
  /** Standard error of `mse`. */
  readonly error: number;
}

/** Steps of the rows that tables are fitted to: long, as the warm-up of each row costs 64 more. */
const STEPS = 1024;
/** Rows that integers are polished with: a million weights. */
const POLISH_ROWS = 256;
/** 128 · 65536 weights in rows of 1024. */
const PROOF = { steps: 256, batches: 128, seed: 20240521 };

export function makeTrellis(recipe: TrellisRecipe, code: Coder): MadeTrellis {
  const uniform = random(recipe.seed + 1);
  const sample = quantiles(POLISH_ROWS, STEPS);
  shuffle(sample, uniform);
  const { trellis } = polish(recipe.shape, annealed(recipe, code), sample, code, 20);
  return { trellis, ...prove(trellis, code) };
}

/** The integers before they are polished. */
export function annealed({ shape, spread, seed, rows, ...annealing }: TrellisRecipe, code: Coder): Integers {
  const uniform = random(seed);
  const tables = scattered(shape, spread, uniform);
  const found = anneal(shape, tables, annealing, quantiles(rows, STEPS), code, uniform);
  return toIntegers(shape, found);
}

/** Mean squared error of rows of 1024. */
export function prove(trellis: Integers, code: Coder, batches = PROOF.batches): { mse: number; error: number } {
  return measure(trellis, PROOF.steps, batches, code, random(PROOF.seed));
}
