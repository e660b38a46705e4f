// A language model ready to run: sequences of ids in, logits out, the keys and values of what it has seen in its cache.

import { anyNumber, callback, givenIds, integer, needed, oneOf, optionsOf, type Reader, signalOf } from '../check.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import { closed } from '../errors.ts';
import type { Architecture, Vocabulary } from '../families/architecture.ts';
import { readArchitecture } from '../families/family.ts';
import { instantiateDecoder } from '../kernels/decoder/instantiate.ts';
import { binaryFor, decoderBinary } from '../kernels/decoder/load.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { givenThreads, type Threads, takeThreads } from '../workers/threads.ts';
import { stateFloatsOf } from './blocks/blocks.ts';
import { CACHE_DTYPES, type CacheDtype, copyAcross, copyRows, readRows, rowsBytes, writeRows } from './cache.ts';
import { checkDevice, doesNotFit, type ModelMemory, memoryNeeded } from './fits.ts';
import { chooseForm, prepareForms } from './form.ts';
import { forwardPass, type Seat, seatsOf } from './forward.ts';
import type { MemoryLayoutOptions } from './layout.ts';
import { type Filling, linearsIn } from './loading/batches.ts';
import { type Check, type LoadProgress, loadMemories } from './loading/load.ts';
import { type Crew, crewOfTeam } from './loading/store.ts';
import { type ModelLayout, type ModelState, openMemories, planModel, type ThreadMessage } from './memories.ts';
import { checkPageable, openPager, type Paging, pagingOf } from './paging/pager.ts';
import { planWithin } from './paging/plan.ts';
import { segmentBytes, writePass } from './pass.ts';
import { copyState } from './recurrent.ts';
import { MEMORY_LIMIT, megabytes } from './region.ts';
import {
  type Batcher,
  type Engine,
  type ExtendOptions,
  type OpenOptions,
  openBatcher,
  type Sequence,
} from './sequences/batch.ts';
import { givenPromptStore, openPrompts, type PromptStore, type Prompts } from './sequences/prompts.ts';
import { joinTeam, type Team } from './team.ts';
import { type ModelWeights, openWeights } from './weights.ts';

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
  /**
   * How keys and values are kept; `f16` if left out. `q8` and `q4` keep codes of 8 and 4 bits with a scale for each head of a token: about
   * half and a quarter of the memory.
   */
  cache?: CacheDtype;
  /**
   * Most bytes of one linear memory, 4 GB if left out. A larger model lies in several, with the same results: for hosts where large
   * memories fail.
   */
  memoryLimit?: number;
  /**
   * Most bytes of linear memory in all. Of a larger model with experts as many stay in memory as fit; others are read from the file when a
   * token is routed to them, with the same results. The folder stays in use until the model is closed, and must be one that can be read
   * at once: a local directory, in a worker of a browser also Files.
   */
  memory?: number;
  /** Threads to run on, from `startThreads`; closing the model ends them. The calling thread alone if left out. */
  threads?: Threads;
  /** Keeps keys and values of prompts beyond the model's life, bit for bit. Models with recurrent states keep none. */
  prompts?: PromptStore;
  /** Called with what the model takes of memory, before there is any; what it throws ends loading. */
  onMemory?: (memory: ModelMemory) => void;
  /** Called after every block that was read, with the same object. */
  onProgress?: (progress: LoadProgress) => void;
  /** Aborts loading between two blocks. */
  signal?: AbortSignal;
}

const modelOptions = optionsOf<ModelOptions>({
  context: anyNumber, // their ranges depend on the model
  cacheTokens: anyNumber,
  activations: oneOf('int8', 'f32'),
  cache: oneOf(...CACHE_DTYPES),
  memoryLimit: anyNumber,
  memory: integer(1),
  threads: givenThreads,
  prompts: givenPromptStore,
  onMemory: callback,
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

/** Bytes of recurrent states beyond which there are no more than are needed, and most of them. */
const STATE_BYTES = 128 << 20;
const MOST_SLOTS = 64;

/** A loaded model. Calls may overlap: sequences go through it together, and each result has the bits that it would have alone. */
export interface LanguageModel {
  /** What the configuration says of ids and context. */
  readonly config: Vocabulary;
  /** Threads that it runs on. */
  readonly threads: number;
  /** Bytes of linear memory: in all, and of that for weights and for the cache. */
  readonly memory: { readonly bytes: number; readonly weights: number; readonly cache: number };
  /** Experts that were in memory and that were read, so far; undefined where all are in memory. */
  readonly paging: Readonly<Paging> | undefined;
  /** How many passes there were so far, by the sequences that went through together. */
  readonly passes: readonly number[];
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
 * What `loadModel` would take with the same options; reads headers alone.
 * @throws what `loadModel` throws before it reads weights
 * @example
 * const { bytes } = await estimateMemory(folder, { context: 8192 });
 */
export async function estimateMemory(from: Folder, given: ModelOptions = {}): Promise<ModelMemory> {
  const options = modelOptions('options', given);
  const planned = await planLoading(givenFolder('input', from), options, threadsOf(options));
  const layout = planned.layoutOf(options.memoryLimit);
  if (!planned.weights.checkpoint.isMade) checkPageable(layout); // what is made as it is read stands for a file to be
  return memoryNeeded(layout, planned);
}

/**
 * Loads a model, quantized or not, into linear memory.
 * @throws {UnsupportedError} when its family, or something of its configuration, is not handled: names it
 * @throws {FormatError} when configuration and tensors disagree, or a checksum of a quantized checkpoint does not hold
 * @throws {RangeError} when the device or the runtime has not the memory, which says what would fit; or an option is out of range
 * @throws {TypeError} when an argument is of another kind, or an option is not known
 * @throws {StateError} when the threads are another model's, or closed
 */
export async function loadLanguage(from: Folder, given: ModelOptions = {}): Promise<LanguageModel> {
  const threads = takeThreads(given);
  try {
    const folder = givenFolder('input', from);
    const options = modelOptions('options', given);
    const { onProgress, signal } = options;
    const planned = await planLoading(folder, options, threadsOf(options));
    return await startModel(planned, options, (places, crew) =>
      loadMemories(places, planned.weights, { onProgress, signal }, crew),
    );
  } catch (error) {
    await threads?.close();
    throw error;
  }
}

/**
 * Makes the memories of a planned model, has them filled, and starts its threads.
 * @param fill puts weights where the layouts have them, perhaps by the threads; gives what experts that are read later are checked by
 */
export async function startModel(
  planned: PlannedModel,
  options: ModelOptions,
  fill: (places: readonly Filling[], crew: Crew) => Promise<Check | undefined>,
): Promise<LanguageModel> {
  const { threads, memoryLimit, onMemory, cache = 'f16' } = options;
  const count = threadsOf(options);
  const { architecture, cacheTokens, context, slots } = planned;
  const layoutOf = (limit?: number): ModelLayout => {
    const layout = planned.layoutOf(limit);
    checkPageable(layout);
    const need = memoryNeeded(layout, planned);
    onMemory?.(need);
    checkDevice(need, cache);
    return layout;
  };
  const { layout, memories } = openMemories(layoutOf, count > 1, memoryLimit, (layout, given) =>
    doesNotFit(memoryNeeded(layout, planned), cache, given, `this runtime gives ${megabytes(given)} MB`),
  );
  const { state } = layout;
  const binary = binaryFor(count);
  const kernels = await Promise.all(memories.map((memory) => instantiateDecoder(binary, memory)));
  const places = layout.memories.map((layout, i) => ({ kernels: kernels[i], buffer: memories[i].buffer, layout }));
  const team = joinTeam(kernels[0], memories[0].buffer, state.sync, 0, count);
  const teamSeats = seatsOf(team.thread, kernels, memories);
  const linears = linearsIn(layout.memories);
  const message = { binary: binary as Uint8Array<ArrayBuffer>, memories, state, linears };
  // They help to fill as soon as they are there.
  const starting = count === 1 ? undefined : threads!.start((index): ThreadMessage => ({ ...message, index }));
  starting?.catch(() => {}); // told of below
  let check: Check | undefined;
  try {
    prepareForms(places);
    check = await fill(
      places,
      crewOfTeam(team, teamSeats, linears, () => count > 1 && team.isThere() && !threads!.isClosed),
    );
    await starting;
    if (threads?.isClosed) throw closed('threads');
    chooseForm(places);
  } catch (error) {
    team.end();
    throw error;
  }
  const paging = pagingOf(layout);
  const seats = teamSeats.map(({ thread, floats }, i) => ({
    thread: paging ? { ...thread, ...openPager(places[i], thread, paging, check) } : thread,
    floats,
  }));
  const batcher = openBatcher(engineOf(state, seats, team, cacheTokens, slots));
  const { prompts: store, activations = 'int8' } = options;
  // The context, too: it decides how `longrope` turns keys.
  const kind = JSON.stringify([cache, activations, context]);
  const prompts = store && slots === 0 ? openPrompts(store, kind, batcher) : undefined;
  return modelOf(layout, architecture, { batcher, prompts }, team, threads, paging);
}

// Edge workers have one thread.
function threadsOf({ threads }: ModelOptions): number {
  return decoderBinary instanceof Uint8Array ? (threads?.size ?? 1) : 1;
}

/** All that is known of a model before its memory exists. */
export interface PlannedModel {
  /** The model as config.json describes it. */
  readonly architecture: Architecture;
  /** The checkpoint's tensors by name. */
  readonly weights: ModelWeights;
  /** Most tokens of a text. */
  readonly context: number;
  /** Tokens that the cache has room for. */
  readonly cacheTokens: number;
  /** Recurrent states that there is room for. */
  readonly slots: number;
  /** @param limit most bytes of a memory */
  layoutOf(limit?: number): ModelLayout;
}

// @param options checked, but for ranges that depend on the model
async function planLoading(folder: Folder, options: ModelOptions, threads: number): Promise<PlannedModel> {
  const { memoryLimit } = options;
  if (memoryLimit !== undefined) integer(1, MEMORY_LIMIT)('memoryLimit', memoryLimit);
  const architecture = await readArchitecture(folder);
  return planArchitecture(architecture, await openWeights(await openCheckpoint(folder)), options, threads);
}

/** Plans a model of any architecture and weights. @throws {RangeError} when context or cache are out of range */
export function planArchitecture(
  read: Architecture,
  weights: ModelWeights,
  options: Pick<ModelOptions, 'activations' | 'cache' | 'memory' | 'context' | 'cacheTokens'> &
    Pick<MemoryLayoutOptions, 'turnsCache'>,
  threads: number,
): PlannedModel {
  const { activations = 'int8', cache = 'f16', memory, turnsCache } = options;
  const most = read.contextLength;
  const { context = Math.min(DEFAULT_CONTEXT, most) } = options;
  integer(1, most)('context', context);
  const { cacheTokens = context } = options;
  integer(context, CACHE_LIMIT)('cacheTokens', cacheTokens);
  const architecture = { ...read, contextLength: context };
  const slots = slotsFor(architecture, cacheTokens);
  const how = {
    rows: cacheTokens,
    slots,
    ...{ cache, ...(turnsCache !== undefined && { turnsCache }) },
    threads,
    integers: activations === 'int8',
  };
  const layoutOf = (limit?: number): ModelLayout =>
    memory === undefined
      ? planModel(architecture, weights, how, limit)
      : planWithin(architecture, weights, how, memory, limit);
  return { architecture, weights, layoutOf, context, cacheTokens, slots };
}

// Recurrent states: one for each whole context that the cache holds, and one to go back to; more where they are small.
function slotsFor({ layers, contextLength }: Architecture, rows: number): number {
  const bytes = layers.flat().reduce((sum, spec) => sum + stateFloatsOf(spec) * 4, 0);
  if (bytes === 0) return 0;
  return Math.max(Math.ceil(rows / contextLength) + 1, Math.min(MOST_SLOTS, Math.floor(STATE_BYTES / bytes)));
}

function engineOf(state: ModelState, seats: readonly Seat[], team: Team, rows: number, slots: number): Engine {
  const { batch, vocabSize, dim, memories, memoryOf, endMemory } = state;
  const { buffer } = seats[0].floats;
  const endBuffer = seats[endMemory].floats.buffer;
  const idsInMemory = new Int32Array(buffer, state.ids, batch);
  const segments = new Int32Array(buffer, state.segments, segmentBytes(batch) / 4);
  const logits = new Float32Array(endBuffer, state.logits, state.logitRows * vocabSize);
  const normed = new Float32Array(endBuffer, memories[endMemory].normed, batch * dim);
  const bytes = seats.map(({ floats }) => new Uint8Array(floats.buffer));
  const replicas = state.replicas.map(({ to }) => ({ memory: bytes[to.memory], cache: to.cache }));
  const caches = state.blocks.flatMap((block, i) =>
    'cache' in block && !('borrows' in block && block.borrows)
      ? [{ memory: bytes[memoryOf[i]], cache: block.cache }]
      : [],
  );
  const states = state.blocks.flatMap((block, i) =>
    'recurrent' in block ? [{ memory: bytes[memoryOf[i]], recurrent: block.recurrent }] : [],
  );
  return {
    ...{ batch, rows, slots, widths: { logits: vocabSize, hidden: dim } },
    run(pass, ids, emit) {
      idsInMemory.set(ids);
      // A pass that fails leaves threads at different barriers: nothing can be run after it.
      try {
        team.begin(writePass(pass, segments));
        forwardPass(seats, state, pass, idsInMemory, (first, count) => {
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
      for (const { memory, cache } of [...caches, ...replicas]) copyRows(memory, cache, from, to, count);
    },
    copyState(from, to) {
      for (const { memory, recurrent } of states) copyState(memory, recurrent, from, to);
    },
    rowsBytes: (count) => caches.reduce((sum, { cache }) => sum + rowsBytes(cache, count), 0),
    read(start, count) {
      const rows = new Uint8Array(this.rowsBytes(count));
      let index = 0;
      for (const { memory, cache } of caches) {
        readRows(memory, cache, start, count, rows.subarray(index));
        index += rowsBytes(cache, count);
      }
      return rows;
    },
    write(start, count, rows) {
      let index = 0;
      for (const { memory, cache } of caches) {
        writeRows(memory, cache, start, count, rows.subarray(index));
        index += rowsBytes(cache, count);
      }
      for (const { from, to } of state.replicas)
        copyAcross(seats[from.memory].floats, from.cache, seats[to.memory].floats, to.cache, start, count);
    },
  };
}

function modelOf(
  { state, bytes, weightBytes, cacheBytes }: ModelLayout,
  { vocabSize, contextLength, bos, eos }: Vocabulary,
  { batcher, prompts }: { batcher: Batcher; prompts: Prompts | undefined },
  team: Team,
  threads: Threads | undefined,
  paging: Paging | undefined,
): LanguageModel {
  const open = async (given: OpenOptions): Promise<Sequence> => {
    const { capacity, ids = [], ...options } = openOptions('options', given);
    integer(1, contextLength)('capacity', capacity);
    const begin = givenIds('ids', ids, { high: vocabSize - 1 });
    const sequence = await batcher.open({ capacity, ids: begin, ...options });
    await prompts?.fill(sequence, begin);
    let isOpen = true;
    return {
      get ids() {
        return sequence.ids;
      },
      extend: async (ids, options) =>
        sequence.extend(givenIds('ids', ids, { high: vocabSize - 1 }), extendOptions('options', options)),
      truncate: (length) => sequence.truncate(integer(0)('length', length)),
      close() {
        const { ids } = sequence;
        sequence.close();
        // Of what was opened without ids no prompt is to be gone on with.
        if (isOpen && begin.length > 0) prompts?.keep([...ids]);
        isOpen = false;
      },
    };
  };
  return {
    config: { vocabSize, contextLength, bos, eos },
    threads: state.threads,
    memory: { bytes, weights: weightBytes, cache: cacheBytes },
    paging,
    passes: batcher.passes,
    open,
    async close() {
      await prompts?.close();
      batcher.close(closed('model'));
      team.end();
      await threads?.close();
    },
  };
}
