// higgs perplexity: how well a model predicts a text, and how far its predictions are from the original's.

import { type Command, Option } from 'commander';
import { readTextFile } from '../disk/files.ts';
import type { Input } from '../disk/input.ts';
import { precise, progressDisplay } from '../terminal/figures.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { parseInteger } from '../terminal/usage.ts';
import { DEFAULT_CONTEXT, type Perplexity, type PerplexityOptions } from '../text/perplexity.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { addModelOptions, type ModelChoice, withModels } from './common/model.ts';

interface Options extends ModelChoice {
  text: string;
  against?: string;
  stride?: number;
  tokens?: number;
  bos: boolean;
  json?: boolean;
}

/** Adds the verb `perplexity`. */
export function addPerplexity(program: Command): void {
  const command = program
    .command('perplexity')
    .summary('measure how well a model predicts a text')
    .description(
      'Measures the perplexity of a text. The file is one text. It is cut into windows that begin with the model’s first token, and every token is scored once. With --against it also measures the KL divergence from the original’s predictions.',
    )
    .argument(
      '<model>',
      'a checkpoint’s directory, with its configuration and tokenizer, a .gguf file, or hf:org/model',
    )
    .optionsGroup(GROUPS.measuring)
    .requiredOption('--text <file>', 'a text in UTF-8')
    .option('--against <original>', 'the model to compare with')
    .addOption(
      new Option('--tokens <n>', 'how many tokens of the text to take, from its beginning (all)').argParser(
        parseInteger(1, 2 ** 32),
      ),
    )
    .addOption(
      new Option('--stride <n>', 'tokens from one window to the next (all of a window)').argParser(
        parseInteger(1, 2 ** 24),
      ),
    )
    .option('--no-bos', 'windows without the model’s first token');
  addModelOptions(command, `tokens of a window (${DEFAULT_CONTEXT}, or the model’s context if that is less)`);
  addPrinting(command, 'print the figures as JSON');
  addExamples(command, [
    ['higgs perplexity Llama-3.2-1B-higgs --text wiki.test.raw'],
    ['higgs perplexity Llama-3.2-1B-higgs --text wiki.test.raw --tokens 10000', 'a first impression'],
    ['higgs perplexity Llama-3.2-1B-higgs --text wiki.test.raw --against Llama-3.2-1B --context 2048 --stride 1024'],
  ]).action(measure);
}

async function measure(path: string, options: Options): Promise<void> {
  const text = await readTextFile(options.text); // its faults come before a long load
  const paths = options.against === undefined ? [path] : [path, options.against];
  const cut = {
    ...(options.stride !== undefined && { stride: options.stride }),
    ...(!options.bos && { bos: null }),
  };
  const { measured, seconds } = await measurePerplexity(paths, text, options, cut, options.tokens);
  if (options.json) printJson({ ...measured, seconds });
  else print(figures(measured, seconds));
}

/** Measures a model on a text, beside another where there is a second one. @param tokens of the text, from its beginning; all if left out */
export async function measurePerplexity(
  models: readonly (string | Input)[],
  text: string,
  choice: ModelChoice,
  cut: PerplexityOptions = {},
  tokens?: number,
): Promise<{ measured: Perplexity; seconds: number }> {
  return withModels(models, choice, async ([open, original], signal) => {
    const progress = progressDisplay('perplexity');
    const began = performance.now();
    try {
      const { text: part, bytes } = beginningOf(text, tokens, open.model.tokenizer);
      const perplexity = await open.model.perplexity(part, {
        ...{ ...cut, bytes },
        ...(choice.context !== undefined && { context: choice.context }),
        ...(original && { against: original.model }),
        signal,
        onProgress: ({ done, total }) => progress.update({ done, total, unit: 'tokens', bytes: 0, tensor: '' }),
      });
      return { measured: perplexity, seconds: (performance.now() - began) / 1000 };
    } finally {
      progress.stop();
    }
  });
}

// The tokens of a text up to a number, and the bytes that they stand for.
function beginningOf(text: string, tokens: number | undefined, tokenizer: Tokenizer) {
  const ids = tokens === undefined ? [] : tokenizer.encode(text, { special: false });
  const whole = { text, bytes: Math.max(1, Buffer.byteLength(text)) };
  if (tokens === undefined || ids.length <= tokens) return whole;
  const part = ids.slice(0, tokens);
  return { text: part, bytes: Math.max(1, Buffer.byteLength(tokenizer.decode(part))) };
}

function figures(measured: Perplexity, seconds: number): string {
  const { perplexity, perplexityError, meanNll, standardError, bitsPerByte, against } = measured;
  const begin = measured.bos === null ? 'without bos' : `bos ${measured.bos}`;
  const lines = [
    `perplexity ${perplexity.toFixed(4)} ± ${perplexityError.toFixed(4)}, mean ${meanNll.toFixed(5)} ± ${standardError.toFixed(5)} nats, ${bitsPerByte!.toFixed(4)} bits per byte`,
    `${measured.tokensScored} of ${measured.tokens} tokens scored in ${measured.windows} windows of ${measured.context}, stride ${measured.stride}, ${begin}, ${seconds.toFixed(1)} s`,
  ];
  if (against) {
    const { p50, p90, p95, p99, max } = against.percentiles;
    const share = (value: number) => precise(value, 3);
    lines.push(
      `original: perplexity ${against.perplexity.toFixed(4)}, ratio ${against.ratio.toFixed(5)} ± ${against.ratioError.toFixed(5)}`,
      `KL(original ‖ model): mean ${precise(against.meanKl, 4)} ± ${precise(against.standardError, 2)}, 50 % ${share(p50)}, 90 % ${share(p90)}, 95 % ${share(p95)}, 99 % ${share(p99)}, max ${share(max)}`,
      `same most likely token: ${(100 * against.top1Agreement).toFixed(2)} %`,
    );
  }
  return lines.join('\n');
}
