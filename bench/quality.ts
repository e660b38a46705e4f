// npm run bench:quality: what quantizing costs language models, by HIGGS schemes and by other data-free quantizers: perplexity, and
// how far predictions are from the original's, at counted bits per weight. Linear weights are quantized, embeddings are not.

import { cpus, release, type } from 'node:os';
import { Command, Option } from 'commander';
import { largeGrids } from '../src/grids/large.ts';
import { type CheckpointOptions, type Higgs, load } from '../src/index.ts';
import { parseInteger, parsePattern } from '../src/terminal/usage.ts';
import { memoryOutput } from '../tests/checkpoints.ts';
import { baselines } from './baselines.ts';
import { BPW } from './errors.ts';
import { type Candidate, restore } from './restored.ts';
import { type Comparison, scorerOf } from './scorer.ts';
import { type Subject, subjectOf } from './subjects.ts';
import { type Cells, type Column, printJson, printMarkdown, type Row, type Table } from './table.ts';

interface Options {
  windows: number;
  seeds: number;
  threads: number;
  models: string[];
  data: string;
  json?: boolean;
}

const GRIDS = [
  'p1n4',
  'p2n16',
  'p4n256',
  't2',
  'p4n1024',
  'p1n8',
  'p2n64',
  'p3n512',
  'p4n4096',
  't3',
  'p1n16',
  'p2n256',
  'p3n4096',
  't4',
  't4q',
];
/** Grids that are measured with small groups and many seeds, too. */
const FAMILIAR_GRIDS = ['p2n16', 'p2n64', 'p2n256', 't2', 't3', 't4'];
/** Products in integers are the same for all grids but p1n16, which has fewer bits. */
const INTEGER_GRIDS = [...FAMILIAR_GRIDS, 'p1n16'];
/** Groups as small as other quantizers have them, for as many bits. */
const SMALL_GROUPS = [64, 32];

const perplexityColumns: readonly Column[] = [
  decimals('perplexity', 'perplexity', 3),
  decimals('±', 'perplexityError', 3),
];
const columns: readonly Column[] = [
  BPW,
  decimals('mean t²', 'meanT2', 5),
  ...perplexityColumns,
  decimals('÷ original’s', 'ratio', 4),
  decimals('±', 'ratioError', 4),
  decimals('mean KL', 'meanKl', 5),
  decimals('±', 'klError', 5),
  decimals('same top token, %', 'top1Agreement', 1, 0.01),
];
const integerColumns: readonly Column[] = [
  ...perplexityColumns,
  decimals('÷ f32’s', 'ratio', 6),
  decimals('±', 'ratioError', 6),
  decimals('mean KL', 'meanKl', 7),
  decimals('same top token, %', 'top1Agreement', 2, 0.01),
];
const signColumns: readonly Column[] = [
  decimals('÷ original’s: signed, mean', 'ratio', 4),
  decimals('lowest', 'lowestRatio', 4),
  decimals('highest', 'highestRatio', 4),
  decimals('unsigned', 'unsignedRatio', 4),
  decimals('KL: signed, mean', 'meanKl', 5),
  decimals('lowest', 'lowestKl', 5),
  decimals('highest', 'highestKl', 5),
  decimals('unsigned', 'unsignedKl', 5),
];

await new Command('bench:quality')
  .description('Measures what quantizing linear weights costs: perplexity, and divergence from the original.')
  .argument('[pattern]', 'measure only the rows whose names match this regular expression', parsePattern)
  .addOption(
    new Option('--windows <n>', 'windows of 256 tokens, or stories').argParser(parseInteger(1, 1e4)).default(16),
  )
  .addOption(new Option('--seeds <n>', 'seeds of the random signs').argParser(parseInteger(1, 100)).default(4))
  .addOption(new Option('--threads <n>', 'threads').argParser(parseInteger(1, 64)).default(cpus().length))
  .option('--models <names>', 'models to measure; of stories, beside the embedded one', (text) => text.split(','), [
    'books-llama',
  ])
  .option('--data <dir>', 'where models of stories are (models/NAME), and their text (text/tinystories.txt)', '.')
  .option('--json', 'print JSON')
  .action(measure)
  .parseAsync();

async function measure(rows: RegExp = /(?:)/, options: Options): Promise<void> {
  const environment = {
    processor: `${cpus()[0]?.model.trim()}, ${cpus().length} cores`,
    system: `${type()} ${release()}`,
    runtime: `Node ${process.versions.node}, V8 ${process.versions.v8}`,
    command: process.argv.slice(2).join(' '),
  };
  const higgs = await load(undefined, { grids: largeGrids });
  const closers: (() => Promise<void>)[] = [];
  const tables: Table[] = [];
  for (const name of options.models) {
    const subject = await subjectOf(name, options.windows, options.data);
    tables.push(...(await tablesOf(higgs, subject, options, closers)));
  }
  if (options.json) await printJson(tables, rows, environment);
  else {
    console.log(Object.values(environment).slice(0, 3).join(' · '));
    await printMarkdown(tables, rows);
  }
  for (const close of closers) await close();
}

async function tablesOf(
  higgs: Higgs,
  subject: Subject,
  { seeds, threads }: Options,
  closers: (() => Promise<void>)[],
): Promise<Table[]> {
  const { name, folder, texts, context } = subject;
  const { score, remember } = scorerOf(higgs, subject, threads);
  const original = await remember(folder);
  closers.push(original.close, folder.close);

  const quantize = async (options: CheckpointOptions): Promise<Candidate> => {
    const output = memoryOutput();
    const { bpw, tensors } = await higgs.quantizeCheckpoint(folder, output, options);
    const meanT2 = tensors.reduce((sum, { relativeError }) => sum + relativeError, 0) / tensors.length;
    return { folder: output.folder(), bitsPerWeight: bpw, meanT2 };
  };
  const compare = async ({ folder, ...others }: Candidate): Promise<Cells & Comparison> => {
    const { against, ...cells } = await score(folder, 'f32', original);
    return { ...others, ...cells, ...against! };
  };
  // Tables share rows: a scheme is measured once.
  const schemes = new Map<string, Promise<Cells & Comparison>>();
  const compareScheme = (options: CheckpointOptions): Promise<Cells & Comparison> => {
    const key = JSON.stringify({ seed: 0, ...options });
    const compared = schemes.get(key) ?? quantize(options).then(compare);
    schemes.set(key, compared);
    return compared;
  };
  const higgsRow = (name: string, options: CheckpointOptions): Row => {
    return { name: name.startsWith('t') ? name : `HIGGS ${name}`, measure: () => compareScheme(options) };
  };
  const tokens = texts.reduce((sum, { length }) => sum + length, 0);
  const scored = `${name}, ${tokens} tokens of ${texts.length} texts, context ${context}`;

  const quantizers: Table = {
    title: scored,
    columns,
    rows: [
      {
        name: 'original',
        measure: async () => {
          const { against, ...cells } = await score(folder, 'f32');
          return cells;
        },
      },
      ...GRIDS.flatMap((grid) => [
        higgsRow(grid, { grid }),
        higgsRow(`${grid} scale search`, { grid, scaleSearch: true }),
        higgsRow(`${grid} unsigned`, { grid, signs: 'none' }),
        ...(FAMILIAR_GRIDS.includes(grid)
          ? SMALL_GROUPS.map((groupSize) => higgsRow(`${grid} g${groupSize}`, { grid, groupSize }))
          : []),
      ]),
      ...Object.entries(baselines).map(([name, baseline]): Row => {
        return { name, measure: async () => compare(await restore(higgs, folder, baseline)) };
      }),
    ],
  };

  const integers: Table = {
    title: `${scored}: products in integers, against products in f32`,
    columns: integerColumns,
    rows: INTEGER_GRIDS.map((grid): Row => {
      return {
        name: `int8 ${grid}`,
        measure: async () => {
          const { folder } = await quantize({ grid });
          const against = await remember(folder);
          const measured = await score(folder, 'int8', against);
          await against.close();
          const { against: compared, ...cells } = measured;
          return { ...cells, ...compared };
        },
      };
    }),
  };

  const signs: Table = {
    title: `${scored}: ${seeds} seeds of the signs, and no signs`,
    columns: signColumns,
    rows: FAMILIAR_GRIDS.map((grid): Row => {
      return {
        name: `seeds ${grid}`,
        measure: async () => {
          const signed: Comparison[] = [];
          for (let seed = 0; seed < seeds; seed++) signed.push(await compareScheme({ seed, grid }));
          const unsigned = await compareScheme({ grid, signs: 'none' });
          const [ratios, kls] = [signed.map(({ ratio }) => ratio), signed.map(({ meanKl }) => meanKl)];
          return {
            ...{ ratio: meanOf(ratios), lowestRatio: Math.min(...ratios), highestRatio: Math.max(...ratios) },
            ...{ meanKl: meanOf(kls), lowestKl: Math.min(...kls), highestKl: Math.max(...kls) },
            ...{ unsignedRatio: unsigned.ratio, unsignedKl: unsigned.meanKl },
          };
        },
      };
    }),
  };
  return [quantizers, integers, signs];
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function decimals(title: string, key: string, digits: number, unit = 1): Column {
  return { title, key, text: (value) => (value / unit).toFixed(digits) };
}
