// Linear memory as a stack: regions are handed out one after the other and given back at once, but for those pinned.
// A region starts at a multiple of 16 and has 64 readable, writable bytes behind it: kernels may run over by a vector.

const PAGE = 65536;
const ALIGNMENT = 16;
const MARGIN = 64;

/** Linear memory that is handed out from one end: regions follow one another. */
export interface Arena {
  /** Gives back everything that is not pinned. */
  reset(): void;
  /** Keeps everything handed out so far. */
  pin(): void;
  /** Gives back what is pinned, too. */
  clear(): void;
  /**
   * Address of a new region; it may grow the memory, which detaches every view made before.
   * @throws {RangeError} when there is no more memory
   */
  alloc(byteLength: number): number;
  /** A new region that holds a copy of `array`. */
  place(array: ArrayBufferView): number;
  /** Views and copies; make views only after the last `alloc`. */
  bytes(address: number, count: number): Uint8Array;
  /** A view of `count` f32. */
  floats(address: number, count: number): Float32Array;
  /** Copy of `count` elements, independent of linear memory. */
  copy<T extends ArrayBufferView>(type: ArrayType<T>, address: number, count: number): T;
}

interface ArrayType<T> {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): T & { slice(): T };
}

/** An arena over `memory` from `base` on. */
export function arena(memory: WebAssembly.Memory, base: number): Arena {
  const bottom = align(base);
  let start = bottom;
  let next = start;

  function alloc(byteLength: number): number {
    const address = next;
    next = align(address + byteLength + MARGIN);
    const missing = next - memory.buffer.byteLength;
    if (missing > 0) grow(missing);
    return address;
  }

  function grow(missing: number): void {
    try {
      memory.grow(Math.ceil(missing / PAGE));
    } catch (cause) {
      throw new RangeError(`linear memory must hold ${next} bytes: it cannot grow beyond ${memory.buffer.byteLength}`, {
        cause,
      });
    }
  }

  return {
    reset: () => {
      next = start;
    },
    pin: () => {
      start = next;
    },
    clear: () => {
      start = bottom;
      next = start;
    },
    alloc,
    place: (array) => {
      const address = alloc(array.byteLength);
      const source = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      new Uint8Array(memory.buffer, address, array.byteLength).set(source);
      return address;
    },
    bytes: (address, count) => new Uint8Array(memory.buffer, address, count),
    floats: (address, count) => new Float32Array(memory.buffer, address, count),
    copy: (type, address, count) => new type(memory.buffer, address, count).slice(),
  };
}

function align(address: number): number {
  return Math.ceil(address / ALIGNMENT) * ALIGNMENT;
}
