// The header of a safetensors file: 8 bytes of length (u64, little-endian), then JSON, then the tensors' data.
//
//   0        8                    8 + length                     file size
//   │ length │ {"name":{…},…}     │ data, no holes, no overlaps  │
//
// Everything here is checked before any data is read: after `parseHeader` every range lies within the file.

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import { byteLengthOf, dtypeBits, elementCount } from './dtype.ts';
import { decodeText, type Json, parseStrict } from './json.ts';

/** Longest header in bytes: the limit of the reference implementation, about a million tensors. */
export const HEADER_LIMIT = 100_000_000;

/** Longest name of a dtype in characters: the format's have up to 12, and one that nobody knows is shown. */
export const DTYPE_LIMIT = 64;

/** Most dimensions of a tensor: as many as NumPy has. */
export const RANK_LIMIT = 64;

/** One tensor's place and type. */
export interface TensorInfo {
  /** As the file has it. */
  readonly name: string;
  /** As in the file; perhaps one that `dtypeBits` does not know. */
  readonly dtype: string;
  /** Its sizes. */
  readonly shape: readonly number[];
  /** Where the data starts, in bytes from the start of the FILE (not of the data, as in the JSON). */
  readonly start: number;
  /** Where the data ends, in bytes from the start of the file. */
  readonly end: number;
}

/** What the header says, checked. */
interface Header {
  /** By start, then end (an empty tensor before its neighbour), then name in code units. */
  readonly tensors: TensorInfo[];
  /** The strings under `__metadata__`; empty if it is left out. */
  readonly metadata: Map<string, string>;
}

// What is found in the place of a file, by its first eight bytes. All of them would be lengths above HEADER_LIMIT.
const OTHERS: readonly [beginning: RegExp, what: string][] = [
  [/^version /, 'a pointer of Git LFS; git lfs pull fetches the file itself'],
  [/^\s*<[!h]/i, 'a web page; the download was of another address'],
];

/**
 * Reads the length of the header.
 * @param bytes the file's first 8 bytes, or all of them if it has fewer
 * @param file its name, for messages
 * @param fileByteLength the file's size in bytes
 * @returns the length of the JSON in bytes; it lies between byte 8 and this many bytes further
 * @throws {FormatError} when the file is too short, or the length over HEADER_LIMIT or past the end of the file
 */
export function headerByteLength(bytes: Uint8Array, file: string, fileByteLength: number): number {
  if (fileByteLength < 8 || bytes.byteLength < 8) {
    const is = fileByteLength === 0 ? 'it is empty' : `it has ${Math.min(fileByteLength, bytes.byteLength)}`;
    throw new FormatError(`file must have at least the 8 bytes of the header length: ${is}`, { file });
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (length > HEADER_LIMIT) {
    const other = OTHERS.find(([beginning]) => beginning.test(String.fromCharCode(...bytes.subarray(0, 8))));
    if (other) throw new FormatError(`file must be in the format of safetensors: it is ${other[1]}`, { file });
    throw new FormatError(`header must have at most ${HEADER_LIMIT} bytes: its length says ${length}`, {
      file,
      byteOffset: 0,
    });
  }
  if (length > fileByteLength - 8) {
    const left = fileByteLength - 8;
    throw new FormatError(
      `header must end within the file: ${length} bytes long, ${left} are left; is the file complete?`,
      {
        file,
        byteOffset: 0,
      },
    );
  }
  return Number(length);
}

/**
 * Reads and checks the JSON of a header, in time linear in its size (but for sorting the tensors).
 * @param bytes the JSON: the file's bytes from 8 to 8 + `headerByteLength`
 * @param file its name, for messages
 * @param fileByteLength the file's size in bytes
 * @throws {FormatError} naming the tensor and the first rule broken
 */
export function parseHeader(bytes: Uint8Array, file: string, fileByteLength: number): Header {
  const text = decodeText(bytes, file, 'header');
  if (text === '') throw new FormatError('header must be a JSON object: it is empty', { file });
  const dataStart = 8 + bytes.byteLength;
  const tensors: TensorInfo[] = [];
  let metadata = new Map<string, string>();
  const json = parseStrict(text, file, {
    subject: 'header',
    tensorOf: ([name]) => (name === '__metadata__' ? undefined : name),
    take: (name, value) => {
      if (name === '__metadata__') metadata = readMetadata(value, file);
      else tensors.push(readEntry(name, value, dataStart, fileByteLength, file));
    },
  });
  if (!(json instanceof Map)) throw new FormatError(`header must be a JSON object: got ${show(json)}`, { file });
  tensors.sort((a, b) => a.start - b.start || a.end - b.end || (a.name < b.name ? -1 : 1));
  checkCover(tensors, dataStart, fileByteLength, file);
  return { tensors, metadata };
}

function readMetadata(json: Json, file: string): Map<string, string> {
  if (!(json instanceof Map)) throw new FormatError(`__metadata__ must be an object: got ${show(json)}`, { file });
  for (const [key, value] of json) {
    if (typeof value !== 'string') {
      throw new FormatError(`__metadata__ must map strings to strings: ${show(key)} is ${show(value)}`, { file });
    }
  }
  return json as Map<string, string>;
}

function readEntry(name: string, json: Json, dataStart: number, fileByteLength: number, file: string): TensorInfo {
  const fail = (message: string): never => {
    throw new FormatError(message, { file, tensor: name });
  };
  if (!(json instanceof Map)) return fail(`entry must be an object: got ${show(json)}`);
  for (const key of ['dtype', 'shape', 'data_offsets']) {
    if (!json.has(key)) fail(`entry must have dtype, shape and data_offsets: ${key} is missing`);
  }
  if (json.size > 3) {
    const other = [...json.keys()].find((key) => key !== 'dtype' && key !== 'shape' && key !== 'data_offsets');
    fail(`entry must have only dtype, shape and data_offsets: it has ${show(other)}`);
  }
  const dtype = json.get('dtype');
  if (typeof dtype !== 'string') return fail(`dtype must be a string: got ${show(dtype)}`);
  if (dtype.length > DTYPE_LIMIT) fail(`dtype must have at most ${DTYPE_LIMIT} characters: got ${show(dtype)}`);
  const shape = json.get('shape');
  if (!isCounts(shape)) return fail(`shape must be an array of integers from 0 to 2^53 - 1: got ${show(shape)}`);
  if (shape.length > RANK_LIMIT) fail(`shape must have at most ${RANK_LIMIT} dimensions: it has ${shape.length}`);
  if (elementCount(shape) === undefined) fail(`shape must have at most 2^53 - 1 elements: got ${show(shape)}`);
  const offsets = json.get('data_offsets');
  if (!isCounts(offsets) || offsets.length !== 2) {
    return fail(`data_offsets must be two integers from 0 to 2^53 - 1: got ${show(offsets)}`);
  }
  const [begin, end] = offsets;
  if (begin > end) fail(`data_offsets must not run backwards: got ${show(offsets)}`);
  if (end > fileByteLength - dataStart) {
    fail(
      `data_offsets must lie within the data: got ${show(offsets)}, the file has ${fileByteLength - dataStart} bytes of data; is it complete?`,
    );
  }
  if (dtypeBits(dtype) !== undefined && byteLengthOf(dtype, shape) !== end - begin) {
    const takes = byteLengthOf(dtype, shape) ?? 'over 2^50';
    fail(`data_offsets must span ${dtype} ${show(shape)}, ${takes} bytes: got ${show(offsets)}, ${end - begin} bytes`);
  }
  return { name, dtype, shape, start: dataStart + begin, end: dataStart + end };
}

// `tensors` are sorted: each must start where the one before it ends, and the last must end with the file.
function checkCover(tensors: TensorInfo[], dataStart: number, fileByteLength: number, file: string): void {
  let end = dataStart;
  let before: TensorInfo | undefined;
  const last = () => (before === undefined ? 'the header' : `tensor ${show(before.name)}`);
  for (const tensor of tensors) {
    if (tensor.start !== end) {
      const rule = tensor.start < end ? 'must not overlap' : 'must leave no hole after';
      throw new FormatError(`data ${rule} ${last()}: it starts at byte ${tensor.start}, ${last()} ends at ${end}`, {
        file,
        tensor: tensor.name,
        byteOffset: tensor.start,
      });
    }
    end = tensor.end;
    before = tensor;
  }
  if (end !== fileByteLength) {
    throw new FormatError(`file must end with ${last()}, at byte ${end}: it has ${fileByteLength} bytes`, {
      file,
      byteOffset: end,
    });
  }
}

function isCounts(json: Json | undefined): json is number[] {
  return Array.isArray(json) && json.every((n) => Number.isSafeInteger(n) && (n as number) >= 0 && !Object.is(n, -0));
}
