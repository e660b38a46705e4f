// npm run bench:linearity: whether loss grows as the linearity theorem predicts, and what grids chosen by it gain over one grid for
// all matrices, at counted bits per weight. Linear weights are quantized, embeddings are not.

import { writeFile } from 'node:fs/promises';
import { cpus, release, type } from 'node:os';
import { Command, Option } from 'commander';
import { largeGrids } from '../src/grids/large.ts';
import { load } from '../src/index.ts';
import { parseInteger, parsePattern } from '../src/terminal/usage.ts';
import { startPool } from '../src/workers/node.ts';
import { allocationTables } from './allocation.ts';
import { type Dot, scatterOf } from './scatter.ts';
import { subjectOf } from './subjects.ts';
import { printJson, printMarkdown, type Table } from './table.ts';
import { theoremTables } from './theorem.ts';

interface Options {
  windows: number;
  sequences: number;
  alone: number;
  threads: number;
  models: string[];
  data: string;
  grids: RegExp;
  refined: string[];
  refineSequences: number;
  plot?: string;
  json?: boolean;
}

const names = (text: string) => text.split(',').filter(Boolean);

await new Command('bench:linearity')
  .description('Measures whether loss is what the linearity theorem predicts, and what plans by it gain.')
  .argument('[pattern]', 'measure only the rows whose names match this regular expression', parsePattern)
  .addOption(
    new Option('--windows <n>', 'windows of 256 tokens, or stories').argParser(parseInteger(2, 1e4)).default(16),
  )
  .addOption(
    new Option('--sequences <n>', 'sequences of 128 tokens of text; half as many of random tokens')
      .argParser(parseInteger(2, 1e4))
      .default(16),
  )
  .addOption(
    new Option('--alone <n>', 'sequences on which each matrix is disturbed alone')
      .argParser(parseInteger(1, 1e4))
      .default(1),
  )
  .addOption(new Option('--threads <n>', 'threads').argParser(parseInteger(1, 64)).default(cpus().length))
  .option('--models <names>', 'models to measure; of stories, beside the embedded one', names, ['books-llama'])
  .option('--data <dir>', 'where models of stories are (models/NAME), and their text (text/tinystories.txt)', '.')
  .addOption(
    new Option('--grids <pattern>', 'only grids whose names match').argParser(parsePattern).default(/(?:)/, 'all'),
  )
  .option('--refined <names>', 'grids whose weights are also refined; none if empty', names, ['t4', 't3', 't2'])
  .addOption(
    new Option('--refine-sequences <n>', 'sequences of 256 tokens to refine by')
      .argParser(parseInteger(1, 65535))
      .default(128),
  )
  .option('--plot <file>', 'draw predicted against measured loss, as SVG')
  .option('--json', 'print JSON')
  .action(measure)
  .parseAsync();

async function measure(rows: RegExp = /(?:)/, options: Options): Promise<void> {
  const { models, windows, threads, data } = options;
  const environment = {
    processor: `${cpus()[0]?.model.trim()}, ${cpus().length} cores`,
    system: `${type()} ${release()}`,
    runtime: `Node ${process.versions.node}, V8 ${process.versions.v8}`,
    command: process.argv.slice(2).join(' '),
  };
  const higgs = await load(undefined, { grids: largeGrids });
  const grids = [...higgs.grids.keys()].filter((name) => options.grids.test(name));
  const pool = await startPool(threads);
  const closers: (() => Promise<void>)[] = [pool.close];
  const tables: Table[] = [];
  const dots: Dot[] = [];
  for (const name of models) {
    const subject = await subjectOf(name, windows, data);
    closers.unshift(subject.folder.close);
    tables.push(...theoremTables(higgs, subject, { ...options, grids, pool }, (panel) => dots.push(...panel)));
    tables.push(...allocationTables(higgs, subject, { grids, threads, pool }, closers));
  }
  if (options.json) await printJson(tables, rows, environment);
  else {
    console.log(Object.values(environment).slice(0, 3).join(' · '));
    await printMarkdown(tables, rows);
  }
  const titles = ['predicted, Σ α t² (nats a token)', 'measured KL divergence (nats a token)'] as const;
  if (options.plot !== undefined) await writeFile(options.plot, scatterOf(dots, ...titles));
  for (const close of closers) await close();
}
