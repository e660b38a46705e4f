// higgs export: what programs of others read.

import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeWhole } from '../disk/commit.ts';
import { type Input, openInput } from '../disk/input.ts';
import { transformersFiles } from '../interop/transformers.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { gridName, integer, pattern, UsageError } from '../terminal/usage.ts';
import { exportToHiggs, type HiggsChoice } from './common/higgs.ts';
import { cores, loadAll, WORKERS_LIMIT } from './common/session.ts';

interface Options extends HiggsChoice {
  transformers?: boolean;
  format?: 'higgs';
  json?: boolean;
}

export function addExport(program: Command): void {
  const command = program
    .command('export')
    .summary('write what transformers and FLUTE read')
    .description(
      'Writes a checkpoint so that programs of others read it. With --transformers a quantized checkpoint gains one Python file and a line in its config.json: from_pretrained(…, trust_remote_code=True) then loads it, and weights stay packed. With --format higgs a plain checkpoint is quantized to the layout that transformers itself has for HIGGS, which needs CUDA and FLUTE.',
    )
    .argument('<input>', 'a checkpoint’s directory')
    .optionsGroup(GROUPS.output)
    .option('--transformers', 'write higgs_wasm.py into the quantized checkpoint, for transformers 5 and PyTorch')
    .addOption(new Option('--format <name>', 'write another checkpoint').choices(['higgs']))
    .option('-o, --output <directory>', 'where to write, with --format')
    .option('--force', 'replace an existing output')
    .optionsGroup('With --format higgs:')
    .addOption(
      new Option('--grid <name>', 'of one or two dimensions and 2 to 4 bits').argParser(gridName).default('p2n256'),
    )
    .addOption(
      new Option('--hadamard <n>', 'weights of a transform: a power of two').argParser(integer(64, 4096)).default(512),
    )
    .addOption(
      new Option('--scale-group <n>', 'weights of a stored scale: 64, 128 or 256')
        .argParser(integer(64, 256))
        .default(256),
    )
    .addOption(
      new Option('--signs <kind>', 'random signs as a part of the weights, or none')
        .choices(['fold', 'none'])
        .default('fold'),
    )
    .addOption(new Option('--seed <n>', 'seed of the signs').argParser(integer(0, 0xffffffff)).default(0))
    .option('--exclude <regexp>', 'leave the tensors whose names match as they are', pattern)
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option('--workers <n>', 'worker threads').argParser(integer(1, WORKERS_LIMIT)).default(cores(), 'the cores'),
    );
  addPrinting(command, 'print what was written as JSON');
  addExamples(command, [
    ['higgs export Llama-3.2-1B-higgs --transformers'],
    ['higgs export Llama-3.2-1B --format higgs -o Llama-3.2-1B-flute'],
    ['higgs export Llama-3.2-1B --format higgs -o small --grid p2n64 --hadamard 1024'],
  ]).action(exportTo);
}

async function exportTo(path: string, options: Options): Promise<void> {
  if ((options.transformers === undefined) === (options.format === undefined))
    throw new UsageError('--transformers or --format must be given, and not both');
  if ((options.format === undefined) !== (options.output === undefined))
    throw new UsageError('--output must come with --format');
  const input = await openInput(path);
  try {
    if (input.isFile) throw new UsageError('input must be a directory, with config.json beside the weights');
    await (options.format ? exportToHiggs(input, options) : exportToTransformers(input, options));
  } finally {
    await input.folder.close();
  }
}

async function exportToTransformers(input: Input, { json }: Options): Promise<void> {
  const { quantized } = await (await loadAll()).inspectCheckpoint(input.folder);
  if (!quantized) throw new UsageError('--transformers must be given with a quantized checkpoint: this one is not');
  const files = await transformersFiles(input.folder);
  for (const [name, text] of files) await writeWhole(join(input.path, name), text, { force: true });
  if (json) printJson({ files: [...files.keys()] });
  else print(`${[...files.keys()].join(', ')}: load it with from_pretrained(…, trust_remote_code=True)`);
}
