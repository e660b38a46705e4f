// A linear layer in linear memory: where its weights stand, and the calls that multiply with them. Codes and scales are the bytes
// of the file, so the kernels in f32 read them too. A product computes the rows asked for and writes nothing else: threads that
// share the memory divide it by rows, and get the bits of one.

import { bytesPerRow, groupsPerRow } from '../layout.ts';

/** The kernels of this room as WebAssembly exports them: addresses and counts in. assembly/decoder/ has the contract of each. */
export interface LinearExports {
  quantizeActivation(x: number, count: number, cols: number, groupSize: number, to: number): void;
  matmul(
    packed: number,
    rowBytes: number,
    scales: number,
    rows: number,
    cols: number,
    groupSize: number,
    table: number,
    x: number,
    count: number,
    y: number,
    stride: number,
    scratch: number,
  ): void;
  denseRows(
    w: number,
    kind: number,
    rows: number,
    cols: number,
    x: number,
    count: number,
    y: number,
    stride: number,
    scratch: number,
  ): void;
}

/** Dtypes of weights that are multiplied as they are, by the number that the kernels know them by. */
export const DENSE_KINDS = { F32: 0, F16: 1, BF16: 2 } as const;
export type DenseDtype = keyof typeof DENSE_KINDS;

export interface Shape {
  readonly rows: number;
  readonly cols: number;
}

export interface Scheme {
  readonly p: number;
  readonly bits: number;
  readonly groupSize: number;
}

/** Codes, then scales at the next multiple of 16. */
export interface QuantizedPlan extends Shape {
  readonly type: 'quantized';
  readonly groupSize: number;
  readonly rowBytes: number;
  readonly groups: number;
  /** From the layer's address to its scales. */
  readonly scalesAt: number;
  /** What the layer takes, with what kernels may read behind it. */
  readonly bytes: number;
}

export interface DensePlan extends Shape {
  readonly type: 'dense';
  readonly dtype: DenseDtype;
  readonly rowBytes: number;
  readonly bytes: number;
}

export type LinearPlan = QuantizedPlan | DensePlan;

/** What a product takes and gives, as addresses. */
export interface Product {
  /** `count` activations: as quantizeActivation writes them for a quantized layer, (count, cols) f32 for a dense one. */
  readonly x: number;
  readonly count: number;
  /** (count, rows) f32. */
  readonly y: number;
  readonly fromRow: number;
  readonly toRow: number;
  /** `scratchBytes` of this thread's own. */
  readonly scratch: number;
}

const READ_BEHIND = 64;
/** Four rows of 4096 i16, with what decoding writes behind each: TILE_STRIDE in assembly/decoder/tile.ts. */
const TILE_BYTES = 4 * (4096 + 96) * 2;

/** Sizes of a layer of packed codes. */
export function planQuantized({ rows, cols }: Shape, { p, bits, groupSize }: Scheme): QuantizedPlan {
  const rowBytes = bytesPerRow(cols, p, bits);
  const groups = groupsPerRow(cols, groupSize);
  const scalesAt = align(rows * rowBytes);
  const bytes = align(scalesAt + rows * groups * 2 + READ_BEHIND);
  return { type: 'quantized', rows, cols, groupSize, rowBytes, groups, scalesAt, bytes };
}

/** Sizes of a layer of plain weights. */
export function planDense({ rows, cols }: Shape, dtype: DenseDtype): DensePlan {
  const rowBytes = cols * (dtype === 'F32' ? 4 : 2);
  return { type: 'dense', rows, cols, dtype, rowBytes, bytes: align(rows * rowBytes + READ_BEHIND) };
}

/**
 * Copies a block of rows of a quantized layer into memory.
 * @param packed codes, (rows of the block, bytesPerRow)
 * @param scales f16 bits, (rows of the block, groupsPerRow)
 */
export function storeQuantized(
  memory: ArrayBufferLike,
  plan: QuantizedPlan,
  address: number,
  packed: Uint8Array,
  scales: Uint16Array,
  firstRow: number,
): void {
  new Uint8Array(memory, address, plan.scalesAt).set(packed, firstRow * plan.rowBytes);
  new Uint16Array(memory, address + plan.scalesAt, plan.rows * plan.groups).set(scales, firstRow * plan.groups);
}

/** Copies a block of rows of a dense layer into memory: its bytes, (rows of the block, cols) of the dtype. */
export function storeDense(
  memory: ArrayBufferLike,
  plan: DensePlan,
  address: number,
  weights: Uint8Array,
  firstRow: number,
): void {
  new Uint8Array(memory, address, plan.rows * plan.rowBytes).set(weights, firstRow * plan.rowBytes);
}

/**
 * Bytes of one activation as quantizeActivation(x, count, cols, groupSize, to) writes it; every quantized layer of the same cols
 * and group size reads it. What is quantized, rotated f32, must be readable for 124 bytes behind its end.
 */
export function activationBytes(cols: number, groupSize: number): number {
  const groups = groupsPerRow(cols, groupSize);
  // A group of fewer than 32 columns takes 32 slots of 4 bytes.
  const small = groupSize < 32 ? groups : groupsPerRow(cols % 32, 32);
  const slots = (groupSize < 32 ? 0 : cols - (cols % 32)) + small * 32;
  return slots * 4 + groups * 16;
}

/** Bytes of scratch that a product of up to `count` activations needs in each thread. */
export function scratchBytes(plan: LinearPlan, count: number): number {
  if (plan.type === 'dense') return 2 * (plan.cols + 16) * 4;
  return (plan.groups + count + 2) * 16 + TILE_BYTES;
}

/**
 * Rows `fromRow` to `toRow` of W times each activation; the bits depend neither on `count` nor on the range.
 * @param address of the layer
 * @param table address of its grid's integerTable; not read for a dense layer
 */
export function multiply(
  kernels: LinearExports,
  plan: LinearPlan,
  address: number,
  table: number,
  { x, count, y, fromRow, toRow, scratch }: Product,
): void {
  const { rows, cols, rowBytes } = plan;
  const weights = address + fromRow * rowBytes;
  const to = y + fromRow * 4;
  const some = toRow - fromRow;
  if (plan.type === 'dense') {
    kernels.denseRows(weights, DENSE_KINDS[plan.dtype], some, cols, x, count, to, rows, scratch);
  } else {
    const scales = address + plan.scalesAt + fromRow * plan.groups * 2;
    kernels.matmul(weights, rowBytes, scales, some, cols, plan.groupSize, table, x, count, to, rows, scratch);
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}
