// Random signs that are part of a model, for readers that know none: columns of a matrix change sign, and so does what makes its input.
//
//   the input of q, k, v, gate and up   a norm:            its weights
//   the input of down                   silu(gate) ∘ up:   the rows of up
//   the input of o                      means of values:   the rows of v, and its bias; alike for all heads of queries that share one of values
//
// Signs are exact in every float, so the model is the same. Where a norm has 1 added to its weights, or something else stands between two
// matrices, it would not be: refused by name.

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import { UnsupportedError } from '../errors.ts';
import type {
  Architecture,
  AttentionSpec,
  BlockSpec,
  FeedForwardSpec,
  LinearSpec,
  NormSpec,
} from '../families/architecture.ts';
import { uniform } from '../numerics/random.ts';

/** Bytes of an element, whose last one has the sign. */
const WIDTHS: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2, F8_E4M3: 1 };

/** Signs of a tensor: 1 changes it. */
interface Flips {
  rows?: Uint8Array; // (rows)
  cols?: Uint8Array; // (cols)
}

/**
 * A model with signs in it: the same function, other weights.
 * @param seed of the signs
 * @throws {UnsupportedError} when its blocks do not allow that: names the first
 */
export function withSigns(checkpoint: Checkpoint, { family, dim, layers }: Architecture, seed: number): Checkpoint {
  const flips = new Map<string, Flips>();
  const signs = (count: number) => {
    const next = uniform(seed);
    return Uint8Array.from({ length: count }, () => (next() < 0.5 ? 1 : 0));
  };
  const flip = (name: string, added: Flips) => flips.set(name, { ...flips.get(name), ...added });
  const nameOf = ({ name, alias = name }: LinearSpec) => (checkpoint.get(`${name}.weight`) ? name : alias);
  const flipRows = (linear: LinearSpec, rowSigns: Uint8Array, first: number) => {
    const rows = new Uint8Array(linear.rows);
    rows.set(rowSigns, first);
    flip(`${nameOf(linear)}.weight`, { rows });
    if (linear.bias) flip(`${nameOf(linear)}.bias`, { cols: rows });
  };
  const flipInput = (norm: NormSpec, inputs: readonly LinearSpec[]) => {
    flip(norm.name, { cols: signs(dim) });
    for (const linear of inputs) flip(`${nameOf(linear)}.weight`, { cols: signs(dim) });
  };

  for (const [layer, blocks] of layers.entries()) {
    for (const block of blocks) {
      const reason = reasonAgainst(block);
      if (reason) {
        const message = `signs cannot be part of a model of the family ${family}: layer ${layer} has ${reason}`;
        throw new UnsupportedError('folded signs', message, { file: checkpoint.folder });
      }
      const { norm, inputs, output } = block as AttentionSpec | FeedForwardSpec;
      flipInput(norm!, inputs);
      const last = inputs.at(-1)!;
      if (block.kind === 'attention') {
        const { heads, kvHeads, headDim } = block;
        const values = signs(kvHeads * headDim);
        flipRows(last, values, last.rows - values.length);
        const shared = heads / kvHeads;
        const ofOutput = (_: unknown, i: number) => values[Math.floor(i / headDim / shared) * headDim + (i % headDim)];
        flip(`${nameOf(output)}.weight`, { cols: Uint8Array.from({ length: heads * headDim }, ofOutput) });
      } else {
        const up = signs(output.cols);
        flipRows(last, up, last.rows - up.length);
        flip(`${nameOf(output)}.weight`, { cols: up });
      }
    }
  }
  const tensors = checkpoint.tensors.map((tensor) => flipped(tensor, flips.get(tensor.name)));
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return { ...checkpoint, tensors, get: (name) => byName.get(name) };
}

function reasonAgainst(block: BlockSpec): string | undefined {
  if (block.kind !== 'attention' && block.kind !== 'feedForward') return `a block of another kind, ${block.kind}`;
  if (!block.norm) return 'no norm before a block';
  if (block.norm.plus !== 0) return 'norms that add 1 to their weights';
  if (block.kind === 'feedForward') return block.activation === 'reluSquared' ? 'no gate beside up' : undefined;
  if (block.cache && !block.cache.isOwn) return 'values of another layer';
  return block.inputs.length === 2 ? 'keys that are values, too' : undefined;
}

function flipped(tensor: CheckpointTensor, flips: Flips | undefined): CheckpointTensor {
  if (!flips) return tensor;
  const { dtype, shape } = tensor;
  const width = WIDTHS[dtype];
  if (width === undefined) {
    const message = `dtype must be one of ${Object.keys(WIDTHS).join(', ')} to change signs: it is ${dtype}`;
    throw new UnsupportedError(`dtype ${dtype}`, message, { file: tensor.file, tensor: tensor.name });
  }
  const cols = shape.at(-1)!;
  const { readSync: _, readInto: __, readIntoLater: ___, ...rest } = tensor;
  return {
    ...rest,
    async read(start = 0, end = tensor.byteLength, spare?: ArrayBuffer) {
      const buffer = await tensor.read(start, end, spare);
      const bytes = new Uint8Array(buffer);
      for (let at = width - 1 - (start % width); at < bytes.length; at += width) {
        const index = (start + at - (width - 1)) / width;
        if (at < 0) continue;
        const change = (flips.rows?.[Math.floor(index / cols)] ?? 0) ^ (flips.cols?.[index % cols] ?? 0);
        bytes[at] = bytes[at] ^ (change << 7);
      }
      return buffer;
    },
  };
}
