// What a measurement will take, from the speed of one layer of the model's shape on this machine, whose weights are zeros: they take as
// long. How long the weights take to be read is estimated by some of them, and the making of a copy by one matrix.

import { callback, integer, optionsOf, type Reader } from '../check.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import { cacheBytes } from '../model/cache.ts';
import { loadedTensors } from '../model/loading/batches.ts';
import type { ModelState } from '../model/memories.ts';
import { MEMORY_LIMIT } from '../model/region.ts';
import { openQuantized } from '../quantize/format.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import type { StatisticsKind } from '../statistics/matrices.ts';
import { givenThreads, type Threads, takeThreads } from '../workers/threads.ts';
import { COPY } from './copy.ts';
import { sequencesPerGroup } from './gather.ts';
import { kindMembers, statisticsBytes, statisticsKind } from './growing.ts';
import { measuredOf } from './program/measured.ts';
import type { Task } from './program/task.ts';
import {
  openSubject,
  planSession,
  type Session,
  type SessionPlan,
  startSession,
  TOGETHER,
  threadsFor,
} from './session.ts';
import { type FullSettings, fullSettings, type SensitivitySettings, settingsMembers } from './settings.ts';
import { sample } from './tokens.ts';

/** An estimate. */
export interface SensitivityCost {
  /** Gradients, or noise. */
  readonly estimator: 'fisher' | 'noise';
  /** What the tokens are: of a text, sampled by the model, or random. */
  readonly source: 'text' | 'model' | 'random';
  /** Tokens of a sequence. */
  readonly tokens: number;
  /** Sequences that go through the model. */
  readonly sequences: number;
  /** Label draws of a sequence. */
  readonly draws: number;
  /** Matrices of the layers, and their weights. */
  readonly matrices: number;
  /** Weights of those matrices. */
  readonly weights: number;
  /** Bytes of linear memory. */
  readonly bytes: number;
  /** Bytes that are read where pieces of the model take turns in memory; 0 where the whole model is there. */
  readonly bytesRead: number;
  /** Seconds that all reading of weights takes, at the speed of some megabytes now: files in the system's cache are read faster. */
  readonly readSeconds: number;
  /** Bytes of the quantized copy that samples the tokens of a model too large to do so; 0 for none. It is gone when the rest begins. */
  readonly copyBytes: number;
  /** Seconds that its making takes; 0 where there is no copy. */
  readonly copySeconds: number;
  /** Threads that the measurement would run on. */
  readonly threads: number;
  /** Of computing: without reading the weights, and without making a copy. */
  readonly seconds: number;
  /** Bytes of the file of statistics, if they are asked for. */
  readonly statisticsBytes?: number;
}

/** Runs of a task that are timed; the shortest counts. */
const RUNS = 2;
/** Of a step of single tokens, which is short. */
const STEP_RUNS = 16;
/** Tensors of which a piece is read to tell the speed, and bytes of a piece. */
const READS = 8;
const READ_BYTES = 4 << 20;
/** Weights of the matrix that tells how long a copy takes to make, if there is one so large. */
const COPIED = 1 << 20;

/** Options of `estimateSensitivity`. */
export interface CostOptions extends SensitivitySettings {
  /** Threads that the measurement would run on; the calling thread alone if left out. */
  threads?: Threads;
  /** Statistics that are to be gathered. */
  statistics?: Partial<StatisticsKind>;
  /** Most bytes of linear memory, as for `measureSensitivity`. */
  memoryLimit?: number;
  /** What makes the copy of a model too large to sample its tokens, as for `measureSensitivity`. */
  copy?: (grid: string) => Promise<Folder>;
}

const costOptions = optionsOf<CostOptions>({
  ...settingsMembers,
  threads: givenThreads,
  statistics: optionsOf(kindMembers),
  memoryLimit: integer(1, MEMORY_LIMIT),
  copy: callback as Reader<(grid: string) => Promise<Folder>>,
});

/**
 * Estimates what `measureSensitivity` would take with the same settings, by running single steps of it.
 * @param copy stands for the option where that is left out
 * @throws what `measureSensitivity` throws for the folder and the settings, but for those of the text
 * @example
 * const { seconds } = await estimateSensitivity(folder, { sequences: 12 });
 */
export async function estimateSensitivity(
  from: Folder,
  given: CostOptions = {},
  copy?: (grid: string) => Promise<Folder>,
): Promise<SensitivityCost> {
  const threads = takeThreads(given);
  let session: Session | undefined;
  try {
    const folder = givenFolder('input', from);
    const options = { ...(copy && { copy }), ...costOptions('options', given) };
    const subject = await openSubject(folder);
    const settings = fullSettings(options, subject.architecture.contextLength);
    const { estimator, source, tokens, sequences } = settings;
    const count = threadsFor(threads);
    const statistics = options.statistics && statisticsKind(options.statistics);
    const draws = estimator === 'fisher' && statistics?.mode !== 'inputs' ? settings.draws : 1;
    const sampled = source === 'model' ? sequences : 0;
    const layout = { estimator, tokens, draws, sampled, threads: count, statistics };
    const { memoryLimit } = options;
    const whole = planSession(subject, { ...layout, ...(memoryLimit !== undefined && { memoryLimit }) });
    session = await startSession(planSession(subject, layout, 1), threads);
    const measured = measuredOf(whole.layout.state);
    const layers = 1 + measured.reduce((last, { layer }) => Math.max(last, layer), 0);
    const timed = timesOf(session);
    const sampling = sampled * samplingSeconds(session, timed, layers);
    const measuring =
      estimator === 'fisher'
        ? sequences * fisherSeconds(session, timed, layers)
        : noiseSeconds(session, timed, layers, settings);
    const once = piecesOf(whole).reduce((sum, size) => sum + size, 0);
    const turns = whole.takesTurns ? bytesRead(whole, sequences, whole.needsCopy ? 0 : sampled, statistics) : 0;
    return {
      ...{ estimator, source, tokens, sequences, draws: settings.draws, threads: count, seconds: sampling + measuring },
      matrices: measured.length,
      weights: measured.reduce((sum, { linear }) => sum + linear.rows * linear.cols, 0),
      bytes: whole.bytes,
      bytesRead: turns,
      readSeconds: Math.max(once, turns) / (await readSpeed(whole)),
      copyBytes: whole.needsCopy ? copyBytes(whole, tokens, sequences) : 0,
      copySeconds: whole.needsCopy && options.copy ? await copySeconds(await options.copy(COPY)) : 0,
      ...(statistics && { statisticsBytes: bytesOf(statistics, settings, draws, whole.layout.state) }),
    };
  } finally {
    await (session ? session.close() : threads?.close());
  }
}

// Numbers of other digits than those of a run make the header longer by a few bytes: no more.
function bytesOf(statistics: StatisticsKind, settings: FullSettings, draws: number, state: ModelState): number {
  const { source, tokens, sequences, seed } = settings;
  const noted = { source, tokens, sequences, draws, seed };
  return statisticsBytes({ ...statistics, ...noted, identity: 'crc32 00000000', ids: 2 ** 31 }, state);
}

// All pieces once, to and fro for each sequence or, with statistics, each group, and once for each token of those that are sampled together;
// once more the embeddings, where gradients end.
function bytesRead(
  plan: SessionPlan,
  sequences: number,
  sampled: number,
  statistics: StatisticsKind | undefined,
): number {
  const { layout, workspace } = plan;
  const sizes = piecesOf(plan);
  const all = sizes.reduce((sum, size) => sum + size, 0);
  const blocks = all - sizes[0] - sizes.at(-1)!;
  const steps = workspace.together > 0 ? Math.ceil(sampled / workspace.together) * (workspace.tokens - 1) : 0;
  const turns = statistics
    ? Math.ceil(sequences / sequencesPerGroup({ state: layout.state, workspace }, statistics))
    : sequences;
  return all * (1 + turns + steps) + (statistics?.mode === 'inputs' ? 0 : blocks * turns + sizes[0]);
}

// Bytes of each piece of the model.
function piecesOf({ layout }: SessionPlan): number[] {
  return layout.memories[0].pieces.map((loads) =>
    loads.flatMap(loadedTensors).reduce((sum, { byteLength }) => sum + byteLength, 0),
  );
}

// Bytes a second of weights, from pieces of tensors that are far apart.
async function readSpeed({ layout }: SessionPlan): Promise<number> {
  const tensors = layout.memories[0].pieces.flat().flatMap(loadedTensors);
  const largest = tensors.sort((a, b) => b.byteLength - a.byteLength).slice(0, READS);
  const began = performance.now();
  let bytes = 0;
  for (const { byteLength, read } of largest) {
    const start = Math.max(0, byteLength - READ_BYTES);
    bytes += (await read(start, byteLength)).byteLength;
  }
  return (bytes / Math.max(performance.now() - began, 1e-3)) * 1000;
}

// From a matrix of the copy, when another has been made before it: the first takes tables, too.
async function copySeconds(copy: Folder): Promise<number> {
  const { quantized } = await openQuantized(await openCheckpoint(copy));
  const sizeOf = ({ rows, cols }: (typeof quantized)[number]) => rows * cols;
  const bySize = [...quantized].sort((a, b) => sizeOf(a) - sizeOf(b));
  const timed = bySize.find((weight) => sizeOf(weight) >= COPIED) ?? bySize.at(-1)!;
  await bySize.find((weight) => weight !== timed)?.packed.read();
  const began = performance.now();
  await timed.packed.read();
  const seconds = (performance.now() - began) / 1000;
  return (seconds / sizeOf(timed)) * quantized.reduce((sum, weight) => sum + sizeOf(weight), 0);
}

// Codes of four bits with their scales; keys and values, or states, of the sequences that are sampled together.
function copyBytes({ layout }: SessionPlan, tokens: number, sequences: number): number {
  const loads = layout.memories[0].pieces.flat();
  const weights = loads.reduce((sum, load) => sum + ('linear' in load ? load.linear.rows * load.linear.cols : 0), 0);
  const together = Math.min(TOGETHER, sequences);
  const kept = layout.state.blocks.reduce((sum, block) => {
    if ('recurrent' in block) return sum + block.recurrent.floats * 4;
    if (!('cache' in block) || ('borrows' in block && block.borrows)) return sum;
    return sum + (cacheBytes(block.cache, 'f16') / block.cache.rows) * tokens;
  }, 0);
  return Math.ceil((weights * 4.02) / 8) + kept * together;
}

/** Seconds that a task takes; of the head's tasks, all tokens together. */
type Times = (task: Task, runs?: number) => number;

function timesOf({ measuring, run }: Session): Times {
  const { state, workspace } = measuring;
  const { tokens } = workspace;
  return (task, runs = RUNS) => {
    const isHead = task.kind === 'labels' || task.kind === 'keep' || task.kind === 'compare';
    const count = Math.min(state.logitRows, tokens);
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < runs; i++) {
      const began = performance.now();
      run(isHead ? { ...task, count } : task);
      least = Math.min(least, performance.now() - began);
    }
    return (least / 1000) * (isHead ? tokens / count : 1);
  };
}

// Of one sequence, as one of those that are sampled together; steps are timed in its middle.
function samplingSeconds({ measuring }: Session, seconds: Times, layers: number): number {
  const { state, workspace, floats } = measuring;
  const { together: count } = workspace;
  if (count === 0) return 0;
  const to = state.blocks.length;
  const step = { kind: 'step', first: workspace.tokens >> 1, count, ids: true, to } as const;
  const layer = seconds(step, STEP_RUNS);
  const whole = seconds({ ...step, logits: true }, STEP_RUNS);
  const row = floats.subarray(state.logits / 4, state.logits / 4 + state.vocabSize);
  row.fill(0); // logits of no weights may be no numbers
  let drawn = Number.POSITIVE_INFINITY;
  for (let i = 0; i < STEP_RUNS; i++) {
    const began = performance.now();
    sample(row, 1);
    drawn = Math.min(drawn, (performance.now() - began) / 1000);
  }
  return (workspace.tokens - 1) * (((layers - 1) * layer + Math.max(layer, whole)) / count + drawn);
}

function fisherSeconds(session: Session, seconds: Times, layers: number): number {
  const { state, workspace } = session.measuring;
  const gather = workspace.statistics !== undefined;
  const forward = seconds({ kind: 'embed' }) + layers * layerSeconds(session, seconds);
  if (!workspace.fisher) {
    let inputs = 0;
    for (const block of state.blocks.keys()) inputs += seconds({ kind: 'inputs', block });
    return forward + layers * inputs;
  }
  let backward = 0;
  for (const block of state.blocks.keys()) backward += seconds({ kind: 'back', block, gather });
  // A sequence's first tokens take norms of rows as well, once: others are timed, if it has more than go together.
  const first = Math.min(1, Math.max(0, workspace.tokens - state.logitRows));
  const labels = seconds({ kind: 'labels', first, count: 1 });
  return forward + labels + layers * backward + seconds({ kind: 'embeddingBack' });
}

function noiseSeconds(session: Session, seconds: Times, layers: number, settings: FullSettings): number {
  const { sequences, draws, levels } = settings;
  const layer = layerSeconds(session, seconds);
  const head = seconds({ kind: 'keep', count: 1 });
  const compared = seconds({ kind: 'compare', count: 1 });
  const measured = measuredOf(session.measuring.state);
  let noise = 0;
  let perturbed = 0;
  for (const { block, place } of measured) {
    noise += seconds({ kind: 'draw', block, place });
    perturbed += seconds({ kind: 'perturb', block, place, scale: 0 });
  }
  // From each layer on: half of them on average.
  const suffixes = (layer * (layers + 1)) / 2 + compared;
  const runs = 2 * levels.length * (perturbed + measured.length * suffixes);
  return sequences * (layers * layer + head + draws * layers * (noise + runs));
}

// Of the one layer that is laid out.
function layerSeconds({ measuring }: Session, seconds: Times): number {
  let sum = 0;
  for (const block of measuring.state.blocks.keys()) sum += seconds({ kind: 'block', block, save: true });
  return sum;
}
