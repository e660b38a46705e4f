// Y = X̃ Ŵᵀ from packed codes and quantized activations (activation.ts). Codes and scales stay as FORMAT.md has them, but for a
// trellis' codes, which stand in bands (band.ts). Four rows go together: one activation multiplies their codes directly, several
// multiply a tile, the same rows decoded 1024 columns (or one larger group) at a time. With acc the exact sum of a group's
// integers, in f32, groups in order, and the step last:
//   y = (0 + f32(σ · scale_x) · f32(acc - zero · Σx) + …) · step
//
// Table:     f32 step, i32 zero, u32 bits, u32 weights of an index, then 16 values (4 bits, 1 weight: nibble.ts) or entries (lookup.ts)
//            or of a trellis bits and 0, then (3, 16) bytes (trellis.ts), of one by labels bits and 5, then as many (labelrow.ts)
// Scratch:   σ of four rows, (groups, 4) f32 | sums of four rows, (count, 4) f32 | two times four i32 | four rows of a tile |
//            as much as a row again to decode codes in; but for one activation of a trellis as bandsVector has it

import { groupsOf, nextGroup } from '../lanes';
import { activationBytes, narrowBytes, slotsOf } from './activation';
import { octsOf } from './band';
import { addGroup, loadScales, storeSums } from './four';
import { LABEL_WEIGHTS, labelRow } from './labelrow';
import { isDirect, lookupRow, lookups1 } from './lookup';
import { bytes2, nibbleRow, nibbles1 } from './nibble';
import { TILE_STRIDE, words1, words2 } from './tile';
import { bandsVector } from './trellis';
import { trellisRows } from './trellistile';

// Columns `from` to `to` of a tile times `count` activations: `slot` and `group` are the first one's at column `from`.
function multiplyTile(
  tile: usize, narrow: bool, from: usize, to: usize, groupSize: usize, slot: usize, group: usize, apart: usize,
  count: usize, sigmas: usize, zero: i32, acc: usize, sums: usize,
): void {
  const slotBytes: usize = narrow ? narrowBytes(1) : 2;
  const scale: usize = narrow ? 4 : 0;
  for (let i: usize = 0; i < count; i += 2, sums += 32, slot += 2 * apart, group += 2 * apart) {
    const both = i + 1 < count;
    let x = slot;
    let entry = group;
    let sigma = sigmas;
    for (let start = from, g: usize = 0; start < to; start += g) {
      g = nextGroup(to - start, groupSize);
      const bytes = max<usize>(g, 32) * slotBytes;
      const at = tile + ((start & ~31) - from) * slotBytes;
      if (ASC_FEATURE_RELAXED_SIMD && narrow) bytes2(at, x, both ? apart : 0, bytes, acc);
      else if (both) words2(at, x, apart, bytes, acc);
      else words1(at, x, bytes, acc);
      addGroup(sums, acc, sigma, entry, scale, zero);
      if (both) addGroup(sums + 16, acc + 16, sigma, entry + apart, scale, zero);
      x += bytes;
      entry += 16;
      sigma += 16;
    }
  }
}

/**
 * y = Ŵ x for `count` quantized activations `x`, activationBytes each, from the codes, rowBytes each, and scales of `rows` rows;
 * element r of activation j goes to y[j · stride + r]. The bits depend neither on `count` nor on where rows begin and end; those of
 * a trellis begin at multiples of four.
 */
export function matmul(
  packed: usize, rowBytes: usize, scales: usize, rows: usize, cols: usize, groupSize: usize, table: usize,
  x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const trellis = load<u32>(table, 12) == 0;
  if (trellis && count == 1) {
    bandsVector(packed, rowBytes, scales, rows, cols, groupSize, table, x, y, scratch);
    return;
  }
  const step = load<f32>(table);
  const zero = load<i32>(table, 4);
  const bits = load<u32>(table, 8);
  const weights = <usize>load<u32>(table, 12);
  const values = table + 16;
  const nibbles = bits == 4 && weights == 1;
  const narrow = nibbles || trellis;
  const labels = weights == LABEL_WEIGHTS;
  const direct = count == 1 && (nibbles || isDirect(bits, weights));
  const width = max<usize>(1024, groupSize);

  const groups = groupsOf(cols, groupSize);
  const slots = slotsOf(cols, groupSize);
  const apart = activationBytes(cols, groupSize);
  const slotBytes: usize = narrow ? narrowBytes(1) : 2;
  const firstSlot = narrow ? x + (slots << 1) : x;
  const firstGroup = x + (slots << 2);

  const sigmas = scratch;
  const sums = sigmas + (groups << 4);
  const acc = sums + (count << 4);
  const tile = acc + 32;
  const spare = tile + 4 * TILE_STRIDE;
  const octBytes: usize = bits << 4;

  for (let row: usize = 0; row < rows; row += 4) {
    const here = min<usize>(4, rows - row);
    // Beyond the last row, the last again.
    const row1 = row + min<usize>(1, here - 1);
    const row2 = row + min<usize>(2, here - 1);
    const row3 = row + here - 1;
    const a = packed + row * rowBytes;
    const b = packed + row1 * rowBytes;
    const c = packed + row2 * rowBytes;
    const d = packed + row3 * rowBytes;
    loadScales(scales, row, rows, groups, sigmas);
    memory.fill(sums, 0, count << 4);

    let slot = firstSlot;
    let k: usize = 0;
    if (direct) {
      for (let start: usize = 0, g: usize = 0; start < cols; start += g, k++) {
        g = nextGroup(cols - start, groupSize);
        const size = max<usize>(g, 32);
        const at = (start & ~31) / weights * bits >> 3;
        if (nibbles) nibbles1(a + at, b + at, c + at, d + at, values, slot, size, acc);
        else lookups1(a + at, b + at, c + at, d + at, values, bits, weights, slot, size, acc);
        addGroup(sums, acc, sigmas + (k << 4), firstGroup + (k << 4), nibbles ? 4 : 0, zero);
        slot += size * slotBytes;
      }
    } else {
      for (let from: usize = 0; from < cols; from += width) {
        const to = min(from + width, cols);
        const lead: usize = narrow || labels ? 0 : from % (8 * weights); // a byte and an index start together at every eighth index
        const at = narrow || labels ? from * bits >> 3 : (from - lead) / weights * bits >> 3;
        if (trellis) {
          const band = a + (at << 2);
          trellisRows(band, from == 0 ? a + (octsOf(cols) - 1) * octBytes : band - octBytes, values, bits, tile, to - from, spare);
        }
        for (let i: usize = trellis ? 4 : 0; i < 4; i++) {
          const codes = (i == 0 ? a : i == 1 ? b : i == 2 ? c : d) + at;
          if (labels) {
            labelRow(codes - at, cols, from, to - from, bits, values, zero, tile + i * TILE_STRIDE, spare);
          } else if (nibbles) nibbleRow(codes, values, tile + i * TILE_STRIDE, to - from);
          else lookupRow(codes, values, bits, weights, tile + i * TILE_STRIDE, to - from + lead);
        }
        multiplyTile(
          tile + (lead << 1), narrow, from, to, groupSize, slot, firstGroup + (k << 4), apart,
          count, sigmas + (k << 4), labels ? 0 : zero, acc, sums,
        );
        slot += slotsOf(to - from, groupSize) * slotBytes;
        k += groupsOf(to - from, groupSize);
      }
    }

    for (let i: usize = 0; i < count; i++) {
      storeSums(sums + (i << 4), step, here, y + ((i * stride + row) << 2));
    }
  }
}
