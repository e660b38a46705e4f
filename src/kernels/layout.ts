// Sizes of a quantized matrix (FORMAT.md, "One matrix"): what the kernels write follows from the shape and the scheme alone.

/** Codes in a row: one for each p weights, the last one padded. */
export function vectorsPerRow(cols: number, p: number): number {
  return Math.ceil(cols / p);
}

/** Bytes of packed codes in a row. */
export function bytesPerRow(cols: number, p: number, bits: number): number {
  return Math.ceil((vectorsPerRow(cols, p) * bits) / 8);
}

/** Scales in a row: whole groups, then one group for each power of two in what is left of the width. */
export function groupsPerRow(cols: number, groupSize: number): number {
  let groups = Math.floor(cols / groupSize);
  for (let rest = cols % groupSize; rest > 0; rest &= rest - 1) groups++;
  return groups;
}

/** Dtypes of weights that the kernels read, by the number that assembly/float.ts has for them. */
export const dtypeCodes = { F32: 0, BF16: 1, F16: 2, F8_E4M3: 3 } as const;
