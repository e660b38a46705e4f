// The bundle that every runtime runs: the tests that need nothing of one runtime, and hashes of what the library makes.

import '../load.test.ts';
import '../kernels.test.ts';
import '../trellis.test.ts';
import '../labels.test.ts';
import '../safetensors.test.ts';
import '../quantize.test.ts';
import '../format.test.ts';
import '../streams.test.ts';
import '../sample.test.ts';
import '../chat.test.ts';
import '../generate.test.ts';
import '../decoder-kernels.test.ts';
import '../trellis-products.test.ts';
import '../label-products.test.ts';
import '../recurrent-kernels.test.ts';
import '../decoder-config.test.ts';
import '../decoder-models.test.ts';
import '../families.test.ts';
import '../hybrids.test.ts';
import '../stacks.test.ts';
import '../memories.test.ts';
import '../paging.test.ts';
import '../float8.test.ts';
import '../underway.test.ts';
import '../sensitivity-sampled.test.ts';
import '../allocate.test.ts';
import '../advise.test.ts';
import '../kept.test.ts';
import '../plan.test.ts';
import '../experts-plan.test.ts';
import '../backward.test.ts';
import '../recurrent-backward.test.ts';
import '../families-sensitivity.test.ts';
import '../gram.test.ts';
import '../hub-names.test.ts';
import { type Hashes, hashes } from './hashes.ts';
import { type Counts, runQueue } from './uvu.ts';

/** What a runtime hands over, as JSON. */
export interface Outcome extends Counts {
  hashes: Hashes;
}

/** Runs the tests, then computes the hashes. */
export async function outcome(): Promise<Outcome> {
  return { ...(await runQueue()), hashes: await hashes() };
}
