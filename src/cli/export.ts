// higgs export: what programs of others read.

import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeAtomically } from '../disk/commit.ts';
import { type Input, openInput } from '../disk/input.ts';
import { isRemote } from '../hub/name.ts';
import { transformersFiles } from '../interop/transformers.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { gridName, parseInteger, parsePattern, UsageError } from '../terminal/usage.ts';
import { exportGguf, GGUF_DTYPES } from './common/gguf.ts';
import { exportToHiggs, type HiggsChoice } from './common/higgs.ts';
import { cores, loadHiggs, WORKERS_OPTION_LIMIT } from './common/session.ts';

interface Options extends HiggsChoice {
  transformers?: boolean;
  format?: 'gguf' | 'higgs';
  dtype?: (typeof GGUF_DTYPES)[number];
  workers: number;
  force?: boolean;
  json?: boolean;
}

/** Adds the verb `export`. */
export function addExport(program: Command): void {
  const command = program
    .command('export')
    .summary('write a model for llama.cpp, transformers or FLUTE')
    .description(
      'Writes a model for other programs. `--transformers` puts one Python file into a quantized checkpoint, with which transformers 5 loads it; the weights stay packed. `--format gguf` writes one file for llama.cpp, tokenizer and chat template in it; a quantized checkpoint is dequantized. `--format higgs` quantizes a plain checkpoint in the layout of transformers’ own HIGGS, which needs CUDA and FLUTE.',
    )
    .argument('<input>', 'a checkpoint’s directory, quantized or not')
    .optionsGroup(GROUPS.output)
    .option('--transformers', 'write higgs_wasm.py into the quantized checkpoint, for transformers 5 and PyTorch')
    .addOption(new Option('--format <format>', 'the format to write').choices(['gguf', 'higgs']))
    .option('-o, --output <path>', 'where to write: a file for gguf, a directory for higgs')
    .addOption(
      new Option('--dtype <dtype>', 'for gguf, the dtype of matrices (that of the checkpoint)').choices(GGUF_DTYPES),
    )
    .option('--force', 'replace an existing output');
  addHiggs(command)
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option('--workers <n>', 'worker threads')
        .argParser(parseInteger(1, WORKERS_OPTION_LIMIT))
        .default(cores(), 'the cores'),
    );
  addPrinting(command, 'print what was written as JSON');
  addExamples(command, [
    ['higgs export Llama-3.2-1B-higgs --transformers'],
    ['higgs export Llama-3.2-1B --format gguf -o llama.gguf'],
    ['higgs export Llama-3.2-1B-higgs --format gguf --dtype q8_0 -o llama.gguf'],
    ['higgs export Llama-3.2-1B --format higgs -o Llama-3.2-1B-flute --grid p2n64'],
  ]).action(exportTo);
}

function addHiggs(command: Command): Command {
  return command
    .optionsGroup('Of the format higgs:')
    .addOption(
      new Option('--grid <name>', 'a grid of one or two dimensions and 2 to 4 bits')
        .argParser(gridName)
        .default('p2n256'),
    )
    .addOption(
      new Option('--hadamard <n>', 'weights of a transform: a power of two')
        .argParser(parseInteger(64, 4096))
        .default(512),
    )
    .addOption(
      new Option('--scale-group <n>', 'weights that share a stored scale: 64, 128 or 256')
        .argParser(parseInteger(64, 256))
        .default(256),
    )
    .addOption(
      new Option('--signs <kind>', 'random signs as a part of the weights, or none')
        .choices(['fold', 'none'])
        .default('fold'),
    )
    .addOption(new Option('--seed <n>', 'seed of the signs').argParser(parseInteger(0, 0xffffffff)).default(0))
    .option('--exclude <regexp>', 'leave the tensors whose names match as they are', parsePattern);
}

async function exportTo(path: string, options: Options): Promise<void> {
  const { format, output, transformers } = options;
  if ((transformers === undefined) === (format === undefined))
    throw new UsageError('--transformers or --format must be given, and not both');
  if (format === undefined) {
    if (output !== undefined)
      throw new UsageError('--output must come with --format: --transformers writes into the input');
    return exportToTransformers(path, options);
  }
  if (output === undefined) throw new UsageError(`--output must be given with --format ${format}`);
  await (format === 'gguf' ? exportGguf(path, { ...options, output }) : exportToHiggs(path, { ...options, output }));
}

async function exportToTransformers(path: string, { json }: Options): Promise<void> {
  if (isRemote(path))
    throw new UsageError(
      `input must be a directory of yours, as --transformers writes into it: ${path} is on a server`,
    );
  const input: Input = await openInput(path);
  try {
    if (input.isFile)
      throw new UsageError('input must be a directory, with config.json beside the weights: it is a file');
    const { quantized } = await (await loadHiggs()).inspectCheckpoint(input.folder);
    if (!quantized) throw new UsageError('input must be quantized for --transformers: it is plain, and loads as it is');
    const files = await transformersFiles(input.folder);
    for (const [name, text] of files) await writeAtomically(join(input.path, name), text, { force: true });
    if (json) printJson({ files: [...files.keys()] });
    else print(`${[...files.keys()].join(', ')}: load it with from_pretrained(…, trust_remote_code=True)`);
  } finally {
    await input.folder.close();
  }
}
