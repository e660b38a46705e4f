// Floats from one dtype to another, for tensors that pass through and are wanted in another dtype than they have.

import { FormatError } from '../errors.ts';
import { bf16ToF32Bits, f16ToF32Bits, f32ToBf16, f32ToF16, fromBits } from '../numerics/float.ts';

/** Dtypes that are converted. */
type FloatDtype = 'F32' | 'F16' | 'BF16';

/** Whether weights of a dtype are floats of 32 or 16 bits. */
export function isFloat(dtype: string): dtype is FloatDtype {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}

/**
 * The same numbers in another dtype, rounded to nearest even.
 * @param tensor where they are from, for messages
 * @throws {FormatError} when a finite number is too large for F16
 */
export function convertFloats(
  bytes: ArrayBuffer,
  from: FloatDtype,
  to: FloatDtype,
  tensor: { readonly file: string; readonly name: string },
): ArrayBuffer {
  if (from === to) return bytes;
  const widen = from === 'F16' ? f16ToF32Bits : bf16ToF32Bits;
  const wide = from === 'F32' ? new Uint32Array(bytes) : Uint32Array.from(new Uint16Array(bytes), widen);
  if (to === 'F32') return wide.buffer;
  if (to === 'BF16') return Uint16Array.from(wide, f32ToBf16).buffer;
  return Uint16Array.from(wide, (bits) => {
    const half = f32ToF16(bits);
    if ((half & 0x7fff) === 0x7c00 && (bits & 0x7fffffff) !== 0x7f800000) {
      const message = `numbers must be at most 65504 to be written as F16: got ${fromBits(bits)}`;
      throw new FormatError(message, { file: tensor.file, tensor: tensor.name });
    }
    return half;
  }).buffer;
}
