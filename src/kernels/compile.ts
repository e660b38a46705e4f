// A binary is compiled once, however often it is instantiated: engines keep the machine code with the module.

const modules = new WeakMap<Uint8Array, Promise<WebAssembly.Module>>();

/**
 * The module of a binary. The same bytes give the same module.
 * @param binary a module, or bytes that nobody changes
 */
export function compiled(binary: WebAssembly.Module | Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  if (!(binary instanceof Uint8Array)) return Promise.resolve(binary);
  const existing = modules.get(binary);
  if (existing) return existing;
  const module = WebAssembly.compile(binary);
  modules.set(binary, module);
  module.catch(() => modules.delete(binary)); // memory may be short now and not later
  return module;
}
