// Quantizes a checkpoint as it streams by: its blocks are read, encoded by the pool and written in order.
// Memory holds a few blocks a worker and one tensor's scales, whatever the checkpoint's size.

import { INDEX_NAME } from '../checkpoint/checkpoint.ts';
import { indexJson } from '../checkpoint/safetensors/layout.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { OutputFolder, ResumableFolder } from '../source/source.ts';
import type { Results } from '../workers/jobs.ts';
import type { Pool } from '../workers/pool.ts';
import { blocksOf, codeBlocksOf, naming, piecesOf, wholeOf } from './blocks.ts';
import { matrixOf, type QuantizedWeight } from './format.ts';
import { type JournalEntry, openJournal, type Resume } from './journal.ts';
import { inOrder, untilLast } from './pipeline.ts';
import type { Plan, PlanItem, PlannedShard } from './plan.ts';
import { type Refinement, type Turns, takingTurns, type WeightedError, weightedError } from './refinement.ts';
import { type Report, reportOf } from './report.ts';
import type { SquareSums } from './scheme.ts';
import { gridBytes } from './stored-grid.ts';
import { openShard, type ShardWriter, writeWhole } from './writer.ts';

/** How far a run is. */
export interface Progress {
  /** The tensor at work. */
  tensor: string;
  /** Bytes of tensors read so far. */
  bytesRead: number;
  /** Bytes of tensors that will be read. */
  bytesIn: number;
  /** Weights quantized, of all that will be. */
  weightsDone: number;
  /** Weights that will be quantized. */
  weights: number;
}

/** How a plan is carried out. */
export interface WritingOptions {
  /** Where blocks are encoded. */
  pool: Pool;
  /** Kernels of the calling thread, for checksums. */
  kernels: Kernels;
  /** Whether the scale of each group is searched for; see MatrixOptions. */
  scaleSearch?: boolean | undefined;
  /** What the plan was made with. */
  refinement?: Refinement | undefined;
  /** Called when a tensor begins, and after each of its blocks. */
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Stops the run between two blocks. */
  signal?: AbortSignal | undefined;
  /** Keeps a journal, and goes on with an interrupted run of the same identity. Needs a resumable output. */
  resume?: Resume | undefined;
  /** Codes that are there already: they are put together, and nothing is encoded. */
  encoded?: MadeCodes | undefined;
}

/** Codes of a plan's weights that earlier runs made. */
export interface MadeCodes {
  /** Where the codes of a weight stand, and its squared sums. Some part has each. */
  of(item: PlanItem & { kind: 'quantize' }): { readonly stored: QuantizedWeight; readonly sums: SquareSums };
  /** @throws {FormatError} when bytes that were written are not those that were made: their CRC-32 tell */
  check(item: PlanItem, checksums: readonly number[]): void;
}

/** A part of an item that is ready to be written: bytes as they are, or encoded rows. */
type ReadyPart = { isLast: boolean; bytes: Uint8Array } | EncodedRows;

/** Rows of a tensor, encoded. */
interface EncodedRows {
  readonly isLast: boolean;
  readonly encoded: Results['encode'] & { readonly weighted?: Float64Array };
  readonly bytesRead: number;
}

/**
 * Carries out a plan. The bytes written depend on the plan and the weights alone.
 * @param output where the files go; their names are the plan's
 * @throws {FormatError} when a weight is not finite or too large for f16 scales: names file, tensor and place
 */
export async function runPlan(
  plan: Plan,
  output: OutputFolder | ResumableFolder,
  options: WritingOptions,
): Promise<Report> {
  const { pool, kernels, scaleSearch = false, refinement, onProgress, signal, resume, encoded } = options;
  const journal =
    resume &&
    (await openJournal(output as ResumableFolder, plan, kernels, {
      ...resume,
      identity: `${resume.identity}${scaleSearch ? ', scales searched' : ''}`,
    }));
  const bytesIn = plan.items.reduce((sum, item) => sum + inputBytes(item), 0); // as they are read, decoded
  const progress: Progress = { tensor: '', bytesRead: 0, bytesIn, weightsDone: 0, weights: plan.weights };
  const sums = new Map<string, SquareSums>();

  const begun = plan.shards.map((shard) => ({ shard, done: journal?.done(shard) ?? [] }));
  for (const { shard, done } of begun) {
    for (const [index, entry] of done.entries()) {
      const item = shard.items[index];
      if (item.kind === 'quantize') {
        const [squaredError, squaredNorm] = entry.sums!;
        const [error, gain] = entry.weighted ?? [];
        const weighted = gain === undefined ? undefined : { error: error!, gain };
        sums.set(item.quantized.name, { squaredError, squaredNorm, weighted });
        progress.weightsDone += item.quantized.rows * item.quantized.cols;
      }
      progress.bytesRead += inputBytes(item);
    }
  }

  const items = begun.flatMap(({ shard, done }) => shard.items.slice(done.length));
  const spares: ArrayBuffer[] = []; // of weights that are encoded, for the next; what was written out a sink may still hold
  const blocks = inOrder(
    tasks(items, { pool, scaleSearch, spares, refinement, turn: takingTurns(pool.size + 1), encoded }),
    3 * pool.size + 1,
  );
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
    let [squaredError, squaredNorm] = [0, 0];
    let weighted: WeightedError | undefined;
    progress.tensor = nameOf(item);
    onProgress?.(progress);
    await writer.begin();
    for await (const block of untilLast(blocks, signal)) {
      if ('bytes' in block) {
        await writer.write(block.bytes);
        progress.bytesRead += item.kind === 'grid' ? 0 : block.bytes.length;
      } else {
        const { encoded, bytesRead } = block;
        spares.push(encoded.spare);
        await writer.write(encoded.packed);
        scales.push(encoded.scales);
        if (encoded.weighted) weighted = weightedError(encoded.weighted);
        for (let i = 0; i < encoded.sums.length; i += 2) {
          squaredError += encoded.sums[i];
          squaredNorm += encoded.sums[i + 1];
        }
        progress.bytesRead += bytesRead;
        progress.weightsDone += (encoded.sums.length / 2) * (item.kind === 'quantize' ? item.quantized.cols : 0);
      }
      onProgress?.(progress);
    }
    const checksums = [writer.end()];
    if (item.kind !== 'quantize') {
      encoded?.check(item, checksums);
      await journal?.append({ checksums });
      return;
    }
    await writer.begin();
    for (const part of scales) await writer.write(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    checksums.push(writer.end());
    encoded?.check(item, checksums);
    writer.noteErrors({ squaredError, squaredNorm, weighted });
    sums.set(item.quantized.name, { squaredError, squaredNorm, weighted });
    progress.bytesRead += item.tensor.factors?.byteLength ?? 0;
    const noted = weighted && { weighted: [weighted.error, weighted.gain] as [number, number] };
    await journal?.append({ checksums, sums: [squaredError, squaredNorm], ...noted });
  }
}

function nameOf(item: PlanItem): string {
  return item.kind === 'grid' ? item.grid.name : item.tensor.name;
}

function inputBytes(item: PlanItem): number {
  if (item.kind === 'grid') return 0;
  return item.tensor.byteLength + (item.kind === 'quantize' ? (item.tensor.factors?.byteLength ?? 0) : 0);
}

// What blocks are encoded by.
interface EncodingMeans {
  pool: Pool;
  scaleSearch: boolean;
  spares: ArrayBuffer[];
  refinement: Refinement | undefined;
  /** A refined matrix is in memory whole: few are at a time. */
  turn: Turns;
  encoded?: MadeCodes | undefined;
}

// Every block of every item, as a task that reads it and, for weights, has it encoded.
function* tasks(items: readonly PlanItem[], means: EncodingMeans): Generator<() => Promise<ReadyPart>> {
  for (const item of items) {
    if (item.kind === 'grid') {
      const bytes = new Uint8Array(gridBytes(item.grid));
      yield async () => ({ bytes, isLast: true });
    } else if (item.kind === 'copy') {
      for (const { isLast, read } of piecesOf(item.tensor)) yield async () => ({ bytes: await read(), isLast });
    } else if (means.encoded) {
      yield* madeBlocks(means.encoded.of(item));
    } else {
      yield* encodings(item, means);
    }
  }
}

// Blocks of codes that are there: the sums of the tensor come with the first.
function* madeBlocks({ stored, sums }: ReturnType<MadeCodes['of']>): Generator<() => Promise<EncodedRows>> {
  for (const { first, count, isLast, byteLength, read } of codeBlocksOf(stored)) {
    yield async () => {
      const blockSums = new Float64Array(2 * count);
      if (first === 0) blockSums.set([sums.squaredError, sums.squaredNorm]);
      return {
        encoded: { ...(await read()), sums: blockSums, spare: new ArrayBuffer(0) },
        bytesRead: byteLength,
        isLast,
      };
    };
  }
}

/** Every block of a tensor, as a task that reads it and has it encoded. */
export function* encodings(
  { tensor, quantized }: PlanItem & { kind: 'quantize' },
  { pool, scaleSearch, spares, refinement, turn }: EncodingMeans,
): Generator<() => Promise<EncodedRows>> {
  if (quantized.isRefined) {
    const matrix = matrixOf(quantized, quantized.rows);
    yield () =>
      turn(async () => {
        const [weights, weighing] = await Promise.all([wholeOf(tensor), refinement!.weighing(tensor.name)]);
        const job = { kind: 'refine', matrix, weights, weighing } as const;
        const encoded = await naming(tensor, pool.run(job));
        return { encoded, bytesRead: tensor.byteLength, isLast: true };
      });
    return;
  }
  for (const { first, count, isLast, byteLength, read } of blocksOf(tensor)) {
    yield async () => {
      const weights = await read(spares.pop());
      const options = { firstRow: first, scaleSearch };
      const job = { kind: 'encode', matrix: matrixOf(quantized, count), weights, options } as const;
      return { encoded: await naming(tensor, pool.run(job)), bytesRead: byteLength, isLast };
    };
  }
}
