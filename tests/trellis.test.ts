// Trellises: the search for codes against brute force, every kernel against its twin, bit by bit, and the errors that the tables promise.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/higgs.debug.wasm';
import { trellises as all } from '../src/grids/trellises.ts';
import { arena } from '../src/kernels/arena.ts';
import type { KernelExports } from '../src/kernels/exports.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { dequantize, type EncodedMatrix, encode, type MatrixLayout, matvec } from '../src/reference/encode.ts';
import { rotate, signs } from '../src/reference/hadamard.ts';
import {
  cheapestCycle,
  memoryOfTables,
  type TrellisTables,
  targetOf,
  trellisValues,
  windowsOf,
} from '../src/reference/trellis.ts';
import { normals, sameBits, uniform } from './bits.ts';

/** Those by labels are in labels.test.ts. */
const trellises = all.filter(({ kept }) => !kept);

// Bits of a code, bits kept of each of the codes before, and how many of them.
const shapes = [
  [4, 2, 1],
  [4, 4, 1],
  [4, 2, 2],
  [4, 3, 2],
  [3, 3, 1],
  [3, 2, 2],
  [3, 3, 2],
  [2, 2, 2],
  [2, 2, 3],
] as const;
type Shape = (typeof shapes)[number];

/** The stored trellis of a shape. */
function stored([bits, kept, depth]: Shape): TrellisTables {
  return trellises.find(
    (one) => one.bits === bits && String(Object.values(memoryOfTables(one))) === `${kept},${depth}`,
  )!;
}

/** Any tables of a shape: three times 0 to 42, the last bits kept telling entries apart. */
function anyTrellis([bits, kept, depth]: Shape, seed: number): TrellisTables {
  const next = uniform(seed);
  const used = bits === 2 ? [4, 4, depth === 3 ? 4 : 0] : [bits, kept, depth === 2 ? kept : 0];
  const tables = used.flatMap((width) => {
    const entries = Array.from(
      { length: 2 ** width },
      (_, i) => Math.floor(next() * 21) + (i < 2 ** (width - 1) ? 0 : 22),
    );
    return Array.from({ length: 16 }, (_, i) => (width === 0 ? 0 : entries[i % 2 ** width]));
  });
  const step = Math.fround(0.02 + next() * 0.05);
  return { bits, tables: Uint8Array.from(tables), step, zero: Math.floor(next() * 128) };
}

const twin = suite('twin of the trellis kernels');

twin('memoryOfTables() tells the shapes apart', () => {
  for (const shape of shapes) assert.equal(Object.values(memoryOfTables(anyTrellis(shape, 1))), shape.slice(1));
  const pinned = new Set(shapes.map(String));
  for (const trellis of trellises) {
    const { kept, depth } = memoryOfTables(trellis);
    assert.ok(pinned.has(String([trellis.bits, kept, depth])), trellis.name);
  }
});

twin('trellisValues() adds up what FORMAT.md draws', () => {
  const tables = new Uint8Array(48);
  for (let i = 0; i < 16; i++) tables.set([i, i * 2, i * 4], 0);
  tables.set([...Array(16).keys()], 0);
  tables.set(
    [...Array(16).keys()].map((i) => (i & 7) * 3),
    16,
  );
  tables.set(
    [...Array(16).keys()].map((i) => (i & 7) * 5),
    32,
  );
  const codes = Uint16Array.of(1, 0, 0, 0, 2, 0, 0, 0, 11, 0, 0, 0);
  const values = trellisValues(codes, { bits: 4, tables, step: 0.5, zero: 9 });
  // 1 + 3 · (11 & 7) + 5 · 2, 2 + 3 · 1 + 5 · (11 & 7), 11 + 3 · 2 + 5 · 1
  sameBits(
    values.filter((_, i) => i % 4 === 0),
    Float32Array.of((20 - 9) / 2, (20 - 9) / 2, (22 - 9) / 2),
  );
  assert.is(values[1], -4.5);
  const pairs = Uint16Array.of(1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0);
  // d = 3 + 4 · 1, 1 + 4 · 2, 2 + 4 · 3
  const [first] = trellisValues(pairs, { bits: 2, tables, step: 1, zero: 0 });
  assert.is(first, 7 + 3 * (14 & 7) + 5 * (9 & 7));
});

twin('cheapestCycle() finds the least cost of all cycles through the seam, and tells it', () => {
  for (const [k, shape] of shapes.entries()) {
    const most = shape[0] === 2 ? 5 : 3;
    for (let steps = 1; steps <= most; steps++) {
      for (let seed = 0; seed < 4; seed++) {
        const trellis = anyTrellis(shape, 100 * k + seed);
        const z = seed === 0 ? new Float32Array(steps) : normals(steps, seed).map((value) => value * seed);
        const targets = [...z].map((value) => targetOf(value, trellis));
        const { codes, seam, cost } = cheapestCycle(targets, windowsOf(trellis));
        assert.is(cost, costOf(codes, targets, trellis), 'the cost of the codes, decoded');
        assert.is(seamOf(codes, trellis), seam);
        let least = Infinity;
        for (let i = 0; i < 2 ** (trellis.bits * steps); i++) {
          const other = Array.from({ length: steps }, (_, j) => (i >> (j * trellis.bits)) & (2 ** trellis.bits - 1));
          if (seamOf(other, trellis) === seam) least = Math.min(least, costOf(other, targets, trellis));
        }
        assert.is(cost, least, `${shape}, ${steps} steps`);
      }
    }
  }
});

// What one sequence costs, from what its codes decode to.
function costOf(codes: readonly number[], targets: readonly number[], trellis: TrellisTables): number {
  const row = Uint16Array.from({ length: codes.length * 4 }, (_, i) => codes[i >> 2]);
  const integers = trellisValues(row, { ...trellis, step: 1, zero: 0 }).filter((_, i) => i % 4 === 0);
  return integers.reduce((sum, u, i) => sum + 128 * u * u - 2 * targets[i] * u, 0);
}

// The state before the first step: the last codes' low bits.
function seamOf(codes: readonly number[], trellis: TrellisTables): number {
  const { kept, depth } = memoryOfTables(trellis);
  const before = (lag: number) => codes[(3 * codes.length - lag) % codes.length] % 2 ** kept;
  return Array.from({ length: depth }, (_, i) => before(i + 1) << (i * kept)).reduce((a, b) => a + b);
}

twin('targetOf() rounds ties to even and holds what is far within its bounds', () => {
  const trellis = { bits: 4, tables: new Uint8Array(48), step: 1, zero: 1 };
  const cases = [
    [0.5 / 128, 128],
    [1.5 / 128, 130],
    [-0.5 / 128, 128],
    [1e30, 24575],
    [-1e30, -8192],
  ] as const;
  for (const [z, target] of cases) assert.is(targetOf(z, trellis), target);
});

twin.run();

// What the twin encodes, as it is and with scales searched; both builds are held to it.
const encodedBefore = new Map<string, [EncodedMatrix, EncodedMatrix]>();
function twinsOf(w: Float32Array, layout: MatrixLayout, key: string): [EncodedMatrix, EncodedMatrix] {
  const encoded = encodedBefore.get(key) ?? [
    encode(w, layout) as EncodedMatrix,
    encode(w, layout, true) as EncodedMatrix,
  ];
  encodedBefore.set(key, encoded);
  return encoded;
}

function testKernels(build: string, kernels: KernelExports): void {
  const test = suite(`trellis kernels (${build})`);
  const memory = arena(kernels.memory, kernels.heapBase());
  const { place, alloc, copy } = memory;

  function tableOf({ bits, tables, step, zero }: TrellisTables): number {
    const table = alloc(kernels.trellisTableBytes());
    kernels.trellisTable(place(tables), step, zero, bits, table);
    return table;
  }

  /** Encodes, decodes and multiplies by both, and compares. */
  function compare(w: Float32Array, rows: number, groupSize: number, trellis: TrellisTables, label: string): void {
    memory.reset();
    const cols = w.length / rows;
    const { bits } = trellis;
    const masks = signs(5, cols);
    const layout: MatrixLayout = { rows, cols, groupSize, p: 1, bits, trellis, masks };
    const [expected, searched] = twinsOf(
      w,
      layout,
      `${label}, groups of ${groupSize}, ${trellis.tables}, ${trellis.step}`,
    );
    const table = tableOf(trellis);
    const masksAt = place(masks);
    const { length } = expected.packed;
    const [packed, scales, sums] = [alloc(length + 16), alloc(expected.scales.byteLength), alloc(rows * 16)];
    memory.bytes(packed, length + 16).fill(0xa5);
    const scratch = alloc((cols + 64) * 22 + (cols + 264) * 256);
    const wAt = place(w);
    for (const [search, result] of [
      [true, searched],
      [false, expected],
    ] as const) {
      const done = kernels.encode(
        ...([wAt, 0, 0, rows, cols, masksAt, groupSize] as const),
        ...([table, 0, bits, search, packed, scales, sums, scratch] as const),
      );
      assert.is(done, rows);
      sameBits(copy(Uint8Array, packed, length), result.packed, `packed, ${label}, ${search}`);
      assert.ok(copy(Uint8Array, packed + length, 16).every((byte) => byte === 0xa5));
      sameBits(copy(Uint16Array, scales, result.scales.length), result.scales, `scales, ${label}, ${search}`);
      sameBits(copy(Float64Array, sums, rows * 2), result.sums, `sums, ${label}, ${search}`);
    }

    const y = alloc(rows * cols * 4);
    kernels.dequantize(packed, scales, rows, cols, masksAt, groupSize, table, 0, bits, y, scratch);
    const weights = dequantize(expected.packed, expected.scales, layout);
    sameBits(copy(Float32Array, y, rows * cols), weights, `weights, ${label}`);

    const x = rotate(normals(cols, 77), masks, groupSize);
    kernels.matvec(packed, scales, rows, cols, groupSize, table, 0, bits, place(x), y, scratch);
    sameBits(copy(Float32Array, y, rows), matvec(expected.packed, expected.scales, x, layout), `y, ${label}`);
  }

  test('encode(), dequantize() and matvec() equal their twins at every width up to 70', () => {
    for (const shape of shapes) {
      for (let cols = 1; cols <= 70; cols++) {
        const trellis = cols % 2 ? anyTrellis(shape, cols) : stored(shape);
        const w = normals(cols, cols);
        compare(w, 1, [16, 64, 1024][cols % 3], trellis, `${shape}, ${cols} columns`);
      }
    }
  });

  test('encode(), dequantize() and matvec() equal their twins when rows are wide', () => {
    for (const shape of shapes) {
      for (const [cols, rows] of [
        [576, 2],
        [1000, 1],
        [4096, 1],
      ] as const) {
        const trellis = cols === 1000 ? anyTrellis(shape, cols) : stored(shape);
        compare(normals(rows * cols, cols), rows, 1024, trellis, `${shape}, ${cols} columns`);
      }
    }
  });

  test('encode() equals its twin in ties and far outside', () => {
    const impulse = new Float32Array(256);
    impulse[3] = 1; // every z has the same magnitude
    const heavy = normals(516, 8).map((value) => value ** 5);
    for (const shape of shapes) {
      for (const seed of [1, 2]) {
        const trellis = anyTrellis(shape, seed);
        compare(new Float32Array(50), 2, 16, trellis, `${shape}, zeros`);
        compare(new Float32Array(256).fill(0.01), 1, 256, trellis, `${shape}, constant`);
        compare(impulse, 1, 256, trellis, `${shape}, impulse`);
        compare(heavy, 1, 1024, trellis, `${shape}, heavy tails`);
        // Steps so small that all inputs are far outside: the largest growth of costs.
        compare(normals(516, 9), 1, 1024, { ...trellis, step: 2 ** -20 }, `${shape}, tiny step`);
      }
    }
  });

  test('encode() equals its twin when every input is far on one side of high integers', () => {
    for (const shape of shapes) {
      const trellis = anyTrellis(shape, 3);
      const tables = trellis.tables.map((entry, i) => (i < 16 ? 105 + (entry >> 2) : entry >> 3)); // 105 to 125
      assert.equal(Object.values(memoryOfTables({ ...trellis, tables })), shape.slice(1));
      for (const cols of [60, 128, 300]) {
        const masks = signs(5, cols);
        for (const side of [1, -1]) {
          // The transform of an impulse is constant.
          const w = Float32Array.from({ length: cols }, (_, i) => (i % 16 ? 0 : masks[i] ? -side : side));
          compare(w, 1, 16, { ...trellis, tables, step: 2 ** -20 }, `${shape}, ${cols} columns on side ${side}`);
        }
      }
    }
  });

  if (build === 'debug') {
    test('trellisTable() refuses tables of another shape', () => {
      const tables = new Uint8Array(48);
      tables.set([...Array(16).keys()], 0);
      assert.throws(() => tableOf({ bits: 4, tables, step: 1, zero: 0 }));
      tables.set([...Array(16).keys()], 16);
      tableOf({ bits: 4, tables, step: 1, zero: 0 });
      tables[33] = 1;
      assert.throws(() => tableOf({ bits: 4, tables, step: 1, zero: 0 }));
    });
  } else {
    test('encode() errs on N(0, 1) as much as the tables promise', () => {
      const [rows, cols] = [512, 1024]; // standard errors of about 0.2 %
      const typed = wrapKernels(kernels);
      const w = normals(rows * cols, 12);
      for (const trellis of trellises) {
        const matrix = { rows, cols, grid: trellis, groupSize: 1024, seed: 0 };
        const encoded = typed.encode(matrix, { bytes: new Uint8Array(w.buffer), dtype: 'F32' });
        const [error, norm] = encoded.sums.reduce<[number, number]>(
          ([error, norm], sum, i) => (i % 2 ? [error, norm + sum] : [error + sum, norm]),
          [0, 0],
        );
        const ratio = error / norm / trellis.mse;
        assert.ok(Math.abs(ratio - 1) < 0.01, `${trellis.name}: ${ratio} of its mse`);
      }
    });

    test('calls with a trellis equal the twins, and see tables that change', () => {
      const typed = wrapKernels(kernels);
      const [rows, cols] = [3, 90];
      const w = normals(rows * cols, 4);
      const trellis = { p: 1, ...anyTrellis([4, 4, 1], 3) } as const;
      const matrix = { rows, cols, grid: trellis, groupSize: 64, seed: 5 };
      const layout = { ...matrix, p: 1, bits: 4, trellis, masks: signs(5, cols) };
      for (let turn = 0; turn < 2; turn++) {
        const expected = encode(w, layout) as EncodedMatrix;
        const encoded = typed.encode(matrix, { bytes: new Uint8Array(w.buffer), dtype: 'F32' });
        sameBits(encoded.packed, expected.packed);
        const weights = dequantize(expected.packed, expected.scales, layout);
        sameBits(new Float32Array(typed.dequantize(matrix, encoded, 'F32').buffer), weights);
        trellis.tables[3] ^= 1;
      }
    });
  }

  test.run();
}

testKernels('release', await loadKernels());
testKernels('debug', await loadKernels(await WebAssembly.compile(debugBytes)));
