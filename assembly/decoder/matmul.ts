// Y = X̃ Ŵᵀ from packed codes and quantized activations (activation.ts). Codes that are multiplied narrow stand in bands (bands.ts);
// others, and their scales, stay as FORMAT.md has them. Of these four rows go together: one activation multiplies their codes directly,
// several multiply a tile, the same rows decoded 1024 columns (or one larger group) at a time. With acc the exact sum of a group's
// integers, in f32, groups in order, and the step last:
//   y = (0 + f32(σ · scale_x) · f32(acc) + …) · step
//
// Table:     f32 step, i32 zero, u32 bits, u32 weights of an index, then entries (lookup.ts); with 0 weights as table.ts has it
// Scratch:   σ of four rows, (groups, 4) f32 | sums of four rows, (count, 4) f32 | two times four i32 | four rows of a tile; or as
//            bands.ts has it

import { groupsOf, nextGroup } from '../lanes';
import { activationBytes, slotsOf } from './activation';
import { multiplyBands } from './bands';
import { addGroup, loadScales, storeSums } from './four';
import { isDirect, lookupRow, lookups1 } from './lookup';
import { TILE_STRIDE, words1, words2 } from './tile';

// Columns `from` to `to` of a tile times `count` activations: `slot` and `group` are the first one's at column `from`.
function multiplyTile(
  tile: usize, from: usize, to: usize, groupSize: usize, slot: usize, group: usize, apart: usize,
  count: usize, sigmas: usize, acc: usize, sums: usize,
): void {
  for (let i: usize = 0; i < count; i += 2, sums += 32, slot += 2 * apart, group += 2 * apart) {
    const both = i + 1 < count;
    let x = slot;
    let entry = group;
    let sigma = sigmas;
    for (let start = from, g: usize = 0; start < to; start += g) {
      g = nextGroup(to - start, groupSize);
      const bytes = max<usize>(g, 32) << 1;
      const at = tile + (((start & ~31) - from) << 1);
      if (both) words2(at, x, apart, bytes, acc);
      else words1(at, x, bytes, acc);
      addGroup(sums, acc, sigma, entry);
      if (both) addGroup(sums + 16, acc + 16, sigma, entry + apart);
      x += bytes;
      entry += 16;
      sigma += 16;
    }
  }
}

/**
 * y = Ŵ x for `count` quantized activations `x`, activationBytes each, from the codes, rowBytes each, and scales of `rows` rows;
 * element r of activation j goes to y[j · stride + r]. The bits depend neither on `count` nor on where rows begin and end; those
 * in bands begin at multiples of eight.
 */
export function matmul(
  packed: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const weights = <usize>load<u32>(table, 12);
  if (weights == 0) {
    multiplyBands(packed, rowBytes, scales, rows, cols, groupSize, table, x, count, y, stride, scratch);
    return;
  }
  const step = load<f32>(table);
  const bits = load<u32>(table, 8);
  const values = table + 16;
  const direct = count == 1 && isDirect(bits, weights);
  const width = max<usize>(1024, groupSize);

  const groups = groupsOf(cols, groupSize);
  const apart = activationBytes(cols, groupSize);
  const firstGroup = x + (slotsOf(cols, groupSize) << 2);

  const sigmas = scratch;
  const sums = sigmas + (groups << 4);
  const acc = sums + (count << 4);
  const tile = acc + 32;

  for (let row: usize = 0; row < rows; row += 4) {
    const here = min<usize>(4, rows - row);
    // Beyond the last row, the last again.
    const a = packed + row * rowBytes;
    const b = packed + (row + min<usize>(1, here - 1)) * rowBytes;
    const c = packed + (row + min<usize>(2, here - 1)) * rowBytes;
    const d = packed + (row + here - 1) * rowBytes;
    loadScales(scales, row, rows, groups, sigmas);
    memory.fill(sums, 0, count << 4);

    let slot = x;
    let k: usize = 0;
    if (direct) {
      for (let start: usize = 0, g: usize = 0; start < cols; start += g, k++) {
        g = nextGroup(cols - start, groupSize);
        const size = max<usize>(g, 32);
        const at = (start & ~31) / weights * bits >> 3;
        lookups1(a + at, b + at, c + at, d + at, values, bits, weights, slot, size, acc);
        addGroup(sums, acc, sigmas + (k << 4), firstGroup + (k << 4));
        slot += size << 1;
      }
    } else {
      for (let from: usize = 0; from < cols; from += width) {
        const to = min(from + width, cols);
        const lead: usize = from % (8 * weights); // a byte and an index start together at every eighth index
        const at = (from - lead) / weights * bits >> 3;
        for (let i: usize = 0; i < 4; i++) {
          const codes = (i == 0 ? a : i == 1 ? b : i == 2 ? c : d) + at;
          lookupRow(codes, values, bits, weights, tile + i * TILE_STRIDE, to - from + lead);
        }
        multiplyTile(
          tile + (lead << 1), from, to, groupSize, slot, firstGroup + (k << 4), apart, count, sigmas + (k << 4), acc, sums,
        );
        slot += slotsOf(to - from, groupSize) << 1;
        k += groupsOf(to - from, groupSize);
      }
    }

    for (let i: usize = 0; i < count; i++) {
      storeSums(sums + (i << 4), step, here, y + ((i * stride + row) << 2));
    }
  }
}
