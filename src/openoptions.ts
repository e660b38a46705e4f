// What the methods of an open checkpoint are given: what each option means, and how it is read.

import { callback, flag, oneOf, optionsOf, type Reader, reading, refuseKind, signalOf } from './check.ts';
import { type Grid, gridOrName } from './grids/grid.ts';
import type { AnyGridName } from './grids/name.ts';
import { type AlphasOrMaker, givenAlphasOrMaker, planningMembers, type TensorOptions } from './linearity/options.ts';
import { type BitPlan, planOrGrids } from './linearity/plan.ts';
import type { Prediction } from './linearity/predict.ts';
import type { Budget } from './linearity/target.ts';
import { givenPart, type Part } from './parts/shares.ts';
import type { Progress } from './quantize/checkpoint.ts';
import { givenResume, type Resume } from './quantize/journal.ts';
import type { MakingProgress } from './quantize/made.ts';
import type { MatrixOptions } from './quantize/matrix.ts';
import { type LayoutOptions, layoutMembers, type Plan } from './quantize/plan.ts';
import type { Report } from './quantize/report.ts';
import type { RestoreOptions } from './quantize/restore.ts';
import type { RefineOptions } from './refinement/gather.ts';
import type { SensitivityOptions } from './sensitivity/measure.ts';
import { givenPool, type Pool } from './workers/pool.ts';

/** What to quantize a checkpoint to, and how its files are laid out. */
export interface CheckpointOptions extends Omit<MatrixOptions, 'rows' | 'cols'>, TensorOptions, LayoutOptions {
  /** Also quantize token embeddings and the output head: with this grid, or, for a budget, with `any`. */
  embeddings?: AnyGridName | Grid;
  /** Quantize the tensors whose names match, instead of the linear weights. */
  include?: RegExp;
  /** Never quantize the tensors whose names match. */
  exclude?: RegExp;
  /**
   * Quantize these tensors and no others: each as the plan says, or by name to a grid, with the `groupSize` and signs of the
   * other options. Excludes `grid`, `embeddings`, `include` and `exclude`.
   */
  plan?: BitPlan | ReadonlyMap<string, AnyGridName | Grid>;
  /**
   * A budget: the grids of least predicted loss, by bits per weight or by bytes of the files. Excludes `grid` and `plan`. The options of
   * `planBits` say what is chosen from.
   */
  bpw?: number;
  /** The budget in bytes of the safetensors files written, instead of `bpw`. */
  size?: number;
  /** Sensitivities to choose by; measured if left out. */
  alphas?: AlphasOrMaker;
  /** How they are measured, and where they are kept; as `sensitivity` takes it. */
  sensitivity?: SensitivityOptions;
  /**
   * Encodes with error feedback, by statistics of tokens that the model samples: half the loss at the same bits, in several times the
   * time. `true` and `both` go by inputs and gradients of outputs, `inputs` by inputs alone. An object has options of gathering, such as
   * `text`, or `statistics` that are there already.
   */
  refine?: boolean | 'both' | 'inputs' | (RefineOptions & WeighOptions);
}

/** Told how far weighing is: tensors whose gain is known, for a budget. */
export interface WeighOptions {
  /** Called for each tensor, those of them whose gain is known, and all. */
  onWeigh?: (done: number, total: number) => void;
}

/** What quantizing a checkpoint did. */
export interface QuantizeReport extends Report {
  /** By the measured t², where a plan gives sensitivities. */
  predicted?: Prediction;
}

/** Options of planning for a budget. */
export type Choosing = TensorOptions & LayoutOptions & Pick<CheckpointOptions, 'bpw' | 'size' | 'sensitivity'>;

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
  resume?: Resume;
  /** What `plan` gave for the same options: it is not made again. */
  planned?: Plan;
  /**
   * Does one part of the plan, of machines that share the work: the output is a quantized checkpoint of its tensors, of which `mergeParts`
   * makes one with those of the others. Excludes `refine`.
   */
  part?: Part;
}

// Options of `sensitivity`, which are its to check: what measures is not here yet.
const settings: Reader<SensitivityOptions> = (subject, value) => {
  if (typeof value !== 'object' || value === null) refuseKind(subject, 'a plain object', value);
  return reading(subject, () => ({ ...value }));
};

// Options of refining, which the decoder's bundle checks.
const refineOf: Reader<NonNullable<CheckpointOptions['refine']>> = (subject, value) => {
  if (typeof value === 'boolean') return value;
  if (typeof value === 'object' && value !== null) return reading(subject, () => ({ ...value }));
  return oneOf('both', 'inputs')(subject, value);
};

/** Options of `planBits`. */
export const bitOptions = optionsOf<Partial<Choosing>>({ ...planningMembers, sensitivity: settings });

/** Options of a copy. */
export interface CopyOptions extends Pick<RunOptions, 'pool' | 'signal' | 'planned'> {
  /** Called for each tensor that was encoded, with the same object. */
  onProgress?: (progress: MakingProgress) => void;
}

const copyMembers = {
  ...planningMembers,
  grid: gridOrName,
  scaleSearch: flag,
  plan: planOrGrids,
  alphas: givenAlphasOrMaker,
  sensitivity: settings,
  refine: refineOf,
  pool: givenPool,
  onProgress: callback,
  signal: signalOf,
  planned: ((_, value) => value as Plan) as Reader<Plan>, // who takes it knows its own
} as const;
/** Options of `copy`. */
export const copyOptions = optionsOf<CheckpointOptions & CopyOptions>(copyMembers);

/** Options of a run are allowed where one is only planned: both take the same object. */
export const checkpointOptions = optionsOf<CheckpointOptions & RunOptions>({
  ...copyMembers,
  resume: givenResume,
  part: givenPart,
});

/** Options of `dequantize`. */
export const restoreOptions = optionsOf<Partial<RestoreOptions>>({
  ...layoutMembers,
  pool: givenPool,
  dtype: oneOf('F32', 'F16', 'BF16'),
  onProgress: callback,
  signal: signalOf,
});

/**
 * The budget, if there is one. A choice of grids is one: a grid for all, a plan, or a budget.
 * @throws {RangeError} when there are two, or an option that goes with another one
 */
export function givenBudget(options: CheckpointOptions): Budget | undefined {
  const { bpw, size, plan, alphas } = options;
  const refuse = (keys: readonly (keyof CheckpointOptions)[], message: (key: string) => string) => {
    for (const key of keys) if (options[key] !== undefined) throw new RangeError(message(key));
  };
  if (plan) {
    const message = 'a plan must be the only choice of tensors and grids';
    refuse(['grid', 'embeddings', 'include', 'exclude'], (key) => `${message}: got ${key} too`);
  }
  if (alphas) refuse(['sensitivity'], (key) => `${key} must be left out: alphas are given`);
  if (bpw === undefined && size === undefined) {
    const keys = ['alphas', 'sensitivity', 'grids', 'scales', 'minBits', 'maxBits', 'experts', 'keep'] as const;
    refuse(keys, (key) => `${key} must come with a budget: bpw or size`);
    return undefined;
  }
  refuse(['grid', 'plan'], (key) => `${key} must be left out: a budget chooses the grids`);
  if (bpw === undefined) return { size: size! };
  refuse(['size'], (key) => `bpw must be the only budget: got ${key} too`);
  return { bpw };
}
