// Options of mixed bits: the budget, the sensitivities, and what the grids are chosen from.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { readBytes } from '../disk/files.ts';
import type { Input } from '../disk/input.ts';
import type { Higgs } from '../higgs.ts';
import type { PlanTensor } from '../linearity/allocate.ts';
import { type Alphas, readAlphas } from '../linearity/alphas.ts';
import type { BudgetOptions } from '../linearity/options.ts';
import { type BitPlan, readBitPlan } from '../linearity/plan.ts';
import { priorAlphas, uniformAlphas } from '../linearity/prior.ts';
import { byteSize, gridName, pattern, UsageError } from '../terminal/usage.ts';
import { keptSensitivities, modelSensitivities, WAYS } from './kept.ts';
import { type SelectionOptions, selectionOf } from './selection.ts';

export interface SensitivityOptions {
  alphas?: string;
  prior?: boolean;
  uniform?: boolean;
}

export interface BitOptions extends SensitivityOptions {
  bpw?: number;
  size?: number;
  grids?: string[];
  keep?: (readonly [RegExp, string])[];
  minBits?: number;
  maxBits?: number;
}

export function addBits(command: Command): Command {
  command
    .addOption(
      new Option('--bpw <n>', 'bits per weight over all quantized weights, scales counted')
        .argParser(bits)
        .conflicts('size'),
    )
    .addOption(new Option('--size <size>', 'size of the safetensors files written: 700MB').argParser(byteSize));
  return addSensitivities(command)
    .option('--grids <list>', 'grids to choose from, with commas (all)', (text) => text.split(',').map(gridName))
    .option(
      '--keep <regexp=grid>',
      'the grid of the tensors whose names match; may be repeated, the first that matches counts',
      (text, kept: (readonly [RegExp, string])[] = []) => [...kept, keepOf(text)],
    )
    .option('--min-bits <n>', 'least bits of a code per weight, for tensors whose grid is free', bits)
    .option('--max-bits <n>', 'most bits of a code per weight, for tensors whose grid is free', bits);
}

export function addSensitivities(command: Command): Command {
  return command
    .addOption(
      new Option('--alphas <file>', 'sensitivities of the tensors, as JSON (measured, and kept)').conflicts([
        'prior',
        'uniform',
      ]),
    )
    .addOption(new Option('--prior', 'sensitivities by a rule from another model: not measured').conflicts('uniform'))
    .option('--uniform', 'every weight counts alike');
}

/** How sensitivities that are not named come about. */
export interface Measuring {
  threads: number;
  /** Those that are kept beside the model or none: nothing is measured. */
  keptOnly?: boolean | undefined;
}

/** The plan that the options ask for, and the sensitivities that it is from. */
export async function planFor(
  higgs: Higgs,
  input: Input,
  options: BitOptions & SelectionOptions,
  maxShardBytes: number,
  measuring: Measuring,
): Promise<{ plan: BitPlan; tensors: PlanTensor[]; alphas: Alphas; settings: BudgetOptions }> {
  const { bpw, size, grids, keep, minBits, maxBits } = options;
  if (bpw === undefined && size === undefined) throw new UsageError('--bpw or --size must be given');
  const settings: BudgetOptions = {
    ...selectionOf(options),
    maxShardBytes,
    ...(grids && { grids }),
    ...(keep && { keep }),
    ...(minBits !== undefined && { minBits }),
    ...(maxBits !== undefined && { maxBits }),
    ...(bpw !== undefined ? { bpw } : { size: size! }),
  };
  const { folder } = input;
  const tensors = await higgs.planTensors(folder, settings);
  const named = await namedSensitivities(options, tensors);
  // A budget that cannot be met is told before minutes of measuring.
  if (!named) await higgs.planBits(folder, uniformAlphas(tensors), settings);
  const alphas = named ?? (await ownSensitivities(input, tensors, measuring));
  return { plan: await higgs.planBits(folder, alphas, settings), tensors, alphas, settings };
}

/** The sensitivities that the options name, if they do. */
export async function namedSensitivities(
  { alphas, prior, uniform }: SensitivityOptions,
  tensors: readonly { name: string; shape: readonly number[] }[],
): Promise<Alphas | undefined> {
  if (alphas !== undefined) return readAlphas(await readBytes(alphas), alphas);
  if (prior) return priorAlphas(tensors);
  return uniform ? uniformAlphas(tensors) : undefined;
}

// Those of the model itself.
async function ownSensitivities(
  input: Input,
  tensors: readonly PlanTensor[],
  { threads, keptOnly }: Measuring,
): Promise<Alphas> {
  if (tensors.length === 0) return uniformAlphas(tensors);
  if (!keptOnly) return modelSensitivities(input, tensors, threads);
  const kept = await keptSensitivities(input);
  if (kept) return kept;
  throw new UsageError(
    `--dry-run measures nothing, and no sensitivities are kept of this model: give ${WAYS}, or run higgs plan first`,
  );
}

/** Reads a plan. */
export async function planFrom(path: string): Promise<BitPlan> {
  return readBitPlan(await readBytes(path), path);
}

function bits(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0 || value > 32) {
    throw new InvalidArgumentError('must be a number of bits above 0, at most 32.');
  }
  return value;
}

function keepOf(text: string): readonly [RegExp, string] {
  const at = text.lastIndexOf('=');
  if (at < 1) throw new InvalidArgumentError('must be a regular expression, =, and a grid.');
  return [pattern(text.slice(0, at)), gridName(text.slice(at + 1))];
}
