// Encoding a whole matrix with error feedback. H = Σ x xᵀ of the matrix' inputs and G = Σ δ δᵀ of its output gradients say what an error
// costs: tr(G E H Eᵀ). With R H Rᵀ + λ = U D Uᵀ and G + λ = V d Vᵀ, both unit upper triangular, that is
//   Σ_i d_i Σ_k D_k (e_k + Σ_{j<k} e_j U_jk)²,   e = the errors of row i against t_i = w_i + Σ_{j<i} V_ji E_j,   E = w − ŵ
// so rows go from the first to the last, each with its target t. A trellis' row goes sequence by sequence, which is the order of U, too; a
// grid's points from left to right. Where a sequence ends for a block of rows, its errors go to the sequences after it in one product.

import type { Arena } from './arena.ts';
import type { KernelExports } from './exports.ts';
import { bytesPerRow, codesPerRow, groupsPerRow, isPaths, isRefinable, SEQUENCES } from './layout.ts';
import { bytesPerWeight, type Matrix, type Operands, type Weights } from './operands.ts';
import { dimensionOf, FACTOR_COLS, ROW_MARGIN } from './sizes.ts';
import type { Tables } from './tables.ts';

/** Rows whose feedback from the rows before is one product. */
const BLOCK_ROWS = 32;
/** Steps of a block of the search, and errors that it reads coefficients of (assembly/refine/search.ts). */
const [STEP_BLOCK, WINDOW] = [4, 36];
/** What the middle D becomes, and the most: costs are 32-bit integers. */
const [MIDDLE, MOST] = [64, 255];
/** Sweeps over the codes of points. */
const SWEEPS = 2;

/** What errors of a matrix cost. */
export interface Weighing {
  /** Blocks on the diagonal of H, (width, width) each; their widths come to the columns. */
  readonly inputs: readonly Float32Array<ArrayBuffer>[];
  /** G, (rows, rows); all rows alike if left out. */
  readonly outputs?: Float32Array<ArrayBuffer> | undefined;
  /** Added to the diagonals, relative to their means. */
  readonly damping: number;
  readonly outputDamping: number;
}

/** A matrix that was encoded with feedback. */
export interface Refined {
  readonly packed: Uint8Array<ArrayBuffer>;
  readonly scales: Uint16Array<ArrayBuffer>;
  readonly sums: Float64Array<ArrayBuffer>; // (rows, 2): squared error, squared norm
  /** The weighted squared error; what it would be of errors as large as the weights, with feedback; and without. */
  readonly weighted: Float64Array<ArrayBuffer>; // (3)
}

/** A part of the columns that is weighed by itself. */
interface Part {
  readonly start: number;
  readonly width: number;
  /** Column of each place. */
  readonly order: Int32Array;
  readonly upper: Float32Array<ArrayBuffer>; // (width, width) U, by places
  readonly diagonal: Float64Array; // D
  readonly own: Float64Array; // the diagonal of R H Rᵀ + λ, by places
  /** R H Rᵀ + λ, in the order of columns; of points alone. */
  readonly square: Float32Array<ArrayBuffer> | undefined;
}

export interface Refiner {
  /**
   * Quantizes a matrix with error feedback.
   * @throws {RangeError} for NaN, infinity, or a group whose RMS f16 cannot hold; names row and column
   */
  refine(matrix: Matrix, weights: Weights, weighing: Weighing): Refined;
  /** By what `refine` would lower the loss, whatever the grid: Σ D / tr H · Σ d σ² / Σ G σ². Throws as `refine` does. */
  gain(matrix: Matrix, weights: Weights, weighing: Weighing): number;
}

export function refinerIn(memory: Arena, exports: KernelExports, tables: Tables, operands: Operands): Refiner {
  // U and D of a symmetric matrix, (n, n), whose place i is row and column order[i].
  function factor(square: Float32Array, n: number, order: Int32Array, damping: number) {
    memory.reset();
    let trace = 0;
    for (let i = 0; i < n; i++) trace += square[i * n + i];
    const mean = trace / n;
    const [h, scratch] = [memory.alloc(n * n * 8), memory.alloc(64 * n * 8)];
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
        'statistics must be positive, as sums of squares are: a pivot of their factorisation is not',
      );
    const upper = new Float32Array(n * n);
    const diagonal = new Float64Array(n);
    for (let k = 0; k < n; k++) {
      for (let j = 0; j < k; j++) upper[j * n + k] = values[k * n + j];
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
      transpose(b, a, width);
    }
    return a.slice() as Float32Array<ArrayBuffer>;
  }

  function partsOf(matrix: Matrix, { inputs, damping }: Weighing): Part[] {
    const parts: Part[] = [];
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

  function outerOf({ rows }: Matrix, { outputs, outputDamping }: Weighing) {
    if (!outputs) return undefined;
    const order = Int32Array.from({ length: rows }, (_, i) => i);
    return factor(outputs, rows, order, outputDamping);
  }

  return {
    gain(matrix, weights, weighing) {
      const { rows, cols, groupSize, seed } = matrix;
      const parts = partsOf(matrix, weighing);
      const outer = outerOf(matrix, weighing);
      memory.reset();
      const masks = operands.masks(seed, cols);
      const placed = operands.place(weights);
      const [z, scratch] = [memory.alloc((cols + ROW_MARGIN) * 4), memory.alloc((cols + ROW_MARGIN) * 4)];
      const [scales, sums] = [memory.alloc(groupsPerRow(cols, groupSize) * 2), memory.alloc(16)];
      const [rowBytes, factorBytes] = [cols * bytesPerWeight[weights.dtype], Math.ceil(cols / FACTOR_COLS) * 4];
      let [withFeedback, without] = [0, 0];
      for (let row = 0; row < rows; row++) {
        const done = exports.rotateRows(
          ...([
            placed.weights + row * rowBytes,
            placed.dtype,
            placed.factors && placed.factors + row * factorBytes,
          ] as const),
          ...([1, cols, masks, groupSize, z, scales, sums, scratch] as const),
        );
        if (done < 1) throw operands.fault(weights, placed, row, cols, 0);
        const norm = memory.copy(Float64Array, sums, 2)[1];
        withFeedback += norm * (outer?.diagonal[row] ?? 1);
        without += norm * (outer?.own[row] ?? 1);
      }
      const [d, h] = [0, 0].map((_, i) =>
        parts.reduce((all, part) => (i ? part.own : part.diagonal).reduce((sum, value) => sum + value, all), 0),
      );
      return without > 0 ? (d / h) * (withFeedback / without) : 1;
    },

    refine(matrix, weights, weighing) {
      const { rows, cols, grid, groupSize, seed } = matrix;
      if (!isRefinable(grid)) throw new RangeError('grid must be one that can be refined: it is a trellis by labels');
      const parts = partsOf(matrix, weighing);
      const outer = outerOf(matrix, weighing);

      memory.reset();
      const ownTable = tables.of(grid);
      const masks = operands.masks(seed, cols);
      const placed = operands.place(weights);
      const isTrellis = isPaths(grid);
      const vectors = codesPerRow(cols, grid);
      const groups = groupsPerRow(cols, groupSize);
      const steps = Math.ceil(cols / SEQUENCES);
      const lane = isTrellis ? Math.ceil(steps / 8) * 8 : Math.ceil(cols / 8) * 8; // floats of a sequence
      const line = isTrellis ? lane * SEQUENCES : lane; // floats of a row
      const f32s = (count: number) => memory.alloc((count + ROW_MARGIN) * 4);

      const table = isTrellis ? memory.alloc(exports.refineTableBytes()) : ownTable;
      if (isTrellis) exports.refineTable(ownTable, grid.bits, table);
      const uppers = parts.map(({ upper }) => memory.place(upper));
      const squares = parts.map(({ square }) => (square ? memory.place(square) : 0));
      const outerAt = outer ? memory.place(outer.upper) : 0;
      const E = f32s((outer ? rows : BLOCK_ROWS) * line); // errors against the weights
      const e = f32s(BLOCK_ROWS * line); // errors against the targets
      const fed = f32s(BLOCK_ROWS * line); // what errors of other rows feed back
      const across = f32s(BLOCK_ROWS * line); // and those of other sequences
      const work = memory.alloc(isTrellis ? exports.refineScratchBytes(steps) : exports.refinePointsBytes(cols));
      const [z, inverses, sigmas] = [f32s(line), f32s(line), f32s(line)];
      const [values, missed, working, targets] = [f32s(line + 16), f32s(line), f32s(line), f32s(line)];
      const [ds, rowAt, squareAt, begins, ends] = Array.from({ length: 5 }, () => f32s(line));
      const blocks = Math.ceil(lane / STEP_BLOCK);
      const coefficients = f32s(isTrellis ? SEQUENCES * (blocks + 1) * WINDOW * STEP_BLOCK : 0);
      const rotated = memory.alloc(BLOCK_ROWS * (cols + ROW_MARGIN) * 4);
      const scaleBits = memory.alloc(rows * groups * 2);
      const scaleValues = f32s(groups);
      const rowSums = memory.alloc(rows * 16);
      const scratch = memory.alloc((cols + ROW_MARGIN) * 4);
      const codes = memory.alloc(BLOCK_ROWS * (vectors + ROW_MARGIN) * 2);
      const packedBytes = bytesPerRow(cols, grid);
      const packed = memory.alloc(rows * packedBytes);

      const buffer = memory.bytes(0, 0).buffer;
      const floats = (at: number, count: number) => new Float32Array(buffer, at, count);
      const words = (at: number, count: number) => new Uint32Array(buffer, at, count);

      // Where columns stand in a row, and what each costs.
      const placeOf = (col: number) => (isTrellis ? (col % SEQUENCES) * lane + Math.floor(col / SEQUENCES) : col);
      const places = Int32Array.from({ length: cols }, (_, col) => placeOf(col));
      const [D, H] = [new Float64Array(line), new Float64Array(line)];
      const dInts = new Int32Array(buffer, ds, line).fill(MIDDLE);
      for (const at of [rowAt, squareAt, begins, ends]) words(at, line).fill(0);
      const middle = medianOf(parts);
      for (const [p, { start, width, order, diagonal, own }] of parts.entries()) {
        for (let i = 0; i < width; i++) {
          const col = start + order[i];
          D[places[col]] = diagonal[i];
          H[places[col]] = own[i];
          dInts[places[col]] = Math.min(MOST, Math.max(1, Math.round((diagonal[i] / middle) * MIDDLE)));
        }
        for (const [s, { count, at, step }] of runsOf(parts[p], isTrellis).entries()) {
          for (let i = 0; i < count; i++) {
            const place = s * lane + step + i;
            const base = at - step;
            words(rowAt, line)[place] = uppers[p] + ((at + i) * width + base) * 4;
            words(squareAt, line)[place] = squares[p] && squares[p] + (i * width - start) * 4;
            words(begins, line)[place] = step;
            words(ends, line)[place] = step + count;
          }
        }
      }
      if (isTrellis) {
        const all = floats(coefficients, SEQUENCES * (blocks + 1) * WINDOW * STEP_BLOCK).fill(0);
        for (const part of parts) fillCoefficients(all, part, blocks);
      }
      const weighted = new Float64Array(3);
      const rowBytes = cols * bytesPerWeight[weights.dtype];
      const factorBytes = Math.ceil(cols / FACTOR_COLS) * 4;
      const groupOf = groupsOfColumns(cols, groupSize);
      const [zs, inv, sig] = [floats(z, line), floats(inverses, line), floats(sigmas, line)];
      const [vals, miss, own] = [floats(values, line), floats(missed, line), floats(targets, line)];
      const acrossRows = floats(across, BLOCK_ROWS * line);
      const work1 = floats(working, line);
      const sums = new Float64Array(buffer, rowSums, rows * 2);
      const zRows = floats(rotated, BLOCK_ROWS * (cols + ROW_MARGIN));
      const [fedRows, eRows] = [floats(fed, BLOCK_ROWS * line), floats(e, BLOCK_ROWS * line)];
      const allErrors = floats(E, (outer ? rows : BLOCK_ROWS) * line);
      const sigmaRows = new Float32Array(BLOCK_ROWS * groups);

      for (let first = 0; first < rows; first += BLOCK_ROWS) {
        const count = Math.min(BLOCK_ROWS, rows - first);
        const done = exports.rotateRows(
          ...([
            placed.weights + first * rowBytes,
            placed.dtype,
            placed.factors && placed.factors + first * factorBytes,
          ] as const),
          ...([
            count,
            cols,
            masks,
            groupSize,
            rotated,
            scaleBits + first * groups * 2,
            rowSums + first * 16,
            scratch,
          ] as const),
        );
        if (done < count) throw operands.fault(weights, placed, first + done, cols, 0);
        for (let r = 0; r < count; r++) {
          exports.f16ToF32(scaleBits + (first + r) * groups * 2, scaleValues, groups);
          sigmaRows.set(floats(scaleValues, groups), r * groups);
        }
        const errors = outer ? E + first * line * 4 : E;
        const errorsStart = outer ? first * line : 0;
        fedRows.fill(0);
        acrossRows.fill(0);
        if (outer) exports.accumulate(fed, line, outerAt + first * 4, 1, rows, E, line, count, first, line);
        for (let s = 0; s < (isTrellis ? SEQUENCES : 1); s++) {
          const at = s * lane;
          for (let r = 0; r < count; r++) {
            const row = fed + (r * line + at) * 4;
            if (outer) {
              const v = outerAt + (first * rows + first + r) * 4;
              exports.accumulate(row, line, v, 1, rows, errors + at * 4, line, 1, r, lane);
            }
            takeRow(r, s);
            for (let i = 0; i < lane; i++) {
              const rowFed = fedRows[r * line + at + i];
              own[at + i] = zs[at + i] + Math.fround(rowFed * inv[at + i]);
              work1[i] = rowFed + acrossRows[r * line + at + i];
            }
            if (isTrellis) {
              exports.refineSequence(
                ...([
                  steps,
                  z + at * 4,
                  working,
                  targets + at * 4,
                  inverses + at * 4,
                  sigmas + at * 4,
                  ds + at * 4,
                ] as const),
                ...([
                  coefficients + s * (blocks + 1) * WINDOW * STEP_BLOCK * 4,
                  rowAt + at * 4,
                  ends + at * 4,
                ] as const),
                ...([table, codesAt(r) + s * 2, SEQUENCES, values + at * 4, missed + at * 4, work] as const),
              );
            } else {
              exports.refinePoints(
                ...([
                  cols,
                  z,
                  working,
                  inverses,
                  sigmas,
                  rowAt,
                  squareAt,
                  begins,
                  ends,
                  table,
                  dimensionOf(grid),
                ] as const),
                ...([2 ** grid.bits, SWEEPS, codesAt(r), values, missed, work] as const),
              );
            }
            noteRow(r, at);
          }
          for (const [p, part] of isTrellis ? parts.entries() : []) {
            const runs = runsOf(part, true);
            const own = runs[s];
            for (let other = s + 1; other < SEQUENCES; other++) {
              const later = runs[other];
              exports.accumulate(
                ...([across + (other * lane + later.step) * 4, line] as const),
                ...([e + (at + own.step) * 4, line, 1] as const),
                ...([
                  uppers[p] + (own.at * part.width + later.at) * 4,
                  part.width,
                  count,
                  own.count,
                  later.count,
                ] as const),
              );
            }
          }
        }
        for (let r = 0; r < count; r++) {
          exports.packRows(codesAt(r), 1, vectors, grid.bits, packed + (first + r) * packedBytes);
        }

        // A sequence of a row: rotated weights and scales by place.
        function takeRow(r: number, s: number): void {
          const [step, begin] = isTrellis ? [SEQUENCES, s] : [1, 0];
          const at = s * lane;
          zs.fill(0, at, at + lane);
          inv.fill(0, at, at + lane);
          sig.fill(0, at, at + lane);
          for (let col = begin, place = at; col < cols; col += step, place++) {
            const sigma = sigmaRows[r * groups + groupOf[col]];
            zs[place] = zRows[r * (cols + ROW_MARGIN) + col];
            sig[place] = sigma;
            inv[place] = sigma > 0 ? 1 / sigma : 0;
          }
        }

        function noteRow(r: number, at: number): void {
          const weight = outer ? outer.diagonal[first + r] : 1;
          const plain = outer ? outer.own[first + r] : 1;
          let [squared, loss, expected, alone] = [0, 0, 0, 0];
          for (let i = at; i < at + lane; i++) {
            const sigma = sig[i];
            const error = Math.fround(sigma * Math.fround(zs[i] - vals[i]));
            allErrors[errorsStart + r * line + i] = error;
            eRows[r * line + i] = sigma * Math.fround(own[i] - vals[i]);
            squared += error * error;
            const square = sigma * sigma;
            loss += D[i] * square * miss[i] * miss[i];
            expected += D[i] * square;
            alone += H[i] * square;
          }
          sums[2 * (first + r)] += squared;
          weighted[0] += weight * loss;
          weighted[1] += weight * expected;
          weighted[2] += plain * alone;
        }
      }
      return {
        packed: memory.copy(Uint8Array, packed, rows * packedBytes) as Uint8Array<ArrayBuffer>,
        scales: memory.copy(Uint16Array, scaleBits, rows * groups) as Uint16Array<ArrayBuffer>,
        sums: memory.copy(Float64Array, rowSums, rows * 2) as Float64Array<ArrayBuffer>,
        weighted,
      };

      function codesAt(r: number): number {
        return codes + r * (vectors + ROW_MARGIN) * 2;
      }
    },
  };
}

// Columns of a part in the order in which they are worked on.
function orderOf(start: number, width: number, isTrellis: boolean): Int32Array {
  const columns = Array.from({ length: width }, (_, i) => i);
  if (!isTrellis) return Int32Array.from(columns);
  const sequences = Array.from({ length: SEQUENCES }, (_, s) => columns.filter((i) => (start + i) % SEQUENCES === s));
  return Int32Array.from(sequences.flat());
}

/** Consecutive places of a part that are consecutive steps of a sequence. */
interface Run {
  readonly count: number;
  /** The first place, and its step. */
  readonly at: number;
  readonly step: number;
}

// A run for each sequence; one of all columns of a grid of points.
function runsOf({ start, width }: Part, isTrellis: boolean): Run[] {
  if (!isTrellis) return [{ count: width, at: 0, step: start }];
  let at = 0;
  return Array.from({ length: SEQUENCES }, (_, s) => {
    const [step, end] = [start, start + width].map((col) => Math.ceil((col - s) / SEQUENCES));
    const run = { count: end - step, at, step };
    at += run.count;
    return run;
  });
}

// What the search reads of U: (sequence, block, error of the window, step of the block).
function fillCoefficients(all: Float32Array, part: Part, blocks: number): void {
  const { width, upper } = part;
  for (const [s, { count, at, step }] of runsOf(part, true).entries()) {
    for (let i = 0; i < count; i++) {
      const target = step + i;
      const block = Math.floor(target / STEP_BLOCK);
      const oldest = STEP_BLOCK * block - (WINDOW - STEP_BLOCK);
      const base = (s * (blocks + 1) + block) * WINDOW * STEP_BLOCK + (target % STEP_BLOCK);
      for (let source = Math.max(step, oldest); source < target; source++) {
        all[base + (source - oldest) * STEP_BLOCK] = upper[(at + source - step) * width + at + i];
      }
    }
  }
}

function medianOf(parts: readonly Part[]): number {
  const all = Float64Array.from(parts.flatMap(({ diagonal }) => [...diagonal])).sort();
  return all[all.length >> 1];
}

// The group of each column.
function groupsOfColumns(cols: number, groupSize: number): Int32Array {
  const groups = new Int32Array(cols);
  for (let [start, width, group] = [0, groupSize, 0]; start < cols; ) {
    if (width > cols - start) width /= 2;
    else {
      groups.fill(group++, start, start + width);
      start += width;
    }
  }
  return groups;
}

function transpose(from: Float32Array, to: Float32Array, n: number): void {
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) to[j * n + i] = from[i * n + j];
}
