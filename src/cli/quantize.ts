// higgs quantize: a plan for a budget if there is one, an output that is whole or not there, and the report.

import { type Command, Option } from 'commander';
import { type Input, identityOf, openInput } from '../disk/input.ts';
import { canResume, checkOutput, checkWhole, stageOutput } from '../disk/output.ts';
import { contentIdentity } from '../disk/parts.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import type { BudgetOptions } from '../linearity/options.ts';
import type { CheckpointOptions, OpenCheckpoint, QuantizeReport } from '../open.ts';
import { planPart } from '../parts/shares.ts';
import { encodingSeconds, refiningSeconds } from '../quantize/cost.ts';
import type { Plan } from '../quantize/plan.ts';
import { DEFAULT_GRIDS, DEFAULT_GROUP_SIZE } from '../quantize/scheme.ts';
import type { RefineOptions } from '../refinement/gather.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson, say, warn } from '../terminal/print.ts';
import { needText, planJson, planText, type RunNeed, reportText, type TimedReport } from '../terminal/report.ts';
import { byteSize, gridBits, gridName, parseInteger, repoName, UsageError } from '../terminal/usage.ts';
import { type AdditionOptions, additionsOf, tellCard, writeAdditions } from './common/additions.ts';
import {
  addBits,
  alphasFrom,
  type BitOptions,
  budgetOf,
  planFrom,
  planningAlphas,
  unusedText,
} from './common/budget.ts';
import {
  addText,
  type Comparison,
  compareOnText,
  comparisonText,
  openText,
  type TextChoice,
} from './common/comparison.ts';
import { addPart, type PartOptions, partFrom } from './common/part.ts';
import {
  addRefining,
  checkRefining,
  type Gathered,
  gatheringText,
  gatherToRefine,
  type RefiningChoice,
  refiningCost,
  refiningOf,
} from './common/refining.ts';
import { addSelection, type SelectionOptions, selectionOf } from './common/selection.ts';
import { cores, Interrupted, loadHiggs, showsWriting, WORKERS_OPTION_LIMIT, withSession } from './common/session.ts';
import { checkPart, writePart } from './common/writing.ts';

interface Options extends SelectionOptions, BitOptions, TextChoice, RefiningChoice, AdditionOptions, PartOptions {
  scaleSearch?: boolean;
  output?: string;
  grid?: string;
  bits?: number;
  plan?: string;
  workers: number;
  maxShardSize: number;
  dryRun?: boolean;
  resume?: boolean;
  force?: boolean;
  all?: boolean;
  json?: boolean;
}

/** Adds the verb `quantize`. */
export function addQuantize(program: Command): void {
  const command = program
    .command('quantize')
    .summary('quantize a checkpoint')
    .description(
      'Quantizes the linear weights of a Hugging Face checkpoint (safetensors, one file or sharded). Everything else, embeddings included, is copied bit by bit, with configuration and tokenizer. Memory stays small, whatever the checkpoint’s size. With --bpw or --size, sensitivities that you do not give are measured first, and kept beside the model as higgs-alphas.json.',
    )
    .argument('<input>', 'a checkpoint’s directory, a .safetensors or a .gguf file, or hf:org/model')
    .optionsGroup(GROUPS.output)
    .option('-o, --output <path>', 'where to write: a directory (or a .safetensors file, if the input is one)')
    .addOption(new Option('--max-shard-size <size>', 'largest output file').argParser(byteSize).default(5e9, '5GB'))
    .option(
      '--base-model <name>',
      'org/model of the original on the hub, for the card (its own name, if it is from there)',
      repoName,
    )
    .option('--transformers', 'also write higgs_wasm.py, with which transformers 5 loads the result')
    .option('--dry-run', 'say what would be done, read headers only, write nothing')
    .option('--resume', 'continue an interrupted run that had the same options')
    .option('--force', 'replace an existing output, or what an interrupted run left')
    .optionsGroup('Which grid:')
    .addOption(new Option('--bits <n>', 'the default grid of 2 to 6 bits (4)').argParser(gridBits))
    .addOption(new Option('--grid <name>', 'any grid that higgs grids lists').argParser(gridName).conflicts('bits'))
    .addOption(
      new Option('--plan <file>', 'the grids of a plan that higgs plan wrote').conflicts([
        'grid',
        'bits',
        'bpw',
        'size',
      ]),
    );
  command.option(
    '--scale-search',
    'try five scales for each group, take the best: up to 3 % less error, six times the work',
  );
  addText(addRefining(addBits(addSelection(command))), 'a text in UTF-8, to measure the original and the result on')
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option('--workers <n>', 'worker threads')
        .argParser(parseInteger(1, WORKERS_OPTION_LIMIT))
        .default(cores(), 'the cores'),
    );
  addPart(command);
  addPrinting(command, 'print the report as JSON', 'a row for every tensor');
  addExamples(command, [
    ['higgs quantize Llama-3.2-1B -o Llama-3.2-1B-higgs', '4.02 bits per weight (t4); embeddings stay as they are'],
    ['higgs quantize Llama-3.2-1B -o small --bits 3 --embeddings t4', 'embeddings, too'],
    ['higgs quantize model.safetensors -o small.safetensors --grid t4q --scale-search'],
    ['higgs quantize Llama-3.2-1B -o mixed --bpw 3.25', 'measures what an error in each weight costs first'],
    ['higgs quantize Llama-3.2-1B -o mixed --bpw 3.25 --alphas alphas.json --text wiki.test.raw'],
    [
      'higgs quantize Llama-3.2-1B -o refined --bits 3 --refine',
      'half the loss at the same bits; takes several times as long',
    ],
    ["higgs quantize DeepSeek-R1 -o r1-higgs --exclude 'layers\\.[0-2]\\.' --dry-run"],
    ['higgs quantize Llama-3.2-1B -o Llama-3.2-1B-higgs --transformers', 'loads in Python, too'],
    ['higgs quantize Llama-3.2-1B -o Llama-3.2-1B-higgs --resume', 'after Ctrl-C or a crash'],
    ['higgs quantize DeepSeek-V3 -o v3-higgs --part 3/8', 'one of eight tasks; then higgs merge v3-higgs'],
  ]).action(quantize);
}

async function quantize(path: string, options: Options): Promise<void> {
  if (!options.dryRun && options.output === undefined) throw new UsageError('--output must be given, or --dry-run');
  const budget = budgetOf(options);
  checkTogether(options, budget !== undefined);
  const part = partFrom(options);
  const input = await openInput(path);
  let gathered: Gathered | undefined;
  try {
    const text = await openText(options, input);
    const fileName =
      options.dryRun || part ? undefined : await checkOutput(options.output!, input, outputOptions(options));
    const higgs = await loadHiggs();
    const checkpoint = await higgs.open(input.folder);
    const isFile = input.isFile && options.output?.endsWith('.safetensors');
    if (options.transformers && input.isFile)
      throw new UsageError('--transformers must come with a directory that has config.json: the input is a file');
    if (refiningOf(options) !== undefined) await readNamed(options);
    if (refiningOf(options) !== undefined && !options.dryRun) {
      const { groupSize = DEFAULT_GROUP_SIZE } = selectionOf(options);
      gathered = await gatherToRefine(checkpoint, input, { ...options, output: options.output!, groupSize });
    }
    const settings: CheckpointOptions = {
      ...(await choiceOf(checkpoint, input, budget, options, gathered?.refine)),
      maxShardBytes: isFile ? Number.MAX_SAFE_INTEGER : options.maxShardSize,
      ...(fileName !== undefined && { fileName: () => fileName }),
    };
    // Faults of the input come before any trace of an output.
    const whole =
      gathered && budget ? await weighedPlan(checkpoint, settings, options) : await checkpoint.plan(settings);
    if (!options.dryRun) checkMatches(whole, options);
    if (part && !options.dryRun) {
      const about = JSON.stringify(await additionsOf(input, options));
      const partIdentity = { ...part, input: await contentIdentity(input), ...(about !== undefined && { about }) };
      const isMade = await checkWhole(options.output!, input, { ...options, shards: whole.shards });
      return await writePart(checkpoint, whole, { ...options, part: partIdentity, out: options.output!, isMade });
    }
    const plan = part ? planPart(whole, part, settings, options.scaleSearch ?? false) : whole;
    if (options.dryRun) {
      const by = refiningOf(options);
      const gathering = by && (await refiningCost(checkpoint, input, options, selectionOf(options).groupSize));
      const seconds = await withSession('time', options.workers, ({ pool }) =>
        by ? refiningSeconds(plan, pool, by === 'both') : encodingSeconds(plan, pool, options.scaleSearch ?? false),
      );
      const need = await runNeed(() => checkpoint.copy({ planned: whole }).then(higgs.open));
      if (options.json) printJson({ ...planJson(plan), seconds, run: need, ...(gathering && { gathering }) });
      else {
        const text = planText(plan, { seconds, workers: options.workers }, options.all);
        print([text, ...(gathering ? [gatheringText(gathering)] : []), ...needText(need)].join('\n'));
      }
      return;
    }
    if (plan.items.some((item) => item.kind === 'quantize' && item.tensor.encoded))
      warn('the weights are quantized already, and errors add: take the original if you have it');
    const report = await writeQuantized(checkpoint, input, plan, options.output!, options);
    await gathered?.remove();
    const unused = budget && unusedText(options, report.tensors, { bpw: report.bpw, bytes: report.bytesOut });
    for (const warning of unused ? [unused, ...report.warnings] : report.warnings) warn(warning);
    await tell(report, input, text, options);
  } finally {
    await gathered?.close();
    await input.folder.close();
  }
}

// Files without which statistics would be gathered in vain.
async function readNamed(options: Options): Promise<void> {
  if (options.alphas !== undefined) await alphasFrom(options.alphas);
  if (options.plan !== undefined) await planFrom(options.plan);
}

// A budget by what feedback leaves of each weight's loss.
function weighedPlan(checkpoint: OpenCheckpoint, settings: CheckpointOptions, { workers }: Options): Promise<Plan> {
  return withSession('weigh', workers, ({ pool, signal, progress }) => {
    const onWeigh = (done: number, total: number) =>
      progress.update({ done, total, unit: 'matrices', bytes: 0, tensor: '' });
    return checkpoint.plan({ ...settings, refine: { ...(settings.refine as object), onWeigh }, pool, signal });
  });
}

// What running the result would take, or why it would not run here. Of what is no model, such as a file alone, there is nothing to say.
async function runNeed(copy: () => Promise<OpenCheckpoint>): Promise<RunNeed | undefined> {
  let reason: string | undefined;
  try {
    const checkpoint = await copy();
    const whole = await checkpoint.runMemory().catch((error) => {
      if (!(error instanceof RangeError)) throw error;
      reason = error.message;
      return checkpoint.runMemory({ memory: Number.MAX_SAFE_INTEGER }); // experts of a layer larger than a memory
    });
    const { bytes, memories, context, experts } = whole;
    const least = Math.ceil(bytes - (experts.resident - 1) * (experts.bytes / experts.count));
    return { bytes, memories, context, ...(experts.count > 0 && { leastBytes: least }), ...(reason && { reason }) };
  } catch (error) {
    if (error instanceof RangeError || error instanceof UnsupportedError) return { reason: reason ?? error.message };
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

// Of what was quantized there is a report, even if it cannot be measured on the text.
async function tell(report: TimedReport, input: Input, text: string | undefined, options: Options): Promise<void> {
  const { output, workers: threads, context, cache, all, json } = options;
  const { predicted } = report;
  let comparison: Comparison | undefined;
  if (!json) print(reportText(report, output!, all));
  try {
    if (text === undefined) return;
    comparison = await compareOnText(text, input, output!, predicted, { context, threads, cache });
    await tellCard(output!, input, report, comparison, options);
    if (!json) print(`\n${comparisonText(comparison, predicted)}`);
  } finally {
    if (json) printJson({ ...report, ...(comparison && { text: comparison }) });
  }
}

function checkMatches({ weights }: Plan, { include }: Pick<Options, 'include'>): void {
  if (weights === 0 && include)
    throw new UsageError('--include must match a tensor that can be quantized: it matches none');
}

// Options that say nothing without another, or beside it.
function checkTogether(options: Options, isBudget: boolean): void {
  const { plan, grid, bits, embeddings, include, exclude } = options;
  if (isBudget && (grid ?? bits) !== undefined)
    throw new UsageError('--bpw and --size choose grids: use --grids, not --grid or --bits');
  const chosen = [embeddings && '--embeddings', include && '--include', exclude && '--exclude'].find(Boolean);
  if (plan !== undefined && chosen)
    throw new UsageError(`--plan must come without ${chosen}: the plan says which tensors and which grids`);
  if (options.dryRun && options.transformers) throw new UsageError('--transformers must come without --dry-run');
  if (options.dryRun && options.text !== undefined) throw new UsageError('--text must come without --dry-run');
  checkRefining(options);
  checkPart(options);
  if (!isBudget) {
    const wanting = (
      ['alphas', 'prior', 'uniform', 'grids', 'keep', 'minBits', 'maxBits', 'experts', 'memory'] as const
    ).find((key) => options[key] !== undefined);
    const name = wanting?.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`);
    if (name) throw new UsageError(`--${name} must come with a budget: --bpw or --size`);
    if (embeddings === 'any') throw new UsageError('--embeddings any must come with a budget: --bpw or --size');
  }
}

// Which grids: by a plan, by a budget, or one for all.
async function choiceOf(
  checkpoint: OpenCheckpoint,
  input: Input,
  budget: BudgetOptions | undefined,
  options: Options,
  refine: RefineOptions | undefined,
): Promise<CheckpointOptions> {
  const { plan, grid, bits, workers, memory } = options;
  const keptOnly = options.dryRun ? '--dry-run' : options.part ? '--part' : undefined;
  const { groupSize, seed, signs, ...selection } = selectionOf(options);
  const scheme = { groupSize, seed, signs, ...(refine && { refine }) };
  if (plan !== undefined) return { ...scheme, plan: await planFrom(plan) };
  if (!budget) return { ...scheme, ...selection, grid: grid ?? DEFAULT_GRIDS[bits ?? 4] };
  if (refine?.alphas && !(options.alphas || options.prior || options.uniform))
    return { ...scheme, ...selection, ...budget };
  const alphas = await planningAlphas(options, checkpoint, input, { threads: workers, memory, keptOnly });
  return { ...scheme, ...selection, ...budget, alphas };
}

function outputOptions({ force, resume = false }: Writing) {
  return { force, resume };
}

/** Options of writing a quantized checkpoint. */
type Writing = Pick<Options, 'workers' | 'scaleSearch' | 'force' | 'resume'> &
  AdditionOptions & {
    /** Whether the next run of the verb goes on by itself. */
    goesOn?: boolean;
  };

/** Quantizes a checkpoint as it is planned, into a directory or file that takes its name in the end; progress is shown. */
export async function writeQuantized(
  checkpoint: OpenCheckpoint,
  input: Input,
  planned: Plan,
  out: string,
  options: Writing,
): Promise<TimedReport> {
  const { scaleSearch = false, goesOn = false } = options;
  return withSession('quantize', options.workers, async (session) => {
    const { higgs, pool, signal } = session;
    const identity = await identityOf(input);
    const staging = await stageOutput(out, input, { ...outputOptions(options), shards: planned.shards });
    const began = performance.now();
    let report: QuantizeReport;
    try {
      // Without a journal nothing says what a complete output was made from.
      if (staging.isBare) {
        const written = await higgs.open(staging.folder);
        await written.verify({ against: checkpoint, pool, signal });
      }
      report = await checkpoint.quantize(staging.folder, {
        planned,
        scaleSearch,
        pool,
        signal,
        resume: { identity, adopt: staging.isBare, keepJournal: true },
        onProgress: showsWriting(session),
      });
      await writeAdditions(staging.folder, report, await additionsOf(input, options));
    } catch (error) {
      const isFault = error instanceof FormatError || error instanceof UnsupportedError;
      const isChanged = identity !== (await identityOf(input).catch(() => undefined)); // nobody can go on with that
      if (isFault || isChanged || !(await canResume(staging))) {
        if (staging.isNew) await staging.discard();
        else await staging.leave();
        throw error;
      }
      await staging.leave();
      const again = goesOn ? 'run again' : 'run again with --resume';
      const kept = `what is done is kept in ${out}.partial; ${again} to continue`;
      if (error instanceof Interrupted) error.message = `interrupted; ${kept}`;
      else say(kept);
      throw error;
    }
    await staging.commit();
    return { ...report, seconds: (performance.now() - began) / 1000 };
  });
}
