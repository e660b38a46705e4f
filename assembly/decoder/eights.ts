// Several activations times a panel (panel.ts) for engines that make two vectors of 16 bytes, one of each band, into one of 32: then eight
// sums, each of eight rows, are what keeps a processor's products busy. Such an engine packs what stands side by side: sums are added to
// memory two by two, and a loop that it would unroll it does not pack, so that each has eight products of a band.

import { FUSED, PAIRS, STEP, addStep, isPairs } from './dots';
import { addSums, firstScales, lastScales } from './eight';
import { FORM, ONES } from './table';

// Eight activations; those beyond `count`, five at least, are the last again.
// @ts-ignore: decorator
@inline
function multiply8(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, form: u32, table: usize, group: usize, scales: usize,
  zero: i32, sums: usize,
): void {
  const ones = v128.load16_splat(table, ONES);
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
    a0 = addStep(a0, a, a, x0, x0, ones, form);
    b0 = addStep(b0, b, b, x0, x0, ones, form);
    const x1 = v128.load32_splat(x + apart);
    a1 = addStep(a1, a, a, x1, x1, ones, form);
    b1 = addStep(b1, b, b, x1, x1, ones, form);
    const x2 = v128.load32_splat(x + apart2);
    a2 = addStep(a2, a, a, x2, x2, ones, form);
    b2 = addStep(b2, b, b, x2, x2, ones, form);
    const x3 = v128.load32_splat(x + apart3);
    a3 = addStep(a3, a, a, x3, x3, ones, form);
    b3 = addStep(b3, b, b, x3, x3, ones, form);
    const x4 = v128.load32_splat(x + (apart << 2));
    a4 = addStep(a4, a, a, x4, x4, ones, form);
    b4 = addStep(b4, b, b, x4, x4, ones, form);
    const x5 = v128.load32_splat(x + apart5);
    a5 = addStep(a5, a, a, x5, x5, ones, form);
    b5 = addStep(b5, b, b, x5, x5, ones, form);
    const x6 = v128.load32_splat(x + apart6);
    a6 = addStep(a6, a, a, x6, x6, ones, form);
    b6 = addStep(b6, b, b, x6, x6, ones, form);
    const x7 = v128.load32_splat(x + apart7);
    a7 = addStep(a7, a, a, x7, x7, ones, form);
    b7 = addStep(b7, b, b, x7, x7, ones, form);
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
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, form: u32, table: usize, group: usize, scales: usize,
  zero: i32, sums: usize,
): void {
  const ones = v128.load16_splat(table, ONES);
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
    a0 = addStep(a0, a, a, x0, x0, ones, form);
    b0 = addStep(b0, b, b, x0, x0, ones, form);
    const x1 = v128.load32_splat(x + apart);
    a1 = addStep(a1, a, a, x1, x1, ones, form);
    b1 = addStep(b1, b, b, x1, x1, ones, form);
    const x2 = v128.load32_splat(x + apart2);
    a2 = addStep(a2, a, a, x2, x2, ones, form);
    b2 = addStep(b2, b, b, x2, x2, ones, form);
    const x3 = v128.load32_splat(x + apart3);
    a3 = addStep(a3, a, a, x3, x3, ones, form);
    b3 = addStep(b3, b, b, x3, x3, ones, form);
    const c = v128.load(panel, 32);
    const d = v128.load(panel, 48);
    const y0 = v128.load32_splat(x, STEP);
    a4 = addStep(a4, c, c, y0, y0, ones, form);
    b4 = addStep(b4, d, d, y0, y0, ones, form);
    const y1 = v128.load32_splat(x + apart, STEP);
    a5 = addStep(a5, c, c, y1, y1, ones, form);
    b5 = addStep(b5, d, d, y1, y1, ones, form);
    const y2 = v128.load32_splat(x + apart2, STEP);
    a6 = addStep(a6, c, c, y2, y2, ones, form);
    b6 = addStep(b6, d, d, y2, y2, ones, form);
    const y3 = v128.load32_splat(x + apart3, STEP);
    a7 = addStep(a7, c, c, y3, y3, ones, form);
    b7 = addStep(b7, d, d, y3, y3, ones, form);
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
  panel: usize, x: usize, last: usize, bytes: usize, form: u32, table: usize, group: usize, scales: usize, zero: i32,
  sums: usize,
): void {
  const ones = v128.load16_splat(table, ONES);
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
    a0 = addStep(a0, a, a, first, first, ones, form);
    b0 = addStep(b0, b, b, first, first, ones, form);
    first = v128.load32_splat(x + last);
    a1 = addStep(a1, a, a, first, first, ones, form);
    b1 = addStep(b1, b, b, first, first, ones, form);
    a = v128.load(panel, 32);
    b = v128.load(panel, 48);
    first = v128.load32_splat(x, STEP);
    a2 = addStep(a2, a, a, first, first, ones, form);
    b2 = addStep(b2, b, b, first, first, ones, form);
    first = v128.load32_splat(x + last, STEP);
    a3 = addStep(a3, a, a, first, first, ones, form);
    b3 = addStep(b3, b, b, first, first, ones, form);
    a = v128.load(panel, 64);
    b = v128.load(panel, 80);
    first = v128.load32_splat(x, 2 * STEP);
    a4 = addStep(a4, a, a, first, first, ones, form);
    b4 = addStep(b4, b, b, first, first, ones, form);
    first = v128.load32_splat(x + last, 2 * STEP);
    a5 = addStep(a5, a, a, first, first, ones, form);
    b5 = addStep(b5, b, b, first, first, ones, form);
    a = v128.load(panel, 96);
    b = v128.load(panel, 112);
    first = v128.load32_splat(x, 3 * STEP);
    a6 = addStep(a6, a, a, first, first, ones, form);
    b6 = addStep(b6, b, b, first, first, ones, form);
    first = v128.load32_splat(x + last, 3 * STEP);
    a7 = addStep(a7, a, a, first, first, ones, form);
    b7 = addStep(b7, b, b, first, first, ones, form);
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

// @ts-ignore: decorator
@inline
function multiply(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, form: u32, table: usize, group: usize, scales: usize,
  zero: i32, sums: usize,
): void {
  for (; count > 4; count -= min<usize>(8, count), x += 8 * apart, group += 8 * apart, sums += 256) {
    multiply8(panel, x, apart, bytes, min<usize>(8, count), form, table, group, scales, zero, sums);
  }
  if (count > 2) multiply4(panel, x, apart, bytes, count, form, table, group, scales, zero, sums);
  else if (count > 0) multiply2(panel, x, (count - 1) * apart, bytes, form, table, group, scales, zero, sums);
}

// A function for each form: registers are allotted by function.
function byFused(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, table: usize, group: usize, scales: usize, zero: i32,
  sums: usize,
): void {
  multiply(panel, x, apart, bytes, count, FUSED, table, group, scales, zero, sums);
}

function byPairs(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, table: usize, group: usize, scales: usize, zero: i32,
  sums: usize,
): void {
  multiply(panel, x, apart, bytes, count, PAIRS, table, group, scales, zero, sums);
}

/** As multiplyPanel of panel.ts. */
export function multiplyEights(
  panel: usize, x: usize, apart: usize, bytes: usize, count: usize, table: usize, group: usize, scales: usize, zero: i32,
  sums: usize,
): void {
  if (isPairs(load<u8>(table, FORM))) byPairs(panel, x, apart, bytes, count, table, group, scales, zero, sums);
  else byFused(panel, x, apart, bytes, count, table, group, scales, zero, sums);
}
