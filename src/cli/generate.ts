// higgs generate: text behind a prompt, as it comes.

import type { Command } from 'commander';
import { counted } from '../terminal/figures.ts';
import { addExamples, addPrinting } from '../terminal/help.ts';
import { note, print, printJson, printPiece } from '../terminal/print.ts';
import { UsageError } from '../terminal/usage.ts';
import type { GenerationResult } from '../text/generate.ts';
import { addModelOptions, type ModelChoice, type OpenModel, pagingText, rateText, withModels } from './common/model.ts';
import {
  addPrompt,
  addSamplingOptions,
  type PromptChoice,
  promptOf,
  type SamplingChoice,
  samplingOf,
  samplingText,
} from './common/sampling.ts';
import { Interrupted } from './common/session.ts';
import { printedThoughts, type Thinking, thinkingOption } from './common/thoughts.ts';

/** Options of a generation. */
interface GenerateChoice extends SamplingChoice {
  ignoreEos?: boolean;
  thinking?: Thinking;
  json?: boolean;
}

interface Options extends ModelChoice, GenerateChoice, PromptChoice {}

/** Adds the verb `generate`. */
export function addGenerate(program: Command): void {
  const command = program
    .command('generate')
    .summary('generate text from a prompt')
    .description(
      'Generates text from a prompt with a model, quantized or not. Tokens are chosen as the model’s generation_config.json says, unless options say otherwise.',
    )
    .argument(
      '<model>',
      'a checkpoint’s directory, with its configuration and tokenizer, a .gguf file, or hf:org/model',
    );
  addPrompt(command, 'what the text begins with (what is piped in)');
  addSamplingOptions(command)
    .option('--ignore-eos', 'continue after the end of the text')
    .addOption(
      thinkingOption('separate the model’s thoughts from the rest: dimmed on a terminal, or left out; apart in JSON'),
    );
  addModelOptions(command, 'tokens of prompt and text together (the model’s, at most 4096)');
  addPrinting(command, 'print ids, text, sampling and timings as JSON');
  addExamples(command, [
    ['higgs generate Llama-3.2-1B-higgs -p "Once upon a time"'],
    ['higgs generate Llama-3.2-1B-higgs -p "1, 2, 3," -n 20 --temperature 0'],
    ['higgs generate Llama-3.2-1B-higgs -f prompt.txt --top-p 0.9 --seed 7'],
    ['echo "Once upon a time" | higgs generate Llama-3.2-1B-higgs'],
  ]).action(generate);
}

async function generate(path: string, options: Options): Promise<void> {
  const prompt = await promptOf(options);
  if (prompt === undefined) throw new UsageError('a prompt must be given: -p TEXT, -f FILE, or text by a pipe');
  await withModels([path], options, ([open], signal) => goOn(open, prompt, options, signal));
}

/** Generates what comes behind a prompt. */
export async function goOn(
  { model, loadMs }: OpenModel,
  prompt: string,
  options: GenerateChoice,
  signal: AbortSignal,
): Promise<void> {
  const sampling = samplingOf(options, model.sampling);
  const { maxTokens, stop = [], ignoreEos = false } = options;
  const { thinking, json = false } = options;
  const thoughts = thinking && printedThoughts(model, prompt, thinking, json);
  const special = thoughts?.special ?? false;
  const generation = model.generate(prompt, { ...sampling, maxTokens, stop, ignoreEos, special, signal });
  if (!json) printPiece(prompt);
  for await (const piece of generation) {
    if (thoughts) thoughts.take(piece);
    else if (!json) printPiece(piece);
  }
  const rest = thoughts?.end();
  const result = generation.result!;
  const { paging } = model.language;
  if (json) printJson({ ...reportOf(prompt, result, loadMs), ...rest, sampling, paging });
  else {
    print('');
    note(timingsText(result));
    note(`${samplingText(sampling)}; loaded in ${loadMs.toFixed(0)} ms`);
    if (paging) note(pagingText(paging));
  }
  if (result.finishReason === 'aborted') throw new Interrupted();
}

function reportOf(prompt: string, result: GenerationResult, loadMs: number) {
  const { promptIds, ids, text, finishReason, promptMs, generateMs } = result;
  return { prompt, promptIds, ids, text, finishReason, timings: { loadMs, promptMs, generateMs } };
}

/** What a generation took. */
export function timingsText({ promptIds, ids, reused, promptMs, generateMs, finishReason }: GenerationResult): string {
  const prompt = promptIds.length - reused;
  const next = Math.max(0, ids.length - 1); // the first one is the prompt's
  return `prompt ${counted(prompt, 'token')} at ${rateText(prompt, promptMs)}, generated ${ids.length}${next > 0 ? ` at ${rateText(next, generateMs)}` : ''}, ${finishReason === 'aborted' ? 'stopped' : `ended by ${finishReason}`}`;
}
