// Floating-point formats by their definitions: value = ±2^(e - bias) · 1.m, or ±2^(1 - bias) · 0.m for e = 0.

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** The bits of an f32. */
export function floatBits(x: number): number {
  value[0] = x;
  return bits[0];
}

/** The f32 with these bits. */
export function fromBits(u: number): number {
  bits[0] = u;
  return value[0];
}

/** f16 bits → the bits of the equal f32. NaN payloads are kept, so the result is bits: a NaN may not survive a JavaScript number. */
export function f16ToF32Bits(h: number): number {
  const sign = (h & 0x8000) * 0x10000;
  const e = (h >> 10) & 31;
  const m = h & 0x3ff;
  if (e === 31) return sign + 0x7f800000 + m * 0x2000;
  return sign + floatBits(e === 0 ? m * 2 ** -24 : (1024 + m) * 2 ** (e - 25));
}

/** f16 bits → number. */
export function f16ToF32(h: number): number {
  return fromBits(f16ToF32Bits(h));
}

/** bf16 bits → f32 bits. */
export function bf16ToF32Bits(h: number): number {
  return h * 0x10000;
}

// Rounds x ≥ 0 to an integer, ties to even; exact below 2^52.
function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** f32 → f16 bits, to nearest even. The argument is f32 bits: some engines drop the sign of a NaN that is a number. */
export function f32ToF16(u: number): number {
  const sign = (u >>> 31) << 15;
  const magnitude = fromBits(u & 0x7fffffff);
  if (Number.isNaN(magnitude)) return sign | 0x7e00;
  if (magnitude >= 65520) return sign | 0x7c00;
  // In units of the last place: 2^-24 below 2^-14, else 2^(e - 10). A carry out of the significand raises the exponent by itself.
  const exponent = Math.max(-14, ((u >>> 23) & 255) - 127);
  const units = roundEven(magnitude * 2 ** (10 - exponent));
  return sign | (((exponent + 14) << 10) + units);
}

/** f32 → bf16 bits, to nearest even. The argument is f32 bits, for NaN's sake. */
export function f32ToBf16(u: number): number {
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return roundEven((u >>> 0) / 65536);
}
