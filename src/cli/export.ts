// higgs export: what programs of others read.

import { type Command, Option } from 'commander';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { integer, UsageError } from '../terminal/usage.ts';
import { exportGguf, GGUF_DTYPES } from './common/gguf.ts';
import { cores, WORKERS_LIMIT } from './common/session.ts';

interface Options {
  format?: 'gguf';
  output?: string;
  dtype?: (typeof GGUF_DTYPES)[number];
  workers: number;
  force?: boolean;
  json?: boolean;
}

export function addExport(program: Command): void {
  const command = program
    .command('export')
    .summary('write what programs of others read')
    .description(
      'Writes a model so that programs of others read it. `--format gguf` writes one file for llama.cpp, tokenizer and chat template in it; a quantized checkpoint is dequantized.',
    )
    .argument('<input>', 'a checkpoint’s directory, quantized or not')
    .optionsGroup(GROUPS.output)
    .addOption(new Option('--format <format>', 'the format to write').choices(['gguf']))
    .option('-o, --output <path>', 'where to write: of gguf a file')
    .addOption(
      new Option('--dtype <dtype>', 'of gguf, the dtype of matrices (that of the checkpoint)').choices(GGUF_DTYPES),
    )
    .option('--force', 'replace an existing output')
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option('--workers <n>', 'worker threads').argParser(integer(1, WORKERS_LIMIT)).default(cores(), 'the cores'),
    );
  addPrinting(command, 'print what was written as JSON');
  addExamples(command, [
    ['higgs export Llama-3.2-1B --format gguf -o llama.gguf'],
    ['higgs export Llama-3.2-1B-higgs --format gguf --dtype q8_0 -o llama.gguf'],
  ]).action(exportTo);
}

async function exportTo(path: string, options: Options): Promise<void> {
  const { format, output } = options;
  if (format === undefined) throw new UsageError('--format must be given');
  if (output === undefined) throw new UsageError('--output must be given with --format gguf');
  await exportGguf(path, { ...options, output });
}
