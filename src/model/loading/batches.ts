// What of a checkpoint is read together, and where it then lies in the staging region:
//
//   tables of CRC-32 │ table of blocks │ scratch of thread 0, 1 … │ codes of some rows │ their scales │ codes of the next │ …
//
// A batch is as many rows as there is room for; blocks of rows are what threads store (store.ts). Tensors keep their order. Batches take turns
// in two halves of what is left behind the scratch: one is read to its place while another is stored. A region that holds a few long rows is
// not divided. Where one thread loads and the source fills places by threads of the runtime, codes and floats are read to where they stay:
// these threads then touch the new pages, which takes longer than all else. A block of codes is banded from a copy in the scratch.

import type { CheckpointTensor } from '../../checkpoint/tensor.ts';
import type { DecoderExports } from '../../kernels/decoder/exports.ts';
import type { Load, MemoryLayout } from '../layout.ts';
import {
  type Decoding,
  type DenseLinear,
  decodeRows,
  decodingBytes,
  type Linear,
  placeOfRows,
  rowsApartOf,
  scaleBytesOf,
  stagingBytesOf,
  type WeightTensor,
} from '../linear.ts';
import { aligned, MARGIN, type StagedRows, type StoringPass, scratchOfStoring, storingBytes } from './store.ts';

/** Bytes of rows that a thread takes at a time, one of two or of more: few, so that all end together. */
const BLOCK_BYTES: readonly [number, number] = [256 << 10, 128 << 10];
/** Most blocks of a batch. */
const BLOCKS = 256;
/** Most bytes of one read, and most reads of a batch: those of two batches are under way at once. */
const READ_BYTES = 1 << 20;
const READS = 24;
/** Most bytes of a batch that are read to where they stay. */
const PLACED_BYTES = 4 << 20;

/** A memory that is filled. */
export interface Filling {
  /** Kernels of the memory. */
  readonly kernels: DecoderExports;
  /** The memory. */
  readonly buffer: ArrayBufferLike;
  /** What lies in it. */
  readonly layout: MemoryLayout;
}

/** A part of a tensor that is read, and where it is put. */
interface Read {
  readonly tensor: CheckpointTensor;
  readonly start: number;
  readonly end: number;
  readonly offset: number;
  /** Whether that is where it stays: others are in the staging region for as long as the batch. */
  readonly isPlaced?: boolean;
  /** What the tensor is decoded from: read to be checked. */
  readonly stored?: CheckpointTensor;
  /** The blocks that have it, as codes, 0, or as scales, 1; what is in none the calling thread checks. */
  readonly blocks?: readonly [first: number, end: number, part: number];
}

/** What is read together, and what is done with it. */
export interface Batch {
  /** What is read, and where to. */
  readonly reads: readonly Read[];
  /** Rows that threads store. */
  readonly blocks: readonly StagedRows[];
  /** Where it lies: none in the other half is touched meanwhile. */
  readonly half: number;
  /** Work of the calling thread. */
  readonly then: readonly (() => void)[];
}

/** The staging region of a memory. */
interface Staging extends Pick<StoringPass, 'table' | 'scratch' | 'scratchBytes' | 'threads'> {
  /** Address of the tables of CRC-32. */
  readonly crcTable: number;
  /** Where batches lie, one or two in turns. */
  readonly halves: readonly number[];
  /** Bytes for a batch. */
  readonly room: number;
  /** Bytes of rows that a thread takes at a time. */
  readonly blockBytes: number;
  /** Whether rows may be read to where they stay: of one thread, which others of the runtime then read for. They touch new pages, too. */
  readonly isPlacing: boolean;
}

/** @param threads most that take part */
export function stagingOf({ kernels, layout }: Pick<Filling, 'kernels' | 'layout'>, threads: number): Staging {
  const { address: crcTable, byteLength } = layout.staging;
  const table = crcTable + kernels.crc32TableBytes();
  const scratch = aligned(table + storingBytes(BLOCKS));
  const loads = layout.pieces.flat();
  const linears = loads.flatMap((load) => ('linear' in load ? load.linear : []));
  const blockBytes = BLOCK_BYTES[threads > 2 ? 1 : 0];
  const divide = (isPlacing: boolean) => {
    const scratchBytes = linears.reduce(
      (most, linear) => Math.max(most, scratchOfStoring(linear, isPlacing ? rowsInBlock(linear, blockBytes) : 0)),
      0,
    );
    // At most a quarter of the region, but for one.
    const some = Math.max(1, Math.min(threads, Math.floor(byteLength / 4 / Math.max(1, scratchBytes))));
    const address = scratch + some * scratchBytes;
    const room = crcTable + byteLength - address;
    const half = Math.floor(room / 32) * 16;
    const isDivided = loads.every((load) => leastRoom(load) <= half);
    const halves = isDivided ? [address, address + half] : [address];
    return { scratchBytes, threads: some, halves, room: isDivided ? half : room, blockBytes, isPlacing };
  };
  const placing = divide(threads === 1);
  return { crcTable, table, scratch, ...(placing.halves.length > 1 ? placing : divide(false)) };
}

// Rows that a thread takes at a time.
function rowsInBlock(linear: Linear, bytes: number): number {
  return Math.max(rowsApartOf(linear), rowsThat(linear, bytes, linear.rowBytes));
}

// Rows that some bytes have, to a multiple of those that are stored together.
function rowsThat(linear: Linear, bytes: number, perRow: number): number {
  const apart = rowsApartOf(linear);
  return Math.floor(bytes / perRow / apart) * apart;
}

// Bytes in which the parts of something can be read in turns.
function leastRoom(load: Load): number {
  if ('vector' in load) return 2 * (load.vector.byteLength + MARGIN + 16);
  if (!('decoding' in load)) return stagingBytesOf(load.linear);
  const { rowBytes, scaleBytes } = load.decoding;
  return 2 * (rowBytes + scaleBytes + decodingBytes(load.linear.cols, 1)) + 4 * MARGIN;
}

/** What batches are made for. */
interface Batching {
  readonly place: Filling;
  readonly staging: Staging;
  /** Whether what tensors are decoded from is read, too. */
  readonly checked: boolean;
  /** The place of a weight among all that threads know. */
  indexOf(linear: Linear): number;
  /** Puts a vector that lies at `at` in its place. */
  fillVector(load: VectorLoad, at: number): void;
}

/** A vector that is loaded. */
export type VectorLoad = Extract<Load, { readonly vector: CheckpointTensor }>;

/** Batches of what is to be loaded, in its order. */
export function* batchesOf(loads: Iterable<Load>, batching: Batching): Generator<Batch> {
  const { place, staging, checked, indexOf, fillVector } = batching;
  let [reads, blocks, then]: [Read[], StagedRows[], (() => void)[]] = [[], [], []];
  const { halves, room } = staging;
  let half = 0;
  let next = halves[half];
  let placedBytes = 0;
  const left = () => halves[half] + room - next;

  function* flush(): Generator<Batch> {
    if (reads.length > 0) yield { reads, blocks, half, then };
    [reads, blocks, then] = [[], [], []];
    placedBytes = 0;
    half = (half + 1) % halves.length;
    next = halves[half];
  }
  function take(byteLength: number): number {
    const offset = next;
    next = aligned(offset + byteLength + MARGIN);
    return offset;
  }
  // Has a part of a tensor read. @returns where it will be
  function read(tensor: CheckpointTensor, start: number, end: number, blocks?: Read['blocks'], place?: number): number {
    if (place !== undefined) {
      reads.push({ tensor, start, end, offset: place, isPlaced: true, ...(blocks && { blocks }) });
      placedBytes += end - start;
      return place;
    }
    const { stored, byteLength } = tensor;
    if (checked && stored) {
      const [first, last] = [start, end].map((byte) => (byte / byteLength) * stored.byteLength);
      reads.push({ tensor, stored, start: first, end: last, offset: take(last - first) });
    }
    const offset = take(end - start);
    reads.push({ tensor, start, end, offset, ...(blocks && !(checked && stored) && { blocks }) });
    return offset;
  }

  function* decode(linear: DenseLinear, decoding: Decoding, [packed, scales]: CheckpointTensor[]): Generator<Batch> {
    const { rows, cols } = linear;
    const { rowBytes, scaleBytes } = decoding;
    const perRow = rowBytes + scaleBytes + cols * 4;
    const step = Math.max(1, Math.floor((room - 4 * MARGIN - decodingBytes(cols, 0)) / perRow));
    for (let first = 0; first < rows; first += step) {
      yield* flush();
      const count = Math.min(rows, first + step) - first;
      const codesAt = read(packed, first * rowBytes, (first + count) * rowBytes);
      const scalesAt = read(scales, first * scaleBytes, (first + count) * scaleBytes);
      const scratch = next;
      then.push(() => decodeRows(place.kernels, linear, decoding, first, count, codesAt, scalesAt, scratch));
    }
    yield* flush();
  }

  function* store(linear: Linear, start: number, parts: CheckpointTensor[]): Generator<Batch> {
    const { rows, rowBytes } = linear;
    const widths = [rowBytes, scaleBytesOf(linear)];
    const apart = rowsApartOf(linear);
    const inBlock = rowsInBlock(linear, staging.blockBytes);
    const [{ readIntoLater, stored }] = parts;
    const isPlaced = staging.isPlacing && !!readIntoLater && !stored && placeOfRows(linear, 0) !== undefined;
    const perRow = parts.reduce(
      (sum, { stored, byteLength }, i) =>
        isPlaced && i === 0 ? 0 : sum + widths[i] * (1 + (checked && stored ? stored.byteLength / byteLength : 0)),
      0,
    );
    const fit = () => (perRow === 0 ? rows : rowsThat(linear, left() - 4 * (MARGIN + 16), perRow));
    // Reads are of few sizes, so that buffers can be filled again: what does not fit begins a batch.
    const most = Math.max(apart, rowsThat(linear, READ_BYTES, rowBytes));
    for (let first = 0, end: number; first < rows; first = end) {
      const wanted = Math.min(most, rows - first);
      const isFull =
        reads.length + 4 > READS ||
        (isPlaced && placedBytes + wanted * rowBytes > PLACED_BYTES) ||
        blocks.length + Math.ceil(wanted / inBlock) > BLOCKS;
      if (isFull || fit() < wanted) yield* flush();
      end = first + Math.min(wanted, Math.max(apart, fit()));
      const range = [blocks.length, blocks.length + Math.ceil((end - first) / inBlock)];
      const [codesAt, scalesAt = 0] = parts.map((tensor, part) => {
        const [from, to] = [(start + first) * widths[part], (start + end) * widths[part]];
        const place = isPlaced && part === 0 ? placeOfRows(linear, first) : undefined;
        return read(tensor, from, to, [range[0], range[1], part], place);
      });
      for (let row = first; row < end; row += inBlock) {
        blocks.push({
          ...{ weight: indexOf(linear), first: row, count: Math.min(inBlock, end - row) },
          ...{ rows: codesAt + (row - first) * rowBytes, scales: scalesAt + (row - first) * widths[1] },
        });
      }
    }
  }

  for (const load of loads) {
    if ('vector' in load) {
      const { vector } = load;
      if (reads.length + 2 > READS || left() < 2 * (vector.byteLength + MARGIN + 16)) yield* flush();
      const offset = read(vector, 0, vector.byteLength);
      then.push(() => fillVector(load, offset));
    } else if ('decoding' in load) yield* decode(load.linear, load.decoding, partsOf(load.tensor));
    else yield* store(load.linear, load.first, partsOf(load.tensor));
  }
  yield* flush();
}

/** The weights that threads store, in one order. */
export function linearsIn(layouts: readonly MemoryLayout[]): Linear[] {
  const loads = layouts.flatMap(({ pieces }) => pieces.flat());
  return loads.flatMap((load) => ('linear' in load && !('decoding' in load) ? load.linear : []));
}

/** The tensors that are read for it. */
export function loadedTensors(load: Load): CheckpointTensor[] {
  return 'vector' in load ? [load.vector] : partsOf(load.tensor);
}

function partsOf(tensor: WeightTensor): CheckpointTensor[] {
  return 'plain' in tensor ? [tensor.plain] : [tensor.quantized.packed, tensor.quantized.scales];
}
