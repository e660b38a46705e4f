// The kernels' binary, embedded in the bundle, and what instantiates it.

import embedded from '../../build/higgs.wasm';
import type { KernelExports } from './exports.ts';
import { instantiateKernels } from './instantiate.ts';

/** The bytes of `higgs.wasm`. */
export const kernelBytes: Uint8Array<ArrayBuffer> = embedded;

/**
 * Instantiates the embedded kernels, or a module that the caller compiled.
 * @throws {UnsupportedError} `simd` where WebAssembly has no 128-bit SIMD
 */
export function loadKernels(module?: WebAssembly.Module): Promise<KernelExports> {
  return instantiateKernels(module ?? kernelBytes);
}
