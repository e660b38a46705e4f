// compressed-tensors, the checkpoints of llm-compressor, by `format`:
//
//   pack-quantized        <m>.weight_packed I32 (out, ⌈in · bits / 32⌉): q + 2^(bits - 1), the first lowest
//                         <m>.weight_scale (out, groups); <m>.weight_zero_point I32 (⌈out · bits / 32⌉, groups), packed down, where it is
//                         there; <m>.weight_g_idx (in), of groups that take turns; <m>.weight_shape (2)
//   float-quantized       <m>.weight F8_E4M3, <m>.weight_scale (1), (out, 1), or (⌈out / block⌉, ⌈in / block⌉)
//   int-quantized         <m>.weight I8, the scales likewise; <m>.weight_zero_point as the scales, in the weight's dtype, where it is there
//   nvfp4-pack-quantized  <m>.weight_packed U8 (out, in / 2): values of E2M1, the first in the low half; <m>.weight_scale F8_E4M3
//                         (out, in / 16), <m>.weight_global_scale F32 (1), which divides
//
// A weight is scale · (q - zero).

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import { type CheckpointTensor, placeOf } from '../tensor.ts';
import {
  decodedTensor,
  e4m3,
  floatValues,
  type JsonMembers,
  neededPart,
  type TensorsByName,
  unread,
} from './decoded.ts';

const FLOATS = ['F16', 'BF16', 'F32'];
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];
const NVFP4_GROUP = 16;
const PART =
  /^(.+)\.(weight_packed|weight_scale|weight_zero_point|weight_g_idx|weight_shape|weight_global_scale|input_global_scale|input_scale)$/;

/** How weights are told to be written. */
interface WeightCoding {
  readonly bits: number;
  readonly block: readonly [number, number] | undefined;
}

/** The weights of a checkpoint, in place of their parts. @throws {UnsupportedError} for formats that are not read; names them */
export function compressed(
  tensors: readonly CheckpointTensor[],
  parts: TensorsByName,
  config: JsonMembers,
  file: string,
): CheckpointTensor[] {
  const description = toldOf(config, file);
  return tensors.flatMap((tensor): CheckpointTensor[] => {
    const [, module, part] = PART.exec(tensor.name) ?? [];
    if (part === 'weight_packed') return [packed(module, tensor, parts, description)];
    const scale = parts.get(`${tensor.name}_scale`);
    if (scale && (tensor.dtype === 'F8_E4M3' || tensor.dtype === 'I8'))
      return [scaled(tensor, scale, parts, description)];
    const isPart = module !== undefined && (parts.has(`${module}.weight_packed`) || parts.has(`${module}.weight`));
    return isPart ? [] : [tensor];
  });
}

// Of all groups of modules the first, which others must be like.
function toldOf(config: JsonMembers, file: string): WeightCoding {
  const format = config.get('format');
  const supported = ['pack-quantized', 'float-quantized', 'int-quantized', 'naive-quantized', 'nvfp4-pack-quantized'];
  if (!supported.includes(String(format))) unread(file, 'format of compressed-tensors', supported.join(', '), format);
  const groups = config.get('config_groups');
  const weights =
    groups instanceof Map
      ? [...groups.values()].map((group) => (group instanceof Map ? group.get('weights') : undefined))
      : [];
  const bits = [...new Set(weights.map((scheme) => (scheme instanceof Map ? scheme.get('num_bits') : undefined)))];
  if (bits.length !== 1 || ![4, 8].includes(Number(bits[0])))
    unread(file, 'num_bits of compressed-tensors', '4 or 8, the same for all', bits);
  const [first] = weights;
  const block = first instanceof Map ? first.get('block_structure') : undefined;
  const isBlock =
    Array.isArray(block) && block.length === 2 && block.every((size) => Number.isInteger(size) && size > 0);
  return { bits: Number(bits[0]), block: isBlock ? (block as unknown as [number, number]) : undefined };
}

const bytesOf = (tensors: readonly (CheckpointTensor | undefined)[]) =>
  tensors.reduce((sum, tensor) => sum + (tensor?.byteLength ?? 0), 0);

function packed(
  module: string,
  codes: CheckpointTensor,
  parts: TensorsByName,
  { bits }: WeightCoding,
): CheckpointTensor {
  if (codes.shape.length !== 2)
    throw new FormatError(`codes must be a matrix: they are ${show(codes.shape)}`, placeOf(codes));
  if (codes.dtype === 'U8') return nvfp4(module, codes, parts);
  if (codes.dtype !== 'I32') throw new FormatError(`codes must be I32 or U8: they are ${codes.dtype}`, placeOf(codes));
  const perWord = 32 / bits;
  const [rows, words] = codes.shape;
  const cols = words * perWord;
  const scale = neededPart(parts, codes, `${module}.weight_scale`, FLOATS);
  const groups = scale.shape[1] ?? 1;
  neededPart(parts, codes, `${module}.weight_scale`, FLOATS, [rows, groups]);
  const zero = parts.has(`${module}.weight_zero_point`)
    ? neededPart(parts, codes, `${module}.weight_zero_point`, ['I32'], [Math.ceil(rows / perWord), groups])
    : undefined;
  const index = parts.has(`${module}.weight_g_idx`)
    ? neededPart(parts, codes, `${module}.weight_g_idx`, ['I32'], [cols])
    : undefined;
  if (cols % groups !== 0)
    throw new FormatError(`groups must divide the ${cols} inputs: there are ${groups}`, placeOf(codes));
  const shape = parts.has(`${module}.weight_shape`)
    ? neededPart(parts, codes, `${module}.weight_shape`, ['I64', 'I32'], [2])
    : undefined;
  const middle = 2 ** (bits - 1);
  const mask = 2 ** bits - 1;
  return decodedTensor({
    ...{ name: `${module}.weight`, rows, cols, codes, code: `INT${bits}` },
    byteLength: bytesOf([codes, scale, zero, index]),
    async rowsOf(first, count) {
      const [raw, factors, zeros, order, sizes] = await Promise.all([
        codes.read(first * words * 4, (first + count) * words * 4),
        floatValues(scale, first * groups, (first + count) * groups),
        zero?.read(),
        index?.read(),
        shape?.read(),
      ]);
      checkShape(codes, [rows, cols], shape, sizes);
      const packedWords = new Uint32Array(raw);
      const zeroWords = zeros && new Uint32Array(zeros);
      const groupOf = order && new Int32Array(order);
      const isOrdered = groupOf?.some((group) => group !== -1); // all are -1 where groups do not take turns
      const wrong = isOrdered ? groupOf!.find((group) => group < 0 || group >= groups) : undefined;
      if (wrong !== undefined)
        throw new FormatError(`groups of inputs must be below ${groups}: one is ${wrong}`, placeOf(codes));
      const values = new Float32Array(count * cols);
      for (let row = 0; row < count; row++) {
        const shift = ((first + row) % perWord) * bits;
        const zeroRow = Math.floor((first + row) / perWord) * groups;
        for (let col = 0; col < cols; col++) {
          const group = isOrdered ? groupOf![col] : Math.floor(col / (cols / groups));
          const q = (packedWords[row * words + Math.floor(col / perWord)] >>> ((col % perWord) * bits)) & mask;
          const middleOf = zeroWords ? (zeroWords[zeroRow + group] >>> shift) & mask : middle;
          values[row * cols + col] = (q - middleOf) * factors[row * groups + group];
        }
      }
      return values;
    },
  });
}

function checkShape(
  codes: CheckpointTensor,
  [rows, cols]: readonly number[],
  shape: CheckpointTensor | undefined,
  bytes: ArrayBuffer | undefined,
): void {
  if (!shape || !bytes) return;
  const sizes = shape.dtype === 'I64' ? [...new BigInt64Array(bytes)].map(Number) : [...new Int32Array(bytes)];
  if (String(sizes) === `${rows},${cols}`) return;
  throw new FormatError(
    `weight_shape must be the ${rows} × ${cols} of whole words: it is ${show(sizes)}`,
    placeOf(codes),
  );
}

// F8 or whole numbers, with a scale for all, for each row, or for blocks.
function scaled(
  codes: CheckpointTensor,
  scale: CheckpointTensor,
  parts: TensorsByName,
  { block }: WeightCoding,
): CheckpointTensor {
  const { name, dtype, shape } = codes;
  const [rows, cols] = shape;
  const sizes = scale.shape.length === 2 ? scale.shape : [scale.shape[0] ?? 1, 1];
  const [height, width] =
    sizes[0] === 1 && sizes[1] === 1
      ? [rows, cols]
      : sizes[1] === 1 && sizes[0] === rows
        ? [1, cols]
        : (block ?? [0, 0]);
  const fits = shape.length === 2 && sizes[0] === Math.ceil(rows / height) && sizes[1] === Math.ceil(cols / width);
  if (!fits || !FLOATS.includes(scale.dtype)) {
    const message = `${show(scale.name)} must have one scale for all weights, for each row or for a block: it is ${scale.dtype} ${show(scale.shape)}`;
    throw new FormatError(message, placeOf(codes));
  }
  const zeroName = `${name}_zero_point`;
  const zero = parts.has(zeroName) ? neededPart(parts, codes, zeroName, [dtype], scale.shape) : undefined;
  const decode = dtype === 'I8' ? (code: number) => (code << 24) >> 24 : e4m3;
  const values256 = Float32Array.from({ length: 256 }, (_, code) => decode(code));
  return decodedTensor({
    ...{ name, rows, cols, codes, code: dtype === 'I8' ? 'INT8' : 'F8_E4M3' },
    byteLength: bytesOf([codes, scale, zero]),
    async rowsOf(first, count) {
      const [raw, factors, zeros] = await Promise.all([
        codes.read(first * cols, (first + count) * cols),
        floatValues(scale),
        zero?.read(),
      ]);
      const bytes = new Uint8Array(raw);
      const zeroCodes = zeros && new Uint8Array(zeros);
      const values = new Float32Array(count * cols);
      for (let row = 0; row < count; row++) {
        const scaleRow = Math.floor((first + row) / height) * sizes[1];
        for (let col = 0; col < cols; col++) {
          const index = scaleRow + Math.floor(col / width);
          const middle = zeroCodes ? values256[zeroCodes[index]] : 0;
          values[row * cols + col] = (values256[bytes[row * cols + col]] - middle) * factors[index];
        }
      }
      return values;
    },
  });
}

function nvfp4(module: string, codes: CheckpointTensor, parts: TensorsByName): CheckpointTensor {
  const [rows, half] = codes.shape;
  const cols = 2 * half;
  const groups = cols / NVFP4_GROUP;
  const scale = neededPart(parts, codes, `${module}.weight_scale`, ['F8_E4M3'], [rows, groups]);
  const whole = neededPart(parts, codes, `${module}.weight_global_scale`, ['F32'], [1]);
  return decodedTensor({
    ...{ name: `${module}.weight`, rows, cols, codes, code: 'NVFP4', byteLength: bytesOf([codes, scale, whole]) },
    async rowsOf(first, count) {
      const [raw, factors, [divisor]] = await Promise.all([
        codes.read(first * half, (first + count) * half),
        floatValues(scale, first * groups, (first + count) * groups),
        floatValues(whole),
      ]);
      const bytes = new Uint8Array(raw);
      const values = new Float32Array(count * cols);
      for (let i = 0; i < values.length; i++) {
        const pair = bytes[i >> 1];
        values[i] = E2M1[i & 1 ? pair >> 4 : pair & 15] * Math.fround(factors[Math.floor(i / NVFP4_GROUP)] / divisor);
      }
      return values;
    },
  });
}
