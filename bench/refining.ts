// npm run bench:refining: what error feedback does to language models at the same bits: perplexity and KL divergence from the original,
// plain, by inputs alone, and by inputs and gradients. Statistics are gathered once a model. Errors are over windows, as tokens of one
// window depend on each other; what two quantizations differ by is taken window by window.

import { readFileSync } from 'node:fs';
import { cpus, release, type } from 'node:os';
import { Command, Option } from 'commander';
import { largeGrids } from '../src/grids/large.ts';
import { type CheckpointOptions, load } from '../src/index.ts';
import { readAlphas } from '../src/linearity/alphas.ts';
import { gatherRefinement, type RefineOptions } from '../src/refinement/gather.ts';
import { openFile } from '../src/source/file.ts';
import type { Folder } from '../src/source/source.ts';
import { readStatistics } from '../src/statistics/file.ts';
import { parseInteger, parsePattern } from '../src/terminal/usage.ts';
import { startPool, startThreads } from '../src/workers/node.ts';
import { memoryOutput } from '../tests/checkpoints.ts';
import { BPW } from './errors.ts';
import { gptq } from './gptq.ts';
import { ratioOf, sum } from './ratio.ts';
import { timesTable } from './refinetimes.ts';
import { restore } from './restored.ts';
import { scorerOf } from './scorer.ts';
import { subjectOf } from './subjects.ts';
import { type Cells, type Column, column, printJson, printMarkdown, type Row, type Table } from './table.ts';

interface Options {
  windows: number;
  threads: number;
  models: string[];
  grids: string[];
  budgets: number[];
  modes: ('both' | 'inputs')[];
  gptq: number[];
  seeds: number;
  sequences: number;
  source: 'model' | 'random' | 'text';
  statistics?: string;
  alphas?: string;
  data: string;
  times?: string[];
  json?: boolean;
}

const digits = (title: string, key: string, count: number): Column => {
  return { title, key, text: (value) => value.toFixed(count) };
};
const columns: readonly Column[] = [
  BPW,
  digits('t²', 't2', 5),
  digits('perplexity', 'perplexity', 3),
  digits('ln perplexity − plain’s', 'change', 5),
  digits('±', 'changeError', 5),
  column('mean KL', 'meanKl', 4),
  column('±', 'klError', 2),
  digits('÷ plain', 'ratio', 3),
  digits('±', 'ratioError', 3),
  column('predicted KL', 'predicted', 3),
  digits('seconds', 'seconds', 1),
];
const list = (text: string) => text.split(',');

/** A checkpoint as it was scored. */
interface Scored {
  cells: Cells;
  tokens: number[]; // (windows)
  kl: number[]; // (windows), sums over tokens
  nll: number[]; // (windows), sums over tokens
}

await new Command('bench:refining')
  .description('Measures what quantizing costs with error feedback, beside what it costs without.')
  .argument('[pattern]', 'measure only the rows whose names match this regular expression', parsePattern)
  .addOption(
    new Option('--windows <n>', 'windows of 256 tokens, or stories').argParser(parseInteger(1, 1e4)).default(60),
  )
  .addOption(new Option('--threads <n>', 'threads').argParser(parseInteger(1, 64)).default(cpus().length))
  .option('--models <names>', 'models to measure; of stories, beside the embedded one', list, ['books-llama'])
  .option('--grids <names>', 'grids', list, ['t4', 't3', 't2', 'p2n256', 'p2n64', 'p2n16'])
  .option('--budgets <list>', 'bits per weight of plans', (text) => list(text).map(Number), [3.06])
  .option('--modes <names>', 'by gradients too, or by inputs alone', list, ['inputs', 'both'])
  .option('--gptq <list>', 'also measure GPTQ with groups of 128, of these bits', (text) => list(text).map(Number), [])
  .addOption(new Option('--seeds <n>', 'seeds of the random signs').argParser(parseInteger(1, 100)).default(1))
  .addOption(new Option('--sequences <n>', 'sequences of 256 tokens').argParser(parseInteger(1, 65535)).default(128))
  .addOption(new Option('--source <name>', 'tokens').choices(['model', 'random', 'text']).default('model'))
  .option('--statistics <file>', 'statistics that were gathered before, of both kinds')
  .option('--alphas <file>', 'sensitivities that were measured with them')
  .option('--data <dir>', 'where models of stories are (models/NAME), and their text (text/tinystories.txt)', '.')
  .option('--times <shapes>', 'measure time alone, of matrices of these rows and columns, as 1024x4096', list)
  .option('--json', 'print JSON')
  .action(measure)
  .parseAsync();

async function measure(rows: RegExp = /(?:)/, options: Options): Promise<void> {
  const { threads, windows, sequences, source, seeds } = options;
  const higgs = await load(undefined, { grids: largeGrids });
  const pool = await startPool(threads);
  const closers: (() => Promise<void>)[] = [pool.close];
  const tables: Table[] = [];
  if (options.times)
    tables.push(
      timesTable(
        options.times,
        options.grids.map((name) => higgs.grids.get(name)!),
      ),
    );
  for (const name of options.times ? [] : options.models) {
    const subject = await subjectOf(name, windows, options.data);
    const { folder, texts, context, otherText } = subject;
    const { scoreEach, remember } = scorerOf(higgs, subject, threads);
    const original = await remember(folder);
    closers.push(original.close, folder.close);
    const refinements = new Map<string, Promise<RefineOptions>>();
    // Statistics of both kinds come from one gathering; what is by inputs alone leaves the weights of tokens.
    const refining = (mode: 'both' | 'inputs'): Promise<RefineOptions> => {
      const existing = refinements.get(mode) ?? gather(mode);
      refinements.set(mode, existing);
      return existing;
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
    const plain = new Map<string, Promise<Scored>>();
    const run = async (settings: CheckpointOptions): Promise<Scored> => {
      const began = performance.now();
      const output = memoryOutput();
      const report = await higgs.quantizeCheckpoint(folder, output, { ...settings, pool });
      const seconds = (performance.now() - began) / 1000;
      const predicted = report.predicted?.delta;
      const about = { bitsPerWeight: report.bpw, t2: report.relativeError, seconds, predicted };
      return scored(output.folder(), about);
    };
    async function scored(candidate: Folder, about: Cells): Promise<Scored> {
      const score = await scoreEach(candidate, 'f32', original);
      const tokens = score.map(({ tokensScored }) => tokensScored);
      const nll = score.map(({ meanNll }, i) => meanNll * tokens[i]);
      const kl = score.map(({ against }, i) => against!.meanKl * tokens[i]);
      const [meanKl, perplexity] = [ratioOf(kl, tokens), Math.exp(sum(nll) / sum(tokens))];
      return { cells: { ...about, perplexity, meanKl: meanKl.value, klError: meanKl.error }, tokens, kl, nll };
    }
    // Of the same tokens as what refines by inputs.
    const byGptq = async (bits: number): Promise<Cells> => {
      const { statistics } = await refining('inputs');
      const candidate = await restore(higgs, folder, async (weights, rows, cols, name) => {
        const [inputs] = await statistics!.inputs(name);
        return gptq(weights, rows, cols, { inputs, bits, groupSize: 128 });
      });
      const { bitsPerWeight, meanT2 } = candidate;
      return (await scored(candidate.folder, { bitsPerWeight, t2: meanT2 })).cells;
    };
    const plainOf = (key: string, settings: CheckpointOptions) => {
      const existing = plain.get(key) ?? run(settings);
      plain.set(key, existing);
      return existing;
    };
    const printed: Row[] = [];
    for (let seed = 0; seed < seeds; seed++) {
      const kinds = [
        ...options.grids.map((grid) => ({ name: grid, settings: { grid, seed } as CheckpointOptions })),
        ...options.budgets.map((bpw) => ({ name: `plan ${bpw}`, settings: { bpw, seed } as CheckpointOptions })),
      ];
      for (const { name, settings } of kinds) {
        const label = seeds > 1 ? `${name} seed ${seed}` : name;
        const withAlphas = async () =>
          settings.bpw === undefined ? settings : { ...settings, alphas: (await refining('both')).alphas! };
        const planned = async () => plainOf(label, await withAlphas());
        printed.push({ name: `${label} plain`, measure: async () => (await planned()).cells });
        for (const mode of options.modes) {
          printed.push({
            name: `${label} ${mode}`,
            measure: async () => {
              const base = await planned();
              const result = await run({ ...(await withAlphas()), refine: await refining(mode) });
              return { ...result.cells, ...besides(result, base) };
            },
          });
        }
      }
    }
    for (const bits of options.gptq) {
      printed.push({ name: `GPTQ int${bits} g128`, measure: () => byGptq(bits) });
    }
    const count = texts.reduce((sum, { length }) => sum + length, 0);
    const title = `${name}, ${count} tokens of ${texts.length} texts, context ${context}; ${sequences} sequences, source ${source}`;
    tables.push({ title, columns, rows: printed });
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

/** What a checkpoint's loss is beside another's, over the same windows. */
function besides(score: Scored, base: Scored): Cells {
  const ratio = ratioOf(score.kl, base.kl);
  const change = ratioOf(
    score.nll.map((nll, i) => nll - base.nll[i]),
    base.tokens,
  );
  return { ratio: ratio.value, ratioError: ratio.error, change: change.value, changeError: change.error };
}
