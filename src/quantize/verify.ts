// Checks a quantized checkpoint: its structure, its checksums, and, beside the original, the error of every weight.

import type { Checkpoint, CheckpointTensor } from '../checkpoint/checkpoint.ts';
import type { SafetensorsFile } from '../checkpoint/safetensors/file.ts';
import type { TensorInfo } from '../checkpoint/safetensors/header.ts';
import { isPadding } from '../checkpoint/safetensors/layout.ts';
import { FormatError, type Place } from '../errors.ts';
import { bytesPerWeight, type Kernels, rowsPerBlock, type WeightDtype } from '../kernels/kernels.ts';
import type { Pool } from '../workers/pool.ts';
import { readFactors } from './checkpoint.ts';
import { RESERVED, readChecksums, readErrors, type StoredCheckpoint, type StoredTensor } from './format.ts';
import { inOrder } from './pipeline.ts';
import { type TensorReport, tensorReport } from './report.ts';
import { matrixOf, readCodes, type StoredProgress } from './restore.ts';
import { relativeError } from './scheme.ts';

const READ_BYTES = 4 << 20;
/** How far recomputed sums of squares may be from those noted, relatively: the roundings of weights and sums in f32. */
const SUM_TOLERANCE = 1e-4;
/** What roundings in f32 come to, relative to the norm: up to 12 stages of the transform, and four products. It tells where errors are small. */
const ROUNDING = 2 ** -20;
/** And absolutely, for one weight: squares below f32's smallest normal number are not counted when quantizing. */
const SQUARE_FLOOR = 2 ** -126;

export interface VerifyOptions {
  pool: Pool;
  kernels: Kernels;
  /** The checkpoint that was quantized: recomputes each t², and compares what passed through byte by byte. */
  against?: Checkpoint | undefined;
  onProgress?: ((progress: StoredProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface VerifyReport {
  bpw: number;
  bytesIn: number;
  bytesOut: number;
  /** Checksums that hold: of headers and of tensors. */
  checked: number;
  tensors: (TensorReport & { /** t² as noted when quantizing. */ notedError: number })[];
  warnings: string[];
}

/**
 * Verifies a quantized checkpoint.
 * @throws {FormatError} at the first tensor that is not what it should be
 */
export async function verifyCheckpoint(stored: StoredCheckpoint, options: VerifyOptions): Promise<VerifyReport> {
  const { pool, kernels, against, onProgress, signal } = options;
  const files = stored.checkpoint.files;
  const bytesOut = files.reduce((sum, { source }) => sum + source.byteLength, 0);
  const bytesIn = against?.tensors.reduce((sum, { start, end }) => sum + end - start, 0) ?? 0;
  const progress: StoredProgress = { tensor: '', bytesDone: 0, bytes: bytesOut + bytesIn };
  const advance = (tensor: string, bytes: number) => {
    signal?.throwIfAborted();
    progress.tensor = tensor;
    progress.bytesDone += bytes;
    onProgress?.(progress);
  };

  async function checksum(tensor: TensorInfo, file: SafetensorsFile): Promise<number> {
    let crc = 0;
    for (let start = 0; start < tensor.end - tensor.start; start += READ_BYTES) {
      const end = Math.min(start + READ_BYTES, tensor.end - tensor.start);
      crc = kernels.crc32(crc, new Uint8Array(await file.read(tensor, start, end)));
      advance(tensor.name, end - start);
    }
    return crc;
  }

  const checksums = new Map<string, number>();
  for (const file of files) {
    const noted = await readChecksums(file);
    const header = await file.source.slice(0, file.tensors[0].start);
    checkCrc(kernels.crc32(0, new Uint8Array(header)), noted.header, { file: file.file });
    for (const { tensor, crc } of noted.tensors) {
      const found = await checksum(tensor, file);
      checkCrc(found, crc, { file: file.file, tensor: tensor.name });
      checksums.set(tensor.name, found);
    }
    for (const tensor of file.tensors.filter(({ name }) => isPadding(name, RESERVED))) {
      if (new Uint8Array(await file.read(tensor)).some((byte) => byte !== 0)) {
        throw new FormatError('padding must be zero: it is not', { file: file.file, tensor: tensor.name });
      }
    }
  }

  const noted = await readErrors(stored);
  if (against) checkNames(stored, against);
  const tensors: VerifyReport['tensors'] = [];
  let [bits, weights] = [0, 0];
  for (const tensor of stored.quantized) {
    const own = noted.get(tensor.name)!;
    const notedError = relativeError(own.error, own.norm);
    const sums = against ? await recompute(tensor, against, pool, advance) : own;
    const report = { ...tensorReport(tensor, sums), notedError };
    // (e + r)² where e is known and r is rounding: what is added is 2·e·r + r² at most.
    const [error, rounding] = [Math.sqrt(own.error), ROUNDING * Math.sqrt(own.norm)];
    const floor = tensor.rows * tensor.cols * SQUARE_FLOOR;
    const slack = floor + rounding * (2 * error + rounding);
    if (!close(sums.error, own.error, slack) || !close(sums.norm, own.norm, floor)) {
      const [wanted, found] = [notedError, report.relativeError].map((t2) => t2.toPrecision(6));
      const message = `t² must be ${wanted}, as noted when it was quantized: it is ${found}, so this is not the original`;
      throw new FormatError(message, { file: tensor.packed.file.file, tensor: tensor.name });
    }
    tensors.push(report);
    bits += report.bpw * tensor.rows * tensor.cols;
    weights += tensor.rows * tensor.cols;
  }
  if (against) {
    for (const tensor of stored.plain) {
      const original = originalOf(tensor, against);
      const crc = await checksum(original, original.file);
      if (crc !== checksums.get(tensor.name)) {
        const message = 'bytes must be those of the original, for it passed through: they differ';
        throw new FormatError(message, { file: tensor.file.file, tensor: tensor.name });
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

function checkNames({ quantized, plain }: StoredCheckpoint, original: Checkpoint): void {
  const kept = new Set([...quantized, ...plain].map(({ name }) => name));
  for (const { name } of quantized) kept.add(`${name}_scale_inv`); // went into the weights
  for (const { name, file } of original.tensors) {
    if (!kept.has(name))
      throw new FormatError('tensor must be in the quantized checkpoint too: it is not', {
        file: file.file,
        tensor: name,
      });
  }
}

function originalOf(
  tensor: { name: string; shape: readonly number[]; dtype: string },
  original: Checkpoint,
): CheckpointTensor {
  const found = original.get(tensor.name);
  if (!found || found.dtype !== tensor.dtype || String(found.shape) !== String(tensor.shape)) {
    const message = `original must be ${tensor.dtype} [${tensor.shape.join(', ')}]: ${found ? `it is ${found.dtype} [${found.shape.join(', ')}]` : 'there is none'}`;
    throw new FormatError(message, { file: original.folder, tensor: tensor.name });
  }
  return found;
}

async function recompute(
  tensor: StoredTensor,
  against: Checkpoint,
  pool: Pool,
  advance: (tensor: string, bytes: number) => void,
): Promise<{ error: number; norm: number }> {
  const original = originalOf(tensor, against);
  const factors = against.get(`${tensor.name}_scale_inv`);
  const { rows, cols, dtype } = tensor;
  const rowBytes = cols * bytesPerWeight[dtype as WeightDtype];
  const rowFactors = factors && dtype === 'F8_E4M3' ? await readFactors(factors, original) : undefined;
  const step = rowsPerBlock(cols);
  function* tasks() {
    for (let first = 0; first < rows; first += step) {
      const count = Math.min(step, rows - first);
      yield async () => {
        const [bytes, codes] = await Promise.all([
          original.file.read(original, first * rowBytes, (first + count) * rowBytes),
          readCodes(tensor, first, count),
        ]);
        const size = bytes.byteLength;
        const weights = {
          bytes: new Uint8Array(bytes),
          dtype,
          ...(rowFactors && { factors: rowFactors(first, count) }),
        };
        const sums = await pool.run({ kind: 'compare', matrix: matrixOf(tensor, count), codes, weights });
        return { sums, size };
      };
    }
  }
  let [error, norm] = [0, 0];
  for await (const { sums, size } of inOrder(tasks(), 2 * pool.size)) {
    error += sums[0];
    norm += sums[1];
    advance(tensor.name, size);
  }
  return { error, norm };
}

function close(a: number, b: number, slack: number): boolean {
  return Math.abs(a - b) <= SUM_TOLERANCE * b + slack;
}

function checkCrc(found: number, noted: number, place: Place): void {
  if (found === noted) return;
  const subject = place.tensor === undefined ? 'CRC-32 of the header' : 'CRC-32';
  throw new FormatError(`${subject} must be ${hex(noted)}, as noted when it was written: it is ${hex(found)}`, place);
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}
