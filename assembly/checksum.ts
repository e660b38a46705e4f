// CRC-32 (ISO 3309, the one of zlib and PNG): reflected polynomial 0xedb88320, eight bytes a step ("slicing by 8"), four steps at once:
// a step waits for the one before it, so long inputs are read as four streams side by side, and their registers joined.
//
//   table   8 × 256 u32: what a byte does to the register when 0 to 7 more bytes follow
//           4 × 256 u32: the register after STREAM zero bytes, by each of its four bytes

const STREAM: usize = 4096;
const SLICES: usize = 8192;

/** Bytes of the tables that crc32 reads. */
export function crc32TableBytes(): usize {
  return SLICES + 4096;
}

/** Builds the tables that crc32 reads. */
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
  // What zeros do to the register is linear in its bits.
  const ahead = table + SLICES;
  for (let byte: usize = 0; byte < 4; byte++) {
    const row = ahead + (byte << 10);
    store<u32>(row, 0);
    for (let bit: usize = 0; bit < 8; bit++) {
      let c = (<u32>1) << (<u32>(byte << 3) + <u32>bit);
      for (let i: usize = 0; i < STREAM; i += 8) c = step(c, 0, table);
      for (let v: usize = 0; v < (<usize>1) << bit; v++) store<u32>(row + ((v + ((<usize>1) << bit)) << 2), load<u32>(row + (v << 2)) ^ c);
    }
  }
}

// Where a table has the entry of the lowest byte.
// @ts-ignore: decorator
@inline
function entry(table: usize, byte: u32): usize {
  return table + ((byte & 255) << 2);
}

// The register after eight bytes more.
// @ts-ignore: decorator
@inline
function step(crc: u32, bytes: u64, table: usize): u32 {
  const a = <u32>bytes ^ crc;
  const b = <u32>(bytes >> 32);
  return (
    load<u32>(entry(table, a), 7168) ^ load<u32>(entry(table, a >> 8), 6144) ^
    load<u32>(entry(table, a >> 16), 5120) ^ load<u32>(entry(table, a >> 24), 4096) ^
    load<u32>(entry(table, b), 3072) ^ load<u32>(entry(table, b >> 8), 2048) ^
    load<u32>(entry(table, b >> 16), 1024) ^ load<u32>(entry(table, b >> 24))
  );
}

// The register after STREAM zero bytes.
// @ts-ignore: decorator
@inline
function skip(crc: u32, table: usize): u32 {
  return (
    load<u32>(entry(table, crc), SLICES) ^ load<u32>(entry(table, crc >> 8), SLICES + 1024) ^
    load<u32>(entry(table, crc >> 16), SLICES + 2048) ^ load<u32>(entry(table, crc >> 24), SLICES + 3072)
  );
}

/** CRC-32 of `count` bytes at `x` appended to bytes whose CRC-32 is `crc` (0 for none). */
export function crc32(crc: u32, x: usize, count: usize, table: usize): u32 {
  crc = ~crc;
  for (; count >= 4 * STREAM; count -= 4 * STREAM) {
    let c1: u32 = 0;
    let c2: u32 = 0;
    let c3: u32 = 0;
    for (const end = x + STREAM; x < end; x += 8) {
      crc = step(crc, load<u64>(x), table);
      c1 = step(c1, load<u64>(x, STREAM), table);
      c2 = step(c2, load<u64>(x, 2 * STREAM), table);
      c3 = step(c3, load<u64>(x, 3 * STREAM), table);
    }
    crc = skip(skip(skip(crc, table) ^ c1, table) ^ c2, table) ^ c3;
    x += 3 * STREAM;
  }
  for (; count >= 8; count -= 8, x += 8) crc = step(crc, load<u64>(x), table);
  for (; count > 0; count--) crc = (crc >> 8) ^ load<u32>(entry(table, crc ^ load<u8>(x++)));
  return ~crc;
}
