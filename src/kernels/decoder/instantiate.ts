// Instantiates the decoder's kernels over a memory that the caller made. Each thread has an instance of its own, all one memory.

import { compiled } from '../compile.ts';
import { checkSimd } from '../instantiate.ts';
import type { DecoderExports } from './exports.ts';

/** Bytes of a page of WebAssembly's memory. */
export const PAGE_BYTES = 65536;
/** Pages that 32-bit addresses reach, but for the last: the address behind a region must be one, too. */
export const PAGES_LIMIT = 65535;

/** Linear memory, for rooms that do not know WebAssembly. */
export type LinearMemory = WebAssembly.Memory;
/** The kernels' binary: bytes, or compiled, where the host forbids compiling. */
export type DecoderBinary = WebAssembly.Module | Uint8Array<ArrayBuffer>;

/**
 * A memory of exactly `byteLength` bytes, rounded up to a page.
 * @throws {RangeError} when the runtime has none so large
 */
export function createMemory(byteLength: number, shared: boolean): LinearMemory {
  const pages = Math.ceil(byteLength / PAGE_BYTES);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
  } catch (cause) {
    if (cause instanceof TypeError) throw cause;
    // Not every engine throws a RangeError: Firefox may throw a text.
    throw new RangeError(`runtime must give a memory of ${byteLength} bytes: it refuses`, { cause });
  }
}

/**
 * @param binary as `withSharedMemory` made it, if `memory` is shared
 * @throws {UnsupportedError} `simd` where WebAssembly has no 128-bit SIMD
 */
export async function instantiateDecoder(binary: DecoderBinary, memory: LinearMemory): Promise<DecoderExports> {
  checkSimd();
  const { exports } = await WebAssembly.instantiate(await compiled(binary), { env: { memory } });
  return exports as unknown as DecoderExports;
}
