// Quantizes a checkpoint as it streams by: blocks of rows are read, encoded by the pool and written in order.
// Memory holds a few blocks a worker and one tensor's scales, whatever the checkpoint's size.

import type { CheckpointTensor } from '../checkpoint/checkpoint.ts';
import { INDEX_NAME } from '../checkpoint/checkpoint.ts';
import { indexJson } from '../checkpoint/safetensors/layout.ts';
import { FormatError } from '../errors.ts';
import { bytesPerWeight, FACTOR_COLS, type Kernels, rowsPerBlock } from '../kernels/kernels.ts';
import type { OutputFolder, ResumableFolder } from '../source/source.ts';
import type { Results } from '../workers/jobs.ts';
import type { Pool } from '../workers/pool.ts';
import { type JournalEntry, openJournal, type Resume } from './journal.ts';
import { inOrder } from './pipeline.ts';
import type { Plan, PlanItem, PlannedShard } from './plan.ts';
import { type Report, reportOf } from './report.ts';
import { gridBytes } from './stored-grid.ts';
import { openShard, type ShardWriter, writeWhole } from './writer.ts';

/** Bytes of a tensor that passes through which are read at a time. */
const COPY_BYTES = 4 << 20;

/** How far a run is. */
export interface Progress {
  /** The tensor at work. */
  tensor: string;
  bytesRead: number;
  bytesIn: number;
  /** Weights quantized, of all that will be. */
  weightsDone: number;
  weights: number;
}

export interface RunOptions {
  pool: Pool;
  /** Kernels of the calling thread, for checksums. */
  kernels: Kernels;
  /** Whether the scale of each group is searched for; see MatrixOptions. */
  scaleSearch?: boolean | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Stops the run between two blocks. */
  signal?: AbortSignal | undefined;
  /** Keeps a journal, and goes on with an interrupted run of the same identity. Needs a resumable output. */
  resume?: Resume | undefined;
}

type Block =
  | { kind: 'bytes'; item: PlanItem; bytes: ArrayBuffer; last: boolean }
  | {
      kind: 'rows';
      item: PlanItem & { kind: 'quantize' };
      encoded: Results['encode'];
      bytesRead: number;
      last: boolean;
    };

/**
 * Carries out a plan. The bytes written depend on the plan and the weights alone.
 * @param output where the files go; their names are the plan's
 * @throws {FormatError} when a weight is not finite or too large for f16 scales: names file, tensor and place
 */
export async function runPlan(
  plan: Plan,
  output: OutputFolder | ResumableFolder,
  options: RunOptions,
): Promise<Report> {
  const { pool, kernels, scaleSearch = false, onProgress, signal, resume } = options;
  const journal =
    resume &&
    (await openJournal(output as ResumableFolder, plan, kernels, {
      ...resume,
      identity: `${resume.identity}${scaleSearch ? ', scales searched' : ''}`,
    }));
  const progress: Progress = { tensor: '', bytesRead: 0, bytesIn: plan.bytesIn, weightsDone: 0, weights: plan.weights };
  const sums = new Map<string, { error: number; norm: number }>();

  const begun = plan.shards.map((shard) => ({ shard, done: journal?.done(shard) ?? [] }));
  for (const { shard, done } of begun) {
    for (const [index, entry] of done.entries()) {
      const item = shard.items[index];
      if (item.kind === 'quantize') {
        sums.set(item.quantized.name, { error: entry.sums![0], norm: entry.sums![1] });
        progress.weightsDone += item.quantized.rows * item.quantized.cols;
      }
      progress.bytesRead += inputBytes(item);
    }
  }

  const items = begun.flatMap(({ shard, done }) => shard.items.slice(done.length));
  const spares: ArrayBuffer[] = []; // of weights that are encoded, for the next; what was written out a sink may still hold
  const blocks = inOrder(tasks(items, { pool, scaleSearch, spares }), 3 * pool.size + 1);
  try {
    for (const { shard, done } of begun) {
      await writeShard(shard, done);
    }
  } finally {
    await blocks.return();
    await journal?.close();
  }
  const index = indexJson(plan.shards);
  if (index !== undefined) await writeWhole(output, INDEX_NAME, new TextEncoder().encode(index));
  return reportOf(plan, sums);

  async function writeShard(shard: PlannedShard, done: readonly JournalEntry[]): Promise<void> {
    const writer = await openShard(shard, output, kernels, done);
    try {
      for (const item of shard.items.slice(done.length)) await writeItem(item, writer);
      await writer.finish();
    } catch (error) {
      await writer.abort(error).catch(() => {}); // the first error is the one to tell
      throw error;
    }
  }

  async function writeItem(item: PlanItem, writer: ShardWriter): Promise<void> {
    const scales: Uint16Array[] = [];
    let [error, norm] = [0, 0];
    progress.tensor = nameOf(item);
    onProgress?.(progress);
    await writer.begin();
    for (let last = false; !last; ) {
      signal?.throwIfAborted();
      const block = (await blocks.next()).value as Block;
      last = block.last;
      if (block.kind === 'bytes') {
        await writer.write(new Uint8Array(block.bytes));
        progress.bytesRead += item.kind === 'grid' ? 0 : block.bytes.byteLength;
      } else {
        const { encoded, bytesRead } = block;
        spares.push(encoded.spare);
        await writer.write(encoded.packed);
        scales.push(encoded.scales);
        for (let i = 0; i < encoded.sums.length; i += 2) {
          error += encoded.sums[i];
          norm += encoded.sums[i + 1];
        }
        progress.bytesRead += bytesRead;
        progress.weightsDone += (encoded.sums.length / 2) * block.item.quantized.cols;
      }
      onProgress?.(progress);
    }
    const checksums = [writer.end()];
    if (item.kind !== 'quantize') {
      await journal?.append({ checksums });
      return;
    }
    await writer.begin();
    for (const part of scales) await writer.write(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    checksums.push(writer.end());
    writer.noteErrors(error, norm);
    sums.set(item.quantized.name, { error, norm });
    if (item.factors) progress.bytesRead += item.factors.end - item.factors.start;
    await journal?.append({ checksums, sums: [error, norm] });
  }
}

function nameOf(item: PlanItem): string {
  return item.kind === 'grid' ? item.grid.name : item.tensor.name;
}

function inputBytes(item: PlanItem): number {
  if (item.kind === 'grid') return 0;
  const factors = item.kind === 'quantize' && item.factors ? item.factors.end - item.factors.start : 0;
  return item.tensor.end - item.tensor.start + factors;
}

// What blocks are encoded by.
interface Means {
  pool: Pool;
  scaleSearch: boolean;
  spares: ArrayBuffer[];
}

// Every block of every item, as a task that reads it and, for weights, has it encoded.
function* tasks(items: readonly PlanItem[], means: Means): Generator<() => Promise<Block>> {
  for (const item of items) {
    if (item.kind === 'grid') {
      const bytes = gridBytes(item.grid);
      yield async () => ({ kind: 'bytes', item, bytes, last: true });
    } else if (item.kind === 'copy') {
      const size = item.tensor.end - item.tensor.start;
      for (let start = 0, last = false; !last; start += COPY_BYTES) {
        const end = Math.min(size, start + COPY_BYTES);
        last = end === size;
        yield async () => ({
          kind: 'bytes',
          item,
          bytes: await item.tensor.file.read(item.tensor, start, end),
          last: end === size,
        });
      }
    } else {
      yield* rowTasks(item, means);
    }
  }
}

function* rowTasks(
  item: PlanItem & { kind: 'quantize' },
  { pool, scaleSearch, spares }: Means,
): Generator<() => Promise<Block>> {
  const { tensor, quantized, factors } = item;
  const { rows, cols, dtype, scheme } = quantized;
  const { grid, groupSize, seed } = scheme;
  const rowBytes = cols * bytesPerWeight[dtype];
  const step = rowsPerBlock(cols);
  let rowFactors: Promise<(firstRow: number, count: number) => Float32Array> | undefined;
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    yield async () => {
      if (factors && !rowFactors) {
        rowFactors = readFactors(factors, tensor);
        rowFactors.catch(() => {}); // reported where it is awaited
      }
      const [start, end] = [first * rowBytes, (first + count) * rowBytes];
      const bytes = new Uint8Array(await tensor.file.read(tensor, start, end, spares.pop()));
      const weights = { bytes, dtype, ...(rowFactors && { factors: (await rowFactors)(first, count) }) };
      const matrix = { rows: count, cols, grid, groupSize, seed };
      const bytesRead = bytes.byteLength;
      try {
        const encoded = await pool.run({ kind: 'encode', matrix, weights, options: { firstRow: first, scaleSearch } });
        return { kind: 'rows', item, encoded, bytesRead, last: first + count === rows };
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw new FormatError(error.message, { file: tensor.file.file, tensor: tensor.name });
      }
    };
  }
}

/** The factors of block-scaled F8 weights, spread to one row of factors for each row of weights. */
export async function readFactors(
  factors: CheckpointTensor,
  tensor: CheckpointTensor,
): Promise<(firstRow: number, count: number) => Float32Array> {
  const bytes = await factors.file.read(factors);
  const values = new Float32Array(factors.dtype === 'F32' ? bytes : widenBf16(bytes));
  const stride = factors.shape.at(-1)!;
  const rows = tensor.shape.at(-2)!; // of one expert, in a stack
  const factorRows = factors.shape.at(-2)!;
  return (firstRow, count) => {
    const spread = new Float32Array(count * stride);
    for (let i = 0; i < count; i++) {
      const expert = Math.floor((firstRow + i) / rows);
      const row = expert * factorRows + Math.floor(((firstRow + i) % rows) / FACTOR_COLS);
      spread.set(values.subarray(row * stride, (row + 1) * stride), i * stride);
    }
    return spread;
  };
}

function widenBf16(bytes: ArrayBuffer): ArrayBuffer {
  return Uint32Array.from(new Uint16Array(bytes), (h) => h << 16).buffer;
}
