// What quantizing a checkpoint will do, known before any weight is read: each tensor's scheme, and every output file's layout.

import { callback, integer, type Schema, text } from '../check.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { layOutShards, type Shard, type ShardEntry, type TensorSpec } from '../checkpoint/safetensors/layout.ts';
import { type CheckpointTensor, placeOf } from '../checkpoint/tensor.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import type { Grid } from '../grids/grid.ts';
import type { WeightDtype } from '../kernels/operands.ts';
import { checkFactors } from './blocks.ts';
import { isQuantized, type QuantizedTensor, quantizedSpecs, RESERVED, shardMetadata, trailingSpecs } from './format.ts';
import type { Refinement, RefinementNote } from './refinement.ts';
import { choose, FLOATS, matrixShape, type Selection } from './select.ts';
import { gridSpec } from './stored-grid.ts';

/** Default limit of an output file in bytes: that of Hugging Face's tools. */
export const DEFAULT_SHARD_BYTES = 5e9;

/** A tensor of the input and what becomes of it. */
export type PlanItem =
  | { kind: 'grid'; grid: Grid }
  | { kind: 'copy'; tensor: CheckpointTensor; reason: string }
  | { kind: 'quantize'; tensor: CheckpointTensor; quantized: QuantizedTensor };

/** One output file: its layout, and the items whose tensors it holds, in order. */
export interface PlannedShard extends Shard {
  /** The tensors of the input whose results stand in the file. */
  readonly items: readonly PlanItem[];
  /** Where the errors of its quantized weights stand, if it has any, and the checksums. */
  readonly errors: ShardEntry | undefined;
  /** Where their weighted errors stand, if some are refined. */
  readonly weighted: ShardEntry | undefined;
  /** Where the checksums of its tensors stand. */
  readonly checksums: ShardEntry;
}

/** What becomes of each tensor of a checkpoint, and where every byte of the output will stand: all from headers, before any weight is read. */
export interface Plan {
  /** In the order of the output: by file, then as they stand in it. */
  readonly items: readonly PlanItem[];
  /** The files that will be written, with their headers. */
  readonly shards: readonly PlannedShard[];
  /** Sizes of the tensors' data as the input has it, and of the files that will be written. */
  readonly bytesIn: number;
  /** Bytes of the safetensors files that will be written. */
  readonly bytesOut: number;
  /** Weights that will be quantized. */
  readonly weights: number;
}

/** How tensors are divided among output files. */
export interface LayoutOptions {
  /** Largest output file in bytes. */
  maxShardBytes?: number;
  /** Names of the output files. */
  fileName?: (index: number, count: number) => string;
}

/** How `LayoutOptions` are read. */
export const layoutMembers: Schema<LayoutOptions> = {
  maxShardBytes: integer(1),
  fileName(subject, value) {
    const fileName = callback<NonNullable<LayoutOptions['fileName']>>(subject, value);
    return (index, count) => text(`result of ${subject}`, fileName(index, count));
  },
};

/**
 * Plans the quantization of a checkpoint.
 * @param refinement refines the weights that it has statistics of
 * @throws {FormatError} when the checkpoint is quantized already, its F8 factors do not fit their tensor, or the selection's plan
 *   names a tensor that is not there or cannot be quantized
 * @throws {UnsupportedError} for F8 weights whose scales are not 128 × 128 blocks, and weights of a dtype unknown to safetensors
 */
export function planCheckpoint(
  checkpoint: Checkpoint,
  selection: Selection,
  options: LayoutOptions = {},
  refinement?: Refinement,
): Plan {
  if (isQuantized(checkpoint)) {
    throw new FormatError('checkpoint must not be quantized yet: higgs has quantized it already', {
      file: checkpoint.folder,
    });
  }
  const work: PlanItem[] = [];
  const consumed = new Set<string>();
  for (const tensor of checkpoint.tensors) {
    if (tensor.name.startsWith(RESERVED)) {
      throw new FormatError(`names that begin with ${RESERVED} are reserved: rename the tensor`, placeOf(tensor));
    }
    const choice = choose(tensor, selection);
    if ('unknown' in choice) {
      throw new UnsupportedError(
        `dtype ${choice.unknown}`,
        `dtype must be one of ${FLOATS.join(', ')} to be quantized: it is ${show(choice.unknown)}; exclude the tensor to pass it through`,
        placeOf(tensor),
      );
    }
    if ('reason' in choice) {
      work.push({ kind: 'copy', tensor, reason: choice.reason });
      continue;
    }
    checkFactors(tensor);
    if (tensor.factors) consumed.add(tensor.factors.name);
    const { name, shape } = tensor;
    const dtype = tensor.dtype as WeightDtype;
    const { rows, cols } = matrixShape(shape);
    const isRefined = refinement?.has(name, rows, cols, choice.scheme.groupSize) ?? false;
    work.push({ kind: 'quantize', tensor, quantized: { name, shape, dtype, rows, cols, ...choice, isRefined } });
  }
  if (selection.plan) checkPlanned(selection.plan, work, checkpoint.folder);
  const kept = work.filter((item) => item.kind !== 'copy' || !consumed.has(item.tensor.name));
  const grids = new Map<string, Grid>();
  for (const item of kept) {
    if (item.kind !== 'quantize') continue;
    const { grid } = item.quantized.scheme;
    if ((grids.get(grid.name) ?? grid) !== grid) {
      throw new RangeError(`grids of one checkpoint must have different names: two are called ${grid.name}`);
    }
    grids.set(grid.name, grid);
  }
  const items: PlanItem[] = [...[...grids.values()].map((grid) => ({ kind: 'grid', grid }) as const), ...kept];
  const shards = layOut(items, Object.fromEntries(checkpoint.metadata), options, refinement?.note);
  const quantized = items.filter((item) => item.kind === 'quantize');
  return {
    items,
    shards,
    bytesIn: checkpoint.tensors.reduce((sum, tensor) => sum + (tensor.encoded ?? tensor).byteLength, 0),
    bytesOut: shards.reduce((sum, { byteLength }) => sum + byteLength, 0),
    weights: quantized.reduce((sum, item) => sum + item.quantized.rows * item.quantized.cols, 0),
  };
}

// Every tensor of a plan must be quantized: a plan that is of another checkpoint would do something else than it says.
function checkPlanned(plan: ReadonlyMap<string, unknown>, work: readonly PlanItem[], file: string): void {
  const missing = new Set(plan.keys());
  const reasons = new Map<string, string>();
  for (const item of work) {
    if (item.kind === 'quantize') missing.delete(item.tensor.name);
    if (item.kind === 'copy') reasons.set(item.tensor.name, item.reason);
  }
  for (const tensor of missing) {
    const reason = reasons.has(tensor) ? `it cannot be quantized (${reasons.get(tensor)})` : 'it is not there';
    throw new FormatError(`tensors of the plan must be in the checkpoint: ${reason}`, { file, tensor });
  }
}

/** Lays items out in files: the grids of their weights come first. @param metadata the original's */
export function layOut(
  items: readonly PlanItem[],
  metadata: Record<string, string>,
  options: LayoutOptions,
  refinement?: RefinementNote,
): PlannedShard[] {
  // The grids stay with the first tensor: alone, they could be left with a file of their own.
  const leading = items.findIndex(({ kind }) => kind !== 'grid') + 1;
  const together = leading === 0 ? [items] : [items.slice(0, leading), ...items.slice(leading).map((item) => [item])];
  const groups = together.map((members) => members.flatMap(specsOf));
  const itemsOf = (first: number, end: number) => together.slice(first, end).flat();
  const quantizedOf = (some: readonly PlanItem[]) =>
    some.flatMap((item) => (item.kind === 'quantize' ? [item.quantized] : []));
  const gridsOf = (some: readonly PlanItem[]) => some.flatMap((item) => (item.kind === 'grid' ? [item.grid] : []));
  const shards = layOutShards(groups, {
    maxShardBytes: options.maxShardBytes ?? DEFAULT_SHARD_BYTES,
    ...(options.fileName && { fileName: options.fileName }),
    prefix: RESERVED,
    metadata: (_, first, end) => {
      const some = itemsOf(first, end);
      return shardMetadata(metadata, quantizedOf(some), gridsOf(some), refinement);
    },
    trailing: (index, first, end) =>
      trailingSpecs(index, quantizedOf(itemsOf(first, end)), groups.slice(first, end).flat().length),
  });
  return shards.map((shard) => {
    const { first, end, trailing } = shard;
    // As trailingSpecs has them: perhaps errors, perhaps weighted ones, then checksums.
    const [errors, weighted] = trailing.slice(0, -1);
    return { ...shard, items: itemsOf(first, end), errors, weighted, checksums: trailing.at(-1)! };
  });
}

function specsOf(item: PlanItem): TensorSpec[] {
  if (item.kind === 'grid') return [gridSpec(item.grid)];
  if (item.kind === 'quantize') return quantizedSpecs(item.quantized);
  const { name, dtype, shape, byteLength } = item.tensor;
  return [{ name, dtype, shape, byteLength }];
}
