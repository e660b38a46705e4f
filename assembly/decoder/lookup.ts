// Codes to grid values in i16 by tables. An index of `bits` bits, one code or as many as make a good index, picks an entry of
// `weights` values: 2, 4 or (for 3 and 4 weights) 8 bytes. Index k of a row lies in the two bytes from k · bits div 8 on:
//
//   bits 10    byte 0            byte 1            byte 2            byte 3            byte 4
//              0 0 0 0 0 0 0 0 | 1 1 1 1 1 1 0 0 | 2 2 2 2 1 1 1 1 | 3 3 2 2 2 2 2 2 | 3 3 3 3 3 3 3 3     (highest bit first)
//
// The bound is the number of lookups, about one a nanosecond; so several codes make an index where the table stays small.
// Kinds (bits, weights) of the project's grids have loops of their own, in which shifts and strides are constants.

import { TILE_STRIDE, add8, fold } from './tile';

// The entry of index `k` behind `packed`.
// @ts-ignore: decorator
@inline
function entryOf(packed: usize, k: u32, table: usize, bits: u32, weights: usize): usize {
  const at = packed + ((k * bits) >> 3);
  let index: u32;
  if (bits == 8) {
    index = load<u8>(at);
  } else {
    index = <u32>load<u16>(at) >> ((k * bits) & 7);
    if (((k * bits) & 7) + bits < 16) index &= (1 << bits) - 1;
  }
  return table + ((<usize>index) << (weights == 1 ? 1 : weights == 2 ? 2 : 3));
}

// Eight values, from index `k` on; for 1, 2 and 4 weights.
// @ts-ignore: decorator
@inline
function eight(packed: usize, k: u32, table: usize, bits: u32, weights: usize): v128 {
  let v: v128;
  if (weights == 4) {
    v = v128.load64_zero(entryOf(packed, k, table, bits, weights));
    return v128.load64_lane(entryOf(packed, k + 1, table, bits, weights), v, 1);
  }
  if (weights == 2) {
    v = v128.load32_zero(entryOf(packed, k, table, bits, weights));
    v = v128.load32_lane(entryOf(packed, k + 1, table, bits, weights), v, 1);
    v = v128.load32_lane(entryOf(packed, k + 2, table, bits, weights), v, 2);
    return v128.load32_lane(entryOf(packed, k + 3, table, bits, weights), v, 3);
  }
  v = i32x4.splat(load<u16>(entryOf(packed, k, table, bits, weights)));
  v = v128.load16_lane(entryOf(packed, k + 1, table, bits, weights), v, 1);
  v = v128.load16_lane(entryOf(packed, k + 2, table, bits, weights), v, 2);
  v = v128.load16_lane(entryOf(packed, k + 3, table, bits, weights), v, 3);
  v = v128.load16_lane(entryOf(packed, k + 4, table, bits, weights), v, 4);
  v = v128.load16_lane(entryOf(packed, k + 5, table, bits, weights), v, 5);
  v = v128.load16_lane(entryOf(packed, k + 6, table, bits, weights), v, 6);
  return v128.load16_lane(entryOf(packed, k + 7, table, bits, weights), v, 7);
}

// Four rows of codes times `slots` of a wide activation.
// @ts-ignore: decorator
@inline
function direct(
  a: usize, b: usize, c: usize, d: usize, table: usize, bits: u32, weights: usize, x: usize, slots: usize, to: usize,
): void {
  const next: u32 = 8 / <u32>weights; // index of the second eight values
  const bytes: usize = (16 / weights * bits) >> 3;
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = x + (slots << 1); x < end; x += 32) {
    const x0 = v128.load(x);
    s0 = add8(s0, eight(a, 0, table, bits, weights), x0);
    s1 = add8(s1, eight(b, 0, table, bits, weights), x0);
    s2 = add8(s2, eight(c, 0, table, bits, weights), x0);
    s3 = add8(s3, eight(d, 0, table, bits, weights), x0);
    const x1 = v128.load(x, 16);
    s0 = add8(s0, eight(a, next, table, bits, weights), x1);
    s1 = add8(s1, eight(b, next, table, bits, weights), x1);
    s2 = add8(s2, eight(c, next, table, bits, weights), x1);
    s3 = add8(s3, eight(d, next, table, bits, weights), x1);
    a += bytes;
    b += bytes;
    c += bytes;
    d += bytes;
  }
  v128.store(to, fold(s0, s1, s2, s3));
}

// `count` weights to `tile`, for 1, 2 and 4 weights an index.
// @ts-ignore: decorator
@inline
function decode(packed: usize, table: usize, bits: u32, weights: usize, tile: usize, count: usize): void {
  const next: u32 = 8 / <u32>weights;
  const bytes: usize = (16 / weights * bits) >> 3;
  for (const end = tile + (count << 1); tile < end; tile += 32, packed += bytes) {
    v128.store(tile, eight(packed, 0, table, bits, weights));
    v128.store(tile, eight(packed, next, table, bits, weights), 16);
  }
}

// The same for 3 weights: each entry is stored with a fourth, of no meaning, which the next one covers.
// @ts-ignore: decorator
@inline
function decode3(packed: usize, table: usize, bits: u32, tile: usize, count: usize): void {
  for (const end = tile + (count << 1); tile < end; tile += 48, packed += bits) {
    store<u64>(tile, load<u64>(entryOf(packed, 0, table, bits, 3)));
    store<u64>(tile, load<u64>(entryOf(packed, 1, table, bits, 3)), 6);
    store<u64>(tile, load<u64>(entryOf(packed, 2, table, bits, 3)), 12);
    store<u64>(tile, load<u64>(entryOf(packed, 3, table, bits, 3)), 18);
    store<u64>(tile, load<u64>(entryOf(packed, 4, table, bits, 3)), 24);
    store<u64>(tile, load<u64>(entryOf(packed, 5, table, bits, 3)), 30);
    store<u64>(tile, load<u64>(entryOf(packed, 6, table, bits, 3)), 36);
    store<u64>(tile, load<u64>(entryOf(packed, 7, table, bits, 3)), 42);
  }
}

// Any other kind. Entries of 2 and 4 bytes too are copied as 8: what is too much, the next one covers.
function decodeAny(packed: usize, table: usize, bits: u32, weights: usize, tile: usize, count: usize): void {
  const mask: u32 = (1 << bits) - 1;
  const size: u32 = weights == 1 ? 1 : weights == 2 ? 2 : 3;
  let at: u32 = 0;
  for (const end = tile + (count << 1); tile < end; tile += weights << 1, at += bits) {
    const index = (load<u32>(packed + (at >> 3)) >> (at & 7)) & mask;
    store<u64>(tile, load<u64>(table + ((<usize>index) << size)));
  }
}

/** Whether lookups1 has this kind. */
export function isDirect(bits: u32, weights: usize): bool {
  if (weights == 1) return bits == 8;
  return weights != 3 && (bits == 8 || bits == 10 || bits == 12 || (bits == 6 && weights == 2));
}

/**
 * Four rows of codes times `slots` of a wide activation, a multiple of 32: four i32 to `to`. For kinds that isDirect
 * tells.
 */
export function lookups1(
  a: usize, b: usize, c: usize, d: usize, table: usize, bits: u32, weights: usize, x: usize, slots: usize, to: usize,
): void {
  if (weights == 4) {
    if (bits == 8) direct(a, b, c, d, table, 8, 4, x, slots, to);
    else if (bits == 10) direct(a, b, c, d, table, 10, 4, x, slots, to);
    else direct(a, b, c, d, table, 12, 4, x, slots, to);
  } else if (weights == 2) {
    if (bits == 8) direct(a, b, c, d, table, 8, 2, x, slots, to);
    else if (bits == 10) direct(a, b, c, d, table, 10, 2, x, slots, to);
    else if (bits == 12) direct(a, b, c, d, table, 12, 2, x, slots, to);
    else direct(a, b, c, d, table, 6, 2, x, slots, to);
  } else {
    direct(a, b, c, d, table, 8, 1, x, slots, to);
  }
}

/** `count` weights of a row of codes, from its first bit on, to i16 at `tile`, and up to 23 more. Any kind. */
export function lookupRow(packed: usize, table: usize, bits: u32, weights: usize, tile: usize, count: usize): void {
  if (weights == 3 && bits == 9) decode3(packed, table, 9, tile, count);
  else if (weights == 3 && bits == 12) decode3(packed, table, 12, tile, count);
  else if (!isDirect(bits, weights)) decodeAny(packed, table, bits, weights, tile, count);
  else if (weights == 4) {
    if (bits == 8) decode(packed, table, 8, 4, tile, count);
    else if (bits == 10) decode(packed, table, 10, 4, tile, count);
    else decode(packed, table, 12, 4, tile, count);
  } else if (weights == 2) {
    if (bits == 8) decode(packed, table, 8, 2, tile, count);
    else if (bits == 10) decode(packed, table, 10, 2, tile, count);
    else if (bits == 12) decode(packed, table, 12, 2, tile, count);
    else decode(packed, table, 6, 2, tile, count);
  } else {
    decode(packed, table, 8, 1, tile, count);
  }
}
