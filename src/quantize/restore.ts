// A quantized checkpoint back to a plain one, streaming: the same names and shapes, in a dtype that any framework loads.

import { INDEX_NAME } from '../checkpoint/checkpoint.ts';
import { indexJson, layOutShards, type TensorSpec } from '../checkpoint/safetensors/layout.ts';
import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import { show } from '../excerpt.ts';
import type { PlainDtype } from '../kernels/kernels.ts';
import { bytesPerWeight } from '../kernels/operands.ts';
import type { OutputFolder } from '../source/source.ts';
import type { Pool } from '../workers/pool.ts';
import { codeBlocksOf, naming, piecesOf } from './blocks.ts';
import { convertFloats, isFloat } from './convert.ts';
import { inFileOrder, matrixOf, type QuantizedCheckpoint, type QuantizedWeight } from './format.ts';
import { inOrder, untilLast } from './pipeline.ts';
import { DEFAULT_SHARD_BYTES, type LayoutOptions } from './plan.ts';
import { abortOnError, writeWhole } from './writer.ts';

/** How far a run over a quantized checkpoint is. */
export interface ReadProgress {
  /** The tensor at work. */
  tensor: string;
  /** Bytes read so far. */
  bytesDone: number;
  /** Bytes that will be read. */
  bytes: number;
}

/** Options of making a plain checkpoint of a quantized one. */
export interface RestoreOptions extends LayoutOptions {
  /** Where blocks of rows are decoded. */
  pool: Pool;
  /** Dtype of the weights; by default each its original one, F8 as BF16. */
  dtype?: PlainDtype | undefined;
  /** Called after each block. */
  onProgress?: ((progress: ReadProgress) => void) | undefined;
  /** Stops the run between two blocks. */
  signal?: AbortSignal | undefined;
}

/** What dequantizing wrote. */
export interface RestoreReport {
  /** Bytes of the files read. */
  bytesIn: number;
  /** Bytes of the safetensors files written. */
  bytesOut: number;
  /** Names of the safetensors files written. */
  files: string[];
  /** What was written, in the order of the files. */
  tensors: { name: string; shape: readonly number[]; dtype: string }[];
}

/**
 * Writes the plain checkpoint.
 * @throws {FormatError} when a weight does not fit F16
 */
export async function restoreCheckpoint(
  stored: QuantizedCheckpoint,
  output: OutputFolder,
  options: RestoreOptions,
): Promise<RestoreReport> {
  const { pool, dtype } = options;
  if (dtype !== undefined && !['F32', 'F16', 'BF16'].includes(dtype)) {
    throw new RangeError(`dtype must be F32, F16 or BF16: got ${show(dtype)}`);
  }
  const tensors = inFileOrder(stored);
  const specs = tensors.map((tensor): TensorSpec[] => [specOf(tensor, dtype)]);
  const bytes = stored.checkpoint.files.reduce((sum, { source }) => sum + source.byteLength, 0);
  const blocks = inOrder(tasks(tensors, dtype, pool), 2 * pool.size + 1);
  return writePlain({ specs, blocks, bytes, metadata: stored.metadata }, output, options);
}

/** Tensors that are written as they come. */
interface Stream {
  /** In groups that stay in one file. */
  readonly specs: readonly (readonly TensorSpec[])[];
  /** Their bytes, in order. */
  readonly blocks: AsyncGenerator<PlainBlock, void, void>;
  /** Bytes that are read for them. */
  readonly bytes: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Writes tensors to the files of a plain checkpoint, with their index. */
export async function writePlain(
  { specs, blocks, bytes, metadata }: Stream,
  output: OutputFolder,
  options: Omit<RestoreOptions, 'pool' | 'dtype'>,
): Promise<RestoreReport> {
  const { onProgress, signal } = options;
  const shards = layOutShards(specs, {
    maxShardBytes: options.maxShardBytes ?? DEFAULT_SHARD_BYTES,
    ...(options.fileName && { fileName: options.fileName }),
    metadata: () => metadata,
    align: false,
  });
  const progress: ReadProgress = { tensor: '', bytesDone: 0, bytes };
  try {
    for (const shard of shards) {
      const sink = await output.create(shard.fileName);
      await abortOnError(sink, async () => {
        await sink.write(shard.header);
        for (const { spec } of shard.entries) {
          progress.tensor = spec.name;
          for await (const block of untilLast(blocks, signal)) {
            if (block.bytes.length > 0) await sink.write(block.bytes);
            progress.bytesDone += block.bytesRead;
            onProgress?.(progress);
          }
        }
        await sink.close();
      });
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
    tensors: specs.flat().map(({ name, shape, dtype }) => ({ name, shape, dtype })),
  };
}

type Stored = QuantizedWeight | CheckpointTensor;

/** Bytes of a tensor that are ready to be written. */
export interface PlainBlock {
  /** The bytes. */
  bytes: Uint8Array;
  /** Bytes that were read for them. */
  bytesRead: number;
  /** Whether they are the tensor's last. */
  isLast: boolean;
}

function specOf(tensor: Stored, dtype: PlainDtype | undefined): TensorSpec {
  const { name, shape } = tensor;
  if (!('packed' in tensor)) {
    const [from, to] = [tensor.dtype, passedDtype(tensor, dtype)];
    const factor = isFloat(from) && isFloat(to) ? bytesPerWeight[to] / bytesPerWeight[from] : 1;
    return { name, shape, dtype: to, byteLength: tensor.byteLength * factor };
  }
  const plain = plainDtype(tensor, dtype);
  return { name, shape, dtype: plain, byteLength: tensor.rows * tensor.cols * bytesPerWeight[plain] };
}

// What another program has as codes is to have the dtype of the weights; what is a number already stays as it is.
function passedDtype(tensor: CheckpointTensor, dtype: PlainDtype | undefined): string {
  return (tensor.encoded && dtype) ?? tensor.dtype;
}

function plainDtype(tensor: QuantizedWeight, dtype: PlainDtype | undefined): PlainDtype {
  return dtype ?? (tensor.dtype === 'F8_E4M3' ? 'BF16' : tensor.dtype);
}

// Every block of every tensor, as a task that reads it and, for codes, has it dequantized.
function* tasks(
  tensors: readonly Stored[],
  dtype: PlainDtype | undefined,
  pool: Pool,
): Generator<() => Promise<PlainBlock>> {
  for (const tensor of tensors) {
    if (!('packed' in tensor)) {
      const [from, to] = [tensor.dtype, passedDtype(tensor, dtype)];
      const converted = (bytes: Uint8Array<ArrayBuffer>) =>
        isFloat(from) && isFloat(to) ? new Uint8Array(convertFloats(bytes.buffer, from, to, tensor)) : bytes;
      for (const { isLast, byteLength, read } of piecesOf(tensor)) {
        const bytesRead = (byteLength * (tensor.encoded ?? tensor).byteLength) / (tensor.byteLength || 1);
        yield async () => ({ bytes: converted(await read()), bytesRead, isLast });
      }
      continue;
    }
    for (const { first, count, isLast, byteLength, read } of codeBlocksOf(tensor)) {
      yield async () => {
        const codes = await read();
        const [matrix, to] = [matrixOf(tensor, count), plainDtype(tensor, dtype)];
        const job = { kind: 'dequantize', matrix, codes, dtype: to, firstRow: first } as const;
        return { bytes: await naming(tensor, pool.run(job)), bytesRead: byteLength, isLast };
      };
    }
  }
}
