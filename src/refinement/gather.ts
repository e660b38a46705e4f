// What refining a checkpoint needs: statistics, gathered on tokens that the model samples or given, as what errors of each weight cost.

import { callback, having, needed, oneOf, optionsOf, powerOfTwo, type Reader, reading, refuseKind } from '../check.ts';
import { show } from '../excerpt.ts';
import { readArchitecture } from '../families/family.ts';
import { GROUP_SIZES } from '../kernels/layout.ts';
import type { Weighing } from '../kernels/weighing.ts';
import type { Alphas } from '../linearity/alphas.ts';
import { givenAlphas } from '../linearity/alphas.ts';
import type { Refinement } from '../quantize/refinement.ts';
import { stackOf } from '../quantize/select.ts';
import type { StatisticsOutput } from '../sensitivity/growing.ts';
import { measureSensitivity, type SensitivityOptions } from '../sensitivity/measure.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder, Sink } from '../source/source.ts';
import { readStatistics, type Statistics } from '../statistics/file.ts';
import { groupWidths } from '../statistics/matrices.ts';

/** Tokens that are enough: twice as many give 1 % more. */
const DEFAULTS = { sequences: 128, tokens: 256 } as const;
/** Errors that a path of a trellis feeds back itself (assembly/refine/search.ts). */
const WINDOW = 32;
/** What is added to a diagonal, by columns for each token: bounds, and between. */
const DAMPING = { low: 0.01, high: 0.3, slope: 2 } as const;
/** Stacks of experts whose sums are kept: those of a layer. */
const PRIORS = 4;

/** Options of gathering what refines. Beside them, those of `sensitivity`. */
export interface RefineOptions
  extends Omit<SensitivityOptions, 'estimator' | 'levels' | 'statistics' | 'store' | 'tensors' | 'underway'> {
  /** `both`: by inputs and gradients of outputs. `inputs`: by inputs alone, without gradients, in half the time. */
  mode?: 'both' | 'inputs';
  /** Statistics that are there already, as `readStatistics` opens them: nothing is gathered. */
  statistics?: Statistics;
  /** Sensitivities that were measured with them. */
  alphas?: Alphas;
  /** Where statistics are kept as they grow; in memory if left out. */
  output?: StatisticsOutput;
}

/** What refines, and the sensitivities that come along. */
export interface GatheredRefinement extends Refinement {
  /** The statistics that weights are refined by. */
  readonly statistics: Statistics;
  /** Sensitivities from the same gradients; undefined where none were computed. */
  readonly alphas: Alphas | undefined;
}

const statisticsLike = having<Statistics>('statistics, as readStatistics() gives', ['inputs', 'outputs']);
const givenStatistics = optionsOf<Pick<RefineOptions, 'mode' | 'statistics' | 'alphas'>>({
  mode: oneOf('both', 'inputs'),
  statistics: needed(statisticsLike as Reader<Statistics>),
  alphas: givenAlphas,
});

/**
 * Gathers what refines a checkpoint.
 * @param groupSize that of quantizing
 * @param copy makes a copy of a large model, which samples the tokens
 * @throws what `measureSensitivity` throws
 * @example
 * const { statistics } = await gatherRefinement(folder, { sequences: 4 }, 1024);
 * await checkpoint.quantize(output, { refine: { statistics } });
 */
export async function gatherRefinement(
  input: Folder,
  options: RefineOptions,
  groupSize: number,
  copy?: (grid: string) => Promise<Folder>,
): Promise<GatheredRefinement> {
  const folder = givenFolder('input', input);
  if (typeof options !== 'object' || options === null) refuseKind('options', 'a plain object', options);
  const given: RefineOptions = reading('options', () => ({ ...options }));
  powerOfTwo(GROUP_SIZES.low, GROUP_SIZES.high)('groupSize', groupSize);
  if (copy !== undefined) callback('copy', copy);
  if (reading('refine', () => given.statistics) !== undefined) {
    const { statistics, alphas, mode } = givenStatistics('refine', given);
    const refinement = refinementBy(statistics!, mode);
    return { ...refinement, statistics: statistics!, alphas };
  }
  const { mode = 'both', output = memoryFile(), sequences, tokens, alphas, ...rest } = given;
  oneOf('both', 'inputs')('mode of refine', mode);
  if (alphas !== undefined)
    throw new RangeError('alphas of refine must come with statistics: without these, both are measured together');
  const settings = {
    sequences: sequences ?? DEFAULTS.sequences,
    tokens: tokens ?? Math.min(DEFAULTS.tokens, (await readArchitecture(folder)).contextLength),
  };
  const gathering = { ...rest, ...settings, statistics: { mode, groupSize, output } };
  const measured = await measureSensitivity(folder, gathering, copy);
  const source = await output.open();
  const statistics = await readStatistics(source!, output.name);
  return { ...refinementBy(statistics, mode), statistics, alphas: mode === 'both' ? measured : undefined };
}

/** Statistics as what errors cost. @param mode `inputs` leaves the gradients of outputs out */
function refinementBy(statistics: Statistics, mode?: 'both' | 'inputs'): Refinement {
  const { about, weights } = statistics;
  const all = about.tokens * about.sequences;
  const priors = new Map<string, Promise<Float32Array<ArrayBuffer>[]>>();
  const stacks = new Map<string, string[]>();
  for (const name of weights.keys()) {
    const stack = stackOf(name);
    if (stack !== name) stacks.set(stack, [...(stacks.get(stack) ?? []), name]);
  }

  // The sum over the experts of a layer and kind, each of trace 1.
  function priorOf(stack: string): Promise<Float32Array<ArrayBuffer>[]> {
    const prior = priors.get(stack);
    if (prior) return prior;
    const stacked = (async () => {
      let sums: Float32Array<ArrayBuffer>[] | undefined;
      for (const name of stacks.get(stack)!) {
        const inputs = await statistics.inputs(name);
        const factor = 1 / (traceOf(inputs) || 1);
        sums ??= inputs.map(({ length }) => new Float32Array(length));
        for (const [p, square] of inputs.entries()) addTo(sums[p], square, factor);
      }
      return sums!;
    })();
    stacked.catch(() => {}); // reported where it is awaited
    priors.set(stack, stacked);
    if (priors.size > PRIORS) priors.delete(priors.keys().next().value!);
    return stacked;
  }

  // An expert that few tokens reach is weighed by those of its layer, too.
  async function inputsOf(name: string, cols: number): Promise<Float32Array<ArrayBuffer>[]> {
    const inputs = await statistics.inputs(name);
    const members = stacks.get(stackOf(name)) ?? [];
    if (members.length < 2) return inputs;
    const prior = await priorOf(stackOf(name));
    const trace = traceOf(inputs);
    const share = Math.min(1, (cols * members.length) / all / 4) / (traceOf(prior) || 1);
    return inputs.map((square, p) => {
      const mixed = new Float32Array(square.length);
      if (trace > 0) addTo(mixed, square, 1 / trace);
      addTo(mixed, prior[p], share);
      return mixed;
    });
  }

  const { mode: gathered, source, tokens, sequences, draws, seed, ids } = about;
  const used = gathered === 'inputs' ? 'inputs' : (mode ?? 'both');
  const dampingOf = (width: number, samples: number) =>
    Math.min(DAMPING.high, Math.max(DAMPING.low, (DAMPING.slope * width) / samples));
  return {
    note: {
      ...{ mode: used, weighted: gathered === 'both', source, tokens, sequences },
      ...{ draws: gathered === 'both' ? draws : 0, seed, ids, window: WINDOW },
    },
    has(name, rows, cols, groupSize) {
      const weight = weights.get(name);
      if (weight?.shape[0] !== rows || weight.shape[1] !== cols) return false;
      const { parts } = weight;
      if (parts.length > 1 && String(parts) !== String(groupWidths(cols, groupSize))) {
        throw new RangeError(
          `statistics of ${show(name)} must be cut in groups of ${groupSize} columns, as the scheme has them: they are cut in groups of ${about.groupSize}`,
        );
      }
      return true;
    },
    async weighing(name): Promise<Weighing> {
      const { shape, parts } = weights.get(name)!;
      const [inputs, outputs] = [
        await inputsOf(name, shape[1]),
        used === 'both' ? await statistics.outputs(name) : undefined,
      ];
      return {
        ...{ inputs, outputs },
        damping: dampingOf(Math.max(...parts), all),
        outputDamping: dampingOf(shape[0], all * Math.max(1, draws)),
      };
    },
  };
}

function traceOf(squares: readonly Float32Array[]): number {
  let trace = 0;
  for (const square of squares) {
    const width = Math.round(Math.sqrt(square.length));
    for (let i = 0; i < width; i++) trace += square[i * width + i];
  }
  return trace;
}

function addTo(to: Float32Array, from: Float32Array, factor: number): void {
  for (let i = 0; i < to.length; i++) to[i] += from[i] * factor;
}

/** A file that is replaced, in memory. */
function memoryFile(): StatisticsOutput {
  let current: ArrayBuffer | undefined;
  return {
    name: 'statistics',
    open: async () => current,
    async create(): Promise<Sink> {
      const pieces: Uint8Array[] = [];
      return {
        async write(bytes) {
          pieces.push(bytes.slice());
        },
        async close() {
          const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
          let position = 0;
          for (const piece of pieces) {
            whole.set(piece, position);
            position += piece.length;
          }
          current = whole.buffer;
        },
        async abort() {},
      };
    },
  };
}
