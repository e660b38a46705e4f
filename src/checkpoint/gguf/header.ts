// The header of a GGUF file, versions 2 and 3, little-endian. A string is its length (u64) and its bytes in UTF-8; sizes of a tensor stand
// the other way round, columns first.
//
//   │ "GGUF" │ version u32 │ tensors u64 │ pairs u64 │ pairs: key, type u32, value │ tensors: name, rank u32, sizes u64, type u32, offset u64 │
//   │ zeros up to a multiple of general.alignment │ data, each tensor at a multiple of it
//
// How long the header is nobody says: `parseGgufHeader` is given the beginning of the file, and says if that is too little. After it every
// tensor's range lies within the file, apart from all others.

import { FormatError, UnsupportedError } from '../../errors.ts';
import { excerpt, show } from '../../excerpt.ts';
import { elementCount } from '../safetensors/dtype.ts';
import { codeOf, type WeightCode } from './blocks.ts';

/** Longest header in bytes: a vocabulary of a quarter of a million tokens has 10 MB of them, a whole tokenizer.json some tens. */
const HEADER_LIMIT = 1 << 28;
/** Most tensors, as many as a safetensors header holds; most pairs, a thousand times those in use. */
export const GGUF_TENSORS_LIMIT = 1 << 20;
const PAIRS_LIMIT = 1 << 16;
/** Longest name of a pair or a tensor in bytes: ggml has 64. */
const NAME_LIMIT = 1 << 10;
/** Longest text of a pair in bytes: a whole tokenizer.json. */
const TEXT_LIMIT = 1 << 27;
/** Most elements of an array: sixteen times the tokens of the largest vocabularies. */
const ELEMENTS_LIMIT = 1 << 22;
/** Most dimensions of a tensor: ggml's. */
const RANK_LIMIT = 4;
/** Largest alignment of data in bytes: a large page. */
const ALIGNMENT_LIMIT = 1 << 21;

/** Bytes of the values of each type; 8 and 9 are texts and arrays. */
const WIDTHS = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const [F32, BOOL, TEXT, ARRAY] = [6, 7, 8, 9];

/** A value of a pair. Numbers of an array are numbers whatever their type. */
export type MetadataValue = number | boolean | string | readonly string[] | Float64Array;

/** A tensor's place and code, as the file has them. */
export interface GgufTensor {
  /** As the file has it. */
  readonly name: string;
  /** (rows, cols), as everywhere else. */
  readonly shape: readonly number[];
  /** How its weights are written. */
  readonly code: WeightCode;
  /** Bytes from the start of the file. */
  readonly start: number;
  /** Bytes from the start of the file to its end. */
  readonly end: number;
}

interface Header {
  readonly pairs: ReadonlyMap<string, MetadataValue>;
  /** By start. */
  readonly tensors: readonly GgufTensor[];
  readonly dataStart: number;
}

class TooShort extends Error {}

/**
 * Reads and checks a header.
 * @param bytes the file's first bytes
 * @param file its name, for messages
 * @param fileByteLength the file's size in bytes
 * @returns undefined when it goes on behind `bytes`
 * @throws {FormatError} names the first rule broken @throws {UnsupportedError} for other versions, and codes of weights that are not read
 */
export function parseGgufHeader(bytes: Uint8Array, file: string, fileByteLength: number): Header | undefined {
  try {
    return parse(bytes, file, fileByteLength);
  } catch (error) {
    if (error instanceof TooShort) return undefined;
    throw error;
  }
}

function parse(bytes: Uint8Array, file: string, fileByteLength: number): Header {
  const read = readerOf(bytes, file, fileByteLength);
  const magic = new TextDecoder('latin1').decode(read.bytes(4));
  if (magic !== 'GGUF') throw new FormatError(`file must begin with GGUF: it begins with ${show(magic)}`, { file });
  const version = read.u32();
  if (version !== 2 && version !== 3) {
    const described = version & 0xffff ? version : 'another byte order';
    throw new UnsupportedError(
      `GGUF ${described}`,
      `version of GGUF must be 2 or 3, little-endian: it is ${described}`,
      {
        file,
      },
    );
  }
  const tensorCount = read.count('tensors', GGUF_TENSORS_LIMIT);
  const pairCount = read.count('pairs', PAIRS_LIMIT);
  const pairs = new Map<string, MetadataValue>();
  for (let i = 0; i < pairCount; i++) {
    const key = read.text('name of a pair', NAME_LIMIT);
    if (pairs.has(key)) throw new FormatError(`keys must be unique: ${show(key)} occurs twice`, { file });
    pairs.set(key, read.value(key, read.u32()));
  }
  const alignment = alignmentOf(pairs.get('general.alignment'), file);
  const infos = Array.from({ length: tensorCount }, () => read.tensor());
  const dataStart = Math.ceil(read.at() / alignment) * alignment;
  const tensors = infos.map((tensor) => placed(tensor, dataStart, alignment, file, fileByteLength));
  tensors.sort((a, b) => a.start - b.start || a.end - b.end);
  checkApart(tensors, file);
  return { pairs, tensors, dataStart };
}

interface GgufTensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: number;
  readonly offset: number;
}

// What is read one behind the other. What lies behind `bytes`, but within the file, is too short; behind the file, an error.
function readerOf(bytes: Uint8Array, file: string, fileByteLength: number) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  let offset = 0;
  const fail = (message: string, place: { tensor?: string } = {}): never => {
    throw new FormatError(message, { file, byteOffset: offset, ...place });
  };
  // The place of the next bytes.
  const take = (count: number): number => {
    if (count > fileByteLength - offset)
      fail(`header must end within the file: the file has ${fileByteLength} bytes; is it complete?`);
    if (offset + count > HEADER_LIMIT) fail(`header must have at most ${HEADER_LIMIT} bytes: it has more`);
    if (count > bytes.byteLength - offset) throw new TooShort();
    offset += count;
    return offset - count;
  };
  const u32 = () => view.getUint32(take(4), true);
  const u64 = (subject: string): number => {
    const value = view.getBigUint64(take(8), true);
    return value < 2n ** 53n ? Number(value) : fail(`${subject} must be below 2^53: it is ${value}`);
  };
  const count = (subject: string, most: number): number => {
    const value = u64(`number of ${subject}`);
    return value <= most ? value : fail(`header must have at most ${most} ${subject}: it has ${value}`);
  };
  const text = (subject: string, most: number): string => {
    const length = u64(`length of ${subject}`);
    if (length > most) fail(`${subject} must have at most ${most} bytes: it has ${length}`);
    const start = take(length);
    try {
      return utf8.decode(bytes.subarray(start, start + length));
    } catch {
      return fail(`${subject} must be UTF-8: other bytes are in it`);
    }
  };
  const number = (type: number): number => {
    const from = take(WIDTHS[type]);
    if (type === 0 || type === BOOL) return view.getUint8(from);
    if (type === 1) return view.getInt8(from);
    if (type === 2) return view.getUint16(from, true);
    if (type === 3) return view.getInt16(from, true);
    if (type === 4) return view.getUint32(from, true);
    if (type === 5) return view.getInt32(from, true);
    if (type === F32) return view.getFloat32(from, true);
    if (type === 10) return Number(view.getBigUint64(from, true));
    if (type === 11) return Number(view.getBigInt64(from, true));
    return view.getFloat64(from, true);
  };
  const array = (key: string): readonly string[] | Float64Array => {
    const type = u32();
    if (type === ARRAY || !(type in WIDTHS)) fail(`arrays must hold numbers or texts: ${show(key)} holds type ${type}`);
    const length = count(`elements of ${show(key)}`, ELEMENTS_LIMIT);
    // Each element takes its bytes, a text at least those of its length: memory is in proportion to the file.
    if (length > (fileByteLength - offset) / (WIDTHS[type] || 8)) {
      fail(`header must end within the file: ${show(key)} has ${length} elements; is it complete?`);
    }
    if (type !== TEXT) {
      if (length * WIDTHS[type] > bytes.byteLength - offset) take(length * WIDTHS[type]);
      return Float64Array.from({ length }, () => number(type));
    }
    const texts: string[] = [];
    for (let i = 0; i < length; i++) texts.push(text(`text of ${show(key)}`, TEXT_LIMIT));
    return texts;
  };
  const value = (key: string, type: number): MetadataValue => {
    if (!(type in WIDTHS))
      return fail(`pairs must have types from 0 to ${WIDTHS.length - 1}: ${show(key)} has ${type}`);
    if (type === ARRAY) return array(key);
    if (type === TEXT) return text(`text of ${show(key)}`, TEXT_LIMIT);
    if (type === F32) return shortest(number(type));
    return type === BOOL ? number(type) !== 0 : number(type);
  };
  const tensor = (): GgufTensorInfo => {
    const name = text('name of a tensor', NAME_LIMIT);
    const rank = u32();
    if (rank > RANK_LIMIT) fail(`shape must have at most ${RANK_LIMIT} dimensions: it has ${rank}`, { tensor: name });
    const sizes = Array.from({ length: rank }, () => u64(`size of ${show(name)}`));
    return { name, shape: sizes.reverse(), type: u32(), offset: u64(`offset of ${show(name)}`) };
  };
  return {
    ...{ u32, count, text, value, tensor, at: () => offset },
    bytes: (length: number) => {
      const start = take(length);
      return bytes.subarray(start, start + length);
    },
  };
}

/** The decimal of fewest digits that is the same float of 32 bits: 1e-5 was meant where 0.000009999999747378752 stands. */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}

function alignmentOf(value: MetadataValue | undefined, file: string): number {
  if (value === undefined) return 32;
  const isNumber = typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= ALIGNMENT_LIMIT;
  if (isNumber && (value & (value - 1)) === 0) return value;
  throw new FormatError(`general.alignment must be a power of two up to ${ALIGNMENT_LIMIT}: got ${show(value)}`, {
    file,
  });
}

function placed(
  { name, shape, type, offset }: GgufTensorInfo,
  dataStart: number,
  alignment: number,
  file: string,
  fileByteLength: number,
): GgufTensor {
  const place = { file, tensor: name };
  const code = codeOf(type, place);
  const count = elementCount(shape);
  if (count === undefined)
    throw new FormatError(`shape must have at most 2^53 - 1 elements: got ${show(shape)}`, place);
  const cols = shape.at(-1) ?? 1;
  if (cols % code.weights !== 0) {
    const must = `a row of ${code.name} must be whole blocks of ${code.weights}`;
    throw new FormatError(`${must}: it has ${cols} weights`, place);
  }
  if (offset % alignment !== 0) {
    throw new FormatError(`offset must be a multiple of ${alignment}: it is ${offset}`, place);
  }
  const start = dataStart + offset;
  const end = start + (count / code.weights) * code.bytes;
  if (!(end <= fileByteLength)) {
    const must = 'data must lie within the file';
    throw new FormatError(`${must}: it ends at byte ${end}, the file has ${fileByteLength}; is it complete?`, place);
  }
  return { name, shape, code, start, end };
}

function checkApart(tensors: readonly GgufTensor[], file: string): void {
  const names = new Set<string>();
  let before: GgufTensor | undefined;
  for (const tensor of tensors) {
    const { name, start } = tensor;
    if (names.has(name))
      throw new FormatError('names of tensors must be unique: this one occurs twice', { file, tensor: name });
    names.add(name);
    if (before && start < before.end) {
      const message = `data must not overlap tensor ${excerpt(before.name)}: it starts at byte ${start}, that ends at ${before.end}`;
      throw new FormatError(message, { file, tensor: name, byteOffset: start });
    }
    before = tensor;
  }
}
