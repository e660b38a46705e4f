// higgs inspect: what a checkpoint holds, from its headers.

import type { Command } from 'commander';
import { openInput } from '../disk/input.ts';
import { bytesText, counted, countText, table } from '../terminal/figures.ts';
import { print, printJson } from '../terminal/print.ts';
import { loadAll } from './run.ts';

export function addInspect(program: Command): void {
  program
    .command('inspect')
    .summary('list the tensors of a checkpoint, quantized or not')
    .description('Lists tensors, dtypes, shapes, grids, bits per weight, sizes and t². Reads headers only.')
    .argument('<input>', 'a checkpoint’s directory, a .safetensors or a .gguf file')
    .option('--json', 'print as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ higgs inspect Llama-3.2-1B-higgs
  $ higgs inspect model.safetensors --json`,
    )
    .action(inspect);
}

async function inspect(path: string, options: { json?: boolean }): Promise<void> {
  const input = await openInput(path);
  try {
    const found = await (await loadAll()).inspectCheckpoint(input.folder);
    if (options.json) {
      printJson(found);
      return;
    }
    const rows = found.tensors.map(({ name, dtype, shape, grid, groupSize, bpw, bytes, relativeError, gridMse }) => [
      name,
      dtype,
      shape.join(' × '),
      grid === undefined ? '' : `${grid} g${groupSize}`,
      bpw?.toFixed(2) ?? '',
      bytesText(bytes),
      relativeError?.toPrecision(4) ?? '',
      relativeError === undefined ? '' : (relativeError / gridMse!).toFixed(3),
    ]);
    const summary = `${counted(found.tensors.length, 'tensor')}, ${countText(found.parameters)} parameters, ${bytesText(found.bytes)} in ${counted(found.files.length, 'file')}`;
    print(
      `${table(['tensor', 'dtype', 'shape', 'grid', 'bpw', 'size', 't²', '× MSE'], rows, [0, 1, 3])}\n\n` +
        `${summary}${found.quantized ? `, quantized weights at ${found.bpw.toFixed(2)} bits per weight` : ''}`,
    );
  } finally {
    await input.folder.close();
  }
}
