// How sensitivities are measured: settings, their defaults and limits.

import { anyNumber, finite, integer, list, oneOf, type Schema, text as textOf } from '../check.ts';
import { show } from '../excerpt.ts';

/** What is measured, and how finely. */
export interface SensitivitySettings {
  /**
   * `fisher`: all matrices at once from gradients with sampled labels. `noise`: the method's own, each matrix in turn with noise of
   * several levels. `fisher` if left out: it takes less time for the same standard error.
   */
  estimator?: 'fisher' | 'noise';
  /** A text to measure on, for which the loss is perplexity; the source below if left out, and KL divergence. */
  text?: string;
  /**
   * Tokens where there is no text. `model`, the default: the model samples them, and so they are like what it knows. `random`: all of
   * the vocabulary alike.
   */
  source?: 'model' | 'random';
  /** Tokens of a sequence; 128 if left out, or the model's context if that is less. */
  tokens?: number;
  /** Sequences; 12 for `fisher` and 4 for `noise` if left out. */
  sequences?: number;
  /** Draws of labels or of noise for each sequence; 2 for `fisher` and 1 for `noise` if left out. */
  draws?: number;
  /** Levels t² of the noise, ascending. */
  levels?: readonly number[];
  /** Of all that is random. */
  seed?: number;
}

/** Most levels of noise: each takes two passes for every matrix. */
const LEVELS_LIMIT = 1000;
const count = integer(1, 65535);

/** Members of options that say what is measured. */
export const settingsMembers: Schema<SensitivitySettings> = {
  estimator: oneOf('fisher', 'noise'),
  text: textOf,
  source: oneOf('model', 'random'),
  tokens: anyNumber, // its range depends on the model
  sequences: count,
  draws: count,
  levels: list(finite, LEVELS_LIMIT),
  seed: integer(0, 2 ** 32 - 1),
};

/** Settings that are not given. A noise level is a relative error t². */
export const DEFAULTS = {
  fisher: { sequences: 12, draws: 2 },
  noise: { sequences: 4, draws: 1 },
  source: 'model',
  tokens: 128,
  levels: [1 / 512, 1 / 128, 1 / 32],
} as const;

/** Of α, by estimator: the second of `fisher` counts rows of embeddings and head by their own norms. A file that names none may have the first. */
export const DEFINITIONS = { fisher: 2, noise: 1 } as const;

/** Settings with all defaults. */
export interface FullSettings extends Required<Omit<SensitivitySettings, 'text' | 'source'>> {
  /** Where sequences come from: a text, samples of the model, or random ids. */
  source: 'text' | 'model' | 'random';
}

/**
 * The settings with all defaults.
 * @param settings checked
 * @param context the model's
 * @throws {RangeError} when a text has a source, too, or levels do not ascend
 */
export function fullSettings(settings: SensitivitySettings, context: number): FullSettings {
  const { estimator = 'fisher', seed = 0, levels = DEFAULTS.levels } = settings;
  const { text, source = DEFAULTS.source } = settings;
  if (text !== undefined && settings.source !== undefined)
    throw new RangeError(`source must be left out where there is a text: got ${show(source)}`);
  const { tokens = Math.min(DEFAULTS.tokens, context) } = settings;
  const { sequences = DEFAULTS[estimator].sequences, draws = DEFAULTS[estimator].draws } = settings;
  const ascending = levels.every((t2, j) => t2 > (levels[j - 1] ?? 0) && t2 < 4);
  if (levels.length === 0 || !ascending) {
    throw new RangeError(`levels must be ascending numbers between 0 and 4: got ${show(levels)}`);
  }
  return { source: text === undefined ? source : 'text', estimator, tokens, sequences, draws, levels, seed };
}
