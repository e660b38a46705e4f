// A grid: what weights are rounded to. Either n points in p dimensions that minimise the mean squared error of rounding N(0, 1)^p
// to them, as HIGGS has them, or a trellis (trellis.ts).

import { show } from '../excerpt.ts';
import { isGridName, NAME_RULE, parsePointGridName } from './name.ts';
import { checkTrellis, type Trellis } from './trellis.ts';

export type Grid = PointGrid | Trellis;

/** Number of weights that one code stands for. */
export type Dimension = 1 | 2 | 3 | 4;

export interface PointGrid {
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

/** Whether a grid is a trellis. */
export function isTrellis(grid: Grid): grid is Trellis {
  return 'tables' in grid;
}

/**
 * A stored grid of points.
 * @param bytes the points, little-endian f32, (n, p)
 * @param errors MSE per weight, by name
 */
export function grid(name: string, bytes: Uint8Array, errors: Readonly<Record<string, number>>): PointGrid {
  const [p, n] = name.slice(1).split('n').map(Number) as [Dimension, number];
  // The copy is aligned, which the decoded file need not be; every WebAssembly host is little-endian.
  return { name, p, n, bits: Math.log2(n), mse: errors[name], points: new Float32Array(bytes.slice().buffer) };
}

/**
 * Checks a grid that came from outside.
 * @throws {TypeError} when its points are no Float32Array; {RangeError} when name, sizes and points do not agree
 */
export function checkGrid(grid: Grid): void {
  if (typeof grid !== 'object' || grid === null) throw new TypeError(`grid must be a name or a grid: got ${grid}`);
  if (!isGridName(grid.name)) {
    throw new RangeError(`name of a grid must be ${NAME_RULE}: got ${show(grid.name)}`);
  }
  if (!(typeof grid.mse === 'number' && grid.mse >= 0 && grid.mse < Infinity)) {
    throw new RangeError(`mse of grid ${grid.name} must be a finite number of at least 0: got ${show(grid.mse)}`);
  }
  if (isTrellis(grid)) {
    checkTrellis(grid);
    return;
  }
  const { name, p, n, bits, points } = grid;
  const size = parsePointGridName(name);
  if (!size) throw new RangeError(`grid ${name} must be a trellis: it has no tables`);
  if (size.p !== p || size.n !== n || size.bits !== bits) {
    throw new RangeError(
      `p, n and bits of grid ${name} must be ${size.p}, ${size.n}, ${size.bits}: got ${p}, ${n}, ${bits}`,
    );
  }
  if (!(points instanceof Float32Array))
    throw new TypeError(`points of grid ${name} must be a Float32Array: they are not`);
  if (points.length !== n * p || !points.every(Number.isFinite)) {
    throw new RangeError(`points of grid ${name} must be ${n * p} finite numbers: they are not`);
  }
}
