// Follows a trellis' recipe: search, polish the integers, measure what is stored.

import { random } from '../gaussian.ts';
import type { Coder } from './coder.ts';
import { improve } from './improve.ts';
import { trellisError } from './measure.ts';
import { polish } from './polish.ts';
import type { TrellisRecipe } from './recipes.ts';
import { quantiles, type SampleRows, shuffle } from './sample.ts';
import { search } from './search.ts';
import type { Integers } from './tables.ts';

/** A trellis, and its error. */
export interface MadeTrellis {
  /** Step, zero and tables as they are stored. */
  readonly trellis: Integers;
  /** Mean squared error per weight of N(0, 1), measured on fresh rows. */
  readonly mse: number;
  /** Standard error of `mse`. */
  readonly error: number;
}

/** 262144 weights that integers are polished with. */
const POLISH = { rows: 64, steps: 1024, sweeps: 10, seed: 1 };
/** 128 · 65536 weights in rows of 1024. */
const PROOF = { steps: 256, batches: 128, seed: 20240521 };

/** The recipe's trellis. */
export function makeTrellis({ shape, spread, seed, rounds }: TrellisRecipe, code: Coder): MadeTrellis {
  const candidates = search(shape, spread, rounds, code, random(seed));
  return proven(polish(shape, candidates, polishSample(), code, POLISH.sweeps).trellis, code);
}

/** A trellis of the recipe's shape, or a better one that `hops` found near it. */
export function improveTrellis(start: Integers, recipe: TrellisRecipe, hops: number, code: Coder): MadeTrellis {
  const { shape, seed, rounds } = recipe;
  const uniform = random(seed);
  return proven(improve(shape, start, polishSample(), rounds[0].heat, hops, code, uniform).trellis, code);
}

function polishSample(): SampleRows {
  const sample = quantiles(POLISH.rows, POLISH.steps);
  shuffle(sample, random(POLISH.seed));
  return sample;
}

function proven(trellis: Integers, code: Coder): MadeTrellis {
  return { trellis, ...trellisError(trellis, PROOF.steps, PROOF.batches, code, random(PROOF.seed)) };
}
