// higgs generate: text behind a prompt, as it comes.

import type { Command } from 'commander';
import { note, print, printJson, printPiece } from '../terminal/print.ts';
import { UsageError } from '../terminal/usage.ts';
import type { GenerationResult } from '../text/generate.ts';
import {
  addModelOptions,
  addSamplingOptions,
  type ModelChoice,
  pagingText,
  rateText,
  type SamplingChoice,
  samplingOf,
  withModels,
} from './model.ts';
import { Interrupted } from './run.ts';

interface Options extends ModelChoice, SamplingChoice {
  prompt: string;
  ignoreEos?: boolean;
  json?: boolean;
}

export function addGenerate(program: Command): void {
  const command = program
    .command('generate')
    .summary('generate text behind a prompt')
    .description('Generates text behind a prompt with a model of the Llama family, quantized or not.')
    .argument('<model>', 'a checkpoint’s directory, with its configuration and tokenizer, or a .gguf file')
    .requiredOption('-p, --prompt <text>', 'what the text begins with');
  addSamplingOptions(addModelOptions(command, 'tokens of prompt and text together (the model’s, at most 4096)'))
    .option('--ignore-eos', 'go on behind the end of the text')
    .option('--json', 'print ids, text and timings as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ higgs generate Llama-3.2-1B-higgs -p "Once upon a time"
  $ higgs generate Llama-3.2-1B-higgs -p "1, 2, 3," -n 20 --temperature 0.8 --top-p 0.95 --seed 7`,
    )
    .action(generate);
}

async function generate(path: string, options: Options): Promise<void> {
  if (options.prompt === '') throw new UsageError('--prompt must not be empty');
  await withModels([path], options, async ([open], signal) => {
    const { model, loadMs } = open!;
    const generation = model.generate(options.prompt, {
      ...samplingOf(options),
      ignoreEos: options.ignoreEos ?? false,
      signal,
    });
    if (!options.json) printPiece(options.prompt);
    for await (const piece of generation) if (!options.json) printPiece(piece);
    const result = generation.result!;
    const { paging } = model.language;
    if (options.json) printJson({ ...reportOf(options.prompt, result, loadMs), paging });
    else {
      print('');
      note(`${timingsText(result)}, loaded in ${loadMs.toFixed(0)} ms`);
      if (paging) note(pagingText(paging));
    }
    if (result.finishReason === 'aborted') throw new Interrupted();
  });
}

function reportOf(prompt: string, result: GenerationResult, loadMs: number) {
  const { promptIds, ids, text, finishReason, promptMs, generateMs } = result;
  return { prompt, promptIds, ids, text, finishReason, timings: { loadMs, promptMs, generateMs } };
}

/** What a generation took. */
export function timingsText({ promptIds, ids, reused, promptMs, generateMs, finishReason }: GenerationResult): string {
  const prompt = promptIds.length - reused;
  const next = Math.max(0, ids.length - 1); // the first one is the prompt's
  return `prompt ${prompt} tokens at ${rateText(prompt, promptMs)}, generated ${ids.length} at ${rateText(next, generateMs)}, ended by ${finishReason}`;
}
