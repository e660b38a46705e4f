// What both estimators work on, and what they give.

import { FormatError } from '../errors.ts';
import type { Linear } from '../model/linear.ts';
import type { SensitivityProgress, TokenCounter } from './progress.ts';
import type { MeasuredWeight } from './results/combine.ts';
import type { Session } from './session.ts';
import { sampledIds, sequenceStep, type TokenSequence } from './tokens.ts';
import type { Underway } from './underway.ts';

/** A measurement at work. */
export interface Work {
  /** The checkpoint's folder, for messages. */
  readonly file: string;
  /** The model in memory. */
  readonly session: Session;
  /** `undefined` for those that the model has yet to sample. */
  readonly sequences: (TokenSequence | undefined)[];
  /** Those that this run measures: from `first` to before `end`. */
  readonly first: number;
  /** The sequence after the last of this run. */
  readonly end: number;
  /** Seed of all random choices. */
  readonly seed: number;
  /** Label draws of a sequence. */
  readonly draws: number;
  /** Relative errors t² of the noise. */
  readonly levels: readonly number[];
  /** ‖W‖² of every weight, in the order of `measuredOf`; behind them, of the embeddings and the head. */
  readonly norms: Float64Array;
  /** What is done, by this run or an earlier one, in the order of the work. */
  readonly results: readonly (readonly number[])[];
  /** Keeps the sequence under way between two blocks, where there is a file for it. */
  readonly underway: Underway | undefined;
  /** Adds to the results. */
  record(result: readonly number[]): void;
  /** Notes the ids that the model sampled, from sequence `first` on: all, or the first ones of each. */
  recordSampled(first: number, ids: number[][]): void;
  /** Ids that an earlier run sampled of sequences, by their index. */
  readonly begun: ReadonlyMap<number, readonly number[]>;
  /** Called after each step. */
  readonly onProgress: ((progress: SensitivityProgress) => void) | undefined;
  /** Stops between two steps. */
  readonly signal: AbortSignal | undefined;
}

/** Tokens of sequences from `first` on that an earlier run sampled. */
export function sampledBefore(work: Work, first: number): number {
  return (
    work.sequences.slice(first, work.end).filter((sequence) => sequence !== undefined).length * sampledTokens(work)
  );
}

/** Tokens of a sequence that the model samples. */
export function sampledTokens({ session }: Work): number {
  const { together, tokens } = session.measuring.workspace;
  return together > 0 ? tokens - 1 : 0;
}

/** A weight as results name it. */
export function weightOf(
  { name, rows, cols, stack }: Linear,
  norm: number,
  group: string | null = null,
): MeasuredWeight {
  return { name, rows, cols, stack: stack ?? null, norm, group };
}

/** Puts a sequence where the threads find it; if it is not known, the model samples it before, and some that follow. */
export async function takeSequence(work: Work, index: number, steps: TokenCounter): Promise<void> {
  const { file, session, sequences, end: last, seed, begun, recordSampled: onBegun, signal } = work;
  if (sequences[index] === undefined) {
    const { together } = session.measuring.workspace;
    const end = Math.min(index + together, last);
    const { tokens } = session.measuring.workspace;
    const step = sequenceStep(session);
    const sampling = { vocabulary: session.vocabulary, tokens, seed, step, steps, begun, onBegun, signal };
    const samples = await finiteSamples(file, sampledIds(sampling, index, end));
    for (const [j, ids] of samples.entries()) sequences[index + j] = { ids, targets: undefined };
    onBegun(index, samples);
  }
  placeSequence(session, sequences[index]!);
}

/** Sampled ids. @throws {FormatError} when logits are no finite numbers */
export async function finiteSamples<T>(file: string, sampled: Promise<T>): Promise<T> {
  try {
    return await sampled;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new FormatError(`${error.message}, which needs finite weights`, { file });
  }
}

/** Puts a sequence where the threads find it. */
export function placeSequence({ measuring }: Session, { ids, targets }: TokenSequence): void {
  const { ints, state, workspace } = measuring;
  ints.set(ids, state.ids / 4);
  ints.fill(0, workspace.targets / 4, workspace.targets / 4 + workspace.tokens);
  if (targets) ints.set(targets, workspace.targets / 4);
}
