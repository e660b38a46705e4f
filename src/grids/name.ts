// Names of grids: p<dimensions>n<points>, or t<bits> with perhaps a letter for a trellis.

/** The grids that there are: those of `higgs-wasm/grids` are given to `load`, the others are always there. */
export type GridName =
  | ('t2' | 't2c' | 't2q' | 't3' | 't3c' | 't3f' | 't3z' | 't4' | 't4c' | 't4f' | 't4q' | 't4x' | 't4z')
  | ('t5' | 't5z' | 't6' | 't6z')
  | ('p1n4' | 'p1n8' | 'p1n16' | 'p1n32' | 'p1n64' | 'p1n256' | 'p2n16' | 'p2n64' | 'p2n256')
  | ('p2n1024' | 'p3n512' | 'p3n4096' | 'p4n256' | 'p4n1024' | 'p4n4096');

/** A grid by its name: one that there is, which editors complete, or one that you made. */
export type AnyGridName = GridName | (string & {});

/** Widths of codes that the kernels pack. */
export const CODE_BITS: readonly number[] = [2, 3, 4, 5, 6, 8, 9, 10, 12];

/** What names of grids look like, for messages. */
export const NAME_RULE = 'p<p>n<n> with a supported size, or t<bits> with 2 to 6 bits and perhaps a letter';

/** Sizes that a name of a grid of points tells, or undefined when it is no such name or the kernels cannot handle it. */
export function parsePointGridName(name: string): { p: number; n: number; bits: number } | undefined {
  const [, p, n] = /^p([1-4])n([1-9]\d{0,3})$/.exec(name) ?? [];
  const bits = Math.log2(Number(n));
  return p !== undefined && CODE_BITS.includes(bits) ? { p: Number(p), n: Number(n), bits } : undefined;
}

/** Bits that a trellis' name tells, or undefined when it is no such name. */
export function parseTrellisName(name: string): { bits: number } | undefined {
  const [, bits] = /^t([2-6])[a-z]?$/.exec(name) ?? [];
  return bits === undefined ? undefined : { bits: Number(bits) };
}

/** Whether a grid could have this name. */
export function isGridName(name: string): boolean {
  return (parsePointGridName(name) ?? parseTrellisName(name)) !== undefined;
}
