// The header of a GGUF file as it is written: version 3, little-endian. checkpoint/gguf/header.ts draws it, and reads it.

const encoder = new TextEncoder();
const VERSION = 3;
/** Tensors begin at multiples of it: what a reader takes where `general.alignment` is left out. */
const GGUF_ALIGNMENT = 32;
const [U32, I32, F32, BOOL, TEXT, ARRAY] = [4, 5, 6, 7, 8, 9];

/** A value of a pair: numbers say their type. */
export type TypedValue =
  | string
  | boolean
  | { readonly u32: number }
  | { readonly f32: number }
  | readonly string[]
  | readonly boolean[]
  | Int32Array
  | Float32Array;

/** By key. */
export type Metadata = Readonly<Record<string, TypedValue>>;

/** A tensor as the header has it. */
export interface GgufEntry {
  /** As llama.cpp knows it. */
  readonly name: string;
  /** (rows, cols), as everywhere else. */
  readonly shape: readonly number[];
  /** The number of its code in ggml. */
  readonly type: number;
  /** Bytes of its data. */
  readonly byteLength: number;
}

/** Bytes up to the next tensor. */
export const paddingOf = (byteLength: number): number => -byteLength & (GGUF_ALIGNMENT - 1);

/** @returns the header, padded; data of each tensor follows in this order, padded likewise */
export function headerOf(pairs: Metadata, tensors: readonly GgufEntry[]): Uint8Array<ArrayBuffer> {
  const members = Object.entries(pairs);
  const parts = [encoder.encode('GGUF'), u32(VERSION), u64(tensors.length), u64(members.length)];
  // One by one: a vocabulary is more than the arguments that a call takes.
  for (const [key, value] of members) for (const part of [text(key), ...valued(value)]) parts.push(part);
  let offset = 0;
  for (const { name, shape, type, byteLength } of tensors) {
    parts.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(type), u64(offset));
    offset += byteLength + paddingOf(byteLength);
  }
  const head = join(parts);
  return join([head, new Uint8Array(paddingOf(head.length))]);
}

function valued(value: TypedValue): Uint8Array[] {
  if (typeof value === 'string') return [u32(TEXT), text(value)];
  if (typeof value === 'boolean') return [u32(BOOL), Uint8Array.of(Number(value))];
  if (value instanceof Int32Array) return [u32(ARRAY), u32(I32), u64(value.length), bytesOf(value)];
  if (value instanceof Float32Array) return [u32(ARRAY), u32(F32), u64(value.length), bytesOf(value)];
  if ('u32' in value) return [u32(U32), u32(value.u32)];
  if ('f32' in value) return [u32(F32), bytesOf(Float32Array.of(value.f32))];
  const isText = (list: readonly unknown[]): list is readonly string[] => typeof list[0] !== 'boolean';
  if (isText(value)) return [u32(ARRAY), u32(TEXT), u64(value.length), ...value.map(text)];
  return [u32(ARRAY), u32(BOOL), u64(value.length), Uint8Array.from(value, Number)];
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array | Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

function text(words: string): Uint8Array {
  const bytes = encoder.encode(words);
  return join([u64(bytes.length), bytes]);
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
