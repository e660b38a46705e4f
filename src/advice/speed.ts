// How fast a model will run on this machine, before any of its weights is read. Some of its layers and some rows of its head are laid
// out as they would be, and filled with numbers of no meaning, which take as long. Single tokens go through them.

import { number, oneOf, optionsOf } from '../check.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import type { Architecture, BlockSpec } from '../families/architecture.ts';
import { readArchitecture } from '../families/family.ts';
import { CACHE_DTYPES } from '../model/cache.ts';
import { type Linear, storedRows } from '../model/linear.ts';
import type { Filling } from '../model/loading/batches.ts';
import { writeConstants } from '../model/loading/load.ts';
import { type ModelOptions, type PlannedModel, planArchitecture, startModel } from '../model/model.ts';
import type { Sequence } from '../model/sequences/batch.ts';
import { type ModelWeights, openWeights } from '../model/weights.ts';
import { uniform } from '../numerics/random.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { givenThreads, type Threads, takeThreads } from '../workers/threads.ts';

/** Weights of the layers that are timed, in bytes, but for a layer that has more: caches of processors hold less. */
const SAMPLE_BYTES = 192 << 20;
/** Of a layer that has more than this none is timed. */
const LAYER_LIMIT = 2 ** 31;
/** Most seconds that tokens may be timed. */
export const SECONDS_LIMIT = 600;
/** Rows of embedding and head that are timed. */
const HEAD_ROWS = 16384;
/** Most tokens of a sequence, and those before time counts. */
const STEPS = 64;
const WARM_STEPS = 2;
/** Most tokens that are timed: a clock may stand still. */
const MOST_STEPS = 10_000;

/** Options of `measureSpeed`. */
export interface SpeedOptions extends Pick<ModelOptions, 'activations' | 'cache'> {
  /** Threads to run on, from `startThreads`; they are closed in the end. The calling thread alone if left out. */
  threads?: Threads;
  /** How long tokens are timed, in all; 1 if left out. Making ready takes about as long. */
  seconds?: number;
}

/** How fast a model will run. */
export interface Speed {
  /** Tokens of a short text that are generated in a second. */
  readonly tokensPerSecond: number;
  /** Layers that were timed, and those that there are. */
  readonly timed: number;
  /** Layers of the model. */
  readonly layers: number;
}

const speedOptions = optionsOf<SpeedOptions>({
  activations: oneOf('int8', 'f32'),
  cache: oneOf(...CACHE_DTYPES),
  threads: givenThreads,
  seconds: number(0, SECONDS_LIMIT),
});

/**
 * Measures how fast a model will run here: headers alone are read.
 * @returns undefined where a single layer is too large to be timed, and where clocks stand still while programs run, as in edge workers
 * @throws what `loadModel` throws before it reads weights
 * @example
 * const speed = await measureSpeed(folder, { seconds: 0.5 });
 */
export async function measureSpeed(from: Folder, given: SpeedOptions = {}): Promise<Speed | undefined> {
  const threads = takeThreads(given);
  try {
    const folder = givenFolder('input', from);
    const { seconds = 1, ...options } = speedOptions('options', given);
    const whole = await readArchitecture(folder);
    const weights = await openWeights(await openCheckpoint(folder));
    const planOf = (layers: readonly number[]): PlannedModel =>
      planArchitecture(someOf(whole, layers), fewRows(weights, whole), { ...options, context: contextOf(whole) }, 1);
    const bytesOf = (planned: PlannedModel) => planned.layoutOf().weightBytes;
    const { length } = whole.layers;
    const ends = bytesOf(planOf([]));
    const layerBytes = Math.max(1, (bytesOf(planOf(whole.layers.map((_, i) => i))) - ends) / length);
    if (layerBytes > LAYER_LIMIT) return undefined;
    const chosen = chooseLayers(whole, Math.max(1, Math.min(length, Math.floor(SAMPLE_BYTES / layerBytes))));
    const architecture = someOf(whole, chosen);
    const size = threads?.size ?? 1;
    const how = { ...options, context: contextOf(whole) };
    const planned = planArchitecture(architecture, fewRows(weights, whole), how, size);
    const model = await startModel(planned, { ...options, ...(threads && { threads }) }, async (places) => {
      for (const place of places) fill(place);
      return undefined;
    });
    try {
      const { vocabSize, contextLength } = model.config;
      const sequence = await model.open({ capacity: contextLength });
      const timeOf = (rows: 'none' | 'last') => secondsOf(sequence, vocabSize, contextLength, rows, seconds / 2);
      const layers = await timeOf('none');
      const head = Math.max(0, (await timeOf('last')) - layers);
      sequence.close();
      const token = (layers * length) / chosen.length + (head * whole.vocabSize) / vocabSize;
      if (!(token > 0)) return undefined;
      return { tokensPerSecond: 1 / token, timed: chosen.length, layers: length };
    } finally {
      await model.close();
    }
  } finally {
    await threads?.close();
  }
}

const contextOf = ({ contextLength }: Architecture): number => Math.min(STEPS, contextLength);

// Layers far apart, which stand for their neighbours: kinds and grids change along a model.
function chooseLayers({ layers }: Architecture, count: number): number[] {
  const isShared = (spec: BlockSpec) => spec.kind === 'attention' && spec.cache !== undefined;
  // A layer that borrows a cache runs behind the one that lends it.
  if (layers.flat().some(isShared)) return Array.from({ length: count }, (_, i) => i);
  return Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * layers.length) / count));
}

// The architecture with these layers alone, and few rows of embedding and head.
function someOf(whole: Architecture, layers: readonly number[]): Architecture {
  const vocabSize = Math.min(HEAD_ROWS, whole.vocabSize);
  const { perLayer } = whole;
  const few = <T extends { readonly rows: number }>(spec: T): T => ({ ...spec, rows: Math.min(HEAD_ROWS, spec.rows) });
  return {
    ...whole,
    ...{
      vocabSize,
      embedding: few(whole.embedding),
      head: few(whole.head),
      layers: layers.map((i) => whole.layers[i]),
    },
    perLayer: perLayer && { ...perLayer, embedding: few(perLayer.embedding) },
  };
}

// The same weights, whatever number of rows of embedding and head is asked for.
function fewRows(weights: ModelWeights, { embedding, head, perLayer }: Architecture): ModelWeights {
  const whole = new Map([embedding, head, ...(perLayer ? [perLayer.embedding] : [])].map((spec) => [spec.name, spec]));
  return {
    ...weights,
    matrix: (name, rows, cols) => weights.matrix(name, whole.get(name.slice(0, -'.weight'.length))?.rows ?? rows, cols),
  };
}

// Codes of any bits, scales of one sixteenth, other weights of some hundredths, as F16 about one, of either sign: nothing overflows.
function fill(place: Filling): void {
  writeConstants(place);
  const memory = new Uint8Array(place.buffer);
  const random = uniform(1);
  const codes = Uint8Array.from({ length: NOISE_BYTES }, () => random() * 256);
  const values = codes.map((byte, i) => (i % 2 ? (byte & 0x80) | 0x3c : byte));
  const scales = codes.map((_, i) => (i % 2 ? 0x2c : 0));
  const repeat = (noise: Uint8Array, from: number, bytes: number) => {
    for (let done = 0; done < bytes; done += noise.length)
      memory.set(noise.subarray(0, Math.min(noise.length, bytes - done)), from + done);
  };
  for (const load of place.layout.pieces.flat()) {
    if ('vector' in load) {
      const count = load.vector.shape.reduce((product, size) => product * size, 1);
      new Float32Array(place.buffer, load.address, count).fill(1);
      continue;
    }
    const linear: Linear = load.linear;
    const { rows, rowBytes } = linear;
    if (linear.type === 'dense') {
      repeat(values, linear.weights, rows * rowBytes);
      continue;
    }
    const { bandedBytes, scaleBytes, packed } = linear;
    const stored = storedRows(linear);
    repeat(codes, packed, stored * (bandedBytes || rowBytes));
    repeat(scales, linear.scales, stored * scaleBytes);
  }
}

/** A multiple of no row's size, so that rows differ. */
const NOISE_BYTES = 999_998;

// Seconds of a token: the median.
async function secondsOf(
  sequence: Sequence,
  vocabSize: number,
  capacity: number,
  rows: 'none' | 'last',
  seconds: number,
): Promise<number> {
  const times: number[] = [];
  const began = performance.now();
  for (let i = 0; times.length === 0 || (i < MOST_STEPS && performance.now() - began < seconds * 1000); i++) {
    if (sequence.ids.length === capacity) sequence.truncate(0);
    const start = performance.now();
    await sequence.extend([(i * 40503) % vocabSize], { rows });
    if (i >= WARM_STEPS) times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[times.length >> 1] / 1000;
}
