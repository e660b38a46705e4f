// The next token of a row of logits. In this order, which is Hugging Face's: repetition penalty, temperature, top-k, top-p,
// min-p, and a draw in proportion to what is left. Of equal logits the lower id comes first. Sums are f64 in a fixed order, exp is
// our own, and so a seed gives the same tokens in every runtime.

import { integer, list, number, optionsOf, type Schema, tokenId, typedArray } from '../check.ts';
import { exp } from '../numerics/exponential.ts';
import { uniform } from '../numerics/random.ts';

/** How tokens are chosen; by default the most likely one. */
export interface SamplingOptions {
  /** Divides the logits; 0, the default, takes the most likely token and ignores what follows but the penalty. */
  temperature?: number;
  /** Keeps the k most likely tokens; 0, the default, all. */
  topK?: number;
  /** Keeps the fewest most likely tokens whose probabilities reach this sum; 1, the default, all. */
  topP?: number;
  /** Keeps the tokens at least this times as likely as the most likely one; 0, the default, all. */
  minP?: number;
  /** Positive logits of tokens that occurred are divided by it, negative ones multiplied; 1, the default, does nothing. */
  repetitionPenalty?: number;
  /** Of the random numbers: an integer from 0 to 2³² − 1; 0 by default. */
  seed?: number;
}

/** Chooses one token. `occurred` are the ids that the penalty counts; the logits are left as they are. */
export type Sampler = (logits: Float32Array, occurred: ReadonlySet<number>) => number;

/** Members of options that say how tokens are chosen. */
export const samplingMembers: Schema<SamplingOptions> = {
  temperature: number(0, 100),
  topK: integer(0),
  topP: number(0, 1, true),
  minP: number(0, 1),
  repetitionPenalty: number(0, 100, true),
  seed: integer(0, 2 ** 32 - 1),
};
const samplingOptions = optionsOf<SamplingOptions>(samplingMembers);

/** Most ids that have occurred: all that a vocabulary has. */
const OCCURRED_LIMIT = 1 << 22;
const occurredIds = list(tokenId, OCCURRED_LIMIT, 'a Set of token ids');

/**
 * @returns a sampler; it throws a TypeError for arguments of another kind, a RangeError where there are no logits
 * @throws {TypeError} when an option is not known, or of another kind @throws {RangeError} when it is out of range
 * @example
 * const sample = createSampler({ temperature: 0.8, topP: 0.95, seed: 7 });
 * const id = sample(await model.logits(ids), new Set(ids));
 */
export function createSampler(options: SamplingOptions = {}): Sampler {
  const sample = samplerOf(samplingOptions('options', options));
  return (logits, occurred) => {
    const row = typedArray(Float32Array)('logits', logits);
    if (row.length === 0) throw new RangeError('logits must have at least one element: got none');
    return sample(row, new Set(occurredIds('occurred', occurred)));
  };
}

/** The sampler of options that were checked. */
export function samplerOf(options: SamplingOptions): Sampler {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed = 0 } = options;
  const draw = uniform(seed);
  let weights = new Float64Array(0); // (vocabSize), once it is known

  return (logits, occurred) => {
    const row = repetitionPenalty === 1 ? logits : penalised(logits, occurred, repetitionPenalty);
    const best = argmax(row);
    if (temperature === 0) return best;
    if (weights.length !== row.length) weights = new Float64Array(row.length);
    weigh(row, row[best], temperature, weights);
    if (topP === 1 && (topK === 0 || topK >= row.length)) return drawn(weights, minP, draw());
    const kept = filtered(row, weights, { topK, topP, minP });
    let left = draw() * sumOf(kept, weights);
    for (const id of kept) {
      left -= weights[id];
      if (left < 0) return id;
    }
    return kept[kept.length - 1]; // rounding
  };
}

// Weights of all tokens, (vocabSize): the best has 1.
function weigh(row: Float32Array, top: number, temperature: number, weights: Float64Array): void {
  for (let id = 0; id < row.length; id++) weights[id] = exp((row[id] - top) / temperature);
}

// A token of those whose weight is not below the least, as `filtered` would leave them, without a list of them.
function drawn(weights: Float64Array, least: number, share: number): number {
  let sum = 0;
  for (let id = 0; id < weights.length; id++) if (weights[id] >= least) sum += weights[id];
  let left = share * sum;
  let last = 0;
  for (let id = 0; id < weights.length; id++) {
    if (weights[id] < least) continue;
    left -= weights[id];
    last = id;
    if (left < 0) break;
  }
  return last;
}

/**
 * The first of the largest; others may be −∞, with which a token has no probability.
 * @throws {RangeError} when one is not a number, or the largest is not finite: there are no probabilities then
 */
export function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 0; i < row.length; i++) {
    if (row[i] > row[best]) best = i;
    else if (Number.isNaN(row[i])) throw new RangeError(`logits must be numbers: got NaN for token ${i}`);
  }
  finiteLogit(row, best);
  return best;
}

/**
 * @returns the logit of a token that must have a probability
 * @throws {RangeError} when it has none
 */
export function finiteLogit(row: Float32Array, id: number): number {
  if (Number.isFinite(row[id])) return row[id];
  throw new RangeError(`logits must be finite numbers: got ${row[id]} for token ${id}`);
}

function penalised(logits: Float32Array, occurred: ReadonlySet<number>, penalty: number): Float32Array {
  const row = logits.slice();
  for (const id of occurred) row[id] = row[id] > 0 ? row[id] / penalty : row[id] * penalty;
  return row;
}

interface Filters {
  topK: number;
  topP: number;
  minP: number;
}

// The ids that are left: in descending order of their logits if that decides, else in ascending order.
function filtered(row: Float32Array, weights: Float64Array, { topK, topP, minP }: Filters): Uint32Array {
  let ids = new Uint32Array(weights.length);
  for (let id = 0; id < ids.length; id++) ids[id] = id;
  if (topK > 0 && topK < ids.length) {
    const least = row.slice().sort()[row.length - topK];
    ids = descending(
      row,
      ids.filter((id) => row[id] >= least),
    ).subarray(0, topK);
  }
  if (topP < 1) {
    const total = sumOf(ids, weights);
    // All tokens below this share of the mean are together below 1 − topP: they need no sorting.
    const least = ((1 - topP) * total) / ids.length;
    ids = descending(
      row,
      ids.filter((id) => weights[id] >= least),
    );
    let above = 0;
    let end = 0;
    while (end < ids.length && above < topP * total) above += weights[ids[end++]];
    ids = ids.subarray(0, end);
  }
  return minP > 0 ? ids.filter((id) => weights[id] >= minP) : ids;
}

function descending(row: Float32Array, ids: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  return ids.sort((a, b) => row[b] - row[a] || a - b);
}

function sumOf(ids: Uint32Array, weights: Float64Array): number {
  let sum = 0;
  for (const id of ids) sum += weights[id];
  return sum;
}
