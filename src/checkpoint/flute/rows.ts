// Weights that another program has as codes of points, as tensors in F32 that are decoded as they are read, some rows at a time.

import { UnsupportedError } from '../../errors.ts';
import { floatValues } from '../packed/decoded.ts';
import { type CheckpointTensor, placeOf } from '../tensor.ts';

/** A matrix whose rows are decoded together, `step` at a time. */
interface Coded {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly step: number;
  /** The tensor that has the codes, and all bytes that stand for the weights. */
  readonly codes: CheckpointTensor;
  readonly byteLength: number;
  /** Rows `index · step` on, (step, cols). */
  decode(index: number): Promise<Float32Array<ArrayBuffer>>;
}

/**
 * The tensor that such a matrix is to all that read weights.
 * @throws {RangeError} from `read` when bytes lie outside of it
 */
export function codedTensor({ name, rows, cols, step, codes, byteLength, decode }: Coded): CheckpointTensor {
  const bytes = rows * cols * 4;
  // What was decoded last: blocks of rows that follow one another end and begin within the same.
  const recent = new Map<number, Promise<Float32Array<ArrayBuffer>>>();
  const decoded = (index: number) => {
    const cached = recent.get(index);
    if (cached) return cached;
    const row = decode(index);
    recent.set(index, row);
    row.catch(() => recent.delete(index));
    for (const other of [...recent.keys()].slice(0, -2)) recent.delete(other);
    return row;
  };
  const read = async (start = 0, end = bytes): Promise<ArrayBuffer> => {
    if (!(start >= 0 && start <= end && end <= bytes))
      throw new RangeError(`bytes ${start} to ${end} must lie within the tensor, which has ${bytes}`);
    const out = new Uint8Array(end - start);
    const stride = step * cols * 4;
    for (let at = start; at < end; ) {
      const index = Math.floor(at / stride);
      const values = new Uint8Array((await decoded(index)).buffer);
      const stop = Math.min(end, (index + 1) * stride);
      out.set(values.subarray(at - index * stride, stop - index * stride), at - start);
      at = stop;
    }
    return out.buffer;
  };
  const encoded = { dtype: codes.dtype, byteLength };
  return { name, dtype: 'F32', shape: [rows, cols], byteLength: bytes, file: codes.file, encoded, read };
}

/** The values of a small tensor of floats. @throws {UnsupportedError} for another dtype */
export async function smallFloats(
  tensor: CheckpointTensor,
  start?: number,
  end?: number,
): Promise<Float32Array<ArrayBuffer>> {
  const { dtype } = tensor;
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
    const message = `dtype of scales and points must be F32, F16 or BF16: it is ${dtype}`;
    throw new UnsupportedError(`dtype ${dtype}`, message, placeOf(tensor));
  }
  return floatValues(tensor, start, end);
}

/** Unnormalised Hadamard transform, in natural order, of each run of `size` values, in place. */
export function hadamardRuns(values: Float32Array, size: number): void {
  for (let distance = 1; distance < size; distance *= 2) {
    for (let start = 0; start < values.length; start += 2 * distance) {
      for (let i = start; i < start + distance; i++) {
        const [a, b] = [values[i], values[i + distance]];
        values[i] = a + b;
        values[i + distance] = a - b;
      }
    }
  }
}
