// higgs advise: what a model would be at several sizes, before anything of it is read.

import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Size } from '../advice/advise.ts';
import { openInput } from '../disk/input.ts';
import { DEFAULT_GRIDS } from '../quantize/scheme.ts';
import { isEmbedding } from '../quantize/select.ts';
import { bytesText, counted, countText, figureText, precise, table } from '../terminal/figures.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { note, print, printJson } from '../terminal/print.ts';
import { decimal, gridName, integer } from '../terminal/usage.ts';
import { startThreads } from '../workers/node.ts';
import { addSensitivities, namedAlphas, type SensitivityOptions } from './common/budget.ts';
import { keptSensitivities } from './common/kept.ts';
import { freeMemory } from './common/memory.ts';
import { cores, interruptible, loadAll, threadsOf, WORKERS_LIMIT } from './common/session.ts';

interface Options extends SensitivityOptions {
  bits?: number[];
  embeddings?: string;
  context?: number;
  seconds: number;
  threads: number;
  json?: boolean;
}

export function addAdvise(program: Command): void {
  const command = program
    .command('advise')
    .summary('see size, memory, speed and loss before you quantize')
    .description(
      'Shows what a model would be at several bits per weight: bytes of files and of memory, tokens a second on this machine, predicted loss. Reads headers only; speed is measured on layers of its shape, which takes about five seconds.',
    )
    .argument('<input>', 'a checkpoint’s directory, a .safetensors or a .gguf file');
  command
    .optionsGroup(GROUPS.measuring)
    .addOption(new Option('--bits <list>', 'bits per weight to try, such as 3,3.5,4').argParser(bitsList))
    .option('--embeddings <grid>', 'also quantize token embeddings and output head, with this grid', gridName)
    .addOption(
      new Option('--context <n>', 'tokens that memory is counted for (the model’s, at most 4096)').argParser(
        integer(2, 2 ** 24),
      ),
    )
    .addOption(
      new Option('--seconds <n>', 'how long tokens are timed in all; 0 times none')
        .argParser(decimal(0, 600))
        .default(5),
    )
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option('--threads <n>', 'threads').argParser(integer(1, WORKERS_LIMIT)).default(cores(), 'the cores'),
    );
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
    const higgs = await loadAll();
    const source = await higgs.open(input.folder);
    const { bits, embeddings, context, seconds } = options;
    const inspection = await source.inspect();
    const alphas =
      (await namedAlphas(options)) ?? (inspection.quantized ? undefined : await keptSensitivities(source, input));
    const sizes = await interruptible(async (signal) =>
      source.advise({
        ...{ seconds, signal, threads: await startThreads(threadsOf(options.threads)) },
        ...(bits && { bits }),
        ...(embeddings !== undefined && { embeddings }),
        ...(context !== undefined && { context }),
        ...(alphas && { alphas }),
      }),
    );
    const free = freeMemory();
    if (options.json) {
      printJson({ parameters: inspection.parameters, free, threads: options.threads, sizes });
      return;
    }
    const head = `${countText(inspection.parameters)} parameters, ${counted(options.threads, 'thread')}, ${bytesText(free)} of memory free`;
    print(`${head}\n\n${sizesText(sizes, free)}`);
    const rest = inspection.tensors.filter(({ name }) => isEmbedding(name));
    const bytes = rest.reduce((sum, { bytes }) => sum + bytes, 0);
    if (embeddings === undefined && !inspection.quantized && bytes > 0) {
      print(`\n${bytesText(bytes)} of each size are embeddings and head: --embeddings t4 makes them about a quarter`);
    }
    for (const line of remarks(sizes)) note(line);
  } finally {
    await input.folder.close();
  }
}

function sizesText(sizes: readonly Size[], free: number): string {
  const reference = sizes.find(({ bits }) => bits === 4)?.prediction?.delta;
  const rows = sizes.map(({ bits, bpw, bytes, memory, speed, prediction }) => [
    bits === undefined ? 'as it is' : bits in DEFAULT_GRIDS ? `--bits ${bits}` : `--bpw ${bits}`,
    bpw.toFixed(2),
    bytesText(bytes),
    memory ? bytesText(memory.bytes) : '?',
    speed ? figureText(speed.tokensPerSecond) : '?',
    prediction ? lossCell(prediction, reference) : '',
    ...(memory && memory.bytes > free ? ['does not fit'] : []),
  ]);
  const loss = sizes.some(({ prediction }) => prediction?.loss === 'kl') ? 'KL, nats' : 'loss';
  const head = ['size', 'bits', 'files', 'memory', 'tokens/s', loss];
  return table(rows.some(({ length }) => length > head.length) ? [...head, ''] : head, rows, [0, 6]);
}

// Of a rule only ratios mean anything.
function lossCell({ loss, delta }: NonNullable<Size['prediction']>, reference: number | undefined): string {
  if (loss !== 'relative') return precise(delta, 3);
  return reference !== undefined && reference > 0 ? `${figureText(delta / reference)} ×` : precise(delta, 3);
}

function remarks(sizes: readonly Size[]): string[] {
  const predictions = sizes.flatMap(({ prediction }) => prediction ?? []);
  const unknown = predictions.some(({ unknown }) => unknown.length > 0);
  return [
    ...(predictions.some(({ loss }) => loss === 'relative')
      ? ['loss is a prior, from another model: × that of 4 bits; `higgs plan` measures it for this one']
      : []),
    ...(unknown ? ['loss leaves out embeddings and head, whose sensitivity is not known'] : []),
    ...(sizes.some(({ memory }) => memory === undefined)
      ? ['memory and speed are not known: its family does not run']
      : []),
  ];
}

function bitsList(text: string): number[] {
  const values = text.split(',').map(Number);
  if (text.trim() === '' || values.some((value) => !(value > 0 && value <= 32))) {
    throw new InvalidArgumentError('must be numbers of bits above 0, at most 32, with commas between.');
  }
  return values;
}
