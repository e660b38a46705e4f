// Names of grids: p<dimensions>n<points>.

/** Widths of codes that the kernels pack. */
export const CODE_BITS: readonly number[] = [2, 3, 4, 5, 6, 8, 9, 10, 12];

/** Sizes that a grid's name tells, or undefined when it is no such name or the kernels cannot handle it. */
export function parseGridName(name: string): { p: number; n: number; bits: number } | undefined {
  const [, p, n] = /^p([1-4])n([1-9]\d{0,3})$/.exec(name) ?? [];
  const bits = Math.log2(Number(n));
  return p !== undefined && CODE_BITS.includes(bits) ? { p: Number(p), n: Number(n), bits } : undefined;
}
