// Bytes of what the decoder's products read and write, from shapes alone: memory is laid out before there are kernels.

import { groupsPerRow } from '../layout.ts';

/** Four rows of 4096 i16, with what decoding writes behind each: TILE_STRIDE in assembly/decoder/tile.ts. */
const TILE_BYTES = 4 * (4096 + 96) * 2;

/** Bytes that quantizeActivation may read behind the end of what it quantizes. */
export const READ_BEHIND = 124;

/**
 * Bytes of one activation as quantizeActivation writes it; every quantized layer of the same cols and group size reads it.
 */
export function activationBytes(cols: number, groupSize: number): number {
  const groups = groupsPerRow(cols, groupSize);
  // A group of fewer than 32 columns takes 32 slots of 4 bytes.
  const small = groupSize < 32 ? groups : groupsPerRow(cols % 32, 32);
  const slots = (groupSize < 32 ? 0 : cols - (cols % 32)) + small * 32;
  return slots * 4 + groups * 16;
}

/** Bytes of scratch that a product of up to `count` quantized activations needs in each thread. */
export function productScratchBytes(cols: number, groupSize: number, count: number): number {
  return (groupsPerRow(cols, groupSize) + count + 2) * 16 + TILE_BYTES;
}

/** Bytes of scratch that a product with plain weights needs in each thread. */
export function denseScratchBytes(cols: number): number {
  return 2 * (cols + 16) * 4;
}

/** Bytes of a table of a grid's n points in p dimensions as writeRows writes it. */
export function rowTableBytes(p: number, n: number): number {
  return 16 + n * (p === 4 ? 20 : 16) + (p === 1 ? 64 : 0);
}
