// Y = X̃ Ŵᵀ of codes that stand in pairs of bands (band.ts), by activations in narrow integers (activation.ts); codes of five and six bits
// take wide ones. The codes of a matrix are read strictly forward. With acc the exact sum of a group's integers, in f32, groups in order,
// and the step last:
//   y = (0 + f32(σ · scale_x) · f32(acc - zero · Σx) + …) · step
//
// Scratch:   sums of eight rows, (count + 3, 8) f32 | a panel of max(1024, groupSize) columns (panel.ts); of one
//            activation or two sums, (2, 8) f32 | (2, 8) i32

import { groupsOf, nextGroup } from '../lanes';
import { activationBytes, exceedsOf, narrowBytes, slotsOf } from './activation';
import { octsOf } from './band';
import { EIGHTS } from './dots';
import { addSums, firstScales, lastScales, storeEight } from './eight';
import { runPair } from './pair';
import { decodePair, multiplyPanel } from './panel';
import { FORM, LABELS } from './table';
import { bothPair, hasBoth } from './twice';
import { decodeWide, multiplyWide } from './wide';

/** As matmul, for codes in bands; rows begin at multiples of eight. */
export function multiplyBands(
  bands: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const bits = load<u32>(table, 8);
  if (bits > 4) several(bands, rowBytes, scales, rows, cols, groupSize, table, x, count, y, stride, scratch, true);
  else if (count == 1) few(bands, rowBytes, scales, rows, cols, groupSize, table, x, false, y, stride, scratch);
  else if (count == 2 && hasBoth(bits) && load<u8>(table, LABELS) == 0 && load<u8>(table, FORM) < EIGHTS) {
    few(bands, rowBytes, scales, rows, cols, groupSize, table, x, true, y, stride, scratch);
  } else several(bands, rowBytes, scales, rows, cols, groupSize, table, x, count, y, stride, scratch, false);
}

// One activation or two.
// @ts-ignore: decorator
@inline
function few(
  bands: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  x: usize, both: bool, y: usize, stride: usize, scratch: usize,
): void {
  const step = load<f32>(table);
  const zero = load<i32>(table, 4);
  const bits = load<u32>(table, 8);
  const octBytes: usize = bits << 5;
  const lastOct = (octsOf(cols) - 1) * octBytes;
  const slots = slotsOf(cols, groupSize);
  const apart = activationBytes(cols, groupSize);
  const sums = scratch;
  const acc = scratch + 64;
  for (let row: usize = 0; row < rows; row += 8) {
    const pair = bands + row * rowBytes;
    for (let i: usize = 0; i < 64; i += 16) v128.store(sums + i, i32x4.splat(0));
    let slot = x + (slots << 1);
    let group = x + (slots << 2);
    for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
      g = nextGroup(cols - start, groupSize);
      const end = slot + narrowBytes(max<usize>(g, 32));
      const at = pair + (start >> 5) * octBytes;
      const before = start < 32 ? pair + lastOct : at - octBytes;
      if (both) bothPair(at, before, table, bits, slot, apart, end, acc);
      else runPair(at, before, table, bits, slot, end, acc);
      const sigmas = v128.load(scales);
      const low = firstScales(sigmas);
      const high = lastScales(sigmas);
      addSums(v128.load(acc), v128.load(acc, 16), low, high, group, zero, sums);
      if (both) addSums(v128.load(acc, 32), v128.load(acc, 48), low, high, group + apart, zero, sums + 32);
      scales += 16;
      group += 16;
      slot = end;
    }
    storeEight(sums, step, rows - row, y + (row << 2));
    if (both) storeEight(sums + 32, step, rows - row, y + ((stride + row) << 2));
  }
}

// Any number, by panels.
function several(
  bands: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  x: usize, count: usize, y: usize, stride: usize, scratch: usize, isWide: bool,
): void {
  const step = load<f32>(table);
  const zero = load<i32>(table, 4);
  const bits = load<u32>(table, 8);
  const octBytes: usize = bits << 5;
  const lastOct = (octsOf(cols) - 1) * octBytes;
  const width = max<usize>(1024, groupSize);
  const apart = activationBytes(cols, groupSize);
  const slots = slotsOf(cols, groupSize);
  const sums = scratch;
  const panel = sums + ((count + 3) << 5);
  for (let row: usize = 0; row < rows; row += 8) {
    const pair = bands + row * rowBytes;
    memory.fill(sums, 0, count << 5);
    let slot = isWide ? x : x + (slots << 1);
    let group = x + (slots << 2);
    let exceeds = exceedsOf(x, slots);
    for (let from: usize = 0; from < cols; from += width) {
      const to = min(from + width, cols);
      const at = pair + (from >> 5) * octBytes;
      const before = from == 0 ? pair + lastOct : at - octBytes;
      if (isWide) decodeWide(at, before, table, bits, panel, to - from);
      else decodePair(at, before, table, bits, panel, to - from);
      for (let start = from, g: usize = 0; start < to; start += g) {
        g = nextGroup(to - start, groupSize);
        const run = max<usize>(g, 32);
        const bytes = isWide ? run << 1 : narrowBytes(run);
        const steps = panel + (((start & ~31) - from) << 3);
        if (isWide) multiplyWide(steps, slot, apart, bytes, count, group, scales, zero, sums);
        else multiplyPanel(steps, slot, apart, bytes, count, exceeds, table, group, scales, zero, sums);
        scales += 16;
        group += 16;
        exceeds++;
        slot += bytes;
      }
    }
    for (let i: usize = 0; i < count; i++) {
      storeEight(sums + (i << 5), step, rows - row, y + ((i * stride + row) << 2));
    }
  }
}
