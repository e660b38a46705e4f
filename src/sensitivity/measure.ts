// Sensitivities of a checkpoint: what a unit of relative error in each linear weight costs, as the linearity theorem has it. Every random
// number has a stream of its own (seed, use, sequence, draw, row or position), every sum is one thread's or in the order of tokens: the
// result is the same for any number of threads, in every runtime, and resumed or not.

import { anyNumber, callback, integer, needed, optionsOf, type Reader, signalOf, text as textOf } from '../check.ts';
import { show } from '../excerpt.ts';
import type { Architecture, Vocabulary } from '../families/architecture.ts';
import { readArchitecture } from '../families/family.ts';
import { givenTensors, type PlanTensor } from '../linearity/allocate.ts';
import type { Alphas } from '../linearity/alphas.ts';
import type { LoadProgress } from '../model/loading/load.ts';
import { MEMORY_LIMIT } from '../model/region.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { readTokenizer } from '../text/tokenizer.ts';
import {
  givenThreadsOrStart,
  startAndTake,
  type Threads,
  type ThreadsOrStart,
  takeThreads,
} from '../workers/threads.ts';
import { COPY, sampleByCopy } from './copy.ts';
import { fisherResults, fisherSurvey } from './fisher.ts';
import { openGathering, type StatisticsOptions, statisticsKind, statisticsOptions } from './growing.ts';
import { type Begun, findKept, givenSensitivityStore, type KeptNews, keptOrMeasured, type Store } from './kept.ts';
import { noiseResults, noiseSurvey } from './noise.ts';
import { openPartial, type Partial as Unfinished } from './partial.ts';
import { besideOf, measuredNames, measuredOf } from './program/measured.ts';
import type { SensitivityProgress } from './progress.ts';
import { combine } from './results/combine.ts';
import { alphasWith, givenSensitivityPart, partText, type SensitivityPart, sequencesOfPart } from './results/part.ts';
import {
  type MeasuringSubject,
  openSession,
  openSubject,
  planSession,
  readIdentity,
  type Session,
  survey,
  threadsFor,
} from './session.ts';
import { DEFINITIONS, type FullSettings, fullSettings, type SensitivitySettings, settingsMembers } from './settings.ts';
import { randomSequences, sequencesChecksum, type TokenSequence, textSequences } from './tokens.ts';
import { givenReplaced, openUnderway, type ReplacedFile } from './underway.ts';
import type { Work } from './work.ts';

/** Options of `measureSensitivity`. */
export interface SensitivityOptions extends SensitivitySettings {
  /** What the result calls the model. */
  name?: string;
  /**
   * Threads to run on, from `startThreads`, or a function that starts them if something is measured. They are ended at the end. The
   * calling thread alone if left out.
   */
  threads?: ThreadsOrStart;
  /** Called as tensors are read. */
  onLoad?: (progress: LoadProgress) => void;
  /** Called after each step. */
  onProgress?: (progress: SensitivityProgress) => void;
  /** Stops the run between two steps. */
  signal?: AbortSignal;
  /** What an earlier run had done, from its `onPartial`; the result is the same as that of one run. */
  partial?: string;
  /** Called whenever more is done, with all that a later run needs to go on. */
  onPartial?: (partial: string) => void;
  /**
   * Where the sequence under way is kept between two blocks, when an abort ends the run and each minute: a run with `partial` goes on from
   * there. Of `fisher` without statistics. Left out, the sequence is begun anew.
   */
  underway?: ReplacedFile;
  /** Tensors to plan for: before anything is measured, one is refused that would have no sensitivity, and has no grid either. */
  tensors?: readonly PlanTensor[];
  /**
   * Where sensitivities are kept: those are used that are of these settings and this model, else they are measured and kept. An
   * interrupted run is gone on with. Excludes `text`, `levels`, `partial`, `onPartial`, `underway` and
   * `statistics`.
   */
  store?: Store;
  /** Called as the model is compared with what is kept. */
  onCheck?: (progress: LoadProgress) => void;
  /** Told of what is kept: whether it is used, and why not. */
  onKept?: (news: KeptNews) => void;
  /**
   * Most bytes of linear memory, 4 GB if left out. Of a larger model one piece is there at a time, by `fisher`: the result is the same,
   * and every piece is read twice for each sequence.
   */
  memoryLimit?: number;
  /**
   * Makes a copy of a model of more than 4 GB that is quantized with a grid and samples the tokens in its place. `sensitivity` of an
   * open checkpoint makes one itself if this is left out.
   */
  copy?: (grid: string) => Promise<Folder>;
  /**
   * Gathers statistics of inputs and gradients of every weight, by `fisher` (`readStatistics` opens them). With its `mode` of `inputs` no
   * gradients are computed, and the result has no tensors.
   */
  statistics?: StatisticsOptions;
  /** Measures one part of the sequences, of machines that share the work: the result is of those alone. Excludes `store` and `statistics`. */
  part?: SensitivityPart;
  /** Called at the end with what `mergeSensitivities` makes the whole result of, given that of every part. */
  onPart?: (content: string) => void;
}

const TOO_LARGE = 'the model is too large to sample tokens itself, and there is no copy that does';

const members = {
  ...settingsMembers,
  name: textOf,
  threads: givenThreadsOrStart,
  onLoad: callback,
  onProgress: callback,
  signal: signalOf,
  partial: textOf,
  onPartial: callback,
  underway: givenReplaced,
  tensors: givenTensors,
  store: givenSensitivityStore,
  onCheck: callback,
  onKept: callback,
  memoryLimit: anyNumber,
  copy: callback as Reader<(grid: string) => Promise<Folder>>,
  statistics: statisticsOptions,
  part: givenSensitivityPart,
  onPart: callback,
} as const;
const sensitivityOptions: Reader<SensitivityOptions> = optionsOf<SensitivityOptions>(members);
const keptOptions = optionsOf<SensitivityOptions & { store: Store }>({
  ...members,
  store: needed(givenSensitivityStore),
});

/**
 * Measures the sensitivities of all linear weights of a checkpoint that is not quantized; by `fisher`, of its embeddings and head, too.
 * With a `store` they are measured once.
 * @param copy stands for the option where that is left out
 * @throws {UnsupportedError} when it is quantized, or its architecture is not handled
 * @throws {FormatError} when it is malformed or has weights that are not finite, or `partial` is of another run
 * @throws {RangeError} when an option is out of range, the text is too short, or there is too little memory
 * @throws {TypeError} when an argument is of another kind, or an option is not known
 * @throws {StateError} when the threads are a model's, or closed
 * @example
 * const alphas = await measureSensitivity(folder, { sequences: 4 });
 */
export async function measureSensitivity(
  from: Folder,
  given: SensitivityOptions = {},
  copy?: (grid: string) => Promise<Folder>,
): Promise<Alphas> {
  const taken = takeThreads(given, true);
  try {
    const folder = givenFolder('input', from);
    const options = { ...(copy && { copy }), ...sensitivityOptions('options', given) };
    const { memoryLimit } = options;
    if (memoryLimit !== undefined) integer(1, MEMORY_LIMIT)('memoryLimit', memoryLimit);
    const subject = await openSubject(folder);
    const settings = fullSettings(options, subject.architecture.contextLength);
    if (options.statistics && settings.estimator !== 'fisher')
      throw new RangeError('statistics must be gathered by the estimator fisher: got noise');
    checkMeasured(options, subject.architecture, settings);
    checkPart(options);
    const { store, threads } = options;
    const start = async () => (typeof threads === 'function' ? startAndTake(threads) : taken);
    if (!store) return await measure(subject, settings, options, start);
    const keeping = { ...options, folder, store: checkStore(store, options), settings };
    return await keptOrMeasured(keeping, (begun) => measure(subject, settings, { ...options, ...begun }, start));
  } finally {
    await taken?.close();
  }
}

/**
 * The sensitivities that are kept of a model, if they are of these settings, these weights and this configuration.
 * @throws what `measureSensitivity` throws
 * @example
 * const alphas = await keptSensitivity(folder, { store });
 */
export async function keptSensitivity(
  from: Folder,
  given: SensitivityOptions & { store: Store },
): Promise<Alphas | undefined> {
  const folder = givenFolder('input', from);
  const options = keptOptions('options', given);
  const settings = fullSettings(options, (await readArchitecture(folder)).contextLength);
  return findKept({ ...options, folder, store: checkStore(options.store, options), settings });
}

// A file that is kept does not say of which text or levels it is, and has its own unfinished work.
function checkStore(store: Store, options: SensitivityOptions): Store {
  for (const key of ['text', 'levels', 'partial', 'onPartial', 'underway', 'statistics'] as const) {
    if (options[key] !== undefined) throw new RangeError(`${key} must be left out: a store keeps none of it`);
  }
  return store;
}

// Statistics are one sum over all sequences, and a store keeps what is whole.
function checkPart({ part, store, statistics }: SensitivityOptions): void {
  if (!part || !(store || statistics)) return;
  throw new RangeError(`part must come without ${store ? 'a store' : 'statistics'}: that is the work of one machine`);
}

// Before minutes of measuring: a plan needs the sensitivity of every tensor whose grid is free.
function checkMeasured(
  { tensors = [] }: SensitivityOptions,
  architecture: Architecture,
  { estimator }: FullSettings,
): void {
  const names = new Set(measuredNames(architecture, estimator));
  const other = tensors.find(({ name, keep, like = name }) => !keep && !names.has(name) && !names.has(like));
  if (!other) return;
  throw new RangeError(`tensors whose sensitivity is not measured must have a grid: ${show(other.name)} has none`);
}

type Measurement = Omit<SensitivityOptions, keyof Begun> & Partial<Begun>;

async function measure(
  subject: MeasuringSubject,
  settings: FullSettings,
  {
    text,
    signal,
    onLoad,
    onProgress,
    name,
    store,
    memoryLimit,
    copy,
    statistics,
    part,
    onPart,
    ...begins
  }: Measurement,
  start: () => Promise<Threads | undefined>,
): Promise<Alphas> {
  let threads: Threads | undefined;
  let session: Session | undefined;
  try {
    threads = await start();
    const { estimator, tokens, seed } = settings;
    const kind = statistics && statisticsKind(statistics);
    const isInputs = kind?.mode === 'inputs';
    const draws = estimator === 'fisher' && !isInputs ? settings.draws : 1;
    const sampled = settings.source === 'model' ? settings.sequences : 0;
    const planned = planSession(subject, {
      ...{ estimator, tokens, draws, sampled, statistics: kind, threads: threadsFor(threads) },
      ...(memoryLimit !== undefined && { memoryLimit }),
    });
    const { partial, onPartial, underway: file } = begins;
    const { vocabulary, needsCopy } = planned;
    const { folder } = subject;
    const sequences = await sequencesOf(folder, vocabulary, settings, text);
    const partSequences = sequencesOfPart(part, sequences.length);
    const ids = sequencesChecksum(sequences);
    const measured = measuredOf(planned.layout.state);
    const layers = new Set(measured.map(({ layer }) => layer)).size;
    const isFisher = estimator === 'fisher';
    const { sequences: _, levels, ...plain } = settings;
    const noted = { ...plain, sequences: sequences.length, ...(needsCopy && { sampler: COPY }) };
    const keyOf = (identity: string) => {
      const only = isInputs && { statistics: 'inputs' };
      return JSON.stringify({ identity, model: vocabulary, ...noted, levels, ids, ...only });
    };
    const begin = (identity: string): Unfinished => {
      const begun = openPartial(partial, {
        key: part ? JSON.stringify([keyOf(identity), part]) : keyOf(identity),
        numbers: isFisher
          ? (measured.length + 1 + besideOf(planned.layout.state).length) * draws + 2
          : (measured.length / layers) * levels.length + 1,
        results: (partSequences.end - partSequences.first) * (isFisher ? 1 : layers),
        ...{ tokens, sequences: sequences.length, vocabSize: vocabulary.vocabSize },
        orAnew: store !== undefined,
      });
      for (const [i, ids] of begun.sampled) sequences[i] ??= { ids, targets: undefined };
      return begun;
    };
    const loading = { ...(onLoad && { onProgress: onLoad }), signal };
    const tell = (done: string) => onPartial?.(done);
    // The copy comes first, and is gone before the model itself is loaded.
    let begun = needsCopy ? begin(await readIdentity(planned, loading)) : undefined;
    if (begun && sequences.slice(partSequences.first, partSequences.end).includes(undefined)) {
      if (!copy) throw new RangeError(`text must be given, or source random: ${TOO_LARGE}`);
      const { addSampled, begun: existing } = begun;
      await sampleByCopy(await copy(COPY), {
        ...{ sequences, ...partSequences, vocabulary, tokens, seed, file: folder.name, threads, onProgress, signal },
        begun: existing,
        record: (first, ids) => tell(addSampled(first, ids)),
      });
    }
    session = await openSession(planned, threads, loading);
    const { identity, norms } = await survey(session, folder.name);
    begun ??= begin(identity);
    const unfinished = begun;
    const { results, add, addSampled, begun: existing } = unfinished;
    const underway =
      isFisher && !kind && file
        ? openUnderway(session, file, keyOf(identity), () => tell(unfinished.content))
        : undefined;
    const work: Work = {
      ...{
        session,
        sequences,
        ...partSequences,
        seed,
        draws: settings.draws,
        levels,
        norms,
        results,
        underway,
        file: folder.name,
      },
      begun: existing,
      record: (result) => tell(add(result)),
      recordSampled: (first, ids) => tell(addSampled(first, ids)),
      ...{ onProgress, signal },
    };
    const about = kind && {
      ...{ ...kind, identity, source: settings.source, tokens, sequences: sequences.length },
      ...{ draws: isInputs ? 0 : draws, seed, ids, ...(needsCopy && { sampler: COPY }) },
    };
    const gathering = about && (await openGathering(statistics, about, planned.layout.state));
    await (isFisher ? fisherResults(work, gathering) : noiseResults(work));
    await folder.unchanged?.();
    const { estimator: __, ...notes } = noted;
    const loss = text === undefined ? ('kl' as const) : ('perplexity' as const);
    const model = { name: name ?? null, identity };
    const whole = { model, estimator, loss, settings: { ...notes, definition: DEFINITIONS[estimator] } };
    if (isInputs) return { ...whole, base: null, tensors: new Map() };
    const measuredBy = isFisher ? fisherSurvey(work) : noiseSurvey(work);
    if (part && onPart) {
      const which = { part: part.index, parts: part.count, ...partSequences, sequences: sequences.length };
      onPart(partText({ ...which, key: keyOf(identity), about: whole, survey: measuredBy }, results));
    }
    return alphasWith(whole, combine(measuredBy, results));
  } finally {
    await (session ? session.close() : threads?.close());
  }
}

// `undefined` for those that the model samples when their turn comes.
async function sequencesOf(
  folder: Folder,
  vocabulary: Vocabulary,
  { source, sequences, tokens, seed }: FullSettings,
  text: string | undefined,
): Promise<(TokenSequence | undefined)[]> {
  if (text !== undefined) {
    const { encode } = await readTokenizer(folder);
    return textSequences(vocabulary, encode(text, { special: false }), sequences, tokens);
  }
  return source === 'model'
    ? new Array(sequences).fill(undefined)
    : randomSequences(vocabulary, sequences, tokens, seed);
}
