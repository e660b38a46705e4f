// What a model would be at several sizes: bytes of files and of memory, tokens a second on this machine, predicted loss. Headers alone
// are read: each size is planned as `quantize` would, and its copy is timed before it is made (speed.ts).

import { having, integer, list, number, optionsOf, type Schema, signalOf } from '../check.ts';
import { UnsupportedError } from '../errors.ts';
import { type Grid, gridOrName } from '../grids/grid.ts';
import type { AnyGridName } from '../grids/name.ts';
import type { Alphas } from '../linearity/alphas.ts';
import { type AlphasOrMaker, GRIDS_LIMIT, givenAlphasOrMaker } from '../linearity/options.ts';
import { type Prediction, predict, sensitivitiesOf } from '../linearity/predict.ts';
import { priorAlphas } from '../linearity/prior.ts';
import type { ModelMemory } from '../model/fits.ts';
import { estimateMemory } from '../model/model.ts';
import type { Plan, PlanItem } from '../quantize/plan.ts';
import { DEFAULT_GRIDS, quantizedBytes } from '../quantize/scheme.ts';
import type { Folder } from '../source/source.ts';
import { givenThreads, lendThreads, type Threads, takeThreads } from '../workers/threads.ts';
import { measureSpeed, SECONDS_LIMIT, type Speed } from './speed.ts';

/** Bits per weight that are tried: whole ones are those of one grid, others a mixture. */
const BITS: readonly number[] = [2, 2.5, 3, 3.5, 4, 4.5];
/** Most sizes that are tried. */
const SIZES_LIMIT = 64;
/** Seconds of timing in all. */
const SECONDS = 5;

/** Options of `advise`. */
export interface AdviceOptions {
  /** Bits per weight to try: 2, 3 and 4 are one grid for all weights, others mix. 2 to 4.5 by halves if left out. */
  bits?: Iterable<number>;
  /** Also quantize token embeddings and the output head with this grid. */
  embeddings?: string | Grid;
  /** Grids that mixtures are chosen from; all that are loaded if left out. */
  grids?: Iterable<AnyGridName | Grid>;
  /** Sensitivities to choose mixtures and to predict by; those of `priorAlphas` if left out. */
  alphas?: AlphasOrMaker;
  /** Tokens of a text that memory is counted for, as `run` takes it. */
  context?: number;
  /** Threads to time on, from `startThreads`; they are closed in the end. The calling thread alone if left out. */
  threads?: Threads;
  /** How long tokens are timed in all; 5 if left out, and with 0 none are. */
  seconds?: number;
  /** Stops between two steps. */
  signal?: AbortSignal;
}

/** What a model is, or would be. */
export interface Size {
  /** As asked for; undefined for the model as it is. */
  readonly bits: number | undefined;
  /** Bits of codes and scales per quantized weight; of the model as it is, of all its tensors. */
  readonly bpw: number;
  /** Bytes of the safetensors files. */
  readonly bytes: number;
  /** What it takes to run; undefined where its family does not run. */
  readonly memory: ModelMemory | undefined;
  /** Undefined where its family does not run, nothing is timed, or a layer is too large to be. */
  readonly speed: Speed | undefined;
  /** What rounding adds to the loss; undefined for the model as it is. */
  readonly prediction: Prediction | undefined;
}

/** What advice is given of. */
interface AdviceSubject {
  /** The files. */
  readonly folder: Folder;
  /** Bytes of its files, and of its tensors alone; its parameters. */
  readonly bytes: number;
  /** Bits per weight, as it is. */
  readonly bpw: number;
  /** Whether it is quantized already. */
  readonly isQuantized: boolean;
  /** What quantizing with a choice would write. */
  plan(choice: QuantizeChoice): Promise<Plan>;
  /** A copy that is quantized by a plan as it is read. */
  copyOf(plan: Plan): Promise<Folder>;
  /** α of its tensors. */
  sensitivities(alphas: AlphasOrMaker): Promise<Alphas>;
}

const givenSubject = having<AdviceSubject>('the subject of advice', ['plan', 'copyOf', 'sensitivities']);

/** What `quantize` would be told. */
type QuantizeChoice = { embeddings?: string | Grid } & (
  | { grid: string }
  | { bpw: number; alphas: Alphas; grids?: Iterable<AnyGridName | Grid> }
);

const members: Schema<AdviceOptions> = {
  bits: list(number(0.5, 32), SIZES_LIMIT),
  embeddings: gridOrName,
  grids: list(gridOrName, GRIDS_LIMIT),
  alphas: givenAlphasOrMaker,
  context: integer(1),
  threads: givenThreads,
  seconds: number(0, SECONDS_LIMIT),
  signal: signalOf,
};
const adviceOptions = optionsOf<AdviceOptions>(members);

/**
 * Sizes, memory, speed and predicted loss of a model as it is and at several bits per weight; nothing but headers is read.
 * @param of an open checkpoint, as its method `advise` has it
 * @returns the model as it is, and, of one that is not quantized, a size for each of `bits` but for those below the smallest plan
 * @throws {TypeError} when an argument is of another kind @throws {RangeError} when an option is out of range
 * @example
 * for (const { bpw, bytes, memory } of await checkpoint.advise({ bits: [4, 3.5, 3], seconds: 0 }))
 *   console.log(bpw, bytes, memory?.bytes);
 */
export async function advise(of: AdviceSubject, given: AdviceOptions = {}): Promise<Size[]> {
  const threads = takeThreads(given);
  try {
    const subject = givenSubject('of', of);
    const options = adviceOptions('options', given);
    const { alphas: source = priorAlphas, seconds = SECONDS, context, embeddings, grids, signal } = options;
    const bits = subject.isQuantized ? [] : [...(options.bits ?? BITS)];
    const each = seconds / (bits.length + 1);
    const tried = async (folder: Folder): Promise<Pick<Size, 'memory' | 'speed'>> => {
      signal?.throwIfAborted();
      try {
        const memory = await estimateMemory(folder, { ...(context !== undefined && { context }) });
        const lent = threads && lendThreads(threads);
        const speed =
          each > 0 ? await measureSpeed(folder, { seconds: each, ...(lent && { threads: lent }) }) : undefined;
        return { memory, speed };
      } catch (error) {
        if (error instanceof UnsupportedError) return { memory: undefined, speed: undefined };
        throw error;
      }
    };
    const { bytes, bpw } = subject;
    const sizes: Size[] = [{ bits: undefined, bpw, bytes, ...(await tried(subject.folder)), prediction: undefined }];
    if (bits.length === 0) return sizes;
    const alphas = await subject.sensitivities(source);
    for (const wanted of bits) {
      const grid = DEFAULT_GRIDS[wanted];
      const mixed = { bpw: wanted, alphas, ...(grids && { grids }) };
      const choice = grid === undefined ? mixed : { grid };
      const plan = await subject.plan({ ...choice, ...(embeddings !== undefined && { embeddings }) }).catch((error) => {
        if (error instanceof RangeError && grid === undefined) return undefined;
        throw error;
      });
      if (!plan) continue;
      sizes.push({
        bits: wanted,
        bpw: bitsOf(plan),
        bytes: plan.bytesOut,
        ...(await tried(await subject.copyOf(plan))),
        prediction: predict(errorsOf(plan), sensitivitiesOf(alphas)),
      });
    }
    return sizes;
  } finally {
    await threads?.close();
  }
}

type Quantizing = Extract<PlanItem, { kind: 'quantize' }>;

const quantizing = ({ items }: Plan): Quantizing[] =>
  items.filter((item): item is Quantizing => item.kind === 'quantize');

function bitsOf(plan: Plan): number {
  const bytes = quantizing(plan).reduce((sum, { quantized: { rows, cols, scheme } }) => {
    const { packed, scales } = quantizedBytes(rows, cols, scheme);
    return sum + packed + scales;
  }, 0);
  return plan.weights > 0 ? (bytes * 8) / plan.weights : 0;
}

function errorsOf(plan: Plan): { name: string; relativeError: number }[] {
  return quantizing(plan).map(({ tensor, quantized }) => ({
    name: tensor.name,
    relativeError: quantized.scheme.grid.mse,
  }));
}
