// A text as one vector: the mean of its hidden states.

import { flag, options, typedArray } from '../check.ts';
import { checkIds, inTurn, type Language } from './language.ts';

/** How to embed. */
export interface EmbedOptions {
  /** Divides the vector by its length; not by default. */
  normalize?: boolean;
}

const embedOptions = options<EmbedOptions>({ normalize: flag });

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
  const sums = await inTurn(language, async () => {
    const states = typedArray(Float32Array)('result of hidden()', await language.hidden(ids)); // (ids.length, dim)
    const dim = states.length / ids.length;
    const sums = new Float64Array(dim);
    for (let i = 0; i < states.length; i++) sums[i % dim] = sums[i % dim] + states[i];
    return sums;
  });
  let squares = 0;
  for (const sum of sums) squares += sum * sum;
  const divisor = normalize && squares > 0 ? Math.sqrt(squares) : ids.length;
  return Float32Array.from(sums, (sum) => sum / divisor);
}
