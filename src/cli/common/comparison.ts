// What was predicted beside what a text shows: perplexity, and KL divergence from the original.

import { type Command, Option } from 'commander';
import { readTextFile } from '../../disk/files.ts';
import { checkModel, type Input } from '../../disk/input.ts';
import { FormatError } from '../../errors.ts';
import { readArchitecture } from '../../families/family.ts';
import { type Prediction, predictPerplexity } from '../../linearity/predict.ts';
import type { CacheDtype } from '../../model/cache.ts';
import { precise, table } from '../../terminal/figures.ts';
import { GROUPS } from '../../terminal/help.ts';
import { parseInteger, UsageError } from '../../terminal/usage.ts';
import { DEFAULT_CONTEXT } from '../../text/perplexity.ts';
import { measurePerplexity } from '../perplexity.ts';
import { cacheOption } from './model.ts';

/** A text to score, and how. */
export interface TextChoice {
  /** Path of a text in UTF-8. */
  text?: string;
  /** Tokens of a window; at most the model's context. */
  context?: number;
  /** How keys and values are kept; f16 if left out. The original's are always f16. */
  cache?: CacheDtype;
}

/** Figures of a text. What is not predicted, or not measured, is null. */
export interface Comparison {
  /** Of the original, and of the quantized model; the error is that of the difference. */
  perplexity: { original: number; predicted: number | null; measured: number | null; error: number | null };
  /** KL(original ‖ model) of a token, in nats. */
  kl: { predicted: number | null; measured: number | null; error: number | null };
  /** Tokens that were predicted: all but the first of each window. */
  tokensScored: number;
  /** Windows that the text was cut into. */
  windows: number;
  /** Tokens of a window. */
  context: number;
  /** Seconds that the measurement took, without loading. */
  seconds: number;
}

/** Adds the options of `TextChoice`. @param description `--text` is for, in words */
export function addText(command: Command, description: string): Command {
  return command
    .optionsGroup(GROUPS.measuring)
    .option('--text <file>', description)
    .addOption(
      new Option(
        '--context <n>',
        `tokens of a window of the text (${DEFAULT_CONTEXT}, or the model’s context)`,
      ).argParser(parseInteger(2, 2 ** 24)),
    )
    .addOption(cacheOption());
}

/**
 * Reads the text, and checks that the original can be measured on it: before long work.
 * @returns undefined when there is none
 * @throws {UsageError} when options need a text and there is none
 * @throws {FormatError} when the model has no tokenizer
 */
export async function openText({ text, context, cache }: TextChoice, original: Input): Promise<string | undefined> {
  if (text === undefined && context !== undefined) throw new UsageError('--context must come with --text');
  if (text === undefined && cache !== undefined) throw new UsageError('--cache must come with --text');
  if (text === undefined) return undefined;
  const content = await readTextFile(text);
  checkModel(original);
  const { folder } = original;
  await readArchitecture(folder);
  const hasTokenizer = (await folder.list()).includes('tokenizer.json');
  if (!hasTokenizer)
    throw new FormatError('model must have tokenizer.json to read a text: it is missing', { file: folder.name });
  return content;
}

/**
 * Measures the original and what became of it.
 * @param quantized undefined if it is not made yet
 */
export async function compareOnText(
  text: string,
  original: Input,
  quantized: string | Input | undefined,
  prediction: Prediction | undefined,
  {
    context,
    threads,
    cache = 'f16',
  }: { context?: number | undefined; threads: number; cache?: CacheDtype | undefined },
): Promise<Comparison> {
  const choice = { ...(context !== undefined && { context }), threads, activations: 'int8', cache } as const;
  const models = quantized === undefined ? [original] : [quantized, original];
  const { measured, seconds } = await measurePerplexity(models, text, choice);
  const { tokensScored, windows, against } = measured;
  const base = against?.perplexity ?? measured.perplexity;
  return {
    perplexity: {
      original: base,
      predicted: prediction ? predictPerplexity(prediction, base) : null,
      measured: against ? measured.perplexity : null,
      error: against ? base * against.ratioError : null,
    },
    kl: {
      predicted: prediction?.loss === 'kl' ? prediction.delta : null,
      measured: against?.meanKl ?? null,
      error: against?.standardError ?? null,
    },
    ...{ tokensScored, windows, context: measured.context, seconds },
  };
}

/** Predicted and measured figures side by side, as a table for the terminal. */
export function comparisonText(comparison: Comparison, prediction: Prediction | undefined): string {
  const { perplexity, kl, tokensScored, windows, context, seconds } = comparison;
  const figure = (value: number | null, digits: number) => (value === null ? '' : precise(value, digits));
  const measured = (value: number | null, error: number | null, digits: number) =>
    value === null ? '' : `${precise(value, digits)} ± ${precise(error!, 2)}`;
  const rows = [
    [
      'perplexity',
      figure(perplexity.original, 6),
      figure(perplexity.predicted, 6),
      measured(perplexity.measured, perplexity.error, 6),
    ],
    ['KL(original ‖ model), nats', '', figure(kl.predicted, 4), measured(kl.measured, kl.error, 4)],
  ];
  return [
    table(['of the text', 'original', 'predicted', 'measured'], rows),
    `${tokensScored} tokens scored in ${windows} windows of ${context}, ${seconds.toFixed(1)} s`,
    ...(prediction ? [basisText(prediction)] : []),
  ].join('\n');
}

// What the figures that are predicted stand for.
function basisText({ loss, base }: Prediction): string {
  if (loss === 'kl') {
    return 'predicted: KL is Σ α t², as α was measured (by default on tokens from the model); perplexity is the original’s times e to it';
  }
  if (loss === 'relative') return 'sensitivities of no unit predict neither';
  const where = base === null ? '' : `; α was measured where perplexity was ${precise(base, 6)}`;
  return `predicted: the original’s perplexity + Σ α t²${where}`;
}
