// The tensors of a checkpoint as a decoder wants them: by name and shape, quantized or not.

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { type CheckpointTensor, placeOf } from '../checkpoint/tensor.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import { asBf16 } from '../quantize/float8.ts';
import { isQuantized, openQuantized, type QuantizedWeight } from '../quantize/format.ts';
import { FLOATS } from '../quantize/select.ts';
import { DENSE_DTYPES, type WeightTensor } from './linear.ts';

/** The tensors of a checkpoint, as a model asks for them by name and shape. */
export interface ModelWeights {
  /** The checkpoint. */
  readonly checkpoint: Checkpoint;
  /** Whether tensors have checksums. */
  readonly checked: boolean;
  /** Whether there is a tensor of that name, quantized or not. */
  has(name: string): boolean;
  /**
   * The tensors of a matrix.
   * @throws {FormatError} when it is missing or has another shape; {UnsupportedError} when its dtype is not handled
   */
  matrix(name: string, rows: number, cols: number): WeightTensor;
  /** The tensors of a stack of matrices. Throws as `matrix` does. */
  stack(name: string, shape: readonly [number, number, number]): WeightTensor;
  /** A tensor that is no matrix of weights: a norm's, a bias, a convolution's. Throws as `matrix` does. */
  vector(name: string, ...shape: number[]): CheckpointTensor;
  /** @throws {FormatError} when there is a tensor of that name, which the model would leave out */
  refuse(name: string): void;
}

/**
 * Tells the tensors of a checkpoint apart, quantized or not.
 * @throws {UnsupportedError} when it is of another version of the format
 */
export async function openWeights(checkpoint: Checkpoint): Promise<ModelWeights> {
  const stored = isQuantized(checkpoint) ? await openQuantized(checkpoint) : undefined;
  const checked = stored !== undefined && !checkpoint.isMade;
  const quantized = new Map<string, QuantizedWeight>(stored?.quantized.map((tensor) => [tensor.name, tensor]));
  const plain = new Map<string, CheckpointTensor>(
    (stored?.plain ?? checkpoint.tensors).map((tensor) => [tensor.name, tensor]),
  );

  function checkShape(name: string, tensor: { shape: readonly number[] } | undefined, shape: number[], file?: string) {
    const wanted = `[${shape.join(', ')}]`;
    if (!tensor) {
      const message = `checkpoint must hold the tensor, ${wanted}: it is missing`;
      throw new FormatError(message, { file: checkpoint.folder, tensor: name });
    }
    if (String(tensor.shape) === String(shape)) return;
    const message = `shape must be ${wanted}, as config.json has it: it is [${tensor.shape.join(', ')}]`;
    throw new FormatError(message, { file: file ?? checkpoint.folder, tensor: name });
  }

  function plainOf(name: string, shape: number[], dtypes = DENSE_DTYPES): CheckpointTensor {
    const tensor = plain.get(name);
    checkShape(name, tensor, shape, tensor?.file);
    const { dtype } = tensor!;
    if (dtypes.includes(dtype)) return tensor!;
    const message = `dtype must be one of ${dtypes.join(', ')}: it is ${dtype}`;
    throw new UnsupportedError(`dtype ${dtype}`, message, placeOf(tensor!));
  }

  function weightOf(name: string, shape: number[]): WeightTensor {
    const tensor = quantized.get(name);
    if (!tensor) {
      const tensorOfFile = plainOf(name, shape, FLOATS);
      if (tensorOfFile.dtype !== 'F8_E4M3') return { plain: tensorOfFile };
      const decoded = asBf16(tensorOfFile);
      plain.set(name, decoded);
      return { plain: decoded };
    }
    checkShape(name, tensor, shape, tensor.file);
    return { quantized: tensor };
  }

  return {
    checkpoint,
    checked,
    has: (name) => plain.has(name) || quantized.has(name),
    matrix: (name, rows, cols) => weightOf(name, [rows, cols]),
    stack: (name, shape) => weightOf(name, [...shape]),
    vector: (name, ...shape) => plainOf(name, shape),
    refuse(name) {
      if (!plain.has(name)) return;
      const message = 'tensor must belong to the model of config.json: no layer has one of this name';
      throw new FormatError(message, { file: checkpoint.folder, tensor: name });
    },
  };
}
