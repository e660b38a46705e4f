// Indices of a trellis' steps from the vectors of a band (band.ts), and integers u in 0 … 127 from them. With n_i the index of step i,
// its code or with 2 bits c_{i-1} | c_i << 2, and swizzles of 16 lanes:
//
//   u_i = T0[n_i] + T1[n_{i-1}] + T2[n_{i-2}]         bit 3 of an index of 3 bits does not matter: tables have its entries twice

// @ts-ignore: decorator
@inline
function valuesOf(indices: v128, table: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, indices) : i8x16.swizzle(table, indices);
}

// @ts-ignore: decorator
@inline
export function low(v: v128): v128 {
  return v128.and(v, i8x16.splat(15));
}

// @ts-ignore: decorator
@inline
export function high(v: v128): v128 {
  return low(i16x8.shr_u(v, 4));
}

// Codes 6 and 7 of eight of 3 bits, as the others stand in a vector.
// @ts-ignore: decorator
@inline
export function last3(v0: v128, v1: v128, v2: v128): v128 {
  const third = i8x16.splat(<i8>0x88);
  const bits01 = v128.or(i16x8.shr_u(v128.and(v0, third), 3), i16x8.shr_u(v128.and(v1, third), 2));
  return v128.or(bits01, i16x8.shr_u(v128.and(v2, third), 1));
}

// The first index of four of 2 bits: `before` is the one before it.
// @ts-ignore: decorator
@inline
export function first2(before: v128, v: v128): v128 {
  const code = v128.and(i16x8.shr_u(before, 2), i8x16.splat(3));
  return v128.or(code, v128.and(i16x8.shl(v, 2), i8x16.splat(12)));
}

// The last vector of eight steps, its codes where 4 bits have them; of 2 bits so that `low` gives index 6, `high` index 7.
// @ts-ignore: decorator
@inline
export function lastOf(at: usize, bits: u32): v128 {
  if (bits == 4) return v128.load(at, 48);
  if (bits == 3) return last3(v128.load(at), v128.load(at, 16), v128.load(at, 32));
  const v = v128.load(at, 16);
  return v128.or(low(i16x8.shr_u(v, 2)), v128.and(v, i8x16.splat(<i8>0xf0)));
}

// u of an index and the two before it. `lags`: bit 0 for T1, bit 1 for T2.
// @ts-ignore: decorator
@inline
export function integers(n: v128, before: v128, before2: v128, t0: v128, t1: v128, t2: v128, lags: u32): v128 {
  let u = valuesOf(n, t0);
  if (lags & 1) u = i8x16.add(u, valuesOf(before, t1));
  if (lags & 2) u = i8x16.add(u, valuesOf(before2, t2));
  return u;
}
