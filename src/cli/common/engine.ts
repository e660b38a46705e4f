// Engines that have an instruction which products with quantized weights gain by, behind a flag. The program sets it for its own process
// before a kernel is compiled; results have the same bits. The library sets no flags: docs/runtimes.md says how you do.
//
//   V8 11.3 (Node 20)   relaxed SIMD, as V8 ships it since 11.4
//   V8 14.6 (Node 26)   two vectors of 16 bytes that stand side by side become one of 32
//
// An engine may be built without the second, and would say so on stderr. Or its flags were frozen as it started, and to set one would end the
// process: such engines are left as they are.
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
  if (flag && takesFlag(flag, process.config.variables, process.execArgv)) setFlagsFromString(flag);
}

/**
 * Whether a flag can be set in a process.
 * @param built what its Node was built with
 * @param execArgv Node's own options
 */
export function takesFlag(flag: string, built: object, execArgv: readonly string[]): boolean {
  const freezing = execArgv.filter((option) => /^--(no[-_]?)?freeze[-_]flags[-_]after[-_]init$/.test(option));
  if (freezing.at(-1)?.startsWith('--freeze')) return false;
  return flag !== flags['14.6'] || (built as Record<string, unknown>).v8_enable_wasm_simd256_revec === 1;
}
