// Fills linear memories: the checkpoint's tensors stream through a staging region, where their checksums are taken, to their places.

import { type CheckpointFile, type CheckpointTensor, placeOf } from '../checkpoint/tensor.ts';
import { FormatError } from '../errors.ts';
import { isTrellis } from '../grids/grid.ts';
import type { DecoderExports } from '../kernels/decoder/exports.ts';
import { bandScratchBytes, PAIR_ROWS } from '../kernels/decoder/sizes.ts';
import { integerTable } from '../kernels/decoder/table.ts';
import { dtypeCodes } from '../kernels/layout.ts';
import { readChecksums } from '../quantize/format.ts';
import type { Load, MemoryLayout } from './layout.ts';
import {
  type Decoding,
  type DenseDtype,
  type DenseLinear,
  decodeRows,
  decodingBytes,
  type Linear,
  storeRows,
  type WeightTensor,
} from './linear.ts';
import type { Weights } from './weights.ts';

/** Room behind a block of rows for its scales, which are fewer bytes. */
const MARGIN = 64;

/** How far a load is. */
export interface LoadProgress {
  /** The tensor that was read. */
  tensor: string;
  bytesDone: number;
  bytes: number;
}

/** What is told while tensors load, and what ends it. */
export interface LoadOptions {
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** A memory that is filled. */
export interface Place {
  readonly kernels: DecoderExports;
  readonly buffer: ArrayBufferLike;
  readonly layout: MemoryLayout;
}

/** Reads tensors of a checkpoint to where a layout has them. */
interface Loader {
  /** What does not come from the checkpoint: tables of grids, masks of signs, frequencies of ropes. */
  prepare(place: Place): void;
  /** Loads a piece. @throws {FormatError} when a tensor's checksum is not the one noted: names the tensor */
  load(place: Place, piece: number): Promise<void>;
  /** Checks the stacks of experts that share slots: a part of a stack has no checksum. Tensors of one expert are checked as they are read. */
  checkStacks(place: Place): Promise<void>;
  readonly check: Check | undefined;
}

/** What a tensor's checksum is compared with. @throws {FormatError} when it is not the one noted: names the tensor */
export type Check = (tensor: CheckpointTensor, crc: number) => void;

/**
 * Reads a whole model, but for experts that share slots.
 * @returns what these are checked by; undefined where no checksums are noted
 * @throws {FormatError} when a checksum is not the one noted
 */
export async function loadAll(
  places: readonly Place[],
  weights: Weights,
  options: LoadOptions,
): Promise<Check | undefined> {
  const loader = await openLoader(places, weights, options);
  for (const place of places) {
    loader.prepare(place);
    for (const piece of place.layout.pieces.keys()) await loader.load(place, piece);
    await loader.checkStacks(place);
  }
  return loader.check;
}

/**
 * Opens a checkpoint to load pieces of it; checks its headers.
 * @param places all that there are, of which progress is told
 */
export async function openLoader(
  places: readonly Place[],
  weights: Weights,
  { onProgress, signal }: LoadOptions,
): Promise<Loader> {
  const stacks = new Set(weights.checked ? places.flatMap(stacksOf) : []);
  const tensors = new Set([...places.flatMap(({ layout }) => layout.pieces.flat()).flatMap(tensorsOf), ...stacks]);
  const bytes = [...tensors].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const progress: LoadProgress = { tensor: '', bytesDone: 0, bytes };
  const begun = new Map<string, number>(); // checksums of stacks, as far as they are read
  const noted = weights.checked ? await notedChecksums(weights, places[0]) : undefined;

  const spares = keepSpares();

  // Bytes `start` to `end` of a tensor to an address; the checksum goes on from `crc`.
  async function read(
    { kernels, buffer, layout }: Place,
    tensor: CheckpointTensor,
    start: number,
    end: number,
    at: number,
    crc: number,
  ): Promise<number> {
    signal?.throwIfAborted();
    const memory = new Uint8Array(buffer, at);
    const { stored } = tensor;
    let sum = 0;
    if (noted && stored) {
      const [first, last] = [start, end].map((byte) => (byte / tensor.byteLength) * stored.byteLength);
      memory.set(new Uint8Array(await stored.read(first, last)));
      sum = kernels.crc32(crc, at, last - first, layout.staging.address);
    }
    memory.set(spares.keep(await tensor.read(start, end, spares.of(end - start))));
    if (noted && !stored) sum = kernels.crc32(crc, at, end - start, layout.staging.address);
    // Told of once: pieces that take turns are read again.
    if (progress.bytesDone < bytes) {
      progress.tensor = tensor.name;
      progress.bytesDone += end - start;
      onProgress?.(progress);
    }
    return sum;
  }

  function check(tensor: CheckpointTensor, crc: number): void {
    const wanted = noted?.get(tensor.name);
    if (wanted === undefined || wanted === crc >>> 0) return;
    const message = `CRC-32 must be ${hex(wanted)}, as noted when it was written: it is ${hex(crc >>> 0)}`;
    throw new FormatError(message, placeOf(tensor));
  }

  async function fillVector(place: Place, vector: CheckpointTensor, address: number, plus: number): Promise<void> {
    const { kernels, buffer } = place;
    const { staging } = stagingOf(place);
    check(vector, await read(place, vector, 0, vector.byteLength, staging, 0));
    const count = vector.shape.reduce((product, size) => product * size, 1);
    kernels.widen(staging, dtypeCodes[vector.dtype as DenseDtype], 0, count, address);
    if (plus === 0) return;
    const values = new Float32Array(buffer, address, count);
    for (let i = 0; i < count; i++) values[i] += plus;
  }

  async function fillLinear(place: Place, linear: Linear, parts: CheckpointTensor[], first: number): Promise<void> {
    const ends = parts.map(() => 0);
    const crcs = parts.map(({ name }) => (first === 0 ? 0 : begun.get(name)!));
    for (const { part, start, end, at } of storing(place, linear, first)) {
      crcs[part] = await read(place, parts[part], start, end, at, crcs[part]);
      ends[part] = end;
    }
    for (const [i, part] of parts.entries()) {
      if (ends[i] === part.byteLength) check(part, crcs[i]);
      else begun.set(part.name, crcs[i]);
    }
  }

  async function fillDecoded(
    place: Place,
    linear: DenseLinear,
    decoding: Decoding,
    [packed, scales]: CheckpointTensor[],
  ): Promise<void> {
    const { staging, room } = stagingOf(place);
    const { rows, cols } = linear;
    const { rowBytes, scaleBytes } = decoding;
    const step = Math.max(
      1,
      Math.floor((room - 2 * MARGIN - decodingBytes(cols, 0)) / (rowBytes + scaleBytes + cols * 4)),
    );
    let [crc, scalesCrc] = [0, 0];
    for (let first = 0; first < rows; first += step) {
      const end = Math.min(rows, first + step);
      const scalesAt = staging + (end - first) * rowBytes + MARGIN;
      const scratch = Math.ceil((scalesAt + (end - first) * scaleBytes + MARGIN) / 16) * 16;
      crc = await read(place, packed, first * rowBytes, end * rowBytes, staging, crc);
      scalesCrc = await read(place, scales, first * scaleBytes, end * scaleBytes, scalesAt, scalesCrc);
      decodeRows(place.kernels, linear, decoding, first, end - first, staging, scalesAt, scratch);
    }
    check(packed, crc);
    check(scales, scalesCrc);
  }

  return {
    ...{ prepare, check: noted && check },
    async checkStacks(place) {
      const { staging, room } = stagingOf(place);
      place.kernels.crc32Table(place.layout.staging.address);
      for (const tensor of new Set(noted ? stacksOf(place) : [])) {
        let crc = 0;
        for (let start = 0; start < tensor.byteLength; start += room) {
          crc = await read(place, tensor, start, Math.min(tensor.byteLength, start + room), staging, crc);
        }
        check(tensor, crc);
      }
    },
    async load(place, piece) {
      place.kernels.crc32Table(place.layout.staging.address);
      for (const load of place.layout.pieces[piece]) {
        if ('vector' in load) await fillVector(place, load.vector, load.address, load.plus);
        else if ('decoding' in load) await fillDecoded(place, load.linear, load.decoding, partsOf(load.tensor));
        else await fillLinear(place, load.linear, partsOf(load.tensor), load.first);
      }
    },
  };
}

/** Buffers that are kept to be filled again: blocks are of few sizes, and each new one is garbage of megabytes. */
const SPARES = 4;

/** Buffers by size, the last used ones: what was read into one stands until the next read. */
interface Spares {
  of(byteLength: number): ArrayBuffer | undefined;
  /** Keeps a buffer; @returns its bytes */
  keep(buffer: ArrayBuffer): Uint8Array;
}

export function keepSpares(): Spares {
  const spares = new Map<number, ArrayBuffer>();
  return {
    of: (byteLength) => spares.get(byteLength),
    keep(buffer) {
      spares.delete(buffer.byteLength);
      spares.set(buffer.byteLength, buffer);
      for (const oldest of spares.keys()) {
        if (spares.size <= SPARES) break;
        spares.delete(oldest);
      }
      return new Uint8Array(buffer);
    },
  };
}

/** Bytes `start` to `end` of a weight's part, codes or scales, and where they are to be put. */
interface Wanted {
  readonly part: number;
  readonly start: number;
  readonly end: number;
  readonly at: number;
}

/** Stores a weight by bytes that it asks for: whoever goes on has put them there. @param start row of the tensor that is its first */
export function* storing(place: Place, linear: Linear, start: number): Generator<Wanted> {
  const { kernels, buffer } = place;
  const { staging, room } = stagingOf(place);
  const memory = new Uint8Array(buffer);
  const { rows, rowBytes } = linear;
  const scaleBytes = linear.type === 'codes' ? linear.scaleBytes : 0;
  const banded = linear.type === 'codes' && linear.bandedBytes > 0;
  const rest = room - (banded ? bandScratchBytes(linear.cols) : 0);
  const scratch = staging + rest + MARGIN;
  const apart = banded ? PAIR_ROWS : 1;
  const step = Math.max(1, Math.floor(rest / (rowBytes + scaleBytes) / apart)) * apart;
  for (let first = 0; first < rows; first += step) {
    const end = Math.min(rows, first + step);
    const scales = staging + (end - first) * rowBytes + MARGIN;
    const [from, to] = [start + first, start + end];
    yield { part: 0, start: from * rowBytes, end: to * rowBytes, at: staging };
    if (scaleBytes > 0) yield { part: 1, start: from * scaleBytes, end: to * scaleBytes, at: scales };
    storeRows(kernels, memory, linear, first, end - first, staging, scales, scratch);
  }
}

// Behind a table for checksums, the room for blocks of a checkpoint.
function stagingOf({ kernels, layout }: Place): { staging: number; room: number } {
  const { address, byteLength } = layout.staging;
  const tableBytes = kernels.crc32TableBytes();
  return { staging: address + tableBytes, room: byteLength - tableBytes - MARGIN };
}

/** Writes what does not come from the checkpoint. */
export function prepare(place: Place): void {
  const { kernels, buffer, layout } = place;
  const { staging } = stagingOf(place);
  for (const [i, frequencies] of layout.ropes.entries()) {
    new Float64Array(buffer, layout.state.ropes[i].frequencies, frequencies.length).set(frequencies);
  }
  for (const { seed, address, count } of layout.masks) if (seed !== null) kernels.signs(seed, address, count);
  for (const { grid, table, integers } of layout.tables) {
    if (isTrellis(grid)) new Uint8Array(buffer, table).set(integerTable(grid));
    else {
      new Float32Array(buffer, staging, grid.points.length).set(grid.points);
      kernels.writeRows(staging, grid.p, grid.n, table);
      if (integers) new Uint8Array(buffer, integers).set(integerTable(grid));
    }
  }
}

/** Whether it is a part of a stack. */
export const isStacked = (load: Load): boolean => 'linear' in load && load.linear.stack !== undefined;

const stacksOf = ({ layout }: Place): CheckpointTensor[] => layout.pages.flat(2).filter(isStacked).flatMap(tensorsOf);

/** The tensors that are read for it. */
export function tensorsOf(load: Load): CheckpointTensor[] {
  return 'vector' in load ? [load.vector] : partsOf(load.tensor);
}

function partsOf(tensor: WeightTensor): CheckpointTensor[] {
  return 'plain' in tensor ? [tensor.plain] : [tensor.quantized.packed, tensor.quantized.scales];
}

// The checksums of all tensors by name; those of the headers are checked here.
async function notedChecksums({ checkpoint }: Weights, place: Place): Promise<Map<string, number>> {
  const { kernels, buffer, layout } = place;
  const { staging } = stagingOf(place);
  const crcTable = layout.staging.address;
  const noted = new Map<string, number>();
  kernels.crc32Table(crcTable);
  for (const file of checkpoint.files) {
    const { header, tensors } = await readChecksums(file);
    const crc = await headerCrc(file);
    if (crc !== header) {
      const message = `CRC-32 of the header must be ${hex(header)}, as noted when it was written: it is ${hex(crc)}`;
      throw new FormatError(message, { file: file.file });
    }
    for (const { tensor, crc } of tensors) noted.set(tensor.name, crc);
  }
  return noted;

  async function headerCrc({ source, dataStart: length }: CheckpointFile): Promise<number> {
    let crc = 0;
    for (let start = 0; start < length; start += HEADER_BLOCK) {
      const end = Math.min(length, start + HEADER_BLOCK);
      new Uint8Array(buffer, staging).set(new Uint8Array(await source.slice(start, end)));
      crc = kernels.crc32(crc, staging, end - start, crcTable);
    }
    return crc >>> 0;
  }
}

/** Bytes of a header that are read at a time. */
const HEADER_BLOCK = 1 << 20;

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}
