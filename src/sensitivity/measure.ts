// Sensitivities of a checkpoint: what a unit of relative error in each linear weight costs, as the linearity theorem has it. Every random
// number has a stream of its own (seed, use, sequence, draw, row or position), every sum is one thread's or in the order of tokens: the
// result is the same for any number of threads, in every runtime, and resumed or not.

import { anyNumber, callback, integer, options as optionsOf, signal as signalOf, text as textOf } from '../check.ts';
import type { Alphas } from '../linearity/alphas.ts';
import type { Vocabulary } from '../model/architecture.ts';
import { readArchitecture } from '../model/families/family.ts';
import type { LoadProgress } from '../model/load.ts';
import { MEMORY_LIMIT } from '../model/region.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { openTokenizer } from '../text/tokenizer.ts';
import { givenThreads, type Threads, takeThreads } from '../workers/threads.ts';
import { COPY, sampleByCopy } from './copy.ts';
import { fisherAlphas } from './fisher.ts';
import { openGathering, type StatisticsOptions, statisticsKind, statisticsOptions } from './gather.ts';
import { measuredOf } from './measured.ts';
import { noiseAlphas } from './noise.ts';
import { openPartial, type Partial } from './partial.ts';
import type { SensitivityProgress } from './progress.ts';
import { openSession, planSession, readIdentity, type Session, survey, threadsFor } from './session.ts';
import { type SensitivitySettings, type Settings, settingsMembers, settingsOf } from './settings.ts';
import { checksumOf, randomSequences, type Sequence, textSequences } from './tokens.ts';
import type { Work } from './work.ts';

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
  /**
   * Most bytes of linear memory, 4 GB if left out. Of a larger model one piece is there at a time, by `fisher`: the result is the same,
   * and every piece is read twice for each sequence.
   */
  memoryLimit?: number;
  /**
   * Makes a quantized copy of a model of more than 4 GB, which samples the tokens in its place; what it holds may be dropped as it is
   * read. `open(folder).sensitivity()` has one if this is left out.
   */
  copy?: () => Promise<Folder>;
  /**
   * Gathers statistics of inputs and gradients of every weight, by `fisher` (`readStatistics` opens them). With its `mode` of `inputs` no
   * gradients are computed, and the result has no tensors.
   */
  statistics?: StatisticsOptions;
}

const TOO_LARGE = 'the model is too large to sample tokens itself, and there is no copy that does';

const sensitivityOptions = optionsOf<SensitivityOptions>({
  ...settingsMembers,
  name: textOf,
  threads: givenThreads,
  onLoad: callback,
  onProgress: callback,
  signal: signalOf,
  partial: textOf,
  onPartial: callback,
  memoryLimit: anyNumber,
  copy: (subject, value) => callback(subject, value) as () => Promise<Folder>,
  statistics: statisticsOptions,
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
  let session: Session | undefined;
  try {
    const folder = givenFolder('input', from);
    const options = sensitivityOptions('options', given);
    const { text, signal, onLoad, onProgress, onPartial, partial, name, memoryLimit, copy } = options;
    if (memoryLimit !== undefined) integer(1, MEMORY_LIMIT)('memoryLimit', memoryLimit);
    const settings = settingsOf(options, (await readArchitecture(folder)).contextLength);
    const { estimator, tokens, seed } = settings;
    const statistics = options.statistics && statisticsKind(options.statistics);
    const isInputs = statistics?.mode === 'inputs';
    if (statistics && estimator !== 'fisher')
      throw new RangeError('statistics must be gathered by the estimator fisher: got noise');
    const draws = estimator === 'fisher' && !isInputs ? settings.draws : 1;
    const sampled = settings.source === 'model' ? settings.sequences : 0;
    const planned = await planSession(folder, {
      ...{ estimator, tokens, draws, sampled, statistics, threads: threadsFor(threads) },
      ...(memoryLimit !== undefined && { memoryLimit }),
    });
    const { vocabulary, needsCopy } = planned;
    const sequences = await sequencesOf(folder, vocabulary, settings, text);
    const ids = checksumOf(sequences);
    const measured = measuredOf(planned.layout.state);
    const layers = new Set(measured.map(({ layer }) => layer)).size;
    const isFisher = estimator === 'fisher';
    const { sequences: _, levels, ...plain } = settings;
    const noted = { ...plain, sequences: sequences.length, ...(needsCopy && { sampler: COPY }) };
    const begin = (identity: string): Partial => {
      const only = isInputs && { statistics: 'inputs' };
      const key = JSON.stringify({ identity, model: vocabulary, ...noted, levels, ids, ...only });
      const begun = openPartial(partial, {
        key,
        numbers: isFisher ? (measured.length + 1) * draws + 2 : (measured.length / layers) * levels.length + 1,
        results: sequences.length * (isFisher ? 1 : layers),
        ...{ tokens, sequences: sequences.length, vocabSize: vocabulary.vocabSize },
      });
      for (const [i, ids] of begun.sampled) sequences[i] ??= { ids, targets: undefined };
      return begun;
    };
    const loading = { ...(onLoad && { onProgress: onLoad }), signal };
    const tell = (done: string) => onPartial?.(done);
    let begun: Partial | undefined;
    if (needsCopy) {
      begun = begin(await readIdentity(planned, loading));
      if (sequences.includes(undefined)) {
        if (!copy) throw new RangeError(`text must be given, or source random: ${TOO_LARGE}`);
        const sampling = { sequences, vocabulary, tokens, seed, file: folder.name, threads, onProgress, signal };
        const own = begun;
        await sampleByCopy(await copy(), { ...sampling, record: (first, ids) => tell(own.addSampled(first, ids)) });
      }
    }
    session = await openSession(planned, threads, loading);
    const { identity, norms } = await survey(session);
    begun ??= begin(identity);
    const { results } = begun;
    const work: Work = {
      ...{
        session,
        sequences,
        seed,
        draws: settings.draws,
        levels,
        norms,
        results,
        file: folder.name,
        onProgress,
        signal,
      },
      record: (result) => tell(begun.add(result)),
      recordSampled: (first, ids) => tell(begun.addSampled(first, ids)),
    };
    const gathering =
      statistics &&
      (await openGathering(
        options.statistics!,
        {
          ...statistics,
          ...{ identity, source: settings.source, tokens },
          ...{ sequences: sequences.length, draws: isInputs ? 0 : draws, seed, ids },
          ...(needsCopy && { sampler: COPY }),
        },
        planned.layout.state,
      ));
    const { base, tensors } = await (isFisher ? fisherAlphas(work, gathering) : noiseAlphas(work));
    await folder.unchanged?.();
    const { estimator: __, ...about } = noted;
    const loss = text === undefined ? 'kl' : 'perplexity';
    return { model: { name: name ?? null, identity }, estimator, loss, base, settings: about, tensors };
  } finally {
    await session?.close();
    await threads?.close();
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
