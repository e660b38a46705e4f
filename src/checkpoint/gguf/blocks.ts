// The codes of weights in GGUF. A block is some weights in a row and what scales them; d and m are f16, all else whole numbers. Weights
// are decoded to f32: products of few bits are exact, so that each weight is rounded once, as in every other decoder.
//
//   code   weights   bytes                                                    weight
//   Q8_0        32   d, 32 × i8                                               d q
//   Q4_0        32   d, 16 × (low: weight j, high: weight j + 16)             d (q - 8)
//   Q4_1        32   d, m, as Q4_0                                            d q + m
//   Q5_0        32   d, u32 of fifth bits, as Q4_0                            d (q - 16)
//   Q5_1        32   d, m, u32 of fifth bits, as Q4_0                         d q + m
//   Q4_K       256   d, m, 12 bytes of scales, 4 × 32 (low, high)             d s q - m t    s, t: 6 bits for 32 weights each
//   Q5_K       256   d, m, 12 bytes of scales, 32 of fifth bits, as Q4_K      d s q - m t
//   Q6_K       256   128 of low four bits, 64 of high two, 16 × i8 s, d       d s (q - 32)   s for 16 weights each
//   MXFP4       32   e: u8, as Q4_0                                           2^(e - 127) q   q: a sign, and 0 to 6 in three bits

import { type Place, UnsupportedError } from '../../errors.ts';

/** Decodes `count` blocks. @param out (count · weights), filled from its start */
type Decode = (bytes: Uint8Array, count: number, out: Float32Array) => void;

/** How weights are written. */
export interface WeightCode {
  /** As ggml names it, such as Q4_K. */
  readonly name: string;
  /** Weights and bytes of a block. */
  readonly weights: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Left out where the bytes are those of safetensors, of the same name. */
  readonly decode?: Decode;
}

let halves: Float32Array | undefined;
// All values of f16, by their bits.
function f16Values(): Float32Array {
  halves ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => {
    const [sign, exponent, mantissa] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
  });
  return halves;
}

const u16 = (bytes: Uint8Array, offset: number): number => bytes[offset] | (bytes[offset + 1] << 8);
const i8 = (byte: number): number => (byte << 24) >> 24;

function q8(bytes: Uint8Array, count: number, out: Float32Array): void {
  const f16 = f16Values();
  for (let block = 0; block < count; block++) {
    const offset = block * 34;
    const d = f16[u16(bytes, offset)];
    for (let j = 0; j < 32; j++) out[block * 32 + j] = d * i8(bytes[offset + 2 + j]);
  }
}

// Four or five bits a weight, between levels that are even about zero, or begin at a minimum.
function small(fifth: boolean, minimum: boolean): Decode {
  const head = minimum ? 4 : 2;
  const size = head + (fifth ? 4 : 0) + 16;
  const middle = minimum ? 0 : fifth ? 16 : 8;
  return (bytes, count, out) => {
    const f16 = f16Values();
    for (let block = 0; block < count; block++) {
      const offset = block * size;
      const d = f16[u16(bytes, offset)];
      const m = minimum ? f16[u16(bytes, offset + 2)] : 0;
      const high = fifth ? u16(bytes, offset + head) | (u16(bytes, offset + head + 2) << 16) : 0;
      const first = offset + size - 16;
      for (let j = 0; j < 16; j++) {
        const pair = bytes[first + j];
        const low = ((pair & 15) | (((high >>> j) & 1) << 4)) - middle;
        const upper = ((pair >> 4) | (((high >>> (j + 16)) & 1) << 4)) - middle;
        out[block * 32 + j] = minimum ? d * low + m : d * low;
        out[block * 32 + j + 16] = minimum ? d * upper + m : d * upper;
      }
    }
  };
}

/** The positive values of four bits with two of exponent and one of mantissa, twice. */
const TWICE = [0, 1, 2, 3, 4, 6, 8, 12];
const twiceE2M1 = Float64Array.from({ length: 16 }, (_, q) => (q < 8 ? TWICE[q] : 0 - TWICE[q - 8]));

function mxfp4(bytes: Uint8Array, count: number, out: Float32Array): void {
  for (let block = 0; block < count; block++) {
    const offset = block * 17;
    const half = 2 ** (bytes[offset] - 128);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[offset + 1 + j];
      out[block * 32 + j] = half * twiceE2M1[pair & 15];
      out[block * 32 + j + 16] = half * twiceE2M1[pair >> 4];
    }
  }
}

// Eight scales and eight minima of six bits, in twelve bytes. Those of 0 to 3 are the low six bits of bytes 0 to 3 and 4 to 7; of 4 to 7
// the low four bits are a half of bytes 8 to 11, the upper two those that are left of bytes 0 to 3 and 4 to 7.
function scaleAt(bytes: Uint8Array, offset: number, group: number, half: 0 | 1): number {
  const first = bytes[offset + 4 * half + (group & 3)];
  if (group < 4) return first & 63;
  const low = bytes[offset + 4 + group];
  return ((half ? low >> 4 : low) & 15) | ((first >> 6) << 4);
}

function q4OrQ5K(fifth: boolean): Decode {
  const size = fifth ? 176 : 144;
  return (bytes, count, out) => {
    const f16 = f16Values();
    for (let block = 0; block < count; block++) {
      const offset = block * size;
      const d = f16[u16(bytes, offset)];
      const m = f16[u16(bytes, offset + 2)];
      const first = offset + size - 128;
      for (let group = 0; group < 8; group++) {
        const scale = d * scaleAt(bytes, offset + 4, group, 0);
        const least = m * scaleAt(bytes, offset + 4, group, 1);
        const from = first + 32 * (group >> 1);
        const to = block * 256 + 32 * group;
        const shift = 4 * (group & 1);
        for (let j = 0; j < 32; j++) {
          const low = (bytes[from + j] >> shift) & 15;
          const high = fifth ? ((bytes[offset + 16 + j] >> group) & 1) << 4 : 0;
          out[to + j] = scale * (low | high) - least;
        }
      }
    }
  };
}

function q6K(bytes: Uint8Array, count: number, out: Float32Array): void {
  const f16 = f16Values();
  for (let block = 0; block < count; block++) {
    const offset = block * 210;
    const d = f16[u16(bytes, offset + 208)];
    // Halves of 128 weights, quarters of 32: low bits of two quarters share a byte, high bits of four.
    for (let quarter = 0; quarter < 8; quarter++) {
      const low = offset + 64 * (quarter >> 2) + 32 * (quarter & 1);
      const high = offset + 128 + 32 * (quarter >> 2);
      const [lowShift, highShift] = [2 * (quarter & 2), 2 * (quarter & 3)];
      const to = block * 256 + 32 * quarter;
      for (let j = 0; j < 32; j++) {
        const scale = d * i8(bytes[offset + 192 + 2 * quarter + (j >> 4)]);
        const q = ((bytes[low + j] >> lowShift) & 15) | (((bytes[high + j] >> highShift) & 3) << 4);
        out[to + j] = scale * (q - 32);
      }
    }
  }
}

const plain = (name: string, bytes: number): WeightCode => ({ name, weights: 1, bytes });
const blocks = (name: string, weights: number, bytes: number, decode: Decode) => ({ name, weights, bytes, decode });

/** By their numbers in ggml. */
const CODES: Readonly<Record<number, WeightCode>> = {
  0: plain('F32', 4),
  1: plain('F16', 2),
  2: blocks('Q4_0', 32, 18, small(false, false)),
  3: blocks('Q4_1', 32, 20, small(false, true)),
  6: blocks('Q5_0', 32, 22, small(true, false)),
  7: blocks('Q5_1', 32, 24, small(true, true)),
  8: blocks('Q8_0', 32, 34, q8),
  12: blocks('Q4_K', 256, 144, q4OrQ5K(false)),
  13: blocks('Q5_K', 256, 176, q4OrQ5K(true)),
  14: blocks('Q6_K', 256, 210, q6K),
  39: blocks('MXFP4', 32, 17, mxfp4),
  30: plain('BF16', 2),
};

/** Names of those that are not read, by number. */
const OTHERS: Readonly<Record<number, string>> = Object.fromEntries(
  (
    '4 Q4_2,5 Q4_3,9 Q8_1,10 Q2_K,11 Q3_K,15 Q8_K,16 IQ2_XXS,17 IQ2_XS,18 IQ3_XXS,19 IQ1_S,20 IQ4_NL,21 IQ3_S,22 IQ2_S,23 IQ4_XS,' +
    '24 I8,25 I16,26 I32,27 I64,28 F64,29 IQ1_M,34 TQ1_0,35 TQ2_0,40 NVFP4,41 Q1_0,42 Q2_0'
  )
    .split(',')
    .map((entry) => entry.split(' ')),
);

/** Weights in f32. @param bytes whole blocks */
export function decodeBlocks(
  bytes: ArrayBuffer,
  { name, weights, bytes: size, decode }: WeightCode,
): Float32Array<ArrayBuffer> {
  if (name === 'F32') return new Float32Array(bytes);
  const count = bytes.byteLength / size;
  const values = new Float32Array(count * weights);
  if (decode) {
    decode(new Uint8Array(bytes), count, values);
  } else if (name === 'F16') {
    const [f16, from] = [f16Values(), new Uint16Array(bytes)];
    for (let i = 0; i < count; i++) values[i] = f16[from[i]];
  } else {
    const [bits, from] = [new Uint32Array(values.buffer), new Uint16Array(bytes)];
    for (let i = 0; i < count; i++) bits[i] = from[i] << 16;
  }
  return values;
}

/** The code of that number. @throws {UnsupportedError} when it is none that is read; names it */
export function codeOf(type: number, place: Place): WeightCode {
  const code = CODES[type];
  if (code) return code;
  const name = OTHERS[type] ?? `number ${type}`;
  const supported = Object.values(CODES).map(({ name }) => name);
  throw new UnsupportedError(
    `GGUF weights ${name}`,
    `weights must be one of ${supported.join(', ')}: got ${name}`,
    place,
  );
}
