// The one asynchronous door, `load`, and what it opens: matrices in memory, checkpoints in folders.

import { finite, list, optionsOf } from './check.ts';
import { UnsupportedError } from './errors.ts';
import { show } from './excerpt.ts';
import { type Grid, givenGrid } from './grids/grid.ts';
import { isGridName } from './grids/name.ts';
import { smallGrids } from './grids/small.ts';
import { trellises } from './grids/trellises.ts';
import { givenModule } from './kernels/instantiate.ts';
import { wrapKernels } from './kernels/kernels.ts';
import { loadKernels } from './kernels/load.ts';
import { givenTensors, offer, type PlanTensor, planOf, type Tradeoff, tradeoffOf } from './linearity/allocate.ts';
import { type Alphas, givenAlphas } from './linearity/alphas.ts';
import { type OfferOptions, offerOf, planningOptions } from './linearity/options.ts';
import type { BitPlan } from './linearity/plan.ts';
import { predict, type Sensitivities } from './linearity/predict.ts';
import { type OpenCheckpoint, open, type QuantizeReport } from './open.ts';
import { type MergeOptions, mergeOptions, mergeParts } from './parts/merge.ts';
import { PARTS_LIMIT } from './parts/shares.ts';
import {
  dequantizeMatrix,
  type MatrixOptions,
  matrixOptions,
  matvecMatrix,
  type QuantizedMatrix,
  quantizeMatrix,
  schemeOf,
} from './quantize/matrix.ts';
import { givenFolder, givenOutput } from './source/given.ts';
import type { Folder, OutputFolder, ResumableFolder } from './source/source.ts';
import { localPool } from './workers/pool.ts';

/** Options of `load`. */
export interface LoadOptions {
  /** Grids beside the trellises and those of up to 256 points in one or two dimensions: `higgs-wasm/grids` has the larger ones. */
  grids?: Iterable<Grid>;
}

/** Most grids that are loaded: a hundred times those that there are. */
const GRIDS_LIMIT = 1000;

const partsOf = list(givenFolder, PARTS_LIMIT);

const loadOptions = optionsOf<LoadOptions>({ grids: list(givenGrid, GRIDS_LIMIT) });

/**
 * The loaded library. Every method may be called any number of times. Only `open` keeps something between calls.
 *
 * Arguments are checked first. Each method throws, or its promise rejects with, a TypeError for an argument of the wrong kind and for
 * an option that it does not know, a RangeError for a value out of range, a StateError for a folder, pool or threads that are closed.
 */
export interface Higgs {
  /** The grids that are loaded, by name. */
  readonly grids: ReadonlyMap<string, Grid>;
  /**
   * Quantizes a weight matrix.
   * @param weights (rows, cols), row-major
   * @throws {RangeError} when a size, an option or a weight is out of range; NaN and infinity are named with their place
   * @throws {UnsupportedError} when no grid of that name is loaded
   * @example
   * const matrix = higgs.quantize(weights, { rows: 4096, cols: 4096, grid: 't4' });
   * console.log(matrix.bitsPerWeight, matrix.relativeError);
   */
  quantize(weights: Float32Array, options: MatrixOptions): QuantizedMatrix;
  /**
   * @returns Ŵ, (rows, cols), row-major
   * @example
   * const restored = higgs.dequantize(matrix);
   */
  dequantize(matrix: QuantizedMatrix): Float32Array<ArrayBuffer>;
  /**
   * Ŵ x from the packed codes: x is rotated once, Ŵ never back.
   * @param x (cols)
   * @returns (rows)
   * @example
   * const y = higgs.matvec(matrix, new Float32Array(matrix.cols).fill(1));
   */
  matvec(matrix: QuantizedMatrix, x: Float32Array): Float32Array<ArrayBuffer>;
  /**
   * Opens a checkpoint for all that is done with it: planning, quantizing, running, measuring. Reads headers only.
   * @param input a folder, or a name: `hf:org/model`, an address. A path is no name: `openFolder` of higgs-wasm/files opens it
   * @throws {FormatError} when there is none, or a header is faulty
   * @throws {FileError} when a server refuses
   * @example
   * const checkpoint = await higgs.open(await openFolder('Llama-3.2-1B'));
   * await checkpoint.quantize(await createFolder('Llama-3.2-1B-higgs'));
   */
  open(input: Folder | string): Promise<OpenCheckpoint>;
  /**
   * `open`, then `plan`: for one thing alone. So with those below.
   * @example
   * const report = await higgs.quantizeCheckpoint(input, output, { grid: 't3', embeddings: 't4' });
   */
  planCheckpoint(
    input: Folder | string,
    ...args: Parameters<OpenCheckpoint['plan']>
  ): ReturnType<OpenCheckpoint['plan']>;
  /** `open`, then `quantize`. @returns what was written, with errors and bits */
  quantizeCheckpoint(
    input: Folder | string,
    ...args: Parameters<OpenCheckpoint['quantize']>
  ): ReturnType<OpenCheckpoint['quantize']>;
  /** `open`, then `planTensors`. @returns the tensors that want a grid */
  planTensors(
    input: Folder | string,
    ...args: Parameters<OpenCheckpoint['planTensors']>
  ): ReturnType<OpenCheckpoint['planTensors']>;
  /** `open`, then `planBits`. @returns the best grid of every tensor for a budget */
  planBits(
    input: Folder | string,
    ...args: Parameters<OpenCheckpoint['planBits']>
  ): ReturnType<OpenCheckpoint['planBits']>;
  /** `open`, then `dequantize`. @returns what was written */
  dequantizeCheckpoint(
    input: Folder | string,
    ...args: Parameters<OpenCheckpoint['dequantize']>
  ): ReturnType<OpenCheckpoint['dequantize']>;
  /** `open`, then `inspect`. @returns what the headers say */
  inspectCheckpoint(input: Folder | string): ReturnType<OpenCheckpoint['inspect']>;
  /** `open`, then `verify`. @returns what was checked @throws {FormatError} when a checksum does not hold */
  verifyCheckpoint(
    input: Folder | string,
    ...args: Parameters<OpenCheckpoint['verify']>
  ): ReturnType<OpenCheckpoint['verify']>;
  /** `open`, then `run`. @returns a loaded model; close it when you are done */
  loadModel(input: Folder | string, ...args: Parameters<OpenCheckpoint['run']>): ReturnType<OpenCheckpoint['run']>;
  /** `open`, then `sensitivity`. @returns α of every tensor */
  measureSensitivity(
    input: Folder | string,
    ...args: Parameters<OpenCheckpoint['sensitivity']>
  ): ReturnType<OpenCheckpoint['sensitivity']>;
  /** `open`, then `sensitivityCost`. @returns the memory and time that measuring would take */
  estimateSensitivity(
    input: Folder | string,
    ...args: Parameters<OpenCheckpoint['sensitivityCost']>
  ): ReturnType<OpenCheckpoint['sensitivityCost']>;
  /**
   * Puts the parts of a checkpoint together that `quantize` wrote with `part`: the bytes are those of one run.
   * @param parts their folders, in any order
   * @throws {FormatError} names each part that is missing, of another plan or release, or damaged
   * @example
   * await checkpoint.quantize(await createFolder('part-1'), { part: { index: 1, count: 2 } });
   * await checkpoint.quantize(await createFolder('part-2'), { part: { index: 2, count: 2 } });
   * await higgs.mergeParts(await Promise.all(['part-1', 'part-2'].map(openFolder)), await createFolder('small'));
   */
  mergeParts(
    parts: readonly Folder[],
    output: OutputFolder | ResumableFolder,
    options?: MergeOptions,
  ): Promise<QuantizeReport & { about?: string }>;
  /**
   * The grids that predict the least loss within a budget, exactly.
   * @param options.bpw bits per weight over all tensors
   * @throws {RangeError} when no choice is that small, or a tensor has no sensitivity
   * @see arXiv 2411.17525, section 4
   * @example
   * const plan = higgs.allocate(tensors, priorAlphas(tensors), { bpw: 3.25 });
   */
  allocate(tensors: readonly PlanTensor[], alphas: Alphas, options: OfferOptions & { bpw: number }): BitPlan;
  /**
   * What every budget buys: bits per weight against predicted loss.
   * @example
   * for (const { bpw, predicted } of higgs.tradeoff(tensors, alphas).exact) console.log(bpw, predicted);
   */
  tradeoff(tensors: readonly PlanTensor[], alphas: Alphas, options?: OfferOptions): Tradeoff;
}

/**
 * Loads the kernels.
 * @param module a compiled `higgs.wasm`, for hosts that forbid compiling bytes; by default the embedded binary
 * @throws {UnsupportedError} where WebAssembly has no SIMD
 * @throws {TypeError} when `module` is not higgs.wasm, compiled, an option is not known, or a grid is none
 * @example
 * const higgs = await load();
 * const matrix = higgs.quantize(weights, { rows: 4096, cols: 4096, grid: 'p2n256' });
 */
export async function load(module?: WebAssembly.Module, options: LoadOptions = {}): Promise<Higgs> {
  const { grids: extra = [] } = loadOptions('options', options);
  const given = module === undefined ? undefined : givenModule('module', module);
  const kernels = wrapKernels(await loadKernels(given));
  const grids = new Map([...smallGrids, ...trellises, ...extra].map((grid) => [grid.name, grid]));
  const local = localPool(kernels);

  function gridOf(grid: string | Grid): Grid {
    if (typeof grid !== 'string') return grid;
    const named = grids.get(grid);
    if (named) return named;
    const names = [...grids.keys()].join(', ');
    const from = isGridName(grid)
      ? `; if higgs-wasm/grids has it, import it and call load(undefined, { grids: [${grid}] })`
      : '';
    throw new UnsupportedError(`grid ${grid}`, `grid must be one of those loaded, ${names}: got ${show(grid)}${from}`);
  }

  const openCheckpoint = (input: Folder | string) => open(input, { kernels, local, grids, gridOf });

  return {
    grids,
    quantize(weights, options) {
      const { rows, cols, scaleSearch, ...scheme } = matrixOptions('options', options);
      return quantizeMatrix(kernels, weights, rows, cols, schemeOf(scheme, gridOf), scaleSearch);
    },
    dequantize: (matrix) => dequantizeMatrix(kernels, matrix),
    matvec: (matrix, x) => matvecMatrix(kernels, matrix, x),
    open: openCheckpoint,
    planCheckpoint: async (input, ...args) => (await openCheckpoint(input)).plan(...args),
    quantizeCheckpoint: async (input, ...args) => (await openCheckpoint(input)).quantize(...args),
    planTensors: async (input, ...args) => (await openCheckpoint(input)).planTensors(...args),
    planBits: async (input, ...args) => (await openCheckpoint(input)).planBits(...args),
    dequantizeCheckpoint: async (input, ...args) => (await openCheckpoint(input)).dequantize(...args),
    inspectCheckpoint: async (input) => (await openCheckpoint(input)).inspect(),
    verifyCheckpoint: async (input, ...args) => (await openCheckpoint(input)).verify(...args),
    loadModel: async (input, ...args) => (await openCheckpoint(input)).run(...args),
    measureSensitivity: async (input, ...args) => (await openCheckpoint(input)).sensitivity(...args),
    estimateSensitivity: async (input, ...args) => (await openCheckpoint(input)).sensitivityCost(...args),
    async mergeParts(given, to, options) {
      const merging = mergeOptions('options', options);
      const folders = partsOf('parts', given);
      const output = givenOutput('output', to, merging.resume !== undefined);
      const { report, sensitivities, about } = await mergeParts(folders, output, { ...merging, kernels, pool: local });
      const merged = { ...report, ...(about !== null && { about }) };
      if (!sensitivities) return merged;
      const { alphas, ...others } = sensitivities;
      const byName = new Map(alphas);
      return {
        ...merged,
        predicted: predict(report.tensors, { ...others, alphaOf: (name) => byName.get(name) } as Sensitivities),
      };
    },

    allocate(tensors, alphas, given) {
      const { bpw, ...options } = planningOptions('options', given);
      const sensitivities = givenAlphas('alphas', alphas);
      const offered = offerOf(options, grids.values(), gridOf);
      const ready = offer(givenTensors('tensors', tensors), sensitivities, offered);
      return planOf(ready, sensitivities, offered, finite('bpw', bpw));
    },

    tradeoff(tensors, alphas, options) {
      const offered = offerOf(planningOptions('options', options), grids.values(), gridOf);
      return tradeoffOf(offer(givenTensors('tensors', tensors), givenAlphas('alphas', alphas), offered), offered);
    },
  };
}
