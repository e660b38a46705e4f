// A checkpoint is worked through in blocks: rows of a tensor that are about a million weights, or pieces of bytes where none are
// changed. Everything that quantizes, restores or compares takes its blocks from here, and differs in the job that it does on them.

import { type CheckpointTensor, placeOf } from '../checkpoint/tensor.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import type { Codes } from '../kernels/kernels.ts';
import { rowBlocks } from '../kernels/layout.ts';
import { bytesPerWeight, type WeightDtype, type Weights } from '../kernels/operands.ts';
import { FACTOR_COLS } from '../kernels/sizes.ts';
import type { QuantizedWeight } from './format.ts';
import { matrixShape } from './select.ts';

/** Bytes of a tensor that passes through which are read at a time. */
const PIECE_BYTES = 4 << 20;

/** Some of a tensor, to be read when its turn comes. */
interface PendingPiece<T> {
  readonly byteLength: number;
  /** Whether it is the tensor's last. */
  readonly isLast: boolean;
  /** @param spare a buffer that may be filled with it */
  read(spare?: ArrayBuffer): Promise<T>;
}

/** Rows of a tensor, to be read when their turn comes. */
export interface PendingRows<T> extends PendingPiece<T> {
  /** Its first row. */
  readonly first: number;
  /** Its rows. */
  readonly count: number;
}

/** The bytes of a tensor as they are. One without any has a piece, too. */
export function* piecesOf(tensor: CheckpointTensor): Generator<PendingPiece<Uint8Array<ArrayBuffer>>, void> {
  const { byteLength } = tensor;
  for (let start = 0, isLast = false; !isLast; start += PIECE_BYTES) {
    const end = Math.min(byteLength, start + PIECE_BYTES);
    isLast = end === byteLength;
    yield { byteLength: end - start, isLast, read: async () => new Uint8Array(await tensor.read(start, end)) };
  }
}

/**
 * The weights of a tensor, block by block, with their factors.
 * @throws {FormatError} or {UnsupportedError} as `checkFactors` does
 */
export function* blocksOf(tensor: CheckpointTensor): Generator<PendingRows<Weights>, void> {
  checkFactors(tensor);
  const { rows, cols } = matrixShape(tensor.shape);
  const dtype = tensor.dtype as WeightDtype;
  const rowBytes = cols * bytesPerWeight[dtype];
  let factors: Promise<FactorRows> | undefined;
  for (const { first, count, isLast } of rowBlocks(rows, cols)) {
    const read = async (spare?: ArrayBuffer): Promise<Weights> => {
      if (tensor.factors && !factors) {
        factors = readFactors(tensor, tensor.factors);
        factors.catch(() => {}); // reported where it is awaited
      }
      const bytes = new Uint8Array(await tensor.read(first * rowBytes, (first + count) * rowBytes, spare));
      return factors ? { bytes, dtype, factors: (await factors)(first, count) } : { bytes, dtype };
    };
    yield { first, count, isLast, byteLength: count * rowBytes, read };
  }
}

/** All weights of a tensor, with their factors. Throws as `blocksOf` does. */
export async function wholeOf(tensor: CheckpointTensor): Promise<Weights> {
  checkFactors(tensor);
  const dtype = tensor.dtype as WeightDtype;
  const bytes = new Uint8Array(await tensor.read());
  if (!tensor.factors) return { bytes, dtype };
  const factors = await readFactors(tensor, tensor.factors);
  return { bytes, dtype, factors: factors(0, matrixShape(tensor.shape).rows) as Float32Array<ArrayBuffer> };
}

/** The codes of a quantized tensor, in the same blocks as its weights. */
export function* codeBlocksOf({ packed, scales, rows, cols }: QuantizedWeight): Generator<PendingRows<Codes>, void> {
  const [packedBytes, scaleBytes] = [packed.byteLength / rows, scales.byteLength / rows];
  for (const { first, count, isLast } of rowBlocks(rows, cols)) {
    const end = first + count;
    const read = async (): Promise<Codes> => {
      const [codes, f16] = await Promise.all([
        packed.read(first * packedBytes, end * packedBytes),
        scales.read(first * scaleBytes, end * scaleBytes),
      ]);
      return { packed: new Uint8Array(codes), scales: new Uint16Array(f16) };
    };
    yield { first, count, isLast, byteLength: count * (packedBytes + scaleBytes), read };
  }
}

/**
 * Does a job on weights of a tensor. What the kernels find wrong with them names the tensor.
 * @throws {FormatError} with the tensor, for a RangeError of the kernels
 */
export async function naming<T>(tensor: { readonly file: string; readonly name: string }, job: Promise<T>): Promise<T> {
  try {
    return await job;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new FormatError(error.message, placeOf(tensor));
  }
}

/**
 * Checks the factors of block-scaled F8 weights, if there are any: one for 128 × 128 weights.
 * @throws {FormatError} when their dtype or shape does not fit; {UnsupportedError} when they are factors of another kind
 */
export function checkFactors(tensor: CheckpointTensor): void {
  const { factors, name, shape } = tensor;
  if (!factors) return;
  const wanted = `${name}_scale_inv`;
  if (factors.name !== wanted) {
    const message = `F8 scales must be 128 × 128 blocks named ${wanted}: found ${factors.name}`;
    throw new UnsupportedError('weight_scale', message, placeOf(tensor));
  }
  const [rows, cols] = shape.slice(-2).map((size) => Math.ceil(size / FACTOR_COLS));
  const expected = [...shape.slice(0, -2), rows, cols];
  if (['F32', 'BF16'].includes(factors.dtype) && String(factors.shape) === String(expected)) return;
  const [is, must] = [factors.shape, expected].map((sizes) => `[${sizes.join(', ')}]`);
  const message = `${factors.name} must be F32 or BF16 ${must}: it is ${factors.dtype} ${is}`;
  throw new FormatError(message, placeOf(tensor));
}

/** Factors of rows, spread to one row of them, (ceil(cols / 128)), for each row of weights. */
export type FactorRows = (first: number, count: number) => Float32Array;

/** Reads the factors of a tensor, which `checkFactors` has found in order. */
export async function readFactors(tensor: CheckpointTensor, factors: CheckpointTensor): Promise<FactorRows> {
  const bytes = await factors.read();
  const values = new Float32Array(factors.dtype === 'F32' ? bytes : widenBf16(bytes));
  const stride = factors.shape.at(-1)!;
  const rows = tensor.shape.at(-2)!; // of one expert, in a stack
  const factorRows = factors.shape.at(-2)!;
  return (first, count) => {
    const spread = new Float32Array(count * stride);
    for (let i = 0; i < count; i++) {
      const expert = Math.floor((first + i) / rows);
      const row = expert * factorRows + Math.floor(((first + i) % rows) / FACTOR_COLS);
      spread.set(values.subarray(row * stride, (row + 1) * stride), i * stride);
    }
    return spread;
  };
}

function widenBf16(bytes: ArrayBuffer): ArrayBuffer {
  return Uint32Array.from(new Uint16Array(bytes), (h) => h << 16).buffer;
}
