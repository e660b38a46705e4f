// Y = X̃ Ŵᵀ of codes that stand in pairs of bands (band.ts), in narrow integers (activation.ts). The codes of a matrix are read strictly
// forward. With acc the exact sum of a group's integers, in f32, groups in order, and the step last:
//   y = (0 + f32(σ · scale_x) · f32(acc - zero · Σx) + …) · step
//
// Scratch:   sums of eight rows, (count to a multiple of four, 8) f32 | a panel of max(1024, groupSize) columns (panel.ts); or of one
//            activation sums | eight i32

import { groupsOf, nextGroup } from '../lanes';
import { activationBytes, narrowBytes, slotsOf } from './activation';
import { octsOf } from './band';
import { addSums, firstScales, lastScales, storeEight } from './eight';
import { runPair } from './pair';
import { decodePair, multiplyPanel } from './panel';

/** As matmul, for codes in bands; rows begin at multiples of eight. */
export function multiplyBands(
  bands: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const slots = slotsOf(cols, groupSize);
  const firstSlot = x + (slots << 1);
  const firstGroup = x + (slots << 2);
  if (count == 1) oneActivation(bands, rowBytes, scales, rows, cols, groupSize, table, firstSlot, firstGroup, y, scratch);
  else {
    severalActivations(
      bands, rowBytes, scales, rows, cols, groupSize, table, firstSlot, firstGroup, count, y, stride, scratch,
    );
  }
}

function oneActivation(
  bands: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  firstSlot: usize, firstGroup: usize, y: usize, scratch: usize,
): void {
  const step = load<f32>(table);
  const zero = load<i32>(table, 4);
  const bits = load<u32>(table, 8);
  const octBytes: usize = bits << 5;
  const lastOct = (octsOf(cols) - 1) * octBytes;
  const sums = scratch;
  const acc = scratch + 32;
  for (let row: usize = 0; row < rows; row += 8) {
    const pair = bands + row * rowBytes;
    v128.store(sums, i32x4.splat(0));
    v128.store(sums, i32x4.splat(0), 16);
    let slot = firstSlot;
    let group = firstGroup;
    for (let start: usize = 0, g: usize = 0; start < cols; start += g) {
      g = nextGroup(cols - start, groupSize);
      const end = slot + narrowBytes(max<usize>(g, 32));
      const at = pair + (start >> 5) * octBytes;
      runPair(at, start < 32 ? pair + lastOct : at - octBytes, table, bits, slot, end, acc);
      const sigmas = v128.load(scales);
      addSums(v128.load(acc), v128.load(acc, 16), firstScales(sigmas), lastScales(sigmas), group, zero, sums);
      scales += 16;
      group += 16;
      slot = end;
    }
    storeEight(sums, step, rows - row, y + (row << 2));
  }
}

function severalActivations(
  bands: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  firstSlot: usize, firstGroup: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const step = load<f32>(table);
  const zero = load<i32>(table, 4);
  const bits = load<u32>(table, 8);
  const octBytes: usize = bits << 5;
  const lastOct = (octsOf(cols) - 1) * octBytes;
  const width = max<usize>(1024, groupSize);
  const apart = activationBytes(cols, groupSize);
  const sums = scratch;
  const panel = sums + (((count + 3) & ~3) << 5);
  for (let row: usize = 0; row < rows; row += 8) {
    const pair = bands + row * rowBytes;
    memory.fill(sums, 0, count << 5);
    let slot = firstSlot;
    let group = firstGroup;
    for (let from: usize = 0; from < cols; from += width) {
      const to = min(from + width, cols);
      const at = pair + (from >> 5) * octBytes;
      decodePair(at, from == 0 ? pair + lastOct : at - octBytes, table, bits, panel, to - from);
      for (let start = from, g: usize = 0; start < to; start += g) {
        g = nextGroup(to - start, groupSize);
        const bytes = narrowBytes(max<usize>(g, 32));
        multiplyPanel(panel + (((start & ~31) - from) << 3), slot, apart, bytes, count, table, group, scales, zero, sums);
        scales += 16;
        group += 16;
        slot += bytes;
      }
    }
    for (let i: usize = 0; i < count; i++) {
      storeEight(sums + (i << 5), step, rows - row, y + ((i * stride + row) << 2));
    }
  }
}
