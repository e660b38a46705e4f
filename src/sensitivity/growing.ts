// The file of statistics, as it grows: what is gathered and where, and how each group of sequences (gather.ts) adds to it. Sums are read
// from the file of the groups before, block by block as these go back, added to, and written to the next file. Its layout is that of
// statistics/file.ts; while it is unfinished, `done` says how many sequences are in it.

import { integer, needed, oneOf, optionsOf, powerOfTwo, type Reader, type Schema } from '../check.ts';
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
import { givenReplaced, type ReplacedFile } from './underway.ts';
import type { Work } from './work.ts';

/** Bytes of what the sequences of a group keep outside of linear memory, unless other are asked for. */
export const STREAM_BYTES = 2 ** 30;
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
  /** Where the file is kept. */
  readonly output: StatisticsOutput;
  /** Bytes of the sequences of a group outside of linear memory; at least one sequence. */
  readonly streamBytes: number;
  /** What the file says of itself: model, tokens, settings. */
  readonly about: StatisticsAbout;
  /** Shape of each measured weight, by its tensor's name. */
  readonly weights: ReadonlyMap<string, StatisticsWeight>;
  /** What is summed of each weight, in the order of the file. */
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
  const written = new Uint8Array(await stored.file.source.slice(0, Math.min(header.length, source.byteLength)));
  if (header.length === written.length && header.every((byte, i) => byte === written[i])) return stored;
  const message = 'unfinished statistics must be of the same model and settings: they are of others';
  throw new FormatError(message, { file: output.name });
}

/** The file of a group, from its first block to its last. */
export interface Growing {
  /** Puts a block's matrices as the groups before left them to the workspace. */
  begin(block: number): Promise<void>;
  /** Adds to the sums of a block's weights what a sequence gave. */
  addWeights(block: number): void;
  /** Writes a block's matrices. */
  end(block: number): Promise<void>;
  /** Writes what comes last; the file takes its place. */
  finish(): Promise<void>;
  /** Leaves the file of the groups before as it is. */
  abort(reason: unknown): Promise<void>;
}

/**
 * Begins the file of a group, which takes the place of the one before when it is finished.
 * @param end the sequence behind the group's last
 * @throws {FormatError} from `begin` when the file before is damaged, from `end` when a sum is not finite
 */
export async function growFile({ session, file: model }: Work, gathering: Gathering, end: number): Promise<Growing> {
  const { measuring, place } = session;
  const { kernels, layout, buffer } = place;
  const { state, workspace, floats } = measuring;
  const { sums: sumsAddress, weights: norms } = workspace.statistics!;
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
      for (const sum of sumsOf(state.blocks[block], about)) {
        const name = statisticsName(weightsOf(state.blocks[block])[sum.place]);
        if (stored) await readFloats(stored, name, sum.of, sumsAddress + sum.offset * 4);
        else floats.fill(0, sumsAddress / 4 + sum.offset, sumsAddress / 4 + sum.offset + sum.floats);
      }
    },
    addWeights(block) {
      for (const weight of measured) {
        if (weight.block !== block) continue;
        const from = norms / 4 + weight.place * workspace.tokens;
        for (let token = 0; token < workspace.tokens; token++) sums[weight.index] += floats[from + token];
      }
    },
    async end(block) {
      for (const sum of sumsOf(state.blocks[block], about)) {
        const address = sumsAddress + sum.offset * 4;
        if (!hasFiniteDiagonal(floats, address / 4, sum)) {
          const message = 'statistics must be finite: some are NaN or infinite, as weights may be';
          throw new FormatError(message, {
            file: model,
            tensor: statisticsName(weightsOf(state.blocks[block])[sum.place]),
          });
        }
        await writeFloats(address, sum.floats);
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
  let position = start;
  for (const width of parts) {
    for (let i = 0; i < width; i++) if (!Number.isFinite(floats[position + triangleOf(i + 1) - 1])) return false;
    position += triangleOf(width);
  }
  return true;
}
