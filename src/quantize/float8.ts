// F8 weights as BF16, decoded as they are read: what runs a model has no kernel for F8. A weight times its block's factor is an f32, and
// that is rounded to nearest even, as `dequantize` rounds it.

import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import { FACTOR_COLS } from '../kernels/sizes.ts';
import { checkFactors, type FactorRows, readFactors } from './blocks.ts';
import { matrixShape } from './select.ts';

// Sign, four bits of exponent, three of significand; no infinity, and S.1111.111 is NaN.
const VALUES = Float32Array.from({ length: 256 }, (_, code) => {
  const [sign, exponent, significand] = [code < 128 ? 1 : -1, (code >> 3) & 15, code & 7];
  if (exponent === 15 && significand === 7) return Number.NaN;
  return sign * (exponent === 0 ? significand * 2 ** -9 : (8 + significand) * 2 ** (exponent - 10));
});

/**
 * A tensor of F8 weights, with or without factors, as one of BF16.
 * @throws {FormatError} or {UnsupportedError} as `checkFactors` does
 */
export function asBf16(tensor: CheckpointTensor): CheckpointTensor {
  checkFactors(tensor);
  const { name, shape, file } = tensor;
  const { cols } = matrixShape(shape);
  const byteLength = tensor.byteLength * 2;
  let factors: Promise<FactorRows> | undefined;
  const read = async (start = 0, end = byteLength): Promise<ArrayBuffer> => {
    const [first, last] = [Math.floor(start / 2), Math.ceil(end / 2)];
    if (tensor.factors) factors ??= readFactors(tensor, tensor.factors);
    const codes = new Uint8Array(await tensor.read(first, last));
    const row = Math.floor(first / cols);
    const spread = (await factors)?.(row, Math.ceil(last / cols) - row);
    const values = decode(codes, first - row * cols, cols, spread);
    const from = start - first * 2;
    return from === 0 && values.byteLength === end - start
      ? values.buffer
      : values.buffer.slice(from, from + end - start);
  };
  return { name, dtype: 'BF16', shape, byteLength, file, read, stored: tensor };
}

// @param start place of the first code, counted from the start of the first row that `factors`, (rows, ceil(cols / 128)), has
function decode(
  codes: Uint8Array,
  start: number,
  cols: number,
  factors: Float32Array | undefined,
): Uint16Array<ArrayBuffer> {
  const values = new Uint16Array(codes.length);
  const product = new Float32Array(1);
  const bits = new Uint32Array(product.buffer);
  const stride = Math.ceil(cols / FACTOR_COLS);
  let [row, col] = [Math.floor(start / cols), start % cols];
  for (let i = 0; i < codes.length; ) {
    const end = Math.min(codes.length, i + Math.min(cols - col, FACTOR_COLS - (col % FACTOR_COLS)));
    const factor = factors ? factors[row * stride + Math.floor(col / FACTOR_COLS)] : 1;
    col += end - i;
    for (; i < end; i++) {
      product[0] = VALUES[codes[i]] * factor;
      const [u] = bits;
      // A NaN stays one, whatever its bits.
      values[i] = (u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
    }
    if (col === cols) [row, col] = [row + 1, 0];
  }
  return values;
}
