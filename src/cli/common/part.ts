// --part: which share of the work a task does, as it is told or as the scheduler tells it.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { show } from '../../excerpt.ts';
import { PARTS_LIMIT, type Part } from '../../parts/shares.ts';
import { GROUPS } from '../../terminal/help.ts';
import { UsageError } from '../../terminal/usage.ts';

/** As the option is given: index and count, the count alone, or neither. */
type PartChoice = { index: number; count: number } | { count: number } | true;

/** The part of the work that a task does, as `addPart` offers it. */
export interface PartOptions {
  /** One of so many shares; undefined for all of the work. */
  part?: PartChoice;
}

/** Adds the option `--part`. */
export function addPart(command: Command): Command {
  return command
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option(
        '--part [i/n]',
        'do only part i of n, for higgs merge; leave out i, or both, if Slurm, Kubernetes or AWS Batch numbers the task',
      ).argParser(partOf),
    );
}

/** Parses `3/8`, or `8` where the scheduler says which. */
function partOf(text: string): PartChoice {
  const [, index, count] = /^(?:(\d{1,4})\/)?(\d{1,4})$/.exec(text) ?? [];
  const isRange = (value: number, most: number) => value >= 1 && value <= most;
  if (count === undefined || !isRange(Number(count), PARTS_LIMIT))
    throw new InvalidArgumentError(`must be a share such as 3/8, or 8 for one of 8, at most ${PARTS_LIMIT}.`);
  if (index === undefined) return { count: Number(count) };
  if (!isRange(Number(index), Number(count)))
    throw new InvalidArgumentError(`must be a share from 1/${count} to ${count}/${count}.`);
  return { index: Number(index), count: Number(count) };
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The part that the options and the scheduler say.
 * @throws {UsageError} when neither does
 */
export function partFrom({ part }: PartOptions, env: Environment = process.env): Part | undefined {
  if (part === undefined) return undefined;
  if (part !== true && 'index' in part) return part;
  const count = part === true ? undefined : part.count;
  const scheduled = slurm(env, count) ?? kubernetes(env) ?? batch(env);
  const assigned = { ...scheduled, ...(count !== undefined && { count }) };
  if (assigned.index === undefined) {
    throw new UsageError(
      '--part must name the part, such as 3/8: no scheduler numbers this task (SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX, AWS_BATCH_JOB_ARRAY_INDEX)',
    );
  }
  if (assigned.count === undefined)
    throw new UsageError('--part must say of how many, such as --part 8: JOB_COMPLETION_INDEX alone does not say');
  if (assigned.index >= 1 && assigned.index <= assigned.count && assigned.count <= PARTS_LIMIT) return assigned as Part;
  throw new UsageError(
    `--part must be a share from 1 to ${Math.min(assigned.count, PARTS_LIMIT)}: the scheduler says ${assigned.index}`,
  );
}

interface SchedulerPart {
  index?: number;
  count?: number;
}

// An array without gaps, such as 0-7 or 1-8; given a count, it is numbered from 1, and some of it may be submitted again.
function slurm(env: Environment, given: number | undefined): SchedulerPart | undefined {
  const id = numberIn(env, 'SLURM_ARRAY_TASK_ID');
  if (id === undefined) return undefined;
  if (given !== undefined) return { index: id };
  const [count, min, max] = ['COUNT', 'MIN', 'MAX'].map((key) => numberIn(env, `SLURM_ARRAY_TASK_${key}`));
  const step = numberIn(env, 'SLURM_ARRAY_TASK_STEP') ?? 1;
  if (count === undefined) return { index: id };
  const first = min ?? 1;
  const isWhole = (max === undefined || max === first + (count - 1) * step) && (id - first) % step === 0;
  if (!isWhole)
    throw new UsageError('--part must say of how many, such as --part 8: the indices of this array have gaps');
  return { index: (id - first) / step + 1, count };
}

function kubernetes(env: Environment): SchedulerPart | undefined {
  const index = numberIn(env, 'JOB_COMPLETION_INDEX');
  return index === undefined ? undefined : { index: index + 1 };
}

function batch(env: Environment): SchedulerPart | undefined {
  const index = numberIn(env, 'AWS_BATCH_JOB_ARRAY_INDEX');
  const count = numberIn(env, 'AWS_BATCH_JOB_ARRAY_SIZE');
  return index === undefined ? undefined : { index: index + 1, ...(count !== undefined && { count }) };
}

function numberIn(env: Environment, key: string): number | undefined {
  const text = env[key];
  if (text === undefined || text === '') return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new UsageError(`${key} must be a number: got ${show(text)}`);
}
