// Tokens that the model itself samples, at temperature 1: like those that it knows, and so are the sensitivities on them.

import { exp } from '../numerics/exponential.ts';
import { USE, uniformStream } from '../numerics/stream.ts';
import { argmax } from '../text/sample.ts';
import type { Session } from './session.ts';
import type { Steps } from './steps.ts';

/**
 * Samples sequences `first` to `end`, not more than there are caches for. The first id is bos, or any of the vocabulary if the model
 * has none. Where a text ends before the sequence does, the next one begins behind it, with bos if the model has one.
 * @returns ids of each, as many as sequences have; they depend on seed and sequence alone
 */
export async function sampledIds(
  session: Session,
  seed: number,
  first: number,
  end: number,
  steps: Steps,
): Promise<number[][]> {
  const { measuring, run } = session;
  const { state, workspace, floats, ints } = measuring;
  const { vocabSize, bos, eos } = state.config;
  const count = end - first;
  const own = Array.from({ length: count }, (_, j) => {
    const random = uniformStream(seed, USE.own << 24, first + j, 0);
    return { random, ids: [bos ?? Math.floor(random() * vocabSize)] };
  });
  for (let token = 0; token + 1 < workspace.tokens; token++) {
    for (const [j, { ids }] of own.entries()) ints[state.ids / 4 + j] = ids[token];
    run({ kind: 'step', first: token, count, save: true });
    for (const [j, { ids, random }] of own.entries()) {
      const row = state.logits / 4 + j * vocabSize;
      const begins = bos !== undefined && ids[token] !== bos && eos.includes(ids[token]);
      ids.push(begins ? bos : sample(floats.subarray(row, row + vocabSize), random()));
    }
    await steps.next(count);
  }
  return own.map(({ ids }) => ids);
}

/**
 * The first id up to which more than `share` of the probability lies.
 * @throws {RangeError} when logits are not finite numbers
 */
export function sample(logits: Float32Array, share: number): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) top = Math.max(top, logits[id]);
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let id = 0; id < logits.length; id++) {
    weights[id] = exp(logits[id] - top);
    total += weights[id];
  }
  if (Number.isNaN(total)) argmax(logits); // names what is broken
  let sum = 0;
  for (let id = 0; id < weights.length; id++) {
    sum += weights[id];
    if (sum > share * total) return id;
  }
  return weights.length - 1;
}
