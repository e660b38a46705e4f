// What a run allocates: bytes of linear memories, and of arrays that are made by length, as they are made.

interface Counted {
  /** Bytes of each linear memory. */
  readonly memories: number[];
  /** Bytes of each array of f32 that is made by length. */
  readonly floats: number[];
  /** Bytes of the largest array or buffer of any type that is made by length. */
  largest: number;
  /** Ends the counting. */
  stop(): void;
}

const KINDS = ['ArrayBuffer', 'Uint8Array', 'Int32Array', 'Float32Array', 'Float64Array'] as const;

export function countBytes(): Counted {
  const { Memory } = WebAssembly;
  const originals = KINDS.map((kind) => [kind, globalThis[kind]] as const);
  const counted: Counted = {
    ...{ memories: [], floats: [], largest: 0 },
    stop() {
      WebAssembly.Memory = Memory;
      Object.assign(globalThis, Object.fromEntries(originals));
    },
  };
  WebAssembly.Memory = new Proxy(Memory, {
    construct(target, [descriptor]: [WebAssembly.MemoryDescriptor]) {
      counted.memories.push(descriptor.initial * 65536);
      return new target(descriptor);
    },
  });
  for (const [kind, type] of originals) {
    const width = 'BYTES_PER_ELEMENT' in type ? type.BYTES_PER_ELEMENT : 1;
    const counting = new Proxy(type, {
      construct(target, args) {
        if (typeof args[0] === 'number') {
          counted.largest = Math.max(counted.largest, args[0] * width);
          if (kind === 'Float32Array') counted.floats.push(args[0] * width);
        }
        return Reflect.construct(target, args);
      },
    });
    Object.assign(globalThis, { [kind]: counting });
  }
  return counted;
}
