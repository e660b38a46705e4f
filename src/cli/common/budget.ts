// Options of mixed bits: the budget, the sensitivities, and what the grids are chosen from.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { readBytes } from '../../disk/files.ts';
import type { Input } from '../../disk/input.ts';
import type { Grid } from '../../grids/grid.ts';
import { type Alphas, readAlphas } from '../../linearity/alphas.ts';
import type { AlphasOrMaker, BudgetOptions } from '../../linearity/options.ts';
import { type BitPlan, readBitPlan } from '../../linearity/plan.ts';
import { priorAlphas, uniformAlphas } from '../../linearity/prior.ts';
import type { OpenCheckpoint } from '../../open.ts';
import { definitionOf } from '../../sensitivity/kept.ts';
import { bytesText, durationText } from '../../terminal/figures.ts';
import { GROUPS } from '../../terminal/help.ts';
import { warn } from '../../terminal/print.ts';
import { byteSize, GRIDS, gridName, parsePattern, UsageError } from '../../terminal/usage.ts';
import { keptSensitivities, modelSensitivities, WAYS } from './kept.ts';
import { costOf } from './measurement.ts';

/** Where sensitivities come from, as `addSensitivities` offers it. */
export interface SensitivityChoice {
  /** Path of a JSON file: the sensitivity of each tensor by name. */
  alphas?: string;
  /** Whether the published sensitivities of other models are taken, by kind of layer. */
  prior?: boolean;
  /** Whether all tensors count alike. */
  uniform?: boolean;
}

/** A budget and what is chosen from, as `addBits` offers them. */
export interface BitOptions extends SensitivityChoice {
  /** Bits per quantized weight, scales counted; excludes `size`. */
  bpw?: number;
  /** Bytes of all safetensors files of the output; excludes `bpw`. */
  size?: number;
  /** Names of the grids to choose from; all if left out. */
  grids?: string[];
  /** Grids that are set: for a tensor's name the first pattern that matches counts. */
  keep?: (readonly [RegExp, string])[];
  /** Least bits of a code per weight, scales apart, where the grid is free. */
  minBits?: number;
  /** Most bits of a code per weight, scales apart, where the grid is free. */
  maxBits?: number;
  /** Whether each expert has a grid of its own, or all of a layer and kind share one; `each` if left out. */
  experts?: 'each' | 'stack';
  /** Most bytes of memory for measuring; what is free if left out. */
  memory?: number;
}

/** Adds the options of mixed bits. */
export function addBits(command: Command): Command {
  command
    .optionsGroup(GROUPS.budget)
    .addOption(
      new Option('--bpw <n>', 'bits per weight over all quantized weights, scales counted')
        .argParser(parseBitsPerWeight)
        .conflicts('size'),
    )
    .addOption(new Option('--size <size>', 'size of the safetensors files written, such as 700MB').argParser(byteSize));
  command
    .option('--grids <list>', 'grids to choose from, separated by commas (all)', (text) =>
      text.split(',').map(gridName),
    )
    .option(
      '--keep <regexp=grid>',
      'the grid of the tensors whose names match; may be repeated, the first that matches counts',
      (text, kept: (readonly [RegExp, string])[] = []) => [...kept, keepOf(text)],
    )
    .option('--min-bits <n>', 'least bits of a code per weight, for tensors whose grid is free', parseBitsPerWeight)
    .option('--max-bits <n>', 'most bits of a code per weight, for tensors whose grid is free', parseBitsPerWeight)
    .addOption(
      new Option(
        '--experts <how>',
        'for experts stored one by one: a grid for each, or one for all of a layer and kind (each)',
      ).choices(['each', 'stack']),
    )
    .addOption(
      new Option('--memory <size>', 'most memory for measuring sensitivities (what is free)')
        .argParser(byteSize)
        .conflicts(['alphas', 'prior', 'uniform']),
    );
  return addSensitivities(command);
}

/** Adds the options that say where sensitivities come from. */
export function addSensitivities(command: Command): Command {
  return command
    .optionsGroup(GROUPS.sensitivities)
    .addOption(
      new Option('--alphas <file>', 'sensitivities of the tensors, as JSON (measured, and kept)').conflicts([
        'prior',
        'uniform',
      ]),
    )
    .addOption(
      new Option('--prior', 'sensitivities by a rule from another model; nothing is measured').conflicts('uniform'),
    )
    .option('--uniform', 'every weight counts alike');
}

/** The budget that the options name, for the library, if they do. */
export function budgetOf({ bpw, size, grids, keep, minBits, maxBits, experts }: BitOptions): BudgetOptions | undefined {
  if (bpw === undefined && size === undefined) return undefined;
  return {
    ...(grids && { grids }),
    ...(keep && { keep }),
    ...(minBits !== undefined && { minBits }),
    ...(maxBits !== undefined && { maxBits }),
    ...(experts && { experts }),
    ...(bpw !== undefined ? { bpw } : { size: size! }),
  };
}

/** How sensitivities that are not named come about. */
interface MeasuringChoice {
  threads: number;
  /** Most bytes of linear memory; what is free if left out. */
  memory?: number | undefined;
  /** Those that are kept beside the model or none, for an option with which nothing is measured. */
  keptOnly?: '--dry-run' | '--part' | undefined;
}

/**
 * Says that a budget is more than the largest grid needs, if it is.
 * @param chosen the grid of every tensor that was planned
 * @param bytes of the files
 */
export function unusedText(
  { bpw: bits, size, grids, maxBits }: BitOptions,
  chosen: readonly { grid: string }[],
  { bpw, bytes }: { bpw: number; bytes: number },
): string | undefined {
  const widthOf = ({ bits, p }: Grid) => bits / p;
  const offered = GRIDS.filter((grid) => grids?.includes(grid.name) ?? true);
  const widest = Math.max(...offered.map(widthOf).filter((width) => width <= (maxBits ?? Number.POSITIVE_INFINITY)));
  const hasWidest = ({ grid }: { grid: string }) => GRIDS.some((each) => each.name === grid && widthOf(each) >= widest);
  const isUnused = bits !== undefined ? bpw < bits - 0.01 : size !== undefined && bytes < 0.99 * size;
  if (!isUnused || !chosen.every(hasWidest)) return undefined;
  const budget = bits !== undefined ? `--bpw ${bits}` : `--size ${bytesText(size!)}`;
  return `${budget} is more than the largest grid needs: all weights have ${widest} bits, ${bpw.toFixed(2)} with scales, in files of ${bytesText(bytes)}`;
}

/**
 * The sensitivities to plan by: those that the options name, or the model's own.
 * @throws {UsageError} when nothing may be measured, and there are none
 */
export async function planningAlphas(
  options: SensitivityChoice,
  checkpoint: OpenCheckpoint,
  input: Input,
  { threads, memory, keptOnly }: MeasuringChoice,
): Promise<AlphasOrMaker> {
  const named = await namedAlphas(options);
  if (named) return named;
  if (!keptOnly) return (tensors) => modelSensitivities(checkpoint, input, tensors, threads, memory);
  return async () => {
    const kept = await keptSensitivities(checkpoint, input);
    if (kept) return kept;
    const time = await measuringTime(checkpoint, threads);
    throw new UsageError(
      `${keptOnly} needs sensitivities, and this model has none yet: give ${WAYS}, or run higgs plan first${time}`,
    );
  };
}

// Where the model cannot be measured the reason is told by who measures.
async function measuringTime(checkpoint: OpenCheckpoint, threads: number): Promise<string> {
  const cost = await costOf(checkpoint, {}, threads).catch(() => undefined);
  if (!cost) return '';
  const { seconds, readSeconds, copySeconds } = cost;
  const parts = [
    `${durationText(seconds)} of computing`,
    `${durationText(readSeconds)} of reading`,
    ...(copySeconds > 0 ? [`${durationText(copySeconds)} for a copy that samples tokens`] : []),
  ];
  return `, which measures them in about ${parts.join(', ')}`;
}

/** The sensitivities that the options name, if they do. Warns where a file does not say how it defines α. */
export async function namedAlphas({ alphas, prior, uniform }: SensitivityChoice): Promise<AlphasOrMaker | undefined> {
  if (alphas !== undefined) {
    const read = await alphasFrom(alphas);
    if (definitionOf(read) === 'unknown')
      warn(`${alphas} does not say how it defines α: embeddings and head may count otherwise`);
    return read;
  }
  if (prior) return priorAlphas;
  return uniform ? uniformAlphas : undefined;
}

/** Reads sensitivities. @throws {UsageError} when another release defined them */
export async function alphasFrom(path: string): Promise<Alphas> {
  const alphas = readAlphas(await readBytes(path), path);
  if (definitionOf(alphas) !== 'another') return alphas;
  throw new UsageError(
    `--alphas must be sensitivities as this release defines them: ${path} is of another release; leave out --alphas to measure them again`,
  );
}

/** Reads a plan. */
export async function planFrom(path: string): Promise<BitPlan> {
  return readBitPlan(await readBytes(path), path);
}

/** A number of bits, as an option. @throws {InvalidArgumentError} when it is no number above 0, or is above 32 */
export function parseBitsPerWeight(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0 || value > 32) {
    throw new InvalidArgumentError('must be a number of bits above 0, at most 32.');
  }
  return value;
}

function keepOf(text: string): readonly [RegExp, string] {
  const position = text.lastIndexOf('=');
  if (position < 1) throw new InvalidArgumentError('must be a regular expression, =, and a grid.');
  return [parsePattern(text.slice(0, position)), gridName(text.slice(position + 1))];
}
