// One safetensors file, read lazily: two slices to open it, one for each `read`.

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import type { Source } from '../../source/source.ts';
import { type Header, headerByteLength, parseHeader, type TensorInfo } from './header.ts';

/** An open file: its checked header and a way to its tensors' bytes. */
export interface SafetensorsFile extends Header {
  /** The name given to `openSafetensors`; messages open with it. */
  readonly file: string;
  readonly source: Source;
  /**
   * Reads a tensor's bytes, or a part of them, with one slice of the source (none if the part is empty).
   * @param tensor one of this file's `tensors`
   * @param start first byte, counted from the start of the tensor; 0 if left out
   * @param end byte after the last, counted from the start of the tensor; the tensor's size if left out
   * @throws {RangeError} when the part does not lie within the tensor
   * @throws {FormatError} when the source gives another number of bytes than asked
   */
  read(tensor: TensorInfo, start?: number, end?: number, spare?: ArrayBuffer): Promise<ArrayBuffer>;
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
    tensors,
    metadata,
    read: async (tensor, start = 0, end = tensor.end - tensor.start, spare) => {
      const byteLength = tensor.end - tensor.start;
      if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || start > end || end > byteLength) {
        const name = show(tensor.name);
        throw new RangeError(`start and end must lie within the ${byteLength} bytes of ${name}: got ${start}, ${end}`);
      }
      return sliceExactly(source, file, tensor.start + start, tensor.start + end, spare);
    },
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
