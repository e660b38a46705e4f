// A quantized checkpoint that is made as it is read: a tensor is encoded when the first byte of it is asked for, and forgotten when
// one of another is. So a copy of a model can be loaded that was never written, with room for one tensor.

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { CheckpointFile, CheckpointTensor } from '../checkpoint/tensor.ts';
import { show } from '../excerpt.ts';
import type { Pool } from '../workers/pool.ts';
import { encodings } from './checkpoint.ts';
import { quantizedSpecs, shardMetadata } from './format.ts';
import { inOrder } from './pipeline.ts';
import type { Plan, PlanItem } from './plan.ts';
import { type Refinement, takingTurns } from './refinement.ts';
import { gridBytes, gridSpec } from './stored-grid.ts';

/** How far the making of a checkpoint is. */
export interface MakingProgress {
  /** The tensor that was encoded. */
  tensor: string;
  /** Weights encoded so far. */
  weightsDone: number;
  /** Weights that will be encoded. */
  weights: number;
}

interface Making {
  readonly pool: Pool;
  readonly scaleSearch: boolean;
  readonly refinement: Refinement | undefined;
  readonly onProgress: ((progress: MakingProgress) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

type QuantizeItem = PlanItem & { readonly kind: 'quantize' };

/**
 * The checkpoint that a plan would write, without checksums.
 * @param original the planned one
 */
export function madeCheckpoint(plan: Plan, original: Checkpoint, making: Making): Checkpoint {
  const file = original.folder;
  const { onProgress } = making;
  const progress: MakingProgress = { tensor: '', weightsDone: 0, weights: plan.weights };
  let current: { readonly item: QuantizeItem; readonly parts: Promise<readonly [Uint8Array, Uint8Array]> } | undefined;

  function partsOf(item: QuantizeItem): Promise<readonly [Uint8Array, Uint8Array]> {
    if (current?.item === item) return current.parts;
    const parts = encode(item, making).then((encoded) => {
      progress.tensor = item.tensor.name;
      progress.weightsDone += item.quantized.rows * item.quantized.cols;
      onProgress?.(progress);
      return encoded;
    });
    current = { item, parts };
    return parts;
  }

  const tensors = plan.items.flatMap((item): CheckpointTensor[] => {
    if (item.kind === 'copy') return [item.tensor];
    if (item.kind === 'grid') {
      return [
        {
          ...gridSpec(item.grid),
          file,
          read: readOf(gridSpec(item.grid), async () => new Uint8Array(gridBytes(item.grid))),
        },
      ];
    }
    return quantizedSpecs(item.quantized).map((spec, i) => ({
      ...spec,
      file,
      read: readOf(spec, async () => (await partsOf(item))[i]),
    }));
  });
  const of = <K extends PlanItem['kind']>(kind: K) =>
    plan.items.filter((item): item is PlanItem & { kind: K } => item.kind === kind);
  const metadata = shardMetadata(
    Object.fromEntries(original.metadata),
    of('quantize').map(({ quantized }) => quantized),
    of('grid').map(({ grid }) => grid),
  );
  const about = new Map(Object.entries(metadata));
  const only: CheckpointFile = { file, source: new ArrayBuffer(0), dataStart: 0, tensors, metadata: about };
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return { folder: file, files: [only], tensors, metadata: about, isMade: true, get: (name) => byName.get(name) };
}

function readOf({ name, byteLength }: { name: string; byteLength: number }, bytes: () => Promise<Uint8Array>) {
  return async (start = 0, end = byteLength): Promise<ArrayBuffer> => {
    if (!(start >= 0 && start <= end && end <= byteLength))
      throw new RangeError(`bytes ${start} to ${end} must lie within ${show(name)}, which has ${byteLength}`);
    return new Uint8Array((await bytes()).subarray(start, end)).buffer;
  };
}

async function encode(
  item: QuantizeItem,
  { pool, scaleSearch, refinement, signal }: Making,
): Promise<readonly [Uint8Array, Uint8Array]> {
  const [packed, scales] = quantizedSpecs(item.quantized).map(({ byteLength }) => new Uint8Array(byteLength));
  let [packedEnd, scalesEnd] = [0, 0];
  const spares: ArrayBuffer[] = [];
  const turn = takingTurns(1);
  for await (const { encoded } of inOrder(
    encodings(item, { pool, scaleSearch, spares, refinement, turn }),
    3 * pool.size + 1,
  )) {
    signal?.throwIfAborted();
    spares.push(encoded.spare);
    const { byteLength, byteOffset, buffer } = encoded.scales;
    packed.set(encoded.packed, packedEnd);
    scales.set(new Uint8Array(buffer, byteOffset, byteLength), scalesEnd);
    packedEnd += encoded.packed.length;
    scalesEnd += byteLength;
  }
  return [packed, scales];
}
