// npm run bench: every table of measurements, seeded, on one machine and in one run.

import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir, type } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { loadKernels } from '../src/kernels/load.ts';
import { parseInteger, parsePattern } from '../src/terminal/usage.ts';
import { encoderTable } from './encoders.ts';
import { errorTable } from './errors.ts';
import { fileTable, llamaTable } from './files.ts';
import type { FloatType } from './gaussian.ts';
import { kernelTables } from './kernels.ts';
import { models } from './models.ts';
import { COLS, placeOperands } from './operands.ts';
import { loadPeers } from './peers.ts';
import { printJson, printMarkdown, type Table } from './table.ts';

interface Options {
  json?: boolean;
  rows: number;
  files?: string | true;
  grids: string[];
  workers: number[];
  runs: number;
  llamaQuantize?: string;
  types: string[];
  ggufType: FloatType;
}

const list = (text: string) => text.split(',');

await new Command('bench')
  .description('Measures kernels and encoders on one core, and whole checkpoints on request. Inputs are seeded.')
  .argument('[pattern]', 'measure only the rows whose names match this regular expression', parsePattern)
  .option('--json', 'print JSON, numbers in units of one (seconds, bytes, weights)')
  .addOption(
    new Option('--rows <n>', `rows of ${COLS} weights that one call of a kernel gets`)
      .argParser(parseInteger(1, 4096))
      .default(16),
  )
  .option('--files [model]', `also quantize checkpoints: ${Object.keys(models).join(', ')} (smollm2-135m)`)
  .option('--grids <names>', 'schemes of the whole checkpoints', list, ['p2n256', 'p1n16'])
  .option(
    '--workers <numbers>',
    'numbers of workers, and of threads',
    (text) => list(text).map(parseInteger(1, 256)),
    [1, 2],
  )
  .addOption(new Option('--runs <n>', 'runs of each whole checkpoint').argParser(parseInteger(1, 100)).default(2))
  .option(
    '--llama-quantize <path>',
    'also run this binary on a GGUF of the same shapes (the model of --files, or 240m)',
  )
  .option('--types <names>', 'types for llama-quantize', list, ['Q4_0', 'Q4_K_S', 'Q3_K_S'])
  .addOption(new Option('--gguf-type <dtype>', 'weights in that GGUF').choices(['bf16', 'f32']).default('bf16'))
  .action(bench)
  .parseAsync();

async function bench(pattern: RegExp = /(?:)/, options: Options): Promise<void> {
  const kernels = await loadKernels();
  const operands = placeOperands(kernels, options.rows);
  const peers = await loadPeers(operands.count);
  const tables = [
    ...kernelTables(operands),
    encoderTable(operands, peers),
    errorTable(operands),
    ...fileTables(options),
  ];
  const environment = {
    processor: `${cpus()[0]?.model.trim()}, ${cpus().length} cores`,
    system: `${type()} ${release()}`,
    runtime: `Node ${process.versions.node}, V8 ${process.versions.v8}`,
    weights: operands.count,
    command: process.argv.slice(2).join(' '),
  };
  if (options.json) await printJson(tables, pattern, environment);
  else {
    console.log(Object.values(environment).slice(0, 3).join(' · '));
    await printMarkdown(tables, pattern);
  }
}

function fileTables({ files, grids, workers, runs, llamaQuantize, types, ggufType }: Options): Table[] {
  if (files === undefined && llamaQuantize === undefined) return [];
  const directory = mkdtempSync(join(tmpdir(), 'higgs-bench-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  const options = { directory, grids, workers, runs };
  const tables: Table[] = [];
  const model = typeof files === 'string' ? files : undefined;
  if (files !== undefined) tables.push(fileTable({ ...options, model: model ?? 'smollm2-135m' }));
  if (llamaQuantize !== undefined) {
    const llama = { path: llamaQuantize, types, dtype: ggufType };
    tables.push(llamaTable({ ...options, model: model ?? '240m' }, llama));
  }
  return tables;
}
