// Changes of bytes that know nothing of what they mean: flips, insertions, deletions, copies, cuts, splices.

import { NUMBERS, type Random } from './random.ts';

/** One change. @param other bytes to splice with, such as another entry of the corpus */
export function changeBytes(bytes: Uint8Array, random: Random, other: Uint8Array = bytes): Uint8Array<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, at + random.between(1, 16));
  switch (random.below(8)) {
    case 0: {
      const changed = bytes.slice();
      if (at < bytes.length) changed[at] ^= 1 << random.below(8);
      return changed;
    }
    case 1: {
      const changed = bytes.slice();
      if (at < bytes.length)
        changed[at] = random.pick([0, 1, 0x20, 0x22, 0x2c, 0x30, 0x39, 0x5b, 0x7b, 0x7d, 0x7f, 0x80, 0xff]);
      return changed;
    }
    case 2:
      return joined(bytes.subarray(0, at), random.bytes(random.between(1, 9)), bytes.subarray(at));
    case 3:
      return joined(bytes.subarray(0, at), bytes.subarray(end));
    case 4:
      return joined(bytes.subarray(0, end), bytes.subarray(at));
    case 5:
      return bytes.slice(0, at);
    case 6: {
      const from = random.below(other.length + 1);
      return joined(bytes.subarray(0, at), other.subarray(from, from + random.between(1, 64)), bytes.subarray(at));
    }
    default: {
      const changed = bytes.slice();
      const width = random.pick([1, 2, 4, 8]);
      if (at + width <= bytes.length) putNumber(changed, at, width, random);
      return changed;
    }
  }
}

function putNumber(bytes: Uint8Array, at: number, width: number, random: Random): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const value = random.pick(NUMBERS);
  if (width === 1) view.setUint8(at, value);
  else if (width === 2) view.setUint16(at, random.pick(HALVES), true);
  else if (width === 4) random.chance(0.5) ? view.setFloat32(at, value, true) : view.setUint32(at, value, true);
  else if (random.chance(0.5)) view.setFloat64(at, value, true);
  else view.setBigUint64(at, BigInt.asUintN(64, BigInt(Number.isFinite(value) ? Math.trunc(value) : -1)), true);
}

/** f16 bits: zeros, subnormals, one, the largest, infinities, NaN. */
export const HALVES: readonly number[] = [
  ...[0, 0x8000, 1, 0x03ff, 0x0400, 0x2e66, 0x3c00, 0xbc00, 0x5640, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xffff],
];

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
