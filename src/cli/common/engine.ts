// Engines that have an instruction which products with quantized weights gain by, behind a flag. The program sets it for its own process
// before a kernel is compiled; results have the same bits. The library sets no flags: docs/runtimes.md says how you do.
//
//   V8 11.3 (Node 20)   relaxed SIMD, as V8 ships it since 11.4
//   V8 14.6 (Node 26)   two vectors of 16 bytes that stand side by side become one of 32
//
// Tests hold products to their bits with these engines' flags, on x64 alone.

import { setFlagsFromString } from 'node:v8';

const flags: Readonly<Record<string, string>> = {
  '11.3': '--experimental-wasm-relaxed-simd',
  '14.6': '--experimental-wasm-revectorize',
};

/** The flag that an engine wants, if there is one. */
export function engineFlag(v8: string, arch: string): string | undefined {
  return arch === 'x64' ? flags[v8.split('.', 2).join('.')] : undefined;
}

/** Sets it in an engine of that kind. */
export function setEngineFlag(): void {
  const flag = 'bun' in process.versions ? undefined : engineFlag(process.versions.v8, process.arch);
  if (flag) setFlagsFromString(flag);
}
