// Whole checkpoints, each run a child process: higgs quantize by scheme and workers, and beside llama-quantize.

import { copyFile, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCheckpoint } from './checkpoint.ts';
import { BPW } from './errors.ts';
import type { FloatType } from './gaussian.ts';
import { writeGguf } from './gguf.ts';
import { medianOf } from './measure.ts';
import { linearWeights, type ModelTensor, shapeOf, sizeOf, tensorsOf } from './models.ts';
import { type Run, run } from './process.ts';
import { type Cells, type Column, column, type Row, type Table } from './table.ts';

const CLI = fileURLToPath(new URL('../higgs.js', import.meta.url));

/** What is measured, and where. */
export interface FileOptions {
  model: string;
  /** A directory for inputs and outputs; the caller removes it. */
  directory: string;
  grids: readonly string[];
  /** Numbers of workers, or of threads. */
  workers: readonly number[];
  /** Runs of each row. */
  runs: number;
}

export interface LlamaOptions {
  /** The binary. */
  path: string;
  types: readonly string[];
  /** Of the weights in the GGUF. */
  dtype: FloatType;
}

const columns: readonly Column[] = [
  column('seconds (best)', 'seconds', 3),
  column('(median)', 'medianSeconds', 3),
  column('M weights/s', 'weightsPerSecond', 4, 1e6),
  column('GB/s', 'gigabytesPerSecond', 3),
];
const PEAK: Column = { title: 'peak MB', key: 'peakBytes', text: (bytes) => (bytes / 1e6).toFixed(0) };

/** Quantizing by scheme and workers; weights are those of the linear layers, bytes are read and written. */
export function fileTable(options: FileOptions): Table {
  const { model, grids, workers } = options;
  const input = checkpoint(options);
  let copySpeed: number | undefined;
  const copy: Row = {
    name: 'copy of the input',
    measure: async () => {
      const file = join(await input(), 'model.safetensors');
      const to = join(options.directory, 'copy');
      const times = await repeat(options.runs, async () => {
        const start = performance.now();
        await copyFile(file, to);
        const seconds = (performance.now() - start) / 1e3;
        await rm(to);
        return { seconds, peakBytes: undefined };
      });
      const cells = speeds(times, (await stat(file)).size * 2);
      copySpeed = cells.gigabytesPerSecond;
      return cells;
    },
  };
  return {
    title: `${model} to a file: linear layers, ${(linearWeights(shapeOf(model)) / 1e6).toFixed(0)} M weights, from bf16`,
    columns: [...columns, column('× copy', 'timesCopy', 2), BPW, PEAK],
    rows: [
      copy,
      ...grids.flatMap((grid) =>
        workers.map((count): Row => {
          return {
            name: `higgs quantize ${grid}, ${plural(count, 'worker')}`,
            measure: async () => {
              const cells = await higgs(options, await input(), grid, count);
              return { ...cells, timesCopy: copySpeed && (cells.gigabytesPerSecond as number) / copySpeed };
            },
          };
        }),
      ),
    ],
  };
}

/** The same shapes by llama-quantize, which leaves the embedding in bf16, too. */
export function llamaTable(options: FileOptions, llama: LlamaOptions): Table {
  const { model, directory, grids, workers } = options;
  const input = checkpoint(options);
  const gguf = once(async () => {
    const path = join(directory, 'input.gguf');
    await writeGguf(model, path, llama.dtype);
    return path;
  });
  const grid = grids[0];
  const ours = new Map<number, number>();
  return {
    title: `${model} beside llama-quantize (from ${llama.dtype}); ratio: speed of ${grid} over the row's, as many threads`,
    columns: [...columns, column('ratio', 'ratio', 3), BPW, PEAK],
    rows: workers.flatMap((threads) => [
      {
        name: `higgs quantize ${grid}, ${plural(threads, 'worker')}`,
        measure: async () => {
          const cells = await higgs(options, await input(), grid, threads);
          ours.set(threads, cells.weightsPerSecond as number);
          return cells;
        },
      },
      ...llama.types.map((type): Row => {
        return {
          name: `llama-quantize ${type}, ${plural(threads, 'thread')}`,
          measure: async () => {
            const from = await gguf();
            const to = join(directory, 'output.gguf');
            const keep = ['--token-embedding-type', 'bf16', '--output-tensor-type', 'bf16'];
            const runs = await repeat(options.runs, async () => {
              await rm(to, { force: true });
              return run(llama.path, [...keep, from, to, type, String(threads)]);
            });
            const cells = cellsOf(model, runs, (await stat(from)).size, (await stat(to)).size, 4);
            await rm(to);
            const speed = ours.get(threads);
            return { ...cells, ratio: speed && speed / (cells.weightsPerSecond as number) };
          },
        };
      }),
    ]),
  };
}

// Writes the checkpoint when the first row needs it; tables of one run share it.
const checkpoints = new Map<string, () => Promise<string>>();
function checkpoint({ model, directory }: FileOptions): () => Promise<string> {
  const path = join(directory, model);
  const existing = checkpoints.get(path);
  if (existing) return existing;
  const write = once(async () => {
    await mkdir(path);
    await writeCheckpoint(model, path);
    return path;
  });
  checkpoints.set(path, write);
  return write;
}

async function higgs(options: FileOptions, input: string, grid: string, workers: number): Promise<Cells> {
  const output = join(options.directory, 'output');
  const runs = await repeat(options.runs, async () => {
    await rm(output, { recursive: true, force: true });
    const args = ['quantize', input, '-o', output, '--grid', grid, '--workers', String(workers)];
    return run(process.execPath, [CLI, ...args]);
  });
  const cells = cellsOf(options.model, runs, await bytesIn(input), await bytesIn(output), 2);
  await rm(output, { recursive: true });
  return cells;
}

// Bits per weight of the linear layers: what the output holds beside the embedding in bf16 and the norms, headers included.
function cellsOf(
  model: string,
  runs: readonly Run[],
  bytesRead: number,
  bytesWritten: number,
  normBytes: number,
): Cells {
  const shape = shapeOf(model);
  const weights = linearWeights(shape);
  const other = tensorsOf(shape)
    .filter(({ linear }) => !linear)
    .reduce((sum, { shape }: ModelTensor) => sum + sizeOf(shape) * (shape.length === 1 ? normBytes : 2), 0);
  const cells = speeds(runs, bytesRead + bytesWritten);
  return { ...cells, weightsPerSecond: weights / cells.seconds, bitsPerWeight: ((bytesWritten - other) * 8) / weights };
}

function speeds(runs: readonly Run[], bytes: number) {
  const seconds = runs.map((run) => run.seconds).sort((a, b) => a - b);
  const peaks = runs.flatMap(({ peakBytes }) => peakBytes ?? []);
  return {
    seconds: seconds[0],
    medianSeconds: medianOf(seconds),
    gigabytesPerSecond: bytes / seconds[0] / 1e9,
    peakBytes: peaks.length > 0 ? Math.max(...peaks) : undefined,
  };
}

async function repeat(times: number, work: () => Promise<Run>): Promise<Run[]> {
  const runs = [];
  for (let i = 0; i < times; i++) runs.push(await work());
  return runs;
}

async function bytesIn(path: string): Promise<number> {
  const sizes = (await readdir(path)).map(async (name) => (await stat(join(path, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
