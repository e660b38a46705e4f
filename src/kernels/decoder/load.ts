// The decoder's binary, embedded in the bundle.

import relaxed from '../../../build/decoder.relaxed.wasm';
import plain from '../../../build/decoder.wasm';
import type { DecoderBinary } from './instantiate.ts';
import { withSharedMemory } from './shared.ts';

/**
 * The bytes of the build that this runtime takes, with relaxed dot products of integers or without: the results are the same. In edge
 * workers the compiled module of the plain one.
 */
export const decoderBinary: DecoderBinary = WebAssembly.validate(relaxed) ? relaxed : plain;
/** Whether these kernels have two forms of products: table.ts says which they take. */
export const hasForms: boolean = decoderBinary === relaxed;

let shared: DecoderBinary | undefined;

/** The binary for one thread, or for several, whose memory is shared. The same one at each call, so that it is compiled once. */
export function binaryFor(threads: number): DecoderBinary {
  if (threads === 1 || !(decoderBinary instanceof Uint8Array)) return decoderBinary;
  shared ??= withSharedMemory(decoderBinary);
  return shared;
}
