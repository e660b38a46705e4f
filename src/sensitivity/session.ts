// A model that is open to be measured: its weights and a workspace in one memory, threads that run tasks over both.

import { integer } from '../check.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import { UnsupportedError } from '../errors.ts';
import type { DecoderExports } from '../kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder } from '../kernels/decoder/instantiate.ts';
import { decoderBinary } from '../kernels/decoder/load.ts';
import { withSharedMemory } from '../kernels/decoder/shared.ts';
import type { Architecture, Vocabulary } from '../model/architecture.ts';
import { readArchitecture } from '../model/families/family.ts';
import { type Layout, logitRowsOf, planModel } from '../model/layout.ts';
import { fillState, type LoadProgress } from '../model/load.ts';
import { checkSize } from '../model/region.ts';
import { joinTeam } from '../model/team.ts';
import { openWeights, type Weights } from '../model/weights.ts';
import type { Folder } from '../source/source.ts';
import type { Threads } from '../workers/threads.ts';
import { weightsAt } from './measured.ts';
import { type Measuring, measuringOf } from './measuring.ts';
import { runTask } from './run.ts';
import { type Task, taskOf, wordsOfTask } from './task.ts';
import type { WorkerMessage } from './worker.ts';
import { planWorkspace, type Workspace } from './workspace.ts';

/** Sequences that the model samples together, at most: more gain little time, and each takes a place in the cache. */
const TOGETHER = 8;

interface SessionOptions {
  readonly estimator: 'fisher' | 'noise';
  /** Tokens of a sequence. */
  readonly tokens: number;
  /** Label draws of a sequence. */
  readonly draws: number;
  readonly threads: number;
  /** Sequences that the model samples; 0 if left out. */
  readonly sampled?: number;
}

/** A model that is to be measured: its files, read once. */
export interface Subject {
  readonly folder: Folder;
  readonly architecture: Architecture;
  readonly weights: Weights;
}

/** A session's layout: from configuration and headers alone. */
interface SessionPlan {
  readonly layout: Layout;
  readonly vocabulary: Vocabulary;
  readonly workspace: Workspace;
  readonly weights: Weights;
  /** Bytes of linear memory. */
  readonly bytes: number;
}

export interface Session {
  readonly vocabulary: Vocabulary;
  readonly measuring: Measuring;
  /** Runs a task on all threads. */
  run(task: Task): void;
  close(): Promise<void>;
}

/**
 * Reads a model's configuration and headers.
 * @throws {UnsupportedError} when the architecture is not handled @throws {FormatError} when a file is faulty
 */
export async function openSubject(folder: Folder): Promise<Subject> {
  const architecture = await readArchitecture(folder);
  return { folder, architecture, weights: await openWeights(await openCheckpoint(folder)) };
}

/**
 * Lays a session out.
 * @param layers how many of the model's, from the first on; all if left out
 * @throws {UnsupportedError} when weights are quantized
 * @throws {FormatError} when configuration and tensors disagree
 */
export function planSession(
  { folder, architecture: read, weights }: Subject,
  options: SessionOptions,
  layers?: number,
): SessionPlan {
  const { estimator, tokens, draws, threads, sampled = 0 } = options;
  integer(2, read.contextLength)('tokens', tokens);
  const architecture = { ...read, contextLength: tokens, layers: read.layers.slice(0, layers) };
  const together = Math.min(TOGETHER, logitRowsOf(read.vocabSize, tokens), sampled);
  const layout = planModel(architecture, weights, {
    ...{ rows: Math.max(1, together) * tokens, cacheWidth: 4, threads, integers: false, atOnce: tokens },
  });
  for (const load of layout.loads) {
    if (!('linear' in load) || load.linear.type === 'dense') continue;
    const tensor = 'quantized' in load.tensor ? load.tensor.quantized.name : '';
    const message = 'weights must not be quantized, sensitivity is of the original: they are';
    throw new UnsupportedError('sensitivity of quantized weights', message, { file: folder.name, tensor });
  }
  const { workspace, end } = planWorkspace(layout.state, { estimator, tokens, draws, together }, layout.bytes);
  return { layout, vocabulary: architecture, workspace, weights, bytes: end };
}

/** Threads that a session can have: edge workers have one. */
export function threadsFor(threads: Threads | undefined): number {
  return decoderBinary instanceof Uint8Array ? (threads?.size ?? 1) : 1;
}

/**
 * Loads the weights and starts the threads.
 * @returns with `identity`, the CRC-32 of all weights
 * @throws {RangeError} when model and workspace do not fit 4 GB
 */
export async function openSession(
  planned: SessionPlan,
  threads: Threads | undefined,
  options: { onProgress?: (progress: LoadProgress) => void; signal?: AbortSignal },
): Promise<Session & { identity: string }> {
  const { layout, weights } = planned;
  const { onProgress, signal } = options;
  let identity = '';
  const session = await startSession(planned, threads, async (kernels, buffer) => {
    await fillState(kernels, buffer, layout, weights, { onProgress, signal });
    identity = identityOf(kernels, layout);
  });
  return { ...session, identity };
}

/**
 * Starts the threads; weights are zeros unless `fill` stores them.
 * @throws {RangeError} when model and workspace do not fit 4 GB
 */
export async function startSession(
  { layout, vocabulary, workspace, bytes }: SessionPlan,
  threads: Threads | undefined,
  fill?: (kernels: DecoderExports, buffer: ArrayBufferLike) => Promise<void>,
): Promise<Session> {
  checkSize(bytes);
  const { state } = layout;
  const count = state.threads;
  const binary = count > 1 && decoderBinary instanceof Uint8Array ? withSharedMemory(decoderBinary) : decoderBinary;
  const memory = createMemory(bytes, count > 1);
  const kernels = await instantiateDecoder(binary, memory);
  await fill?.(kernels, memory.buffer);
  if (count > 1) {
    const message = { binary: binary as Uint8Array<ArrayBuffer>, memory, state, workspace };
    await threads!.start((index): WorkerMessage => ({ ...message, index }));
  }
  const team = joinTeam(kernels, memory.buffer, state.sync, 0, count);
  const measuring = measuringOf(team.thread, state, workspace, memory.buffer);
  return {
    measuring,
    vocabulary,
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

// Weights as they lie in memory, tensor by tensor.
function identityOf(kernels: DecoderExports, layout: Layout): string {
  const table = layout.staging.address;
  kernels.crc32Table(table);
  let crc = 0;
  for (const load of layout.loads) {
    if ('vector' in load) crc = kernels.crc32(crc, load.address, load.vector.shape[0] * 4, table);
    else if (load.linear.type === 'dense') {
      const { weights, rows, rowBytes } = load.linear;
      crc = kernels.crc32(crc, weights, rows * rowBytes, table);
    }
  }
  return `crc32 ${(crc >>> 0).toString(16).padStart(8, '0')}`;
}

/** ‖W‖² of every weight of every block; behind them, for gradients, of the embeddings and the head. */
export function squaredNorms({ measuring, run }: Session): Float64Array {
  const { state, workspace, doubles } = measuring;
  const norms: number[] = [];
  const last = state.blocks.length + (workspace.fisher ? 2 : 0);
  for (let block = 0; block < last; block++) {
    run({ kind: 'norms', block });
    let at = workspace.sums / 8;
    for (const { rows } of weightsAt(state, block)) {
      let sum = 0;
      for (let r = 0; r < rows; r++) sum += doubles[at + r];
      norms.push(sum);
      at += rows;
    }
  }
  return Float64Array.from(norms);
}
