// Instantiates compiled kernels.

import { instantiate } from '@assemblyscript/loader';
import { type Reader, refuseKind } from '../check.ts';
import { UnsupportedError } from '../errors.ts';
import { compiled } from './compile.ts';
import type { KernelExports } from './exports.ts';

// (module (func (result v128) i32.const 0 i8x16.splat)): valid where SIMD128 is.
const SIMD = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11],
);

/** A compiled `higgs.wasm`, of any realm, as one of this. @throws {TypeError} when it is another module, or none */
export const givenModule: Reader<WebAssembly.Module> = (subject, value) => {
  try {
    const exported = WebAssembly.Module.exports(value as WebAssembly.Module);
    if (exported.some(({ name }) => name === 'encode')) {
      return value instanceof WebAssembly.Module ? value : structuredClone(value as WebAssembly.Module);
    }
  } catch {
    // It is no module.
  }
  return refuseKind(subject, 'a compiled higgs.wasm, a WebAssembly.Module', value);
};

/**
 * Instantiates the kernels with a memory of their own.
 * @param binary `higgs.wasm`, compiled or as bytes; hosts that forbid compiling bytes need it compiled
 * @throws {UnsupportedError} `simd` where WebAssembly has no 128-bit SIMD
 */
export async function instantiateKernels(binary: WebAssembly.Module | Uint8Array<ArrayBuffer>): Promise<KernelExports> {
  checkSimd();
  const { exports } = await instantiate(await compiled(binary));
  return exports as unknown as KernelExports;
}

/** @throws {UnsupportedError} `simd` where WebAssembly has no 128-bit SIMD */
export function checkSimd(): void {
  if (WebAssembly.validate(SIMD)) return;
  throw new UnsupportedError('simd', 'runtime must support WebAssembly SIMD of 128 bits: this one has none');
}
