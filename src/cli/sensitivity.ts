// higgs sensitivity: what an error in each linear weight costs the model, into a file that planning reads.

import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { checkWritable, isThere, writeAtomically } from '../disk/commit.ts';
import { readTextFile } from '../disk/files.ts';
import { openModel } from '../disk/input.ts';
import { partFile } from '../disk/parts.ts';
import { replacedFile } from '../disk/replaced.ts';
import { growingFile } from '../disk/statistics.ts';
import { FileError } from '../errors.ts';
import { GROUP_SIZES } from '../kernels/layout.ts';
import { type Alphas, writeAlphas } from '../linearity/alphas.ts';
import type { SensitivityCost } from '../sensitivity/cost.ts';
import type { SensitivityOptions } from '../sensitivity/measure.ts';
import { saving } from '../sensitivity/saving.ts';
import { DEFAULTS, type SensitivitySettings } from '../sensitivity/settings.ts';
import type { Folder } from '../source/source.ts';
import { attempt } from '../source/system.ts';
import type { StatisticsKind } from '../statistics/matrices.ts';
import { bytesText, counted, countText, durationText } from '../terminal/figures.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson, printJsonText } from '../terminal/print.ts';
import { alphasText } from '../terminal/report.ts';
import { byteSize, parseInteger, UsageError } from '../terminal/usage.ts';
import { costOf, watchMeasuring } from './common/measurement.ts';
import { addPart, type PartOptions, partFrom } from './common/part.ts';
import { Interrupted, loadHiggs, threadsOption } from './common/session.ts';

interface Options extends PartOptions {
  output?: string;
  estimator: 'fisher' | 'noise';
  source?: 'model' | 'random';
  text?: string;
  tokens?: number;
  sequences?: number;
  draws?: number;
  levels?: number[];
  seed: number;
  threads: number;
  memory?: number;
  statistics?: string;
  statisticsMode?: 'both' | 'inputs';
  group?: number;
  dryRun?: boolean;
  resume?: boolean;
  force?: boolean;
  all?: boolean;
  json?: boolean;
}

const SOURCES = { model: 'tokens from the model', random: 'random tokens', text: 'tokens of the text' };
/** Rows of the table that is printed: the file has all. */
const ROWS = 10;

/** Adds the verb `sensitivity`. */
export function addSensitivity(program: Command): void {
  const { fisher, noise } = DEFAULTS;
  const command = program
    .command('sensitivity')
    .summary('measure what an error in each weight costs')
    .description(
      'Measures for each linear weight what a unit of relative error costs the model. It does so on tokens that the model samples, or on a text. Plans choose grids from the file that it writes. After Ctrl-C the same command with --resume continues.',
    )
    .argument(
      '<model>',
      'a checkpoint’s directory, not quantized, with its configuration, a .gguf file, or hf:org/model',
    )
    .optionsGroup(GROUPS.output)
    .option('-o, --output <file>', 'where to write the sensitivities, as JSON')
    .option('--dry-run', 'say how long it would take, from the speed of single steps; reads headers only')
    .option('--resume', 'continue an interrupted run that had the same options')
    .option('--force', 'replace an existing file, or what an interrupted run left')
    .optionsGroup(GROUPS.measuring)
    .addOption(
      new Option('--estimator <name>', 'all weights at once by gradients, or one after the other by noise')
        .choices(['fisher', 'noise'])
        .default('fisher'),
    )
    .option('--text <file>', 'a text in UTF-8 to measure on')
    .addOption(
      new Option(
        '--source <name>',
        'tokens without a text: sampled from the model, or uniformly random (model)',
      ).choices(['model', 'random']),
    )
    .addOption(
      new Option('--tokens <n>', `tokens of a sequence (${DEFAULTS.tokens}, or the model’s context)`).argParser(
        parseInteger(2, 2 ** 24),
      ),
    )
    .addOption(
      new Option('--sequences <n>', `sequences (fisher ${fisher.sequences}, noise ${noise.sequences})`).argParser(
        parseInteger(1, 65535),
      ),
    )
    .addOption(
      new Option(
        '--draws <n>',
        `labels or noises drawn for a sequence (fisher ${fisher.draws}, noise ${noise.draws})`,
      ).argParser(parseInteger(1, 65535)),
    )
    .addOption(new Option('--levels <list>', `t² of the noise (${DEFAULTS.levels.join(',')})`).argParser(numbers))
    .addOption(
      new Option('--seed <n>', 'seed of all random choices').argParser(parseInteger(0, 2 ** 32 - 1)).default(0),
    )
    .optionsGroup('Statistics:')
    .option('--statistics <file>', 'gather statistics of inputs and gradients of each weight too, as safetensors')
    .addOption(
      new Option(
        '--statistics-mode <name>',
        'of inputs and gradients, or of inputs alone, which measures nothing else (both)',
      ).choices(['both', 'inputs']),
    )
    .addOption(
      new Option(
        '--group <n>',
        'columns of a group, as for quantize; statistics of wide inputs are cut into groups (1024)',
      ).argParser(parseInteger(GROUP_SIZES.low, GROUP_SIZES.high)),
    )
    .optionsGroup(GROUPS.machine)
    .addOption(threadsOption())
    .addOption(
      new Option(
        '--memory <size>',
        'most memory; a larger model is loaded one piece at a time (what is free)',
      ).argParser(byteSize),
    );
  addPart(command);
  addPrinting(command, 'print the figures as JSON', 'a row for every tensor');
  addExamples(command, [
    ['higgs sensitivity Llama-3.2-1B -o alphas.json'],
    ['higgs sensitivity Llama-3.2-1B --dry-run'],
    ['higgs sensitivity Llama-3.2-1B -o alphas.json --text wiki.train.raw --sequences 32'],
    ['higgs sensitivity Llama-3.2-1B -o alphas.json --sequences 128 --statistics stats.safetensors'],
    ['higgs sensitivity Llama-3.2-1B -o alphas.json --resume', 'after Ctrl-C or a crash'],
    ['higgs sensitivity Llama-3.1-8B -o alphas.json --part 3/8', 'one of eight tasks; then higgs merge alphas.json'],
  ]).action(sensitivity);
}

async function sensitivity(path: string, options: Options): Promise<void> {
  const { output, source, text, tokens, sequences, draws, levels, estimator, seed, threads, memory } = options;
  const { statistics, statisticsMode: mode, group } = options;
  if ((mode ?? group) !== undefined && statistics === undefined)
    throw new UsageError('--statistics-mode and --group must come with --statistics');
  if (statistics !== undefined && estimator !== 'fisher')
    throw new UsageError('--statistics must come with --estimator fisher');
  const isInputs = mode === 'inputs';
  if (isInputs && output !== undefined)
    throw new UsageError('--output must come without --statistics-mode inputs, which measures no sensitivities');
  if (!options.dryRun && !isInputs && output === undefined)
    throw new UsageError('--output must be given, or --dry-run');
  if (source !== undefined && text !== undefined) throw new UsageError('--source must come without --text');
  if (levels && estimator !== 'noise') throw new UsageError('--levels must come with --estimator noise');
  const part = partFrom(options);
  if (part && statistics !== undefined)
    throw new UsageError('--statistics must come without --part: they are one sum over all sequences');
  if (part && !options.dryRun && !options.force && (await isThere(partFile(output!, part)))) {
    await removeUnfinished(partFile(output!, part));
    if (options.json) printJson({ part: part.index, parts: part.count, done: true });
    else print(`part ${part.index} of ${part.count} is complete already: ${output}`);
    return;
  }
  const settings: SensitivitySettings = {
    ...{ estimator, seed },
    ...(source !== undefined && { source }),
    ...(tokens !== undefined && { tokens }),
    ...(sequences !== undefined && { sequences }),
    ...(draws !== undefined && { draws }),
    ...(levels && { levels }),
  };
  const kind = statistics !== undefined && { ...(mode && { mode }), ...(group && { groupSize: group }) };
  const input = await openModel(path);
  try {
    const content = text === undefined ? undefined : await readTextFile(text);
    if (content !== undefined) settings.text = content;
    if (options.dryRun) {
      const checkpoint = await (await loadHiggs()).open(input.folder);
      const cost = await costOf(checkpoint, { ...settings, ...(kind && { statistics: kind }) }, threads, memory);
      if (options.json) printJson(cost);
      else print(costText(cost));
      return;
    }
    const name = basename(input.path);
    const began = performance.now();
    const measuring = { ...settings, name, ...(part && { part }) };
    const to = part ? { ...options, output: partFile(output!, part) } : options;
    const { alphas, bytes } = await measure(input.folder, measuring, to, kind || {});
    const seconds = (performance.now() - began) / 1000;
    if (options.json && isInputs) printJson({ statistics, bytes });
    else if (options.json) printJsonText(writeAlphas(alphas));
    else {
      if (!isInputs) print(alphasText(alphas, to.output!, seconds, options.all ? alphas.tensors.size : ROWS));
      if (statistics !== undefined) print(`${statistics}: statistics, ${bytesText(bytes)}`);
    }
  } finally {
    await input.folder.close();
  }
}

// What a run left that died when its file was complete.
async function removeUnfinished(output: string): Promise<void> {
  await replacedFile(`${output}.partial.sequence`).remove();
  await attempt('remove', `${output}.partial`, () => rm(`${output}.partial`, { force: true }));
}

// @returns sensitivities, and the bytes of the file of statistics
async function measure(
  folder: Folder,
  settings: SensitivityOptions,
  options: Options,
  kind: Partial<StatisticsKind>,
): Promise<{ alphas: Alphas; bytes: number }> {
  const { output, statistics, threads, memory, force = false } = options;
  const unfinished = output === undefined ? `${statistics}.tokens.partial` : `${output}.partial`;
  if (statistics !== undefined) await claim(statistics, `${statistics}.partial`, options);
  const partial = (await claim(output, unfinished, options)) ? await readTextFile(unfinished) : undefined;
  const growing = statistics === undefined ? undefined : await growingFile(statistics, options);
  const underway = growing ? undefined : replacedFile(`${unfinished}.sequence`);
  if (partial === undefined) await underway?.remove();
  let isSaved = partial !== undefined;
  const save = async (content: string) => {
    await writeAtomically(unfinished, content, { force: true });
    isSaved = true;
  };
  try {
    const checkpoint = await (await loadHiggs()).open(folder);
    const gathered = growing && { statistics: { ...kind, output: growing } };
    const resumed = {
      ...settings,
      ...gathered,
      ...(partial !== undefined && { partial }),
      ...(underway && { underway }),
    };
    let content: string | undefined; // of a part
    const onPart = (path: string) => {
      content = path;
    };
    const alphas = await watchMeasuring(
      checkpoint,
      threads,
      (watching) => saving(save, (onPartial) => checkpoint.sensitivity({ ...resumed, ...watching, onPartial, onPart })),
      memory,
    );
    // A task that ran twice at once has written the same.
    const isTwice = settings.part && output !== undefined && (await isThere(output));
    if (output !== undefined)
      await writeAtomically(output, content ?? writeAlphas(alphas), { force: force || isTwice === true });
    const bytes = growing ? await growing.commit() : 0;
    await underway?.remove();
    await attempt('remove', unfinished, () => rm(unfinished, { force: true }));
    return { alphas, bytes };
  } catch (error) {
    const files = [
      ...(isSaved ? [unfinished] : []),
      ...((await underway?.isThere()) ? [underway!.name] : []),
      ...((await growing?.isThere()) ? [`${statistics}.partial`] : []),
    ];
    const kept = `what is measured is kept in ${files.join(' and ')}; run again with --resume to continue`;
    if (error instanceof Interrupted && files.length > 0) error.message = `interrupted; ${kept}`;
    throw error;
  } finally {
    await underway?.close();
    await growing?.close();
  }
}

// Whether the run goes on with what an interrupted one left.
async function claim(
  output: string | undefined,
  unfinished: string,
  { resume = false, force = false }: Options,
): Promise<boolean> {
  if (output === undefined) return resume && isThere(unfinished);
  if (!force && (await isThere(output)) && (await isThere(unfinished))) {
    const hint = 'give --resume with --force to continue it and replace that, or --force to start again';
    throw new FileError(
      'write',
      output,
      undefined,
      `it already exists, and ${unfinished} holds an interrupted run; ${hint}`,
    );
  }
  await checkWritable(output, { force });
  if (!(await isThere(unfinished))) return false;
  if (resume || force) return resume;
  const hint = 'give --resume to continue it, or --force to start again';
  throw new FileError('write', output, undefined, `${unfinished} holds an interrupted run; ${hint}`);
}

function numbers(text: string): number[] {
  const values = text.split(',').map(Number);
  if (values.some((value) => !(value > 0))) throw new InvalidArgumentError('must be numbers such as 0.01,0.03.');
  return values;
}

function costText(cost: SensitivityCost): string {
  const { estimator, source, tokens, sequences, draws, matrices, weights, bytes, threads, seconds } = cost;
  const { bytesRead, readSeconds, copyBytes, copySeconds, statisticsBytes } = cost;
  const reading = `about ${durationText(readSeconds)} more`;
  const more = [
    ...(bytesRead > 0 ? [`one piece of the model at a time: ${bytesText(bytesRead)} are read, ${reading}`] : []),
    ...(bytesRead === 0 && readSeconds >= 1 ? [`the weights are read once: ${reading}`] : []),
    ...(copyBytes > 0
      ? [
          `a copy at 4 bits, ${bytesText(copyBytes)}, samples the tokens before: about ${durationText(copySeconds)} more to make it`,
        ]
      : []),
    ...(statisticsBytes ? [`statistics: a file of ${bytesText(statisticsBytes)}`] : []),
  ];
  return (
    `${estimator}: ${matrices === 1 ? '1 matrix' : `${matrices} matrices`} of ${countText(weights)} weights, ${counted(sequences, 'sequence')} of ${tokens} ${SOURCES[source]}, ${counted(draws, 'draw')}\n` +
    `about ${durationText(seconds)} on ${counted(threads, 'thread')}, ${bytesText(bytes)} of memory${more.map((line) => `\n${line}`).join('')}`
  );
}
