// Gathers statistics (sums.ts) beside sensitivities. Matrices of one block alone are in memory, so blocks are outside and sequences inside:
//
//   for each group of sequences:   embed all · each block forward, all · labels of all · each block back, all, its matrices to the file
//
// A group has as many sequences as a budget of bytes holds the residual streams of, before every block; at least one. Matrices begin as
// the groups before left them, so that sums are by sequence, then by token, whatever the groups are: the file's bytes depend neither on
// them nor on threads, memory or interruptions. Each group writes a file, which takes the place of the one before.

import { integer, needed, oneOf, options as optionsOf, powerOfTwo, type Reader, type Schema } from '../check.ts';
import { FormatError } from '../errors.ts';
import { GROUP_SIZES } from '../kernels/layout.ts';
import { weightsOf } from '../model/blocks/blocks.ts';
import type { ModelState } from '../model/memories.ts';
import type { Source } from '../source/source.ts';
import {
  CHUNK_BYTES,
  checkChecksum,
  hasChecksum,
  openStatistics,
  planStatistics,
  type StatisticsAbout,
  type StatisticsMatrix,
  type StatisticsWeight,
  type StoredStatistics,
} from '../statistics/file.ts';
import { type StatisticsKind, type Sums, statisticsName, sumsOf, triangleOf } from '../statistics/matrices.ts';
import { measuredOf } from './program/measured.ts';
import { type Measuring, meanOfTokens, savedAt, tailOf } from './program/measuring.ts';
import type { Steps } from './progress.ts';
import { pieceOf } from './session.ts';
import { givenReplaced, type ReplacedFile } from './underway.ts';
import { placeSequence, takeSequence, type Work } from './work.ts';

/** Bytes of what the sequences of a group keep outside of linear memory, unless other are asked for. */
const STREAM_BYTES = 2 ** 30;
/** That of quantizing, unless another is asked for. */
const GROUP_SIZE = 1024;

/** Where statistics are kept: one file, written anew by each group of sequences. */
export interface StatisticsOutput extends ReplacedFile {}

/** Options of gathering statistics. */
export interface StatisticsOptions extends Partial<StatisticsKind> {
  /** Where the statistics are written. */
  output: StatisticsOutput;
  /** Bytes of what sequences that go through the model together keep; 1 GB if left out. The result is the same. */
  streamBytes?: number;
}

/** What a caller asks to be gathered. */
export const kindMembers: Schema<Partial<StatisticsKind>> = {
  mode: oneOf('both', 'inputs'),
  groupSize: powerOfTwo(GROUP_SIZES.low, GROUP_SIZES.high),
};

/** Reads `StatisticsOptions`. */
export const statisticsOptions: Reader<StatisticsOptions> = optionsOf<StatisticsOptions>({
  ...kindMembers,
  output: needed((_, value) => givenReplaced('output of statistics', value)),
  streamBytes: integer(1),
});

/** With defaults. */
export function statisticsKind({ mode = 'both', groupSize = GROUP_SIZE }: Partial<StatisticsKind>): StatisticsKind {
  return { mode, groupSize };
}

/** Statistics that grow. */
export interface Gathering extends StatisticsKind {
  readonly output: StatisticsOutput;
  readonly streamBytes: number;
  readonly about: StatisticsAbout;
  readonly weights: ReadonlyMap<string, StatisticsWeight>;
  readonly matrices: readonly StatisticsMatrix[];
  /** The file of the groups before. */
  stored: StoredStatistics | undefined;
}

/**
 * Opens what an earlier run gathered, if there is something.
 * @throws {FormatError} when it is of another model or other settings, or nothing of the kind
 */
export async function openGathering(
  { output, streamBytes = STREAM_BYTES }: StatisticsOptions,
  about: StatisticsAbout,
  state: ModelState,
): Promise<Gathering> {
  const { mode, groupSize } = about;
  const gathering = { mode, groupSize, output, streamBytes, about, ...contentOf(state, about) };
  const source = await output.open();
  return { ...gathering, stored: source && (await openSame(source, gathering)) };
}

/** Bytes of the file. */
export function statisticsBytes(about: StatisticsAbout, state: ModelState): number {
  const { weights, matrices } = contentOf(state, about);
  return planStatistics(about, weights, matrices, about.sequences).byteLength;
}

// What the file will hold: matrices as blocks take their last turn.
function contentOf({ blocks, layerOf }: ModelState, kind: StatisticsKind) {
  const weights = new Map<string, StatisticsWeight>();
  for (const { linear } of measuredOf({ blocks, layerOf })) {
    weights.set(statisticsName(linear), { shape: [linear.rows, linear.cols], parts: [] });
  }
  const matrices: StatisticsMatrix[] = [];
  for (const block of kind.mode === 'both' ? [...blocks].reverse() : blocks) {
    for (const { place, of, parts, floats } of sumsOf(block, kind)) {
      const linear = weightsOf(block)[place];
      const { rows, cols } = linear;
      const name = statisticsName(linear);
      if (of === 'inputs') weights.set(name, { shape: [rows, cols], parts });
      matrices.push({ name, of, floats });
    }
  }
  return { weights, matrices };
}

async function openSame(
  source: Source,
  { output, about, weights, matrices }: Omit<Gathering, 'stored'>,
): Promise<StoredStatistics> {
  const stored = await openStatistics(source, output.name);
  const { header } = planStatistics(about, weights, matrices, stored.done);
  const found = new Uint8Array(await stored.file.source.slice(0, Math.min(header.length, source.byteLength)));
  if (header.length === found.length && header.every((byte, i) => byte === found[i])) return stored;
  const message = 'unfinished statistics must be of the same model and settings: they are of others';
  throw new FormatError(message, { file: output.name });
}

/** Sequences of a group. */
export function groupSizeOf(
  measuring: Pick<Measuring, 'state' | 'workspace'>,
  { mode }: StatisticsKind,
  streamBytes = STREAM_BYTES,
): number {
  return Math.max(1, Math.floor(streamBytes / (roomOf(measuring, mode).floats * 4)));
}

/** The first sequence that has still to be done: its result or its statistics are missing. */
export function firstOf({ results }: Work, { mode, stored }: Gathering): number {
  const done = stored?.done ?? 0;
  return mode === 'inputs' ? done : Math.min(done, results.length);
}

/** Gathers statistics of all sequences, and records the results that are missing. */
export async function gatherStatistics(work: Work, gathering: Gathering, steps: Steps): Promise<void> {
  const { session, sequences, results, record } = work;
  const { mode, streamBytes } = gathering;
  const { length } = sequences;
  const room = roomOf(session.measuring, mode);
  const size = Math.min(length, groupSizeOf(session.measuring, gathering, streamBytes));
  const kept = Array.from({ length: size }, () => new Float32Array(room.floats));
  for (let first = firstOf(work, gathering); first < length; ) {
    const done = gathering.stored?.done ?? 0;
    const noted = results.length;
    // All of a group have their statistics yet to be gathered, or none.
    const end = Math.min(first + size, first < done ? done : length);
    for (let i = first; i < end; i++) await takeSequence(work, i, steps);
    const file = first >= done ? await growFile(work, gathering, end) : undefined;
    try {
      const group = { first, kept: kept.slice(0, end - first), room, file };
      if (mode === 'inputs') {
        await groupForward(work, group, steps);
        await file?.finish();
      } else {
        const found = await groupBack(work, group, steps);
        await file?.finish();
        for (const result of found.slice(Math.max(0, noted - first))) record(result);
      }
    } catch (error) {
      await file?.abort(error);
      throw error;
    }
    first = end;
  }
}

// --- sequences of a group

/** What a sequence keeps: streams before the blocks and behind the last, then what goes from its labels to its embeddings. */
interface Room {
  readonly stream: number; // floats of one
  readonly tail: readonly { readonly address: number; readonly floats: number }[];
  readonly floats: number;
}

interface Group {
  readonly first: number;
  readonly kept: readonly Float32Array[];
  readonly room: Room;
  readonly file: Growing | undefined;
}

/** What a sequence keeps in its group. */
export function roomOf(measuring: Pick<Measuring, 'state' | 'workspace'>, mode: StatisticsKind['mode']): Room {
  const { state, workspace } = measuring;
  const stream = workspace.tokens * state.dim;
  if (mode === 'inputs') return { stream, tail: [], floats: stream };
  const tail = tailOf(measuring);
  const floats = (state.blocks.length + 1) * stream + tail.reduce((sum, own) => sum + own.floats, 0);
  return { stream, tail, floats };
}

// Copies between linear memory and what is kept.
function copies({ floats, state }: Measuring, { stream, tail }: Room) {
  const behind = (state.blocks.length + 1) * stream;
  return {
    put(kept: Float32Array, block: number, address: number): void {
      floats.set(kept.subarray(block * stream, (block + 1) * stream), address / 4);
    },
    take(kept: Float32Array, block: number, address: number): void {
      kept.set(floats.subarray(address / 4, address / 4 + stream), block * stream);
    },
    /** The first `count` regions of the tail. */
    putTail(kept: Float32Array, count = tail.length): void {
      let at = behind;
      for (const own of tail.slice(0, count)) {
        floats.set(kept.subarray(at, at + own.floats), own.address / 4);
        at += own.floats;
      }
    },
    takeTail(kept: Float32Array, count = tail.length): void {
      let at = behind;
      for (const own of tail.slice(0, count)) {
        kept.set(floats.subarray(own.address / 4, own.address / 4 + own.floats), at);
        at += own.floats;
      }
    },
  };
}

async function groupForward({ session, sequences }: Work, group: Group, steps: Steps): Promise<void> {
  const { measuring, run, bring } = session;
  const { state, workspace } = measuring;
  const { first, kept, room, file } = group;
  const { put, take } = copies(measuring, room);
  await bring(pieceOf.embedding);
  for (const [s, own] of kept.entries()) {
    placeSequence(session, sequences[first + s]!);
    run({ kind: 'embed' });
    take(own, 0, state.x);
  }
  for (const block of state.blocks.keys()) {
    await bring(pieceOf.block(block));
    await file?.begin(block);
    for (const own of kept) {
      put(own, 0, state.x);
      run({ kind: 'block', block });
      run({ kind: 'inputs', block });
      take(own, 0, state.x);
      await steps.next(workspace.tokens / state.blocks.length);
    }
    await file?.end(block);
  }
}

// As `traces` of fisher.ts has them, sequence by sequence.
async function groupBack({ session, sequences, seed }: Work, group: Group, steps: Steps): Promise<number[][]> {
  const { measuring, run, bring } = session;
  const { state, workspace } = measuring;
  const { tokens, draws } = workspace;
  const { first, kept, room, file } = group;
  const { put, take, putTail, takeTail } = copies(measuring, room);
  const blocks = state.blocks.length;
  await bring(pieceOf.embedding);
  for (const [s, own] of kept.entries()) {
    placeSequence(session, sequences[first + s]!);
    run({ kind: 'embed' });
    take(own, 0, state.x);
  }
  for (let block = 0; block < blocks; block++) {
    await bring(pieceOf.block(block));
    for (const own of kept) {
      put(own, block, state.x);
      run({ kind: 'block', block });
      take(own, block + 1, state.x);
      await steps.next(tokens / (3 * blocks));
    }
  }
  await bring(pieceOf.end(state));
  const ends: number[][] = [];
  for (const [s, own] of kept.entries()) {
    placeSequence(session, sequences[first + s]!);
    put(own, blocks, state.x);
    put(own, blocks, savedAt(measuring, blocks));
    for (let token = 0; token < tokens; token += state.logitRows) {
      const count = Math.min(state.logitRows, tokens - token);
      run({ kind: 'labels', first: token, count, seed, sequence: first + s });
      await steps.next(0);
    }
    ends.push([meanOfTokens(measuring, 1), meanOfTokens(measuring, 0)]);
    takeTail(own);
  }
  const found: number[][] = kept.map(() => []);
  for (let block = blocks - 1; block >= 0; block--) {
    await bring(pieceOf.block(block));
    await file?.begin(block);
    const rows = weightsOf(state.blocks[block]).length * draws;
    for (const [s, own] of kept.entries()) {
      put(own, block, savedAt(measuring, block));
      putTail(own, 1);
      run({ kind: 'back', block, gather: file !== undefined });
      takeTail(own, 1);
      file?.addWeights(block);
      found[s].unshift(...Array.from({ length: rows }, (_, row) => meanOfTokens(measuring, row)));
      await steps.next((2 * tokens) / (3 * blocks));
    }
    await file?.end(block);
  }
  await bring(pieceOf.embedding);
  for (const [s, own] of kept.entries()) {
    placeSequence(session, sequences[first + s]!);
    putTail(own);
    run({ kind: 'embeddingBack' });
    found[s].push(...Array.from({ length: draws }, (_, row) => meanOfTokens(measuring, row)), ...ends[s]);
    await steps.next(0);
  }
  return found;
}

// --- the file of a group

interface Growing {
  /** Puts a block's matrices as the groups before left them to the workspace. */
  begin(block: number): Promise<void>;
  /** Adds to the sums of a block's weights what a sequence gave. */
  addWeights(block: number): void;
  /** Writes a block's matrices. */
  end(block: number): Promise<void>;
  /** Writes what comes last; the file takes its place. */
  finish(): Promise<void>;
  abort(reason: unknown): Promise<void>;
}

// @param end the sequence behind the group's last
async function growFile({ session, file: model }: Work, gathering: Gathering, end: number): Promise<Growing> {
  const { measuring, place } = session;
  const { kernels, layout, buffer } = place;
  const { state, workspace, floats } = measuring;
  const { sums: at, weights: norms } = workspace.statistics!;
  const { output, about, weights, matrices, stored } = gathering;
  const shard = planStatistics(about, weights, matrices, end);
  const sums = stored ? stored.sums.slice() : new Float64Array(weights.size);
  const measured = measuredOf(state);
  const crcs: number[] = [];
  let next = 0; // of the shard's entries
  const sink = await output.create();

  // Where blocks of a checkpoint are loaded there is room for the table, and for bytes behind it.
  const { address: table, byteLength } = layout.staging;
  const behind = 1 << 16;
  function checksum(address: number, count: number): number {
    kernels.crc32Table(table);
    return kernels.crc32(0, address, count, table) >>> 0;
  }
  function checksumOf(bytes: Uint8Array): number {
    kernels.crc32Table(table);
    let crc = 0;
    for (let start = 0; start < bytes.length; start += byteLength - behind - 64) {
      const some = bytes.subarray(start, start + byteLength - behind - 64);
      new Uint8Array(buffer, table + behind).set(some);
      crc = kernels.crc32(crc, table + behind, some.length, table);
    }
    return crc >>> 0;
  }
  async function writePadding(): Promise<void> {
    for (; shard.entries[next]?.padding; next++) await sink.write(new Uint8Array(shard.entries[next].spec.byteLength));
  }
  async function writeTensor(bytes: Uint8Array): Promise<void> {
    await writePadding();
    const { name } = shard.entries[next++].spec;
    if (hasChecksum(name)) crcs.push(checksumOf(bytes));
    await sink.write(bytes);
  }
  // What lies in the workspace goes in pieces: threads may share the memory, sinks may not take it.
  async function writeFloats(address: number, count: number): Promise<void> {
    await writePadding();
    next++;
    crcs.push(checksum(address, count * 4));
    for (let start = 0; start < count * 4; start += CHUNK_BYTES) {
      const some = Math.min(CHUNK_BYTES, count * 4 - start);
      await sink.write(new Uint8Array(buffer, address + start, some).slice());
    }
  }
  async function readFloats(from: StoredStatistics, name: string, of: Sums['of'], address: number): Promise<void> {
    const { tensor, crc } = from.matrix(name, of)!;
    const { byteLength: length } = tensor;
    for (let start = 0; start < length; start += CHUNK_BYTES) {
      const bytes = await tensor.read(start, Math.min(length, start + CHUNK_BYTES));
      new Uint8Array(buffer, address + start).set(new Uint8Array(bytes));
    }
    checkChecksum(checksum(address, length), crc, { file: output.name, tensor: tensor.name });
  }

  const growing: Growing = {
    async begin(block) {
      for (const own of sumsOf(state.blocks[block], about)) {
        const name = statisticsName(weightsOf(state.blocks[block])[own.place]);
        if (stored) await readFloats(stored, name, own.of, at + own.at * 4);
        else floats.fill(0, at / 4 + own.at, at / 4 + own.at + own.floats);
      }
    },
    addWeights(block) {
      for (const own of measured) {
        if (own.block !== block) continue;
        const from = norms / 4 + own.place * workspace.tokens;
        for (let token = 0; token < workspace.tokens; token++) sums[own.index] += floats[from + token];
      }
    },
    async end(block) {
      for (const own of sumsOf(state.blocks[block], about)) {
        const address = at + own.at * 4;
        if (!hasFiniteDiagonal(floats, address / 4, own)) {
          const message = 'statistics must be finite: some are NaN or infinite, as weights may be';
          throw new FormatError(message, {
            file: model,
            tensor: statisticsName(weightsOf(state.blocks[block])[own.place]),
          });
        }
        await writeFloats(address, own.floats);
      }
    },
    async finish() {
      if (about.mode === 'both') await writeTensor(bytesOf(sums));
      await writeTensor(bytesOf(Uint32Array.from(crcs)));
      await sink.close();
      const source = end < about.sequences ? await output.open() : undefined;
      gathering.stored = source && (await openSame(source, gathering));
    },
    abort: (reason) => sink.abort(reason),
  };
  try {
    await sink.write(shard.header);
    crcs.push(checksumOf(shard.header));
  } catch (error) {
    await sink.abort(error);
    throw error;
  }
  return growing;
}

const bytesOf = ({ buffer }: Float64Array | Uint32Array) => new Uint8Array(buffer as ArrayBuffer);

// The diagonals bound what else is there.
function hasFiniteDiagonal(floats: Float32Array, start: number, { parts }: Sums): boolean {
  let at = start;
  for (const width of parts) {
    for (let i = 0; i < width; i++) if (!Number.isFinite(floats[at + triangleOf(i + 1) - 1])) return false;
    at += triangleOf(width);
  }
  return true;
}
