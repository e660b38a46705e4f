// Checks a quantized checkpoint: its structure, its checksums, and, beside the original, the error of every weight.

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { isPadding } from '../checkpoint/safetensors/layout.ts';
import { type CheckpointTensor, placeOf } from '../checkpoint/tensor.ts';
import { FormatError, type Place } from '../errors.ts';
import type { Codes, Kernels } from '../kernels/kernels.ts';
import type { Pool } from '../workers/pool.ts';
import { blocksOf, codeBlocksOf, type PendingRows, piecesOf } from './blocks.ts';
import {
  matrixOf,
  type QuantizedCheckpoint,
  type QuantizedWeight,
  RESERVED,
  readChecksums,
  readErrors,
} from './format.ts';
import { inOrder } from './pipeline.ts';
import { type TensorReport, tensorReport } from './report.ts';
import type { ReadProgress } from './restore.ts';
import { relativeError, type SquareSums } from './scheme.ts';

/** How far recomputed sums of squares may be from those noted, relatively: the roundings of weights and sums in f32. */
const SUM_TOLERANCE = 1e-4;
/** What roundings in f32 come to, relative to the norm: up to 12 stages of the transform, and four products. It tells where errors are small. */
const ROUNDING = 2 ** -20;
/** And absolutely, for one weight: squares below f32's smallest normal number are not counted when quantizing. */
const SQUARE_FLOOR = 2 ** -126;

/** How a checkpoint is verified. */
export interface VerifyOptions {
  /** Where blocks are decoded and compared. */
  pool: Pool;
  /** Kernels of the calling thread, for checksums. */
  kernels: Kernels;
  /** The checkpoint that was quantized: recomputes each t², and compares what passed through byte by byte. */
  against?: Checkpoint | undefined;
  /** Called after each block of a tensor. */
  onProgress?: ((progress: ReadProgress) => void) | undefined;
  /** Stops the run between two blocks. */
  signal?: AbortSignal | undefined;
}

/** What verifying a quantized checkpoint found. */
export interface VerifyReport {
  /** Bits per weight over all quantized weights, scales counted. */
  bpw: number;
  /** Bytes of the original's tensors; 0 where there was none to compare with. */
  bytesIn: number;
  /** Bytes of the quantized checkpoint's files. */
  bytesOut: number;
  /** Checksums that hold: of headers and of tensors. */
  checked: number;
  /** The quantized weights, in the order of the files. */
  tensors: (TensorReport & { /** t² as noted when quantizing. */ notedError: number })[];
  /** A sentence for each weight whose t² is above 1.15 × its grid's MSE. */
  warnings: string[];
}

/**
 * Verifies a quantized checkpoint.
 * @throws {FormatError} at the first tensor that is not what it should be
 */
export async function verifyCheckpoint(stored: QuantizedCheckpoint, options: VerifyOptions): Promise<VerifyReport> {
  const { pool, kernels, against, onProgress, signal } = options;
  const files = stored.checkpoint.files;
  const bytesOut = files.reduce((sum, { source }) => sum + source.byteLength, 0);
  const bytesIn = against?.tensors.reduce((sum, { byteLength }) => sum + byteLength, 0) ?? 0;
  const progress: ReadProgress = { tensor: '', bytesDone: 0, bytes: bytesOut + bytesIn };
  const advance = (tensor: string, bytes: number) => {
    signal?.throwIfAborted();
    progress.tensor = tensor;
    progress.bytesDone += bytes;
    onProgress?.(progress);
  };

  async function checksum(tensor: CheckpointTensor): Promise<number> {
    let crc = 0;
    for (const { read } of piecesOf(tensor)) {
      const bytes = await read();
      crc = kernels.crc32(crc, bytes);
      advance(tensor.name, bytes.length);
    }
    return crc;
  }

  const checksums = new Map<string, number>();
  for (const file of files) {
    const noted = await readChecksums(file);
    const header = await file.source.slice(0, file.dataStart);
    checkCrc(kernels.crc32(0, new Uint8Array(header)), noted.header, { file: file.file });
    for (const { tensor, crc } of noted.tensors) {
      const computed = await checksum(tensor);
      checkCrc(computed, crc, placeOf(tensor));
      checksums.set(tensor.name, computed);
    }
    for (const tensor of file.tensors.filter(({ name }) => isPadding(name, RESERVED))) {
      if (new Uint8Array(await tensor.read()).some((byte) => byte !== 0)) {
        throw new FormatError('padding must be zero: other bytes are there', placeOf(tensor));
      }
    }
  }

  const noted = await readErrors(stored);
  if (against) checkNames(stored, against);
  const tensors: VerifyReport['tensors'] = [];
  let [bits, weights] = [0, 0];
  for (const tensor of stored.quantized) {
    const then = noted.get(tensor.name)!;
    const notedError = relativeError(then);
    // What errors cost is not known here: weighted errors are those noted.
    const now = against ? { ...(await recompute(tensor, against, pool, advance)), weighted: then.weighted } : then;
    const report = { ...tensorReport(tensor, now), notedError };
    // (e + r)² where e is known and r is rounding: what is added is 2·e·r + r² at most.
    const [error, rounding] = [Math.sqrt(then.squaredError), ROUNDING * Math.sqrt(then.squaredNorm)];
    const floor = tensor.rows * tensor.cols * SQUARE_FLOOR;
    const slack = floor + rounding * (2 * error + rounding);
    const isClose =
      close(now.squaredError, then.squaredError, slack) && close(now.squaredNorm, then.squaredNorm, floor);
    if (!isClose) {
      const [wanted, is] = [notedError, report.relativeError].map((t2) => t2.toPrecision(6));
      const message = `t² must be ${wanted}, as noted when it was quantized: it is ${is}, so this is not the original`;
      throw new FormatError(message, placeOf(tensor));
    }
    tensors.push(report);
    bits += report.bpw * tensor.rows * tensor.cols;
    weights += tensor.rows * tensor.cols;
  }
  if (against) {
    for (const tensor of stored.plain) {
      const original = originalOf(tensor, against);
      if ((await checksum(original)) !== checksums.get(tensor.name)) {
        const message = 'bytes must be those of the original, for it passed through: they differ';
        throw new FormatError(message, placeOf(tensor));
      }
    }
  }
  return {
    bpw: weights === 0 ? 0 : bits / weights,
    bytesIn,
    bytesOut,
    checked: checksums.size + files.length,
    tensors,
    warnings: tensors.flatMap(({ warning }) => warning ?? []),
  };
}

function checkNames({ quantized, plain }: QuantizedCheckpoint, original: Checkpoint): void {
  const kept = new Set([...quantized, ...plain].map(({ name }) => name));
  for (const { name } of quantized) {
    const factors = original.get(name)?.factors;
    if (factors) kept.add(factors.name); // went into the weights
  }
  for (const tensor of original.tensors) {
    if (!kept.has(tensor.name))
      throw new FormatError('tensor must be in the quantized checkpoint too: it is missing there', placeOf(tensor));
  }
}

function originalOf(
  tensor: { name: string; shape: readonly number[]; dtype: string },
  original: Checkpoint,
): CheckpointTensor {
  const same = original.get(tensor.name);
  if (same?.dtype === tensor.dtype && String(same.shape) === String(tensor.shape)) return same;
  const describe = ({ dtype, shape }: Pick<CheckpointTensor, 'dtype' | 'shape'>) => `${dtype} [${shape.join(', ')}]`;
  const message = `original must be ${describe(tensor)}: ${same ? `it is ${describe(same)}` : 'there is none'}`;
  throw new FormatError(message, { file: original.folder, tensor: tensor.name });
}

async function recompute(
  tensor: QuantizedWeight,
  against: Checkpoint,
  pool: Pool,
  advance: (tensor: string, bytes: number) => void,
): Promise<SquareSums> {
  const original = originalOf(tensor, against);
  function* tasks() {
    const codeBlocks = codeBlocksOf(tensor);
    for (const block of blocksOf(original)) {
      const same = codeBlocks.next().value as PendingRows<Codes>;
      yield async () => {
        const [weights, codes] = await Promise.all([block.read(), same.read()]);
        const sums = await pool.run({ kind: 'compare', matrix: matrixOf(tensor, block.count), codes, weights });
        return { sums, size: block.byteLength };
      };
    }
  }
  let [squaredError, squaredNorm] = [0, 0];
  for await (const { sums, size } of inOrder(tasks(), 2 * pool.size)) {
    squaredError += sums[0];
    squaredNorm += sums[1];
    advance(tensor.name, size);
  }
  return { squaredError, squaredNorm };
}

function close(a: number, b: number, slack: number): boolean {
  return Math.abs(a - b) <= SUM_TOLERANCE * b + slack;
}

function checkCrc(computed: number, noted: number, place: Place): void {
  if (computed === noted) return;
  const subject = place.tensor === undefined ? 'CRC-32 of the header' : 'CRC-32';
  throw new FormatError(
    `${subject} must be ${hex(noted)}, as noted when it was written: it is ${hex(computed)}`,
    place,
  );
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}
