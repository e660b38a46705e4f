// higgs predict: the loss that the theorem predicts, of a plan or of what was measured when quantizing; beside it what a text shows.

import type { Command } from 'commander';
import { type Input, openInput } from '../disk/input.ts';
import type { BitPlan } from '../linearity/plan.ts';
import { type Prediction, predict, type Sensitivities, sensitivitiesOf } from '../linearity/predict.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { predictionText } from '../terminal/report.ts';
import { UsageError } from '../terminal/usage.ts';
import { addSensitivities, namedAlphas, planFrom, type SensitivityChoice } from './common/budget.ts';
import { addText, compareOnText, comparisonText, openText, type TextChoice } from './common/comparison.ts';
import { keptSensitivities, WAYS } from './common/kept.ts';
import { loadHiggs, threadsOption } from './common/session.ts';

interface Options extends SensitivityChoice, TextChoice {
  plan?: string;
  against?: string;
  threads: number;
  all?: boolean;
  json?: boolean;
}

/** Adds the verb `predict`. */
export function addPredict(program: Command): void {
  const command = program
    .command('predict')
    .summary('predict the loss of a plan, or of a quantized checkpoint')
    .description(
      'Predicts by how much the loss grows: Σ α t². For a quantized checkpoint t² was measured, and a refined one has a weighted error instead. For one that is not quantized yet, t² is the MSE of each grid of the plan. α comes from the plan, from the options, or from what is kept beside the original. With a text it also measures perplexity and the KL divergence from the original.',
    )
    .argument('<input>', 'a checkpoint’s directory, a .safetensors or a .gguf file, or hf:org/model')
    .option('--plan <file>', 'a plan, as JSON')
    .option('--against <original>', 'what a quantized checkpoint was made of');
  addText(addSensitivities(command), 'a text in UTF-8, to measure what was predicted')
    .optionsGroup(GROUPS.machine)
    .addOption(threadsOption('threads to measure on'));
  addPrinting(command, 'print as JSON', 'a row for every tensor');
  addExamples(command, [
    ['higgs predict Llama-3.2-1B --plan plan.json'],
    ['higgs predict Llama-3.2-1B-higgs --alphas alphas.json'],
    ['higgs predict Llama-3.2-1B-higgs --against Llama-3.2-1B --text wiki.test.raw'],
  ]).action(run);
}

async function run(path: string, options: Options): Promise<void> {
  const input = await openInput(path);
  const original = options.against === undefined ? undefined : await openInput(options.against);
  try {
    const { prediction, isQuantized } = await predictionOf(input, original, options);
    if (isQuantized && options.text !== undefined && !original) {
      throw new UsageError('--text must come with --against: a prediction starts from the original’s perplexity');
    }
    const text = await openText(options, original ?? input);
    const comparison =
      text === undefined
        ? undefined
        : await compareOnText(text, original ?? input, isQuantized ? input : undefined, prediction, options);
    if (options.json) printJson({ ...prediction, ...(comparison && { text: comparison }) });
    else
      print(
        [
          predictionText(prediction, options.all ?? false),
          ...(comparison ? ['', comparisonText(comparison, prediction)] : []),
        ].join('\n'),
      );
  } finally {
    await input.folder.close();
    await original?.folder.close();
  }
}

async function predictionOf(
  input: Input,
  original: Input | undefined,
  options: Options,
): Promise<{ prediction: Prediction; isQuantized: boolean }> {
  const higgs = await loadHiggs();
  const plan = options.plan === undefined ? undefined : await planFrom(options.plan);
  const inspection = await higgs.inspectCheckpoint(input.folder);
  const isQuantized = inspection.quantized;
  if (!isQuantized) {
    if (!plan) throw new UsageError('--plan must be given: the checkpoint is not quantized');
    if (original) throw new UsageError('--against must come with a quantized checkpoint: this one is plain');
    await higgs.planCheckpoint(input.folder, { plan }); // whether the plan is of this checkpoint
  }
  // Of a refined weight its weighted error stands for t².
  const measured = inspection.tensors.flatMap(({ name, shape, relativeError, weightedError = relativeError }) =>
    weightedError === undefined ? [] : [{ name, shape, relativeError: weightedError }],
  );
  const planned =
    plan?.tensors.map(({ name, shape, grid }) => ({ name, shape, relativeError: higgs.grids.get(grid)!.mse })) ?? [];
  const tensors = isQuantized ? measured : planned;
  return { prediction: predict(tensors, await sensitivities(options, tensors, plan, original)), isQuantized };
}

// Those that are named; of the plan; kept beside the original.
async function sensitivities(
  options: Options,
  tensors: readonly { name: string; shape: readonly number[] }[],
  plan: BitPlan | undefined,
  original: Input | undefined,
): Promise<Sensitivities> {
  const named = await namedAlphas(options);
  const given = typeof named === 'function' ? await named(tensors) : named;
  const alphas = given ?? plan ?? (original && (await keptOf(original)));
  if (alphas) return sensitivitiesOf(alphas);
  throw new UsageError(
    original
      ? `no sensitivities are kept of the original: give --plan, ${WAYS}, or run higgs plan on it first`
      : `sensitivities must be given: --plan, ${WAYS}, or --against the original that has them`,
  );
}

async function keptOf(original: Input) {
  return keptSensitivities(await (await loadHiggs()).open(original.folder), original);
}
