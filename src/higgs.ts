// The one asynchronous door, `load`, and what it opens: matrices in memory, checkpoints in folders.

import {
  callback,
  finite,
  flag,
  list,
  needed,
  object,
  oneOf,
  options as optionsOf,
  pattern,
  signal,
  text,
} from './check.ts';
import { openCheckpoint } from './checkpoint/checkpoint.ts';
import { UnsupportedError } from './errors.ts';
import { show } from './excerpt.ts';
import { type Grid, givenGrid, gridOrName } from './grids/grid.ts';
import { smallGrids } from './grids/small.ts';
import { trellises } from './grids/trellises.ts';
import { givenModule } from './kernels/instantiate.ts';
import { wrapKernels } from './kernels/kernels.ts';
import { loadKernels } from './kernels/load.ts';
import { givenTensors, offer, type PlanTensor, planOf, type Tradeoff, tradeoffOf } from './linearity/allocate.ts';
import { type Alphas, givenAlphas } from './linearity/alphas.ts';
import {
  type BudgetOptions,
  type OfferOptions,
  offerOf,
  planningOptions,
  type TensorOptions,
  wantedOf,
} from './linearity/options.ts';
import { type BitPlan, checkShapes, planOrGrids, schemesOf } from './linearity/plan.ts';
import { type Prediction, predict, sensitivitiesOf } from './linearity/predict.ts';
import { type Budget, planBits, planTensors } from './linearity/target.ts';
import type { ModelOptions } from './model/model.ts';
import { carryOver, checkCarried } from './quantize/carry.ts';
import { type Progress, runPlan } from './quantize/checkpoint.ts';
import { FORMAT_VERSION, openStored } from './quantize/format.ts';
import { type Inspection, inspectCheckpoint } from './quantize/inspect.ts';
import { JOURNAL_NAME } from './quantize/journal.ts';
import {
  dequantizeMatrix,
  type MatrixOptions,
  matrixOptions,
  matvecMatrix,
  type QuantizedMatrix,
  quantizeMatrix,
  schemeMembers,
  schemeOf,
} from './quantize/matrix.ts';
import { type LayoutOptions, layoutMembers, type Plan, planCheckpoint } from './quantize/plan.ts';
import type { Report } from './quantize/report.ts';
import { type RestoreOptions, type RestoreReport, restoreCheckpoint } from './quantize/restore.ts';
import type { Scheme } from './quantize/scheme.ts';
import { patternsOf } from './quantize/select.ts';
import { type VerifyOptions, type VerifyReport, verifyCheckpoint } from './quantize/verify.ts';
import type { SensitivityCost } from './sensitivity/cost.ts';
import type { SensitivityOptions } from './sensitivity/measure.ts';
import type { SensitivitySettings } from './sensitivity/settings.ts';
import { givenFolder, givenOutput } from './source/given.ts';
import type { Folder, OutputFolder, ResumableFolder } from './source/source.ts';
import type { Model } from './text/textmodel.ts';
import { givenPool, localPool, type Pool } from './workers/pool.ts';
import type { Threads } from './workers/threads.ts';

/** Options of `load`. */
export interface LoadOptions {
  /** Grids beside the trellises and those of up to 256 points in one or two dimensions: `higgs-wasm/grids` has the larger ones. */
  grids?: Iterable<Grid>;
}

/** What to quantize a checkpoint to, and how its files are laid out. */
export interface CheckpointOptions extends Omit<MatrixOptions, 'rows' | 'cols'>, LayoutOptions {
  /** Also quantize token embeddings and the output head, with this grid. */
  embeddings?: string | Grid;
  /** Quantize the tensors whose names match, instead of the linear weights. */
  include?: RegExp;
  /** Never quantize the tensors whose names match. */
  exclude?: RegExp;
  /**
   * Quantize these tensors and no others: each as the plan says, or by name to a grid, with the `groupSize` and signs of the
   * other options. Excludes `grid`, `embeddings`, `include` and `exclude`.
   */
  plan?: BitPlan | ReadonlyMap<string, string | Grid>;
}

/** What quantizing a checkpoint did. */
export interface QuantizeReport extends Report {
  /** By the measured t², where a plan gives sensitivities. */
  predicted?: Prediction;
}

/** Options of a run over a checkpoint. */
export interface RunOptions {
  /** Where the work is done; by default on the calling thread. */
  pool?: Pool;
  /** Called often, with the same object. */
  onProgress?: (progress: Progress) => void;
  /** Aborts the run between two blocks. */
  signal?: AbortSignal;
  /**
   * Keeps a journal in the output, which must be a resumable folder, and goes on with an interrupted run that had the same
   * plan and the same identity.
   */
  resume?: { identity: string };
}

/** Most grids that are loaded: a hundred times those that there are. */
const GRIDS_LIMIT = 1000;

const loadOptions = optionsOf<LoadOptions>({ grids: list(givenGrid, GRIDS_LIMIT) });

/** Options of a run are allowed where one is only planned: both take the same object. */
const checkpointOptions = optionsOf<CheckpointOptions & RunOptions>({
  ...schemeMembers,
  ...layoutMembers,
  grid: gridOrName,
  scaleSearch: flag,
  embeddings: gridOrName,
  include: pattern,
  exclude: pattern,
  plan: planOrGrids,
  pool: givenPool,
  onProgress: callback,
  signal,
  resume: object<{ identity: string }>('an object', { identity: needed(text) }),
});

const restoreOptions = optionsOf<Partial<RestoreOptions>>({
  ...layoutMembers,
  pool: givenPool,
  dtype: oneOf('F32', 'F16', 'BF16'),
  onProgress: callback,
  signal,
});

type Verification = Partial<Omit<VerifyOptions, 'against' | 'kernels'>> & { against?: Folder };

const verifyOptions = optionsOf<Verification>({ pool: givenPool, onProgress: callback, signal, against: givenFolder });

/**
 * The loaded library. Every method may be called any number of times; nothing is kept between calls.
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
   */
  quantize(weights: Float32Array, options: MatrixOptions): QuantizedMatrix;
  /** @returns Ŵ, (rows, cols), row-major */
  dequantize(matrix: QuantizedMatrix): Float32Array<ArrayBuffer>;
  /**
   * Ŵ x from the packed codes: x is rotated once, Ŵ never back.
   * @param x (cols)
   * @returns (rows)
   */
  matvec(matrix: QuantizedMatrix, x: Float32Array): Float32Array<ArrayBuffer>;
  /** What `quantizeCheckpoint` would do with the same options; reads headers only. */
  planCheckpoint(input: Folder, options?: CheckpointOptions & RunOptions): Promise<Plan>;
  /** Quantizes a checkpoint, streaming, and carries its other files over. */
  quantizeCheckpoint(
    input: Folder,
    output: OutputFolder | ResumableFolder,
    options?: CheckpointOptions & RunOptions,
  ): Promise<QuantizeReport>;
  /**
   * The grids that predict the least loss within a budget, exactly.
   * @param options.bpw bits per weight over all tensors
   * @throws {RangeError} when no choice is that small, or a tensor has no sensitivity
   * @see METHOD of arXiv 2411.17525, section 4
   */
  allocate(tensors: readonly PlanTensor[], alphas: Alphas, options: OfferOptions & { bpw: number }): BitPlan;
  /** What every budget buys: bits per weight against predicted loss. */
  tradeoff(tensors: readonly PlanTensor[], alphas: Alphas, options?: OfferOptions): Tradeoff;
  /** The tensors of a checkpoint that `planBits` chooses grids for; reads headers only. */
  planTensors(input: Folder, options?: TensorOptions): Promise<PlanTensor[]>;
  /** The plan of least predicted loss for a checkpoint and a budget; reads headers only. */
  planBits(input: Folder, alphas: Alphas, options: BudgetOptions): Promise<BitPlan>;
  /** Writes the plain checkpoint of a quantized one, streaming. */
  dequantizeCheckpoint(input: Folder, output: OutputFolder, options?: Partial<RestoreOptions>): Promise<RestoreReport>;
  /** Describes a checkpoint, quantized or not; reads headers only. */
  inspectCheckpoint(input: Folder): Promise<Inspection>;
  /** Checks structure and checksums of a quantized checkpoint, and its errors against the original. */
  verifyCheckpoint(input: Folder, options?: Verification): Promise<VerifyReport>;
  /**
   * Loads a Llama-family model, quantized or not, to generate with. What runs it, `higgs-wasm/decoder`, is imported by this call.
   * @throws {UnsupportedError} when its architecture is not handled: names it
   * @throws {FormatError} when a file is malformed, or a checksum of a quantized checkpoint does not hold
   */
  loadModel(input: Folder, options?: ModelOptions): Promise<Model>;
  /**
   * Measures what a unit of relative error t² in each linear weight of a checkpoint costs, for `planBits` to choose grids by.
   * @throws {UnsupportedError} when it is quantized, or its architecture is not handled
   * @throws {FormatError} when it is malformed, or `partial` is of another run
   * @throws {RangeError} when an option is out of range, the text is too short, or the memory that is needed exceeds 4 GB
   */
  measureSensitivity(input: Folder, options?: SensitivityOptions): Promise<Alphas>;
  /** What `measureSensitivity` would take, by running some of its steps on zeros; reads headers only. */
  estimateSensitivity(input: Folder, options?: SensitivitySettings & { threads?: Threads }): Promise<SensitivityCost>;
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
    const found = grids.get(grid);
    if (found) return found;
    const known = [...grids.keys()].join(', ');
    throw new UnsupportedError(`grid ${grid}`, `grid must be one of those loaded, ${known}: got ${show(grid)}`);
  }

  async function plan(input: Folder, options: CheckpointOptions): Promise<Plan> {
    const scheme = schemeOf(options, gridOf);
    const embeddings = options.embeddings === undefined ? undefined : gridOf(options.embeddings);
    const selection = { scheme, embeddings, ...patternsOf(options), plan: options.plan && schemesBy(options, scheme) };
    const checkpoint = await openCheckpoint(input);
    const planned = planCheckpoint(checkpoint, selection, options);
    if (options.plan && 'tensors' in options.plan) checkShapes(options.plan, checkpoint);
    const method = await checkCarried(input);
    // Block-scaled F8 is read; any other method's tensors would be taken for plain weights.
    if (method !== undefined && method !== 'fp8' && planned.weights > 0) {
      const message = `weights must not be quantized yet: config.json says that they are, by ${show(method)}`;
      throw new UnsupportedError(`quantization by ${method}`, message, { file: input.name });
    }
    return planned;
  }

  function schemesBy(options: CheckpointOptions, scheme: Scheme): Map<string, Scheme> {
    for (const key of ['grid', 'embeddings', 'include', 'exclude'] as const) {
      if (options[key] !== undefined)
        throw new RangeError(`a plan must be the only choice of tensors and grids: got ${key} too`);
    }
    const plan = options.plan!;
    if ('tensors' in plan) return schemesOf(plan, gridOf);
    return new Map([...plan].map(([name, grid]) => [name, { ...scheme, grid: gridOf(grid) }]));
  }

  return {
    grids,
    quantize(weights, options) {
      const { rows, cols, scaleSearch, ...scheme } = matrixOptions('options', options);
      return quantizeMatrix(kernels, weights, rows, cols, schemeOf(scheme, gridOf), scaleSearch);
    },
    dequantize: (matrix) => dequantizeMatrix(kernels, matrix),
    matvec: (matrix, x) => matvecMatrix(kernels, matrix, x),
    planCheckpoint: async (input, options) => plan(givenFolder('input', input), checkpointOptions('options', options)),
    inspectCheckpoint: async (input) => inspectCheckpoint(await openCheckpoint(givenFolder('input', input))),

    async quantizeCheckpoint(from, to, given) {
      const options = checkpointOptions('options', given);
      const { pool = local, scaleSearch, onProgress, signal, resume } = options;
      const input = givenFolder('input', from);
      const output = givenOutput('output', to, resume !== undefined);
      const planned = await plan(input, options);
      const report = await runPlan(planned, output, { pool, kernels, scaleSearch, onProgress, signal, resume });
      const { grid, groupSize, seed } = noteOf(report, schemeOf(options, gridOf), options.plan !== undefined);
      await carryOver(input, output, (config) => ({
        ...config,
        quantization_config: {
          quant_method: 'higgs-wasm',
          format: FORMAT_VERSION,
          grid,
          group_size: groupSize,
          signs_seed: seed,
          bits_per_weight: report.bpw,
          ...(scaleSearch && { scale_search: true }),
        },
      }));
      if (resume) await (output as ResumableFolder).remove(JOURNAL_NAME);
      if (!options.plan || !('tensors' in options.plan)) return report;
      return { ...report, predicted: predict(report.tensors, sensitivitiesOf(options.plan)) };
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

    async planTensors(input, given) {
      const options = planningOptions('options', given);
      const checkpoint = await openCheckpoint(givenFolder('input', input));
      return planTensors(checkpoint, wantedOf(options, gridOf), offerOf(options, grids.values(), gridOf));
    },

    async planBits(input, alphas, given) {
      const options = planningOptions('options', given);
      const sensitivities = givenAlphas('alphas', alphas);
      const checkpoint = await openCheckpoint(givenFolder('input', input));
      const offered = offerOf(options, grids.values(), gridOf);
      const tensors = planTensors(checkpoint, wantedOf(options, gridOf), offered);
      return planBits(checkpoint, tensors, sensitivities, offered, options, budgetOf(options));
    },

    async dequantizeCheckpoint(from, to, given) {
      const options = restoreOptions('options', given);
      const input = givenFolder('input', from);
      const output = givenOutput('output', to, false);
      const stored = await openStored(await openCheckpoint(input));
      await checkCarried(input);
      const report = await restoreCheckpoint(stored, output, { pool: local, ...options });
      await carryOver(input, output, ({ quantization_config, ...config }) => {
        const names = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;
        const key = 'dtype' in config ? 'dtype' : 'torch_dtype';
        return options.dtype ? { ...config, [key]: names[options.dtype] } : config;
      });
      return report;
    },

    async verifyCheckpoint(input, given) {
      const { against, ...options } = verifyOptions('options', given);
      const stored = await openStored(await openCheckpoint(givenFolder('input', input)));
      const original = against && (await openCheckpoint(against));
      return verifyCheckpoint(stored, { pool: local, ...options, kernels, against: original });
    },

    loadModel: async (input, options) => (await import('./decoder.ts')).loadModel(input, options),
    measureSensitivity: async (input, options) => (await import('./decoder.ts')).measureSensitivity(input, options),
    estimateSensitivity: async (input, options) => (await import('./decoder.ts')).estimateSensitivity(input, options),
  };
}

function budgetOf({ bpw, size }: { bpw?: number; size?: number }): Budget {
  if (bpw !== undefined) return { bpw };
  if (size !== undefined) return { size };
  throw new TypeError('options must have a budget, bpw or size: got neither');
}

// What config.json says for people: one scheme, or that they differ.
function noteOf({ tensors }: Report, { grid, groupSize, seed }: Scheme, isPlan: boolean) {
  if (!isPlan) return { grid: grid.name, groupSize, seed };
  const [first, ...rest] = tensors;
  const shared = <K extends 'grid' | 'groupSize' | 'seed'>(key: K) =>
    rest.every((tensor) => tensor[key] === first?.[key]) ? first?.[key] : 'mixed';
  return { grid: shared('grid'), groupSize: shared('groupSize'), seed: shared('seed') };
}
