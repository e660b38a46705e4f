// Fills linear memories: the checkpoint's tensors stream through a staging region, where their checksums are taken, to their places.
// While all threads check and store a batch (store.ts), the next one is read:
//
//   the source     │ batch 1 │ batch 2 │ batch 3 │
//   the threads              │ batch 1 │ batch 2 │ batch 3 │
//
// Sources that can read to their place there: batches.ts has the two halves in which they take turns, and says what is read to where it
// stays. Other bytes are copied.

import type { CheckpointFile, CheckpointTensor } from '../../checkpoint/tensor.ts';
import { placeOf } from '../../checkpoint/tensor.ts';
import { FormatError } from '../../errors.ts';
import { isTrellis } from '../../grids/grid.ts';
import { integerTable } from '../../kernels/decoder/table.ts';
import { dtypeCodes } from '../../kernels/layout.ts';
import { readChecksums } from '../../quantize/format.ts';
import type { Load } from '../layout.ts';
import { type DenseDtype, type Linear, scaleBytesOf } from '../linear.ts';
import { pauses } from '../pause.ts';
import type { ModelWeights } from '../weights.ts';
import {
  type Batch,
  batchesOf,
  type Filling,
  linearsIn,
  loadedTensors,
  stagingOf,
  type VectorLoad,
} from './batches.ts';
import { joinCrc32 } from './crc.ts';
import { blockChecksum, type Crew, crewOfOne, writeBlocks } from './store.ts';

/** How far a load is. */
export interface LoadProgress {
  /** The tensor that was read. */
  tensor: string;
  /** Bytes read so far. */
  bytesDone: number;
  /** Bytes that will be read. */
  bytes: number;
}

/** What is told while tensors load, and what ends it. */
export interface LoadingOptions {
  /** Called as tensors are read. */
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Ends the load. */
  signal?: AbortSignal | undefined;
}

/** Reads tensors of a checkpoint to where a layout has them. */
interface Loader {
  /** What does not come from the checkpoint: tables of grids, masks of signs, frequencies of ropes. */
  prepare(place: Filling): void;
  /** Loads a piece, or all. @throws {FormatError} when a tensor's checksum is not the one noted: names the tensor */
  load(place: Filling, piece?: number): Promise<void>;
  /** Checks the stacks of experts that share slots: a part of a stack has no checksum. Tensors of one expert are checked as they are read. */
  checkStacks(place: Filling): Promise<void>;
  readonly check: Check | undefined;
}

/** What a tensor's checksum is compared with. @throws {FormatError} when it is not the one noted: names the tensor */
export type Check = (tensor: CheckpointTensor, crc: number) => void;

/**
 * Reads a whole model, but for experts that share slots.
 * @param crew the threads that store
 * @returns what these are checked by; undefined where no checksums are noted
 * @throws {FormatError} when a checksum is not the one noted
 */
export async function loadMemories(
  places: readonly Filling[],
  weights: ModelWeights,
  options: LoadingOptions,
  crew: Crew,
): Promise<Check | undefined> {
  const loader = await openLoader(places, weights, options, crew);
  for (const place of places) {
    loader.prepare(place);
    await loader.load(place);
    await loader.checkStacks(place);
  }
  return loader.check;
}

/** A batch that is read, and its bytes as far as they are there or on their way. */
interface Coming {
  readonly batch: Batch;
  readonly bytes: (ArrayBuffer | Promise<ArrayBuffer | typeof IN_PLACE> | typeof IN_PLACE | undefined)[];
}

/** Of bytes that were read to their place in the staging region. */
const IN_PLACE: unique symbol = Symbol();

/**
 * Opens a checkpoint to load pieces of it; checks its headers.
 * @param places all that there are, of which progress is told
 * @param crew the threads that store; the calling one if left out
 * @throws {FormatError} while loading, when a checksum is not as it was noted
 */
export async function openLoader(
  places: readonly Filling[],
  weights: ModelWeights,
  { onProgress, signal }: LoadingOptions,
  crew: Crew = crewOfOne(places, linearsIn(places.map(({ layout }) => layout))),
): Promise<Loader> {
  const stacks = new Set(weights.checked ? places.flatMap(stacksOf) : []);
  const tensors = new Set([...places.flatMap(({ layout }) => layout.pieces.flat()).flatMap(loadedTensors), ...stacks]);
  const bytes = [...tensors].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const progress: LoadProgress = { tensor: '', bytesDone: 0, bytes };
  const sums = new Map<CheckpointTensor, number>(); // checksums, as far as tensors are read
  const noted = weights.checked ? await notedChecksums(weights, places[0]) : undefined;
  const placeOfWeight = new Map(crew.weights.map((linear, i) => [linear, i]));
  const spares = keepSpares();
  const pause = pauses();
  const stagings = places.map((place) => stagingOf(place, place.layout.state.threads));

  function tell(tensor: CheckpointTensor, byteLength: number): void {
    // Told of once: pieces that take turns are read again.
    if (progress.bytesDone >= bytes) return;
    progress.tensor = tensor.name;
    progress.bytesDone += byteLength;
    onProgress?.(progress);
  }

  function check(tensor: CheckpointTensor, crc: number): void {
    const wanted = noted?.get(tensor.name);
    if (wanted === undefined || wanted === crc >>> 0) return;
    const message = `CRC-32 must be ${hex(wanted)}, as noted when it was written: it is ${hex(crc >>> 0)}`;
    throw new FormatError(message, placeOf(tensor));
  }

  // What can be read at once is read later, while other threads store: a promise for each block would take longer than the block. Where the
  // region is not divided, another batch lies in it then.
  function begin(batch: Batch, memory: Uint8Array | undefined): Coming {
    const bytes = batch.reads.map(
      ({ tensor, stored = tensor, start, end, offset, isPlaced }): Coming['bytes'][number] => {
        if (isPlaced) {
          const filled = tensor.readIntoLater!(start, end, memory!.subarray(offset, offset + end - start)).then(
            (): typeof IN_PLACE => IN_PLACE,
          );
          filled.catch(() => {});
          return filled;
        }
        if (stored.readSync) return undefined;
        const read = stored.read(start, end, spares.take(end - start));
        read.catch(() => {}); // told of when its turn comes
        return read;
      },
    );
    return { batch, bytes };
  }
  function readNow({ batch, bytes }: Coming, memory: Uint8Array | undefined): void {
    for (const [i, { tensor, stored = tensor, start, end, offset }] of batch.reads.entries()) {
      if (bytes[i]) continue;
      try {
        if (memory && stored.readInto) {
          stored.readInto(start, end, memory.subarray(offset, offset + end - start));
          bytes[i] = IN_PLACE;
        } else bytes[i] = stored.readSync!(start, end, spares.take(end - start));
      } catch (error) {
        bytes[i] = Promise.reject(error);
        (bytes[i] as Promise<ArrayBuffer>).catch(() => {});
        return; // those behind it are not asked for
      }
    }
  }

  // Puts a batch where it belongs, and checks it. @param meanwhile what is done while other threads store
  async function finish(place: Filling, { batch, bytes }: Coming, meanwhile: () => void): Promise<void> {
    const { kernels, buffer } = place;
    const { reads, blocks, then } = batch;
    const { crcTable, ...staging } = stagings[places.indexOf(place)];
    const memory = new Uint8Array(buffer);
    for (const [i, { tensor, stored, start, end, offset }] of reads.entries()) {
      signal?.throwIfAborted();
      const given = bytes[i]!;
      const read = typeof given === 'object' && 'then' in given ? await given : given;
      if (read !== IN_PLACE) memory.set(spares.keep(read), offset);
      if (!stored) tell(tensor, end - start);
    }
    const ints = new Int32Array(buffer);
    if (blocks.length > 0) {
      writeBlocks(ints, staging.table, blocks);
      const count = blocks.length;
      crew.store({ ...staging, memory: places.indexOf(place), count, crcTable: noted ? crcTable : 0 }, meanwhile);
    } else meanwhile();
    if (noted) checkReads();
    for (const work of then) work();

    function checkReads(): void {
      for (const read of reads) {
        const { tensor, stored, start, end, offset } = read;
        if (tensor.stored && !stored) continue; // checked as it is in the file
        let crc = start === 0 ? 0 : sums.get(tensor)!;
        if (read.blocks) {
          const [first, last, part] = read.blocks;
          for (let block = first; block < last; block++) {
            crc = joinCrc32(crc, blockChecksum(ints, staging.table, block, part), bytesOf(block, part));
          }
        } else crc = kernels.crc32(crc, offset, end - start, crcTable);
        sums.set(tensor, crc);
        if (end === (stored ?? tensor).byteLength) check(tensor, crc);
      }
    }
    function bytesOf(block: number, part: number): number {
      const { weight, count } = blocks[block];
      const linear = crew.weights[weight];
      return count * (part === 0 ? linear.rowBytes : scaleBytesOf(linear));
    }
  }

  async function loadPart(place: Filling, loads: readonly Load[]): Promise<void> {
    const staging = stagings[places.indexOf(place)];
    place.kernels.crc32Table(staging.crcTable);
    const indexOf = (linear: Linear) => placeOfWeight.get(linear)!;
    const batches = batchesOf(loads, {
      place,
      staging,
      checked: noted !== undefined,
      indexOf,
      fillVector: (load, offset) => fillVector(place, load, offset),
    });
    const memory = staging.halves.length > 1 ? new Uint8Array(place.buffer) : undefined;
    const start = () => {
      const { value: batch } = batches.next();
      return batch && begin(batch, memory);
    };
    let [now, next]: (Coming | undefined)[] = [start()];
    if (now) readNow(now, memory);
    try {
      for (; now; now = next) {
        await pause();
        next = start();
        await finish(place, now, () => next && readNow(next, memory));
      }
    } catch (error) {
      // Nobody reads from the folder any more.
      await Promise.allSettled([now, next].flatMap((coming) => coming?.bytes ?? []));
      throw error;
    }
  }

  return {
    ...{ prepare: writeConstants, check: noted && check },
    async checkStacks(place) {
      const { crcTable, halves, room } = stagings[places.indexOf(place)];
      const [address] = halves;
      place.kernels.crc32Table(crcTable);
      for (const tensor of new Set(noted ? stacksOf(place) : [])) {
        let crc = 0;
        for (let start = 0; start < tensor.byteLength; start += room) {
          signal?.throwIfAborted();
          const end = Math.min(tensor.byteLength, start + room);
          const bytes = await tensor.read(start, end, spares.take(end - start));
          new Uint8Array(place.buffer).set(spares.keep(bytes), address);
          crc = place.kernels.crc32(crc, address, end - start, crcTable);
          tell(tensor, end - start);
        }
        check(tensor, crc);
      }
    },
    load: (place, piece) => {
      const { pieces } = place.layout;
      return loadPart(place, piece === undefined ? pieces.flat() : pieces[piece]);
    },
  };
}

function fillVector({ kernels, buffer }: Filling, { vector, address, plus }: VectorLoad, offset: number): void {
  const count = vector.shape.reduce((product, size) => product * size, 1);
  kernels.widen(offset, dtypeCodes[vector.dtype as DenseDtype], 0, count, address);
  if (plus === 0) return;
  const values = new Float32Array(buffer, address, count);
  for (let i = 0; i < count; i++) values[i] += plus;
}

/** Bytes of buffers that are kept to be filled again, the last used ones: each new one is garbage, and pages that are zeroed. */
const SPARE_BYTES = 16 << 20;

/** Buffers by size. */
interface Spares {
  /** One that is filled next. */
  take(byteLength: number): ArrayBuffer | undefined;
  /** Keeps a buffer whose bytes are taken at once; @returns its bytes */
  keep(buffer: ArrayBuffer): Uint8Array;
}

/** @returns a store of buffers that reads are done with */
export function keepSpares(): Spares {
  const spares: ArrayBuffer[] = [];
  let bytes = 0;
  return {
    take(byteLength) {
      const index = spares.findIndex((spare) => spare.byteLength === byteLength);
      if (index < 0) return undefined;
      bytes -= byteLength;
      return spares.splice(index, 1)[0];
    },
    keep(buffer) {
      spares.push(buffer);
      for (bytes += buffer.byteLength; bytes > SPARE_BYTES; ) bytes -= spares.shift()!.byteLength;
      return new Uint8Array(buffer);
    },
  };
}

/** Writes what does not come from the checkpoint. */
export function writeConstants(place: Filling): void {
  const { kernels, buffer, layout } = place;
  const { address: staging } = layout.staging;
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

const stacksOf = ({ layout }: Filling): CheckpointTensor[] =>
  layout.pages.flat(2).filter(isStacked).flatMap(loadedTensors);

// At once, as weights are: a turn of the event loop may take longer than all else that comes before them.
const atOnce = (tensor: CheckpointTensor) => tensor.readSync?.(0, tensor.byteLength) ?? tensor.read();

// The checksums of all tensors by name; those of the headers are checked here.
async function notedChecksums({ checkpoint }: ModelWeights, place: Filling): Promise<Map<string, number>> {
  const { kernels, buffer, layout } = place;
  const crcTable = layout.staging.address;
  const staging = crcTable + kernels.crc32TableBytes();
  const noted = new Map<string, number>();
  kernels.crc32Table(crcTable);
  for (const file of checkpoint.files) {
    const { header, tensors } = await readChecksums(file, atOnce);
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
      const bytes = source.sliceSync?.(start, end) ?? (await source.slice(start, end));
      new Uint8Array(buffer, staging).set(new Uint8Array(bytes));
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
