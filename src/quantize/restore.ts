// A quantized checkpoint back to a plain one, streaming: the same names and shapes, in a dtype that any framework loads.

import { type CheckpointTensor, INDEX_NAME } from '../checkpoint/checkpoint.ts';
import { indexJson, planShards, type TensorSpec } from '../checkpoint/safetensors/layout.ts';
import { FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { bytesPerWeight, type PlainDtype, rowsPerBlock } from '../kernels/kernels.ts';
import type { OutputFolder } from '../source/source.ts';
import type { Pool } from '../workers/pool.ts';
import type { StoredCheckpoint, StoredTensor } from './format.ts';
import { inOrder } from './pipeline.ts';
import { DEFAULT_SHARD_BYTES, type LayoutOptions } from './plan.ts';
import { writeWhole } from './writer.ts';

const COPY_BYTES = 4 << 20;

/** How far a run over a quantized checkpoint is. */
export interface StoredProgress {
  /** The tensor at work. */
  tensor: string;
  bytesDone: number;
  bytes: number;
}

export interface RestoreOptions extends LayoutOptions {
  pool: Pool;
  /** Dtype of the weights; by default each its original one, F8 as BF16. */
  dtype?: PlainDtype | undefined;
  onProgress?: ((progress: StoredProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** What dequantizing wrote. */
export interface RestoreReport {
  bytesIn: number;
  bytesOut: number;
  files: string[];
  tensors: { name: string; shape: readonly number[]; dtype: string }[];
}

/** The weights of some rows of a stored tensor, as the kernels take them. */
export async function readCodes({ packed, scales, rows }: StoredTensor, first: number, count: number) {
  const part = ({ start, end }: CheckpointTensor) => (end - start) / rows;
  const read = (tensor: CheckpointTensor) =>
    tensor.file.read(tensor, first * part(tensor), (first + count) * part(tensor));
  const [codes, factors] = await Promise.all([read(packed), read(scales)]);
  return { packed: new Uint8Array(codes), scales: new Uint16Array(factors) };
}

/** Shape and scheme of `count` rows of a stored tensor. */
export function matrixOf({ cols, scheme: { grid, groupSize, seed } }: StoredTensor, count: number) {
  return { rows: count, cols, grid, groupSize, seed };
}

/**
 * Writes the plain checkpoint.
 * @throws {FormatError} when a weight does not fit F16
 */
export async function restoreCheckpoint(
  stored: StoredCheckpoint,
  output: OutputFolder,
  options: RestoreOptions,
): Promise<RestoreReport> {
  const { pool, dtype, onProgress, signal } = options;
  if (dtype !== undefined && !['F32', 'F16', 'BF16'].includes(dtype)) {
    throw new RangeError(`dtype must be F32, F16 or BF16: got ${show(dtype)}`);
  }
  const tensors = inFileOrder(stored);
  const specs = tensors.map((tensor): TensorSpec[] => [specOf(tensor, dtype)]);
  const shards = planShards(specs, {
    maxShardBytes: options.maxShardBytes ?? DEFAULT_SHARD_BYTES,
    ...(options.fileName && { fileName: options.fileName }),
    metadata: () => stored.metadata,
    align: false,
  });
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const bytes = stored.checkpoint.files.reduce((sum, { source }) => sum + source.byteLength, 0);
  const progress: StoredProgress = { tensor: '', bytesDone: 0, bytes };

  const blocks = inOrder(tasks(tensors, dtype, pool), 2 * pool.size + 1);
  try {
    for (const shard of shards) {
      const sink = await output.create(shard.fileName);
      try {
        await sink.write(shard.header);
        for (const { spec } of shard.entries) {
          progress.tensor = byName.get(spec.name)!.name;
          for (let last = false; !last; ) {
            signal?.throwIfAborted();
            const block = (await blocks.next()).value as Block;
            last = block.last;
            if (block.bytes.length > 0) await sink.write(block.bytes);
            progress.bytesDone += block.bytesRead;
            onProgress?.(progress);
          }
        }
        await sink.close();
      } catch (error) {
        await sink.abort(error).catch(() => {}); // the first error is the one to tell
        throw error;
      }
    }
  } finally {
    await blocks.return();
  }
  const index = indexJson(shards);
  if (index !== undefined) await writeWhole(output, INDEX_NAME, new TextEncoder().encode(index));
  return {
    bytesIn: bytes,
    bytesOut: shards.reduce((sum, { byteLength }) => sum + byteLength, 0),
    files: shards.map(({ fileName }) => fileName),
    tensors: specs.map(([spec]) => ({ name: spec!.name, shape: spec!.shape, dtype: spec!.dtype })),
  };
}

type Stored = StoredTensor | CheckpointTensor;

interface Block {
  bytes: Uint8Array;
  bytesRead: number;
  last: boolean;
}

/** Quantized weights and what passed through, in the order in which the original had them. */
export function inFileOrder({ checkpoint, quantized, plain }: StoredCheckpoint): Stored[] {
  const order = new Map(checkpoint.tensors.map(({ name }, index) => [name, index]));
  const at = (tensor: Stored) => order.get('packed' in tensor ? tensor.packed.name : tensor.name)!;
  return [...quantized, ...plain].sort((a, b) => at(a) - at(b));
}

function specOf(tensor: Stored, dtype: PlainDtype | undefined): TensorSpec {
  const { name, shape } = tensor;
  if (!('packed' in tensor)) return { name, shape, dtype: tensor.dtype, byteLength: tensor.end - tensor.start };
  const plain = plainDtype(tensor, dtype);
  return { name, shape, dtype: plain, byteLength: tensor.rows * tensor.cols * bytesPerWeight[plain] };
}

function plainDtype(tensor: StoredTensor, dtype: PlainDtype | undefined): PlainDtype {
  return dtype ?? (tensor.dtype === 'F8_E4M3' ? 'BF16' : tensor.dtype);
}

function* tasks(
  tensors: readonly Stored[],
  dtype: PlainDtype | undefined,
  pool: Pool,
): Generator<() => Promise<Block>> {
  for (const tensor of tensors) {
    if ('packed' in tensor) {
      const { rows, cols, name, packed } = tensor;
      const step = rowsPerBlock(cols);
      for (let first = 0; first < rows; first += step) {
        const count = Math.min(step, rows - first);
        yield async () => {
          const codes = await readCodes(tensor, first, count);
          const bytesRead = codes.packed.byteLength + codes.scales.byteLength;
          const job = {
            kind: 'dequantize',
            matrix: matrixOf(tensor, count),
            codes,
            dtype: plainDtype(tensor, dtype),
            firstRow: first,
          } as const;
          try {
            return { bytes: await pool.run(job), bytesRead, last: first + count === rows };
          } catch (error) {
            if (!(error instanceof RangeError)) throw error;
            throw new FormatError(error.message, { file: packed.file.file, tensor: name });
          }
        };
      }
    } else {
      const size = tensor.end - tensor.start;
      for (let start = 0, last = false; !last; start += COPY_BYTES) {
        const end = Math.min(size, start + COPY_BYTES);
        last = end === size;
        yield async () => {
          const bytes = new Uint8Array(await tensor.file.read(tensor, start, end));
          return { bytes, bytesRead: bytes.length, last: end === size };
        };
      }
    }
  }
}
