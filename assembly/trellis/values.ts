// What the codes of a trellis stand for:
//   step · (T0[d_i] + T1[d_{i-1}] + T2[d_{i-2}] − zero),  d_i = c_i, or c_{i-1} + 4 c_i of 2 bits

// Sixteen codes as bytes.
// @ts-ignore: decorator
@inline
function codesAt(codes: usize): v128 {
  return i8x16.narrow_i16x8_u(v128.load(codes), v128.load(codes, 16));
}

// The sixteen codes before the first ones: the last ones, again and again where there are fewer.
function before(codes: usize, count: usize): v128 {
  let last = i8x16.splat(0);
  let position: usize = 0;
  for (let i = 0; i < 16; i++) {
    position = position == 0 ? count - 1 : position - 1;
    last = v128.shuffle<i8>(v128.load8_splat(codes + (position << 1)), last, 0, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
  }
  return last;
}

// What stands four lanes before each lane, eight lanes before it: the last lanes of `old`, then the first of `now`.
// @ts-ignore: decorator
@inline
function lag1(old: v128, now: v128): v128 {
  return v128.shuffle<i8>(old, now, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27);
}

// @ts-ignore: decorator
@inline
function lag2(old: v128, now: v128): v128 {
  return v128.shuffle<i8>(old, now, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23);
}

// @ts-ignore: decorator
@inline
function index(old: v128, now: v128, n: usize): v128 {
  return n == 4 ? v128.or(i16x8.shl(now, 2), lag1(old, now)) : now;
}

/**
 * Values of `count` codes (u16), each below n, of a row to `y`, f32, and up to 15 more, of no meaning; `count` is a multiple of 4. Reads `codes` up to the
 * next multiple of 16. Of `table`, as by trellisTable, the first 64 bytes: step f32, zero u32, 8 bytes not read, (3, 16) bytes.
 */
export function trellisValues(codes: usize, count: usize, n: usize, table: usize, y: usize): void {
  const step = v128.load32_splat(table);
  const zero = v128.load8_splat(table, 4);
  const first = v128.load(table, 16);
  const second = v128.load(table, 32);
  const third = v128.load(table, 48);
  if (count == 0) return;
  let code = before(codes, count);
  let d = index(code, code, n);
  for (const end = codes + (count << 1); codes < end; codes += 32, y += 64) {
    const nextCode = codesAt(codes);
    const next = index(code, nextCode, n);
    const sum = i8x16.add(i8x16.swizzle(first, next), i8x16.swizzle(second, lag1(d, next)));
    const integer = i8x16.sub(i8x16.add(sum, i8x16.swizzle(third, lag2(d, next))), zero);
    const low = i16x8.extend_low_i8x16_s(integer);
    const high = i16x8.extend_high_i8x16_s(integer);
    v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), step));
    v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), step), 16);
    v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), step), 32);
    v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), step), 48);
    code = nextCode;
    d = next;
  }
}
