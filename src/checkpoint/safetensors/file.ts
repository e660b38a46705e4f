// One safetensors file, read lazily: two slices to open it, one for each `read` of a tensor.

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import type { Source } from '../../source/source.ts';
import type { CheckpointFile, CheckpointTensor } from '../tensor.ts';
import { headerByteLength, parseHeader, type TensorInfo } from './header.ts';

/** An open file: its header, checked. */
interface SafetensorsFile extends CheckpointFile {
  readonly tensors: readonly (CheckpointTensor & TensorInfo)[];
}

/**
 * Opens a safetensors file: reads and checks its header, no data.
 * @param source the file's bytes
 * @param file its name, for messages
 * @throws {FormatError} when the header breaks a rule of the format
 */
export async function openSafetensors(source: Source, file: string): Promise<SafetensorsFile> {
  const first = await sliceExactly(source, file, 0, Math.min(8, source.byteLength));
  const length = headerByteLength(new Uint8Array(first), file, source.byteLength);
  const header = await sliceExactly(source, file, 8, 8 + length);
  const { tensors, metadata } = parseHeader(new Uint8Array(header), file, source.byteLength);
  return {
    file,
    source,
    dataStart: 8 + length,
    tensors: tensors.map((info) => tensorOf(info, source, file)),
    metadata,
  };
}

function tensorOf(info: TensorInfo, source: Source, file: string): CheckpointTensor & TensorInfo {
  const byteLength = info.end - info.start;
  return {
    ...info,
    byteLength,
    file,
    read: async (start = 0, end = byteLength, spare) => {
      if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || start > end || end > byteLength) {
        const name = show(info.name);
        throw new RangeError(`start and end must lie within the ${byteLength} bytes of ${name}: got ${start}, ${end}`);
      }
      return sliceExactly(source, file, info.start + start, info.start + end, spare);
    },
    ...(source.sliceSync && {
      readSync: (start, end, spare) => source.sliceSync!(info.start + start, info.start + end, spare),
    }),
    ...(source.sliceInto && {
      readInto: (start, end, to) => source.sliceInto!(info.start + start, info.start + end, to),
    }),
    ...(source.sliceIntoLater && {
      readIntoLater: (start, end, to) => source.sliceIntoLater!(info.start + start, info.start + end, to),
    }),
    ...(source.prefetch && { prefetch: (start, end) => source.prefetch!(info.start + start, info.start + end) }),
  };
}

/**
 * Slices a source and checks that every byte came.
 * @param file its name, for messages
 * @throws {FormatError} when the source gives another number of bytes than asked
 */
export async function sliceExactly(
  source: Source,
  file: string,
  start: number,
  end: number,
  spare?: ArrayBuffer,
): Promise<ArrayBuffer> {
  if (start === end) return new ArrayBuffer(0);
  const bytes = await source.slice(start, end, spare);
  if (bytes.byteLength !== end - start) {
    const message = `source must give the ${end - start} bytes from ${start} to ${end}: it gave ${bytes.byteLength}`;
    throw new FormatError(message, { file, byteOffset: start });
  }
  return bytes;
}
