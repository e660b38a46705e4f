// A grid in integers, value = step · integer, and its table as assembly/decoder/ reads it. Only + - · / and rounding decide the
// bytes, so every engine gives the same.
//
//   byte  0     4     8      12        16
//         step  zero  bits   weights   entries
//         f32   i32   u32    u32       one for each index of `bits` bits: the integers of its `weights` weights as i16,
//                                      in 2, 4 or (3 and 4 weights) 8 bytes; or of a grid whose codes stand in bands
//                                      (weights = 0), a trellis' or p1n16's, as assembly/decoder/table.ts has it: of a trellis
//                                      what dequantizing reads, too
//
// Added to the grid's MSE: 0.6 % for p1n16, 0.3 % for p1n256, at most 0.02 % for the others.

import { type CodeGrid, type CodePoints, type CodeShape, type CodeTrellis, isPaths } from '../layout.ts';

/** Largest integer for a grid value: times 2^19 / g, the largest of an activation, and g products stay below 2^31. */
const LARGEST = 4095;
const HEADER = 16;
const LARGEST_TABLE = 16384;

// Where a table of a grid in bands says which form products of several activations take, and those of one: assembly/decoder/dots.ts.
const [FORM, ALONE] = [64, 65];
/** The form of products that adds four at once, in one instruction where the processor has it. */
export const FUSED = 0;
/** The form of products that adds two pairs, which no machine saturates. */
export const PAIRS = 1;
/** As FUSED, eight activations at once. */
export const EIGHTS = 2;
/** As PAIRS, eight activations at once. */
export const EIGHTS_PAIRS = 3;
const BAND_TABLE_BYTES = 80;
/** What kernels read so that engines do not know it: 15, 0x88, and 1 in two bytes; behind how many codes make a label, 0x30. */
const CONSTANTS = [15, 0x88, 1, 0];
const HIGH_BITS = 0x30;

interface IntegerGrid {
  readonly step: number;
  readonly integers: Int16Array; // (n, p)
  /** Whether the integers span at most 127, to be multiplied with the narrow form of an activation. */
  readonly narrow: boolean;
}

/** What one lookup takes and gives. */
interface Index {
  readonly bits: number;
  readonly weights: number;
}

/** The integers nearest to a grid's points: 7 bits for 16 values in one dimension, else 13. */
export function integerGrid({ p, bits, points }: CodePoints): IntegerGrid {
  const narrow = p === 1 && bits === 4;
  const most = points.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const step = narrow ? narrowStep(points) : Math.fround(most / LARGEST) || 1;
  const integers = Int16Array.from(points, (value) => Math.max(-LARGEST, Math.min(LARGEST, Math.round(value / step))));
  return { step, integers, narrow };
}

// The best of the steps that use 80 to 126 of 127 levels: the lattice of some lies closer to the values than that of others.
function narrowStep(points: Float32Array): number {
  const values = Float64Array.from(points).sort();
  const span = values.at(-1)! - values[0] || 1;
  const widths = values.map((_, i) => values[Math.min(values.length - 1, i + 1)] - values[Math.max(0, i - 1)]);
  const densities = values.map(density);
  let best = { error: Number.POSITIVE_INFINITY, step: span };
  for (let levels = 126 * 64; levels >= 80 * 64; levels--) {
    const step = Math.fround((span * 64) / levels);
    let error = 0;
    for (let i = 0; i < values.length; i++) {
      const wrong = values[i] - Math.round(values[i] / step) * step;
      error += wrong * wrong * widths[i] * densities[i];
    }
    if (error < best.error) best = { error, step };
  }
  return best.step;
}

// About e^(-x²/2), by the series of its inverse: enough to weigh errors by.
function density(x: number): number {
  const h = (x * x) / 2;
  return 1 / (1 + h * (1 + (h / 2) * (1 + (h / 3) * (1 + (h / 4) * (1 + h / 5)))));
}

/** How codes of `bits` bits for `p` weights are looked up: several at once where the table stays small. */
export function indexOf(p: number, bits: number): Index {
  const fits = (codes: number): boolean =>
    codes * p <= 4 && INDEX_BITS.includes(codes * bits) && entryBytes(codes * p) << (codes * bits) <= LARGEST_TABLE;
  const codes = [4, 3, 2].find(fits) ?? 1;
  return { bits: codes * bits, weights: codes * p };
}

// Widths of an index in assembly/decoder/lookup.ts.
const INDEX_BITS: readonly number[] = [6, 8, 9, 10, 12];

function entryBytes(weights: number): number {
  return weights > 2 ? 8 : weights * 2;
}

// What a code is looked up in: three tables of 16 integers, whose sum less zero times step is its value.
function bandTable({ step, zero, bits, tables, kept }: Omit<CodeTrellis, 'p'>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(BAND_TABLE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setFloat32(0, step, true);
  view.setInt32(4, zero, true);
  view.setUint32(8, bits, true);
  bytes.set(tables, HEADER);
  if (kept) bytes.fill(2 ** (kept[2] ?? 0) - 1, HEADER + tables.length, FORM);
  bytes.set([...CONSTANTS, kept?.length ?? 0, HIGH_BITS], FORM + 4);
  return bytes;
}

/**
 * Has the table of a grid in bands say which form products take.
 * @param form of several activations
 * @param alone of one: FUSED or PAIRS
 */
export function setForm(table: Uint8Array, form: number, alone = form & PAIRS): void {
  table[FORM] = form;
  table[ALONE] = alone;
}

/** Whether a grid's codes stand in bands in memory: those of trellises, and of 16 values, which is a trellis without memory. */
export function isBanded(grid: CodeShape): boolean {
  return grid.tables !== undefined || (grid.p === 1 && grid.bits === 4);
}

/** The table of a grid, to be placed in linear memory. */
export function integerTable(grid: CodeGrid): Uint8Array<ArrayBuffer> {
  if (isPaths(grid)) return bandTable(grid);
  const { p, bits } = grid;
  const { step, integers, narrow } = integerGrid(grid);
  if (narrow) {
    const zero = -Math.min(...integers);
    const tables = new Uint8Array(48);
    tables.set(integers.map((integer) => integer + zero));
    return bandTable({ step, zero, bits, tables });
  }
  const index = indexOf(p, bits);
  const stride = entryBytes(index.weights);
  const bytes = new Uint8Array(HEADER + (stride << index.bits));
  const view = new DataView(bytes.buffer);
  view.setFloat32(0, step, true);
  view.setUint32(8, index.bits, true);
  view.setUint32(12, index.weights, true);
  for (let i = 0; i < 1 << index.bits; i++) {
    const entry = HEADER + i * stride;
    for (let k = 0; k < index.weights; k++) {
      const code = (i >> (Math.floor(k / p) * bits)) & ((1 << bits) - 1);
      view.setInt16(entry + k * 2, integers[code * p + (k % p)], true);
    }
  }
  return bytes;
}
