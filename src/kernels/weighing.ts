// What errors of a matrix cost, factored: R H Rᵀ + λ = U D Uᵀ and G + λ = V d Vᵀ, both unit upper triangular, and U as the search reads it.

import type { Arena } from './arena.ts';
import type { KernelExports } from './exports.ts';
import { isPaths, SEQUENCES } from './layout.ts';
import type { Matrix, Operands } from './operands.ts';

/** Steps of a block of the search (assembly/refine/path.ts), and most errors that a survivor carries (survivors.ts). */
const [STEP_BLOCK, OWN] = [4, 16];
/** Errors before a block of which U stands together, and bits of it behind the point. */
const [OLDER_STEPS, OLDER_BITS] = [16, 13];

/** What errors of a matrix cost. */
export interface Weighing {
  /** Blocks on the diagonal of H, (width, width) each; their widths come to the columns. */
  readonly inputs: readonly Float32Array<ArrayBuffer>[];
  /** G, (rows, rows); all rows alike if left out. */
  readonly outputs?: Float32Array<ArrayBuffer> | undefined;
  /** Added to the diagonals, relative to their means. */
  readonly damping: number;
  /** Added to the diagonal of G, relative to its mean. */
  readonly outputDamping: number;
}

/** A part of the columns that is weighed by itself. */
export interface ColumnPart {
  /** Its first column. */
  readonly start: number;
  /** Its columns. */
  readonly width: number;
  /** Column of each place. */
  readonly order: Int32Array;
  /** (width, width) U, by places, the unit diagonal stored. */
  readonly upper: Float32Array<ArrayBuffer>;
  /** Pivots D, (width), positive. */
  readonly diagonal: Float64Array;
  /** What an error without feedback costs, (width): the diagonal of R H Rᵀ + λ, by places. */
  readonly own: Float64Array;
  /** R H Rᵀ + λ, in the order of columns; of points alone. */
  readonly square: Float32Array<ArrayBuffer> | undefined;
}

/** G + λ factored. */
export interface Outer {
  /** (rows, rows) V, the unit diagonal stored. */
  readonly upper: Float32Array<ArrayBuffer>;
  /** Pivots d, (rows), positive. */
  readonly diagonal: Float64Array;
  /** What an error of a row without feedback costs, (rows): the diagonal of G + λ. */
  readonly own: Float64Array;
}

/** Factors what errors cost. Each call resets the memory. */
interface Factoring {
  /** @throws {RangeError} when statistics are not of the matrix' columns, or not of sums of squares */
  partsOf(matrix: Matrix, weighing: Weighing): ColumnPart[];
  outerOf(matrix: Matrix, weighing: Weighing): Outer | undefined;
}

/** @returns what factors weighing matrices in this memory */
export function factoringIn(memory: Arena, exports: KernelExports, operands: Operands): Factoring {
  // U and D of a symmetric matrix, (n, n), whose place i is row and column order[i].
  function factor(square: Float32Array, n: number, order: Int32Array, damping: number) {
    memory.reset();
    let trace = 0;
    for (let i = 0; i < n; i++) trace += square[i * n + i];
    const mean = trace / n;
    if (!(mean >= 0 && mean < Number.POSITIVE_INFINITY))
      throw new RangeError(`statistics must be finite sums of squares: the mean of their diagonal is ${mean}`);
    const [h, scratch] = [memory.alloc(n * n * 8), memory.alloc(64 * (n + 8) * 8)];
    const bytes = memory.bytes(h, n * n * 8);
    const values = new Float64Array(bytes.buffer, h, n * n);
    // What no token reached is weighed alike.
    const added = mean > 0 ? damping * mean : 1;
    for (let i = 0; i < n; i++) {
      const row = order[i] * n;
      for (let j = 0; j <= i; j++) values[i * n + j] = mean > 0 ? square[row + order[j]] : 0;
      values[i * n + i] += added;
    }
    const done = exports.factorUdu(h, n, scratch);
    if (done !== n)
      throw new RangeError(
        'statistics must be positive, as sums of squares are: a pivot of their factorisation is 0 or less',
      );
    const upper = new Float32Array(n * n);
    const diagonal = new Float64Array(n);
    transpose(values, upper, n, true);
    for (let k = 0; k < n; k++) {
      upper[k * n + k] = 1;
      diagonal[k] = values[k * n + k];
    }
    const own = Float64Array.from({ length: n }, (_, i) => (mean > 0 ? square[order[i] * n + order[i]] : 0) + added);
    return { upper, diagonal, own };
  }

  // Both sides of a block of H rotated, as the columns from `start` on are.
  function rotateBoth(square: Float32Array, width: number, start: number, { cols, groupSize, seed }: Matrix) {
    memory.reset();
    const masks = operands.masks(seed, cols) + start * 4;
    const bytes = width * width * 4;
    const [from, to] = [memory.alloc(bytes), memory.alloc(bytes)];
    const [a, b] = [memory.floats(from, width * width), memory.floats(to, width * width)];
    a.set(square);
    for (let side = 0; side < 2; side++) {
      for (let row = 0; row < width; row++) {
        exports.rotate(from + row * width * 4, masks, width, groupSize, to + row * width * 4);
      }
      transpose(b, a, width, false);
    }
    return a.slice() as Float32Array<ArrayBuffer>;
  }

  function partsOf(matrix: Matrix, { inputs, damping }: Weighing): ColumnPart[] {
    const parts: ColumnPart[] = [];
    const isTrellis = isPaths(matrix.grid);
    let start = 0;
    for (const square of inputs) {
      const width = Math.round(Math.sqrt(square.length));
      const rotated = rotateBoth(square, width, start, matrix);
      const order = orderOf(start, width, isTrellis);
      const { upper, diagonal, own } = factor(rotated, width, order, damping);
      if (!isTrellis) for (let i = 0; i < width; i++) rotated[i * width + i] = own[i];
      parts.push({ start, width, order, upper, diagonal, own, square: isTrellis ? undefined : rotated });
      start += width;
    }
    if (start !== matrix.cols)
      throw new RangeError(`statistics must be of all ${matrix.cols} columns: they are of ${start}`);
    return parts;
  }

  function outerOf({ rows }: Matrix, { outputs, outputDamping }: Weighing): Outer | undefined {
    if (!outputs) return undefined;
    const order = Int32Array.from({ length: rows }, (_, i) => i);
    return factor(outputs, rows, order, outputDamping);
  }

  return { partsOf, outerOf };
}

// Columns of a part in the order in which they are worked on.
function orderOf(start: number, width: number, isTrellis: boolean): Int32Array {
  const columns = Array.from({ length: width }, (_, i) => i);
  if (!isTrellis) return Int32Array.from(columns);
  const sequences = Array.from({ length: SEQUENCES }, (_, s) => columns.filter((i) => (start + i) % SEQUENCES === s));
  return Int32Array.from(sequences.flat());
}

/** Consecutive places of a part that are consecutive steps of a sequence. */
interface StepRun {
  /** Places of the run. */
  readonly count: number;
  /** Its first place in the part. */
  readonly at: number;
  /** Step of the first place, counted from the beginning of the sequence. */
  readonly step: number;
}

/** A run for each sequence. */
export function runsOf({ start, width }: Pick<ColumnPart, 'start' | 'width'>): StepRun[] {
  let offset = 0;
  return Array.from({ length: SEQUENCES }, (_, s) => {
    const [step, end] = [start, start + width].map((col) => Math.ceil((col - s) / SEQUENCES));
    const run = { count: end - step, at: offset, step };
    offset += run.count;
    return run;
  });
}

/** What the search reads of U: of errors that survivors carry, and of those before (assembly/refine/search.ts). */
interface Coefficients {
  /** Of each step that of the `own` errors before it: (sequence, step, 16), that of a step at its number modulo `own`. */
  readonly recent: Int16Array<ArrayBuffer>;
  /** Of each block those of older errors, in units of 2^-13, of two steps and four steps of the block eight: (pair, step of the block, 2). */
  readonly older: Int16Array<ArrayBuffer>;
  /** Of each block where in `older` its numbers begin, and the first step whose errors they are of: (sequence, block, 2). */
  readonly places: Uint32Array<ArrayBuffer>;
  /** Numbers of a sequence in `recent` and `places`. */
  readonly strides: { readonly recent: number; readonly places: number };
}

/** @param steps of a sequence @param own errors that each survivor carries @param ownBits of their U behind the point */
export function coefficientsOf(
  parts: readonly Pick<ColumnPart, 'start' | 'width' | 'upper'>[],
  steps: number,
  { own, ownBits }: { own: number; ownBits: number },
): Coefficients {
  const blocks = Math.ceil(steps / STEP_BLOCK);
  const strides = { recent: blocks * STEP_BLOCK * OWN, places: blocks * 2 };
  const recent = new Int16Array(SEQUENCES * strides.recent);
  const places = new Uint32Array(SEQUENCES * strides.places);
  const runs = parts.map((part) => runsOf(part));
  let length = 0;
  for (let s = 0; s < SEQUENCES; s++) {
    for (let block = 0; block < blocks; block++) {
      const target = block * STEP_BLOCK;
      const run = runs.map((all) => all[s]).find(({ step, count }) => target < step + count);
      const first = run ? run.step - (run.step % STEP_BLOCK) : target;
      places.set([length, first], s * strides.places + block * 2);
      length += Math.ceil(Math.max(0, target + STEP_BLOCK - own - first) / OLDER_STEPS) * OLDER_STEPS * STEP_BLOCK;
    }
  }
  const older = new Int16Array(length);
  const [recentUnit, olderUnit] = [2 ** ownBits, 2 ** OLDER_BITS];
  for (const [p, { width, upper }] of parts.entries()) {
    for (const [s, { count, at, step }] of runs[p].entries()) {
      for (let i = 0; i < count; i++) {
        const target = step + i;
        const [lane, place] = [target % STEP_BLOCK, s * strides.places + Math.floor(target / STEP_BLOCK) * 2];
        const [begin, first] = [places[place], places[place + 1]];
        for (let j = 0; j < i; j++) {
          const [source, u] = [step + j, upper[(at + j) * width + at + i]];
          const pair = begin + (source - first - (source % 2)) * STEP_BLOCK + lane * 2 + (source % 2);
          if (source < target - own) older[pair] = integerOf(u * olderUnit);
          else recent[s * strides.recent + target * OWN + (source % own)] = integerOf(u * recentUnit);
        }
      }
    }
  }
  return { recent, older, places, strides };
}

// The nearest integer of 16 bits.
function integerOf(u: number): number {
  return Math.max(-32768, Math.min(32767, Math.round(u)));
}

// A square transposed, or its lower triangle: 16 rows at a time, so that what is written shares lines of a cache.
function transpose(from: Float32Array | Float64Array, to: Float32Array, n: number, isLower: boolean): void {
  for (let first = 0; first < n; first += 16) {
    const end = Math.min(n, first + 16);
    for (let j = 0; j < (isLower ? end : n); j++) {
      for (let i = isLower ? Math.max(first, j + 1) : first; i < end; i++) to[j * n + i] = from[i * n + j];
    }
  }
}
