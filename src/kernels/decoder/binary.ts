// The decoder's kernels, embedded: one build for every runtime, one with relaxed integer products where those are allowed.
// Both give the same bits (assembly/decoder/nibble.ts).

import relaxed from '../../../build/decoder.relaxed.wasm';
import plain from '../../../build/decoder.wasm';

/** The bytes of the build that this runtime runs best. It imports `env.memory`. */
export function decoderBytes(): Uint8Array<ArrayBuffer> {
  return WebAssembly.validate(relaxed) ? relaxed : plain;
}
