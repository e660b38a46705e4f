// CRC-32 (ISO 3309, the one of zlib and PNG): reflected polynomial 0xedb88320, eight bytes a step ("slicing by 8").

/** The eight tables of 256 u32 (8192 bytes) that crc32 reads. */
export function crc32Table(table: usize): void {
  for (let i: u32 = 0; i < 256; i++) {
    let c = i;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >> 1) ^ 0xedb88320 : c >> 1;
    store<u32>(table + (i << 2), c);
  }
  for (let i: usize = 256; i < 2048; i++) {
    const c = load<u32>(table + ((i - 256) << 2));
    store<u32>(table + (i << 2), (c >> 8) ^ load<u32>(table + ((c & 255) << 2)));
  }
}

// @ts-ignore: decorator
@inline
function entry(table: usize, slice: usize, byte: u32): u32 {
  return load<u32>(table + (slice << 10) + ((byte & 255) << 2));
}

/** CRC-32 of `count` bytes at `x` appended to bytes whose CRC-32 is `crc` (0 for none). */
export function crc32(crc: u32, x: usize, count: usize, table: usize): u32 {
  crc = ~crc;
  for (; count >= 8; count -= 8) {
    const a = load<u32>(x) ^ crc;
    const b = load<u32>(x, 4);
    crc =
      entry(table, 7, a) ^ entry(table, 6, a >> 8) ^ entry(table, 5, a >> 16) ^ entry(table, 4, a >> 24) ^
      entry(table, 3, b) ^ entry(table, 2, b >> 8) ^ entry(table, 1, b >> 16) ^ entry(table, 0, b >> 24);
    x += 8;
  }
  for (; count > 0; count--) crc = (crc >> 8) ^ entry(table, 0, crc ^ load<u8>(x++));
  return ~crc;
}
