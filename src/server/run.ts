// A text for a request: what the sampler sees is changed as the request asks, and what it chose is noted.

import { logSumExp } from '../numerics/exponential.ts';
import type { FinishReason, GenerationResult } from '../text/generate.ts';
import type { SamplingOptions } from '../text/sample.ts';
import type { Model } from '../text/textmodel.ts';
import type { Constraint } from './structured/constraint.ts';

/** How a text is made. */
export interface GenerationSettings {
  /** How tokens are chosen. */
  readonly sampling: SamplingOptions;
  /** Seed of the random choices. */
  readonly seed: number;
  /** Most tokens to generate. */
  readonly maxTokens: number;
  /** The text ends where one of these would begin. */
  readonly stop: readonly string[];
  /** Most likely tokens told beside each token; undefined for no probabilities at all. */
  readonly logprobs: number | undefined;
  /** Added to the logits of tokens, by id. */
  readonly bias: ReadonlyMap<number, number>;
  /** Taken from a token's logit for each time that it occurred. */
  readonly frequencyPenalty: number;
  /** Taken from the logit of each token that occurred. */
  readonly presencePenalty: number;
  /** Continues after ids that end a text. */
  readonly ignoreEos: boolean;
  /** Goes on where the context is full. */
  readonly contextShift: boolean;
  /** Writes special tokens out. */
  readonly special: boolean;
  /** What the text must be. A new one for each text. */
  readonly constraint?: (() => Constraint) | undefined;
}

/** A token and the logarithm of its probability, and of those that were as likely. */
export interface TokenChance {
  /** The token. */
  readonly id: number;
  /** NaN of a token that nothing stands in front of. */
  readonly logprob: number;
  /** The most likely tokens in its place. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

/** A piece of a text, and the tokens that completed it. */
interface TextPiece {
  /** The text. */
  readonly text: string;
  /** Its tokens, with their chances. */
  readonly tokens: readonly TokenChance[];
}

/** What a text became. */
export interface GeneratedText extends Omit<GenerationResult, 'finishReason'> {
  /** Why the text ended. */
  readonly finish: 'stop' | 'length' | 'aborted';
  /** Chances of tokens that completed no piece. */
  readonly rest: readonly TokenChance[];
}

/** The index that has the seeds of a request's choices: the first has the request's own. */
const seedAt = (seed: number, choice: number) => (seed + choice) >>> 0;

/** Generates a text behind ids, piece by piece. @param choice of a request that asks for several */
export async function* generatePieces(
  model: Model,
  promptIds: readonly number[],
  settings: GenerationSettings,
  choice: number,
  signal: AbortSignal,
): AsyncGenerator<TextPiece, GeneratedText, void> {
  const { bias, frequencyPenalty, presencePenalty, logprobs, special } = settings;
  const { sampling, seed, maxTokens, stop, ignoreEos, contextShift } = settings;
  const constraint = settings.constraint?.();
  // A constraint follows each token as it comes: a piece has been through the stop strings.
  const written = constraint && model.tokenizer.stream(promptIds, { special: true });
  // What the prompt has begun of a character, where ids end within one: a text that is constrained does not go on with it.
  let cut = constraint ? model.tokenizer.stream(promptIds, { special }).end() : '';
  const counts = new Map<number, number>();
  let row: Float32Array | undefined; // logits as the model gave them
  let chances: TokenChance[] = [];
  const generation = model.generate(promptIds, {
    ...sampling,
    seed: seedAt(seed, choice),
    ...{ maxTokens, stop: [...stop], ignoreEos: ignoreEos && !constraint, special, contextShift },
    signal,
    async onLogits(logits) {
      if (logprobs !== undefined) row = logits.slice();
      for (const [id, value] of bias) logits[id] += value;
      if (frequencyPenalty !== 0 || presencePenalty !== 0) {
        for (const [id, count] of counts) logits[id] -= frequencyPenalty * count + presencePenalty;
      }
      return constraint ? constraint.mask(logits) : true;
    },
    onToken(id) {
      counts.set(id, (counts.get(id) ?? 0) + 1);
      if (row) chances.push(chanceOf(row, id, logprobs!));
      if (written) constraint.accept(id, written.push(id));
    },
  });
  try {
    let next = await generation.next();
    while (!next.done) {
      const tokens = chances;
      chances = [];
      const text = next.value.startsWith(cut) ? next.value.slice(cut.length) : next.value;
      cut = '';
      yield { text, tokens };
      next = await generation.next();
    }
    const { finishReason, ...result } = next.value;
    return { ...result, finish: FINISH[finishReason], rest: chances };
  } finally {
    await generation.return(undefined as never);
    constraint?.close();
  }
}

/** Tokens of a prompt and their probabilities behind those in front. @param count most likely tokens told beside each */
export async function promptChances(
  model: Model,
  ids: readonly number[],
  count: number,
  signal: AbortSignal,
): Promise<TokenChance[]> {
  const chances: TokenChance[] = [{ id: ids[0], logprob: Number.NaN, top: [] }];
  if (ids.length === 1) return chances;
  const sequence = await model.language.open({ capacity: ids.length - 1, signal });
  try {
    const each = (i: number, row: Float32Array) => void chances.push(chanceOf(row, ids[i + 1], count));
    await sequence.extend(ids.slice(0, -1), { rows: 'all', each, signal });
  } finally {
    sequence.close();
  }
  return chances;
}

const FINISH: Readonly<Record<FinishReason, GeneratedText['finish']>> = {
  eos: 'stop',
  stop: 'stop',
  length: 'length',
  aborted: 'aborted',
};

// log(exp(x) / Σ exp), in f64: of the model's own logits, before temperature, bias and what rules tokens out.
function chanceOf(row: Float32Array, id: number, count: number): TokenChance {
  const logSum = logSumExp(row);
  const chance = (id: number) => ({ id, logprob: row[id] - logSum });
  const top: number[] = []; // descending; of equal ones the lower id first
  for (let i = 0; i < row.length && count > 0; i++) {
    if (top.length === count && row[i] <= row[top[count - 1]]) continue;
    let place = top.length;
    while (place > 0 && row[top[place - 1]] < row[i]) place--;
    top.splice(place, 0, i);
    if (top.length > count) top.pop();
  }
  return { ...chance(id), top: top.map(chance) };
}
