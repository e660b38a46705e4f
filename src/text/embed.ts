// A text as one vector: the mean of its hidden states.

import { flag, optionsOf, typedArray } from '../check.ts';
import { checkIds, type Language, withSequence } from './language.ts';

/** How to embed. */
export interface EmbedOptions {
  /** Divides the vector by its length; not by default. */
  normalize?: boolean;
}

const embedOptions = optionsOf<EmbedOptions>({ normalize: flag });

/**
 * @param ids between one token and as many as the context
 * @returns (dim): sums in f64, in the order of the tokens
 */
export async function embed(
  language: Language,
  ids: readonly number[],
  options: EmbedOptions = {},
): Promise<Float32Array<ArrayBuffer>> {
  const { normalize = false } = embedOptions('options', options);
  checkIds('text', ids, language);
  const sums = await withSequence(language, { capacity: ids.length }, async (sequence) => {
    let sums = new Float64Array(0);
    const each = (_: number, given: Float32Array) => {
      const row = typedArray(Float32Array)('hidden state', given);
      if (sums.length === 0) sums = new Float64Array(row.length);
      for (let i = 0; i < row.length; i++) sums[i] += row[i];
    };
    await sequence.extend(ids, { rows: 'all', of: 'hidden', each });
    return sums;
  });
  const squares = sums.reduce((total, sum) => total + sum * sum, 0);
  const divisor = normalize && squares > 0 ? Math.sqrt(squares) : ids.length;
  return Float32Array.from(sums, (sum) => sum / divisor);
}
