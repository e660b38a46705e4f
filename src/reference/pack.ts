// Scalar twin of assembly/pack.ts: a little-endian stream of bits, one bit at a time.

/** Codes → ceil(count · bits / 8) bytes. */
export function pack(codes: Uint16Array, bits: number): Uint8Array {
  const packed = new Uint8Array(Math.ceil((codes.length * bits) / 8));
  for (let i = 0; i < codes.length; i++) {
    for (let k = 0; k < bits; k++) {
      const bit = i * bits + k;
      packed[bit >> 3] |= ((codes[i] >> k) & 1) << (bit & 7);
    }
  }
  return packed;
}

/** `count` codes from a stream of bits. */
export function unpack(packed: Uint8Array, count: number, bits: number): Uint16Array {
  const codes = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < bits; k++) {
      const bit = i * bits + k;
      codes[i] |= ((packed[bit >> 3] >> (bit & 7)) & 1) << k;
    }
  }
  return codes;
}
