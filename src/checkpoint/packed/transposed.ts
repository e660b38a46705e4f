// AWQ and GPTQ: integers of a few bits in words of 32, inputs down and outputs across, with scales and zeros for groups of inputs.
//
//   <m>.qweight  I32   AWQ (in, out / 8): eight outputs a word, of which nibble i holds output [0, 2, 4, 6, 1, 3, 5, 7][i]
//                      GPTQ (in · bits / 32, out): the inputs of a word, the first lowest
//   <m>.qzeros   I32   (groups, out · bits / 32): as AWQ's weights; of GPTQ the first lowest
//   <m>.scales   F16   (groups, out)
//   <m>.g_idx    I32   (in): the group of each input, of GPTQ where it is there; else input i is in group ⌊i / group size⌋
//
// A weight is scale · (q - zero). GPTQ's first format holds zero - 1, its second (`checkpoint_format` gptq_v2) the zero.

import { FormatError } from '../../errors.ts';
import type { CheckpointTensor } from '../tensor.ts';
import { placeOf } from '../tensor.ts';
import {
  decodedTensor,
  floatValues,
  type JsonMembers,
  neededPart,
  recentReads,
  type TensorsByName,
  unread,
} from './decoded.ts';

/** Nibble of each of eight outputs. */
const AWQ_NIBBLES = [0, 4, 1, 5, 2, 6, 3, 7];
const FLOATS = ['F16', 'BF16', 'F32'];
/** Whole tensors that are kept of those read last: blocks of rows that follow one another are of one matrix, or of two. */
const KEPT = 8;

/** Where the bits of a weight are: in a word that input and output tell together, at a place that they do. */
interface BitLayout {
  readonly bits: number;
  /** First word of an input, and of an output beside it; the words of a row of zeros. */
  input(input: number): readonly [word: number, shift: number];
  output(output: number): readonly [word: number, shift: number];
  zero(output: number): readonly [word: number, shift: number];
  readonly zeroWords: number;
  /** Added to zeros as they stand. */
  readonly plus: 0 | 1;
}

/** The weights of a checkpoint by AWQ or GPTQ, in place of their parts. @throws {UnsupportedError} for kinds that are not read */
export function transposed(
  tensors: readonly CheckpointTensor[],
  parts: TensorsByName,
  method: string,
  config: JsonMembers,
  file: string,
) {
  const isAwq = method === 'awq';
  const version = config.get('version');
  if (isAwq && version !== undefined && version !== 'gemm') unread(file, 'version of AWQ', 'gemm', version);
  const bits = config.get('bits') ?? config.get('w_bit');
  const supported = isAwq ? [4] : [2, 4, 8];
  if (!supported.includes(Number(bits))) unread(file, `bits of ${method}`, supported.join(', '), bits);
  const isSecond = config.get('checkpoint_format') === 'gptq_v2';
  const read = recentReads(KEPT);
  return tensors.flatMap((tensor): CheckpointTensor[] => {
    const [, module, part] = /^(.+)\.(qweight|qzeros|scales|g_idx)$/.exec(tensor.name) ?? [];
    if (module === undefined || !parts.has(`${module}.qweight`)) return [tensor];
    return part === 'qweight' ? [matrixOf(module, tensor, parts, isAwq, Number(bits), isSecond ? 0 : 1, read)] : [];
  });
}

function matrixOf(
  module: string,
  codes: CheckpointTensor,
  parts: TensorsByName,
  isAwq: boolean,
  bits: number,
  plus: 0 | 1,
  read: ReturnType<typeof recentReads>,
): CheckpointTensor {
  if (codes.dtype !== 'I32' || codes.shape.length !== 2) {
    const message = `codes must be a matrix of I32: they are ${codes.dtype} [${codes.shape.join(', ')}]`;
    throw new FormatError(message, placeOf(codes));
  }
  const perWord = 32 / bits;
  const outputs = isAwq ? codes.shape[1] * perWord : codes.shape[1];
  const inputs = isAwq ? codes.shape[0] : codes.shape[0] * perWord;
  const scales = neededPart(parts, codes, `${module}.scales`, FLOATS);
  const groups = scales.shape[0] ?? 0;
  neededPart(parts, codes, `${module}.scales`, FLOATS, [groups, outputs]);
  const zeros = neededPart(parts, codes, `${module}.qzeros`, ['I32'], [groups, Math.ceil(outputs / perWord)]);
  const index =
    !isAwq && parts.has(`${module}.g_idx`) ? neededPart(parts, codes, `${module}.g_idx`, ['I32'], [inputs]) : undefined;
  if (groups < 1 || (!index && inputs % groups !== 0)) {
    throw new FormatError(`groups must divide the ${inputs} inputs: there are ${groups}`, placeOf(codes));
  }
  const layout = isAwq ? awq(outputs) : gptq(outputs, bits, plus);
  const all = [codes, scales, zeros, ...(index ? [index] : [])];
  return decodedTensor({
    ...{ name: `${module}.weight`, rows: outputs, cols: inputs, codes, code: `${isAwq ? 'AWQ' : 'GPTQ'}-${bits}` },
    byteLength: all.reduce((sum, { byteLength }) => sum + byteLength, 0),
    async rowsOf(first, count) {
      const [words, zeroWords, factors] = await Promise.all([read(codes), read(zeros), floatValues(scales)]);
      const groupOf = index ? new Int32Array(await read(index)) : evenly(inputs, groups);
      checkGroups(groupOf, groups, codes);
      const source = { words: new Uint32Array(words), zeros: new Uint32Array(zeroWords), factors, groupOf };
      return decode(layout, source, outputs, first, count);
    },
  });
}

function evenly(inputs: number, groups: number): Int32Array {
  return Int32Array.from({ length: inputs }, (_, i) => Math.floor(i / (inputs / groups)));
}

function checkGroups(groupOf: Int32Array, groups: number, codes: CheckpointTensor): void {
  const wrong = groupOf.find((group) => !(group >= 0 && group < groups));
  if (wrong === undefined) return;
  throw new FormatError(`groups of inputs must be below ${groups}: one is ${wrong}`, placeOf(codes));
}

function awq(outputs: number): BitLayout {
  const output = (output: number) => [output >> 3, 4 * AWQ_NIBBLES[output & 7]] as const;
  return {
    ...{ bits: 4, output, zero: output, zeroWords: outputs / 8, plus: 0 },
    input: (input) => [input * (outputs / 8), 0],
  };
}

function gptq(outputs: number, bits: number, plus: 0 | 1): BitLayout {
  const perWord = 32 / bits;
  return {
    ...{ bits, plus, zeroWords: Math.ceil(outputs / perWord) },
    input: (input) => [Math.floor(input / perWord) * outputs, bits * (input % perWord)],
    output: (output) => [output, 0],
    zero: (output) => [Math.floor(output / perWord), bits * (output % perWord)],
  };
}

interface CodeSource {
  readonly words: Uint32Array;
  readonly zeros: Uint32Array;
  readonly factors: Float32Array;
  readonly groupOf: Int32Array;
}

// Inputs outside, so that words are read in their order.
function decode(
  { bits, input: inputAt, output: outputAt, zero, zeroWords, plus }: BitLayout,
  { words, zeros, factors, groupOf }: CodeSource,
  outputs: number,
  first: number,
  count: number,
): Float32Array<ArrayBuffer> {
  const mask = 2 ** bits - 1;
  const inputs = groupOf.length;
  const groups = factors.length / outputs;
  const places = Array.from({ length: count }, (_, row) => outputAt(first + row));
  const [word, shift] = [0, 1].map((i) => Int32Array.from(places, (place) => place[i]));
  const zeroOf = new Int32Array(groups * count);
  for (let row = 0; row < count; row++) {
    const [index, shift] = zero(first + row);
    for (let group = 0; group < groups; group++) {
      zeroOf[group * count + row] = ((zeros[group * zeroWords + index] >>> shift) & mask) + plus;
    }
  }
  const values = new Float32Array(count * inputs);
  for (let input = 0; input < inputs; input++) {
    const group = groupOf[input];
    const [firstWord, inputShift] = inputAt(input);
    for (let row = 0; row < count; row++) {
      const q = (words[firstWord + word[row]] >>> (inputShift + shift[row])) & mask;
      values[row * inputs + input] = (q - zeroOf[group * count + row]) * factors[group * outputs + first + row];
    }
  }
  return values;
}
