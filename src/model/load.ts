// Fills a model's layout: the checkpoint's tensors stream through a staging region, where their checksums are taken, to their places.

import { type CheckpointFile, type CheckpointTensor, placeOf } from '../checkpoint/tensor.ts';
import { FormatError } from '../errors.ts';
import { isTrellis } from '../grids/grid.ts';
import type { DecoderExports } from '../kernels/decoder/exports.ts';
import { bandScratchBytes } from '../kernels/decoder/sizes.ts';
import { integerTable } from '../kernels/decoder/table.ts';
import { dtypeCodes } from '../kernels/layout.ts';
import { readChecksums } from '../quantize/format.ts';
import type { Layout } from './layout.ts';
import { type DenseDtype, type Linear, storeRows, type WeightTensor } from './linear.ts';
import { frequencies } from './rope.ts';
import type { Weights } from './weights.ts';

/** Room behind a block of rows for its scales, which are fewer bytes. */
const MARGIN = 64;

/** How far a load is. */
export interface LoadProgress {
  /** The tensor that was read. */
  tensor: string;
  bytesDone: number;
  bytes: number;
}

interface FillOptions {
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Reads a checkpoint into linear memory.
 * @throws {FormatError} when a tensor's checksum is not the one noted: names the tensor
 */
export async function fillState(
  kernels: DecoderExports,
  buffer: ArrayBufferLike,
  layout: Layout,
  weights: Weights,
  { onProgress, signal }: FillOptions,
): Promise<void> {
  const memory = new Uint8Array(buffer);
  const crcTable = layout.staging.address;
  const staging = crcTable + kernels.crc32TableBytes();
  const room = layout.staging.byteLength - kernels.crc32TableBytes() - MARGIN;
  const { state } = layout;

  kernels.crc32Table(crcTable);
  for (const [i, rope] of layout.ropes.entries()) {
    const { frequencies: at, headDim } = state.ropes[i];
    new Float64Array(buffer, at, headDim / 2).set(frequencies(rope, headDim));
  }
  for (const { seed, address, count } of layout.masks) if (seed !== null) kernels.signs(seed, address, count);
  for (const { grid, table, integers } of layout.tables) {
    if (isTrellis(grid)) memory.set(integerTable(grid), table);
    else {
      new Float32Array(buffer, staging, grid.points.length).set(grid.points);
      kernels.writeRows(staging, grid.p, grid.n, table);
      if (integers) memory.set(integerTable(grid), integers);
    }
  }

  const tensors = layout.loads.flatMap((load) => ('vector' in load ? [load.vector] : partsOf(load.tensor)));
  const bytes = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const progress: LoadProgress = { tensor: '', bytesDone: 0, bytes };
  const noted = weights.checked ? await notedChecksums(weights, kernels, stage, staging, crcTable) : undefined;

  function stage(block: ArrayBuffer, at: number): void {
    memory.set(new Uint8Array(block), at);
  }

  // Bytes `start` to `end` of a tensor to the staging region; the checksum goes on from `crc`.
  async function read(tensor: CheckpointTensor, start: number, end: number, at: number, crc: number): Promise<number> {
    signal?.throwIfAborted();
    stage(await tensor.read(start, end), at);
    progress.tensor = tensor.name;
    progress.bytesDone += end - start;
    onProgress?.(progress);
    return noted ? kernels.crc32(crc, at, end - start, crcTable) : 0;
  }

  function check(tensor: CheckpointTensor, crc: number): void {
    const wanted = noted?.get(tensor.name);
    if (wanted === undefined || wanted === crc >>> 0) return;
    const message = `CRC-32 must be ${hex(wanted)}, as noted when it was written: it is ${hex(crc >>> 0)}`;
    throw new FormatError(message, placeOf(tensor));
  }

  for (const load of layout.loads) {
    if ('vector' in load) {
      const { vector, address } = load;
      const count = vector.shape[0];
      check(vector, await read(vector, 0, vector.byteLength, staging, 0));
      kernels.widen(staging, dtypeCodes[vector.dtype as DenseDtype], 0, count, address);
    } else await fillLinear(load.linear, partsOf(load.tensor));
  }

  async function fillLinear(linear: Linear, parts: CheckpointTensor[]): Promise<void> {
    const { rows, rowBytes } = linear;
    const scaleBytes = linear.type === 'codes' ? linear.scaleBytes : 0;
    // Bands are made of four rows at a time.
    const banded = linear.type === 'codes' && linear.bandedBytes > 0;
    const rest = room - (banded ? bandScratchBytes(linear.cols) : 0);
    const scratch = staging + rest + MARGIN;
    const apart = banded ? 4 : 1;
    const step = Math.max(1, Math.floor(rest / (rowBytes + scaleBytes) / apart)) * apart;
    let [crc, scalesCrc] = [0, 0];
    for (let first = 0; first < rows; first += step) {
      const end = Math.min(rows, first + step);
      const scales = staging + (end - first) * rowBytes + MARGIN;
      crc = await read(parts[0], first * rowBytes, end * rowBytes, staging, crc);
      if (parts[1]) scalesCrc = await read(parts[1], first * scaleBytes, end * scaleBytes, scales, scalesCrc);
      storeRows(kernels, memory, linear, first, end - first, staging, scales, scratch);
    }
    check(parts[0], crc);
    if (parts[1]) check(parts[1], scalesCrc);
  }
}

function partsOf(tensor: WeightTensor): CheckpointTensor[] {
  return 'plain' in tensor ? [tensor.plain] : [tensor.quantized.packed, tensor.quantized.scales];
}

// The checksums of all tensors by name; those of the headers are checked here.
async function notedChecksums(
  { checkpoint }: Weights,
  kernels: DecoderExports,
  stage: (block: ArrayBuffer, at: number) => void,
  staging: number,
  crcTable: number,
): Promise<Map<string, number>> {
  const noted = new Map<string, number>();
  for (const file of checkpoint.files) {
    const { header, tensors } = await readChecksums(file);
    const crc = await headerCrc(file);
    if (crc !== header) {
      const message = `CRC-32 of the header must be ${hex(header)}, as noted when it was written: it is ${hex(crc)}`;
      throw new FormatError(message, { file: file.file });
    }
    for (const { tensor, crc } of tensors) noted.set(tensor.name, crc);
  }
  return noted;

  async function headerCrc({ source, dataStart: length }: CheckpointFile): Promise<number> {
    let crc = 0;
    for (let start = 0; start < length; start += HEADER_BLOCK) {
      const end = Math.min(length, start + HEADER_BLOCK);
      stage(await source.slice(start, end), staging);
      crc = kernels.crc32(crc, staging, end - start, crcTable);
    }
    return crc >>> 0;
  }
}

/** Bytes of a header that are read at a time. */
const HEADER_BLOCK = 1 << 20;

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}
