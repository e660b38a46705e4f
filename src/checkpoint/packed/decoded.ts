// What the formats of others have in common: a matrix that is decoded to f32 as it is read, some rows at a time.

import { FormatError, UnsupportedError } from '../../errors.ts';
import { excerpt, show } from '../../excerpt.ts';
import { type CheckpointTensor, placeOf } from '../tensor.ts';

/** Members of an object of config.json. */
export type JsonMembers = ReadonlyMap<string, unknown>;

/** The tensors of a checkpoint, by name. */
export type TensorsByName = ReadonlyMap<string, CheckpointTensor>;

/** A matrix in another code. */
interface CodedMatrix {
  /** Of the weight that it becomes. */
  readonly name: string;
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly cols: number;
  /** What holds its codes, and how they are called. */
  readonly codes: CheckpointTensor;
  /** What its codes are called. */
  readonly code: string;
  /** Bytes of all its parts. */
  readonly byteLength: number;
  /** Decodes rows. @returns (count, cols) */
  rowsOf(first: number, count: number): Promise<Float32Array<ArrayBuffer>>;
}

/** As a tensor of F32. @throws {RangeError} from `read` when bytes lie outside of the tensor */
export function decodedTensor({ name, rows, cols, codes, code, byteLength, rowsOf }: CodedMatrix): CheckpointTensor {
  const rowBytes = 4 * cols;
  const bytes = rows * rowBytes;
  return {
    ...{ name, dtype: 'F32', shape: [rows, cols], byteLength: bytes, file: codes.file },
    encoded: { dtype: code, byteLength },
    async read(start = 0, end = bytes) {
      if (!(Number.isInteger(start) && Number.isInteger(end) && start >= 0 && start <= end && end <= bytes)) {
        throw new RangeError(`start and end must lie within the ${bytes} bytes of ${show(name)}: got ${start}, ${end}`);
      }
      const [first, last] = [Math.floor(start / rowBytes), Math.ceil(end / rowBytes)];
      const values = await rowsOf(first, last - first);
      const from = start - first * rowBytes;
      return from === 0 && values.byteLength === end - start
        ? values.buffer
        : values.buffer.slice(from, from + end - start);
    },
  };
}

/** A part that must be there. @throws {FormatError} when it is not, or has another dtype or shape */
export function neededPart(
  parts: TensorsByName,
  owner: CheckpointTensor,
  name: string,
  dtypes: readonly string[],
  shape?: readonly number[],
): CheckpointTensor {
  const part = parts.get(name);
  const fits = part && dtypes.includes(part.dtype) && (!shape || String(part.shape) === String(shape));
  if (fits) return part;
  const wanted = `${dtypes.join(' or ')}${shape ? ` [${shape.join(', ')}]` : ''}`;
  const actual = part ? `it is ${part.dtype} [${part.shape.join(', ')}]` : 'it is missing';
  throw new FormatError(`weights must come with ${show(name)}, ${wanted}: ${actual}`, placeOf(owner));
}

const WIDTHS: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2, F8_E4M3: 1 };

/** Numbers of a tensor of floats, elements `start` to `end`, as f32. */
export async function floatValues(
  tensor: CheckpointTensor,
  start = 0,
  end = tensor.byteLength / WIDTHS[tensor.dtype],
): Promise<Float32Array<ArrayBuffer>> {
  const width = WIDTHS[tensor.dtype];
  const bytes = await tensor.read(start * width, end * width);
  if (tensor.dtype === 'F32') return new Float32Array(bytes);
  const values = new Float32Array(end - start);
  if (tensor.dtype === 'F8_E4M3') return widened(new Uint8Array(bytes), e4m3, values);
  const halves = new Uint16Array(bytes);
  if (tensor.dtype === 'F16') return widened(halves, f16, values);
  const bits = new Uint32Array(values.buffer);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
  return values;
}

function widened(
  codes: Uint8Array | Uint16Array,
  decode: (code: number) => number,
  values: Float32Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  for (let i = 0; i < codes.length; i++) values[i] = decode(codes[i]);
  return values;
}

function f16(bits: number): number {
  const [sign, exponent, significand] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return significand ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? significand * 2 ** -24 : (1024 + significand) * 2 ** (exponent - 25));
}

/** A value of F8_E4M3: a sign, four bits of exponent, three of significand; no infinity, and S.1111.111 is NaN. */
export function e4m3(code: number): number {
  const [sign, exponent, significand] = [code < 128 ? 1 : -1, (code >> 3) & 15, code & 7];
  if (exponent === 15 && significand === 7) return Number.NaN;
  return sign * (exponent === 0 ? significand * 2 ** -9 : (8 + significand) * 2 ** (exponent - 10));
}

/** @throws {UnsupportedError} that names what of a method is not read */
export function unread(file: string, subject: string, supported: string, got: unknown): never {
  const shown = typeof got === 'string' ? excerpt(got) : show(got);
  throw new UnsupportedError(`${subject} ${shown}`, `${subject} must be ${supported}: it is ${shown}`, { file });
}

/** What was read last of tensors that are read whole, for those that are asked for some rows after others. */
export function recentReads(most: number): (tensor: CheckpointTensor) => Promise<ArrayBuffer> {
  const recent = new Map<CheckpointTensor, Promise<ArrayBuffer>>();
  return (tensor) => {
    const cached = recent.get(tensor) ?? tensor.read();
    recent.delete(tensor); // the last that was asked for stands last
    recent.set(tensor, cached);
    cached.catch(() => recent.delete(tensor));
    for (const other of [...recent.keys()].slice(0, -most)) recent.delete(other);
    return cached;
  };
}
