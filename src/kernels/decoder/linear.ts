// A linear layer in linear memory: where its weights stand, and the calls that multiply with them. Codes and scales are the bytes
// of the file, so the f32 kernel of assembly/matvec.ts reads them too. Every call computes rows of its own and writes nothing
// else: threads that share the memory divide a product by rows, and get the bits of one.

import { bytesPerRow, groupsPerRow } from '../layout.ts';
import type { LinearExports } from './exports.ts';

/** Dtypes of weights that are multiplied as they are. */
export type DenseDtype = 'F32' | 'F16' | 'BF16';

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
  readonly kind: 'quantized';
  readonly groupSize: number;
  readonly rowBytes: number;
  readonly groups: number;
  /** From the layer's address to its scales. */
  readonly scalesAt: number;
  /** What the layer takes, with what kernels may read behind it. */
  readonly bytes: number;
}

export interface DensePlan extends Shape {
  readonly kind: 'dense';
  readonly dtype: DenseDtype;
  readonly rowBytes: number;
  readonly bytes: number;
}

export type LinearPlan = QuantizedPlan | DensePlan;

/** What a product takes and gives, as addresses. */
export interface Product {
  /** `count` activations: quantized by `quantizeActivation` for a quantized layer, (count, cols) f32 for a dense one. */
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

/** Sizes of a layer of packed codes. */
export function planQuantized({ rows, cols }: Shape, { p, bits, groupSize }: Scheme): QuantizedPlan {
  const rowBytes = bytesPerRow(cols, p, bits);
  const groups = groupsPerRow(cols, groupSize);
  const scalesAt = align(rows * rowBytes);
  const bytes = align(scalesAt + rows * groups * 2 + READ_BEHIND);
  return { kind: 'quantized', rows, cols, groupSize, rowBytes, groups, scalesAt, bytes };
}

/** Sizes of a layer of plain weights. */
export function planDense({ rows, cols }: Shape, dtype: DenseDtype): DensePlan {
  const rowBytes = cols * (dtype === 'F32' ? 4 : 2);
  return { kind: 'dense', rows, cols, dtype, rowBytes, bytes: align(rows * rowBytes + READ_BEHIND) };
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

/** Bytes of one quantized activation for the layer, and for all others of the same cols and group size. */
export function activationBytes(kernels: LinearExports, { cols, groupSize }: QuantizedPlan): number {
  return kernels.activationBytes(cols, groupSize);
}

/** Quantizes `count` rotated activations at `x`, (count, cols) f32, to `to`, `activationBytes` each. */
export function quantizeActivation(
  kernels: LinearExports,
  { cols, groupSize }: QuantizedPlan,
  x: number,
  count: number,
  to: number,
): void {
  kernels.quantizeActivation(x, count, cols, groupSize, to);
}

/** Bytes of scratch that a product of up to `count` activations needs in each thread. */
export function scratchBytes(kernels: LinearExports, plan: LinearPlan, count: number): number {
  if (plan.kind === 'dense') return 2 * (plan.cols + 16) * 4;
  return kernels.matmulScratchBytes(plan.cols, plan.groupSize, count);
}

/**
 * Rows `fromRow` to `toRow` of W times each activation; the bits depend neither on `count` nor on the range.
 * @param address of the layer
 * @param table of the layer's grid, see integerTable; 0 for a dense layer
 */
export function multiply(
  kernels: LinearExports,
  plan: LinearPlan,
  address: number,
  table: number,
  { x, count, y, fromRow, toRow, scratch }: Product,
): void {
  const { rows, cols } = plan;
  if (plan.kind === 'quantized') {
    kernels.matmul(
      ...([address, plan.rowBytes, address + plan.scalesAt, cols, plan.groupSize, table] as const),
      ...([x, count, y, rows, fromRow, toRow, scratch] as const),
    );
  } else {
    const dense = { F32: kernels.denseF32, F16: kernels.denseF16, BF16: kernels.denseBf16 }[plan.dtype];
    dense(address, cols, x, count, y, rows, fromRow, toRow, scratch);
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}
