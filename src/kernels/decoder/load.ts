// The decoder's binary, embedded in the bundle.

import relaxed from '../../../build/decoder.relaxed.wasm';
import plain from '../../../build/decoder.wasm';
import type { DecoderBinary } from './instantiate.ts';
import { withSharedMemory } from './shared.ts';
import { EIGHTS, EIGHTS_PAIRS, FUSED, PAIRS } from './table.ts';

/**
 * The bytes of the build that this runtime takes, with relaxed dot products of integers or without: the results are the same. In edge
 * workers the compiled module of the plain one.
 */
export const decoderBinary: DecoderBinary = WebAssembly.validate(relaxed) ? relaxed : plain;
/** The forms of products that these kernels take here, as assembly/decoder/dots.ts numbers them: a grid's table says which. */
export const forms: readonly number[] =
  decoderBinary !== relaxed ? [FUSED] : addsToSum() ? [FUSED, PAIRS, EIGHTS, EIGHTS_PAIRS] : [PAIRS];

let shared: DecoderBinary | undefined;

/** The binary for one thread, or for several, whose memory is shared. The same one at each call, so that it is compiled once. */
export function binaryFor(threads: number): DecoderBinary {
  if (threads === 1 || !(decoderBinary instanceof Uint8Array)) return decoderBinary;
  shared ??= withSharedMemory(decoderBinary);
  return shared;
}

// Whether i32x4.relaxed_dot_i8x16_i7x16_add adds to the sum that it is given: V8 11.3's first compiler leaves that out.
function addsToSum(): boolean {
  const ones = [0xfd, 0x0c, ...new Array(16).fill(1)]; // v128.const
  const body = [0, ...ones, ...ones, ...ones, 0xfd, 0x93, 2, 0xfd, 0x1b, 0, 0x0b]; // the product, i32x4.extract_lane 0
  const code = [1, body.length, ...body];
  const exported = [3, 2, 1, 0, 7, 7, 1, 3, 0x73, 0x75, 0x6d, 0, 0]; // a function named sum
  const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7f];
  const module = new WebAssembly.Module(Uint8Array.of(...header, ...exported, 0x0a, code.length, ...code));
  return (new WebAssembly.Instance(module).exports.sum as () => number)() === 0x01010105;
}
