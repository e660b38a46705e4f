// higgs plan: a grid for every tensor, chosen for a budget.

import { type Command, Option } from 'commander';
import { checkWritable, writeAtomically } from '../disk/commit.ts';
import { openInput } from '../disk/input.ts';
import { show } from '../excerpt.ts';
import { alphasOf, writeBitPlan } from '../linearity/plan.ts';
import { PARTS_LIMIT, sharesOf } from '../parts/shares.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { bitPlanText } from '../terminal/planned.ts';
import { plotOf } from '../terminal/plot.ts';
import { note, print, printJson, warn } from '../terminal/print.ts';
import { shareRow, sharesText } from '../terminal/shares.ts';
import { byteSize, parseInteger, UsageError } from '../terminal/usage.ts';
import { adviceOf, adviceRemarks, adviceText } from './common/advice.ts';
import { addBits, type BitOptions, budgetOf, planningAlphas, unusedText } from './common/budget.ts';
import { planForGguf } from './common/ggufplan.ts';
import { addSelection, type SelectionOptions, selectionOf } from './common/selection.ts';
import { loadHiggs, threadsOption } from './common/session.ts';

interface Options extends SelectionOptions, BitOptions {
  output?: string;
  plot?: string;
  maxShardSize: number;
  threads: number;
  force?: boolean;
  all?: boolean;
  advise?: boolean;
  parts?: number;
  format?: 'gguf';
  types?: string[];
  imatrix?: boolean | string;
  json?: boolean;
}

/** Adds the verb `plan`. */
export function addPlan(program: Command): void {
  const command = program
    .command('plan')
    .summary('choose the grid of every tensor, for a given size')
    .description(
      'Chooses the grids with the least predicted loss for a given size, exactly. The loss grows by Σ α t²: t² is the MSE of a tensor’s grid and α its sensitivity. `quantize --plan` carries the plan out. Sensitivities that you do not give are measured, and kept beside the model as higgs-alphas.json. Otherwise only headers are read.',
    )
    .argument('<input>', 'a checkpoint’s directory, a .safetensors or a .gguf file, or hf:org/model');
  command
    .optionsGroup(GROUPS.output)
    .option('-o, --output <file>', 'write the plan, as JSON')
    .option('--plot <file>', 'draw the trade-off, as SVG')
    .addOption(new Option('--max-shard-size <size>', 'largest output file').argParser(byteSize).default(5e9, '5GB'))
    .option('--force', 'replace existing files')
    .addOption(
      new Option('--parts <n>', 'also show the shares of quantize --part').argParser(parseInteger(1, PARTS_LIMIT)),
    );
  command
    .optionsGroup(GROUPS.gguf)
    .addOption(
      new Option('--format <format>', 'plan types for llama-quantize: its --tensor-type-file').choices(['gguf']),
    )
    .option('--types <list>', 'types to choose from, separated by commas (all)', (text) => text.split(','))
    .option(
      '--imatrix [file]',
      'the importance matrix for llama-quantize, from tokens that the model samples (beside the output); without a file: you have one',
    )
    .option('--no-imatrix', 'plan without an importance matrix: faster, and the model loses more');
  addSelection(addBits(command))
    .optionsGroup(GROUPS.measuring)
    .option('--advise', 'also show size, memory, speed and loss of the plan and of whole bits, as `higgs advise` does')
    .optionsGroup(GROUPS.machine)
    .addOption(threadsOption('threads to measure on'));
  addPrinting(command, 'print the plan and the trade-off as JSON', 'a row for every tensor, with α and what it costs');
  addExamples(command, [
    ['higgs plan Llama-3.2-1B --bpw 3.25 -o plan.json'],
    ['higgs plan Llama-3.2-1B --bpw 3.25 --alphas alphas.json'],
    ['higgs plan Llama-3.2-1B --size 700MB --prior --embeddings p2n256 --plot tradeoff.svg'],
    ['higgs plan DeepSeek-V3 --bpw 3.5 --alphas alphas.json --parts 64', 'what each of 64 tasks would do'],
    ["higgs plan Llama-3.2-1B --bpw 4 --uniform --grids p2n64,p2n256,p1n256 --keep 'layers\\.1\\..*down_proj=p1n256'"],
    ['higgs plan Llama-3.2-1B --format gguf --bpw 4.5 -o types.txt'],
    ['higgs plan Llama-3.2-1B --format gguf --bpw 4.5 --no-imatrix -o types.txt'],
  ]).action(plan);
}

async function plan(path: string, options: Options): Promise<void> {
  const { output, plot, force = false } = options;
  if (options.format) return planForGguf(path, options);
  const ofTypes = options.types ? '--types' : options.imatrix !== undefined ? '--imatrix' : undefined;
  if (ofTypes) throw new UsageError(`${ofTypes} must come with --format gguf`);
  if (output !== undefined && output === plot)
    throw new UsageError(`--output and --plot must be two files: got ${show(plot)}`);
  const input = await openInput(path);
  try {
    for (const file of [output, plot]) if (file !== undefined) await checkWritable(file, { force });
    const higgs = await loadHiggs();
    const checkpoint = await higgs.open(input.folder);
    const budget = budgetOf(options);
    if (!budget) throw new UsageError('--bpw or --size must be given');
    const settings = { ...selectionOf(options), ...budget, maxShardBytes: options.maxShardSize };
    const alphas = await planningAlphas(options, checkpoint, input, options);
    const plan = await checkpoint.planBits(alphas, settings);
    const tensors = await checkpoint.planTensors(settings);
    const tradeoff = higgs.tradeoff(tensors, alphasOf(plan), settings);
    const whole = await checkpoint.plan({ plan, maxShardBytes: options.maxShardSize });
    const { bytesOut } = whole;
    const shares = options.parts === undefined ? undefined : sharesOf(whole, options.parts);
    if (output !== undefined) await writeAtomically(output, writeBitPlan(plan), { force });
    if (plot !== undefined) await writeAtomically(plot, plotOf(plan, tradeoff), { force });
    const unused = unusedText(options, plan.tensors, { bpw: plan.bpw, bytes: bytesOut });
    if (unused) warn(unused);
    const advice = options.advise
      ? await adviceOf(checkpoint, input, {
          ...{ alphas, threads: options.threads, bits: [2, 3, Number(plan.bpw.toFixed(2)), 4].sort((a, b) => a - b) },
          ...(options.embeddings !== undefined && { embeddings: options.embeddings }),
        })
      : undefined;
    if (options.json) {
      const more = { ...(advice && { sizes: advice.sizes }), ...(shares && { parts: shares.map(shareRow) }) };
      printJson({ plan, tradeoff, bytesOut, ...more });
    } else {
      const further = tensors.filter(({ like }) => like !== undefined).length;
      print(
        bitPlanText(plan, tradeoff, bytesOut, {
          further,
          stacked: options.experts === 'stack',
          all: options.all ?? false,
        }),
      );
      if (shares) print(`\n${sharesText(shares)}`);
      if (advice) {
        print(`\n${adviceText(advice)}`);
        for (const line of adviceRemarks(advice)) note(line);
      }
    }
  } finally {
    await input.folder.close();
  }
}
