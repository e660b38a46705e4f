// A checkpoint that is open, and all that is done with it. Headers, configuration and listing are read once, whatever is asked for:
// on a server each reading is a request. Nothing else is kept between calls.

import type { AdviceOptions, Size } from './advice/advise.ts';
import { argumentError, callback, optionsOf, type Reader, reading, refuseKind, signalOf } from './check.ts';
import { type OpenFolder, openOnce } from './checkpoint/checkpoint.ts';
import { UnsupportedError } from './errors.ts';
import { show } from './excerpt.ts';
import type { Grid } from './grids/grid.ts';
import { isRemote } from './hub/name.ts';
import type { Kernels } from './kernels/kernels.ts';
import type { PlanTensor } from './linearity/allocate.ts';
import { type Alphas, givenAlphas } from './linearity/alphas.ts';
import {
  type AlphasOrMaker,
  type BudgetOptions,
  givenAlphasOrMaker,
  offerOf,
  planningOptions,
  type TensorOptions,
  wantedOf,
} from './linearity/options.ts';
import { type BitPlan, checkShapes, schemesOf } from './linearity/plan.ts';
import { type Prediction, predict, sensitivitiesOf } from './linearity/predict.ts';
import { type Budget, planBits, planTensors } from './linearity/target.ts';
import type { ModelMemory } from './model/fits.ts';
import type { ModelOptions } from './model/model.ts';
import {
  bitOptions,
  type CheckpointOptions,
  type Choosing,
  type CopyOptions,
  checkpointOptions,
  copyOptions,
  givenBudget,
  type QuantizeReport,
  type RunOptions,
  restoreOptions,
  type WeighOptions,
} from './openoptions.ts';
import { runPart } from './parts/run.ts';
import { naming, wholeOf } from './quantize/blocks.ts';
import { carryOver, checkCarried, plainConfig, quantizedConfig, runningLayers } from './quantize/carry.ts';
import { runPlan } from './quantize/checkpoint.ts';
import { FORMAT_VERSION, matrixOf, openQuantized, type QuantizedCheckpoint, unquantized } from './quantize/format.ts';
import { type Inspection, inspectCheckpoint } from './quantize/inspect.ts';
import { JOURNAL_NAME } from './quantize/journal.ts';
import { madeCheckpoint } from './quantize/made.ts';
import { schemeOf } from './quantize/matrix.ts';
import { inOrder } from './quantize/pipeline.ts';
import { type Plan, planCheckpoint } from './quantize/plan.ts';
import { plannedBits, type Report } from './quantize/report.ts';
import { type RestoreOptions, type RestoreReport, restoreCheckpoint } from './quantize/restore.ts';
import type { Scheme } from './quantize/scheme.ts';
import { patternsOf } from './quantize/select.ts';
import { type VerifyOptions, type VerifyReport, verifyCheckpoint } from './quantize/verify.ts';
import type { GatheredRefinement, RefineOptions } from './refinement/gather.ts';
import type { CostOptions, SensitivityCost } from './sensitivity/cost.ts';
import type { Store } from './sensitivity/kept.ts';
import type { SensitivityOptions } from './sensitivity/measure.ts';
import { givenFolder, givenOutput } from './source/given.ts';
import { readOnce } from './source/once.ts';
import type { Folder, OutputFolder, ResumableFolder } from './source/source.ts';
import type { Model } from './text/textmodel.ts';
import { givenPool, type Pool } from './workers/pool.ts';

export type { CheckpointOptions, CopyOptions, QuantizeReport, RunOptions } from './openoptions.ts';

/** Options of `verify`. */
export type Verification = Partial<Omit<VerifyOptions, 'against' | 'kernels'>> & { against?: Folder | OpenCheckpoint };

// A folder, or the folder of an open checkpoint.
const folderOrOpen: Reader<Folder> = (subject, value) => {
  const isObject = typeof value === 'object' && value !== null;
  const inner = isObject && reading(subject, () => ('folder' in value ? value.folder : undefined));
  return givenFolder(subject, inner || value);
};

const verifyOptions = optionsOf<Omit<Verification, 'against'> & { against?: Folder }>({
  pool: givenPool,
  onProgress: callback,
  signal: signalOf,
  against: folderOrOpen,
});

/**
 * An open checkpoint. Every method may be called any number of times.
 *
 * Arguments are checked first. Each method throws, or its promise rejects with, a TypeError for an argument of the wrong kind and for
 * an option that it does not know, a RangeError for a value out of range, a StateError for a folder, pool or threads that are closed.
 */
export interface OpenCheckpoint {
  /** What it was opened from, read once. */
  readonly folder: Folder;
  /**
   * Describes it, quantized or not.
   * @example
   * for (const { name, grid, bpw } of (await checkpoint.inspect()).tensors) console.log(name, grid, bpw);
   */
  inspect(): Promise<Inspection>;
  /**
   * What `quantize` would do with the same options.
   * @example
   * const { bytesOut } = await checkpoint.plan({ grid: 't4' });
   */
  plan(options?: CheckpointOptions & RunOptions): Promise<Plan>;
  /**
   * Quantizes it, streaming, and carries its other files over.
   * @example
   * await checkpoint.quantize(await createFolder('small'), { grid: 't4', embeddings: 't4', pool: await startPool() });
   */
  quantize(output: OutputFolder | ResumableFolder, options?: CheckpointOptions & RunOptions): Promise<QuantizeReport>;
  /**
   * A copy as `quantize` would write it with the same options, to load as a model without writing it: a tensor is encoded when it is
   * read. `onProgress` and `signal` are of that.
   * @example
   * const model = await (await higgs.open(await checkpoint.copy({ grid: 't4' }))).run();
   */
  copy(options?: CheckpointOptions & CopyOptions): Promise<Folder>;
  /** The tensors that `planBits` chooses grids for. */
  planTensors(options?: TensorOptions): Promise<PlanTensor[]>;
  /**
   * The plan of least predicted loss for a budget.
   * @param alphas sensitivities, or what makes them once it is known that the budget can be met; undefined measures them
   * @param options.sensitivity how they are measured, and where they are kept
   * @example
   * const plan = await checkpoint.planBits(priorAlphas, { bpw: 3.25 });
   */
  planBits(
    alphas: AlphasOrMaker | undefined,
    options: BudgetOptions & Pick<CheckpointOptions, 'sensitivity'>,
  ): Promise<BitPlan>;
  /**
   * Writes the plain checkpoint of a quantized one, streaming.
   * @example
   * await quantized.dequantize(await createFolder('plain'), { dtype: 'BF16' });
   */
  dequantize(output: OutputFolder, options?: Partial<RestoreOptions>): Promise<RestoreReport>;
  /**
   * Checks structure and checksums of a quantized checkpoint, and its errors against the original.
   * @example
   * const { warnings } = await quantized.verify({ against: checkpoint });
   */
  verify(options?: Verification): Promise<VerifyReport>;
  /**
   * Loads it as a model, quantized or not, to generate with. What runs it, `higgs-wasm/decoder`, is imported by this call.
   * @throws {UnsupportedError} when its family is not handled: names it
   * @throws {FormatError} when a file is malformed, or a checksum of a quantized checkpoint does not hold
   * @example
   * const model = await checkpoint.run({ threads: await startThreads(), context: 2048 });
   * console.log(await model.complete('Once upon a time', model.sampling));
   * await model.close();
   */
  run(options?: ModelOptions): Promise<Model>;
  /**
   * What `run` would take of memory with the same options; reads no weights.
   * @example
   * const { bytes, weights, cache } = await checkpoint.runMemory({ context: 8192 });
   */
  runMemory(options?: ModelOptions): Promise<ModelMemory>;
  /**
   * Measures what a unit of relative error t² in each linear weight costs, for `planBits` to choose grids by. With a `store` that is
   * done once: later calls use what is kept.
   * @throws {UnsupportedError} when it is quantized, or its family is not handled
   * @throws {FormatError} when it is malformed, or `partial` is of another run
   * @throws {RangeError} when an option is out of range, the text is too short, or there is too little memory
   * @example
   * const alphas = await checkpoint.sensitivity({ sequences: 4, threads: await startThreads() });
   */
  sensitivity(options?: SensitivityOptions): Promise<Alphas>;
  /** What `sensitivity` keeps in a store, if it is of this model and these settings: nothing is measured. */
  keptSensitivity(options: SensitivityOptions & { store: Store }): Promise<Alphas | undefined>;
  /** What `sensitivity` would take, by running some of its steps on zeros. */
  sensitivityCost(options?: CostOptions): Promise<SensitivityCost>;
  /**
   * What the model is, and would be at several bits per weight: size, memory, tokens a second on this machine, predicted loss. Reads no
   * weights.
   */
  advise(options?: AdviceOptions): Promise<Size[]>;
}

/** What checkpoints are opened with. */
interface Means {
  /** Kernels of the calling thread. */
  readonly kernels: Kernels;
  /** Where work is done unless there is a pool. */
  readonly local: Pool;
  /** Loaded grids by name. */
  readonly grids: ReadonlyMap<string, Grid>;
  /** @throws {UnsupportedError} when no grid of that name is loaded */
  gridOf(grid: string | Grid): Grid;
}

/** Opens a checkpoint. @throws {FormatError} when there is none, or a header is faulty */
export async function open(input: Folder | string, { kernels, local, grids, gridOf }: Means): Promise<OpenCheckpoint> {
  const folder: OpenFolder = await openOnce(await inputFolder(input));
  const { checkpoint } = folder;
  const plans = new WeakMap<Plan, ChosenPlan>(); // made here
  const isDecoded = checkpoint.tensors.some(({ encoded }) => encoded !== undefined);
  let stored: Promise<QuantizedCheckpoint> | undefined;
  const quantizedTensors = (): Promise<QuantizedCheckpoint> => {
    stored ??= openQuantized(checkpoint);
    return stored;
  };

  async function plan(options: CheckpointOptions & RunOptions): Promise<Plan> {
    const budget = givenBudget(options);
    const scheme = schemeOf(options, gridOf);
    const refining = await refiningFor(options, scheme);
    const given = budget ? await bitsFor(budget, options, refining) : options.plan;
    const bits = given && 'tensors' in given ? given : undefined;
    const embeddings = options.embeddings === undefined || given ? undefined : gridOf(options.embeddings);
    const chosen = given ? { plan: schemesBy(given, scheme) } : { embeddings, ...patternsOf(options) };
    const planned = planCheckpoint(checkpoint, { scheme, ...chosen }, options, refining);
    if (bits) checkShapes(bits, checkpoint);
    const method = await checkCarried(folder);
    // Block-scaled F8 and MXFP4 are read, and what is decoded as it is read; any other method's tensors would be taken for plain weights.
    if (method !== undefined && method !== 'fp8' && method !== 'mxfp4' && !isDecoded && planned.weights > 0) {
      const message = `weights must not be quantized yet: config.json says that they are, by ${show(method)}`;
      throw new UnsupportedError(`quantization by ${method}`, message, { file: folder.name });
    }
    plans.set(planned, { scheme, isPlan: given !== undefined, bits, refining });
    return planned;
  }

  async function plannedBy(options: CheckpointOptions & RunOptions): Promise<Plan> {
    const { planned } = options;
    if (planned === undefined) return plan(options);
    return plans.has(planned) ? planned : refuseKind('planned', 'what plan() of this checkpoint gave', planned);
  }

  function schemesBy(plan: BitPlan | ReadonlyMap<string, string | Grid>, scheme: Scheme): Map<string, Scheme> {
    if ('tensors' in plan) return schemesOf(plan, gridOf);
    return new Map([...plan].map(([name, grid]) => [name, { ...scheme, grid: gridOf(grid) }]));
  }

  // What refines, if that is asked for.
  async function refiningFor(
    options: CheckpointOptions & RunOptions,
    { groupSize }: Scheme,
  ): Promise<Refining | undefined> {
    const { refine = false, scaleSearch, signal } = options;
    if (refine === false) return undefined;
    if (scaleSearch) throw new RangeError('scaleSearch must be left out: refining takes the scales of plain encoding');
    const refineOptions = typeof refine === 'object' ? refine : refine === true ? {} : { mode: refine };
    const { onWeigh, ...gathering } = refineOptions as RefineOptions & WeighOptions;
    const { gatherRefinement } = await import('./decoder.ts');
    const asked = { ...(signal && !('statistics' in gathering) && { signal }), ...gathering };
    const gathered = await gatherRefinement(folder, asked, groupSize, quantizedCopy);
    return { ...gathered, onWeigh };
  }

  // Sensitivities times what feedback leaves of each weight's loss: a property of the weight, whatever its grid.
  async function weighed(alphas: Alphas, refining: Refining, options: CheckpointOptions & RunOptions): Promise<Alphas> {
    const { pool = local, signal } = options;
    const scheme = schemeOf(options, gridOf);
    const selection = { scheme, ...patternsOf(options) };
    const refined = planCheckpoint(checkpoint, selection, {}, refining).items.flatMap((item) =>
      item.kind === 'quantize' && item.quantized.isRefined && alphas.tensors.has(item.tensor.name) ? [item] : [],
    );
    const tensors = new Map(alphas.tensors);
    const tasks = refined.map(({ tensor, quantized }) => async () => {
      const [weights, weighing] = await Promise.all([wholeOf(tensor), refining.weighing(tensor.name)]);
      const job = { kind: 'gain', matrix: matrixOf(quantized, quantized.rows), weights, weighing } as const;
      return { name: tensor.name, gain: (await naming(tensor, pool.run(job)))[0] };
    });
    let done = 0;
    for await (const { name, gain } of inOrder(tasks, pool.size + 1)) {
      signal?.throwIfAborted();
      const alpha = tensors.get(name)!;
      tensors.set(name, { ...alpha, alpha: alpha.alpha * gain });
      refining.onWeigh?.(++done, refined.length);
    }
    return { ...alphas, tensors };
  }

  // The plan for a budget: by sensitivities that are given, made for its tensors, or measured.
  async function bitsFor(
    budget: Budget,
    { sensitivity, alphas, ...options }: Choosing & CheckpointOptions & RunOptions,
    refining?: Refining,
  ): Promise<BitPlan> {
    const { signal } = options;
    const offered = offerOf(options, [...grids.values()], gridOf);
    const tensors = planTensors(checkpoint, wantedOf(options, gridOf, await runningLayers(folder)), offered);
    const problem = { checkpoint, tensors, offered, layout: options, budget };
    if (typeof alphas === 'object' && !refining) return planBits(problem, alphas);
    const given = alphas ?? refining?.alphas ?? (() => measure({ ...(signal && { signal }), ...sensitivity, tensors }));
    return planBits(problem, async () => {
      const measured = typeof given === 'object' ? given : givenAlphas('result of alphas()', await given(tensors));
      if (!refining) return measured;
      refining.planned = measured;
      return weighed(measured, refining, options);
    });
  }

  const quantizedCopy = (grid: string) => opened.copy({ grid, embeddings: grid });
  async function measure(options?: SensitivityOptions): Promise<Alphas> {
    return (await import('./decoder.ts')).measureSensitivity(folder, options, quantizedCopy);
  }

  const opened: OpenCheckpoint = {
    folder,
    inspect: () => inspectCheckpoint(checkpoint),
    plan: async (options) => plan(checkpointOptions('options', options)),

    async quantize(to, given) {
      const options = checkpointOptions('options', given);
      const { pool = local, scaleSearch, onProgress, signal, resume, part } = options;
      const output = givenOutput('output', to, resume !== undefined);
      const planned = await plannedBy(options);
      const chosen = plans.get(planned)!;
      const { bits, refining } = chosen;
      const running = { pool, kernels, scaleSearch, refinement: refining, onProgress, signal, resume };
      const { grid, groupSize, seed } = noteOf(planned, chosen);
      const carry = (folderOut: OutputFolder, predicted?: Prediction) => {
        const about = {
          format: FORMAT_VERSION,
          grid,
          group_size: groupSize,
          signs_seed: seed,
          bits_per_weight: plannedBits(planned),
          ...(scaleSearch && { scale_search: true }),
          ...(refining && { refinement: { ...refining.note, ...(predicted && { loss: predicted.delta }) } }),
        };
        return carryOver(folder, folderOut, (config) => quantizedConfig(config, about));
      };
      if (part) {
        if (refining) throw new RangeError('part must come without refine: statistics are gathered by one machine');
        const unchanged = async () => folder.unchanged?.();
        const sensitivities = bits && {
          ...{ estimator: bits.estimator, loss: bits.loss, base: bits.base },
          alphas: bits.tensors.map(({ name, alpha }) => [name, alpha] as const),
        };
        return runPart(planned, output, { ...running, part, layout: options, sensitivities, carry, unchanged });
      }
      const report = await runPlan(planned, output, running);
      const alphas = refining?.planned ?? refining?.alphas;
      const sensitivities = alphas ? sensitivitiesOf(alphas) : bits && !refining ? sensitivitiesOf(bits) : undefined;
      const predicted = sensitivities && predict(report.tensors.map(errorOf), sensitivities);
      await carry(output, predicted);
      await folder.unchanged?.();
      if (resume && !resume.keepJournal) await (output as ResumableFolder).remove(JOURNAL_NAME);
      return predicted ? { ...report, predicted } : report;
    },

    async copy(given) {
      const { onProgress, ...rest } = copyOptions('options', given);
      const { pool = local, scaleSearch = false, signal } = rest;
      const planned = await plannedBy(rest);
      const making = { pool, scaleSearch, refinement: plans.get(planned)!.refining, onProgress, signal };
      const encoded = madeCheckpoint(planned, checkpoint, making);
      return Object.assign(readOnce({ ...folder }), { checkpoint: encoded });
    },

    async planTensors(given) {
      const options = planningOptions('options', given);
      const wanted = wantedOf(options, gridOf, await runningLayers(folder));
      return planTensors(checkpoint, wanted, offerOf(options, grids.values(), gridOf));
    },

    async planBits(alphas, given) {
      const options = bitOptions('options', given);
      const checked = alphas === undefined ? alphas : givenAlphasOrMaker('alphas', alphas);
      if (options.bpw === undefined && options.size === undefined)
        throw argumentError('options must have bpw or size: got neither');
      const choosing = { ...options, ...(checked && { alphas: checked }) };
      return bitsFor(givenBudget(choosing)!, choosing);
    },

    async dequantize(to, given) {
      const options = restoreOptions('options', given);
      const output = givenOutput('output', to, false);
      const from = isDecoded ? unquantized(checkpoint) : await quantizedTensors();
      await checkCarried(folder);
      const report = await restoreCheckpoint(from, output, { pool: local, ...options });
      await carryOver(folder, output, (content) => {
        const config = plainConfig(content);
        const names = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;
        const key = 'dtype' in config ? 'dtype' : 'torch_dtype';
        return options.dtype ? { ...config, [key]: names[options.dtype] } : config;
      });
      await folder.unchanged?.();
      return report;
    },

    async verify(given) {
      const { against, ...options } = verifyOptions('options', given);
      const original = against && (await openOnce(against));
      const settings = { pool: local, ...options, kernels, against: original?.checkpoint };
      const report = await verifyCheckpoint(await quantizedTensors(), settings);
      for (const eachFolder of [folder, original]) await eachFolder?.unchanged?.();
      return report;
    },

    run: async (options) => (await import('./decoder.ts')).loadModel(folder, options),
    runMemory: async (options) => (await import('./decoder.ts')).estimateMemory(folder, options),
    sensitivity: measure,
    keptSensitivity: async (options) => (await import('./decoder.ts')).keptSensitivity(folder, options),
    sensitivityCost: async (options) =>
      (await import('./decoder.ts')).estimateSensitivity(folder, options, quantizedCopy),

    async advise(options) {
      const { advise } = await import('./decoder.ts');
      const { quantized, bytes, tensors, parameters } = await opened.inspect();
      const stored = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
      return advise(
        {
          ...{ folder, bytes, isQuantized: quantized, bpw: parameters > 0 ? (stored * 8) / parameters : 0 },
          plan: opened.plan,
          copyOf: (planned) => opened.copy({ planned }),
          sensitivities: async (alphas) =>
            typeof alphas === 'object'
              ? alphas
              : givenAlphas('result of alphas()', await alphas(await opened.planTensors())),
        },
        options,
      );
    },
  };
  return opened;
}

// A folder, or what a name stands for.
async function inputFolder(input: Folder | string): Promise<Folder> {
  if (typeof input !== 'string') return givenFolder('input', input);
  if (isRemote(input)) return (await import('./hub/hub.ts')).openHub(input);
  return refuseKind(
    'input',
    'a folder, as openFolder(path) of higgs-wasm/files gives, or a name such as hf:org/model',
    input,
  );
}

/** What a plan was made by. */
interface ChosenPlan {
  readonly scheme: Scheme;
  readonly isPlan: boolean;
  /** Set if it is by sensitivities. */
  readonly bits: BitPlan | undefined;
  readonly refining: Refining | undefined;
}

/** What refines, with the sensitivities of a plan by it. */
interface Refining extends GatheredRefinement {
  readonly onWeigh: WeighOptions['onWeigh'];
  /** As they are, where a budget was planned for. */
  planned?: Alphas;
}

// What stands for t² in the linearity theorem.
function errorOf({ name, relativeError, weightedError }: Report['tensors'][number]) {
  return { name, relativeError: weightedError ?? relativeError };
}

// What config.json says for people: one scheme, or that they differ.
function noteOf({ items }: Plan, { scheme: { grid, groupSize, seed }, isPlan }: ChosenPlan) {
  if (!isPlan) return { grid: grid.name, groupSize, seed };
  const [first, ...rest] = items.flatMap((item) => (item.kind === 'quantize' ? [item.quantized.scheme] : []));
  const shared = <T>(of: (scheme: Scheme) => T) =>
    rest.every((scheme) => of(scheme) === of(first)) ? first && of(first) : 'mixed';
  return {
    grid: shared((scheme) => scheme.grid.name),
    groupSize: shared((scheme) => scheme.groupSize),
    seed: shared((scheme) => scheme.seed),
  };
}
