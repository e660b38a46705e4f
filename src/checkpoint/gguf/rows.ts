// Tensors of a GGUF file as those of a safetensors one: rows of them, turned back to where they stood before llama.cpp's converter moved
// them, and decoded to f32 as they are read if their code is no dtype of safetensors.

import { show } from '../../excerpt.ts';
import type { Source } from '../../source/source.ts';
import { sliceExactly } from '../safetensors/file.ts';
import type { CheckpointTensor } from '../tensor.ts';
import { decodeBlocks } from './blocks.ts';
import type { GgufTensor } from './header.ts';

/** A file that is open. */
interface File {
  readonly file: string;
  readonly source: Source;
}

/** What of a tensor another one is made of. */
export interface TensorPart extends File {
  /** The tensor. */
  readonly tensor: GgufTensor;
  /** Rows of it, all dimensions but the last taken together; all if left out. */
  readonly rows?: { readonly first: number; readonly count: number };
  /** What it becomes, where that is not (rows, cols) or the tensor's own shape. */
  readonly shape?: readonly number[];
  /** Rows of a head, whose pairs (2i, 2i + 1) become (i, i + rows / 2). */
  readonly head?: number;
  /** Subtracted from each weight, which becomes f32. */
  readonly minus?: number;
  /** Whether it becomes f32, whatever its code. */
  readonly wide?: boolean;
}

const WIDTHS: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };

/** A tensor of that name. */
export function tensorOf(name: string, part: TensorPart): CheckpointTensor {
  const { tensor, source, file, head = 1, minus = 0 } = part;
  const { code } = tensor;
  const cols = tensor.shape.at(-1) ?? 1;
  const all = tensor.shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const { first, count } = part.rows ?? { first: 0, count: all };
  const shape = part.shape ?? (part.rows ? [count, cols] : tensor.shape);
  // Heads are turned row by row; of a bias a row is one number.
  const [units, unit] = tensor.shape.length === 1 && head > 1 ? [cols, 1] : [count, cols];
  const isDecoded = code.decode !== undefined || minus !== 0 || part.wide === true;
  const dtype = isDecoded ? 'F32' : code.name;
  const width = WIDTHS[dtype];
  const byteLength = units * unit * width;
  const bytesOf = (weights: number) => (weights / code.weights) * code.bytes;
  const start = tensor.start + bytesOf(first * cols);

  // Bytes of the file that hold some of the tensor's: whole heads, or whole blocks.
  const spanOf = (from: number, to: number): ReadSpan => {
    const step = head > 1 ? head * unit : code.weights;
    const [low, high] = [Math.floor(from / width / step) * step, Math.ceil(to / width / step) * step];
    return {
      low,
      start: start + bytesOf(low),
      end: start + bytesOf(high),
      from: from - low * width,
      to: to - low * width,
    };
  };
  const permuted = (bytes: ArrayBuffer, { from, to }: ReadSpan): ArrayBuffer => {
    let values = isDecoded ? decoded(bytes, tensor, minus) : bytes;
    if (head > 1) values = turned(values, head, unit * width);
    return from === 0 && to === values.byteLength ? values : values.slice(from, to);
  };
  const isPlain = !isDecoded && head === 1;
  return {
    ...{ name, dtype, shape, byteLength, file },
    ...(code.decode && { encoded: { dtype: code.name, byteLength: bytesOf(units * unit) } }),
    async read(from = 0, to = byteLength, spare) {
      checkSpan(name, byteLength, from, to);
      const span = spanOf(from, to);
      if (isPlain) return sliceExactly(source, file, start + from, start + to, spare);
      return permuted(await sliceExactly(source, file, span.start, span.end), span);
    },
    ...(source.sliceSync && {
      readSync(from, to, spare) {
        if (isPlain) return source.sliceSync!(start + from, start + to, spare);
        const span = spanOf(from, to);
        return permuted(source.sliceSync!(span.start, span.end), span);
      },
    }),
    ...(source.prefetch && {
      prefetch(from, to) {
        const span = spanOf(from, to);
        source.prefetch!(span.start, span.end);
      },
    }),
  };
}

interface ReadSpan {
  /** The first weight that is read. */
  readonly low: number;
  /** In the file. */
  readonly start: number;
  readonly end: number;
  /** In what is read. */
  readonly from: number;
  readonly to: number;
}

function checkSpan(name: string, byteLength: number, start: number, end: number): void {
  if (Number.isInteger(start) && Number.isInteger(end) && start >= 0 && start <= end && end <= byteLength) return;
  const must = `start and end must lie within the ${byteLength} bytes of ${show(name)}`;
  throw new RangeError(`${must}: got ${start}, ${end}`);
}

function decoded(bytes: ArrayBuffer, { code }: GgufTensor, minus: number): ArrayBuffer {
  const values = decodeBlocks(bytes, code);
  if (minus !== 0) for (let i = 0; i < values.length; i++) values[i] -= minus;
  return values.buffer;
}

// Row 2i + s of a head goes to s · rows / 2 + i.
function turned(bytes: ArrayBuffer, head: number, rowBytes: number): ArrayBuffer {
  const from = new Uint8Array(bytes);
  const to = new Uint8Array(bytes.byteLength);
  const half = head / 2;
  for (let first = 0, rows = from.length / rowBytes; first < rows; first += head) {
    for (let row = 0; row < head; row++) {
      const offset = (first + row) * rowBytes;
      to.set(from.subarray(offset, offset + rowBytes), (first + (row & 1) * half + (row >> 1)) * rowBytes);
    }
  }
  return to.buffer;
}

/** Two tensors of the same shape as one: a row of the first, a row of the second, and so on. @param shape what it becomes */
export function alternatingOf(
  name: string,
  first: TensorPart,
  second: TensorPart,
  shape: readonly number[],
): CheckpointTensor {
  const [a, b] = [first, second].map((part) => tensorOf(name, part));
  const rowBytes = a.byteLength / ((shape.slice(0, 2).reduce((product, size) => product * size, 1) || 2) / 2);
  const byteLength = 2 * a.byteLength;
  const rowsOf = (from: number, to: number): [start: number, end: number] => {
    checkSpan(name, byteLength, from, to);
    return [Math.floor(from / 2 / rowBytes) * rowBytes, Math.ceil(to / 2 / rowBytes) * rowBytes];
  };
  const joined = ([one, other]: ArrayBuffer[], from: number, to: number): ArrayBuffer => {
    const doubled = new Uint8Array(2 * one.byteLength);
    for (const [i, bytes] of [one, other].entries()) {
      for (let at = 0; at < bytes.byteLength; at += rowBytes) {
        doubled.set(new Uint8Array(bytes, at, rowBytes), 2 * at + i * rowBytes);
      }
    }
    const start = 2 * rowsOf(from, to)[0];
    return doubled.buffer.slice(from - start, to - start);
  };
  const encoded = a.encoded && { ...a.encoded, byteLength: 2 * a.encoded.byteLength };
  return {
    ...{ name, dtype: a.dtype, shape, byteLength, file: a.file, ...(encoded && { encoded }) },
    async read(from = 0, to = byteLength) {
      const [start, end] = rowsOf(from, to);
      return joined(await Promise.all([a.read(start, end), b.read(start, end)]), from, to);
    },
    ...(a.readSync &&
      b.readSync && {
        readSync(from, to) {
          const [start, end] = rowsOf(from, to);
          return joined([a.readSync!(start, end), b.readSync!(start, end)], from, to);
        },
      }),
  };
}

/**
 * DeepSeek's keys and values as one weight, (heads · (plain + valueDim), rank): the file has those of keys turned, (heads, rank, plain), and
 * those of values, (heads, valueDim, rank).
 */
export function keyValuesOf(name: string, keys: TensorPart, values: TensorPart): CheckpointTensor {
  const [heads, rank, plain] = keys.tensor.shape;
  const valueDim = values.tensor.shape[1];
  const [k, v] = [keys, values].map((part) => tensorOf(name, { ...part, wide: true }));
  const headBytes = (plain + valueDim) * rank * 4;
  const byteLength = heads * headBytes;
  const read = async (from = 0, to = byteLength): Promise<ArrayBuffer> => {
    checkSpan(name, byteLength, from, to);
    const [first, last] = [Math.floor(from / headBytes), Math.ceil(to / headBytes)];
    const parts = (part: CheckpointTensor) => {
      const each = part.byteLength / heads;
      return part.read(first * each, last * each).then((bytes) => new Float32Array(bytes));
    };
    const [someKeys, someValues] = await Promise.all([parts(k), parts(v)]);
    const averaged = new Float32Array(((last - first) * headBytes) / 4);
    for (let head = 0; head < last - first; head++) {
      const index = (head * headBytes) / 4;
      for (let i = 0; i < plain; i++) {
        for (let r = 0; r < rank; r++) averaged[index + i * rank + r] = someKeys[(head * rank + r) * plain + i];
      }
      const headValues = someValues.subarray(head * valueDim * rank, (head + 1) * valueDim * rank);
      averaged.set(headValues, index + plain * rank);
    }
    return averaged.buffer.slice(from - first * headBytes, to - first * headBytes);
  };
  const shape = [heads * (plain + valueDim), rank];
  const sizeOf = ({ tensor }: TensorPart) => tensor.end - tensor.start;
  const encoded = { dtype: keys.tensor.code.name, byteLength: sizeOf(keys) + sizeOf(values) };
  return { name, dtype: 'F32', shape, byteLength, file: keys.file, encoded, read };
}
