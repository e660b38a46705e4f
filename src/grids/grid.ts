// A grid: what weights are rounded to. Either n points in p dimensions that minimise the mean squared error of rounding N(0, 1)^p
// to them, as HIGGS has them, or a trellis (trellis.ts).

import { member, number, type Reader, reading, refuseKind, refuseValue, typedArray } from '../check.ts';
import { show } from '../excerpt.ts';
import { isGridName, NAME_RULE, parsePointGridName } from './name.ts';
import { checkTrellis, givenKept, type Trellis } from './trellis.ts';

/** What weights are rounded to: points, or a trellis. */
export type Grid = PointGrid | Trellis;

/** Number of weights that one code stands for. */
export type Dimension = 1 | 2 | 3 | 4;

/** n points in p dimensions, with the least mean squared error for N(0, 1). */
export interface PointGrid {
  /** `p2n256`: p dimensions, n points. */
  readonly name: string;
  /** Weights that one code stands for. */
  readonly p: Dimension;
  /** Points: 2^bits. */
  readonly n: number;
  /** Bits of one code: log2 n. */
  readonly bits: number;
  /** Mean squared error per weight on N(0, 1). */
  readonly mse: number;
  /** The points, (n, p), row-major, in units of a group's scale. */
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
 * Checks a grid that came from outside, and gives it back.
 * @throws {TypeError} when it is none, or its points are no Float32Array
 * @throws {RangeError} when name, sizes and points do not agree
 */
export const givenGrid: Reader<Grid> = (subject, value) => {
  if (typeof value !== 'object' || value === null) refuseKind(subject, 'a name or a grid', value);
  const grid = value as Grid;
  const name = member(subject, grid, 'name');
  if (typeof name !== 'string') refuseKind(subject, 'a name or a grid', value);
  if (!isGridName(name)) refuseValue(`name of ${subject}`, NAME_RULE, name);
  const of = (key: string) => member(`grid ${name}`, grid, key);
  number(0, Number.MAX_VALUE)(`mse of grid ${name}`, of('mse'));
  const [p, n, bits] = [of('p'), of('n'), of('bits')];
  if (reading(subject, () => isTrellis(grid))) {
    const kept = of('kept');
    const numbers = {
      ...{ step: of('step'), zero: of('zero') },
      ...(kept !== undefined && { kept: givenKept(`kept of trellis ${name}`, kept) }),
    };
    checkTrellis({ name, p, bits, ...numbers, tables: of('tables') } as unknown as Trellis);
    return grid;
  }
  const size = parsePointGridName(name);
  if (!size) throw new RangeError(`grid ${name} must be a trellis: it has no tables`);
  if (size.p !== p || size.n !== n || size.bits !== bits) {
    const sizes = [p, n, bits].map(show).join(', ');
    throw new RangeError(`p, n and bits of grid ${name} must be ${size.p}, ${size.n}, ${size.bits}: got ${sizes}`);
  }
  const points = typedArray(Float32Array)(`points of grid ${name}`, of('points'));
  if (points.length !== size.n * size.p || !points.every(Number.isFinite)) {
    throw new RangeError(
      `points of grid ${name} must be ${size.n * size.p} finite numbers: got ${points.length}${points.length === size.n * size.p ? ', not all finite' : ''}`,
    );
  }
  return grid;
};

/** A grid, or the name of one. */
export const gridOrName: Reader<string | Grid> = (subject, value) =>
  typeof value === 'string' ? value : givenGrid(subject, value);
