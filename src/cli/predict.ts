// higgs predict: the loss that the theorem predicts, of a plan or of what was measured when quantizing.

import type { Command } from 'commander';
import { largeGrids } from '../grids/large.ts';
import { smallGrids } from '../grids/small.ts';
import { type Prediction, predict, sensitivitiesOf } from '../linearity/predict.ts';
import { addSensitivities, planFrom, type SensitivityOptions, sensitivitiesFor } from './budget.ts';
import { openInput } from './input.ts';
import { loadAll } from './run.ts';
import { lossText, table } from './terminal.ts';
import { UsageError } from './usage.ts';

interface Options extends SensitivityOptions {
  plan?: string;
  json?: boolean;
}

export function addPredict(program: Command): void {
  const command = program
    .command('predict')
    .summary('predict the loss of a plan, or of a quantized checkpoint')
    .description(
      'Predicts by how much the loss grows: Σ α t². Of a quantized checkpoint t² is what was measured; of one that is not\n' +
        'quantized yet, the MSE of each grid of the plan. α comes from the plan, or from the options.',
    )
    .argument('<input>', 'a checkpoint’s directory, or one .safetensors file')
    .option('--plan <file>', 'a plan, as JSON');
  addSensitivities(command)
    .option('--json', 'print as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ higgs predict Llama-3.2-1B --plan plan.json
  $ higgs predict Llama-3.2-1B-higgs --alphas alphas.json`,
    )
    .action(run);
}

async function run(path: string, options: Options): Promise<void> {
  const input = await openInput(path);
  try {
    const prediction = await predictionOf(input.folder, options);
    process.stdout.write(`${options.json ? JSON.stringify(prediction) : predictionText(prediction)}\n`);
  } finally {
    await input.folder.close();
  }
}

async function predictionOf(
  folder: Parameters<Awaited<ReturnType<typeof loadAll>>['inspectCheckpoint']>[0],
  options: Options,
) {
  const higgs = await loadAll();
  const plan = options.plan === undefined ? undefined : await planFrom(options.plan);
  const found = await higgs.inspectCheckpoint(folder);
  const isGiven = options.alphas !== undefined || options.prior || options.uniform;
  if (!found.quantized) {
    if (!plan) throw new UsageError('--plan must be given: the checkpoint is not quantized');
    await higgs.planCheckpoint(folder, { plan }); // whether the plan is of this checkpoint
  }
  const measured = found.tensors.flatMap(({ name, shape, relativeError }) =>
    relativeError === undefined ? [] : [{ name, shape, relativeError }],
  );
  const mse = new Map([...smallGrids, ...largeGrids].map((grid) => [grid.name, grid.mse]));
  const planned = plan?.tensors.map(({ name, shape, grid }) => ({ name, shape, relativeError: mse.get(grid)! })) ?? [];
  const tensors = found.quantized ? measured : planned;
  return predict(tensors, sensitivitiesOf(plan && !isGiven ? plan : await sensitivitiesFor(options, tensors)));
}

function predictionText(prediction: Prediction): string {
  const { tensors, delta, base, total, unknown } = prediction;
  const rows = tensors.map(({ name, relativeError, alpha, delta }) => [
    name,
    relativeError.toPrecision(4),
    alpha.toPrecision(3),
    delta.toPrecision(3),
  ]);
  return [
    table(['tensor', 't²', 'α', 'predicted'], rows),
    '',
    `${lossText(prediction, delta)}${total === null ? '' : `: ${base} → ${total.toPrecision(6)}`}`,
    ...(unknown.length > 0 ? [`${unknown.length} tensors of no known sensitivity are not in the prediction`] : []),
  ].join('\n');
}
