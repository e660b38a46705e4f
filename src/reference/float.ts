// Scalar twin of assembly/float.ts, from the formats' definitions (src/numerics/float.ts); here are those that only the twin has.

import { floatBits } from '../numerics/float.ts';

export { bf16ToF32Bits, f16ToF32, f16ToF32Bits, f32ToBf16, f32ToF16, floatBits, fromBits } from '../numerics/float.ts';

/** f8_e4m3 bits → f32 bits; there is no infinity, and s.1111.111 is NaN. */
export function f8ToF32Bits(b: number): number {
  const sign = (b & 0x80) * 0x1000000;
  const e = (b >> 3) & 15;
  const m = b & 7;
  if (e === 15 && m === 7) return sign + 0x7fc00000;
  return sign + floatBits(e === 0 ? m * 2 ** -9 : (8 + m) * 2 ** (e - 10));
}

/** Multiplies `x` in place by one factor for each run of `blockCols` elements. */
export function scaleBlocks(x: Float32Array, factors: Float32Array, blockCols: number): void {
  for (let i = 0; i < x.length; i++) x[i] = Math.fround(x[i] * factors[Math.floor(i / blockCols)]);
}
