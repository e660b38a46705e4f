// A language model ready to run: sequences of ids in, logits out, the keys and values of what it has seen in its cache.

import {
  anyNumber,
  callback,
  ids as givenIds,
  integer,
  needed,
  oneOf,
  options as optionsOf,
  type Reader,
  signal as signalOf,
} from '../check.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import { closed } from '../errors.ts';
import type { Vocabulary } from '../families/architecture.ts';
import { readArchitecture } from '../families/family.ts';
import { createMemory, instantiateDecoder } from '../kernels/decoder/instantiate.ts';
import { decoderBinary } from '../kernels/decoder/load.ts';
import { withSharedMemory } from '../kernels/decoder/shared.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { givenThreads, type Threads, takeThreads } from '../workers/threads.ts';
import {
  type Batcher,
  type Engine,
  type ExtendOptions,
  type OpenOptions,
  openBatcher,
  type Sequence,
} from './batch.ts';
import { copyRows } from './cache.ts';
import { forwardPass } from './forward.ts';
import { type Layout, type ModelState, planModel, type ThreadMessage } from './layout.ts';
import { fillState, type LoadProgress } from './load.ts';
import { segmentBytes, writePass } from './pass.ts';
import { checkSize } from './region.ts';
import { joinTeam, type Team } from './team.ts';
import { openWeights } from './weights.ts';

/** Positions of a text unless more are asked for: longer ones cost memory that most prompts do not need. */
const DEFAULT_CONTEXT = 4096;
/** Most tokens of a cache: addresses in it stay exact. */
const CACHE_LIMIT = 1 << 24;

/** Options of `loadModel`. */
export interface ModelOptions {
  /** Most tokens of a text; the model's, but at most 4096, if left out. */
  context?: number;
  /** Tokens that the cache has room for, those of all texts at once; `context` if left out. Who finds no room waits. */
  cacheTokens?: number;
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

const modelOptions = optionsOf<ModelOptions>({
  context: anyNumber, // their ranges depend on the model
  cacheTokens: anyNumber,
  activations: oneOf('int8', 'f32'),
  cache: oneOf('f16', 'f32'),
  threads: givenThreads,
  onProgress: callback,
  signal: signalOf,
});

const anything: Reader<ArrayLike<number>> = (_, value) => value as ArrayLike<number>;
const openOptions = optionsOf<OpenOptions>({ capacity: needed(anyNumber), ids: anything, signal: signalOf });
const extendOptions = optionsOf<ExtendOptions>({
  rows: oneOf('last', 'all', 'none'),
  of: oneOf('logits', 'hidden'),
  each: callback,
  signal: signalOf,
});

/** A loaded model. Calls may overlap: sequences go through it together, and each result has the bits that it would have alone. */
export interface LanguageModel {
  readonly config: Vocabulary;
  readonly threads: number;
  /** Bytes of linear memory: in all, and of that for weights and for the cache. */
  readonly memory: { readonly bytes: number; readonly weights: number; readonly cache: number };
  /**
   * Opens a sequence of ids; waits for a place while the cache is full, in the order of the calls.
   * @throws {RangeError} when it would be longer than the context
   * @throws {StateError} when the model is closed
   */
  open(options: OpenOptions): Promise<Sequence>;
  /** Ends the threads; the model can no longer be used. */
  close(): Promise<void>;
}

/**
 * Loads a model, quantized or not, into linear memory.
 * @throws {UnsupportedError} when its family, or something of its configuration, is not handled: names it
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
    const read = await readArchitecture(folder);
    const most = read.contextLength;
    const { context = Math.min(DEFAULT_CONTEXT, most) } = options;
    integer(1, most)('context', context);
    const { cacheTokens = context } = options;
    integer(context, CACHE_LIMIT)('cacheTokens', cacheTokens);
    const architecture = { ...read, contextLength: context };
    const weights = await openWeights(await openCheckpoint(folder));
    const count = decoderBinary instanceof Uint8Array ? (threads?.size ?? 1) : 1;
    const layout = planModel(architecture, weights, {
      rows: cacheTokens,
      cacheWidth: cache === 'f16' ? 2 : 4,
      threads: count,
      integers: activations === 'int8',
    });
    checkSize(layout.bytes);
    const { state } = layout;
    const binary = count > 1 && decoderBinary instanceof Uint8Array ? withSharedMemory(decoderBinary) : decoderBinary;
    const memory = createMemory(layout.bytes, count > 1);
    const kernels = await instantiateDecoder(binary, memory);
    await fillState(kernels, memory.buffer, layout, weights, { onProgress, signal });
    if (count > 1) {
      const message = { binary: binary as Uint8Array<ArrayBuffer>, memory, state };
      await threads!.start((index): ThreadMessage => ({ ...message, index }));
    }
    const team = joinTeam(kernels, memory.buffer, state.sync, 0, count);
    const batcher = openBatcher(engineOf(state, memory.buffer, team, cacheTokens));
    return modelOf(layout, architecture, batcher, team, threads);
  } catch (error) {
    await threads?.close();
    throw error;
  }
}

function engineOf(state: ModelState, buffer: ArrayBufferLike, team: Team, rows: number): Engine {
  const { batch, vocabSize, dim } = state;
  const memory = new Uint8Array(buffer);
  const idsInMemory = new Int32Array(buffer, state.ids, batch);
  const segments = new Int32Array(buffer, state.segments, segmentBytes(batch) / 4);
  const logits = new Float32Array(buffer, state.logits, state.logitRows * vocabSize);
  const normed = new Float32Array(buffer, state.normed, batch * dim);
  const caches = state.blocks.flatMap((block) => ('cache' in block ? [block.cache] : []));
  return {
    ...{ batch, rows, widths: { logits: vocabSize, hidden: dim } },
    run(pass, ids, emit) {
      idsInMemory.set(ids);
      // A pass that fails leaves threads at different barriers: nothing can be run after it.
      try {
        team.begin(writePass(pass, segments));
        forwardPass(team.thread, state, pass, idsInMemory, (first, count) => {
          for (let j = 0; j < count; j++) emit(first + j, logits.subarray(j * vocabSize, (j + 1) * vocabSize));
        });
      } catch (error) {
        team.fail();
        throw error;
      }
      if (pass.logits) return;
      const outputs = pass.segments.reduce((sum, segment) => sum + segment.outputs, 0);
      for (let j = 0; j < outputs; j++) emit(j, normed.subarray(j * dim, (j + 1) * dim));
    },
    copy(from, to, count) {
      if (from === to || count === 0) return;
      for (const cache of caches) copyRows(memory, cache, from, to, count);
    },
  };
}

function modelOf(
  { state, bytes, weightBytes, cacheBytes }: Layout,
  { vocabSize, contextLength, bos, eos }: Vocabulary,
  batcher: Batcher,
  team: Team,
  threads: Threads | undefined,
): LanguageModel {
  const open = async (given: OpenOptions): Promise<Sequence> => {
    const { capacity, ids = [], ...options } = openOptions('options', given);
    integer(1, contextLength)('capacity', capacity);
    const begin = givenIds('ids', ids, { high: vocabSize - 1 });
    const sequence = await batcher.open({ capacity, ids: begin, ...options });
    return {
      get ids() {
        return sequence.ids;
      },
      extend: async (ids, options) =>
        sequence.extend(givenIds('ids', ids, { high: vocabSize - 1 }), extendOptions('options', options)),
      truncate: (length) => sequence.truncate(integer(0)('length', length)),
      close: () => sequence.close(),
    };
  };
  return {
    config: { vocabSize, contextLength, bos, eos },
    threads: state.threads,
    memory: { bytes, weights: weightBytes, cache: cacheBytes },
    open,
    async close() {
      batcher.close(closed('model'));
      team.end();
      await threads?.close();
    },
  };
}
