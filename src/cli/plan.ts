// higgs plan: a grid for every tensor, chosen for a budget.

import { type Command, Option } from 'commander';
import { checkWritable, writeWhole } from '../disk/commit.ts';
import { openInput } from '../disk/input.ts';
import { show } from '../excerpt.ts';
import type { Tradeoff } from '../linearity/allocate.ts';
import { alphasOf, type BitPlan, writeBitPlan } from '../linearity/plan.ts';
import { stackOf } from '../quantize/select.ts';
import { bytesText, counted, countText, lossText, precise, table } from '../terminal/figures.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { layerTables } from '../terminal/layers.ts';
import { plotOf } from '../terminal/plot.ts';
import { columns, print, printJson, warn } from '../terminal/print.ts';
import { gridCell } from '../terminal/report.ts';
import { byteSize, integer, UsageError } from '../terminal/usage.ts';
import { addBits, type BitOptions, budgetOf, planningAlphas, unusedText } from './common/budget.ts';
import { addSelection, type SelectionOptions, selectionOf } from './common/selection.ts';
import { cores, loadAll, WORKERS_LIMIT } from './common/session.ts';

interface Options extends SelectionOptions, BitOptions {
  output?: string;
  plot?: string;
  maxShardSize: number;
  threads: number;
  force?: boolean;
  all?: boolean;
  json?: boolean;
}

export function addPlan(program: Command): void {
  const command = program
    .command('plan')
    .summary('choose the grid of every tensor for a budget of bits')
    .description(
      'Chooses, exactly, the grids that predict the least loss within a budget: loss grows by Σ α t², with t² the MSE of a tensor’s grid and α its sensitivity. `quantize --plan` carries the plan out. Sensitivities that are not given are measured, and kept beside the model as higgs-alphas.json; else only headers are read.',
    )
    .argument('<input>', 'a checkpoint’s directory, a .safetensors or a .gguf file');
  command
    .optionsGroup(GROUPS.output)
    .option('-o, --output <file>', 'write the plan, as JSON')
    .option('--plot <file>', 'draw the trade-off, as SVG')
    .addOption(new Option('--max-shard-size <size>', 'largest output file').argParser(byteSize).default(5e9, '5GB'))
    .option('--force', 'replace existing files');
  addSelection(addBits(command))
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option('--threads <n>', 'threads to measure on')
        .argParser(integer(1, WORKERS_LIMIT))
        .default(cores(), 'the cores'),
    );
  addPrinting(command, 'print the plan and the trade-off as JSON', 'a row for every tensor, with α and what it costs');
  addExamples(command, [
    ['higgs plan Llama-3.2-1B --bpw 3.25 -o plan.json'],
    ['higgs plan Llama-3.2-1B --bpw 3.25 --alphas alphas.json'],
    ['higgs plan Llama-3.2-1B --size 700MB --prior --embeddings p2n256 --plot tradeoff.svg'],
    ["higgs plan Llama-3.2-1B --bpw 4 --uniform --grids p2n64,p2n256,p1n256 --keep 'layers\\.1\\..*down_proj=p1n256'"],
  ]).action(plan);
}

async function plan(path: string, options: Options): Promise<void> {
  const { output, plot, force = false } = options;
  if (output !== undefined && output === plot)
    throw new UsageError(`--output and --plot must be two files: got ${show(plot)}`);
  const input = await openInput(path);
  try {
    for (const file of [output, plot]) if (file !== undefined) await checkWritable(file, { force });
    const higgs = await loadAll();
    const checkpoint = await higgs.open(input.folder);
    const budget = budgetOf(options);
    if (!budget) throw new UsageError('--bpw or --size must be given');
    const settings = { ...selectionOf(options), ...budget, maxShardBytes: options.maxShardSize };
    const alphas = await planningAlphas(options, checkpoint, input, options);
    const plan = await checkpoint.planBits(alphas, settings);
    const tensors = await checkpoint.planTensors(settings);
    const tradeoff = higgs.tradeoff(tensors, alphasOf(plan), settings);
    const { bytesOut } = await checkpoint.plan({ plan, maxShardBytes: options.maxShardSize });
    if (output !== undefined) await writeWhole(output, writeBitPlan(plan), { force });
    if (plot !== undefined) await writeWhole(plot, plotOf(plan, tradeoff), { force });
    const unused = unusedText(options, plan.tensors, { bpw: plan.bpw, bytes: bytesOut });
    if (unused) warn(unused);
    if (options.json) printJson({ plan, tradeoff, bytesOut });
    else {
      const further = tensors.filter(({ like }) => like !== undefined).length;
      print(
        planText(plan, tradeoff, bytesOut, {
          further,
          stacked: options.experts === 'stack',
          all: options.all ?? false,
        }),
      );
    }
  } finally {
    await input.folder.close();
  }
}

/** What else is told of a plan: tensors of layers that do not run, and whether experts are shown together. */
interface Told {
  further: number;
  stacked: boolean;
  /** Whether there is a row for every tensor. */
  all: boolean;
}

function planText(plan: BitPlan, tradeoff: Tradeoff, bytesOut: number, { further, stacked, all }: Told): string {
  const { tensors, bpw, budget, predicted, gap, uniform } = plan;
  const weights = tensors.reduce((sum, { shape }) => sum + shape.reduce((count, size) => count * size, 1), 0);
  const figure = (value: number | null) => (value === null ? '?' : precise(value, 3));
  const shown = stacked ? together(tensors) : tensors;
  const rows = shown.map(({ name, grid, bpw, alpha, predicted }) => [
    ...[name, grid, bpw.toFixed(2), figure(alpha), figure(predicted)],
  ]);
  const proof = gap === 0 ? 'no plan predicts less' : `no plan predicts less by more than ${gap.toPrecision(2)}`;
  const compared = uniform
    ? `${uniform.grid} for all: ${uniform.bpw.toFixed(4)} bits per weight, predicted ${precise(uniform.predicted, 4)}${times(uniform.predicted, predicted)}`
    : 'no single grid for all is within this budget';
  const unknown = tensors.filter(({ alpha }) => alpha === null).length;
  return [
    all
      ? table(['tensor', 'grid', 'bpw', 'α', 'predicted'], rows, [0, 1])
      : layerTables(shown.map(gridCell), columns()),
    '',
    `${countText(weights)} weights at ${bpw.toFixed(4)} of ${Number(budget.toFixed(4))} bits per weight, ${lossText(plan, predicted)}: ${proof}`,
    ...(unknown > 0
      ? [`${counted(unknown, 'tensor')} of no known sensitivity ${unknown === 1 ? 'is' : 'are'} not in the prediction`]
      : []),
    ...(further > 0
      ? [
          `${counted(further, 'tensor')} of layers behind the last, which do not run, ${further === 1 ? 'counts' : 'count'} as the like ones of the last layer`,
        ]
      : []),
    compared,
    `${bytesText(bytesOut)} of safetensors files`,
    '',
    table(['bpw', 'predicted', 'one grid', 'predicted', '×'], curveRows(tradeoff), []),
  ].join('\n');
}

// An entry for the experts of each layer and kind that have one grid.
function together(tensors: BitPlan['tensors']): BitPlan['tensors'] {
  const stacks = new Map<string, BitPlan['tensors'][number]>();
  for (const tensor of tensors) {
    const name = stackOf(tensor.name);
    const key = `${name} ${tensor.shape} ${tensor.grid}`;
    const { alpha, predicted } = stacks.get(key) ?? { alpha: 0, predicted: 0 };
    const sum = (a: number | null, b: number | null) => (a === null || b === null ? null : a + b);
    stacks.set(key, {
      ...{ ...tensor, name },
      ...{ alpha: sum(alpha, tensor.alpha), predicted: sum(predicted, tensor.predicted) },
    });
  }
  return [...stacks.values()];
}

// The trade-off: of each quarter of a bit the best plan, and the best single grid.
function curveRows({ exact, uniform }: Tradeoff): string[][] {
  return exact.map(({ bpw, predicted }) => {
    const one = uniform
      .filter((point) => point.bpw <= bpw)
      .reduce((best, point) => (point.predicted < best.predicted ? point : best), {
        grid: '',
        bpw: 0,
        predicted: Infinity,
      });
    const found =
      one.grid === '' ? ['', '', ''] : [one.grid, precise(one.predicted, 4), (one.predicted / predicted).toFixed(2)];
    return [bpw.toFixed(2), precise(predicted, 4), ...found];
  });
}

function times(other: number, own: number): string {
  return own > 0 ? `, ${(other / own).toFixed(2)} × as much` : '';
}
