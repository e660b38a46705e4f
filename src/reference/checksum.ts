// Scalar twin of assembly/checksum.ts: CRC-32, one bit at a time.

/** CRC-32 of `bytes` appended to bytes whose CRC-32 is `crc`. */
export function crc32(crc: number, bytes: Uint8Array): number {
  crc = ~crc;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
