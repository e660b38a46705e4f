// What a checkpoint holds, quantized or not, from its headers alone (and the few bytes of noted errors).

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { elementCount } from '../checkpoint/safetensors/dtype.ts';
import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import { inFileOrder, isQuantized, openQuantized, readErrors, refinementOf } from './format.ts';
import { type TensorReport, tensorReport } from './report.ts';

/** One tensor; the figures of a scheme only where it is quantized. */
export interface InspectedTensor extends Partial<Omit<TensorReport, 'name' | 'shape' | 'dtype'>> {
  /** As the original has it. */
  name: string;
  /** Of a quantized weight, the original's: (rows, cols), experts before them. */
  shape: readonly number[];
  /** Of a quantized weight, the original's. */
  dtype: string;
  /** Size as stored. */
  bytes: number;
}

/** What a checkpoint holds, from its headers. */
export interface Inspection {
  /** Whether some weights are quantized by this package. */
  quantized: boolean;
  /** Bits per weight over the quantized weights; 0 if there are none. */
  bpw: number;
  /** Size of the safetensors files. */
  bytes: number;
  /** Elements of all tensors, the original's shapes counted. */
  parameters: number;
  /** The safetensors files, with their sizes in bytes and their tensors. */
  files: { name: string; bytes: number; tensors: number }[];
  /** The tensors in the order of the files. */
  tensors: InspectedTensor[];
  /** What the checkpoint was refined by, if it was: tokens, seed, source. */
  refinement?: Readonly<Record<string, unknown>>;
}

/** Describes a checkpoint. @throws {FormatError} when it claims to be quantized and is not well-formed */
export async function inspectCheckpoint(checkpoint: Checkpoint): Promise<Inspection> {
  const files = checkpoint.files.map(({ file, source, tensors }) => ({
    name: file,
    bytes: source.byteLength,
    tensors: tensors.length,
  }));
  const tensors: InspectedTensor[] = [];
  let [bits, weights] = [0, 0];
  const quantized = isQuantized(checkpoint);
  const refinement = quantized ? refinementOf(checkpoint) : undefined;
  if (quantized) {
    const stored = await openQuantized(checkpoint);
    const errors = await readErrors(stored);
    for (const tensor of inFileOrder(stored)) {
      if ('packed' in tensor) {
        const { packed, scales, rows, cols } = tensor;
        const report = tensorReport(tensor, errors.get(tensor.name)!);
        tensors.push({ ...report, bytes: packed.byteLength + scales.byteLength });
        bits += report.bpw * rows * cols;
        weights += rows * cols;
      } else {
        tensors.push(plainOf(tensor));
      }
    }
  } else {
    for (const tensor of checkpoint.tensors) tensors.push(plainOf(tensor));
  }
  return {
    quantized,
    bpw: weights === 0 ? 0 : bits / weights,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    parameters: tensors.reduce((sum, { shape }) => sum + (elementCount(shape) ?? 0), 0),
    files,
    tensors,
    ...(refinement && { refinement }),
  };
}

function plainOf({ name, shape, encoded, ...others }: CheckpointTensor): InspectedTensor {
  const { dtype, byteLength } = encoded ?? others;
  return { name, shape, dtype, bytes: byteLength };
}
