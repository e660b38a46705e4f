// Codes of five and six bits, by labels, in pairs of bands (band.ts) times activations in wide integers (activation.ts): the narrow ones'
// error would show beside theirs. A panel has u, 0 … 255, of each step as panel.ts has it; as i16 its even bytes are columns 4i and
// 4i + 1 of each row, its odd ones 4i + 2 and 4i + 3, so a wide activation is read in the order of its columns.

import { addWideSums, firstScales, lastScales } from './eight';
import { BY_LABELS_OF_THREE, high, integers, low } from './indices';
import { HIGH, MASK, T0, T1, T2 } from './table';

// Bits above the fourth of step `i` of eight, times 16. `wide` is 0x30, or of five bits 0x10.
// @ts-ignore: decorator
@inline
function highOf(highs: v128, i: i32, width: i32, wide: v128): v128 {
  const shift = (i * width & 7) - 4;
  return v128.and(shift < 0 ? i16x8.shl(highs, -shift) : i16x8.shr_u(highs, shift), wide);
}

// Eight steps of a band from `at` on, the eight before from `before` on: every other vector there, and of the panel. Where two codes make a
// label T2 is zeros.
// @ts-ignore: decorator
@inline
function decodeOct(at: usize, before: usize, table: usize, width: i32, wide: v128, panel: usize): void {
  const mask = v128.load8_splat(table, MASK);
  const t0 = v128.load(table, T0);
  const t1 = v128.load(table, T1);
  const t2 = v128.load(table, T2);
  const n5 = high(v128.load(before, 64), mask);
  const last = v128.load(before, 96);
  const n6 = low(last, mask);
  const n7 = high(last, mask);
  const first = v128.load(at, 128);
  const second = width == 2 ? v128.load(at, 160) : first;
  const v0 = v128.load(at);
  const m0 = low(v0, mask);
  v128.store(panel, i8x16.add(integers(m0, n7, n6, n5, t0, t1, t2, BY_LABELS_OF_THREE), highOf(first, 0, width, wide)));
  const m1 = high(v0, mask);
  v128.store(panel, i8x16.add(integers(m1, m0, n7, n6, t0, t1, t2, BY_LABELS_OF_THREE), highOf(first, 1, width, wide)), 32);
  const v1 = v128.load(at, 32);
  const m2 = low(v1, mask);
  v128.store(panel, i8x16.add(integers(m2, m1, m0, n7, t0, t1, t2, BY_LABELS_OF_THREE), highOf(first, 2, width, wide)), 64);
  const m3 = high(v1, mask);
  v128.store(panel, i8x16.add(integers(m3, m2, m1, m0, t0, t1, t2, BY_LABELS_OF_THREE), highOf(first, 3, width, wide)), 96);
  const v2 = v128.load(at, 64);
  const m4 = low(v2, mask);
  v128.store(panel, i8x16.add(integers(m4, m3, m2, m1, t0, t1, t2, BY_LABELS_OF_THREE), highOf(second, 4, width, wide)), 128);
  const m5 = high(v2, mask);
  v128.store(panel, i8x16.add(integers(m5, m4, m3, m2, t0, t1, t2, BY_LABELS_OF_THREE), highOf(second, 5, width, wide)), 160);
  const v3 = v128.load(at, 96);
  const m6 = low(v3, mask);
  v128.store(panel, i8x16.add(integers(m6, m5, m4, m3, t0, t1, t2, BY_LABELS_OF_THREE), highOf(second, 6, width, wide)), 192);
  const m7 = high(v3, mask);
  v128.store(panel, i8x16.add(integers(m7, m6, m5, m4, t0, t1, t2, BY_LABELS_OF_THREE), highOf(second, 7, width, wide)), 224);
}

// @ts-ignore: decorator
@inline
function decode(at: usize, before: usize, table: usize, width: i32, panel: usize, end: usize): void {
  const all = v128.load8_splat(table, HIGH);
  const wide = width == 2 ? all : v128.and(all, i16x8.shr_u(all, 1));
  const bytes: usize = 128 + (width << 5);
  for (; panel < end; panel += 256, before = at, at += bytes) {
    decodeOct(at, before, table, width, wide, panel);
    decodeOct(at + 16, before + 16, table, width, wide, panel + 16);
  }
}

/** Decodes `count` columns of a pair of bands as decodePair of panel.ts, of five or six bits. */
export function decodeWide(at: usize, before: usize, table: usize, bits: u32, panel: usize, count: usize): void {
  const end = panel + (((count + 31) & ~31) << 3);
  if (bits == 5) decode(at, before, table, 1, panel, end);
  else decode(at, before, table, 2, panel, end);
}

// @ts-ignore: decorator
@inline
function addWide(sum: v128, even: v128, odd: v128, x: usize): v128 {
  sum = i32x4.add(sum, i32x4.dot_i16x8_s(even, v128.load32_splat(x)));
  return i32x4.add(sum, i32x4.dot_i16x8_s(odd, v128.load32_splat(x, 4)));
}

// Σ of a group's columns, two activations. The second may be the first again.
// @ts-ignore: decorator
@inline
function multiply2(
  panel: usize, x: usize, other: usize, end: usize, group: usize, apart: usize, scales: usize, zero: i32, sums: usize, both: bool,
): void {
  const bytes = i16x8.splat(0xff);
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  for (; x < end; x += 8, other += 8, panel += 32) {
    const a = v128.load(panel);
    const b = v128.load(panel, 16);
    const aEven = v128.and(a, bytes);
    const aOdd = i16x8.shr_u(a, 8);
    const bEven = v128.and(b, bytes);
    const bOdd = i16x8.shr_u(b, 8);
    a0 = addWide(a0, aEven, aOdd, x);
    b0 = addWide(b0, bEven, bOdd, x);
    if (both) {
      a1 = addWide(a1, aEven, aOdd, other);
      b1 = addWide(b1, bEven, bOdd, other);
    }
  }
  const sigmas = v128.load(scales);
  const first = firstScales(sigmas);
  const last = lastScales(sigmas);
  addWideSums(a0, b0, first, last, group, zero, sums);
  if (both) addWideSums(a1, b1, first, last, group + apart, zero, sums + 32);
}

/** As multiplyPanel of panel.ts, of wide slots. */
export function multiplyWide(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  for (; count > 1; count -= 2, x += 2 * apart, group += 2 * apart, sums += 64) {
    multiply2(panel, x, x + apart, x + bytes, group, apart, scales, zero, sums, true);
  }
  if (count > 0) multiply2(panel, x, x, x + bytes, group, apart, scales, zero, sums, false);
}
