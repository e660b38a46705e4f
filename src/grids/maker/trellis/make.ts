// Follows a trellis' recipe: search, polish the integers, measure what is stored.

import { random } from '../gaussian.ts';
import type { Coder } from './coder.ts';
import { measure } from './measure.ts';
import { polish } from './polish.ts';
import type { TrellisRecipe } from './recipes.ts';
import { quantiles, shuffle } from './sample.ts';
import { search } from './search.ts';
import type { Integers } from './tables.ts';

export interface MadeTrellis {
  readonly trellis: Integers;
  readonly mse: number;
  /** Standard error of `mse`. */
  readonly error: number;
}

/** 262144 weights that integers are polished with. */
const POLISH = { rows: 64, steps: 1024, sweeps: 6 };
/** 128 · 65536 weights in rows of 1024. */
const PROOF = { steps: 256, batches: 128, seed: 20240521 };

export function makeTrellis({ shape, spread, seed, rounds }: TrellisRecipe, code: Coder): MadeTrellis {
  const uniform = random(seed);
  const found = search(shape, spread, rounds, code, uniform);
  const sample = quantiles(POLISH.rows, POLISH.steps);
  shuffle(sample, uniform);
  const { trellis } = polish(shape, found, sample, code, POLISH.sweeps);
  return { trellis, ...measure(trellis, PROOF.steps, PROOF.batches, code, random(PROOF.seed)) };
}
