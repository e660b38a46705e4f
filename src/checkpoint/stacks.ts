// Experts as gpt-oss stores them, as matrices of outputs × inputs, which is what all others are. Two forms are read:
//
//   <name>_blocks (E, rows, groups, 16) U8 and <name>_scales (E, rows, groups) U8: MXFP4, 32 weights a group, two a byte, the low half first;
//     a weight is ± {0, ½, 1, 1½, 2, 3, 4, 6} · 2^(scale - 127), and BF16 holds each exactly
//   <name> (E, cols, rows) beside <name>_bias (E, rows): every matrix transposed
//
// Both become <name>.weight (E, rows, cols). Weights are decoded, or turned, as they are read.

import type { CheckpointTensor } from './tensor.ts';

const GROUP = 32;
const MAGNITUDES = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
const STACK = /\.experts\.(gate_up_proj|down_proj)$/;
const WIDTHS: Readonly<Record<string, 2 | 4>> = { F32: 4, F16: 2, BF16: 2 };

/** The tensors of a checkpoint, with such experts as matrices. */
export function asMatrices(tensors: readonly CheckpointTensor[]): CheckpointTensor[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const scalesOf = (tensor: CheckpointTensor) => {
    const scales = byName.get(tensor.name.replace(/_blocks$/, '_scales'));
    return scales && isMxfp4(tensor, scales) ? scales : undefined;
  };
  const isScales = ({ name }: CheckpointTensor) => {
    const blocks = byName.get(name.replace(/_scales$/, '_blocks'));
    return blocks !== undefined && name.endsWith('_scales') && scalesOf(blocks) !== undefined;
  };
  return tensors.flatMap((tensor) => {
    if (isScales(tensor)) return [];
    const scales = scalesOf(tensor);
    if (scales) return [decoded(tensor, scales)];
    const bias = byName.get(`${tensor.name}_bias`);
    return [bias && isTransposed(tensor, bias) ? turned(tensor) : tensor];
  });
}

function isMxfp4({ name, dtype, shape }: CheckpointTensor, scales: CheckpointTensor): boolean {
  const sizes = shape.slice(0, -1);
  const fits = shape.length === 4 && shape[3] === GROUP / 2 && String(scales.shape) === String(sizes);
  return name.endsWith('_blocks') && dtype === 'U8' && scales.dtype === 'U8' && fits;
}

function isTransposed({ name, dtype, shape }: CheckpointTensor, bias: CheckpointTensor): boolean {
  const [experts, , rows] = shape;
  return STACK.test(name) && dtype in WIDTHS && shape.length === 3 && String(bias.shape) === String([experts, rows]);
}

// The bits of all sixteen codes by their scale, as BF16.
let codes: Uint16Array | undefined;
function codesByScale(): Uint16Array {
  if (codes) return codes;
  const values = new Float32Array(256 * 16);
  for (let scale = 0; scale < 256; scale++) {
    const power = scale === 255 ? Number.NaN : 2 ** (scale - 127);
    for (let code = 0; code < 16; code++) {
      values[scale * 16 + code] = (code < 8 ? 1 : -1) * MAGNITUDES[code % 8] * power;
    }
  }
  codes = Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
  return codes;
}

function decoded(blocks: CheckpointTensor, scales: CheckpointTensor): CheckpointTensor {
  const [experts, rows, groups] = blocks.shape;
  const shape = [experts, rows, groups * GROUP];
  const bytes = experts * rows * groups * GROUP * 2;
  const name = blocks.name.replace(/_blocks$/, '.weight');
  const read = async (start = 0, end = bytes): Promise<ArrayBuffer> => {
    const [first, last] = [Math.floor(start / (GROUP * 2)), Math.ceil(end / (GROUP * 2))];
    const [packed, powers] = await Promise.all([
      blocks.read(first * (GROUP / 2), last * (GROUP / 2)),
      scales.read(first, last),
    ]);
    const table = codesByScale();
    const [pairs, exponents] = [new Uint8Array(packed), new Uint8Array(powers)];
    const values = new Uint16Array(pairs.length * 2);
    for (const [i, pair] of pairs.entries()) {
      const index = exponents[i >> 4] * 16;
      values[2 * i] = table[index + (pair & 15)];
      values[2 * i + 1] = table[index + (pair >> 4)];
    }
    const from = start - first * GROUP * 2;
    return from === 0 && values.byteLength === end - start
      ? values.buffer
      : values.buffer.slice(from, from + end - start);
  };
  return { name, dtype: 'BF16', shape, byteLength: bytes, file: blocks.file, read };
}

function turned(tensor: CheckpointTensor): CheckpointTensor {
  const [experts, cols, rows] = tensor.shape;
  const width = WIDTHS[tensor.dtype];
  const [weights, bytes] = [cols * rows, tensor.byteLength];
  // Of the experts read last: blocks of rows that follow one another are of one expert, or of two.
  const recent = new Map<number, Promise<ArrayBuffer>>();
  const matrixOf = (expert: number): Promise<ArrayBuffer> => {
    const cached = recent.get(expert);
    if (cached) return cached;
    const from = expert * weights * width;
    const matrix = tensor.read(from, from + weights * width);
    recent.set(expert, matrix);
    for (const other of [...recent.keys()].slice(0, -2)) recent.delete(other);
    return matrix;
  };
  const read = async (start = 0, end = bytes): Promise<ArrayBuffer> => {
    const Values = width === 4 ? Uint32Array : Uint16Array;
    const [first, last] = [Math.floor(start / width), Math.ceil(end / width)];
    const values = new Values(last - first);
    for (let at = first; at < last; ) {
      const expert = Math.floor(at / weights);
      const matrix = new Values(await matrixOf(expert));
      const stop = Math.min(last, (expert + 1) * weights);
      let [row, col] = [Math.floor((at % weights) / cols), at % cols];
      for (; at < stop; at++) {
        values[at - first] = matrix[col * rows + row];
        if (++col === cols) [row, col] = [row + 1, 0];
      }
    }
    return values.buffer.slice(start - first * width, end - first * width);
  };
  const { name, dtype, file } = tensor;
  return { name: `${name}.weight`, dtype, shape: [experts, rows, cols], byteLength: bytes, file, read };
}
