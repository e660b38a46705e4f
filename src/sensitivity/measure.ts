// Sensitivities of a checkpoint: what a unit of relative error in each linear weight costs, as the linearity theorem has it.

import type { Alphas } from '../linearity/alphas.ts';
import { type ModelConfig, readConfig } from '../model/config.ts';
import type { LoadProgress } from '../model/load.ts';
import type { Folder } from '../source/source.ts';
import { openTokenizer } from '../text/tokenizer.ts';
import type { Threads } from '../workers/threads.ts';
import { fisherAlphas } from './fisher.ts';
import { readPartial, writePartial } from './partial.ts';
import { noiseAlphas } from './perturbation.ts';
import { checksumOf, randomSequences, type Sequence, textSequences } from './sequences.ts';
import { openSession, planSession, type Session, squaredNorms, threadsFor } from './session.ts';
import { type SensitivitySettings, type Settings, settingsOf } from './settings.ts';
import type { SensitivityProgress } from './steps.ts';

/** Options of `measureSensitivity`. */
export interface SensitivityOptions extends SensitivitySettings {
  /** What the result calls the model. */
  name?: string;
  /** Threads to run on, from `startThreads`; they are ended at the end. The calling thread alone if left out. */
  threads?: Threads;
  onLoad?: (progress: LoadProgress) => void;
  onProgress?: (progress: SensitivityProgress) => void;
  signal?: AbortSignal;
  /** What an earlier run had done, from its `onPartial`; the result is the same as that of one run. */
  partial?: string;
  /** Called whenever more is done, with all that a later run needs to go on. */
  onPartial?: (partial: string) => void;
}

/**
 * Measures the sensitivities of all linear weights of a checkpoint that is not quantized; by `fisher`, of its embeddings and head, too.
 * @throws {UnsupportedError} when it is quantized, or its architecture is not handled
 * @throws {FormatError} when it is malformed or has weights that are not finite, or `partial` is of another run
 * @throws {RangeError} when an option is out of range, the text is too short, or the memory that is needed exceeds 4 GB
 */
export async function measureSensitivity(folder: Folder, options: SensitivityOptions = {}): Promise<Alphas> {
  const { text, threads, signal, onLoad, onProgress, onPartial, partial, name } = options;
  let session: (Session & { identity: string }) | undefined;
  try {
    const settings = settingsOf(options, (await readConfig(folder)).contextLength);
    const { estimator, tokens, seed } = settings;
    const draws = estimator === 'fisher' ? settings.draws : 1;
    const sampled = settings.source === 'model' ? settings.sequences : 0;
    const planned = await planSession(folder, { estimator, tokens, draws, sampled, threads: threadsFor(threads) });
    const { config } = planned.plan.state;
    const sequences = await sequencesOf(folder, config, settings, text);
    session = await openSession(planned, threads, {
      ...(onLoad && { onProgress: onLoad }),
      ...(signal && { signal }),
    });
    const { identity } = session;
    const { sequences: _, levels, ...plain } = settings;
    const noted = { ...plain, sequences: sequences.length };
    const key = JSON.stringify({ identity, config, ...noted, levels, ids: checksumOf(sequences) });
    const results = partial === undefined ? [] : readPartial(partial, key);
    const record = (result: number[]) => {
      results.push(result);
      onPartial?.(writePartial({ key, results }));
    };
    const { draws: drawn } = settings;
    const run = { session, sequences, seed, draws: drawn, levels, norms: squaredNorms(session), results, record };
    const measure = estimator === 'fisher' ? fisherAlphas : noiseAlphas;
    const { base, tensors } = await measure({ ...run, file: folder.name, onProgress, signal });
    const { estimator: __, ...about } = noted;
    const loss = text === undefined ? 'kl' : 'perplexity';
    return { model: { name: name ?? null, identity }, estimator, loss, base, settings: about, tensors };
  } finally {
    await (session ? session.close() : threads?.close());
  }
}

// `undefined` for those that the model samples when their turn comes.
async function sequencesOf(
  folder: Folder,
  config: ModelConfig,
  { source, sequences, tokens, seed }: Settings,
  text: string | undefined,
): Promise<(Sequence | undefined)[]> {
  if (text !== undefined) {
    const { encode } = await openTokenizer(folder);
    return textSequences(config, encode(text, { special: false }), sequences, tokens);
  }
  return source === 'model' ? new Array(sequences).fill(undefined) : randomSequences(config, sequences, tokens, seed);
}
