// Sensitivities of a checkpoint: what a unit of relative error in each linear weight costs, as the linearity theorem has it. Every random
// number has a stream of its own (seed, use, sequence, draw, row or position), every sum is one thread's or in the order of tokens: the
// result is the same for any number of threads, in every runtime, and resumed or not.

import { callback, options as optionsOf, signal as signalOf, text as textOf } from '../check.ts';
import type { Vocabulary } from '../families/architecture.ts';
import { readArchitecture } from '../families/family.ts';
import type { Alphas } from '../linearity/alphas.ts';
import type { LoadProgress } from '../model/load.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { openTokenizer } from '../text/tokenizer.ts';
import { givenThreads, type Threads, takeThreads } from '../workers/threads.ts';
import { fisherAlphas } from './fisher.ts';
import { measuredOf } from './measured.ts';
import { noiseAlphas } from './noise.ts';
import { openPartial } from './partial.ts';
import type { SensitivityProgress } from './progress.ts';
import { openSession, planSession, type Session, squaredNorms, threadsFor } from './session.ts';
import { type SensitivitySettings, type Settings, settingsMembers, settingsOf } from './settings.ts';
import { checksumOf, randomSequences, type Sequence, textSequences } from './tokens.ts';

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

const sensitivityOptions = optionsOf<SensitivityOptions>({
  ...settingsMembers,
  name: textOf,
  threads: givenThreads,
  onLoad: callback,
  onProgress: callback,
  signal: signalOf,
  partial: textOf,
  onPartial: callback,
});

/**
 * Measures the sensitivities of all linear weights of a checkpoint that is not quantized; by `fisher`, of its embeddings and head, too.
 * @throws {UnsupportedError} when it is quantized, or its architecture is not handled
 * @throws {FormatError} when it is malformed or has weights that are not finite, or `partial` is of another run
 * @throws {RangeError} when an option is out of range, the text is too short, or the memory that is needed exceeds 4 GB
 * @throws {TypeError} when an argument is of another kind, or an option is not known
 * @throws {StateError} when the threads are a model's, or closed
 */
export async function measureSensitivity(from: Folder, given: SensitivityOptions = {}): Promise<Alphas> {
  const threads = takeThreads(given);
  let session: (Session & { identity: string }) | undefined;
  try {
    const folder = givenFolder('input', from);
    const options = sensitivityOptions('options', given);
    const { text, signal, onLoad, onProgress, onPartial, partial, name } = options;
    const settings = settingsOf(options, (await readArchitecture(folder)).contextLength);
    const { estimator, tokens, seed } = settings;
    const draws = estimator === 'fisher' ? settings.draws : 1;
    const sampled = settings.source === 'model' ? settings.sequences : 0;
    const planned = await planSession(folder, { estimator, tokens, draws, sampled, threads: threadsFor(threads) });
    const { vocabulary } = planned;
    const sequences = await sequencesOf(folder, vocabulary, settings, text);
    session = await openSession(planned, threads, {
      ...(onLoad && { onProgress: onLoad }),
      ...(signal && { signal }),
    });
    const { identity } = session;
    const { sequences: _, levels, ...plain } = settings;
    const noted = { ...plain, sequences: sequences.length };
    const key = JSON.stringify({ identity, model: vocabulary, ...noted, levels, ids: checksumOf(sequences) });
    const measured = measuredOf(planned.layout.state);
    const layers = new Set(measured.map(({ layer }) => layer)).size;
    const isFisher = estimator === 'fisher';
    const begun = openPartial(partial, {
      key,
      numbers: isFisher ? (measured.length + 1) * draws + 2 : (measured.length / layers) * levels.length + 1,
      results: sequences.length * (isFisher ? 1 : layers),
      ...{ tokens, sequences: sequences.length, vocabSize: vocabulary.vocabSize },
    });
    for (const [i, ids] of begun.sampled) sequences[i] ??= { ids, targets: undefined };
    const { results } = begun;
    const tell = (done: string) => onPartial?.(done);
    const record = (result: number[]) => tell(begun.add(result));
    const recordSampled = (first: number, ids: number[][]) => tell(begun.addSampled(first, ids));
    const { draws: drawn } = settings;
    const norms = squaredNorms(session);
    const run = { session, sequences, seed, draws: drawn, levels, norms, results, record, recordSampled };
    const measure = estimator === 'fisher' ? fisherAlphas : noiseAlphas;
    const { base, tensors } = await measure({ ...run, file: folder.name, onProgress, signal });
    await folder.unchanged?.();
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
  vocabulary: Vocabulary,
  { source, sequences, tokens, seed }: Settings,
  text: string | undefined,
): Promise<(Sequence | undefined)[]> {
  if (text !== undefined) {
    const { encode } = await openTokenizer(folder);
    return textSequences(vocabulary, encode(text, { special: false }), sequences, tokens);
  }
  return source === 'model'
    ? new Array(sequences).fill(undefined)
    : randomSequences(vocabulary, sequences, tokens, seed);
}
