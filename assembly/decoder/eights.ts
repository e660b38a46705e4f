// Several activations times a panel (panel.ts) for engines that make two vectors of 16 bytes, one of each band, into one of 32: then eight
// sums, each of eight rows, are what keeps a processor's products busy. Such an engine packs what stands side by side: sums are added to
// memory two by two, and a loop that it would unroll it does not pack, so that each has eight products of a band.

import { addSums, firstScales, lastScales } from './eight';
import { STEP } from './dots';

// @ts-ignore: decorator
@inline
function add(sum: v128, u: v128, x: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i32x4.relaxed_dot_i8x16_i7x16_add_s(x, u, sum) : sum;
}

// Eight activations; those beyond `count`, five at least, are the last again.
// @ts-ignore: decorator
@inline
function multiply8(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let a4 = a0;
  let a5 = a0;
  let a6 = a0;
  let a7 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  let b4 = a0;
  let b5 = a0;
  let b6 = a0;
  let b7 = a0;
  const apart2 = apart << 1;
  const apart3 = apart2 + apart;
  const apart5 = min<usize>(5, count - 1) * apart;
  const apart6 = min<usize>(6, count - 1) * apart;
  const apart7 = (count - 1) * apart;
  for (const end = x + bytes; x < end; x += STEP, panel += 32) {
    const a = v128.load(panel);
    const b = v128.load(panel, 16);
    const x0 = v128.load32_splat(x);
    a0 = add(a0, a, x0);
    b0 = add(b0, b, x0);
    const x1 = v128.load32_splat(x + apart);
    a1 = add(a1, a, x1);
    b1 = add(b1, b, x1);
    const x2 = v128.load32_splat(x + apart2);
    a2 = add(a2, a, x2);
    b2 = add(b2, b, x2);
    const x3 = v128.load32_splat(x + apart3);
    a3 = add(a3, a, x3);
    b3 = add(b3, b, x3);
    const x4 = v128.load32_splat(x + (apart << 2));
    a4 = add(a4, a, x4);
    b4 = add(b4, b, x4);
    const x5 = v128.load32_splat(x + apart5);
    a5 = add(a5, a, x5);
    b5 = add(b5, b, x5);
    const x6 = v128.load32_splat(x + apart6);
    a6 = add(a6, a, x6);
    b6 = add(b6, b, x6);
    const x7 = v128.load32_splat(x + apart7);
    a7 = add(a7, a, x7);
    b7 = add(b7, b, x7);
  }
  const sigmas = v128.load(scales);
  const low = firstScales(sigmas);
  const high = lastScales(sigmas);
  addSums(a0, b0, low, high, group, zero, sums);
  addSums(a1, b1, low, high, group + apart, zero, sums + 32);
  addSums(a2, b2, low, high, group + apart2, zero, sums + 64);
  addSums(a3, b3, low, high, group + apart3, zero, sums + 96);
  addSums(a4, b4, low, high, group + (apart << 2), zero, sums + 128);
  addSums(a5, b5, low, high, group + apart5, zero, sums + 160);
  addSums(a6, b6, low, high, group + apart6, zero, sums + 192);
  addSums(a7, b7, low, high, group + apart7, zero, sums + 224);
}

// Four, two steps at a time; the last may be the third again.
// @ts-ignore: decorator
@inline
function multiply4(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let a4 = a0;
  let a5 = a0;
  let a6 = a0;
  let a7 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  let b4 = a0;
  let b5 = a0;
  let b6 = a0;
  let b7 = a0;
  const apart2 = apart << 1;
  const apart3 = (count - 1) * apart;
  for (const end = x + bytes; x < end; x += 2 * STEP, panel += 64) {
    const a = v128.load(panel);
    const b = v128.load(panel, 16);
    const x0 = v128.load32_splat(x);
    a0 = add(a0, a, x0);
    b0 = add(b0, b, x0);
    const x1 = v128.load32_splat(x + apart);
    a1 = add(a1, a, x1);
    b1 = add(b1, b, x1);
    const x2 = v128.load32_splat(x + apart2);
    a2 = add(a2, a, x2);
    b2 = add(b2, b, x2);
    const x3 = v128.load32_splat(x + apart3);
    a3 = add(a3, a, x3);
    b3 = add(b3, b, x3);
    const c = v128.load(panel, 32);
    const d = v128.load(panel, 48);
    const y0 = v128.load32_splat(x, STEP);
    a4 = add(a4, c, y0);
    b4 = add(b4, d, y0);
    const y1 = v128.load32_splat(x + apart, STEP);
    a5 = add(a5, c, y1);
    b5 = add(b5, d, y1);
    const y2 = v128.load32_splat(x + apart2, STEP);
    a6 = add(a6, c, y2);
    b6 = add(b6, d, y2);
    const y3 = v128.load32_splat(x + apart3, STEP);
    a7 = add(a7, c, y3);
    b7 = add(b7, d, y3);
  }
  const sigmas = v128.load(scales);
  const low = firstScales(sigmas);
  const high = lastScales(sigmas);
  addSums(i32x4.add(a0, a4), i32x4.add(b0, b4), low, high, group, zero, sums);
  addSums(i32x4.add(a1, a5), i32x4.add(b1, b5), low, high, group + apart, zero, sums + 32);
  addSums(i32x4.add(a2, a6), i32x4.add(b2, b6), low, high, group + apart2, zero, sums + 64);
  addSums(i32x4.add(a3, a7), i32x4.add(b3, b7), low, high, group + apart3, zero, sums + 96);
}

// Two, four steps at a time; the second may be the first again.
// @ts-ignore: decorator
@inline
function multiply2(
  panel: usize, x: usize, last: usize, bytes: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let a4 = a0;
  let a5 = a0;
  let a6 = a0;
  let a7 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  let b4 = a0;
  let b5 = a0;
  let b6 = a0;
  let b7 = a0;
  for (const end = x + bytes; x < end; x += 4 * STEP, panel += 128) {
    let a = v128.load(panel);
    let b = v128.load(panel, 16);
    let first = v128.load32_splat(x);
    a0 = add(a0, a, first);
    b0 = add(b0, b, first);
    first = v128.load32_splat(x + last);
    a1 = add(a1, a, first);
    b1 = add(b1, b, first);
    a = v128.load(panel, 32);
    b = v128.load(panel, 48);
    first = v128.load32_splat(x, STEP);
    a2 = add(a2, a, first);
    b2 = add(b2, b, first);
    first = v128.load32_splat(x + last, STEP);
    a3 = add(a3, a, first);
    b3 = add(b3, b, first);
    a = v128.load(panel, 64);
    b = v128.load(panel, 80);
    first = v128.load32_splat(x, 2 * STEP);
    a4 = add(a4, a, first);
    b4 = add(b4, b, first);
    first = v128.load32_splat(x + last, 2 * STEP);
    a5 = add(a5, a, first);
    b5 = add(b5, b, first);
    a = v128.load(panel, 96);
    b = v128.load(panel, 112);
    first = v128.load32_splat(x, 3 * STEP);
    a6 = add(a6, a, first);
    b6 = add(b6, b, first);
    first = v128.load32_splat(x + last, 3 * STEP);
    a7 = add(a7, a, first);
    b7 = add(b7, b, first);
  }
  const sigmas = v128.load(scales);
  const low = firstScales(sigmas);
  const high = lastScales(sigmas);
  a0 = i32x4.add(i32x4.add(a0, a2), i32x4.add(a4, a6));
  b0 = i32x4.add(i32x4.add(b0, b2), i32x4.add(b4, b6));
  a1 = i32x4.add(i32x4.add(a1, a3), i32x4.add(a5, a7));
  b1 = i32x4.add(i32x4.add(b1, b3), i32x4.add(b5, b7));
  addSums(a0, b0, low, high, group, zero, sums);
  addSums(a1, b1, low, high, group + last, zero, sums + 32);
}

/** As multiplyPanel of panel.ts. */
export function multiplyEights(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, group: usize, scales: usize, zero: i32, sums: usize,
): void {
  for (; count > 4; count -= min<usize>(8, count), x += 8 * apart, group += 8 * apart, sums += 256) {
    multiply8(panel, x, apart, bytes, min<usize>(8, count), group, scales, zero, sums);
  }
  if (count > 2) multiply4(panel, x, apart, bytes, count, group, scales, zero, sums);
  else if (count > 0) multiply2(panel, x, (count - 1) * apart, bytes, group, scales, zero, sums);
}
