// Files of statistics (FORMAT.md, "Statistics"): matrices of sums over tokens, in safetensors. Metadata tell what was gathered and of how
// many sequences; sums that are known at the end alone, and checksums, are the last tensors.
//
//   <weight>.H  F32 [n]     <weight>.G  F32 [n]     higgs.sums  F64 [weights]     higgs.checksums  U32 [tensors + 1]
//   (or .A, where inputs are not weighted)

import { integer, list, needed, object, oneOf, pair, powerOfTwo, text } from '../check.ts';
import { openSafetensors } from '../checkpoint/safetensors/file.ts';
import { parseStrict } from '../checkpoint/safetensors/json.ts';
import { isPadding, layOutShards, type Shard, type TensorSpec } from '../checkpoint/safetensors/layout.ts';
import type { CheckpointFile, CheckpointTensor } from '../checkpoint/tensor.ts';
import { FormatError, type Place, UnsupportedError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import { createMemory, instantiateDecoder } from '../kernels/decoder/instantiate.ts';
import { decoderBinary } from '../kernels/decoder/load.ts';
import { COLS_LIMIT, GROUP_SIZES, ROWS_LIMIT } from '../kernels/layout.ts';
import { fromFile, jsonMembers } from '../linearity/json.ts';
import { givenSource } from '../source/given.ts';
import type { Source } from '../source/source.ts';
import { type StatisticsKind, type Sums, triangleOf } from './matrices.ts';

const VERSION = '1';
const VERSION_KEY = 'higgs.statistics';
const ABOUT_KEY = 'higgs.about';
const WEIGHTS_KEY = 'higgs.weights';
const DONE_KEY = 'higgs.done';
const SUMS = 'higgs.sums';
const CHECKSUMS = 'higgs.checksums';
/** Most blocks on the diagonal: the widest row in groups of 16. */
const PARTS_LIMIT = 1 << 18;
/** Bytes that go at once from a file to a checksum, or from memory to a file. */
export const CHUNK_BYTES = 4 << 20;

/** What was gathered, and on what. */
export interface StatisticsAbout extends StatisticsKind {
  /** Tells these weights from others, as sensitivities have it. */
  readonly identity: string;
  /** What the tokens are: sampled by the model, any alike, or of a text. */
  readonly source: 'model' | 'random' | 'text';
  /** Tokens of a sequence. */
  readonly tokens: number;
  /** Sequences that went through the model. */
  readonly sequences: number;
  /** Label draws of a sequence; 0 for inputs alone. */
  readonly draws: number;
  /** Seed of the tokens and label draws. */
  readonly seed: number;
  /** A checksum of the tokens, but for those that the model sampled. */
  readonly ids: number;
  /** The grid of the copy that sampled in the model's place, if one did. */
  readonly sampler?: string;
}

/** A weight with statistics. */
export interface StatisticsWeight {
  /** Of the weight. */
  readonly shape: readonly [rows: number, cols: number];
  /** Widths of the blocks on the diagonal that are kept of its inputs' matrix: one, `cols`, if it is whole. */
  readonly parts: readonly number[];
}

/** Statistics of a model, open to be read. */
export interface Statistics {
  /** What was gathered, and on what. */
  readonly about: StatisticsAbout;
  /** By the names of their tensors. */
  readonly weights: ReadonlyMap<string, StatisticsWeight>;
  /**
   * Σ w x xᵀ of a weight's inputs x over all tokens, the mean of w being 1; with `inputs` w is 1.
   * @returns the blocks on its diagonal, (width, width) each, for the widths of `parts`
   * @throws {RangeError} when there is no such weight
   * @throws {FormatError} when the checksum does not hold, or values are not finite
   */
  inputs(name: string): Promise<Float32Array<ArrayBuffer>[]>;
  /**
   * Σ δ δᵀ of the gradients δ of a weight's outputs, the mean over label draws, (rows, rows); undefined if it was not gathered.
   * Throws as `inputs` does.
   */
  outputs(name: string): Promise<Float32Array<ArrayBuffer> | undefined>;
}

/** A file as it is continued: sums as they stand in it. */
export interface StoredStatistics extends Pick<Statistics, 'about' | 'weights'> {
  /** The file, with its header read. */
  readonly file: CheckpointFile;
  /** Sequences in the sums. */
  readonly done: number;
  /** Σ of squared norms of gradients of outputs, for each weight in order. */
  readonly sums: Float64Array;
  /** The tensor of a weight's matrix, and its checksum. */
  matrix(name: string, of: Sums['of']): { readonly tensor: CheckpointTensor; readonly crc: number } | undefined;
}

/** The matrices of a file, in its order. */
export interface StatisticsMatrix extends Pick<Sums, 'of' | 'floats'> {
  /** Its weight's. */
  readonly name: string;
}

/** Lays a file out. @param matrices in the order in which they are made @param done sequences in the sums */
export function planStatistics(
  about: StatisticsAbout,
  weights: ReadonlyMap<string, StatisticsWeight>,
  matrices: readonly StatisticsMatrix[],
  done: number,
): Shard {
  const specs = matrices.map(({ name, of, floats }): TensorSpec => {
    return { name: tensorName(name, of, about.mode), dtype: 'F32', shape: [floats], byteLength: floats * 4 };
  });
  const sums = { name: SUMS, dtype: 'F64', shape: [weights.size], byteLength: weights.size * 8 };
  if (about.mode === 'both') specs.push(sums);
  const count = specs.length + 1;
  const checksums = { name: CHECKSUMS, dtype: 'U32', shape: [count], byteLength: count * 4 };
  const metadata = {
    [VERSION_KEY]: VERSION,
    [ABOUT_KEY]: JSON.stringify(about),
    [DONE_KEY]: String(done),
    [WEIGHTS_KEY]: JSON.stringify(Object.fromEntries(weights)),
  };
  const options = { maxShardBytes: Number.MAX_SAFE_INTEGER, metadata: () => metadata };
  return layOutShards([[...specs, checksums]], options)[0];
}

/** Whether a tensor has a checksum. */
export function hasChecksum(name: string): boolean {
  return name !== CHECKSUMS && !isPadding(name);
}

function tensorName(weight: string, of: Sums['of'], mode: StatisticsKind['mode']): string {
  return `${weight}.${of === 'outputs' ? 'G' : mode === 'both' ? 'H' : 'A'}`;
}

const mode = oneOf('both', 'inputs');
const aboutOf = object<StatisticsAbout>('a JSON object', {
  mode: needed(mode),
  groupSize: needed(powerOfTwo(GROUP_SIZES.low, GROUP_SIZES.high)),
  identity: needed(text),
  source: needed(oneOf('model', 'random', 'text')),
  tokens: needed(integer(2)),
  sequences: needed(integer(1)),
  draws: needed(integer(0)),
  seed: needed(integer(0, 2 ** 32 - 1)),
  ids: needed(integer(0, 2 ** 32 - 1)),
  sampler: text,
});
const weightOf = object<StatisticsWeight>('a JSON object', {
  shape: needed(pair(integer(1, ROWS_LIMIT), integer(1, COLS_LIMIT))),
  parts: needed(list(integer(1, COLS_LIMIT), PARTS_LIMIT)),
});

/**
 * Opens a file to be read or continued: its header and sums; matrices later.
 * @throws {UnsupportedError} when it is of another version
 * @throws {FormatError} when it is no file of statistics, or contradicts itself
 */
export async function openStatistics(source: Source, name: string): Promise<StoredStatistics> {
  const file = await openSafetensors(givenSource('source', source, name), name);
  const version = file.metadata.get(VERSION_KEY);
  const place = { file: name };
  if (version === undefined) {
    throw new FormatError(`file must be one of statistics: its metadata has no ${VERSION_KEY}`, place);
  }
  if (version !== VERSION) {
    const message = `${VERSION_KEY} must be ${VERSION}, the version this release reads: it is ${show(version)}`;
    throw new UnsupportedError(`statistics ${version}`, message, place);
  }
  const json = (key: string) => {
    const content = file.metadata.get(key);
    if (content === undefined) throw new FormatError(`metadata must have ${key}: it is missing`, place);
    return parseStrict(content, name, { subject: key });
  };
  const about = fromFile(place, aboutOf, ABOUT_KEY, json(ABOUT_KEY));
  const needsDraws = about.mode === 'both' ? 1 : 0;
  fromFile(place, integer(needsDraws), 'draws', about.draws);
  const done = fromFile(place, integer(1, about.sequences), DONE_KEY, json(DONE_KEY));
  const weights = new Map<string, StatisticsWeight>();
  for (const [weight, entry] of jsonMembers(WEIGHTS_KEY, json(WEIGHTS_KEY), place)) {
    weights.set(weight, checkedWeight(entry, { file: name, tensor: weight }));
  }
  const { sums, crcs } = await readTail(file, about.mode, weights.size);
  const tensors = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
  const expected = new Set([SUMS, CHECKSUMS]);
  const matrices = new Map<string, CheckpointTensor>();
  for (const [weight, { shape, parts }] of weights) {
    for (const of of ['inputs', 'outputs'] as const) {
      const matrixName = tensorName(weight, of, about.mode);
      const tensor = tensors.get(matrixName);
      expected.add(matrixName);
      if (!tensor && of === 'outputs') continue;
      const floats = of === 'outputs' ? triangleOf(shape[0]) : parts.reduce((sum, width) => sum + triangleOf(width), 0);
      checkTensor(tensor, 'F32', floats, { file: name, tensor: matrixName });
      matrices.set(matrixName, tensor!);
    }
  }
  const other = file.tensors.find((tensor) => !expected.has(tensor.name) && !isPadding(tensor.name));
  if (other)
    throw new FormatError('tensor must belong to a weight of the file: it belongs to none', {
      file: name,
      tensor: other.name,
    });
  return {
    ...{ file, about, done, weights, sums },
    matrix(weight, of) {
      const tensor = matrices.get(tensorName(weight, of, about.mode));
      return tensor && { tensor, crc: crcs.get(tensor.name)! };
    },
  };
}

function checkedWeight(entry: unknown, place: Place): StatisticsWeight {
  const { shape, parts } = fromFile(place, weightOf, 'weight', entry);
  const cols = parts.reduce((sum, width) => sum + width, 0);
  if (cols === shape[1]) return { shape, parts };
  throw new FormatError(`parts must have the ${shape[1]} columns of the weight together: they have ${cols}`, place);
}

function checkTensor(tensor: CheckpointTensor | undefined, dtype: string, count: number, place: Place): void {
  if (tensor?.dtype === dtype && tensor.shape.length === 1 && tensor.shape[0] === count) return;
  const actual = tensor ? `it is ${excerpt(tensor.dtype)} ${show([...tensor.shape])}` : 'it is not there';
  throw new FormatError(`tensor must be ${dtype} [${count}]: ${actual}`, place);
}

// The sums of weights, and checksums by the names of tensors; header and sums are checked.
async function readTail(file: CheckpointFile, mode: StatisticsKind['mode'], weights: number) {
  const find = (name: string) => file.tensors.find((tensor) => tensor.name === name);
  const checked = file.tensors.filter(({ name }) => hasChecksum(name));
  checkTensor(find(CHECKSUMS), 'U32', checked.length + 1, { file: file.file, tensor: CHECKSUMS });
  const [header, ...values] = new Uint32Array(await find(CHECKSUMS)!.read());
  const crcs = new Map(checked.map(({ name }, i) => [name, values[i]]));
  const check = await checker();
  const bytes = new Uint8Array(await file.source.slice(0, file.dataStart));
  check(bytes, header, { file: file.file });
  if (mode === 'inputs') return { sums: new Float64Array(weights), crcs };
  const place = { file: file.file, tensor: SUMS };
  checkTensor(find(SUMS), 'F64', weights, place);
  const buffer = await find(SUMS)!.read();
  check(new Uint8Array(buffer), crcs.get(SUMS)!, place);
  const sums = new Float64Array(buffer);
  const wrong = sums.find((sum) => !(sum >= 0 && sum < Number.POSITIVE_INFINITY));
  if (wrong !== undefined) throw new FormatError(`sums must be finite and not negative: got ${wrong}`, place);
  return { sums, crcs };
}

/** @throws {FormatError} when a checksum is not the one noted */
export function checkChecksum(crc: number, wanted: number, place: Place): void {
  if (crc >>> 0 === wanted) return;
  throw new FormatError('content must have the checksum that is noted: it differs, so the file is damaged', place);
}

// CRC-32 by the kernels, in a memory of its own. @throws {FormatError} when that of the bytes is another
async function checker(): Promise<(bytes: Uint8Array, wanted: number, place: Place) => void> {
  const [table, bytesAt] = [1024, 1 << 16];
  const memory = createMemory(bytesAt + CHUNK_BYTES + 64, false);
  const kernels = await instantiateDecoder(decoderBinary, memory);
  kernels.crc32Table(table);
  return (bytes, wanted, place) => {
    let crc = 0;
    for (let start = 0; start < bytes.length; start += CHUNK_BYTES) {
      const some = bytes.subarray(start, start + CHUNK_BYTES);
      new Uint8Array(memory.buffer, bytesAt).set(some);
      crc = kernels.crc32(crc, bytesAt, some.length, table);
    }
    checkChecksum(crc, wanted, place);
  };
}

/**
 * Opens a file of statistics, complete, to be read.
 * @param source its bytes
 * @param file its name, for messages
 * @throws {UnsupportedError} when it is of another version
 * @throws {FormatError} when it is no file of statistics, is not complete, or contradicts itself
 * @example
 * const statistics = await readStatistics(await openFile('stats.safetensors'), 'stats.safetensors');
 */
export async function readStatistics(source: Source, file: string): Promise<Statistics> {
  text('file', file);
  const stored = await openStatistics(source, file);
  const { about, done, weights, sums } = stored;
  if (done < about.sequences) {
    throw new FormatError(`statistics must be complete: they have ${done} of ${about.sequences} sequences`, { file });
  }
  const check = await checker();
  const order = new Map([...weights.keys()].map((name, i) => [name, i]));

  function weightOf(name: string): StatisticsWeight {
    const weight = weights.get(text('name', name));
    if (weight) return weight;
    throw new RangeError(`name must be that of a weight with statistics: got ${show(name)}`);
  }

  // The squares of a tensor's triangles, times a factor.
  async function squares(name: string, of: Sums['of'], parts: readonly number[], factor: number) {
    const matrix = stored.matrix(name, of);
    if (!matrix) return undefined;
    const place = { file, tensor: matrix.tensor.name };
    const buffer = await matrix.tensor.read();
    check(new Uint8Array(buffer), matrix.crc, place);
    const values = new Float32Array(buffer);
    if (!values.every(Number.isFinite)) throw new FormatError('values must be finite: some are NaN or infinite', place);
    let offset = 0;
    return parts.map((width) => {
      const square = new Float32Array(width * width);
      for (let i = 0; i < width; i++) {
        for (let j = 0; j <= i; j++, offset++) square[i * width + j] = square[j * width + i] = values[offset] * factor;
      }
      return square;
    });
  }

  return {
    ...{ about, weights },
    async inputs(name) {
      const { parts } = weightOf(name);
      const sum = sums[order.get(name)!];
      const mean = sum / (about.tokens * about.sequences);
      return (await squares(name, 'inputs', parts, about.mode === 'inputs' ? 1 : sum > 0 ? 1 / mean : 0))!;
    },
    async outputs(name) {
      const { shape } = weightOf(name);
      return (await squares(name, 'outputs', [shape[0]], 1 / about.draws))?.[0];
    },
  };
}
