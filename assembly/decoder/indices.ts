// Indices of a trellis' steps from the vectors of a band (band.ts), and integers u in 0 … 127 from them. With n_i the index of step i,
// its code or with 2 bits c_{i-1} | c_i << 2, and swizzles of 16 lanes:
//
//   u_i = T0[n_i] + T1[n_{i-1}] + T2[n_{i-2}]         bit 3 of an index of 3 bits does not matter: tables have its entries twice
//   u_i = T0[n_i] + T1[n_{i-1} ^ n_{i-2}]             by labels, whose bit 3 does not matter either; or ^ (n_{i-3} & 3), which T2 is full of
//
// `mask` is 15 in all bytes, read from memory: a constant that an engine knows it may make anew at each use.

// @ts-ignore: decorator
@inline
export function valuesOf(indices: v128, table: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, indices) : i8x16.swizzle(table, indices);
}

// @ts-ignore: decorator
@inline
export function low(v: v128, mask: v128): v128 {
  return v128.and(v, mask);
}

// @ts-ignore: decorator
@inline
export function high(v: v128, mask: v128): v128 {
  return v128.and(i16x8.shr_u(v, 4), mask);
}

// Codes 6 and 7 of eight of 3 bits, as the others stand in a vector. `third` is 0x88 in all bytes.
// @ts-ignore: decorator
@inline
export function last3(v0: v128, v1: v128, v2: v128, third: v128): v128 {
  const bits01 = v128.or(i16x8.shr_u(v128.and(v0, third), 3), i16x8.shr_u(v128.and(v1, third), 2));
  return v128.or(bits01, i16x8.shr_u(v128.and(v2, third), 1));
}

// The first index of four of 2 bits: `before` is the index before it, `next` the one after. Of nibbles no shift of two reaches another
// byte's low four bits, which the mask keeps.
// @ts-ignore: decorator
@inline
export function first2(before: v128, next: v128, mask: v128): v128 {
  return v128.and(v128.or(i16x8.shr_u(before, 2), i16x8.shl(next, 2)), mask);
}

// The third.
// @ts-ignore: decorator
@inline
export function third2(v: v128, mask: v128): v128 {
  return v128.and(i16x8.shr_u(v, 2), mask);
}

// @ts-ignore: decorator
@inline
export const BY_LABELS: u32 = 4;
// @ts-ignore: decorator
@inline
export const BY_LABELS_OF_THREE: u32 = 8;

// u of an index and those before it. `lags`: bit 0 for T1, bit 1 for T2, or one of the above.
// @ts-ignore: decorator
@inline
export function integers(
  n: v128, before: v128, before2: v128, before3: v128, t0: v128, t1: v128, t2: v128, lags: u32,
): v128 {
  let u = valuesOf(n, t0);
  if (lags == BY_LABELS) return i8x16.add(u, valuesOf(v128.xor(before, before2), t1));
  if (lags == BY_LABELS_OF_THREE) {
    return i8x16.add(u, valuesOf(v128.xor(v128.xor(before, before2), v128.and(before3, t2)), t1));
  }
  if (lags & 1) u = i8x16.add(u, valuesOf(before, t1));
  if (lags & 2) u = i8x16.add(u, valuesOf(before2, t2));
  return u;
}
