// Statistics that quantize gathers to refine by: in <output>.statistics.partial as they grow, with the tokens in <output>.tokens.partial, so
// that an interrupted run goes on; both go when the output is whole.

import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Command, Option } from 'commander';
import { beside, isThere, writeAtomically } from '../../disk/commit.ts';
import { readTextFile } from '../../disk/files.ts';
import { checkModel, type Input } from '../../disk/input.ts';
import { takeLock } from '../../disk/lock.ts';
import { replacedFile } from '../../disk/replaced.ts';
import { FileError, FormatError } from '../../errors.ts';
import { readArchitecture } from '../../families/family.ts';
import type { Alphas } from '../../linearity/alphas.ts';
import type { OpenCheckpoint } from '../../open.ts';
import type { RefineOptions } from '../../refinement/gather.ts';
import type { SensitivityCost } from '../../sensitivity/cost.ts';
import { saving } from '../../sensitivity/saving.ts';
import { attempt } from '../../source/system.ts';
import { readStatistics } from '../../statistics/file.ts';
import { bytesText, counted, durationText } from '../../terminal/figures.ts';
import { parseInteger, UsageError } from '../../terminal/usage.ts';
import { costOf, watchMeasuring } from './measurement.ts';
import { Interrupted } from './session.ts';

/** Of a sequence, unless the model's context is shorter; and sequences. */
const REFINE_TOKENS = 256;
const REFINE_SEQUENCES = 128;

/** Options that say how a checkpoint is refined. */
export interface RefiningChoice {
  /** By what errors are fed back: inputs and gradients, or inputs alone. `true` is `both`. */
  refine?: true | 'both' | 'inputs';
  /** Path of a text in UTF-8, instead of tokens that the model samples. */
  refineText?: string;
  /** Sequences of 256 tokens; 128 if left out. */
  refineSequences?: number;
}

/** Adds the options of refining. */
export function addRefining(command: Command): Command {
  return command
    .optionsGroup('Refining:')
    .addOption(
      new Option(
        '--refine [by]',
        'encode with error feedback, by tokens that the model samples: half the loss at the same bits, in several times the time; by gradients too, or by inputs alone',
      )
        .choices(['both', 'inputs'])
        .preset('both'),
    )
    .option('--refine-text <file>', 'a text in UTF-8 to refine by, instead of tokens that the model samples')
    .addOption(
      new Option(
        '--refine-sequences <n>',
        `sequences of ${REFINE_TOKENS} tokens to refine by (${REFINE_SEQUENCES})`,
      ).argParser(parseInteger(1, 65535)),
    );
}

/** How the checkpoint is refined; undefined where it is not. @throws {UsageError} when options contradict each other */
export function refiningOf({ refine, refineText }: RefiningChoice): 'both' | 'inputs' | undefined {
  if (refine === undefined && refineText === undefined) return undefined;
  return refine === 'inputs' ? 'inputs' : 'both';
}

interface GatheringOptions extends RefiningChoice {
  output: string;
  workers: number;
  memory?: number | undefined;
  groupSize: number;
  resume?: boolean | undefined;
  force?: boolean | undefined;
}

/** What was gathered, as `refine` takes it. */
export interface Gathered {
  /** The statistics, and how they are used. */
  readonly refine: RefineOptions;
  /** Removes what was kept. */
  remove(): Promise<void>;
  /** Closes the file and keeps it, for a run that resumes. */
  close(): Promise<void>;
}

/**
 * Gathers statistics to refine by, or goes on with that.
 * @throws {FileError} when an interrupted run left some, and neither `resume` nor `force` is set; when another process gathers for the output
 */
export async function gatherToRefine(
  checkpoint: OpenCheckpoint,
  input: Input,
  options: GatheringOptions,
): Promise<Gathered> {
  checkModel(input);
  const path = `${beside(options.output, '.statistics.partial')}.lock`;
  await attempt('create', dirname(path), () => mkdir(dirname(path), { recursive: true }));
  const lock = await takeLock(path, 'gathers');
  try {
    const gathered = await gatherAlone(checkpoint, input, options);
    const close = () => gathered.close().finally(lock.release);
    return { ...gathered, close };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function gatherAlone(checkpoint: OpenCheckpoint, input: Input, options: GatheringOptions): Promise<Gathered> {
  const { output, workers, memory, refineText, refineSequences = REFINE_SEQUENCES, groupSize, resume, force } = options;
  const mode = refiningOf(options)!;
  const tokensFile = beside(output, '.tokens.partial');
  const statisticsFile = beside(output, '.statistics.partial');
  const file = replacedFile(statisticsFile);
  const remove = async () => {
    await file.remove();
    await attempt('remove', tokensFile, () => rm(tokensFile, { force: true }));
  };
  const left = [tokensFile, statisticsFile];
  const isLeft = (await Promise.all(left.map(isThere))).some(Boolean);
  if (isLeft && !resume) {
    if (!force) {
      const hint = 'give --resume to continue it, or --force to start again';
      throw new FileError('write', output, undefined, `${left.join(' and ')} hold an interrupted run; ${hint}`);
    }
    await remove();
  }
  const partial = (await isThere(tokensFile)) ? await readTextFile(tokensFile) : undefined;
  const text = refineText === undefined ? undefined : await readTextFile(refineText);
  const { contextLength } = await readArchitecture(input.folder);
  const settings = {
    sequences: refineSequences,
    tokens: Math.min(REFINE_TOKENS, contextLength),
    ...(text !== undefined && { text }),
    ...(partial !== undefined && { partial }),
    statistics: { mode, groupSize, output: file },
  };
  const save = (content: string) => writeAtomically(tokensFile, content, { force: true });
  let last = partial;
  const note = (onPartial: (content: string) => void) => (content: string) => {
    last = content;
    onPartial(content);
  };
  try {
    const measured: Alphas = await watchMeasuring(
      checkpoint,
      workers,
      (watching) =>
        saving(save, (onPartial) => checkpoint.sensitivity({ ...settings, ...watching, onPartial: note(onPartial) })),
      memory,
    );
    if (last !== undefined) await save(last); // encoding may be interrupted, too
    const source = await file.open();
    const statistics = await readStatistics(source!, statisticsFile);
    return {
      refine: { mode, statistics, ...(mode === 'both' && { alphas: measured }) },
      remove,
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    const kept = (await Promise.all(left.map(isThere))).some(Boolean);
    if (error instanceof Interrupted && kept) {
      error.message = `interrupted; what is gathered is kept in ${left.join(' and ')}, run again with --resume to continue`;
    }
    if (error instanceof FormatError && error.reason === 'partial') {
      const hint = 'give the same options, or --force to start again';
      throw new FileError('resume', tokensFile, undefined, `it has other options or another model; ${hint}`);
    }
    throw error;
  }
}

/** What gathering would take. */
export async function refiningCost(
  checkpoint: OpenCheckpoint,
  input: Input,
  options: RefiningChoice & { workers: number; memory?: number | undefined },
  groupSize: number,
): Promise<SensitivityCost> {
  checkModel(input);
  const { contextLength } = await readArchitecture(input.folder);
  const { workers, memory, refineSequences = REFINE_SEQUENCES, refineText } = options;
  const settings = {
    sequences: refineSequences,
    tokens: Math.min(REFINE_TOKENS, contextLength),
    ...(refineText !== undefined && { text: await readTextFile(refineText) }),
    statistics: { mode: refiningOf(options)!, groupSize },
  };
  return costOf(checkpoint, settings, workers, memory);
}

/** What gathering would take, as a line. */
export function gatheringText(cost: SensitivityCost): string {
  const { sequences, tokens, seconds, readSeconds, copySeconds, bytes, statisticsBytes = 0 } = cost;
  const before = durationText(seconds + readSeconds + copySeconds);
  return `To refine, statistics of ${counted(sequences, 'sequence')} of ${tokens} tokens are gathered before: about ${before}, ${bytesText(bytes)} of memory, a file of ${bytesText(statisticsBytes)} meanwhile.`;
}

/** Options that say nothing without refining, or contradict it. @throws {UsageError} when there are such */
export function checkRefining(
  options: RefiningChoice & { scaleSearch?: boolean; prior?: boolean; uniform?: boolean },
): void {
  if (refiningOf(options) === undefined) {
    if (options.refineSequences === undefined) return;
    throw new UsageError('--refine-sequences must come with --refine');
  }
  if (options.scaleSearch) throw new UsageError('--scale-search must come without --refine');
}
