// The quantized checkpoint as safetensors (FORMAT.md): which tensors and metadata stand for a quantized weight.
//   <name>.packed   U8  [rows, bytesPerRow]      <name>.scales  F16 [rows, groupsPerRow]
//   higgs.grid.<grid>  (stored-grid.ts)          higgs.errors.<k>  F64 [q, 2]     higgs.checksums.<k>  U32 [t]
//   and where weights are refined (refinement.ts)  higgs.weighted.<k>  F64 [q, 2]

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { type Json, parseStrict } from '../checkpoint/safetensors/json.ts';
import { isPadding, type TensorSpec } from '../checkpoint/safetensors/layout.ts';
import { type CheckpointFile, type CheckpointTensor, formText, placeOf } from '../checkpoint/tensor.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import type { Grid } from '../grids/grid.ts';
import { bytesPerRow, groupsPerRow } from '../kernels/layout.ts';
import { bytesPerWeight, type Matrix, type WeightDtype } from '../kernels/operands.ts';
import type { RefinementNote, WeightedError } from './refinement.ts';
import { checkGroups, quantizedBytes, relativeError, type Scheme, type SquareSums } from './scheme.ts';
import { matrixShape } from './select.ts';
import { gridNote, readGrid } from './stored-grid.ts';

/** Version of the format that is written; other versions are refused. */
export const FORMAT_VERSION = '1';
/** Tensor names that begin so belong to the format. */
export const RESERVED = 'higgs.';

const VERSION_KEY = 'higgs.format';
const TENSORS_KEY = 'higgs.tensors';
const GRIDS_KEY = 'higgs.grids';
const REFINEMENT_KEY = 'higgs.refinement';
const ERRORS = /^higgs\.errors\.\d+$/;
const WEIGHTED = /^higgs\.weighted\.\d+$/;
const CHECKSUMS = /^higgs\.checksums\.\d+$/;

/** A quantized weight as a checkpoint describes it. */
export interface QuantizedTensor {
  /** Name, shape and dtype of the original. */
  readonly name: string;
  /** Of the original: two or three sizes. */
  readonly shape: readonly number[];
  /** Of the original. */
  readonly dtype: WeightDtype;
  /** All sizes but the last together. */
  readonly rows: number;
  /** The last size. */
  readonly cols: number;
  /** How it is quantized. */
  readonly scheme: Scheme;
  /** Whether it is encoded with error feedback. */
  readonly isRefined: boolean;
}

/** A quantized weight that was found in a checkpoint. */
export interface QuantizedWeight extends QuantizedTensor {
  /** The file that holds it, for messages. */
  readonly file: string;
  /** The tensor of its codes, U8 (rows, bytesPerRow). */
  readonly packed: CheckpointTensor;
  /** The tensor of its scales, F16 (rows, groupsPerRow). */
  readonly scales: CheckpointTensor;
}

/** A checkpoint, its tensors told apart. */
export interface QuantizedCheckpoint {
  /** The checkpoint. */
  readonly checkpoint: Checkpoint;
  /** In the order of the files. */
  readonly quantized: readonly QuantizedWeight[];
  /** What passed through, in the order of the files. */
  readonly plain: readonly CheckpointTensor[];
  /** The grids that it holds, by name. */
  readonly grids: ReadonlyMap<string, Grid>;
  /** The original's `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Shape and scheme of `rows` rows of a quantized weight, for the kernels. */
export function matrixOf({ cols, scheme: { grid, groupSize, seed } }: QuantizedTensor, rows: number): Matrix {
  return { rows, cols, grid, groupSize, seed };
}

/** Specs of a quantized weight: its packed codes and its scales. */
export function quantizedSpecs({ name, rows, cols, scheme }: QuantizedTensor): [TensorSpec, TensorSpec] {
  const { grid, groupSize } = scheme;
  const { packed, scales } = quantizedBytes(rows, cols, scheme);
  return [
    { name: `${name}.packed`, dtype: 'U8', shape: [rows, bytesPerRow(cols, grid)], byteLength: packed },
    { name: `${name}.scales`, dtype: 'F16', shape: [rows, groupsPerRow(cols, groupSize)], byteLength: scales },
  ];
}

/**
 * Specs of what ends a shard: errors of its `quantized` weights (none, no tensor), weighted ones if some are refined, checksums of its header
 * and `tensors`.
 */
export function trailingSpecs(index: number, quantized: readonly QuantizedTensor[], tensors: number): TensorSpec[] {
  const { length } = quantized;
  const specOf = (name: string) => ({ name, dtype: 'F64', shape: [length, 2], byteLength: length * 16 });
  const errors = length > 0 ? [specOf(`higgs.errors.${index}`)] : [];
  if (quantized.some(({ isRefined }) => isRefined)) errors.push(specOf(`higgs.weighted.${index}`));
  const count = 1 + tensors + errors.length;
  return [...errors, { name: `higgs.checksums.${index}`, dtype: 'U32', shape: [count], byteLength: count * 4 }];
}

/** The `__metadata__` of a shard. */
export function shardMetadata(
  original: Readonly<Record<string, string>>,
  quantized: readonly QuantizedTensor[],
  grids: readonly Grid[],
  refinement?: RefinementNote,
): Record<string, string> {
  const tensors = quantized.map(({ name, shape, dtype, scheme, isRefined }) => {
    const { grid, groupSize, seed } = scheme;
    return [name, { shape, dtype, grid: grid.name, groupSize, seed, ...(isRefined && { refined: true }) }];
  });
  return {
    ...original,
    [VERSION_KEY]: FORMAT_VERSION,
    [TENSORS_KEY]: JSON.stringify(Object.fromEntries(tensors)),
    ...(refinement && { [REFINEMENT_KEY]: JSON.stringify(refinement) }),
    ...(grids.length > 0 && {
      [GRIDS_KEY]: JSON.stringify(Object.fromEntries(grids.map((grid) => [grid.name, gridNote(grid)]))),
    }),
  };
}

/** Whether a checkpoint is in the format, whatever its version. */
export function isQuantized({ files }: Checkpoint): boolean {
  return files.some(({ metadata }) => metadata.has(VERSION_KEY));
}

/**
 * Reads what a quantized checkpoint says of itself: its grids, and which tensors stand for which weight.
 * @throws {FormatError} when metadata and tensors do not agree; {UnsupportedError} for another version of the format
 */
export async function openQuantized(checkpoint: Checkpoint): Promise<QuantizedCheckpoint> {
  if (!isQuantized(checkpoint)) {
    throw new FormatError('checkpoint must be quantized by higgs: its metadata has no higgs.format', {
      file: checkpoint.folder,
    });
  }
  const grids = new Map<string, Grid>();
  for (const file of checkpoint.files) {
    checkVersion(file);
    for (const grid of await readGrids(file)) grids.set(grid.name, grid);
  }
  const quantized: QuantizedWeight[] = [];
  const parts = new Set<string>();
  const metadata = new Map<string, string>();
  for (const file of checkpoint.files) {
    for (const tensor of readTensors(file, grids, checkpoint)) {
      quantized.push(tensor);
      parts.add(tensor.packed.name).add(tensor.scales.name);
    }
    for (const [key, value] of file.metadata) {
      if (!key.startsWith(RESERVED) && !metadata.has(key)) metadata.set(key, value);
    }
  }
  const order = new Map(checkpoint.tensors.map(({ name }, index) => [name, index]));
  quantized.sort((a, b) => order.get(a.packed.name)! - order.get(b.packed.name)!);
  const plain = checkpoint.tensors.filter(({ name }) => !parts.has(name) && !name.startsWith(RESERVED));
  const names = new Set(quantized.map(({ name }) => name));
  const twice = plain.find(({ name }) => names.has(name));
  if (twice) {
    throw new FormatError('tensor must be either quantized or plain: it is both', placeOf(twice));
  }
  return { checkpoint, quantized, plain, grids, metadata: Object.fromEntries(metadata) };
}

/** A checkpoint whose codes are another program's, decoded as they are read. */
export function unquantized(checkpoint: Checkpoint): QuantizedCheckpoint {
  const { tensors, metadata } = checkpoint;
  return { checkpoint, quantized: [], plain: tensors, grids: new Map(), metadata: Object.fromEntries(metadata) };
}

/** Quantized weights and what passed through, in the order in which the original had them. */
export function inFileOrder({
  checkpoint,
  quantized,
  plain,
}: QuantizedCheckpoint): (QuantizedWeight | CheckpointTensor)[] {
  const order = new Map(checkpoint.tensors.map(({ name }, index) => [name, index]));
  const placeIn = (tensor: QuantizedWeight | CheckpointTensor) =>
    order.get('packed' in tensor ? tensor.packed.name : tensor.name)!;
  return [...quantized, ...plain].sort((a, b) => placeIn(a) - placeIn(b));
}

/**
 * The sums that were taken when each weight was quantized, by name.
 * @throws {FormatError} when they are missing, or none that an error can be
 */
export async function readErrors(stored: QuantizedCheckpoint): Promise<Map<string, SquareSums>> {
  const errors = new Map<string, SquareSums>();
  for (const file of stored.checkpoint.files) {
    const weights = stored.quantized.filter((weight) => weight.file === file.file);
    if (weights.length === 0) continue;
    const tensor = file.tensors.find(({ name }) => ERRORS.test(name));
    if (tensor?.dtype !== 'F64' || String(tensor.shape) !== `${weights.length},2`) {
      throw new FormatError(`shard must hold higgs.errors, F64 [${weights.length}, 2]: ${formText(tensor)}`, {
        file: file.file,
      });
    }
    const values = new Float64Array(await tensor.read());
    const weighted = await readWeighted(file, weights);
    for (const [i, weight] of weights.entries()) {
      const sums = { squaredError: values[2 * i], squaredNorm: values[2 * i + 1], weighted: weighted[i] };
      const { squaredError, squaredNorm } = sums;
      if (!(squaredError >= 0 && squaredNorm >= 0 && squaredNorm < Infinity && relativeError(sums) < Infinity)) {
        const message = `squared error and norm must be finite and not negative: got ${squaredError} and ${squaredNorm}`;
        throw new FormatError(message, placeOf(weight));
      }
      errors.set(weight.name, sums);
    }
  }
  return errors;
}

// The weighted errors of a file's weights; undefined for those that are not refined.
async function readWeighted(
  file: CheckpointFile,
  weights: readonly QuantizedWeight[],
): Promise<(WeightedError | undefined)[]> {
  if (!weights.some(({ isRefined }) => isRefined)) return [];
  const tensor = file.tensors.find(({ name }) => WEIGHTED.test(name));
  if (tensor?.dtype !== 'F64' || String(tensor.shape) !== `${weights.length},2`) {
    throw new FormatError(`shard must hold higgs.weighted, F64 [${weights.length}, 2]: ${formText(tensor)}`, {
      file: file.file,
    });
  }
  const values = new Float64Array(await tensor.read());
  return weights.map((weight, i) => {
    const [error, gain] = values.subarray(2 * i);
    if (!(error >= 0 && error < Infinity && gain >= 0 && gain < Infinity)) {
      const message = `weighted error and gain must be finite and not negative: got ${error} and ${gain}`;
      throw new FormatError(message, placeOf(weight));
    }
    return weight.isRefined ? { error, gain } : undefined;
  });
}

/** What a checkpoint says of its refinement, if it is refined. @throws {FormatError} when it is no JSON object */
export function refinementOf({ files }: Checkpoint): Readonly<Record<string, unknown>> | undefined {
  for (const { file, metadata } of files) {
    const note = metadata.get(REFINEMENT_KEY);
    if (note === undefined) continue;
    return Object.fromEntries(objectOf(parseStrict(note, file, { subject: REFINEMENT_KEY }), file, REFINEMENT_KEY));
  }
  return undefined;
}

/**
 * The checksums (CRC-32) of a shard: of its bytes before the data, and of its tensors, in its order.
 * @param read reads their tensor
 * @throws {FormatError} when there are none for all tensors
 */
export async function readChecksums(
  file: CheckpointFile,
  read: (tensor: CheckpointTensor) => Promise<ArrayBuffer> | ArrayBuffer = (tensor) => tensor.read(),
): Promise<{ header: number; tensors: { tensor: CheckpointTensor; crc: number }[] }> {
  const checked = file.tensors.filter(({ name }) => hasChecksum(name));
  const tensor = file.tensors.find(({ name }) => CHECKSUMS.test(name));
  if (tensor?.dtype !== 'U32' || String(tensor.shape) !== String(checked.length + 1)) {
    const message = `shard must hold higgs.checksums, U32 [${checked.length + 1}]: ${formText(tensor)}`;
    throw new FormatError(message, { file: file.file });
  }
  const [header, ...values] = new Uint32Array(await read(tensor));
  return { header: header, tensors: checked.map((tensor, i) => ({ tensor, crc: values[i] })) };
}

/** Whether a tensor has a checksum: all but the checksums themselves and the padding between tensors. */
function hasChecksum(name: string): boolean {
  return !CHECKSUMS.test(name) && !isPadding(name, RESERVED);
}

function checkVersion({ file, metadata }: CheckpointFile): void {
  const version = metadata.get(VERSION_KEY);
  if (version === undefined) {
    throw new FormatError('every shard must have higgs.format in its metadata: this one lacks it', { file });
  }
  if (version !== FORMAT_VERSION) {
    throw new UnsupportedError(
      `format ${version}`,
      `higgs.format must be ${FORMAT_VERSION}, the version this release reads: it is ${show(version)}`,
      { file },
    );
  }
}

async function readGrids(file: CheckpointFile): Promise<Grid[]> {
  const about = file.metadata.get(GRIDS_KEY);
  if (about === undefined) return [];
  const grids: Grid[] = [];
  for (const [name, note] of objectOf(parseStrict(about, file.file, { subject: GRIDS_KEY }), file.file, GRIDS_KEY)) {
    grids.push(await readGrid(file, name, note));
  }
  return grids;
}

function readTensors(file: CheckpointFile, grids: Map<string, Grid>, checkpoint: Checkpoint): QuantizedWeight[] {
  const text = file.metadata.get(TENSORS_KEY) ?? '{}';
  const entries = objectOf(parseStrict(text, file.file, { subject: TENSORS_KEY }), file.file, TENSORS_KEY);
  const stored: QuantizedWeight[] = [];
  for (const [name, entry] of entries) {
    const place = { file: file.file, tensor: name };
    const about = objectOf(entry, file.file, `${TENSORS_KEY} ${show(name)}`);
    const shape = about.get('shape');
    const sizes = Array.isArray(shape) && shape.every((size) => Number.isSafeInteger(size) && Number(size) > 0);
    if (!sizes || shape.length < 2 || shape.length > 3) {
      throw new FormatError(`shape must be two or three positive integers: got ${show(shape)}`, place);
    }
    const dtype = about.get('dtype');
    if (typeof dtype !== 'string' || !Object.hasOwn(bytesPerWeight, dtype)) {
      throw new FormatError(
        `dtype must be one of ${Object.keys(bytesPerWeight).join(', ')}: got ${show(dtype)}`,
        place,
      );
    }
    const grid = grids.get(String(about.get('grid')));
    if (!grid) throw new FormatError(`grid must be in the checkpoint: ${show(about.get('grid'))} is missing`, place);
    const [groupSize, seed] = [about.get('groupSize'), about.get('seed')];
    if (typeof groupSize !== 'number') {
      throw new FormatError(`groupSize must be a number: got ${show(groupSize)}`, place);
    }
    if (typeof seed !== 'number' && seed !== null) {
      throw new FormatError(`seed must be a number or null: got ${show(seed)}`, place);
    }
    const scheme = { grid, groupSize, seed };
    try {
      checkGroups(scheme);
    } catch (cause) {
      throw new FormatError((cause as Error).message, place);
    }
    const tensor = {
      name,
      file: file.file,
      shape: shape as number[],
      dtype: dtype as WeightDtype,
      ...matrixShape(shape as number[]),
      scheme,
      isRefined: about.get('refined') === true,
    };
    const [packed, scales] = quantizedSpecs(tensor).map((spec) => {
      const part = checkpoint.get(spec.name);
      if (part?.file !== file.file || part.dtype !== spec.dtype || String(part.shape) !== String(spec.shape)) {
        throw new FormatError(
          `shard must hold ${excerpt(spec.name)}, ${spec.dtype} [${spec.shape.join(', ')}]: ${formText(part?.file === file.file ? part : undefined)}`,
          place,
        );
      }
      return part;
    });
    stored.push({ ...tensor, packed: packed, scales: scales });
  }
  return stored;
}

function objectOf(json: Json | undefined, file: string, subject: string): Map<string, Json> {
  if (!(json instanceof Map)) throw new FormatError(`${subject} must be a JSON object: got ${show(json)}`, { file });
  return json;
}
