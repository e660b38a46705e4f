// CRC-32 (ISO 3309, the one of zlib and PNG): reflected polynomial 0xedb88320. A register is linear in what was read, so blocks of five
// vectors are folded: one is replaced by a block that adds to the next one and leaves the same register. A byte goes to four places of
// its column, by two swizzles each, alike for all columns. These are of vectors 0, 2, 3 and 4: of 0 to 3 not every register comes.
//
//   block    bytes 0 … 15 │ 16 … 31 │ 32 … 47 │ 48 … 63 │ 64 … 79        column c: bytes c, 16 + c, …
//
//   table    8 × 256 u32: what a byte does to the register when 0 to 7 more bytes follow ("slicing by 8"), for the rest
//            5 × 2 × 4 × 16 u8: by the vector of a byte, its low or high nibble and the place, what goes there
//            32 × 2 u32 to work in

const SLICES: usize = 8192;
const FOLDS: usize = 640;
const BLOCK: usize = 80;

/** Bytes of the tables that crc32 reads. */
export function crc32TableBytes(): usize {
  return SLICES + FOLDS + 256;
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
  foldTables(table);
}

// The register after a bit of a byte of vector `from`, and `more` bytes behind the block, a multiple of 8.
function afterBit(from: usize, bit: usize, more: usize, table: usize): u32 {
  let c = load<u32>(table + (((<usize>1) << bit) << 2));
  for (let bytes = more + ((4 - from) << 4); bytes > 0; bytes -= 8) c = step(c, 0, table);
  return c;
}

// For each bit of a register the bits of a column that leave it, by elimination: then those that stand for a column a block later.
function foldTables(table: usize): void {
  const folds = table + SLICES;
  const rows = folds + FOLDS; // a register, and the bits of a column that leave it
  for (let i: usize = 0; i < 32; i++) {
    const place = i >> 3;
    store<u32>(rows + (i << 3), afterBit(place + <usize>(place > 0), i & 7, 0, table));
    store<u32>(rows + (i << 3), (<u32>1) << <u32>i, 4);
  }
  for (let bit: usize = 0; bit < 32; bit++) {
    let pivot = bit;
    while (((load<u32>(rows + (pivot << 3)) >> <u32>bit) & 1) == 0) pivot++;
    const row = load<u64>(rows + (pivot << 3));
    store<u64>(rows + (pivot << 3), load<u64>(rows + (bit << 3)));
    store<u64>(rows + (bit << 3), row);
    for (let i: usize = 0; i < 32; i++) {
      const other = load<u64>(rows + (i << 3));
      if (i != bit && ((other >> <u64>bit) & 1) == 1) store<u64>(rows + (i << 3), other ^ row);
    }
  }
  memory.fill(folds, 0, FOLDS);
  for (let i: usize = 0; i < 40; i++) {
    let column: u32 = 0;
    for (let c = afterBit(i >> 3, i & 7, BLOCK, table); c != 0; c &= c - 1) column ^= load<u32>(rows + (<usize>ctz(c) << 3), 4);
    for (let nibble: usize = 0; nibble < 16; nibble++) {
      if (((nibble >> (i & 3)) & 1) == 0) continue;
      for (let to: usize = 0; to < 4; to++) {
        const slot = folds + ((i >> 2) << 6) + (to << 4) + nibble;
        store<u8>(slot, load<u8>(slot) ^ <u8>(column >> <u32>(to << 3)));
      }
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

// @ts-ignore: decorator
@inline
function look(table: v128, nibbles: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, nibbles) : i8x16.swizzle(table, nibbles);
}

// `sum` and what vector `from` of a block, by its nibbles, adds to place `to` of the next one.
// @ts-ignore: decorator
@inline
function fold(sum: v128, low: v128, high: v128, folds: usize, from: usize, to: usize): v128 {
  const offset = (from << 7) + (to << 4);
  return v128.xor(sum, v128.xor(look(v128.load(folds + offset), low), look(v128.load(folds + offset + 64), high)));
}

// @ts-ignore: decorator
@inline
function steps(crc: u32, v: v128, table: usize): u32 {
  return step(step(crc, i64x2.extract_lane(v, 0), table), i64x2.extract_lane(v, 1), table);
}

// The register after `count` bytes, a multiple of BLOCK.
function blocks(crc: u32, x: usize, count: usize, table: usize): u32 {
  const folds = table + SLICES;
  const mask = i8x16.splat(15);
  let r0 = v128.xor(v128.load(x), i32x4.replace_lane(i32x4.splat(0), 0, crc));
  let r1 = v128.load(x, 16);
  let r2 = v128.load(x, 32);
  let r3 = v128.load(x, 48);
  let r4 = v128.load(x, 64);
  const end = x + count;
  for (x += BLOCK; x < end; x += BLOCK) {
    let low = v128.and(r0, mask);
    let high = v128.and(i16x8.shr_u(r0, 4), mask);
    let s0 = fold(v128.load(x), low, high, folds, 0, 0);
    let s1 = fold(v128.load(x, 32), low, high, folds, 0, 1);
    let s2 = fold(v128.load(x, 48), low, high, folds, 0, 2);
    let s3 = fold(v128.load(x, 64), low, high, folds, 0, 3);
    low = v128.and(r1, mask);
    high = v128.and(i16x8.shr_u(r1, 4), mask);
    s0 = fold(s0, low, high, folds, 1, 0);
    s1 = fold(s1, low, high, folds, 1, 1);
    s2 = fold(s2, low, high, folds, 1, 2);
    s3 = fold(s3, low, high, folds, 1, 3);
    low = v128.and(r2, mask);
    high = v128.and(i16x8.shr_u(r2, 4), mask);
    s0 = fold(s0, low, high, folds, 2, 0);
    s1 = fold(s1, low, high, folds, 2, 1);
    s2 = fold(s2, low, high, folds, 2, 2);
    s3 = fold(s3, low, high, folds, 2, 3);
    low = v128.and(r3, mask);
    high = v128.and(i16x8.shr_u(r3, 4), mask);
    s0 = fold(s0, low, high, folds, 3, 0);
    s1 = fold(s1, low, high, folds, 3, 1);
    s2 = fold(s2, low, high, folds, 3, 2);
    s3 = fold(s3, low, high, folds, 3, 3);
    low = v128.and(r4, mask);
    high = v128.and(i16x8.shr_u(r4, 4), mask);
    s0 = fold(s0, low, high, folds, 4, 0);
    s1 = fold(s1, low, high, folds, 4, 1);
    s2 = fold(s2, low, high, folds, 4, 2);
    s3 = fold(s3, low, high, folds, 4, 3);
    r0 = s0;
    r1 = v128.load(x, 16);
    r2 = s1;
    r3 = s2;
    r4 = s3;
  }
  return steps(steps(steps(steps(steps(0, r0, table), r1, table), r2, table), r3, table), r4, table);
}

/** CRC-32 of `count` bytes at `x` appended to bytes whose CRC-32 is `crc` (0 for none). */
export function crc32(crc: u32, x: usize, count: usize, table: usize): u32 {
  crc = ~crc;
  if (count >= BLOCK) {
    const whole = count - (count % BLOCK);
    crc = blocks(crc, x, whole, table);
    x += whole;
    count -= whole;
  }
  for (; count >= 8; count -= 8, x += 8) crc = step(crc, load<u64>(x), table);
  for (; count > 0; count--) crc = (crc >> 8) ^ load<u32>(entry(table, crc ^ load<u8>(x++)));
  return ~crc;
}
