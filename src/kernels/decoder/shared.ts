// The decoder's kernels import their memory. Whether it is shared stands in one byte of the module, the flags of the memory's
// limits: so one binary serves both, where a second one would double the bundle.
//
//   section 2, its length, number of imports, then for each: module name, name, kind (2: memory), flags, minimum, maximum
//                                                                        flags bit 0: has a maximum, bit 1: shared

/** Bytes of a module whose imported memory is shared, from those of one whose is not; a copy. */
export function withSharedMemory(module: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = module.slice();
  let offset = 8; // magic, version
  while (offset < bytes.length) {
    const section = bytes[offset++];
    const size = number();
    if (section !== 2) {
      offset += size;
      continue;
    }
    if (number() !== 1) break;
    for (let name = 0; name < 2; name++) {
      const length = number();
      offset += length;
    }
    if (bytes[offset++] !== 2) break;
    if (bytes[offset] !== 1) break; // shared memory must have a maximum
    bytes[offset] = 3;
    return bytes;
  }
  throw new Error('module must import a memory with a maximum and nothing else: its imports differ');

  // LEB128, unsigned: seven bits a byte, the lowest first.
  function number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[offset++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }
}
