// A model that is open to be measured: its weights and a workspace in one memory, threads that run tasks over both. Of a model that
// does not fit, one piece lies there at a time: the embedding, a block, the head. Each is read again whenever its turn comes: twice
// for each sequence. The numbers are the same.

import { integer } from '../check.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import type { Architecture, Vocabulary } from '../families/architecture.ts';
import { readArchitecture } from '../families/family.ts';
import type { DecoderExports } from '../kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder, type LinearMemory } from '../kernels/decoder/instantiate.ts';
import { binaryFor, decoderBinary } from '../kernels/decoder/load.ts';
import { dtypeCodes } from '../kernels/layout.ts';
import { hasStatistics } from '../model/blocks/blocks.ts';
import { type Load, logitRowsOf } from '../model/layout.ts';
import type { DenseDtype, DenseLinear } from '../model/linear.ts';
import { type Filling, loadedTensors } from '../model/loading/batches.ts';
import { type LoadingOptions, openLoader } from '../model/loading/load.ts';
import { type ModelLayout, type ModelState, planTurns, planWhole } from '../model/memories.ts';
import { MEMORY_LIMIT, megabytes } from '../model/region.ts';
import { joinTeam } from '../model/team.ts';
import { type ModelWeights, openWeights } from '../model/weights.ts';
import type { Folder } from '../source/source.ts';
import type { StatisticsKind } from '../statistics/matrices.ts';
import type { Threads } from '../workers/threads.ts';
import { weightsAt } from './program/measured.ts';
import { type Measuring, measuringOf } from './program/measuring.ts';
import { runTask } from './program/run.ts';
import { type Task, taskOf, wordsOfTask } from './program/task.ts';
import type { WorkerMessage } from './program/worker.ts';
import { planWorkspace, type Workspace } from './program/workspace.ts';

/** Sequences that the model samples together, at most: more gain little time, and each takes a place in the cache. */
export const TOGETHER = 8;

interface SessionOptions {
  readonly estimator: 'fisher' | 'noise';
  /** Tokens of a sequence. */
  readonly tokens: number;
  /** Label draws of a sequence. */
  readonly draws: number;
  readonly threads: number;
  /** Sequences that the model samples; 0 if left out. */
  readonly sampled?: number;
  /** Most bytes of linear memory; as many as there can be if left out. */
  readonly memoryLimit?: number;
  /** Statistics that are gathered, of sequences that go through one block after the other. */
  readonly statistics?: StatisticsKind | undefined;
}

/** A model that is to be measured: its files, read once. */
export interface MeasuringSubject {
  /** The checkpoint's folder. */
  readonly folder: Folder;
  /** What its config.json means. */
  readonly architecture: Architecture;
  /** Its tensors, with headers read. */
  readonly weights: ModelWeights;
}

/** A session's layout: from configuration and headers alone. */
export interface SessionPlan {
  /** The model's layout. */
  readonly layout: ModelLayout;
  /** What the configuration says of ids. */
  readonly vocabulary: Vocabulary;
  /** Regions beside the model's. */
  readonly workspace: Workspace;
  /** The checkpoint's tensors by name. */
  readonly weights: ModelWeights;
  /** Whether pieces of the model take turns in the memory. */
  readonly takesTurns: boolean;
  /** Whether the model is too large to sample tokens itself, so that a copy of it has to. */
  readonly needsCopy: boolean;
  /** Bytes of linear memory. */
  readonly bytes: number;
}

/** A model in memory that is being measured. */
export interface Session {
  /** What the configuration says of ids. */
  readonly vocabulary: Vocabulary;
  /** What the calling thread measures with. */
  readonly measuring: Measuring;
  /** The memory. */
  readonly place: Filling;
  /** Whether pieces of the model take turns in the memory. */
  readonly takesTurns: boolean;
  /** Loads the tensors of a piece, unless they are there: `pieceOf`. */
  bring(piece: number): Promise<void>;
  /** Runs a task on all threads, whose piece is there. */
  run(task: Task): void;
  /** Ends the threads, and frees the memory. */
  close(): Promise<void>;
}

/** Pieces of a model, in the order in which a token goes through them. */
export const pieceOf = {
  embedding: 0,
  block: (block: number): number => block + 1,
  end: ({ blocks }: Pick<ModelState, 'blocks'>): number => blocks.length + 1,
};

/**
 * Reads a model's configuration and headers.
 * @throws {UnsupportedError} when the architecture is not handled @throws {FormatError} when a file is faulty
 */
export async function openSubject(folder: Folder): Promise<MeasuringSubject> {
  const architecture = await readArchitecture(folder);
  return { folder, architecture, weights: await openWeights(await openCheckpoint(folder)) };
}

/**
 * Lays a session out: with the whole model where there is room, else so that its pieces take turns.
 * @param layers how many of the model's, from the first on; all if left out
 * @throws {UnsupportedError} when weights are quantized
 * @throws {FormatError} when configuration and tensors disagree
 * @throws {RangeError} when there is not room enough
 */
export function planSession(
  { folder, architecture: read, weights }: MeasuringSubject,
  options: SessionOptions,
  layers?: number,
): SessionPlan {
  const { estimator, tokens, draws, threads, sampled = 0, memoryLimit = MEMORY_LIMIT, statistics } = options;
  integer(2, read.contextLength)('tokens', tokens);
  const architecture = { ...read, contextLength: tokens, layers: read.layers.slice(0, layers) };
  const other = statistics ? architecture.layers.flat().find((spec) => !hasStatistics(spec)) : undefined;
  if (other) {
    // Gemma 4 with vectors for all layers, or caches that layers share. gather.ts has blocks outside and sequences inside.
    const message = `statistics must be gathered block by block, of all sequences each: ${other.kind} blocks here have gradients of other blocks besides the residual stream's, which are not kept of each sequence`;
    throw new UnsupportedError(`statistics of ${other.kind}`, message, { file: folder.name });
  }
  const most = Math.min(TOGETHER, logitRowsOf(read.vocabSize, tokens), sampled);
  const plan = (how: typeof planWhole, together: number, statistics?: StatisticsKind) => {
    const rows = Math.max(1, together) * tokens;
    const oneCache = statistics !== undefined && together === 0;
    const layout = how(architecture, weights, {
      ...{ rows, slots: Math.max(1, together), cache: 'f32', threads },
      ...{ integers: false, atOnce: tokens, oneCache },
    });
    const wanted = { estimator, tokens, draws, together, statistics };
    const { workspace, end } = planWorkspace(layout.state, wanted, layout.bytes);
    return { layout, vocabulary: architecture, workspace, weights, bytes: end };
  };
  const whole = plan(planWhole, most, statistics);
  for (const load of whole.layout.memories.flatMap(({ pieces }) => pieces.flat())) {
    if (!('linear' in load) || (load.linear.type === 'dense' && !('decoding' in load))) continue;
    const tensor = 'quantized' in load.tensor ? load.tensor.quantized.name : '';
    const message = 'weights must be the original’s, as sensitivity is of those: they are quantized';
    throw new UnsupportedError('sensitivity of quantized weights', message, { file: folder.name, tensor });
  }
  // What samples does not depend on the limit that is asked for, or on statistics: the result would.
  const needsCopy = sampled > 0 && (statistics ? plan(planWhole, most) : whole).bytes > MEMORY_LIMIT;
  if (whole.bytes <= memoryLimit) return { ...whole, takesTurns: false, needsCopy };
  if (estimator === 'noise') refuse('whole model, which the noise estimator runs,', memoryLimit, whole.bytes);
  const turns = plan(planTurns, needsCopy ? 0 : most, statistics);
  if (turns.bytes > memoryLimit) refuse('largest matrix and workspace', memoryLimit, turns.bytes);
  return { ...turns, takesTurns: true, needsCopy };
}

function refuse(subject: string, limit: number, bytes: number): never {
  throw new RangeError(`${subject} must fit ${megabytes(limit)} MB of linear memory: it needs ${megabytes(bytes)} MB`);
}

/** Threads that a session can have: edge workers have one. */
export function threadsFor(threads: Threads | undefined): number {
  return decoderBinary instanceof Uint8Array ? (threads?.size ?? 1) : 1;
}

/** Starts the threads, and loads the weights where they do not take turns. */
export async function openSession(
  planned: SessionPlan,
  threads: Threads | undefined,
  options: LoadingOptions,
): Promise<Session> {
  const session = await startSession(planned, threads);
  const { place } = session;
  try {
    const loader = await openLoader([place], planned.weights, options);
    loader.prepare(place);
    let current: number | undefined;
    const bring = async (piece: number): Promise<void> => {
      if (piece === current) return;
      current = undefined;
      await loader.load(place, piece);
      current = piece;
    };
    if (planned.takesTurns) return { ...session, bring };
    for (const piece of place.layout.pieces.keys()) await loader.load(place, piece);
    return session;
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** Starts the threads; weights are zeros. */
export async function startSession(
  { layout, vocabulary, workspace, bytes, takesTurns }: SessionPlan,
  threads: Threads | undefined,
): Promise<Session> {
  const { state } = layout;
  const count = state.threads;
  const binary = binaryFor(count);
  const memory = memoryOf(bytes, count > 1);
  const kernels = await instantiateDecoder(binary, memory);
  if (count > 1) {
    const message = { binary: binary as Uint8Array<ArrayBuffer>, memories: [memory], state, linears: [], workspace };
    await threads!.start((index): WorkerMessage => ({ ...message, index }));
  }
  const team = joinTeam(kernels, memory.buffer, state.sync, 0, count);
  const measuring = measuringOf(team.thread, state, workspace, memory.buffer);
  return {
    ...{ measuring, vocabulary, takesTurns },
    place: { kernels, buffer: memory.buffer, layout: layout.memories[0] },
    bring: async () => {},
    run(task) {
      const words = wordsOfTask(task);
      try {
        team.begin(words);
        runTask(measuring, taskOf(Int32Array.from(words)));
      } catch (error) {
        team.fail();
        throw error;
      }
    },
    async close() {
      team.end();
      await threads?.close();
    },
  };
}

function memoryOf(bytes: number, shared: boolean): LinearMemory {
  try {
    return createMemory(bytes, shared);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const message = `memory must have ${megabytes(bytes)} MB to measure in, and this runtime gives no memory so large: by fisher a smaller memoryLimit has pieces of the model take turns`;
    throw new RangeError(message, { cause });
  }
}

/** What a first look at all weights gives. */
interface FirstLook {
  /** CRC-32 of the weights as they lie in memory, tensor by tensor. */
  readonly identity: string;
  /** ‖W‖² of every weight of every block; behind them, for gradients, of the embeddings and the head. */
  readonly norms: Float64Array;
}

/** Takes every piece of the model once. @throws {FormatError} for weights that are not finite: names the tensor */
export async function survey({ measuring, run, bring, place }: Session, file: string): Promise<FirstLook> {
  const { kernels, layout } = place;
  const { state, workspace, doubles } = measuring;
  const norms: number[][] = [];
  const squares = (block: number) => {
    run({ kind: 'squares', block });
    let index = workspace.sums / 8;
    return weightsAt(state, block).map(({ name, rows }) => {
      let sum = 0;
      for (let r = 0; r < rows; r++) sum += doubles[index + r];
      index += rows;
      if (!Number.isFinite(sum))
        throw new FormatError('weights must be finite: some are NaN or infinite', { file, tensor: name });
      return sum;
    });
  };
  const blocks = state.blocks.length;
  const table = layout.staging.address;
  let crc = 0;
  for (const [piece, loads] of layout.pieces.entries()) {
    await bring(piece);
    kernels.crc32Table(table);
    for (const load of loads) if (!isAgain(load, piece, state)) crc = checksum(kernels, load, crc, table);
    if (piece > 0 && piece <= blocks) norms[piece - 1] = squares(piece - 1);
    else if (workspace.fisher) norms[piece === 0 ? blocks : blocks + 1] = squares(piece === 0 ? blocks : blocks + 1);
  }
  return { identity: identityOf(crc), norms: Float64Array.from(norms.flat()) };
}

const identityOf = (crc: number) => `crc32 ${(crc >>> 0).toString(16).padStart(8, '0')}`;

// A head that is the embedding is loaded with its piece again.
const isAgain = (load: Load, piece: number, { embedding }: ModelState) =>
  'linear' in load && piece > 0 && load.linear.name === embedding.name;

/** Bytes of a tensor that are read at a time. */
const BLOCK_BYTES = 4 << 20;

/** The identity alone, with hardly any memory: before there is a session. */
export async function readIdentity({ layout }: SessionPlan, { onProgress, signal }: LoadingOptions): Promise<string> {
  const block = 1 << 16;
  const widened = block + BLOCK_BYTES + 64;
  const memory = createMemory(widened + 2 * BLOCK_BYTES + 64, false);
  const kernels = await instantiateDecoder(decoderBinary, memory);
  const table = 1024;
  kernels.crc32Table(table);
  let crc = 0;
  const sizes = layout.memories[0].pieces.flat().flatMap(loadedTensors);
  const progress = { tensor: '', bytesDone: 0, bytes: sizes.reduce((sum, { byteLength }) => sum + byteLength, 0) };
  const add = async (tensor: CheckpointTensor, isVector: boolean, plus = 0) => {
    const { byteLength } = tensor;
    for (let start = 0; start < byteLength; start += BLOCK_BYTES) {
      signal?.throwIfAborted();
      const bytes = new Uint8Array(await tensor.read(start, Math.min(byteLength, start + BLOCK_BYTES)));
      new Uint8Array(memory.buffer, block).set(bytes);
      const count = bytes.length / (tensor.dtype === 'F32' ? 4 : 2);
      if (isVector) kernels.widen(block, dtypeCodes[tensor.dtype as DenseDtype], 0, count, widened);
      if (plus !== 0) {
        const values = new Float32Array(memory.buffer, widened, count);
        for (let i = 0; i < count; i++) values[i] += plus;
      }
      crc = kernels.crc32(crc, isVector ? widened : block, isVector ? count * 4 : bytes.length, table);
      progress.tensor = tensor.name;
      progress.bytesDone += bytes.length;
      onProgress?.(progress);
    }
  };
  for (const [piece, loads] of layout.memories[0].pieces.entries()) {
    for (const load of loads) {
      if (isAgain(load, piece, layout.state)) continue;
      if ('vector' in load) await add(load.vector, true, load.plus);
      else if ('plain' in load.tensor) await add(load.tensor.plain, false);
    }
  }
  return identityOf(crc);
}

function checksum(kernels: DecoderExports, load: Load, crc: number, table: number): number {
  if ('vector' in load) return kernels.crc32(crc, load.address, load.vector.shape[0] * 4, table);
  const { weights, rows, rowBytes } = load.linear as DenseLinear;
  return kernels.crc32(crc, weights, rows * rowBytes, table);
}
