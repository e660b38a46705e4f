// Tokens of a model that is too large to sample them itself: a quantized copy of it does. The copy is there before the measurement
// and gone by then. The tokens are like those of the model, not the same, so the result's notes name the copy's grid.

import type { Vocabulary } from '../families/architecture.ts';
import { type LanguageModel, loadLanguage } from '../model/model.ts';
import type { Folder } from '../source/source.ts';
import { lendThreads, type Threads } from '../workers/threads.ts';
import { type SensitivityProgress, stepsOf } from './progress.ts';
import { TOGETHER } from './session.ts';
import { type SequenceStep, sampledIds, type TokenSequence } from './tokens.ts';
import { finiteSamples } from './work.ts';

/** The grid of copies, embeddings and head included. */
export const COPY = 't4';

interface CopySampling {
  /** Those that are missing are sampled. */
  readonly sequences: (TokenSequence | undefined)[];
  /** Of those from `first` to before `end`. */
  readonly first: number;
  readonly end: number;
  readonly vocabulary: Vocabulary;
  readonly tokens: number;
  readonly seed: number;
  /** The model's folder, for messages. */
  readonly file: string;
  readonly threads: Threads | undefined;
  readonly onProgress: ((progress: SensitivityProgress) => void) | undefined;
  readonly signal: AbortSignal | undefined;
  /** Ids that an earlier run sampled of sequences, by their index. */
  readonly begun: ReadonlyMap<number, readonly number[]>;
  /** Notes sampled ids, from sequence `first` on: all, or the first ones of each. */
  record(first: number, ids: number[][]): void;
}

/** Samples the sequences that are missing, some together. */
export async function sampleByCopy(folder: Folder, sampling: CopySampling): Promise<void> {
  const { sequences, end: last, tokens, file, threads, onProgress, signal, record } = sampling;
  const count = Math.min(TOGETHER, last - sampling.first);
  const model = await loadLanguage(folder, {
    ...{ context: tokens, cacheTokens: count * tokens },
    ...(threads && { threads: lendThreads(threads) }),
    ...(signal && { signal }),
  });
  try {
    const missing = sequences.slice(sampling.first, last).filter((sequence) => sequence === undefined).length;
    const steps = stepsOf(missing * (tokens - 1), onProgress, signal);
    for (let first = sampling.first; first < last; ) {
      let end = first;
      while (end < last && end < first + count && sequences[end] === undefined) end++;
      if (end === first) {
        first++;
        continue;
      }
      const ids = await together(model, end - first, tokens, (step) =>
        finiteSamples(file, sampledIds({ ...sampling, step, steps, onBegun: record }, first, end)),
      );
      for (const [j, sequence] of ids.entries()) sequences[first + j] = { ids: sequence, targets: undefined };
      record(first, ids);
      first = end;
    }
  } finally {
    await model.close();
  }
}

// Gives `work` steps of `count` sequences.
async function together<T>(
  model: LanguageModel,
  count: number,
  tokens: number,
  work: (step: SequenceStep) => Promise<T>,
): Promise<T> {
  const opened = await Promise.all(Array.from({ length: count }, () => model.open({ capacity: tokens })));
  const { vocabSize } = model.config;
  const logits = new Float32Array(count * vocabSize);
  try {
    return await work(async (_, ids) => {
      const rows = await Promise.all(opened.map((sequence, j) => sequence.extend(ids[j])));
      for (const [j, row] of rows.entries()) logits.set(row, j * vocabSize);
      return logits;
    });
  } finally {
    for (const sequence of opened) sequence.close();
  }
}
