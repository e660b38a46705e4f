// What of a checkpoint is read together, and where it then lies in the staging region:
//
//   tables of CRC-32 │ table of blocks │ scratch of thread 0, 1 … │ codes of some rows │ their scales │ codes of the next │ …
//
// A batch is as many rows as there is room for; blocks of rows are what threads store (store.ts). Tensors keep their order.

import type { CheckpointTensor } from '../../checkpoint/tensor.ts';
import type { DecoderExports } from '../../kernels/decoder/exports.ts';
import type { Load, MemoryLayout } from '../layout.ts';
import {
  type Decoding,
  type DenseLinear,
  decodeRows,
  decodingBytes,
  type Linear,
  rowsApartOf,
  scaleBytesOf,
  storingScratchBytes,
  type WeightTensor,
} from '../linear.ts';
import { type StagedRows, type StoringPass, storingBytes } from './store.ts';

/** Room behind rows for what kernels read behind an input. */
const MARGIN = 64;
/** Bytes of rows that a thread takes at a time: few, so that all end together. */
const BLOCK_BYTES = 128 << 10;
/** Most blocks of a batch. */
const BLOCKS = 256;
/** Most bytes of one read, and most reads of a batch: those of two batches are under way at once. */
const READ_BYTES = 1 << 20;
const READS = 24;

/** A memory that is filled. */
export interface Place {
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
  readonly at: number;
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
  /** Work of the calling thread. */
  readonly then: readonly (() => void)[];
}

/** The staging region of a memory. */
export interface Staging extends Pick<StoringPass, 'table' | 'scratch' | 'scratchBytes' | 'threads'> {
  readonly crcTable: number;
  /** Where batches lie. */
  readonly address: number;
  /** Bytes for batches. */
  readonly room: number;
}

/** @param threads most that take part */
export function stagingOf({ kernels, layout }: Pick<Place, 'kernels' | 'layout'>, threads: number): Staging {
  const { address: crcTable, byteLength } = layout.staging;
  const table = crcTable + kernels.crc32TableBytes();
  const scratch = aligned(table + storingBytes(BLOCKS));
  const linears = layout.pieces.flat().flatMap((load) => ('linear' in load ? load.linear : []));
  const scratchBytes = linears.reduce((most, linear) => Math.max(most, aligned(storingScratchBytes(linear))), 0);
  // At most a quarter of the region, but for one.
  const some = Math.max(1, Math.min(threads, Math.floor(byteLength / 4 / Math.max(1, scratchBytes))));
  const address = scratch + some * scratchBytes;
  return { crcTable, table, scratch, scratchBytes, threads: some, address, room: crcTable + byteLength - address };
}

const aligned = (address: number) => Math.ceil(address / 16) * 16;

/** What batches are made for. */
interface Batching {
  readonly place: Place;
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
  let next = staging.address;
  const left = () => staging.address + staging.room - next;

  function* flush(): Generator<Batch> {
    if (reads.length > 0) yield { reads, blocks, then };
    [reads, blocks, then] = [[], [], []];
    next = staging.address;
  }
  function take(byteLength: number): number {
    const at = next;
    next = aligned(at + byteLength + MARGIN);
    return at;
  }
  // Has a part of a tensor read. @returns where it will be
  function read(tensor: CheckpointTensor, start: number, end: number, blocks?: Read['blocks']): number {
    const { stored, byteLength } = tensor;
    if (checked && stored) {
      const [first, last] = [start, end].map((byte) => (byte / byteLength) * stored.byteLength);
      reads.push({ tensor, stored, start: first, end: last, at: take(last - first) });
    }
    const at = take(end - start);
    reads.push({ tensor, start, end, at, ...(blocks && !(checked && stored) && { blocks }) });
    return at;
  }

  function* decode(linear: DenseLinear, decoding: Decoding, [packed, scales]: CheckpointTensor[]): Generator<Batch> {
    const { rows, cols } = linear;
    const { rowBytes, scaleBytes } = decoding;
    const perRow = rowBytes + scaleBytes + cols * 4;
    const step = Math.max(1, Math.floor((staging.room - 4 * MARGIN - decodingBytes(cols, 0)) / perRow));
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
    const rowsThat = (bytes: number, perRow: number) => Math.floor(bytes / perRow / apart) * apart;
    const inBlock = Math.max(apart, rowsThat(BLOCK_BYTES, rowBytes));
    const perRow = parts.reduce(
      (sum, { stored, byteLength }, i) =>
        sum + widths[i] * (1 + (checked && stored ? stored.byteLength / byteLength : 0)),
      0,
    );
    const fit = () => rowsThat(left() - 4 * (MARGIN + 16), perRow);
    // Reads are of few sizes, so that buffers can be filled again: what does not fit begins a batch.
    const most = Math.max(apart, rowsThat(READ_BYTES, rowBytes));
    for (let first = 0, end: number; first < rows; first = end) {
      const wanted = Math.min(most, rows - first);
      const isFull = reads.length + 4 > READS || blocks.length + Math.ceil(wanted / inBlock) > BLOCKS;
      if (isFull || fit() < wanted) yield* flush();
      end = first + Math.min(wanted, Math.max(apart, fit()));
      const own = [blocks.length, blocks.length + Math.ceil((end - first) / inBlock)];
      const [at, scalesAt = 0] = parts.map((tensor, part) => {
        const [from, to] = [(start + first) * widths[part], (start + end) * widths[part]];
        return read(tensor, from, to, [own[0], own[1], part]);
      });
      for (let row = first; row < end; row += inBlock) {
        blocks.push({
          ...{ weight: indexOf(linear), first: row, count: Math.min(inBlock, end - row) },
          ...{ rows: at + (row - first) * rowBytes, scales: scalesAt + (row - first) * widths[1] },
        });
      }
    }
  }

  for (const load of loads) {
    if ('vector' in load) {
      const { vector } = load;
      if (reads.length + 2 > READS || left() < 2 * (vector.byteLength + MARGIN + 16)) yield* flush();
      const at = read(vector, 0, vector.byteLength);
      then.push(() => fillVector(load, at));
    } else if ('decoding' in load) yield* decode(load.linear, load.decoding, partsOf(load.tensor));
    else yield* store(load.linear, load.first, partsOf(load.tensor));
  }
  yield* flush();
}

/** The weights that threads store, in one order. */
export function weightsOf(layouts: readonly MemoryLayout[]): Linear[] {
  const loads = layouts.flatMap(({ pieces }) => pieces.flat());
  return loads.flatMap((load) => ('linear' in load && !('decoding' in load) ? load.linear : []));
}

/** The tensors that are read for it. */
export function tensorsOf(load: Load): CheckpointTensor[] {
  return 'vector' in load ? [load.vector] : partsOf(load.tensor);
}

function partsOf(tensor: WeightTensor): CheckpointTensor[] {
  return 'plain' in tensor ? [tensor.plain] : [tensor.quantized.packed, tensor.quantized.scales];
}
