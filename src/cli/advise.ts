// higgs advise: what a model would be at several sizes, before anything of it is read.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { openInput } from '../disk/input.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { note, print, printJson } from '../terminal/print.ts';
import { decimal, gridName, parseInteger } from '../terminal/usage.ts';
import { adviceOf, adviceRemarks, adviceText } from './common/advice.ts';
import { addSensitivities, namedAlphas, type SensitivityChoice } from './common/budget.ts';
import { loadHiggs, threadsOption } from './common/session.ts';

interface Options extends SensitivityChoice {
  bits?: number[];
  embeddings?: string;
  context?: number;
  seconds: number;
  threads: number;
  json?: boolean;
}

/** Adds the verb `advise`. */
export function addAdvise(program: Command): void {
  const command = program
    .command('advise')
    .summary('see size, memory, speed and loss before you quantize')
    .description(
      'Shows file size, memory, tokens a second on this machine and predicted loss of a model, at several bits per weight. Reads headers only. Speed is measured on layers of its shape, which takes about five seconds.',
    )
    .argument('<input>', 'a checkpoint’s directory, a .safetensors or a .gguf file, or hf:org/model');
  command
    .optionsGroup(GROUPS.measuring)
    .addOption(new Option('--bits <list>', 'bits per weight to try, such as 3,3.5,4').argParser(bitsList))
    .option('--embeddings <grid>', 'also quantize token embeddings and output head, with this grid', gridName)
    .addOption(
      new Option('--context <n>', 'tokens that memory is counted for (the model’s, at most 4096)').argParser(
        parseInteger(2, 2 ** 24),
      ),
    )
    .addOption(
      new Option('--seconds <n>', 'how many seconds tokens are timed; 0 for no timing')
        .argParser(decimal(0, 600))
        .default(5),
    )
    .optionsGroup(GROUPS.machine)
    .addOption(threadsOption());
  addSensitivities(command);
  addPrinting(command, 'print the figures as JSON');
  addExamples(command, [
    ['higgs advise Llama-3.2-1B'],
    ['higgs advise Llama-3.2-1B --embeddings t4 --bits 2,3,4'],
    ['higgs advise Llama-3.2-1B --seconds 0 --json'],
  ]).action(advise);
}

async function advise(path: string, options: Options): Promise<void> {
  const input = await openInput(path);
  try {
    const source = await (await loadHiggs()).open(input.folder);
    const { bits, embeddings, context, seconds, threads } = options;
    const advice = await adviceOf(source, input, {
      ...{ seconds, threads, alphas: await namedAlphas(options) },
      ...(bits && { bits }),
      ...(embeddings !== undefined && { embeddings }),
      ...(context !== undefined && { context }),
    });
    if (options.json) {
      const { inspection, free, sizes } = advice;
      printJson({ parameters: inspection.parameters, free, threads, sizes });
      return;
    }
    print(adviceText(advice));
    for (const line of adviceRemarks(advice)) note(line);
  } finally {
    await input.folder.close();
  }
}

function bitsList(text: string): number[] {
  const values = text.split(',').map(Number);
  if (text.trim() === '' || values.some((value) => !(value > 0 && value <= 32))) {
    throw new InvalidArgumentError('must be numbers of bits above 0, at most 32, with commas between.');
  }
  return values;
}
