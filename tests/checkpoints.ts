// Checkpoints as bytes, made and read by other means than src/: safetensors files from literals, a reader that is one
// JSON.parse, f64 decoders of every dtype, and an output folder in memory.

import { type Folder, folderOf, memorySink, type OutputFolder } from '../src/index.ts';

/** A tensor to be put into a file. */
export interface Tensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

/** A tensor found in a file. */
export interface Found extends Tensor {
  /** Offset from the start of the file. */
  start: number;
}

const utf8 = new TextEncoder();

/** A file of this header, word for word, and this data. `length` is what the first 8 bytes say. */
export function fileOf(
  header: string | Uint8Array,
  data: Uint8Array | number = 0,
  length?: bigint,
): Uint8Array<ArrayBuffer> {
  const json = typeof header === 'string' ? utf8.encode(header) : header;
  const body = typeof data === 'number' ? new Uint8Array(data) : data;
  const bytes = new Uint8Array(8 + json.length + body.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(body, 8 + json.length);
  return bytes;
}

/** A safetensors file with these tensors, in this order, without padding. */
export function safetensors(
  tensors: Readonly<Record<string, Tensor>>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const entries = Object.entries(tensors);
  const data = new Uint8Array(entries.reduce((sum, [, { bytes }]) => sum + bytes.length, 0));
  let offset = 0;
  const members = entries.map(([name, { dtype, shape, bytes }]) => {
    data.set(bytes, offset);
    offset += bytes.length;
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [offset - bytes.length, offset] })}`;
  });
  if (metadata) members.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  return fileOf(`{${members.join(',')}}`, data);
}

/** The index of a sharded checkpoint. */
export function indexOf(shards: Readonly<Record<string, readonly string[]>>): Uint8Array {
  const map = Object.entries(shards).flatMap(([shard, names]) => names.map((name) => [name, shard]));
  return utf8.encode(JSON.stringify({ metadata: { total_size: 0 }, weight_map: Object.fromEntries(map) }));
}

/** Reads a well-formed file; its tensors come in the order of their data. */
export function readSafetensors(file: Uint8Array): {
  metadata: Record<string, string>;
  dataStart: number;
  tensors: Map<string, Found>;
} {
  const length = Number(new DataView(file.buffer, file.byteOffset, 8).getBigUint64(0, true));
  const { __metadata__: metadata = {}, ...rest } = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  const entries = Object.entries(rest as Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>);
  entries.sort(([, { data_offsets: a }], [, { data_offsets: b }]) => a[0] - b[0] || a[1] - b[1]);
  const tensors = entries.map(([name, { dtype, shape, data_offsets }]): [string, Found] => {
    const [start, end] = data_offsets.map((offset) => 8 + length + offset);
    return [name, { dtype, shape, start, bytes: file.subarray(start, end) }];
  });
  return { metadata, dataStart: 8 + length, tensors: new Map(tensors) };
}

const widths: Record<string, number> = { F64: 8, F32: 4, U32: 4, F16: 2, BF16: 2, F8_E4M3: 1 };

/** Elements of a tensor, exactly. */
export function valuesOf({ dtype, bytes }: Tensor): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float64Array.from({ length: bytes.length / widths[dtype] }, (_, i) => {
    if (dtype === 'F64') return view.getFloat64(i * 8, true);
    if (dtype === 'F32') return view.getFloat32(i * 4, true);
    if (dtype === 'U32') return view.getUint32(i * 4, true);
    if (dtype === 'F16') return small(view.getUint16(i * 2, true), 5, 10);
    if (dtype === 'BF16') return small(view.getUint16(i * 2, true), 8, 7);
    return small(view.getUint8(i), 4, 3);
  });
}

// A float of a sign, `e` bits of exponent and `m` of mantissa; finite values only.
function small(bits: number, e: number, m: number): number {
  const sign = bits >> (e + m) ? -1 : 1;
  const exponent = (bits >> m) & (2 ** e - 1);
  const mantissa = bits & (2 ** m - 1);
  const bias = 2 ** (e - 1) - 1;
  return sign * (exponent === 0 ? mantissa * 2 ** (1 - bias - m) : (2 ** m + mantissa) * 2 ** (exponent - bias - m));
}

/** A tensor of values; narrow dtypes take the nearest that they have. */
export function tensorOf(dtype: string, shape: number[], values: ArrayLike<number>): Tensor {
  const width = widths[dtype];
  const bytes = new Uint8Array(values.length * width);
  const view = new DataView(bytes.buffer);
  const wide = new DataView(new ArrayBuffer(4));
  for (let i = 0; i < values.length; i++) {
    if (dtype === 'F32') view.setFloat32(i * 4, values[i], true);
    else if (dtype === 'F16') view.setUint16(i * 2, narrow(values[i], 5, 10), true);
    else if (dtype === 'F8_E4M3') view.setUint8(i, narrow(values[i], 4, 3));
    else {
      wide.setFloat32(0, values[i], true);
      view.setUint16(i * 2, wide.getUint32(0, true) >>> 16, true); // BF16, towards zero
    }
  }
  return { dtype, shape, bytes };
}

function narrow(value: number, e: number, m: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 1 << (e + m) : 0;
  if (Number.isNaN(value)) return sign | (2 ** (e + m) - 1);
  if (!Number.isFinite(value)) return sign | ((2 ** e - 1) << m);
  const bias = 2 ** (e - 1) - 1;
  const exponent = Math.max(value === 0 ? -bias : Math.floor(Math.log2(Math.abs(value))), 1 - bias);
  const units = Math.round(Math.abs(value) / 2 ** (exponent - m));
  return sign | (units < 2 ** m ? units : units + ((exponent + bias - 1) << m));
}

/** A tensor of raw bytes, or of that many zeros. */
export function rawTensor(dtype: string, shape: number[], bytes: number | readonly number[]): Tensor {
  return { dtype, shape, bytes: typeof bytes === 'number' ? new Uint8Array(bytes) : Uint8Array.from(bytes) };
}

/** An output folder in memory, and what was written to it as a folder to read. */
export function memoryOutput(): OutputFolder & { files: Map<string, Uint8Array<ArrayBuffer>>; folder(): Folder } {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  return {
    files,
    async create(name) {
      const sink = memorySink();
      const close = async () => {
        files.set(name, sink.bytes());
        await sink.close();
      };
      return { ...sink, close };
    },
    folder: () => memoryFolder(Object.fromEntries(files)),
  };
}

/** Files in memory as a folder named `memory`. */
export function memoryFolder(files: Readonly<Record<string, Uint8Array>>): Folder {
  return folderOf(
    'memory',
    Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, bytes.slice().buffer as ArrayBuffer])),
  );
}

/** CRC-32 bit by bit, as ISO 3309 has it. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
