// The decoder's binary, embedded in the bundle.

import embedded from '../../../build/decoder.wasm';
import type { DecoderBinary } from './instantiate.ts';

/** The bytes of `decoder.wasm`; in edge workers the compiled module. */
export const decoderBinary: DecoderBinary = embedded;
