// A grid: n points in p dimensions that minimise the mean squared error of rounding N(0, 1)^p to them.

/** Number of weights that one code stands for. */
export type Dimension = 1 | 2 | 3 | 4;

export interface Grid {
  /** `p2n256`: p dimensions, n points. */
  readonly name: string;
  readonly p: Dimension;
  readonly n: number;
  /** Bits of one code: log2 n. */
  readonly bits: number;
  /** Mean squared error per weight on N(0, 1). */
  readonly mse: number;
  readonly points: Float32Array; // (n, p)
}

/**
 * A stored grid.
 * @param bytes the points, little-endian f32, (n, p)
 * @param errors MSE per weight, by name
 */
export function grid(name: string, bytes: Uint8Array, errors: Readonly<Record<string, number>>): Grid {
  const [p, n] = name.slice(1).split('n').map(Number) as [Dimension, number];
  // The copy is aligned, which the decoded file need not be; every WebAssembly host is little-endian.
  return { name, p, n, bits: Math.log2(n), mse: errors[name]!, points: new Float32Array(bytes.slice().buffer) };
}
