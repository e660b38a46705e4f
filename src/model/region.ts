// Linear memory is laid out before it exists: regions follow one another, so what a model needs is known from headers alone.

import { PAGE_BYTES, PAGES_LIMIT } from '../kernels/decoder/instantiate.ts';

/** Regions start at multiples of a cache line, so that threads that write to neighbours do not share one. */
const REGION_ALIGNMENT = 64;
/** Kernels may read this far behind an input. */
const MARGIN = 64;
/** Nothing lies at address 0. */
const FIRST = 1024;

interface Regions {
  /** Address of a new region of `byteLength` bytes. */
  reserve(byteLength: number): number;
  /** Bytes up to the end of the last region. */
  size(): number;
}

/** @param first address of the first region */
export function regions(first = FIRST): Regions {
  let next = first;
  return {
    reserve(byteLength) {
      const address = next;
      next = Math.ceil((next + byteLength + MARGIN) / REGION_ALIGNMENT) * REGION_ALIGNMENT;
      return address;
    },
    size: () => next,
  };
}

/** Most bytes of one linear memory. */
export const MEMORY_LIMIT = PAGES_LIMIT * PAGE_BYTES;

/** Bytes in whole megabytes of 2^20, rounded up. */
export const megabytes = (bytes: number): number => Math.ceil(bytes / 2 ** 20);
