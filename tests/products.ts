// A matrix in linear memory and its products, for tests and measurements of the kernels alone.

import debugBytes from '../build/decoder.debug.wasm';
import relaxedBytes from '../build/decoder.relaxed.wasm';
import plainBytes from '../build/decoder.wasm';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { forms } from '../src/kernels/decoder/load.ts';
import { bandRowBytes, denseScratchBytes, PAIR_ROWS, productScratchBytes } from '../src/kernels/decoder/sizes.ts';
import { EIGHTS, EIGHTS_PAIRS, FUSED, isBanded, PAIRS } from '../src/kernels/decoder/table.ts';
import { bytesPerRow, type CodeShape, dtypeCodes, groupsPerRow } from '../src/kernels/layout.ts';

const formNames: Readonly<Record<number, string>> = {
  [FUSED]: 'relaxed',
  [PAIRS]: 'relaxed, pairs',
  [EIGHTS]: 'relaxed, eights',
  [EIGHTS_PAIRS]: 'relaxed, eights, pairs',
};

/** The builds of the kernels that this runtime takes, each with the form of products that it is to use. */
export const builds: readonly (readonly [name: string, bytes: Uint8Array<ArrayBuffer>, form: number])[] = [
  ['release', plainBytes, FUSED],
  ['debug', debugBytes, FUSED],
  ...(WebAssembly.validate(relaxedBytes) ? forms.map((form) => [formNames[form], relaxedBytes, form] as const) : []),
];

export type DenseDtype = 'F32' | 'F16' | 'BF16';

export interface Shape {
  readonly rows: number;
  readonly cols: number;
}

export interface Scheme extends CodeShape {
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

/** Sizes of a layer of packed codes, narrow ones in pairs of bands. */
export function planQuantized({ rows, cols }: Shape, scheme: Scheme): QuantizedPlan {
  const { bits, groupSize } = scheme;
  const banded = isBanded(scheme);
  const rowBytes = banded ? bandRowBytes(cols, bits) : bytesPerRow(cols, scheme);
  const groups = groupsPerRow(cols, groupSize);
  const stored = banded ? Math.ceil(rows / PAIR_ROWS) * PAIR_ROWS : rows;
  const scalesAt = align(stored * rowBytes);
  const bytes = align(scalesAt + stored * groups * 2 + READ_BEHIND);
  return { type: 'quantized', rows, cols, groupSize, rowBytes, groups, scalesAt, bytes };
}

/** Sizes of a layer of plain weights. */
export function planDense({ rows, cols }: Shape, dtype: DenseDtype): DensePlan {
  const rowBytes = cols * (dtype === 'F32' ? 4 : 2);
  return { type: 'dense', rows, cols, dtype, rowBytes, bytes: align(rows * rowBytes + READ_BEHIND) };
}

/** Puts a whole layer into bands, from packed codes, so many of a row, and scales at addresses. */
export function storeBanded(
  kernels: Pick<DecoderExports, 'bandRows' | 'bandScales'>,
  plan: QuantizedPlan,
  address: number,
  codes: number,
  bits: number,
  packed: number,
  scales: number,
  scratch: number,
): void {
  kernels.bandRows(packed, plan.rows, codes, bits, address, scratch);
  kernels.bandScales(scales, plan.rows, plan.groups, address + plan.scalesAt);
}

/**
 * Copies a block of rows of a quantized layer that is not in bands into memory.
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

/** Bytes of scratch that a product of up to `count` activations needs in each thread. */
export function scratchBytes(plan: LinearPlan, count: number): number {
  return plan.type === 'dense' ? denseScratchBytes(plan.cols) : productScratchBytes(plan.cols, plan.groupSize, count);
}

/**
 * Rows `fromRow` to `toRow` of W times each activation; the bits depend neither on `count` nor on the range.
 * @param address of the layer
 * @param table address of its grid's integerTable; not read for a dense layer
 */
export function multiply(
  kernels: Pick<DecoderExports, 'denseRows' | 'matmul'>,
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
    kernels.denseRows(weights, dtypeCodes[plan.dtype], some, cols, x, count, to, rows, scratch);
  } else {
    const scales = address + plan.scalesAt + fromRow * plan.groups * 2;
    kernels.matmul(weights, rowBytes, scales, some, cols, plan.groupSize, table, x, count, to, rows, scratch);
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}
