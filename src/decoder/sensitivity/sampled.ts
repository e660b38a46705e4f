// Tokens that the model itself samples, at temperature 1: like those that it knows, and so are the sensitivities on them.

import { exp } from '../exponential.ts';
import type { Session } from './session.ts';
import type { Steps } from './steps.ts';
import { USE, uniformStream } from './stream.ts';

/**
 * Samples a sequence. The first id is bos, or any of the vocabulary if the model has none. Where a text ends before the sequence does,
 * the next one begins behind it, with bos if the model has one.
 * @returns as many ids as sequences have; they depend on seed and sequence alone
 */
export async function sampledIds(session: Session, seed: number, sequence: number, steps: Steps): Promise<number[]> {
  const { measuring, run } = session;
  const { state, workspace, floats, ints } = measuring;
  const { vocabSize, bos, eos } = state.config;
  const logits = floats.subarray(state.logits / 4, state.logits / 4 + vocabSize);
  const random = uniformStream(seed, USE.own << 24, sequence, 0);
  const ids = [bos ?? Math.floor(random() * vocabSize)];
  while (ids.length < workspace.tokens) {
    const [first, id] = [ids.length - 1, ids.at(-1)!];
    const begins = bos !== undefined && id !== bos && eos.includes(id);
    ints[state.ids / 4 + first] = id;
    run({ kind: 'step', first, count: begins ? 0 : 1 });
    ids.push(begins ? bos : sample(logits, random()));
    await steps.next(1);
  }
  return ids;
}

/** The first id up to which more than `share` of the probability lies; the last one if logits are not numbers. */
export function sample(logits: Float32Array, share: number): number {
  const top = logits.reduce((most, logit) => (logit > most ? logit : most), Number.NEGATIVE_INFINITY);
  const weights = Float64Array.from(logits, (logit) => exp(logit - top));
  const target = share * weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  for (let id = 0; id < weights.length; id++) {
    sum += weights[id]!;
    if (sum > target) return id;
  }
  return weights.length - 1;
}
