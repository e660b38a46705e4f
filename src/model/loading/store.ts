// Blocks of a checkpoint are checked and stored by all threads of a team: each takes the next block that no other has. Their bytes lie in
// the staging region, and a table there tells of them, so that a thread needs no message:
//
//   next │ weight  first row  rows  address of codes  of scales  CRC-32 of codes  of scales │ …     (i32 each)
//
// A block is checked and stored by the same kernels whoever takes it, so the model's bytes do not depend on the threads.

import type { DecoderExports } from '../../kernels/decoder/exports.ts';
import type { Seat } from '../forward.ts';
import { type Linear, placeOfRows, rowsApartOf, scaleBytesOf, storeRows, storingScratchBytes } from '../linear.ts';
import type { Team, Thread } from '../team.ts';

/** Rows of a weight that lie in the staging region as the file has them. */
export interface StagedRows {
  /** By its place among the weights that all threads know. */
  readonly weight: number;
  /** Their first row in the weight. */
  readonly first: number;
  /** How many there are. */
  readonly count: number;
  /** Address of the rows as the file has them: in the staging region, or where they will stay. */
  readonly rows: number;
  /** Address of their scales. */
  readonly scales: number;
}

/** A table of blocks, and what threads work with. Regions are of one memory. */
export interface StoringPass {
  /** Which memory. */
  readonly memory: number;
  /** Address of the table. */
  readonly table: number;
  /** Blocks in it. */
  readonly count: number;
  /** Tables of CRC-32; 0 where nothing is checked. */
  readonly crcTable: number;
  /** Of each thread that takes part, the region of the first and how far apart they are. */
  readonly scratch: number;
  /** Bytes of a thread's region. */
  readonly scratchBytes: number;
  /** Threads that take part. */
  readonly threads: number;
}

/** Room behind rows for what kernels read behind an input. */
export const MARGIN = 64;
/** The address, or the one behind it that vectors are aligned at. */
export const aligned = (address: number): number => Math.ceil(address / 16) * 16;

/** Begins the words of such a pass: none of another kind begins so. */
const STORING = -1;
const BLOCK_WORDS = 7;
const FIRST_WORDS = 1;
/** Words of a block where checksums stand. */
const CRC_WORD = 5;

/** Bytes of a table of `count` blocks. */
export function storingBytes(count: number): number {
  return (FIRST_WORDS + count * BLOCK_WORDS) * 4;
}

/** Writes the table. */
export function writeBlocks(ints: Int32Array, table: number, blocks: readonly StagedRows[]): void {
  ints[table / 4] = 0;
  for (const [i, { weight, first, count, rows, scales }] of blocks.entries()) {
    ints.set([weight, first, count, rows, scales, 0, 0], table / 4 + FIRST_WORDS + i * BLOCK_WORDS);
  }
}

/** The checksum of a block's codes or scales. @param part 0 for codes, 1 for scales */
export function blockChecksum(ints: Int32Array, table: number, block: number, part: number): number {
  return ints[table / 4 + FIRST_WORDS + block * BLOCK_WORDS + CRC_WORD + part] >>> 0;
}

/** Bytes of scratch that a thread needs, where `rows` of a weight may stand in their place. */
export function scratchOfStoring(linear: Linear, rows: number): number {
  const bytes = aligned(storingScratchBytes(linear));
  return rowsApartOf(linear) > 1 && rows > 0 ? bytes + aligned(rows * linear.rowBytes + MARGIN) : bytes;
}

/** The words that tell all threads of it. */
function wordsOfStoring(pass: StoringPass): number[] {
  const { memory, table, count, crcTable, scratch, scratchBytes, threads } = pass;
  return [STORING, memory, table, count, crcTable, scratch, scratchBytes, threads];
}

/** The pass that words tell of, if it is of this kind. */
export function readStoring(words: ArrayLike<number>): StoringPass | undefined {
  if (words[0] !== STORING) return undefined;
  const [memory, table, count, crcTable, scratch, scratchBytes, threads] = Array.from(
    words,
    (word) => word >>> 0,
  ).slice(1);
  return { memory, table, count, crcTable, scratch, scratchBytes, threads };
}

/** Stores blocks until none is left, then waits for the other threads. @param weights all that blocks may be of */
export function storeBlocks(
  seats: readonly Pick<Seat, 'thread'>[],
  weights: readonly Linear[],
  pass: StoringPass,
): void {
  const { thread } = seats[pass.memory];
  if (thread.index < pass.threads) storeShare(thread, weights, pass);
  thread.barrier();
}

function storeShare({ kernels, ints, index }: Thread, weights: readonly Linear[], pass: StoringPass): void {
  const { table, count, crcTable } = pass;
  const memory = new Uint8Array(ints.buffer);
  const scratch = pass.scratch + index * pass.scratchBytes;
  for (;;) {
    const block = Atomics.add(ints, table / 4, 1);
    if (block >= count) return;
    const firstWord = table / 4 + FIRST_WORDS + block * BLOCK_WORDS;
    const [weight, first, rowCount, rowsAt, scalesAt] = ints.subarray(firstWord, firstWord + CRC_WORD);
    const linear = weights[weight];
    let [rows, scales] = [rowsAt >>> 0, scalesAt >>> 0];
    if (rows === placeOfRows(linear, first) && rowsApartOf(linear) > 1) {
      // They stand where their bands will.
      const copy = scratch + aligned(storingScratchBytes(linear));
      memory.copyWithin(copy, rows, rows + rowCount * linear.rowBytes);
      rows = copy;
    }
    if (crcTable) {
      ints[firstWord + CRC_WORD] = kernels.crc32(0, rows, rowCount * linear.rowBytes, crcTable);
      ints[firstWord + CRC_WORD + 1] = kernels.crc32(0, scales, rowCount * scaleBytesOf(linear), crcTable);
    }
    storeRows(kernels, memory, linear, first, rowCount, rows, scales, scratch);
  }
}

/** The threads that store what was read. */
export interface Crew {
  /** All that blocks may be of: a block tells its place here. */
  readonly weights: readonly Linear[];
  /** Stores blocks; returns when all are stored. @param meanwhile work of the calling thread, which then helps the others */
  store(pass: StoringPass, meanwhile: () => void): void;
}

/** The calling thread alone. @param places its memories */
export function crewOfOne(
  places: readonly { readonly kernels: DecoderExports; readonly buffer: ArrayBufferLike }[],
  weights: readonly Linear[],
): Crew {
  const seats = places.map(({ kernels, buffer }) => ({
    thread: { kernels, index: 0, count: 1, ints: new Int32Array(buffer), barrier() {} },
  }));
  return {
    weights,
    store(pass, meanwhile) {
      meanwhile();
      storeBlocks(seats, weights, pass);
    },
  };
}

/** All threads of a team, once they are there: the calling one does not wait for them. */
export function crewOfTeam(
  team: Team,
  seats: readonly Pick<Seat, 'thread'>[],
  weights: readonly Linear[],
  isThere: () => boolean,
): Crew {
  const alone = crewOfOne(
    seats.map(({ thread: { kernels, ints } }) => ({ kernels, buffer: ints.buffer })),
    weights,
  );
  return {
    weights,
    store(pass, meanwhile) {
      if (!isThere()) return alone.store(pass, meanwhile);
      try {
        team.begin(wordsOfStoring(pass));
        meanwhile();
        storeBlocks(seats, weights, pass);
      } catch (error) {
        team.fail();
        throw error;
      }
    },
  };
}
