// Products with a trellis' codes against their scalar twins, bit by bit, in every build that this runtime takes.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkTrellis, type Trellis } from '../src/grids/trellis.ts';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { activationBytes, bandRowBytes, bandScratchBytes, unbandScratchBytes } from '../src/kernels/decoder/sizes.ts';
import { integerTable, setForm } from '../src/kernels/decoder/table.ts';
import { bytesPerRow, codesPerRow } from '../src/kernels/layout.ts';
import { groupsOf } from '../src/reference/hadamard.ts';
import * as twin from '../src/reference/linear.ts';
import { pack } from '../src/reference/pack.ts';
import { normals, sameBits, uniform } from './bits.ts';
import { builds, multiply, planQuantized, scratchBytes, storeBanded } from './products.ts';

/** Low bits of each table's index that matter: memories of every kind that kernels tell apart. */
const shapes: readonly [bits: number, used: [number, number, number]][] = [
  [4, [4, 4, 0]],
  [4, [4, 2, 0]],
  [4, [4, 2, 2]],
  [4, [4, 3, 3]],
  [3, [3, 3, 0]],
  [3, [3, 2, 2]],
  [3, [3, 3, 3]],
  [2, [4, 4, 0]],
  [2, [4, 0, 4]],
  [2, [4, 4, 4]],
];

const trellises = shapes.map(([bits, used], seed): Trellis => {
  const next = uniform(seed + 7);
  const tables = Uint8Array.from(
    used.flatMap((low) => {
      const entries = Array.from({ length: 16 }, () => (low === 0 ? 0 : Math.floor(next() * 43)));
      return entries.map((_, i) => entries[i % 2 ** low]);
    }),
  );
  return { name: `t${bits}`, p: 1, bits, mse: 1, step: Math.fround(0.03 + seed / 100), zero: 50 + seed, tables };
});
const nameOf = ({ bits }: Trellis, i: number): string => `${bits} bits (${shapes[i][1].join(', ')})`;

const WIDTHS = [...Array.from({ length: 70 }, (_, i) => i + 1), 100, 172, 576, 1000];

// u of a row's codes, in the order of the columns.
function integersOf({ bits, tables }: Trellis, codes: Uint16Array): Uint8Array {
  const steps = codes.length / 4;
  const codeAt = (i: number, s: number): number => codes[(((i % steps) + steps) % steps) * 4 + s];
  const index = (i: number, s: number): number => (bits === 2 ? codeAt(i - 1, s) | (codeAt(i, s) << 2) : codeAt(i, s));
  return Uint8Array.from(codes, (_, column) => {
    const [i, s] = [column >> 2, column & 3];
    return tables[index(i, s)] + tables[16 + index(i - 1, s)] + tables[32 + index(i - 2, s)];
  });
}

interface Example {
  rows: number;
  cols: number;
  groupSize: number;
  codes: Uint16Array[]; // a row each
  packed: Uint8Array; // (rows, bytesPerRow)
  scales: Uint16Array; // (rows, groups)
}

function exampleOf(trellis: Trellis, rows: number, cols: number, groupSize: number): Example {
  const next = uniform(rows * 31 + cols);
  const count = Math.ceil(cols / 4) * 4;
  const codes = Array.from({ length: rows }, () =>
    Uint16Array.from({ length: count }, () => next() * 2 ** trellis.bits),
  );
  const packed = Uint8Array.from(codes.flatMap((row) => [...pack(row, trellis.bits)]));
  const groups = groupsOf(cols, groupSize).length;
  const scales = Uint16Array.from({ length: rows * groups }, () => 0x2800 + next() * 0x1000);
  return { rows, cols, groupSize, codes, packed, scales };
}

// (count, rows) by the twin.
function expected(trellis: Trellis, example: Example, x: readonly Float32Array[]): Float32Array {
  const rows = example.codes.map((codes) => Int16Array.from(integersOf(trellis, codes), (u) => u - trellis.zero));
  const groups = example.scales.length / example.rows;
  return Float32Array.from(
    x.flatMap((activation) => {
      const quantized = twin.quantizeActivation(activation, example.groupSize, true);
      return rows.map((row, i) =>
        twin.multiply(row, trellis.step, example.scales.subarray(i * groups, (i + 1) * groups), quantized),
      );
    }),
  );
}

const joined = (x: readonly Float32Array[]): Float32Array => Float32Array.from(x.flatMap((part) => [...part]));
const activations = (count: number, cols: number): Float32Array[] =>
  Array.from({ length: count }, (_, i) => normals(cols, 100 + i).map((value) => value * (i + 0.5)));

for (const [build, bytes, form] of builds) {
  const linear = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
  // In two steps: hosts that forbid compiling bytes give the module (tests/runtimes/compiled.ts).
  const instance = await WebAssembly.instantiate(await WebAssembly.compile(bytes), { env: { memory: linear } });
  const kernels = instance.exports as unknown as DecoderExports;
  const memory = arena(linear, kernels.heapBase());
  const { alloc, place, copy } = memory;
  const test = suite(`products with a trellis (${build})`);
  test.before.each(() => memory.reset());

  // Rows of the product that are not computed keep the mark.
  function product(
    trellis: Trellis,
    example: Example,
    x: readonly Float32Array[],
    [fromRow, toRow] = [0, example.rows],
  ): Float32Array {
    const { rows, cols, groupSize } = example;
    const plan = planQuantized(example, { ...trellis, groupSize });
    const count = x.length;
    const from = place(joined([...x, new Float32Array(32)]));
    const address = alloc(plan.bytes);
    memory.bytes(address, plan.bytes).fill(0xff);
    const packed = place(Uint8Array.from([...example.packed, ...new Array(16).fill(0xff)]));
    const codes = codesPerRow(cols, trellis);
    const banding = alloc(bandScratchBytes(cols));
    storeBanded(kernels, plan, address, codes, trellis.bits, packed, place(example.scales), banding);
    const quantized = alloc(count * activationBytes(cols, groupSize));
    kernels.quantizeActivation(from, count, cols, groupSize, quantized);
    const scratch = alloc(scratchBytes(plan, count) + 16);
    memory.bytes(scratch + scratchBytes(plan, count), 16).fill(0xa5);
    const y = place(new Float32Array(count * rows + 8).fill(-7));
    const bytes = integerTable(trellis);
    setForm(bytes, form);
    const table = place(bytes);
    multiply(kernels, plan, address, table, { x: quantized, count, y, fromRow, toRow, scratch });
    sameBits(copy(Float32Array, y + count * rows * 4, 8), new Float32Array(8).fill(-7), 'what is behind the product');
    assert.ok(memory.bytes(scratch + scratchBytes(plan, count), 16).every((byte) => byte === 0xa5));
    return copy(Float32Array, y, count * rows);
  }

  trellises.forEach((trellis, i) => {
    test(`matmul() equals its twin for ${nameOf(trellis, i)}`, () => {
      for (const cols of WIDTHS) {
        for (const [rows, groupSize] of [
          [1 + (cols % 7), 1024],
          [2, 16 << (cols % 4)],
        ] as const) {
          const example = exampleOf(trellis, rows, cols, groupSize);
          for (const count of [1, 2, 3, 4, 5]) {
            memory.reset();
            const x = activations(count, cols);
            const label = `${count} times ${rows} × ${cols}, groups of ${groupSize}`;
            sameBits(product(trellis, example, x), expected(trellis, example, x), label);
          }
        }
      }
    });

    test(`matmul() equals its twin at 4096 columns and more for ${nameOf(trellis, i)}`, () => {
      for (const [rows, cols, groupSize] of [
        [20, 4096, 1024],
        [3, 6144, 4096],
        [5, 3000, 2048],
      ] as const) {
        const example = exampleOf(trellis, rows, cols, groupSize);
        for (const count of [1, 3, 5, 9, 12, 13, 64]) {
          memory.reset();
          const x = activations(count, cols);
          sameBits(product(trellis, example, x), expected(trellis, example, x), `${rows} × ${cols}`);
        }
      }
    });

    test(`unbandRow() gives back the rows that bandRows() took for ${nameOf(trellis, i)}`, () => {
      for (const cols of WIDTHS) {
        memory.reset();
        const { packed } = exampleOf(trellis, 6, cols, 1024);
        const rowBytes = bytesPerRow(cols, trellis);
        const byteLength = 8 * bandRowBytes(cols, trellis.bits);
        const bands = alloc(byteLength + 16);
        memory.bytes(bands, byteLength + 16).fill(0xa5);
        const scratch = alloc(bandScratchBytes(cols));
        kernels.bandRows(
          place(Uint8Array.from([...packed, ...new Uint8Array(16)])),
          6,
          codesPerRow(cols, trellis),
          trellis.bits,
          bands,
          scratch,
        );
        assert.equal([...memory.bytes(bands + byteLength, 16)], new Array(16).fill(0xa5));
        const codes = alloc(unbandScratchBytes(cols));
        for (let row = 0; row < 6; row++) {
          const to = alloc(rowBytes);
          kernels.unbandRow(bands, row, codesPerRow(cols, trellis), trellis.bits, to, codes);
          sameBits(
            copy(Uint8Array, to, rowBytes),
            packed.slice(row * rowBytes, (row + 1) * rowBytes),
            `${row} of ${cols}`,
          );
        }
      }
    });
  });

  test('unbandScales() gives back the rows that bandScales() took, and rows that a pair lacks are zeros', () => {
    for (const rows of [1, 7, 8, 9, 16, 17]) {
      for (const groups of [1, 2, 3, 5]) {
        memory.reset();
        const scales = Uint16Array.from({ length: rows * groups }, (_, i) => i + 1);
        const count = Math.ceil(rows / 8) * 8 * groups;
        const to = place(new Uint16Array(count + 8).fill(0xa5a5));
        kernels.bandScales(place(scales), rows, groups, to);
        const expected = Array.from({ length: count }, (_, i) => {
          const row = Math.floor(i / groups / 8) * 8 + (i % 8);
          return row < rows ? scales[row * groups + ((i >> 3) % groups)] : 0;
        });
        assert.equal([...copy(Uint16Array, to, count + 8)], [...expected, ...new Array(8).fill(0xa5a5)]);
        const row = alloc(groups * 2);
        for (let i = 0; i < rows; i++) {
          kernels.unbandScales(to, i, groups, row);
          sameBits(copy(Uint16Array, row, groups), scales.slice(i * groups, (i + 1) * groups), `${i} of ${rows}`);
        }
      }
    }
  });

  test('matmul() computes the rows asked for and no others', () => {
    for (const trellis of trellises) {
      const example = exampleOf(trellis, 35, 172, 64);
      const x = activations(2, 172);
      const all = expected(trellis, example, x);
      for (const [fromRow, toRow] of [
        [0, 0],
        [0, 16],
        [16, 35],
        [32, 35],
        [8, 33],
      ] as const) {
        for (const count of [1, 2]) {
          memory.reset();
          const y = product(trellis, example, x.slice(0, count), [fromRow, toRow]);
          const computed = all
            .slice(0, count * 35)
            .map((value, i) => (i % 35 >= fromRow && i % 35 < toRow ? value : -7));
          sameBits(y, computed, `${fromRow} to ${toRow}`);
        }
      }
    }
  });

  test('matmul() does not overflow at the largest integers', () => {
    for (const { bits, ...rest } of trellises) {
      const tables = Uint8Array.from({ length: 48 }, (_, i) => [43, 42, 42][i >> 4]);
      for (const zero of [0, 127]) {
        const trellis = { ...rest, bits, tables, zero };
        const example = exampleOf(trellis, 4, 4096, 4096);
        for (const count of [1, 2]) {
          memory.reset();
          const x = Array.from({ length: count }, () => new Float32Array(4096).fill(-3));
          sameBits(product(trellis, example, x), expected(trellis, example, x), `${bits} bits`);
        }
      }
    }
  });

  test.run();
}

const tables = suite('table of a trellis');

tables('integerTable() has step, zero, bits, 0 for the weights and the three tables', () => {
  for (const trellis of trellises) {
    checkTrellis(trellis);
    const bytes = integerTable(trellis);
    const view = new DataView(bytes.buffer);
    assert.equal(
      [view.getFloat32(0, true), view.getInt32(4, true), view.getUint32(8, true), view.getUint32(12, true)],
      [trellis.step, trellis.zero, trellis.bits, 0],
    );
    sameBits(bytes.slice(16, 64), trellis.tables);
    assert.equal([...bytes.slice(64)], [0, 0, 0, 0, 15, 0x88, 1, 0, 0, 0x30, 0, 0, 0, 0, 0, 0]);
  }
});

tables.run();
