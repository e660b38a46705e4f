// Checkpoints in parts, to be changed and put together again with offsets and checksums that fit: faults that lie behind the
// checks of the header are found only so. Quantized ones are made from nothing, with grids, sizes and numbers no quantizer gives.

import { normals } from '../bits.ts';
import { fileOf, type Tensor } from '../checkpoints.ts';
import { changeBytes, HALVES, joined } from './bytes.ts';
import { changedNode, nodeOf, textOf } from './json.ts';
import { NUMBERS, type Random, TEXTS } from './random.ts';

export type Files = Record<string, Uint8Array>;

/** A file: its metadata, and its tensors in the order of their data. */
export interface Draft {
  metadata: Record<string, string>;
  tensors: [name: string, tensor: Tensor][];
}

/** A weight as `higgs.tensors` describes it. */
interface Scheme {
  shape: number[];
  dtype: string;
  grid: string;
  groupSize: number;
  seed: number | null;
}

/** A grid: what the metadata says of it and its tensor. */
interface Grid {
  name: string;
  p: number;
  bits: number;
  note: Record<string, number>;
  tensor: Tensor;
}

const CODE_BITS = [2, 3, 4, 5, 6, 8, 9, 10, 12];
const DTYPES = ['F32', 'F16', 'BF16', 'F8_E4M3', 'U8', 'F64', 'U32', 'I8', 'F4', 'F6_E2M3', 'BOOL', 'Q4_K'];
const utf8 = new TextEncoder();

/** The file; offsets follow from the tensors' bytes. */
export function encodeDraft({ metadata, tensors }: Draft): Uint8Array<ArrayBuffer> {
  let offset = 0;
  const members = tensors.map(([name, { dtype, shape, bytes }]) => {
    offset += bytes.length;
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [offset - bytes.length, offset] })}`;
  });
  if (Object.keys(metadata).length > 0) members.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  const text = utf8.encode(`{${members.join(',')}}`);
  const padded = joined(text, new Uint8Array(-text.length & 7).fill(0x20));
  return fileOf(padded, joined(...tensors.map(([, { bytes }]) => bytes)));
}

/** Writes the checksums of a file anew, where it has the right number of them; others stay as they are. */
export function refit(file: Uint8Array): Uint8Array {
  const header = headerOf(file);
  if (!header) return file;
  const { dataStart, tensors } = header;
  const checksumTensor = tensors.find(([name]) => /^higgs\.checksums\.\d+$/.test(name));
  if (!checksumTensor || checksumTensor[1] % 1 !== 0 || checksumTensor[2] > file.length) return file;
  const checked = tensors.filter(([name]) => !/^higgs\.(checksums|padding)\.\d+$/.test(name));
  if (checksumTensor[2] - checksumTensor[1] !== (checked.length + 1) * 4) return file;
  const bytes = file.slice();
  const view = new DataView(bytes.buffer, checksumTensor[1]);
  view.setUint32(0, crc32(bytes.subarray(0, dataStart)), true);
  for (const [i, [, start, end]] of checked.entries())
    view.setUint32((i + 1) * 4, crc32(bytes.subarray(start, end)), true);
  return bytes;
}

/** Files with their checksums written anew. */
export function refitAll(files: Files): Files {
  return Object.fromEntries(
    Object.entries(files).map(([name, bytes]) => [name, name.endsWith('.safetensors') ? refit(bytes) : bytes]),
  );
}

// Start of the data, and tensors by start; undefined where the header is no such thing.
function headerOf(file: Uint8Array): { dataStart: number; tensors: [string, number, number][] } | undefined {
  try {
    const dataStart = 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
    const json = JSON.parse(new TextDecoder().decode(file.subarray(8, dataStart)));
    const tensors = Object.entries(json as Record<string, { data_offsets: number[] }>)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            data_offsets: [start, end],
          },
        ]): [string, number, number] => [name, dataStart + start, dataStart + end],
      );
    return { dataStart, tensors: tensors.sort((a, b) => a[1] - b[1] || a[2] - b[2]) };
  } catch {
    return undefined;
  }
}

/** A plain tensor. @param odd how often it has values that are special: infinite, subnormal, huge */
export function randomTensor(random: Random, shape: number[], odd: number): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const dtype = random.pick(['F32', 'F16', 'BF16']);
  return { dtype, shape, bytes: randomFloats(random, count, dtype, odd) };
}

// Mostly N(0, 1) / 4.
function randomFloats(random: Random, count: number, dtype: string, often: number): Uint8Array<ArrayBuffer> {
  const values = normals(count, random.below(2 ** 31));
  const isOdd = random.chance(often);
  const odd = () => (random.chance(0.2) ? random.pick(NUMBERS) : undefined);
  const width = dtype === 'F32' ? 4 : 2;
  const bytes = new Uint8Array(count * width);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    const value = (isOdd ? odd() : undefined) ?? values[i] / 4;
    if (dtype === 'F16')
      view.setUint16(
        i * 2,
        isOdd ? random.pick(HALVES) : 0x2c00 ^ random.below(2048) ^ (values[i] < 0 ? 0x8000 : 0),
        true,
      );
    else if (dtype === 'F32') view.setFloat32(i * 4, value, true);
    else {
      const wide = new DataView(new ArrayBuffer(4));
      wide.setFloat32(0, value, true);
      view.setUint16(i * 2, wide.getUint16(2, true), true);
    }
  }
  return bytes;
}

/** A grid that the reader takes, most of the time: any size, points of any kind; trellises as `known` has them, changed. */
export function randomGrid(random: Random, grids: readonly Grid[], odd = 1): Grid {
  if (random.chance(0.4) || odd === 0) {
    const { name, p, bits, note, tensor } = random.pick(grids);
    const draft = { name, p, bits, note: { ...note }, tensor: { ...tensor, bytes: tensor.bytes.slice() } };
    if (random.chance(0.2 * odd))
      draft.tensor.bytes[random.below(draft.tensor.bytes.length)] = random.pick([0, 1, 127, 255]);
    if (random.chance(0.3 * odd)) draft.note[random.pick(['mse', 'step', 'zero', 'kept'])] = random.pick(NUMBERS);
    return draft;
  }
  const p = 1 + random.below(4);
  // Kernels keep a table for each grid, which takes long to build for large ones: these are few and come again.
  const bits = random.chance(0.03) ? random.pick(CODE_BITS) : random.between(2, 4);
  const n = 2 ** bits;
  const points = normals(n * p, 1);
  if (random.chance(0.3 * odd)) {
    const factor = random.pick([0, 1e-45, 1e-38, 1e-30, 1e10, 1e30, 3e37]);
    for (let i = 0; i < points.length; i++) points[i] = Math.fround(points[i] * factor);
  } else if (random.chance(0.1 * odd)) points[random.below(points.length)] = random.pick(NUMBERS);
  if (random.chance(0.1)) points.fill(points[0], 0, random.below(points.length));
  return {
    ...{ name: `p${p}n${n}`, p, bits, note: { mse: random.chance(0.1 * odd) ? random.pick(NUMBERS) : 0.01 } },
    tensor: { dtype: 'F32', shape: [n, p], bytes: new Uint8Array(points.buffer) },
  };
}

/** Codes and scales of a weight: random ones. Bits behind the last code of a row are 0 where nothing is odd. */
function randomCodes(
  random: Random,
  rows: number,
  cols: number,
  grid: Grid,
  groupSize: number,
  odd: number,
): [Tensor, Tensor] {
  const codes = grid.name.startsWith('t') ? Math.ceil(cols / 4) * 4 : Math.ceil(cols / grid.p);
  const rowBytes = Math.ceil((codes * grid.bits) / 8);
  let groups = Math.floor(cols / groupSize);
  for (let rest = cols % groupSize; rest > 0; rest &= rest - 1) groups++;
  const halves = Uint16Array.from({ length: rows * groups }, () => 0x2800 | random.below(2048));
  if (random.chance(0.2 * odd)) {
    for (let i = 0; i < halves.length; i++) if (random.chance(0.3)) halves[i] = random.pick(HALVES);
  }
  const packed = random.bytes(rows * rowBytes);
  if (odd === 0)
    for (let row = 1; row <= rows; row++) packed[row * rowBytes - 1] &= 255 >> (rowBytes * 8 - codes * grid.bits);
  return [
    { dtype: 'U8', shape: [rows, rowBytes], bytes: packed },
    { dtype: 'F16', shape: [rows, groups], bytes: new Uint8Array(halves.buffer) },
  ];
}

/** A weight of a checkpoint to be made: its name and shape. */
export type Wanted = readonly [name: string, shape: number[]];

/**
 * A quantized checkpoint in one file: of the wanted matrices some, with grids of its own; what is left is plain.
 * @param offered grids to take, beside random ones
 * @param odd how often values are special, 0 to 1
 */
export function randomStored(random: Random, wanted: readonly Wanted[], offered: readonly Grid[], odd: number): Draft {
  const grids = Array.from({ length: 1 + random.below(2) }, () => randomGrid(random, offered, odd)).filter(
    ({ name }, i, all) => all.findIndex((other) => other.name === name) === i,
  );
  const schemes: Record<string, Scheme> = {};
  const tensors: Draft['tensors'] = grids.map(({ name, tensor }) => [`higgs.grid.${name}`, tensor]);
  let quantized = 0;
  for (const [name, shape] of wanted) {
    if (shape.length < 2 || random.chance(0.15)) {
      tensors.push([name, randomTensor(random, shape, odd / 8)]);
      continue;
    }
    const grid = random.pick(grids);
    const groupSize = random.pick([16, 32, 64, 256, 1024, 4096]);
    const cols = shape.at(-1)!;
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    const [packed, scales] = randomCodes(random, rows, cols, grid, groupSize, odd);
    tensors.push([`${name}.packed`, packed], [`${name}.scales`, scales]);
    const seed = random.chance(0.3) ? null : random.pick([0, 1, 2 ** 32 - 1]);
    schemes[name] = { shape, dtype: random.pick(['F32', 'F16', 'BF16', 'F8_E4M3']), grid: grid.name, groupSize, seed };
    quantized++;
  }
  if (quantized > 0) {
    const sums = Float64Array.from({ length: quantized * 2 }, (_, i) => (i % 2 === 0 ? 0.01 : 1));
    if (random.chance(0.1 * odd)) sums[random.below(sums.length)] = random.pick(NUMBERS);
    tensors.push(['higgs.errors.0', { dtype: 'F64', shape: [quantized, 2], bytes: new Uint8Array(sums.buffer) }]);
  }
  tensors.push(['higgs.checksums.0', checksums(tensors.length)]);
  const metadata = {
    'higgs.format': '1',
    'higgs.tensors': JSON.stringify(schemes),
    'higgs.grids': JSON.stringify(Object.fromEntries(grids.map(({ name, note }) => [name, note]))),
  };
  return { metadata, tensors: aligned(tensors) };
}

// With padding tensors, so that each starts at a multiple of 8.
function aligned(tensors: Draft['tensors']): Draft['tensors'] {
  let [offset, paddings] = [0, 0];
  return tensors.flatMap((entry): Draft['tensors'] => {
    const missing = -offset & 7;
    offset += missing + entry[1].bytes.length;
    if (missing === 0) return [entry];
    return [[`higgs.padding.${paddings++}`, { dtype: 'U8', shape: [missing], bytes: new Uint8Array(missing) }], entry];
  });
}

function checksums(count: number): Tensor {
  return { dtype: 'U32', shape: [count + 1], bytes: new Uint8Array((count + 1) * 4) };
}

/** One change of a draft that leaves it a file: of metadata, a tensor's type, shape, name, place or bytes. */
export function changeDraft(draft: Draft, random: Random): void {
  const { metadata, tensors } = draft;
  const keys = Object.keys(metadata);
  const offset = random.below(tensors.length);
  const entry = tensors[offset];
  if (keys.length > 0 && random.chance(0.4)) {
    const key = random.pick(keys);
    const way = random.below(10);
    if (way === 0) delete metadata[key];
    else if (way === 1) metadata[random.pick(TEXTS)] = random.pick(TEXTS);
    else metadata[key] = changedText(metadata[key], random);
    return;
  }
  if (!entry) return;
  const [name, tensor] = entry;
  switch (random.below(8)) {
    case 0:
      tensors.splice(offset, 1);
      break;
    case 1:
      tensors.splice(random.below(tensors.length), 0, ...tensors.splice(offset, 1));
      break;
    case 2:
      entry[0] = random.chance(0.5)
        ? random.pick(TEXTS)
        : name.replace(/\.(packed|scales|weight)$/, random.pick(['', '.packed', '.scales', '.x']));
      break;
    case 3:
      entry[1] = { ...tensor, dtype: random.pick(DTYPES) };
      break;
    case 4:
      entry[1] = { ...tensor, shape: changedShape(tensor.shape, random) };
      break;
    case 5:
      if (!tensors.some(([other]) => other === `${name}.2`)) tensors.push([`${name}.2`, tensor]);
      break;
    default:
      entry[1] = { ...tensor, bytes: changedData(tensor, random) };
  }
  // What has checksums changed in number: a file that says so is looked at further.
  const index = tensors.findIndex(([name]) => name === 'higgs.checksums.0');
  if (index >= 0 && random.chance(0.9))
    tensors[index][1] = checksums(tensors.filter(([name]) => !/^higgs\.(checksums|padding)\.\d+$/.test(name)).length);
}

function changedText(text: string, random: Random): string {
  try {
    return textOf(changedNode(nodeOf(JSON.parse(text)), random));
  } catch {
    return random.pick(TEXTS);
  }
}

function changedShape(shape: readonly number[], random: Random): number[] {
  const changed = [...shape];
  const offset = random.below(changed.length + 1);
  switch (random.below(4)) {
    case 0:
      changed.splice(offset, 0, random.pick([0, 1, 2]));
      break;
    case 1:
      changed.splice(offset, 1);
      break;
    case 2:
      changed.reverse();
      break;
    default:
      changed[offset] = random.pick([0, 1, 2, 3, 64, 2 ** 31, 2 ** 53 - 1]);
  }
  return changed;
}

// As long as it was: the sizes of the file stay right.
function changedData({ dtype, bytes }: Tensor, random: Random): Uint8Array {
  const changed = bytes.slice();
  const view = new DataView(changed.buffer);
  const width = dtype === 'F64' ? 8 : dtype === 'F32' ? 4 : dtype === 'F16' || dtype === 'BF16' ? 2 : 1;
  const all = random.chance(0.3);
  const value = random.pick(NUMBERS);
  for (let at = 0; at + width <= changed.length; at += width) {
    if (!all && !random.chance(0.1)) continue;
    if (width === 8) view.setFloat64(at, value, true);
    else if (width === 4) view.setFloat32(at, value, true);
    else if (width === 2) view.setUint16(at, random.pick(HALVES), true);
    else changed[at] = random.below(256);
  }
  return random.chance(0.1) ? changeBytes(changed, random).slice(0, changed.length) : changed;
}

/** CRC-32, a byte at a time. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});
