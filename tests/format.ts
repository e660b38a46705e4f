// FORMAT.md, implemented a second time: in f64, bit by bit, dense Hadamard matrices, nothing from src/. With it, bounds
// for how far the library's f32 may be from this f64, derived, not guessed.

import * as assert from 'uvu/assert';
import { crc32, type Found, readSafetensors, valuesOf } from './checkpoints.ts';
import { checkPath, integersOf, type Trellis } from './format-trellis.ts';

/** Unit roundoff of f32. */
const U = 2 ** -24;
/** Smallest positive f32: a bound for what underflow adds. */
const TINY = 2 ** -149;
/** Higham's γ: k roundings in a row, relatively. */
export const gamma = (k: number) => (k * U) / (1 - k * U);

// --- FORMAT.md, "One matrix"

/** How a matrix is stored, and the points of its grid. */
export interface Layout {
  rows: number;
  cols: number;
  groupSize: number;
  seed: number | null;
  grid: Points | Trellis;
}

export interface Points {
  p: number;
  n: number;
  points: ArrayLike<number>; // (n, p)
}

/** A matrix read from its codes and scales. */
export interface Decoded {
  weights: Float64Array; // (rows, cols)
  /** σ/√g · Σ|v| of each weight's group: what each rounding is relative to. */
  magnitudes: Float64Array; // (rows, cols)
  vectors: Float64Array; // (rows, cols): σ · v, in the rotated domain
  codes: number[][];
}

/** The groups of a row. */
export function groupsOf(cols: number, groupSize: number): { start: number; size: number }[] {
  const groups = [];
  for (let start = 0; start < cols; ) {
    let size = groupSize;
    while (size > cols - start) size /= 2;
    groups.push({ start, size });
    start += size;
  }
  return groups;
}

/** The sign of column i: −1 or 1; always 1 without a seed. */
export function signOf(seed: number | null, i: number): number {
  if (seed === null) return 1;
  const mix = (h: bigint) => {
    h = ((h ^ (h >> 16n)) * 0x85ebca6bn) & 0xffffffffn;
    h = ((h ^ (h >> 13n)) * 0xc2b2ae35n) & 0xffffffffn;
    return h ^ (h >> 16n);
  };
  const k = BigInt(Math.floor(i / 32));
  const word = mix((mix(BigInt(seed)) + (k + 1n) * 0x9e3779b9n) & 0xffffffffn);
  return (word >> BigInt(i % 32)) & 1n ? -1 : 1;
}

// H[i][j] = (−1)^(number of ones in i & j) = ODD[i & j] ? −1 : 1.
const ODD = Uint8Array.from({ length: 4096 }, (_, bits) => bits.toString(2).replaceAll('0', '').length % 2);

function codesOf(row: Uint8Array, count: number, bits: number): number[] {
  const codes = [];
  for (let i = 0; i < count; i++) {
    let code = 0;
    for (let k = 0; k < bits; k++) {
      const bit = i * bits + k;
      code += ((row[Math.floor(bit / 8)] >> (bit % 8)) & 1) * 2 ** k;
    }
    codes.push(code);
  }
  for (let at = count * bits; at < row.length * 8; at++) {
    assert.is((row[Math.floor(at / 8)] >> (at % 8)) & 1, 0, 'unused bits at the end of a row are 0');
  }
  return codes;
}

/** Bits of a code, and how many a row of `cols` has. */
export function sizesOf(grid: Points | Trellis, cols: number): { bits: number; count: number } {
  return 'tables' in grid
    ? { bits: grid.bits, count: Math.ceil(cols / 4) * 4 }
    : { bits: Math.log2(grid.n), count: Math.ceil(cols / grid.p) };
}

// What a row's codes stand for.
function valuesAt(codes: readonly number[], grid: Points | Trellis, cols: number): number[] {
  if ('tables' in grid) return integersOf(codes, grid).map((u) => Math.fround(grid.step * (u - grid.zero)));
  const { p, points } = grid;
  return Array.from({ length: cols }, (_, i) => points[codes[Math.floor(i / p)] * p + (i % p)]);
}

/** Reads a matrix; asserts its lengths and the unused bits. */
export function decode(packed: Uint8Array, scales: ArrayLike<number>, layout: Layout): Decoded {
  const { rows, cols, groupSize, seed, grid } = layout;
  const { bits, count } = sizesOf(grid, cols);
  const bytesPerRow = Math.ceil((count * bits) / 8);
  const groups = groupsOf(cols, groupSize);
  assert.is(packed.length, rows * bytesPerRow);
  assert.is(scales.length, rows * groups.length);
  const signs = Array.from({ length: cols }, (_, i) => signOf(seed, i));
  const weights = new Float64Array(rows * cols);
  const magnitudes = new Float64Array(rows * cols);
  const vectors = new Float64Array(rows * cols);
  const codes = [];
  for (let row = 0; row < rows; row++) {
    const rowCodes = codesOf(packed.subarray(row * bytesPerRow, (row + 1) * bytesPerRow), count, bits);
    codes.push(rowCodes);
    const v = valuesAt(rowCodes, grid, cols);
    for (const [k, { start, size }] of groups.entries()) {
      const scale = scales[row * groups.length + k];
      let magnitude = 0;
      for (let j = 0; j < size; j++) magnitude += Math.abs(v[start + j]);
      for (let i = 0; i < size; i++) {
        let sum = 0;
        for (let j = 0; j < size; j++) sum += ODD[i & j] ? -v[start + j] : v[start + j];
        const index = row * cols + start + i;
        weights[index] = (signs[start + i] * scale * sum) / Math.sqrt(size);
        magnitudes[index] = (scale / Math.sqrt(size)) * magnitude;
        vectors[index] = scale * v[start + i];
      }
    }
  }
  return { weights, magnitudes, vectors, codes };
}

/**
 * How far f32 may be from f64, for one weight. The tree of log2 g additions rounds at each level; √g, 1/√g, c and the
 * product by c round once each; the last product may underflow.
 */
export function tolerance({ magnitudes }: Decoded, i: number, groupSize: number): number {
  return gamma(Math.log2(groupSize) + 4) * magnitudes[i] + TINY;
}

// --- FORMAT.md, "Tensors" and "Metadata": a whole checkpoint

/** A quantized weight of a checkpoint. */
export interface Weight {
  layout: Layout;
  shape: number[];
  dtype: string;
  packed: Found;
  scales: Found;
  /** Σ(w − ŵ)² and Σw², as noted. */
  sums: [number, number];
}

/** What a checkpoint holds: by name, what is quantized and what passed through. */
export interface Contents {
  weights: Map<string, Weight>;
  plain: Map<string, Found>;
}

/** Reads the files of a checkpoint, in their order, and asserts every rule of the format on the way. */
export function readAll(files: readonly Uint8Array[]): Contents {
  const grids = new Map<string, Points | Trellis>();
  const contents: Contents = { weights: new Map(), plain: new Map() };
  let paddings = 0;
  for (const [k, file] of files.entries()) {
    const { metadata, dataStart, tensors } = readSafetensors(file);
    assert.is(metadata['higgs.format'], '1');
    assert.is(dataStart % 8, 0);
    const about: Record<string, { shape: number[]; dtype: string; grid: string; groupSize: number; seed: number }> =
      JSON.parse(metadata['higgs.tensors']);
    const notes: Record<string, { mse: number; step: number; zero: number; kept?: number[] }> = JSON.parse(
      metadata['higgs.grids'] ?? '{}',
    );
    if (metadata['higgs.grids'] !== undefined) assert.ok(Object.keys(notes).length > 0);

    let end = dataStart;
    const checked: [string, Found][] = [];
    for (const [name, tensor] of tensors) {
      assert.is(tensor.start, end, `${name} starts where the tensor before it ends`);
      end = tensor.start + tensor.bytes.length;
      if (name.startsWith('higgs.padding.')) {
        assert.is(name, `higgs.padding.${paddings++}`);
        assert.is(tensor.dtype, 'U8');
        assert.equal(tensor.shape, [tensor.bytes.length]);
        assert.ok(tensor.bytes.length >= 1 && tensor.bytes.length <= 7);
        assert.ok(tensor.bytes.every((byte) => byte === 0));
        continue;
      }
      assert.is(tensor.start % 8, 0, `${name} is aligned`);
      if (name !== `higgs.checksums.${k}`) checked.push([name, tensor]);
    }
    assert.is(end, file.length);
    assert.is([...tensors.keys()].at(-1), `higgs.checksums.${k}`);

    const checksums = tensors.get(`higgs.checksums.${k}`)!;
    assert.is(checksums.dtype, 'U32');
    assert.equal(checksums.shape, [1 + checked.length]);
    assert.equal(
      [...valuesOf(checksums)],
      [file.subarray(0, dataStart), ...checked.map(([, { bytes }]) => bytes)].map((bytes) => crc32(bytes)),
    );

    for (const [grid, { mse, step, zero, kept }] of Object.entries(notes)) {
      assert.not(grids.has(grid), `${grid} is stored once`);
      assert.ok(mse > 0);
      const tensor = tensors.get(`higgs.grid.${grid}`)!;
      if (grid.startsWith('t')) {
        assert.is(tensor.dtype, 'U8');
        assert.equal(tensor.shape, [kept ? 2 : 3, 16]);
        grids.set(grid, { bits: Number(grid[1]), step, zero, tables: tensor.bytes, kept });
        continue;
      }
      const [, p, n] = /^p(\d+)n(\d+)$/.exec(grid)!.map(Number);
      assert.is(tensor.dtype, 'F32');
      assert.equal(tensor.shape, [n, p]);
      grids.set(grid, { n, p, points: valuesOf(tensor) });
    }
    const packedOnes = checked.filter(([name]) => name.endsWith('.packed') && Object.hasOwn(about, name.slice(0, -7)));
    assert.is(packedOnes.length, Object.keys(about).length);
    const errors = tensors.get(`higgs.errors.${k}`);
    if (packedOnes.length === 0) assert.is(errors, undefined);
    else {
      assert.is(errors!.dtype, 'F64');
      assert.equal(errors!.shape, [packedOnes.length, 2]);
    }
    const sums = errors && valuesOf(errors);
    const parts = new Set<string>();
    for (const [i, [packedName, packed]] of packedOnes.entries()) {
      const name = packedName.slice(0, -7);
      const { shape, dtype, grid: gridName, groupSize, seed } = about[name];
      const grid = grids.get(gridName)!;
      const rows = shape.slice(0, -1).reduce((product, size) => product * size);
      const cols = shape.at(-1)!;
      const scales = tensors.get(`${name}.scales`)!;
      assert.is(packed.dtype, 'U8');
      assert.equal(packed.shape, [rows, packed.bytes.length / rows]);
      assert.is(scales.dtype, 'F16');
      assert.equal(scales.shape, [rows, groupsOf(cols, groupSize).length]);
      contents.weights.set(name, {
        layout: { rows, cols, groupSize, seed, grid },
        shape,
        dtype,
        packed,
        scales,
        sums: [sums![2 * i], sums![2 * i + 1]],
      });
      parts.add(packedName).add(`${name}.scales`);
    }
    for (const [name, tensor] of checked) {
      if (parts.has(name) || /^higgs\.(grid\.(p\dn\d+|t\d[a-z]?)|errors\.\d+)$/.test(name)) continue;
      assert.not(name.startsWith('higgs.'), name);
      contents.plain.set(name, tensor);
    }
  }
  return contents;
}

// --- what the library made of a weight, against f64

/**
 * The noted sums against f64. Σw² is a sum of g squares and a sum over groups: γ(g + groups + 1). The error is measured in the
 * rotated domain, E = Σ σ²·‖z − v‖². Each stage of the transform is √2 times an orthogonal matrix and rounds its result
 * once, so ‖δz‖ ≤ γ(log2 g + 6)·‖z‖ with the factor's roundings and the difference's, hence
 * |√E' − √E| ≤ γ(log2 g + 6)·‖w‖, and the sum of squares rounds as above.
 */
export function checkSums(
  name: string,
  w: Float64Array,
  { weights }: Decoded,
  layout: Layout,
  sums: [number, number],
): void {
  const { cols, rows, groupSize } = layout;
  let [error, norm] = [0, 0];
  for (let i = 0; i < w.length; i++) {
    error += (w[i] - weights[i]) ** 2;
    norm += w[i] ** 2;
  }
  const summing = gamma(Math.min(cols, groupSize) + 2) + rows * groupsOf(cols, groupSize).length * 2 ** -53;
  const shift = gamma(Math.log2(groupSize) + 6) * Math.sqrt(norm);
  const floor = w.length * 2 ** -126;
  assert.ok(Math.abs(sums[1] - norm) <= summing * norm + floor, `${name}: Σw² is ${sums[1]}, in f64 ${norm}`);
  const bound = 2 * Math.sqrt(error) * shift + shift ** 2 + summing * (Math.sqrt(error) + shift) ** 2 + floor;
  assert.ok(Math.abs(sums[0] - error) <= bound, `${name}: Σ(w − ŵ)² is ${sums[0]}, in f64 ${error}`);
}

/** Scales are the groups' RMS, rounded to f16; codes are nearest points or best paths, all up to the roundings of f32. */
export function checkCodes(
  name: string,
  w: Float64Array,
  decoded: Decoded,
  scales: Float64Array,
  layout: Layout,
): void {
  const { cols, groupSize, seed, grid } = layout;
  const rows = Math.min(layout.rows, 3);
  const groups = groupsOf(cols, groupSize);
  for (let row = 0; row < rows; row++) {
    const z = new Float64Array(cols + 4);
    const slack = new Float64Array(z.length);
    for (const [k, { start, size }] of groups.entries()) {
      const scale = scales[row * groups.length + k];
      const group = Array.from({ length: size }, (_, i) => w[row * cols + start + i] * signOf(seed, start + i));
      const rms = Math.sqrt(group.reduce((sum, x) => sum + x * x, 0) / size);
      const spacing = 2 ** (Math.max(-14, Math.floor(Math.log2(Math.max(rms, scale)))) - 10);
      assert.ok(Math.abs(scale - rms) <= spacing / 2 + gamma(size + 3) * rms, `${name}: scale ${scale} of RMS ${rms}`);
      if (scale === 0) continue;
      const factor = 1 / (Math.sqrt(size) * scale);
      const total = group.reduce((sum, x) => sum + Math.abs(x), 0);
      for (let i = 0; i < size; i++) {
        let sum = 0;
        for (let j = 0; j < size; j++) sum += ODD[i & j] ? -group[j] : group[j];
        z[start + i] = sum * factor;
        slack[start + i] = gamma(Math.log2(size) + 4) * total * factor;
      }
    }
    if ('tables' in grid) checkPath(`${name}, row ${row}`, decoded.codes[row], z, slack, grid);
    else checkNearest(`${name}, row ${row}`, decoded.codes[row], z, slack, grid);
  }
}

function checkNearest(
  name: string,
  codes: readonly number[],
  z: Float64Array,
  slack: Float64Array,
  { p, n, points }: Points,
): void {
  for (const [i, code] of codes.entries()) {
    // score = z·g − ½‖g‖²: z may be off by slack, and p products and sums round.
    const score = (j: number) => {
      let [value, doubt] = [0, 0];
      for (let k = 0; k < p; k++) {
        const [coordinate, g] = [z[i * p + k], points[j * p + k]];
        value += coordinate * g - (g * g) / 2;
        doubt += slack[i * p + k] * Math.abs(g) + gamma(p + 2) * (Math.abs(coordinate * g) + (g * g) / 2);
      }
      return { value, doubt };
    };
    const distance = score(code);
    for (let j = 0; j < n; j++) {
      const other = score(j);
      if (other.value - other.doubt > distance.value + distance.doubt) {
        assert.unreachable(`${name}: code ${i} is ${code}, but ${j} is nearer`);
      }
    }
  }
}
