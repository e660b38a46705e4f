// Writes one output file in order: header, tensors with the padding between them, errors, checksums.

import type { ShardEntry } from '../checkpoint/safetensors/layout.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { OutputFolder, ResumableFolder, Sink } from '../source/source.ts';
import type { JournalEntry } from './journal.ts';
import type { PlannedShard } from './plan.ts';
import type { SquareSums } from './scheme.ts';

/** Writes one file of tensors in order. */
export interface ShardWriter {
  /** Starts the next tensor; its bytes follow by `write`, then `end`. */
  begin(): Promise<void>;
  /** Writes bytes of the tensor. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends a tensor. @returns its checksum */
  end(): number;
  /** Notes the sums of a quantized weight. */
  noteErrors(sums: SquareSums): void;
  /** Writes errors and checksums and closes the file. */
  finish(): Promise<void>;
  /** Gives the file up. */
  abort(reason: unknown): Promise<void>;
}

/** What stands for the weighted error of a weight that is not refined. */
const UNWEIGHTED = [0, 1];

/**
 * Opens a shard for writing.
 * @param done what an interrupted run wrote of it already; the file is cut there and gone on with
 */
export async function openShard(
  shard: PlannedShard,
  output: OutputFolder | ResumableFolder,
  kernels: Kernels,
  done: readonly JournalEntry[] = [],
): Promise<ShardWriter> {
  const checksums = [kernels.crc32(0, shard.header), ...done.flatMap((entry) => entry.checksums)];
  const errors = done.flatMap((entry) => entry.sums ?? []);
  const weighted = done.flatMap((entry) => (entry.sums ? (entry.weighted ?? UNWEIGHTED) : []));
  let next = 0; // entry that begin() starts
  let current: ShardEntry | undefined;
  let left = 0;
  let crc = 0;

  let sink: Sink;
  if (done.length === 0) {
    sink = await output.create(shard.fileName);
    await abortOnError(sink, () => sink.write(shard.header));
  } else {
    let last: ShardEntry | undefined;
    for (let passed = 1; passed < checksums.length; next++) {
      last = shard.entries[next];
      if (!last.padding) passed++;
    }
    sink = await (output as ResumableFolder).extend(shard.fileName, last!.start + last!.spec.byteLength);
  }

  const writer: ShardWriter = {
    async begin() {
      current = shard.entries[next++];
      if (current.padding) {
        await sink.write(new Uint8Array(current.spec.byteLength));
        current = shard.entries[next++];
      }
      left = current.spec.byteLength;
      crc = 0;
    },
    async write(bytes) {
      left -= bytes.length;
      crc = kernels.crc32(crc, bytes);
      if (bytes.length > 0) await sink.write(bytes);
    },
    end() {
      if (left !== 0)
        throw new Error(`tensor ${current?.spec.name} was planned with ${left} more bytes than were written`);
      checksums.push(crc);
      return crc;
    },
    noteErrors({ squaredError, squaredNorm, weighted: weightedError }) {
      errors.push(squaredError, squaredNorm);
      weighted.push(...(weightedError ? [weightedError.error, weightedError.gain] : UNWEIGHTED));
    },
    async finish() {
      if (shard.errors) await writeWords(Float64Array.from(errors));
      if (shard.weighted) await writeWords(Float64Array.from(weighted));
      await writeWords(Uint32Array.from(checksums)); // that of the errors among them
      await sink.close();
    },
    abort: (reason) => sink.abort(reason),
  };
  async function writeWords(values: Float64Array | Uint32Array): Promise<void> {
    await writer.begin();
    await writer.write(new Uint8Array(values.buffer));
    writer.end();
  }

  return writer;
}

/** Writes a small file. */
export async function writeWhole(output: OutputFolder, name: string, bytes: Uint8Array): Promise<void> {
  const sink = await output.create(name);
  await abortOnError(sink, async () => {
    await sink.write(bytes);
    await sink.close();
  });
}

/** Runs what writes to a sink. If it fails, aborts the sink and throws the error. */
export async function abortOnError(sink: Sink, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    await sink.abort(error).catch(() => {}); // the first error is the one to tell
    throw error;
  }
}
