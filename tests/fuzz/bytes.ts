// Changes of bytes that know nothing of what they mean: flips, insertions, deletions, copies, cuts, splices.

import { NUMBERS, type Random } from './random.ts';

/** One change. @param other bytes to splice with, such as another entry of the corpus */
export function changeBytes(bytes: Uint8Array, random: Random, other: Uint8Array = bytes): Uint8Array<ArrayBuffer> {
  const offset = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, offset + random.between(1, 16));
  switch (random.below(8)) {
    case 0: {
      const changed = bytes.slice();
      if (offset < bytes.length) changed[offset] ^= 1 << random.below(8);
      return changed;
    }
    case 1: {
      const changed = bytes.slice();
      if (offset < bytes.length)
        changed[offset] = random.pick([0, 1, 0x20, 0x22, 0x2c, 0x30, 0x39, 0x5b, 0x7b, 0x7d, 0x7f, 0x80, 0xff]);
      return changed;
    }
    case 2:
      return joined(bytes.subarray(0, offset), random.bytes(random.between(1, 9)), bytes.subarray(offset));
    case 3:
      return joined(bytes.subarray(0, offset), bytes.subarray(end));
    case 4:
      return joined(bytes.subarray(0, end), bytes.subarray(offset));
    case 5:
      return bytes.slice(0, offset);
    case 6: {
      const from = random.below(other.length + 1);
      return joined(
        bytes.subarray(0, offset),
        other.subarray(from, from + random.between(1, 64)),
        bytes.subarray(offset),
      );
    }
    default: {
      const changed = bytes.slice();
      const width = random.pick([1, 2, 4, 8]);
      if (offset + width <= bytes.length) putNumber(changed, offset, width, random);
      return changed;
    }
  }
}

function putNumber(bytes: Uint8Array, offset: number, width: number, random: Random): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const value = random.pick(NUMBERS);
  if (width === 1) view.setUint8(offset, value);
  else if (width === 2) view.setUint16(offset, random.pick(HALVES), true);
  else if (width === 4) random.chance(0.5) ? view.setFloat32(offset, value, true) : view.setUint32(offset, value, true);
  else if (random.chance(0.5)) view.setFloat64(offset, value, true);
  else view.setBigUint64(offset, BigInt.asUintN(64, BigInt(Number.isFinite(value) ? Math.trunc(value) : -1)), true);
}

/** f16 bits: zeros, subnormals, one, the largest, infinities, NaN. */
export const HALVES: readonly number[] = [
  ...[0, 0x8000, 1, 0x03ff, 0x0400, 0x2e66, 0x3c00, 0xbc00, 0x5640, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xffff],
];

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
