// A language model ready to run: ids in, logits out, the keys and values of what it has seen in its cache.

import {
  anyNumber,
  callback,
  ids as givenIds,
  idCount,
  integer,
  oneOf,
  options,
  signal as signalOf,
} from '../check.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import { closed, StateError } from '../errors.ts';
import { createMemory, instantiateDecoder } from '../kernels/decoder/instantiate.ts';
import { decoderBinary } from '../kernels/decoder/load.ts';
import { withSharedMemory } from '../kernels/decoder/shared.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { givenThreads, type Threads, takeThreads } from '../workers/threads.ts';
import { type ModelConfig, readConfig } from './config.ts';
import { forwardPass, type Pass, wordsOf } from './forward.ts';
import { fillState, type LoadProgress } from './load.ts';
import { checkSize } from './region.ts';
import { type Plan, planState } from './state.ts';
import { joinTeam, type Team, type ThreadMessage } from './team.ts';
import { openWeights } from './weights.ts';

/** Positions that a cache has room for unless more are asked for: longer ones cost memory that most prompts do not need. */
const DEFAULT_CONTEXT = 4096;
/** A pass over a long prompt lets other work of its thread run about this often, in milliseconds. */
const PAUSE_AFTER = 50;

/** Options of `loadModel`. */
export interface ModelOptions {
  /** Positions that the cache has room for; the model's, but at most 4096, if left out. */
  context?: number;
  /**
   * How activations meet quantized weights: as 8- to 16-bit integers with a scale for each group, which is fast, or as they are.
   * `int8` if left out; weights that are not quantized are always multiplied in f32.
   */
  activations?: 'int8' | 'f32';
  /** How keys and values are kept; `f16` if left out. */
  cache?: 'f16' | 'f32';
  /** Threads to run on, from `startThreads`; closing the model ends them. The calling thread alone if left out. */
  threads?: Threads;
  /** Called after every block that was read, with the same object. */
  onProgress?: (progress: LoadProgress) => void;
  /** Aborts loading between two blocks. */
  signal?: AbortSignal;
}

const modelOptions = options<ModelOptions>({
  context: anyNumber, // its range depends on the model
  activations: oneOf('int8', 'f32'),
  cache: oneOf('f16', 'f32'),
  threads: givenThreads,
  onProgress: callback,
  signal: signalOf,
});

/** Options of a forward pass. */
export interface ForwardOptions {
  /** How many ids of the cache the given ones follow; what the cache holds beyond is dropped. 0 if left out. */
  from?: number;
  /** Logits of which ids are wanted: the last one's if left out. */
  logits?: 'last' | 'all' | 'none';
  /**
   * Takes each wanted id's logits as soon as they are there, instead of the result, which is empty then.
   * @param index of the id among those given
   * @param logits (vocabSize), valid during the call only
   */
  each?: (index: number, logits: Float32Array) => void;
  /** Aborts between two batches of 64 ids; the cache keeps those that are done. */
  signal?: AbortSignal;
}

const forwardOptions = options<ForwardOptions>({
  from: integer(0),
  logits: oneOf('last', 'all', 'none'),
  each: callback,
  signal: signalOf,
});
const hiddenOptions = options<Pick<ForwardOptions, 'signal'>>({ signal: signalOf });

/** A loaded model. It runs one pass at a time: a second one that is begun meanwhile is refused. */
export interface LanguageModel {
  /** Its `contextLength` is how many positions the cache has room for. */
  readonly config: ModelConfig;
  readonly threads: number;
  /** Bytes of linear memory: in all, and of that for weights and for the cache. */
  readonly memory: { readonly bytes: number; readonly weights: number; readonly cache: number };
  /** The ids whose keys and values are in the cache, from position 0 on. */
  readonly cached: readonly number[];
  /** How many ids of a prompt need no computing: those it has in common with the cache, but for the prompt's last. */
  reusable(ids: ArrayLike<number>): number;
  /**
   * Runs ids through the model; they stay in the cache.
   * @param ids at positions `from`, `from + 1`, …
   * @returns logits, (1, vocabSize) for `last`, (ids, vocabSize) for `all`
   * @throws {RangeError} when an id is not of the vocabulary, there is none, or they do not fit the context
   * @throws {TypeError} when an argument is of another kind, or an option is not known
   * @throws {StateError} when a pass is under way, or the model is closed
   */
  forward(ids: ArrayLike<number>, options?: ForwardOptions): Promise<Float32Array<ArrayBuffer>>;
  /**
   * Runs ids through the model, from position 0 on.
   * @returns hidden states after the last norm, (ids, dim)
   */
  hidden(ids: ArrayLike<number>, options?: { signal?: AbortSignal }): Promise<Float32Array<ArrayBuffer>>;
  /** Ends the threads; the model can no longer be used. */
  close(): Promise<void>;
}

/**
 * Loads a Llama-family model, quantized or not, into linear memory.
 * @throws {UnsupportedError} when its architecture, or something of its configuration, is not handled: names it
 * @throws {FormatError} when configuration and tensors disagree, or a checksum of a quantized checkpoint does not hold
 * @throws {RangeError} when it does not fit 4 GB, or an option is out of range
 * @throws {TypeError} when an argument is of another kind, or an option is not known
 * @throws {StateError} when the threads are another model's, or closed
 */
export async function loadModel(from: Folder, given: ModelOptions = {}): Promise<LanguageModel> {
  const threads = takeThreads(given);
  try {
    const folder = givenFolder('input', from);
    const options = modelOptions('options', given);
    const { activations = 'int8', cache = 'f16', onProgress, signal } = options;
    const { contextLength: most, ...config } = await readConfig(folder);
    const { context = Math.min(DEFAULT_CONTEXT, most) } = options;
    integer(1, most)('context', context);
    const weights = await openWeights(await openCheckpoint(folder));
    const count = decoderBinary instanceof Uint8Array ? (threads?.size ?? 1) : 1;
    const plan = planState({ ...config, contextLength: context }, weights, {
      cacheWidth: cache === 'f16' ? 2 : 4,
      threads: count,
      integers: activations === 'int8',
    });
    checkSize(plan.bytes);
    const { state } = plan;
    const binary = count > 1 && decoderBinary instanceof Uint8Array ? withSharedMemory(decoderBinary) : decoderBinary;
    const memory = createMemory(plan.bytes, count > 1);
    const kernels = await instantiateDecoder(binary, memory);
    await fillState(kernels, memory.buffer, plan, weights, { onProgress, signal });
    if (count > 1) {
      const message = { binary: binary as Uint8Array<ArrayBuffer>, memory, state };
      await threads!.start((index): ThreadMessage => ({ ...message, index }));
    }
    const team = joinTeam(kernels, memory.buffer, state.sync, 0, count);
    return modelOf(plan, memory.buffer, team, threads);
  } catch (error) {
    await threads?.close();
    throw error;
  }
}

function modelOf(plan: Plan, buffer: ArrayBufferLike, team: Team, threads: Threads | undefined): LanguageModel {
  const { state, bytes, weightBytes, cacheBytes } = plan;
  const { config, batch } = state;
  const { vocabSize, dim, contextLength } = config;
  const idsInMemory = new Int32Array(buffer, state.ids, batch);
  const logitsInMemory = new Float32Array(buffer, state.logits, state.logitRows * vocabSize);
  const normedInMemory = new Float32Array(buffer, state.normed, batch * dim);
  let cached: number[] = [];
  let busy = false;
  let isOpen = true;

  function check(given: ArrayLike<number>, from: number): number[] {
    if (!isOpen) throw closed('model');
    if (busy) throw new StateError('model must be idle: a pass is under way');
    integer(0, cached.length)('from', from);
    const count = idCount('ids', given);
    if (count === 0) throw new RangeError('ids must not be empty: there are none');
    if (from + count > contextLength) {
      throw new RangeError(`ids must fit the context of ${contextLength}: they end at ${from + count}`);
    }
    return givenIds('ids', given, { high: vocabSize - 1 });
  }

  // Runs ids batch by batch; `done` is called after each, with the index of its first id and their number.
  async function run(
    ids: readonly number[],
    from: number,
    wanted: (first: number, count: number) => { outputs: number; logits: boolean },
    emit: (index: number, row: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    signal?.throwIfAborted();
    busy = true;
    cached.length = from;
    try {
      let resumed = performance.now();
      for (let first = 0; first < ids.length; first += batch) {
        if (first > 0 && performance.now() - resumed > PAUSE_AFTER) {
          await new Promise((resolve) => setTimeout(resolve));
          signal?.throwIfAborted();
          if (!isOpen) throw closed('model');
          resumed = performance.now();
        }
        const count = Math.min(batch, ids.length - first);
        for (let j = 0; j < count; j++) idsInMemory[j] = ids[first + j];
        const pass = { count, position: from + first, ...wanted(first, count) };
        let thrown: { error: unknown } | undefined; // by the caller's function: the pass must come to its end
        step(pass, (row, rows) => {
          try {
            for (let j = 0; j < rows && !thrown; j++) emit(first + count - pass.outputs + row + j, j);
          } catch (error) {
            thrown = { error };
          }
        });
        if (thrown) throw (thrown as { error: unknown }).error;
        if (!pass.logits) for (let j = count - pass.outputs; j < count; j++) emit(first + j, j);
        for (let j = 0; j < count; j++) cached.push(ids[first + j]);
      }
    } finally {
      busy = false;
    }
  }

  // A pass that fails leaves threads at different barriers: nothing can be run after it.
  function step(pass: Pass, emit: (first: number, count: number) => void): void {
    try {
      team.begin(wordsOf(pass));
      forwardPass(team.thread, state, pass, idsInMemory, emit);
    } catch (error) {
      team.fail();
      isOpen = false;
      throw error;
    }
  }

  return {
    config,
    threads: state.threads,
    memory: { bytes, weights: weightBytes, cache: cacheBytes },
    get cached() {
      return cached;
    },
    reusable(given) {
      const ids = givenIds('ids', given);
      const most = Math.min(cached.length, ids.length - 1);
      let same = 0;
      while (same < most && cached[same] === ids[same]) same++;
      return same;
    },
    async forward(given, options) {
      const { from = 0, logits = 'last', each, signal } = forwardOptions('options', options);
      const ids = check(given, from);
      const last = ids.length - 1;
      const rows = logits === 'none' || each ? 0 : logits === 'last' ? 1 : ids.length;
      const result = new Float32Array(rows * vocabSize);
      await run(
        ids,
        from,
        (first, count) => ({
          outputs: logits === 'all' ? count : logits === 'last' && first + count > last ? 1 : 0,
          logits: true,
        }),
        (index, row) => {
          const view = logitsInMemory.subarray(row * vocabSize, (row + 1) * vocabSize);
          if (each) each(index, view);
          else result.set(view, (logits === 'all' ? index : 0) * vocabSize);
        },
        signal,
      );
      return result;
    },
    async hidden(given, options) {
      const { signal } = hiddenOptions('options', options);
      const ids = check(given, 0);
      const result = new Float32Array(ids.length * dim);
      const all = (_: number, count: number) => ({ outputs: count, logits: false });
      const copy = (index: number, row: number) =>
        result.set(normedInMemory.subarray(row * dim, (row + 1) * dim), index * dim);
      await run(ids, 0, all, copy, signal);
      return result;
    },
    async close() {
      isOpen = false;
      cached = [];
      team.end();
      await threads?.close();
    },
  };
}
