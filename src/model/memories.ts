// A model's memories. One linear memory has at most 4 GB, so a larger model is cut between blocks: each memory holds the weights, the
// cache and the activations of some, and kernels run in each. Between two the residual stream is copied, dim floats a token. A memory
// repeats activations, what threads work in, and tables of grids and signs. An element is computed by the
// same kernel wherever it stands, so cuts change no bit.

import type { Architecture } from '../families/architecture.ts';
import { createMemory, type LinearMemory } from '../kernels/decoder/instantiate.ts';
import type { Block } from './blocks/blocks.ts';
import type { BlockCache } from './cache.ts';
import { isTied, type MemoryLayout, type MemoryLayoutOptions, type Portion, planMemory } from './layout.ts';
import type { Linear } from './linear.ts';
import { MEMORY_LIMIT, megabytes } from './region.ts';
import type { Begin, End, State } from './state.ts';
import type { ModelWeights } from './weights.ts';

/** A model in linear memory: what every thread has of it. The regions of its own are those of the first memory. */
export interface ModelState extends State, Begin, End {
  /** Regions of each memory. */
  readonly memories: readonly State[];
  /** Of all layers, in the order in which a token goes through them. */
  readonly blocks: readonly Block[];
  /** The layer of each block, and its memory. */
  readonly layerOf: readonly number[];
  /** The memory of each block. */
  readonly memoryOf: readonly number[];
  /** The memory of norm, head and logits. */
  readonly endMemory: number;
  /** Caches whose rows go to another memory, where blocks read them, too. */
  readonly replicas: readonly Replica[];
}

/** A cache in a memory, and the one in a memory before whose rows it gets. */
interface Replica {
  readonly from: { readonly memory: number; readonly cache: BlockCache };
  readonly to: { readonly memory: number; readonly cache: BlockCache };
}

/** What a thread beside the caller's is sent. */
export interface ThreadMessage {
  /** The kernels. */
  binary: Uint8Array<ArrayBuffer>;
  /** The model's memories, shared. */
  memories: readonly LinearMemory[];
  /** Regions of the model. */
  state: ModelState;
  /** The weights that threads help to load, by their place in `StagedRows`. */
  linears: readonly Linear[];
  /** Which thread it is, from 1 on. */
  index: number;
}

/** A model's layout, and what it takes to fill it. */
export interface ModelLayout {
  /** Regions of the model. */
  readonly state: ModelState;
  /** What lies in each memory. */
  readonly memories: readonly MemoryLayout[];
  /** Bytes of linear memory: in all, for weights, for the cache. */
  readonly bytes: number;
  /** Bytes of weights. */
  readonly weightBytes: number;
  /** Bytes of the cache. */
  readonly cacheBytes: number;
  /** Routed experts, bytes of their weights if all are there, and slots that they share; 0 where each has a place of its own. */
  readonly routed: { readonly count: number; readonly bytes: number; readonly slots: number };
}

/**
 * Lays a model out in as few memories as hold it.
 * @param limit most bytes of a memory
 * @throws {RangeError} when one piece alone exceeds it: names the piece
 */
export function planModel(
  architecture: Architecture,
  weights: ModelWeights,
  options: MemoryLayoutOptions,
  limit: number = MEMORY_LIMIT,
): ModelLayout {
  const { length } = architecture.layers.flat();
  const tied = isTied(architecture, weights); // then the end stands where the embedding does
  const memories: MemoryLayout[] = [];
  for (let first = 0; ; ) {
    const begins = memories.length === 0;
    const plan = (end: number, isLast: boolean) =>
      planMemory(architecture, weights, { begins, first, end, ends: tied ? begins : isLast }, options);
    // Most models lie in one memory. Of others the rest is planned only where it is near: each plan takes time for all its tensors.
    const whole = begins ? plan(length, true) : undefined;
    if (whole && whole.bytes <= limit) return layoutOf(architecture, [whole]);
    const end = lastThat((end) => plan(end, false).bytes <= limit, first, length);
    const rest = end === length && !begins ? plan(length, true) : undefined;
    if (rest && rest.bytes <= limit) return layoutOf(architecture, [...memories, rest]);
    const some = plan(end, false);
    if (end === first && (!begins || some.bytes > limit)) {
      const isEnd = first === length;
      const { bytes } = begins ? some : plan(isEnd ? end : end + 1, isEnd);
      refuse(begins ? 'token embedding' : isEnd ? 'output head' : nameOf(architecture, first), bytes, limit);
    }
    memories.push(some);
    first = end;
  }
}

/**
 * Makes the memories of a model. A runtime may have none as large as wanted, as browsers of phones have not: then more are tried,
 * each a third smaller.
 * @param limit most bytes of a memory
 * @param refusal the error to throw when there is not memory enough: of the first layout, and of most bytes that there were at once
 */
export function openMemories(
  layoutOf: (limit: number) => ModelLayout,
  shared: boolean,
  limit: number = MEMORY_LIMIT,
  refusal: (layout: ModelLayout, given: number) => RangeError,
): { layout: ModelLayout; memories: LinearMemory[] } {
  const first = layoutOf(limit);
  let layout = first;
  let given = 0;
  for (;;) {
    const memories: LinearMemory[] = [];
    try {
      for (const { bytes } of layout.memories) memories.push(createMemory(bytes, shared));
      return { layout, memories };
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const there = memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
      given = Math.max(given, there);
      const next = Math.floor((Math.max(...layout.memories.map(({ bytes }) => bytes)) * 2) / 3);
      const smaller = next >= LEAST_MEMORY ? orTooLarge(() => layoutOf(next)) : undefined;
      if (!smaller) throw Object.assign(refusal(first, given), { cause: error });
      layout = smaller;
    }
  }
}

/** A layout, or undefined where a piece exceeds the limit of a memory. */
export function orTooLarge(plan: () => ModelLayout): ModelLayout | undefined {
  try {
    return plan();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Bytes of the smallest memories that are tried. */
const LEAST_MEMORY = 128 << 20;

/** Lays a model out in one memory, however large. */
export function planWhole(
  architecture: Architecture,
  weights: ModelWeights,
  options: MemoryLayoutOptions,
): ModelLayout {
  return layoutOf(architecture, [planMemory(architecture, weights, wholeOf(architecture), options)]);
}

/** Lays a model out in one memory in which its pieces take turns: whoever runs one loads it before. */
export function planTurns(
  architecture: Architecture,
  weights: ModelWeights,
  options: MemoryLayoutOptions,
): ModelLayout {
  const whole = wholeOf(architecture);
  // Once with turns anywhere, to learn where all that stays ends.
  const { bytes } = planMemory(architecture, weights, whole, options, 0);
  return layoutOf(architecture, [planMemory(architecture, weights, whole, options, bytes)]);
}

function wholeOf({ layers }: Architecture): Portion {
  return { begins: true, first: 0, end: layers.flat().length, ends: true };
}

function layoutOf(architecture: Architecture, memories: readonly MemoryLayout[]): ModelLayout {
  const { layers } = architecture;
  const endMemory = memories.findIndex(({ end }) => end);
  const sum = (of: (memory: MemoryLayout) => number) => memories.reduce((total, memory) => total + of(memory), 0);
  return {
    state: {
      ...memories[0].state,
      ...memories[0].begin!,
      ...memories[endMemory].end!,
      endMemory,
      replicas: replicasOf(memories),
      memories: memories.map(({ state }) => state),
      blocks: memories.flatMap(({ blocks }) => blocks),
      layerOf: layers.flatMap((blocks, layer) => blocks.map(() => layer)),
      memoryOf: memories.flatMap(({ blocks }, memory) => blocks.map(() => memory)),
    },
    memories,
    bytes: sum(({ bytes }) => bytes),
    weightBytes: sum(({ weightBytes }) => weightBytes),
    cacheBytes: sum(({ cacheBytes }) => cacheBytes),
    routed: {
      count: sum(({ routed }) => routed.count),
      bytes: sum(({ routed }) => routed.bytes),
      slots: sum(({ pool }) => pool.count),
    },
  };
}

function replicasOf(memories: readonly MemoryLayout[]): Replica[] {
  return memories.flatMap(({ replicas }, memory) =>
    [...replicas].map(([key, cache]) => {
      const from = memories.findIndex(({ lent }) => lent.has(key));
      return { from: { memory: from, cache: memories[from].lent.get(key)! }, to: { memory, cache } };
    }),
  );
}

// The last of `low` to `high` that holds, if what holds for one holds for those before it; `low` where none does. It is near `low`.
function lastThat(holds: (value: number) => boolean, low: number, high: number): number {
  let [first, step] = [low, 1];
  for (; first + step <= high && holds(first + step); step *= 2) first += step;
  let last = Math.min(high, first + step - 1);
  while (first < last) {
    const middle = Math.ceil((first + last) / 2);
    if (holds(middle)) first = middle;
    else last = middle - 1;
  }
  return first;
}

function nameOf({ layers }: Architecture, block: number): string {
  const named = layers.flatMap((blocks, layer) => blocks.map(({ kind }) => ({ layer, kind })));
  const { layer, kind } = named[block];
  return `layer ${layer}, ${kind},`;
}

function refuse(piece: string, bytes: number, limit: number): never {
  throw new RangeError(`${piece} must fit ${megabytes(limit)} MB of linear memory: it needs ${megabytes(bytes)} MB`);
}
