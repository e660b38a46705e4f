// Checkpoints of tinyquant and higgs-kernels: points of two dimensions, 256 of them, no signs. Per module (N outputs, K inputs, groups of G):
//   .tq_tensors.quantized U8 [N·K/2]   .scales [N, K/G]   .grid [256, 2]   .meta U8, JSON: group_size, in_features, out_features   .bias

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { decodeText, parseStrict } from '../safetensors/json.ts';
import { type CheckpointTensor, placeOf } from '../tensor.ts';
import { codedTensor, hadamardRuns, smallFloats } from './rows.ts';

const PART = '.tq_tensors.';
/** Longest note of a module, in bytes: four members. */
const META_LIMIT = 4096;
/** Weights that are decoded together. */
const STEP_WEIGHTS = 1 << 20;

/** The tensors of such a checkpoint, weights decoded as they are read. @throws {FormatError} when a part is missing or of another shape */
export async function tinyquantTensors(checkpoint: Checkpoint): Promise<CheckpointTensor[]> {
  const tensors = checkpoint.tensors.map(async (tensor): Promise<CheckpointTensor[]> => {
    const position = tensor.name.indexOf(PART);
    if (position < 0) return [tensor];
    const [module, part] = [tensor.name.slice(0, position), tensor.name.slice(position + PART.length)];
    if (part === 'bias') return [{ ...tensor, name: `${module}.bias` }];
    return part === 'quantized' ? [await weightOf(tensor, module, checkpoint)] : [];
  });
  return (await Promise.all(tensors)).flat();
}

async function weightOf(codes: CheckpointTensor, module: string, checkpoint: Checkpoint): Promise<CheckpointTensor> {
  const fail = (message: string): never => {
    throw new FormatError(message, placeOf(codes));
  };
  const partOf = (part: string): CheckpointTensor =>
    checkpoint.get(`${module}${PART}${part}`) ?? fail(`a weight of tinyquant must have ${part}: it has none`);
  const [scales, grid, meta] = [partOf('scales'), partOf('grid'), partOf('meta')];
  if (meta.byteLength > META_LIMIT) fail(`meta must have at most ${META_LIMIT} bytes: it has ${meta.byteLength}`);
  const text = decodeText(new Uint8Array(await meta.read()), meta.file, 'meta');
  const about = parseStrict(text, meta.file, { subject: 'meta', tensorOf: () => meta.name });
  const note: Readonly<Record<string, unknown>> = about instanceof Map ? Object.fromEntries(about) : {};
  const { group_size: size, in_features: cols, out_features: rows, quantization_method: method } = note;
  if (method !== 'higgs') fail(`quantization_method must be higgs: got ${show(method)}`);
  const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) > 0;
  if (!isSize(size) || !isSize(cols) || !isSize(rows) || !Number.isInteger(Math.log2(size)) || cols % size !== 0)
    return fail(`group_size must be a power of two that divides in_features: got ${show(size)} and ${show(cols)}`);
  const shapes: [CheckpointTensor, number[]][] = [
    [codes, [(rows * cols) / 2]],
    [scales, [rows, cols / size]],
    [grid, [256, 2]],
  ];
  for (const [tensor, shape] of shapes) {
    if (tensor.shape.join() !== shape.join() || (tensor === codes && tensor.dtype !== 'U8'))
      fail(`${show(tensor.name)} must be [${shape.join(', ')}]: it is ${tensor.dtype} [${tensor.shape.join(', ')}]`);
  }
  const step = Math.max(1, Math.floor(STEP_WEIGHTS / cols));
  return codedTensor({
    ...{ name: `${module}.weight`, rows, cols, step, codes },
    byteLength: codes.byteLength + scales.byteLength + grid.byteLength,
    async decode(index) {
      const [first, end] = [index * step, Math.min(rows, (index + 1) * step)];
      const [bytes, factors, points] = await Promise.all([
        codes.read((first * cols) / 2, (end * cols) / 2),
        smallFloats(scales, (first * cols) / size, (end * cols) / size),
        smallFloats(grid),
      ]);
      const values = new Float32Array((end - first) * cols);
      for (const [i, code] of new Uint8Array(bytes).entries())
        values.set(points.subarray(2 * code, 2 * code + 2), 2 * i);
      hadamardRuns(values, size);
      const factor = 1 / Math.sqrt(size);
      for (let i = 0; i < values.length; i++) values[i] = values[i] * factor * factors[Math.floor(i / size)];
      return values;
    },
  });
}
