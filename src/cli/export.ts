// higgs export: what programs of others read.

import { join } from 'node:path';
import type { Command } from 'commander';
import { writeWhole } from '../disk/commit.ts';
import { openInput } from '../disk/input.ts';
import { transformersFiles } from '../interop/transformers.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { UsageError } from '../terminal/usage.ts';
import { loadAll } from './common/session.ts';

interface Options {
  transformers?: boolean;
  json?: boolean;
}

export function addExport(program: Command): void {
  const command = program
    .command('export')
    .summary('write what transformers reads')
    .description(
      'Writes a checkpoint so that programs of others read it. With --transformers a quantized checkpoint gains one Python file and a line in its config.json: from_pretrained(…, trust_remote_code=True) then loads it, and weights stay packed.',
    )
    .argument('<input>', 'a checkpoint’s directory')
    .optionsGroup(GROUPS.output)
    .option('--transformers', 'write higgs_wasm.py into the quantized checkpoint, for transformers 5 and PyTorch');
  addPrinting(command, 'print what was written as JSON');
  addExamples(command, [['higgs export Llama-3.2-1B-higgs --transformers']]).action(exportTo);
}

async function exportTo(path: string, options: Options): Promise<void> {
  if (!options.transformers) throw new UsageError('--transformers must be given');
  const input = await openInput(path);
  try {
    if (input.isFile) throw new UsageError('input must be a directory, which the files are written to');
    const { quantized } = await (await loadAll()).inspectCheckpoint(input.folder);
    if (!quantized) throw new UsageError('--transformers must be given with a quantized checkpoint: this one is not');
    const files = await transformersFiles(input.folder);
    for (const [name, text] of files) await writeWhole(join(input.path, name), text, { force: true });
    if (options.json) printJson({ files: [...files.keys()] });
    else print(`${[...files.keys()].join(', ')}: load it with from_pretrained(…, trust_remote_code=True)`);
  } finally {
    await input.folder.close();
  }
}
