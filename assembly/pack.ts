// Codes of 2 to 12 bits (not 7, not 11) to a dense stream of bits and back. Little-endian: code i has bits
// [i·b, (i + 1)·b) of the stream, bit k of the stream is bit k mod 8 of byte k div 8. Eight codes make b bytes.
//
//   bits 3     byte 0          byte 1          byte 2
//              c2 c2 c1 c1 c1 c0 c0 c0 | c5 c4 c4 c4 c3 c3 c3 c2 | c7 c7 c7 c6 c6 c6 c5 c5      (highest bit first)

// @ts-ignore: decorator
@inline
function storeBytes(packed: usize, low: u64, high: u64, count: usize): void {
  for (let i: usize = 0; i < count; i++) {
    store<u8>(packed + i, <u8>(i < 8 ? low >> (i << 3) : high >> ((i - 8) << 3)));
  }
}

// Two nibbles that stand in the low halves of the two bytes of an i16, in one byte.
// @ts-ignore: decorator
@inline
function nibbles(bytes: v128): v128 {
  return v128.and(v128.or(bytes, i16x8.shr_u(bytes, 4)), i16x8.splat(0xff));
}

/**
 * Packs `count` codes (u16, each below 2^bits) into ceil(count · bits / 8) bytes; unused bits of the last byte are 0.
 * Reads `codes` up to the next multiple of 8; what lies beyond `count` does not matter.
 */
export function pack(codes: usize, count: usize, bits: u32, packed: usize): void {
  assert(bits >= 2 && bits <= 12 && bits != 7 && bits != 11);
  const end = packed + ((count * bits + 7) >> 3);
  if (bits == 4) {
    for (; count >= 32; count -= 32, codes += 64, packed += 16) {
      const low = i8x16.narrow_i16x8_u(v128.load(codes), v128.load(codes, 16));
      const high = i8x16.narrow_i16x8_u(v128.load(codes, 32), v128.load(codes, 48));
      v128.store(packed, i8x16.narrow_i16x8_u(nibbles(low), nibbles(high)));
    }
  } else if (bits == 8) {
    for (; count >= 16; count -= 16, codes += 32, packed += 16) {
      v128.store(packed, i8x16.narrow_i16x8_u(v128.load(codes), v128.load(codes, 16)));
    }
  }
  const pairs = i32x4.splat(1 | (1 << (bits + 16))); // i16 lanes 1, 2^bits: a dot product joins two codes
  const twice = bits << 1;
  const four = bits << 2;
  const lower = i64x2.splat(0xffffffff);
  while (count >= 8) {
    const two = i32x4.dot_i16x8_s(v128.load(codes), pairs);
    const fours = v128.or(v128.and(two, lower), i64x2.shl(i64x2.shr_u(two, 32), twice));
    const first = <u64>i64x2.extract_lane(fours, 0);
    const second = <u64>i64x2.extract_lane(fours, 1);
    const low = first | (second << four);
    const high = second >> (64 - four);
    if (packed + 16 <= end) {
      store<u64>(packed, low);
      store<u64>(packed, high, 8);
    } else {
      storeBytes(packed, low, high, bits);
    }
    codes += 16;
    packed += bits;
    count -= 8;
  }
  let low: u64 = 0;
  let high: u64 = 0;
  for (let i: u32 = 0; i < <u32>count; i++) {
    const code = <u64>load<u16>(codes + (i << 1));
    const bit = i * bits;
    if (bit < 64) low |= code << bit;
    else high |= code << (bit - 64);
    if (bit < 64 && bit + bits > 64) high |= code >> (64 - bit);
  }
  storeBytes(packed, low, high, end - packed);
}

/**
 * Unpacks `count` codes into u16. Reads `packed` up to 16 bytes past its last eight codes and writes `codes` up to the next
 * multiple of 8.
 */
export function unpack(packed: usize, count: usize, bits: u32, codes: usize): void {
  assert(bits >= 2 && bits <= 12 && bits != 7 && bits != 11);
  // A code of these widths lies in two bytes. Lane i takes the two bytes from i·b div 8 on, lifts the code to the lane's top
  // by a product with 2^(16 - b - i·b mod 8), and one shift for all lanes brings it down.
  let bytes = i64x2.splat(0);
  let lifts = i64x2.splat(0);
  for (let i: u32 = 8; i > 0; i--) {
    const bit = (i - 1) * bits;
    const byte = bit >> 3;
    bytes = v128.shuffle<i16>(i16x8.splat(<i16>(byte | ((byte + 1) << 8))), bytes, 0, 8, 9, 10, 11, 12, 13, 14);
    lifts = v128.shuffle<i16>(i16x8.splat(<i16>((<u32>1) << (16 - bits - (bit & 7)))), lifts, 0, 8, 9, 10, 11, 12, 13, 14);
  }
  const down = 16 - bits;
  for (let i: usize = 0; i < count; i += 8) {
    const lanes = i8x16.swizzle(v128.load(packed), bytes);
    v128.store(codes + (i << 1), i16x8.shr_u(i16x8.mul(lanes, lifts), down));
    packed += bits;
  }
}
