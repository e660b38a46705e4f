// Weights to the bytes of GGUF's plain codes, each rounded once to nearest, ties to even; and to Q8_0 as ggml rounds it: 32 weights share
// d = max |w| / 127 in f16, and q = w · (1 / d in f32), ties away from zero.

/** How weights may be written. */
export type WrittenDtype = 'F32' | 'F16' | 'BF16' | 'Q8_0';

interface Code {
  /** Its number in ggml, and that of a file mostly of it. */
  readonly type: number;
  readonly fileType: number;
  /** Weights and bytes of a block. */
  readonly weights: number;
  readonly bytes: number;
  /** @param weights whole blocks; finite where `isNarrow` */
  encode(weights: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
}

const Q8_WEIGHTS = 32;
/** Least f32 that rounds to no f16: halfway from the largest one to 2¹⁶. */
const F16_OVERFLOW = 65520;

/** How each dtype is written: its numbers in ggml, the weights and bytes of a block, the encoder. */
export const CODES: Readonly<Record<WrittenDtype, Code>> = {
  F32: { type: 0, fileType: 0, weights: 1, bytes: 4, encode: (weights) => new Uint8Array(weights.buffer) },
  F16: { type: 1, fileType: 1, weights: 1, bytes: 2, encode: (weights) => f16(weights) },
  BF16: { type: 30, fileType: 32, weights: 1, bytes: 2, encode: (weights) => bf16(weights) },
  Q8_0: { type: 8, fileType: 7, weights: Q8_WEIGHTS, bytes: 2 + Q8_WEIGHTS, encode: (weights) => q8(weights) },
};

/** The first weight that has no finite f16, if there is one. */
export function firstTooLarge(weights: Float32Array): number | undefined {
  for (let i = 0; i < weights.length; i++) if (!(Math.abs(weights[i]) < F16_OVERFLOW)) return weights[i];
  return undefined;
}

function f16(weights: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const bits = new Uint32Array(weights.buffer, weights.byteOffset, weights.length);
  const halves = new Uint16Array(weights.length);
  for (let i = 0; i < halves.length; i++) halves[i] = halfOf(bits[i]);
  return new Uint8Array(halves.buffer);
}

// Adds what rounds the bits that fall away, as integers: a carry goes into the exponent. Of f32 bits of a finite number.
function halfOf(bits: number): number {
  const [sign, rest] = [(bits >>> 16) & 0x8000, bits & 0x7fffffff];
  if (rest >= 0x38800000) return sign | ((rest - 0x38000000 + 0xfff + ((rest >>> 13) & 1)) >>> 13);
  if (rest < 0x33000000) return sign; // below half of the least one
  const shift = 126 - (rest >>> 23);
  const significand = (rest & 0x7fffff) | 0x800000;
  const kept = significand >>> shift;
  const [lost, half] = [significand & ((1 << shift) - 1), 1 << (shift - 1)];
  return sign | (kept + (lost > half || (lost === half && kept & 1) ? 1 : 0));
}

function bf16(weights: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const bits = new Uint32Array(weights.buffer, weights.byteOffset, weights.length);
  const halves = new Uint16Array(weights.length);
  for (let i = 0; i < halves.length; i++) {
    const u = bits[i];
    // A NaN stays one, whatever its bits.
    halves[i] = (u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(halves.buffer);
}

function q8(weights: Float32Array): Uint8Array<ArrayBuffer> {
  const blocks = weights.length / Q8_WEIGHTS;
  const bytes = new Uint8Array(blocks * (2 + Q8_WEIGHTS));
  const scale = new Float32Array(1);
  const scaleBits = new Uint32Array(scale.buffer);
  for (let block = 0; block < blocks; block++) {
    const first = block * Q8_WEIGHTS;
    let most = 0;
    for (let i = 0; i < Q8_WEIGHTS; i++) most = Math.max(most, Math.abs(weights[first + i]));
    scale[0] = most / 127;
    const inverse = scale[0] === 0 ? 0 : Math.fround(1 / scale[0]);
    const at = block * (2 + Q8_WEIGHTS);
    const half = halfOf(scaleBits[0]);
    bytes[at] = half & 255;
    bytes[at + 1] = half >>> 8;
    for (let i = 0; i < Q8_WEIGHTS; i++) {
      const level = Math.fround(weights[first + i] * inverse);
      bytes[at + 2 + i] = level < 0 ? -Math.floor(0.5 - level) : Math.floor(level + 0.5);
    }
  }
  return bytes;
}
