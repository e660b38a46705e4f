// What both estimators work on, what they give, and what happens between two short steps: progress is told, an abort is heeded, other
// work of the thread may run.

import { FormatError } from '../errors.ts';
import type { Alpha } from '../linearity/alphas.ts';
import { pause } from '../text/language.ts';
import type { Session } from './session.ts';
import type { Sequence } from './tokens.ts';

export interface Work {
  readonly session: Session;
  /** `undefined` for those that the model has yet to sample. */
  readonly sequences: (Sequence | undefined)[];
  readonly seed: number;
  readonly draws: number;
  /** Relative errors t² of the noise. */
  readonly levels: readonly number[];
  /** ‖W‖² of every weight, in the order of `measuredOf`; behind them, of the embeddings and the head. */
  readonly norms: Float64Array;
  /** What is done, by this run or an earlier one, in the order of the work. */
  readonly results: readonly (readonly number[])[];
  /** Adds to the results. */
  record(result: number[]): void;
  readonly onProgress: ((progress: SensitivityProgress) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Tokens of a sequence that the model samples. */
export function sampledTokens({ session }: Work): number {
  const { together, tokens } = session.measuring.workspace;
  return together > 0 ? tokens - 1 : 0;
}

export interface Found {
  /** Perplexity of the text, if there is one. */
  readonly base: number | null;
  readonly tensors: Map<string, Alpha>;
}

/** @throws {FormatError} when weights are not finite, or so large that sums in f32 are not */
export function checkAlpha(alpha: number, tensor: string): void {
  if (Number.isFinite(alpha)) return;
  throw new FormatError(`sensitivity must be a finite number, which needs finite weights: it is ${alpha}`, { tensor });
}

/** Six digits: errors are larger, and the file is for people, too. */
export function rounded(value: number): number {
  return Number(value.toPrecision(6));
}

/** How far a measurement is. */
export interface SensitivityProgress {
  /** Tokens that went through the model, of all that will; a backward pass counts as a part of its tokens. */
  done: number;
  total: number;
}

export interface Steps {
  /** @param tokens that the step dealt with */
  next(tokens: number): Promise<void>;
}

/** @throws the signal's reason, between two steps */
export function stepsOf(
  total: number,
  onProgress: ((progress: SensitivityProgress) => void) | undefined,
  signal: AbortSignal | undefined,
): Steps {
  const progress = { done: 0, total };
  return {
    async next(tokens) {
      progress.done = Math.min(total, progress.done + tokens);
      onProgress?.({ done: Math.floor(progress.done + 1e-6), total });
      await pause();
      signal?.throwIfAborted();
    },
  };
}
