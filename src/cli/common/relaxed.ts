// Node 20's engine, V8 11.3, has the relaxed SIMD that products with quantized weights gain by, as V8 ships it since 11.4, behind a flag.
// The program sets it for its own process before a kernel is compiled. The library sets no flags: README.md says how you do.

import { setFlagsFromString } from 'node:v8';

/** The flag that this engine wants for relaxed SIMD, if it has both. Tests hold products to their bits on x64 alone. */
export function relaxedFlag(v8: string, arch: string): string | undefined {
  return v8.startsWith('11.3.') && arch === 'x64' ? '--experimental-wasm-relaxed-simd' : undefined;
}

/** Turns relaxed SIMD on where an engine of that kind has it off. */
export function allowRelaxedSimd(): void {
  const flag = 'bun' in process.versions ? undefined : relaxedFlag(process.versions.v8, process.arch);
  if (flag) setFlagsFromString(flag);
}
