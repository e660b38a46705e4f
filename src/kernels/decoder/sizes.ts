// Bytes of what the decoder's products read and write, from shapes alone: memory is laid out before there are kernels. The originals
// are the kernels' of assembly/decoder/; tests/sizes.test.ts compares them with the debug build, and measures scratch.

import { groupsPerRow, SEQUENCES } from '../layout.ts';

/** Bytes of a row of 4096 i16, with what decoding writes behind it: tile.ts. */
export const TILE_STRIDE = (4096 + 96) * 2;

/** Bytes of a panel of 4096 columns: panel.ts. */
const PANEL_BYTES = 4096 * 8;

/** Bytes that quantizeActivation of activation.ts may read behind the end of what it quantizes. */
export const READ_BEHIND = 124;

/**
 * Bytes of one activation as quantizeActivation writes it; every quantized layer of the same cols and group size reads it.
 */
export function activationBytes(cols: number, groupSize: number): number {
  return slotsOf(cols, groupSize) * 4 + groupsPerRow(cols, groupSize) * 16;
}

// A group of fewer than 32 columns takes 32 slots.
function slotsOf(cols: number, groupSize: number): number {
  if (groupSize < 32) return groupsPerRow(cols, groupSize) * 32;
  return cols - (cols % 32) + groupsPerRow(cols % 32, 32) * 32;
}

/** Bytes of scratch that a product of up to `count` quantized activations needs in each thread. */
export function productScratchBytes(cols: number, groupSize: number, count: number): number {
  const lookups = (groupsPerRow(cols, groupSize) + count + 2) * 16 + 4 * TILE_STRIDE;
  return Math.max(lookups, (count + 3) * 32 + PANEL_BYTES);
}

/** Rows of a pair of bands: a matrix in bands has a multiple of them. */
export const PAIR_ROWS = 8;

/** Bytes that a row of codes takes in bands: octsOf in band.ts. */
export function bandRowBytes(cols: number, bits: number): number {
  const steps = Math.ceil(cols / SEQUENCES);
  return Math.ceil((steps % 8 === 0 ? steps : steps + 3) / 8) * 4 * bits;
}

/** Bytes of scratch that `bandRows` needs. */
export function bandScratchBytes(cols: number): number {
  return bandRowBytes(cols, 4) * 16 + 256;
}

/** Bytes of scratch that `unbandRow` needs. */
export function unbandScratchBytes(cols: number): number {
  return (cols + 16) * 2;
}

/** Bytes of scratch that a product with plain weights needs in each thread: of it, weights of f32 use DENSE_SUMS alone. */
export function denseScratchBytes(cols: number): number {
  return DENSE_SUMS + 4 * (cols + 16) * 4;
}
/** Bytes of sums of two rows and four activations. */
export const DENSE_SUMS = 512;

/** Bytes of scratch that `addGram` needs. */
export const GRAM_SCRATCH = (2 * 64 * 64 + 32) * 4;

/** Bytes of a table of a grid's n points in p dimensions as writeRows writes it. */
export function rowTableBytes(p: number, n: number): number {
  return 16 + n * (p === 4 ? 20 : 16) + (p === 1 ? 64 : 0);
}

const filled = (dim: number): number => Math.ceil(dim / 16) * 16;

/** Bytes of a vector of `dim` elements as codes of a cache. */
export function cacheCodesBytes(dim: number, bits: number): number {
  return (filled(dim) * bits) / 8;
}

/** Bytes of scratch that `keepCodes` needs. */
export function keepCodesScratchBytes(dim: number): number {
  return filled(dim) * 6 + 16;
}

/** Bytes of scratch that `attendCodes` needs for tiles of `tile` rows with `span` scores each, of heads of `dim` and `more` elements. */
export function attendCodesScratchBytes(tile: number, span: number, dim: number, more: number): number {
  const both = filled(dim) + filled(more);
  const row = filled(dim) * 4 + both * 2 + 160;
  return tile * (span * 4 + row) + Math.max(filled(dim), filled(more)) * 8 + 256 + 64 * both;
}

/** Bytes of scratch that `attend` needs for tiles of `tile` rows with `span` scores each. */
export function attendScratchBytes(tile: number, span: number, dim: number): number {
  return 544 + (tile * span + 32 * dim) * 4;
}
