// The weights of a checkpoint as f32, whether they stand there plainly, in F8 or quantized: some elements at a time.

import { decodeBlocks } from '../../checkpoint/gguf/blocks.ts';
import { type CheckpointTensor, placeOf } from '../../checkpoint/tensor.ts';
import { UnsupportedError } from '../../errors.ts';
import { naming } from '../../quantize/blocks.ts';
import { asBf16 } from '../../quantize/float8.ts';
import { matrixOf, type QuantizedCheckpoint, type QuantizedWeight } from '../../quantize/format.ts';
import type { Pool } from '../../workers/pool.ts';

/** A tensor of weights. */
export interface ExportedWeights {
  /** As the checkpoint has it. */
  readonly name: string;
  /** The file that holds it, for messages. */
  readonly file: string;
  /** Its sizes, the last one that of a row. */
  readonly shape: readonly number[];
  /** Of the original. */
  readonly dtype: string;
  /** Whether it stands there as codes, of any method; values of MXFP4 are BF16. */
  readonly isQuantized: boolean;
  /** @returns elements from `start` up to `end`, in row order */
  read(start: number, end: number): Promise<Float32Array<ArrayBuffer>>;
}

const WIDTHS: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };

/** @throws {UnsupportedError} when its dtype is none of weights; names it */
export function plainWeights(tensor: CheckpointTensor): ExportedWeights {
  const wide = tensor.dtype === 'F8_E4M3' ? asBf16(tensor) : tensor;
  const { name, file, shape, dtype } = wide;
  const width = WIDTHS[dtype];
  if (width === undefined) {
    const message = `weights must be F32, F16, BF16 or F8_E4M3: they are ${dtype}`;
    throw new UnsupportedError(`weights ${dtype}`, message, placeOf(tensor));
  }
  const code = { name: dtype, weights: 1, bytes: width };
  const read = async (start: number, end: number) => decodeBlocks(await wide.read(start * width, end * width), code);
  const isQuantized = tensor.encoded !== undefined && tensor.encoded.dtype !== 'MXFP4';
  return { name, file, shape, dtype, isQuantized, read };
}

/** Dequantizes whole rows, of which some elements are asked for. */
function decodedWeights(tensor: QuantizedWeight, pool: Pool): ExportedWeights {
  const { name, file, shape, dtype, rows, cols, packed, scales } = tensor;
  const [packedBytes, scaleBytes] = [packed.byteLength / rows, scales.byteLength / rows];
  const read = async (start: number, end: number) => {
    const [first, last] = [Math.floor(start / cols), Math.ceil(end / cols)];
    const [codes, f16] = await Promise.all([
      packed.read(first * packedBytes, last * packedBytes),
      scales.read(first * scaleBytes, last * scaleBytes),
    ]);
    const job = {
      kind: 'dequantize' as const,
      matrix: matrixOf(tensor, last - first),
      codes: { packed: new Uint8Array(codes), scales: new Uint16Array(f16) },
      dtype: 'F32' as const,
      firstRow: first,
    };
    const bytes = (await naming(tensor, pool.run(job))) as Uint8Array<ArrayBuffer>;
    return new Float32Array(bytes.slice((start - first * cols) * 4, (end - first * cols) * 4).buffer);
  };
  return { name, file, shape, dtype, isQuantized: true, read };
}

/** All weights of a quantized checkpoint. */
export function quantizedWeights({ quantized, plain }: QuantizedCheckpoint, pool: Pool): ExportedWeights[] {
  return [...quantized.map((tensor) => decodedWeights(tensor, pool)), ...plain.map(plainWeights)];
}
