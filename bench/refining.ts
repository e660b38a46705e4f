// npm run bench:refining: what error feedback does to language models at the same bits: perplexity and KL divergence from the original,
// plain, by inputs alone, and by inputs and gradients. Statistics are gathered once a model.

import { readFileSync } from 'node:fs';
import { cpus, release, type } from 'node:os';
import { Command, Option } from 'commander';
import { largeGrids } from '../src/grids/large.ts';
import { type CheckpointOptions, load } from '../src/index.ts';
import { readAlphas } from '../src/linearity/alphas.ts';
import { gatherRefinement, type RefineOptions } from '../src/refinement/gather.ts';
import { openFile } from '../src/source/file.ts';
import { readStatistics } from '../src/statistics/file.ts';
import { integer, pattern } from '../src/terminal/usage.ts';
import { startPool, startThreads } from '../src/workers/node.ts';
import { memoryOutput } from '../tests/checkpoints.ts';
import { BPW } from './errors.ts';
import { scorerOf } from './scorer.ts';
import { subjectOf } from './subjects.ts';
import { type Cells, type Column, printJson, printMarkdown, type Row, type Table } from './table.ts';

interface Options {
  windows: number;
  threads: number;
  models: string[];
  grids: string[];
  budgets: number[];
  modes: ('both' | 'inputs')[];
  seeds: number;
  sequences: number;
  source: 'model' | 'random' | 'text';
  statistics?: string;
  alphas?: string;
  data: string;
  json?: boolean;
}

const digits = (title: string, key: string, count: number): Column => {
  return { title, key, text: (value) => value.toFixed(count) };
};
const columns: readonly Column[] = [
  BPW,
  digits('t²', 't2', 5),
  digits('perplexity', 'perplexity', 3),
  digits('mean KL', 'meanKl', 5),
  digits('±', 'klError', 5),
  digits('÷ plain', 'ratio', 3),
  digits('±', 'ratioError', 3),
  digits('predicted KL', 'predicted', 5),
  digits('seconds', 'seconds', 1),
];
const list = (text: string) => text.split(',');

await new Command('bench:refining')
  .description('Measures what quantizing costs with error feedback, beside what it costs without.')
  .argument('[pattern]', 'measure only the rows whose names match this regular expression', pattern)
  .addOption(new Option('--windows <n>', 'windows of 256 tokens, or stories').argParser(integer(1, 1e4)).default(60))
  .addOption(new Option('--threads <n>', 'threads').argParser(integer(1, 64)).default(cpus().length))
  .option('--models <names>', 'models to measure; of stories, beside the embedded one', list, ['books-llama'])
  .option('--grids <names>', 'grids', list, ['t4', 't3', 't2', 'p2n256', 'p2n64', 'p2n16'])
  .option('--budgets <list>', 'bits per weight of plans', (text) => list(text).map(Number), [3.06])
  .option('--modes <names>', 'by gradients too, or by inputs alone', list, ['inputs', 'both'])
  .addOption(new Option('--seeds <n>', 'seeds of the random signs').argParser(integer(1, 100)).default(1))
  .addOption(new Option('--sequences <n>', 'sequences of 256 tokens').argParser(integer(1, 65535)).default(128))
  .addOption(new Option('--source <name>', 'tokens').choices(['model', 'random', 'text']).default('model'))
  .option('--statistics <file>', 'statistics that were gathered before, of both kinds')
  .option('--alphas <file>', 'sensitivities that were measured with them')
  .option('--data <dir>', 'where models of stories are (models/NAME), and their text (text/tinystories.txt)', '.')
  .option('--json', 'print JSON')
  .action(measure)
  .parseAsync();

async function measure(rows: RegExp = /(?:)/, options: Options): Promise<void> {
  const { threads, windows, sequences, source, seeds } = options;
  const higgs = await load(undefined, { grids: largeGrids });
  const pool = await startPool(threads);
  const closers: (() => Promise<void>)[] = [pool.close];
  const tables: Table[] = [];
  for (const name of options.models) {
    const subject = await subjectOf(name, windows, options.data);
    const { folder, texts, context, otherText } = subject;
    const { score, remember } = scorerOf(higgs, subject, threads);
    const original = await remember(folder);
    closers.push(original.close, folder.close);
    const refinements = new Map<string, Promise<RefineOptions>>();
    // Statistics of both kinds come from one gathering; what is by inputs alone leaves the weights of tokens.
    const refining = (mode: 'both' | 'inputs'): Promise<RefineOptions> => {
      const known = refinements.get(mode) ?? gather(mode);
      refinements.set(mode, known);
      return known;
    };
    async function gather(mode: 'both' | 'inputs'): Promise<RefineOptions> {
      if (options.statistics !== undefined && mode === 'both') {
        const statistics = await readStatistics(await openFile(options.statistics), options.statistics);
        const file = options.alphas;
        return { statistics, ...(file !== undefined && { alphas: readAlphas(readFileSync(file), file) }) };
      }
      const gathered = await gatherRefinement(
        folder,
        {
          ...{ mode, sequences, threads: () => startThreads(threads) },
          ...(source === 'text' ? { text: otherText } : { source }),
        },
        1024,
      );
      return { statistics: gathered.statistics, ...(gathered.alphas && { alphas: gathered.alphas }) };
    }
    const plain = new Map<string, Promise<Cells & { meanKl: number; klError: number }>>();
    const run = async (settings: CheckpointOptions): Promise<Cells & { meanKl: number; klError: number }> => {
      const began = performance.now();
      const output = memoryOutput();
      const report = await higgs.quantizeCheckpoint(folder, output, { ...settings, pool });
      const seconds = (performance.now() - began) / 1000;
      const { against, ...own } = await score(output.folder(), 'f32', original);
      const figures = { bitsPerWeight: report.bpw, t2: report.relativeError, seconds, ...own, ...against! };
      return { ...figures, ratio: undefined, ratioError: undefined, predicted: report.predicted?.delta };
    };
    const plainOf = (key: string, settings: CheckpointOptions) => {
      const known = plain.get(key) ?? run(settings);
      plain.set(key, known);
      return known;
    };
    const made: Row[] = [];
    for (let seed = 0; seed < seeds; seed++) {
      const kinds = [
        ...options.grids.map((grid) => ({ name: grid, settings: { grid, seed } as CheckpointOptions })),
        ...options.budgets.map((bpw) => ({ name: `plan ${bpw}`, settings: { bpw, seed } as CheckpointOptions })),
      ];
      for (const { name, settings } of kinds) {
        const label = seeds > 1 ? `${name} seed ${seed}` : name;
        const withAlphas = async () =>
          settings.bpw === undefined ? settings : { ...settings, alphas: (await refining('both')).alphas! };
        const own = async () => plainOf(label, await withAlphas());
        made.push({ name: `${label} plain`, measure: own });
        for (const mode of options.modes) {
          made.push({
            name: `${label} ${mode}`,
            measure: async () => {
              const base = await own();
              const found = await run({ ...(await withAlphas()), refine: await refining(mode) });
              const ratio = found.meanKl / base.meanKl;
              const ratioError = ratio * Math.hypot(found.klError / found.meanKl, base.klError / base.meanKl);
              return { ...found, ratio, ratioError };
            },
          });
        }
      }
    }
    const scored = texts.reduce((sum, { length }) => sum + length, 0);
    const title = `${name}, ${scored} tokens of ${texts.length} texts, context ${context}; ${sequences} sequences, source ${source}`;
    tables.push({ title, columns, rows: made });
  }
  const environment = {
    processor: `${cpus()[0]?.model.trim()}, ${cpus().length} cores`,
    system: `${type()} ${release()}`,
    runtime: `Node ${process.versions.node}, V8 ${process.versions.v8}`,
    command: process.argv.slice(2).join(' '),
  };
  if (options.json) await printJson(tables, rows, environment);
  else {
    console.log(Object.values(environment).slice(0, 3).join(' · '));
    await printMarkdown(tables, rows);
  }
  for (const close of closers) await close();
}
