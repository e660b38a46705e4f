// higgs bench: how fast a model loads, reads a prompt and generates, and what memory it takes.

import { type Command, Option } from 'commander';
import { bytesText, counted } from '../terminal/figures.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { parseInteger } from '../terminal/usage.ts';
import { withSequence } from '../text/language.ts';
import { addModelOptions, type ModelChoice, pagingText, rateText, withModels } from './common/model.ts';

interface Options extends ModelChoice {
  promptTokens: number;
  maxTokens: number;
  runs: number;
  json?: boolean;
}

/** Adds the verb `bench`. */
export function addBench(program: Command): void {
  const command = program
    .command('bench')
    .summary('measure the speed of a model')
    .description(
      'Measures the speed of loading, of a prompt and of generation. The fastest of several runs counts. The prompt is of arbitrary tokens.',
    )
    .argument(
      '<model>',
      'a checkpoint’s directory, with its configuration and tokenizer, a .gguf file, or hf:org/model',
    );
  command
    .optionsGroup(GROUPS.measuring)
    .addOption(
      new Option('--prompt-tokens <n>', 'tokens of the prompt').argParser(parseInteger(1, 2 ** 24)).default(128),
    )
    .addOption(new Option('-n, --max-tokens <n>', 'tokens to generate').argParser(parseInteger(1, 2 ** 24)).default(64))
    .addOption(new Option('--runs <n>', 'runs').argParser(parseInteger(1, 1000)).default(3));
  addModelOptions(command, 'tokens that the cache has room for (the model’s, at most 4096)');
  addPrinting(command, 'print the figures as JSON');
  addExamples(command, [
    ['higgs bench Llama-3.2-1B-higgs'],
    ['higgs bench Llama-3.2-1B-higgs --threads 1 --prompt-tokens 512 --json'],
  ]).action(bench);
}

async function bench(path: string, options: Options): Promise<void> {
  await withModels([path], options, async ([open], signal) => {
    const { model, loadMs } = open;
    const { language } = model;
    const { vocabSize } = model.config;
    const { promptTokens, maxTokens, runs } = options;
    let [promptMs, generateMs] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let run = 0; run < runs; run++) {
      // A sequence that is opened without ids copies nothing that the cache holds.
      const ids = Array.from({ length: promptTokens }, (_, i) => ((i + run + 1) * 40503) % vocabSize);
      await withSequence(language, { capacity: promptTokens + maxTokens }, async (sequence) => {
        const began = performance.now();
        await sequence.extend(ids, { signal });
        promptMs = Math.min(promptMs, performance.now() - began);
        const first = performance.now();
        for (let i = 0; i < maxTokens; i++) await sequence.extend([ids[i % promptTokens]], { signal });
        generateMs = Math.min(generateMs, performance.now() - first);
      });
    }
    const figures = {
      loadMs,
      promptTokens,
      promptTokensPerSecond: (1000 * promptTokens) / promptMs,
      maxTokens,
      generateTokensPerSecond: (1000 * maxTokens) / generateMs,
      threads: language.threads,
      memory: language.memory,
      paging: language.paging,
      residentBytes: process.memoryUsage().rss,
    };
    const { bytes, weights, cache } = figures.memory;
    if (options.json) {
      printJson(figures);
      return;
    }
    print(
      `load      ${loadMs.toFixed(0)} ms\n` +
        `prompt    ${rateText(promptTokens, promptMs)}, ${counted(promptTokens, 'token')}\n` +
        `generate  ${rateText(maxTokens, generateMs)}, ${counted(maxTokens, 'token')}\n` +
        `memory    ${bytesText(bytes)}: weights ${bytesText(weights)}, cache ${bytesText(cache)}; process ${bytesText(figures.residentBytes)}\n` +
        `${figures.paging ? `experts   ${pagingText(figures.paging)}\n` : ''}threads   ${figures.threads}`,
    );
  });
}
