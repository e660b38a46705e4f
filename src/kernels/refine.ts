// Encoding a whole matrix with error feedback. H = Σ x xᵀ of the matrix' inputs and G = Σ δ δᵀ of its output gradients say what an error
// costs: tr(G E H Eᵀ). With R H Rᵀ + λ = U D Uᵀ and G + λ = V d Vᵀ, both unit upper triangular, that is
//   Σ_i d_i Σ_k D_k (e_k + Σ_{j<k} e_j U_jk)²,   e = the errors of row i against t_i = w_i + Σ_{j<i} V_ji E_j,   E = w − ŵ
// so rows go from the first to the last, each with its target t. A trellis' row goes sequence by sequence, which is the order of U, too; a
// grid's points from left to right. Where a sequence ends for a block of rows, its errors go to the sequences after it in one product, and
// those of whole blocks to the rows of the next: both by integers of 16 bits (assembly/refine/product.ts). A group's scale is the RMS of what
// is rounded: of its weights; with 2 bits, where errors are large, of its weights with what is fed back.

import type { Arena } from './arena.ts';
import type { KernelExports } from './exports.ts';
import { bytesPerRow, codesPerRow, groupsPerRow, isByLabels, isPaths, SEQUENCES } from './layout.ts';
import { bytesPerWeight, type Matrix, type Operands, type Weights } from './operands.ts';
import { byGroups, type Groups, groupsOfColumns, isByTargets } from './scaling.ts';
import { dimensionOf, FACTOR_COLS, ROW_MARGIN } from './sizes.ts';
import type { Tables } from './tables.ts';
import { type ColumnPart, coefficientsOf, factoringIn, type Outer, runsOf, type Weighing } from './weighing.ts';

/** Rows whose feedback from the rows before is one product. */
const BLOCK_ROWS = 32;
/** Terms of a sum of integers (assembly/refine/product.ts). */
const DEPTH = 128;
/** What the middle D becomes, and the most: costs are 32-bit integers. */
const [MIDDLE, MOST] = [64, 255];
/** Bytes of what chooses the seam of a sequence anew (assembly/refine/seam.ts). */
const SEAM_BYTES = 88;
/** Sweeps over the codes of points. */
const SWEEPS = 2;

/** A matrix that was encoded with feedback. */
export interface Refined {
  /** Codes, (rows, bytesPerRow). */
  readonly packed: Uint8Array<ArrayBuffer>;
  /** Scales, (rows, groupsPerRow), f16 bits. */
  readonly scales: Uint16Array<ArrayBuffer>;
  /** What each row lost, errors alike: (rows, 2): squared error, squared norm. */
  readonly sums: Float64Array<ArrayBuffer>;
  /** The weighted squared error; what it would be of errors as large as the weights, with feedback; and without. */
  readonly weighted: Float64Array<ArrayBuffer>; // (3)
}

/** Quantizing with error feedback. */
export interface Refiner {
  /**
   * Quantizes a matrix with error feedback.
   * @throws {RangeError} for NaN, infinity, or a group whose RMS f16 cannot hold; names row and column
   */
  refine(matrix: Matrix, weights: Weights, weighing: Weighing): Refined;
  /** By what `refine` would lower the loss, whatever the grid: Σ D / tr H · Σ d σ² / Σ G σ². Throws as `refine` does. */
  gain(matrix: Matrix, weights: Weights, weighing: Weighing): number;
}

/** @returns a refiner that works in this memory */
export function refinerIn(memory: Arena, exports: KernelExports, tables: Tables, operands: Operands): Refiner {
  const factoring = factoringIn(memory, exports, operands);

  type Places = ReturnType<typeof place>;

  // Addresses of all that the rows of a matrix need, placed once.
  function place(
    matrix: Matrix,
    weights: Weights,
    parts: readonly ColumnPart[],
    outer: Outer | undefined,
    { factors }: Groups,
  ) {
    const { rows, cols, grid, groupSize, seed } = matrix;
    memory.reset();
    const ownTable = tables.of(grid);
    const masks = operands.masks(seed, cols);
    const placed = operands.place(weights);
    const isTrellis = isPaths(grid);
    const vectors = codesPerRow(cols, grid);
    const groups = groupsPerRow(cols, groupSize);
    const steps = Math.ceil(cols / SEQUENCES);
    const lane = Math.ceil((isTrellis ? steps : cols) / 8) * 8; // floats of a sequence
    const line = isTrellis ? lane * SEQUENCES : lane; // floats of a row
    const f32s = (count: number) => memory.alloc((count + ROW_MARGIN) * 4);
    const table = isTrellis ? memory.alloc(exports.refineTableBytes()) : ownTable;
    if (isTrellis) exports.refineTable(ownTable, grid.bits, isByLabels(grid) ? 1 : 0, table);
    return {
      ...{ masks, placed, vectors, groups, steps, lane, line, table },
      search: isTrellis ? placeCoefficients(parts, steps, table) : undefined,
      uppers: parts.map(({ upper }) => memory.place(upper)),
      squares: parts.map(({ square }) => (square ? memory.place(square) : 0)),
      outer: outer ? memory.place(outer.upper) : 0,
      E: f32s(BLOCK_ROWS * line), // errors against the weights
      pairs: outer ? memory.alloc(pairBytes(rows, line)) : 0, // those of the blocks before, as integers
      scalesOfPairs: f32s(outer ? rows : 0),
      uppersOfPairs: parts.map((part) =>
        isTrellis ? laterRuns(part).map(({ own, later }) => memory.alloc(pairBytes(own.count, later.count))) : [],
      ),
      scalesOfUppers: parts.map((part) => (isTrellis ? laterRuns(part).map(({ own }) => f32s(own.count)) : [])),
      factors: memory.alloc(BLOCK_ROWS * (Math.max(outer ? rows : 0, lane) + DEPTH) * 2),
      factorScales: f32s(BLOCK_ROWS * (Math.ceil(Math.max(outer ? rows : 0, lane) / DEPTH) + 1)),
      e: f32s(BLOCK_ROWS * line), // errors against the targets
      fed: f32s(BLOCK_ROWS * line), // what errors of other rows feed back
      across: f32s(BLOCK_ROWS * line), // and those of other sequences
      work: memory.alloc(isTrellis ? exports.refineScratchBytes(steps, table) : exports.refinePointsBytes(cols)),
      ...{ z: f32s(line), inverses: f32s(line), sigmas: f32s(line), values: f32s(line + 16), missed: f32s(line) },
      ...{ working: f32s(line), targets: f32s(line), ds: f32s(line), rowAt: f32s(line), squareAt: f32s(line) },
      seams: memory.alloc(SEQUENCES * SEAM_BYTES),
      ...{ begins: f32s(line), ends: f32s(line), D: memory.alloc(line * 8) },
      rotated: f32s(BLOCK_ROWS * (cols + ROW_MARGIN)),
      scaleBits: memory.alloc(rows * groups * 2),
      scaleValues: f32s(BLOCK_ROWS * groups),
      ratios: f32s(BLOCK_ROWS * groups), // of a group's RMS to its scale
      scaleFactors: memory.place(factors),
      groupOf: memory.place(groupsOfColumns(cols, groupSize)),
      rowSums: memory.alloc(rows * 16),
      noted: memory.alloc(16),
      scratch: f32s(cols),
      codes: memory.alloc(BLOCK_ROWS * (vectors + ROW_MARGIN) * 2),
      packed: memory.alloc(rows * bytesPerRow(cols, grid)),
    };
  }

  // What the search reads of U.
  function placeCoefficients(parts: readonly ColumnPart[], steps: number, table: number) {
    const { recent, older, places, strides } = coefficientsOf(parts, steps, {
      own: exports.refineOwn(table),
      ownBits: exports.refineOwnBits(table),
    });
    const at = memory.place(older);
    for (let i = 0; i < places.length; i += 2) places[i] = at + places[i] * 2;
    return { recent: memory.place(recent), places: memory.place(places), strides };
  }

  // Where the columns of parts stand in a row, and what each costs.
  function writeParts(matrix: Matrix, parts: readonly ColumnPart[], at: Places): void {
    const isTrellis = isPaths(matrix.grid);
    const { line, lane } = at;
    const { buffer } = memory.bytes(0, 0);
    const placeOf = (col: number) => (isTrellis ? (col % SEQUENCES) * lane + Math.floor(col / SEQUENCES) : col);
    const [rowAt, squareAt, begins, ends] = [at.rowAt, at.squareAt, at.begins, at.ends].map((address) =>
      new Uint32Array(buffer, address, line).fill(0),
    );
    const D = new Float64Array(buffer, at.D, line).fill(0);
    const ds = new Int32Array(buffer, at.ds, line).fill(MIDDLE);
    // Behind a row's end nothing is written: what memory holds there may be NaN.
    for (const address of [at.values, at.missed]) new Float32Array(buffer, address, line).fill(0);
    const middle = medianOf(parts);
    for (const [p, part] of parts.entries()) {
      const { start, width, order, diagonal } = part;
      for (let i = 0; i < width; i++) {
        const place = placeOf(start + order[i]);
        D[place] = diagonal[i];
        ds[place] = Math.min(MOST, Math.max(1, Math.round((diagonal[i] / middle) * MIDDLE)));
      }
      if (isTrellis) continue;
      for (let col = start; col < start + width; col++) {
        rowAt[col] = at.uppers[p] + ((col - start) * width - start) * 4;
        squareAt[col] = at.squares[p] + ((col - start) * width - start) * 4;
        begins[col] = start;
        ends[col] = start + width;
      }
    }
    if (!isTrellis) return;
    for (const [s, { at: place, count }] of runsOf(parts[0]).entries()) {
      const [u, stride] = [at.uppers[0] + place * (parts[0].width + 1) * 4, parts[0].width * 4];
      exports.prepareSeam(u, stride, count, at.ds + s * lane * 4, at.seams + s * SEAM_BYTES);
    }
    for (const [p, part] of parts.entries()) {
      for (const [i, { own, later }] of laterRuns(part).entries()) {
        exports.packPairs(
          ...([at.uppers[p] + (own.at * part.width + later.at) * 4, part.width, own.count, later.count] as const),
          ...([at.uppersOfPairs[p][i], pairsOf(own.count), 0, at.scalesOfUppers[p][i]] as const),
        );
      }
    }
  }

  return {
    gain(matrix, weights, weighing) {
      const { rows, cols, groupSize, seed } = matrix;
      const parts = factoring.partsOf(matrix, weighing);
      const outer = factoring.outerOf(matrix, weighing);
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
      const { rows, cols, grid } = matrix;
      const parts = factoring.partsOf(matrix, weighing);
      const outer = factoring.outerOf(matrix, weighing);
      const isTrellis = isPaths(grid);
      const sequences = isTrellis ? SEQUENCES : 1;
      const ofGroups = byGroups(matrix, parts);
      const at = place(matrix, weights, parts, outer, ofGroups);
      writeParts(matrix, parts, at);
      const { line, lane, groups, vectors } = at;
      const { buffer } = memory.bytes(0, 0);
      const [fed, across] = [at.fed, at.across].map((address) => new Float32Array(buffer, address, BLOCK_ROWS * line));
      const noted = new Float64Array(buffer, at.noted, 2);
      const sums = new Float64Array(buffer, at.rowSums, rows * 2);
      const weighted = new Float64Array(3);
      const scaleValues = new Float32Array(buffer, at.scaleValues, BLOCK_ROWS * groups);
      new Float32Array(buffer, at.ratios, BLOCK_ROWS * groups).fill(1);
      const packedBytes = bytesPerRow(cols, grid);

      for (let first = 0; first < rows; first += BLOCK_ROWS) {
        const count = Math.min(BLOCK_ROWS, rows - first);
        rotateBlock(matrix, weights, at, first, count);
        fed.fill(0);
        across.fill(0);
        if (outer) {
          exports.packFactors(
            ...([at.outer + first * 4, 1, rows, count, first, at.scalesOfPairs, at.factors, at.factorScales] as const),
          );
          exports.addProducts(
            ...([at.fed, line, at.factors, at.factorScales, at.pairs, pairsOf(rows), count, first, line] as const),
          );
        }
        for (let r = 0; r < count; r++) expectOf(r, first + r);
        if (isByTargets(grid)) chooseScales(matrix, at, first, count);
        for (let s = 0; s < sequences; s++) {
          for (let r = 0; r < count; r++) {
            if (outer) {
              const v = at.outer + (first * rows + first + r) * 4;
              const own = at.fed + (r * line + s * lane) * 4;
              exports.accumulate(own, line, v, 1, rows, at.E + s * lane * 4, line, 1, r, lane);
            }
            refineOne(matrix, at, r, s);
            noteOne(r, s, first + r);
          }
          if (!isTrellis) continue;
          feedLater(parts, at, s, count);
          for (let r = 0; r < count; r++) weighOne(r, s, first + r);
        }
        if (outer && first + count < rows) {
          const scales = at.scalesOfPairs + first * 4;
          exports.packPairs(at.E, line, count, line, at.pairs, pairsOf(rows), first / 2, scales);
        }
        for (let r = 0; r < count; r++) {
          exports.packRows(codesAt(at, r), 1, vectors, grid.bits, at.packed + (first + r) * packedBytes);
        }
      }
      return {
        packed: memory.copy(Uint8Array, at.packed, rows * packedBytes) as Uint8Array<ArrayBuffer>,
        scales: memory.copy(Uint16Array, at.scaleBits, rows * groups) as Uint16Array<ArrayBuffer>,
        sums: memory.copy(Float64Array, at.rowSums, rows * 2) as Float64Array<ArrayBuffer>,
        weighted,
      };

      // What the errors of a sequence of a trellis cost, after feedLater.
      function weighOne(r: number, s: number, row: number): void {
        const residuals = at.across + (r * line + s * lane) * 4;
        const loss = exports.weighResiduals(lane, residuals, at.D + s * lane * 8);
        weighted[0] += (outer ? outer.diagonal[row] : 1) * loss;
      }

      // What errors as large as the weights would cost, with feedback and without, while scales are still RMS.
      function expectOf(r: number, row: number): void {
        for (let g = 0; g < groups; g++) {
          const square = scaleValues[r * groups + g] ** 2;
          weighted[1] += (outer ? outer.diagonal[row] : 1) * square * ofGroups.diagonals[g];
          weighted[2] += (outer ? outer.own[row] : 1) * square * ofGroups.own[g];
        }
      }

      function noteOne(r: number, s: number, row: number): void {
        const [own, here] = [s * lane * 4, (r * line + s * lane) * 4];
        noted.fill(0);
        exports.noteSequence(
          ...([lane, at.z + own, at.sigmas + own, at.values + own, at.missed + own, at.targets + own] as const),
          ...([at.D + own * 2, at.E + here, at.e + here, at.noted] as const),
        );
        const [squared, loss] = noted;
        sums[2 * row] += squared;
        weighted[0] += (outer ? outer.diagonal[row] : 1) * loss;
      }
    },
  };

  // Rotates rows, and gives their scales.
  function rotateBlock({ cols, groupSize }: Matrix, weights: Weights, at: Places, first: number, count: number): void {
    const { placed, groups } = at;
    const rowBytes = cols * bytesPerWeight[weights.dtype];
    const factorBytes = Math.ceil(cols / FACTOR_COLS) * 4;
    const factors = placed.factors && placed.factors + first * factorBytes;
    const scales = at.scaleBits + first * groups * 2;
    const done = exports.rotateRows(
      ...([placed.weights + first * rowBytes, placed.dtype, factors, count, cols, at.masks, groupSize] as const),
      ...([at.rotated, scales, at.rowSums + first * 16, at.scratch] as const),
    );
    if (done < count) throw operands.fault(weights, placed, first + done, cols, 0);
    exports.f16ToF32(scales, at.scaleValues, count * groups);
  }

  // Scales of groups by what is rounded: their RMS with what rows before feed back, and by how much columns before do.
  function chooseScales({ cols, grid, groupSize }: Matrix, at: Places, first: number, count: number): void {
    const { lane, line, groups } = at;
    const sequences = isPaths(grid) ? SEQUENCES : 1;
    const scales = at.scaleBits + first * groups * 2;
    for (let r = 0; r < count; r++) {
      exports.targetScales(
        ...([
          at.rotated + r * (cols + ROW_MARGIN) * 4,
          at.fed + r * line * 4,
          sequences,
          lane,
          cols,
          groupSize,
        ] as const),
        ...([at.scaleFactors, scales + r * groups * 2, at.ratios + r * groups * 4] as const),
      );
    }
    exports.f16ToF32(scales, at.scaleValues, count * groups);
  }

  // The codes of a sequence of row `r` of a block, or of the row.
  function refineOne({ cols, grid }: Matrix, at: Places, r: number, s: number): void {
    const isTrellis = isPaths(grid);
    const { lane, line, steps } = at;
    const [own, here] = [s * lane * 4, (r * line + s * lane) * 4];
    const count = isTrellis ? Math.ceil((cols - s) / SEQUENCES) : cols;
    exports.takeSequence(
      ...([at.rotated + r * (cols + ROW_MARGIN) * 4, s, isTrellis ? SEQUENCES : 1, count, lane] as const),
      ...([
        at.scaleValues + r * at.groups * 4,
        at.ratios + r * at.groups * 4,
        at.groupOf,
        at.z + own,
        at.sigmas + own,
        at.inverses + own,
      ] as const),
      ...([at.fed + here, at.across + here, at.targets + own, at.working] as const),
    );
    if (at.search) {
      const { recent, places, strides } = at.search;
      exports.refineSequence(
        ...([
          steps,
          at.z + own,
          at.working,
          at.targets + own,
          at.inverses + own,
          at.sigmas + own,
          at.ds + own,
        ] as const),
        ...([places + s * strides.places * 4, recent + s * strides.recent * 2] as const),
        ...([at.seams + s * SEAM_BYTES, at.table] as const),
        ...([codesAt(at, r) + s * 2, SEQUENCES, at.values + own, at.work] as const),
      );
    } else {
      exports.refinePoints(
        ...([cols, at.z, at.working, at.inverses, at.sigmas, at.rowAt, at.squareAt, at.begins, at.ends] as const),
        ...([at.table, dimensionOf(grid), 2 ** grid.bits, SWEEPS] as const),
        ...([codesAt(at, r), at.values, at.missed, at.work] as const),
      );
    }
  }

  // What the errors of a sequence feed back to those after it, and within it, of a block of rows: where no error is fed any more, what is
  // left with U's diagonal of 1 is e U.
  function feedLater(parts: readonly ColumnPart[], at: Places, s: number, count: number): void {
    const { lane, line } = at;
    for (const [p, part] of parts.entries()) {
      for (const [i, { s: from, own, other, later }] of laterRuns(part).entries()) {
        if (from !== s) continue;
        exports.packFactors(
          ...([at.e + (s * lane + own.step) * 4, line, 1, count, own.count, at.scalesOfUppers[p][i]] as const),
          ...([at.factors, at.factorScales] as const),
        );
        exports.addProducts(
          ...([at.across + (other * lane + later.step) * 4, line, at.factors, at.factorScales] as const),
          ...([at.uppersOfPairs[p][i], pairsOf(own.count), count, own.count, later.count] as const),
        );
      }
    }
  }

  function codesAt({ codes, vectors }: Places, r: number): number {
    return codes + r * (vectors + ROW_MARGIN) * 2;
  }
}

// Pairs of rows, and the bytes of their integers, of (rows, cols).
function pairsOf(rows: number): number {
  return Math.ceil(rows / 2);
}

function pairBytes(rows: number, cols: number): number {
  return pairsOf(rows) * Math.ceil(cols / 8) * 32;
}

// The runs of a part, each with one of a later sequence; then in pieces with what is not before them of their own.
function laterRuns(part: ColumnPart) {
  const runs = runsOf(part);
  return runs.flatMap((own, s) => {
    const pieces = Array.from({ length: Math.ceil(own.count / DEPTH) }, (_, i) => {
      const from = (offset: number, count: number) => ({ count, at: own.at + offset, step: own.step + offset });
      const rest = own.count - i * DEPTH;
      return { s, own: from(i * DEPTH, Math.min(DEPTH, rest)), other: s, later: from(i * DEPTH, rest) };
    });
    return [...runs.map((later, other) => ({ s, own, other, later })).slice(s + 1), ...pieces];
  });
}

function medianOf(parts: readonly ColumnPart[]): number {
  const all = Float64Array.from(parts.flatMap(({ diagonal }) => [...diagonal])).sort();
  return all[all.length >> 1];
}
