// Every kernel against its scalar twin, bit by bit, in the release and the debug build.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/higgs.debug.wasm';
import releaseBytes from '../build/higgs.wasm';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { arena } from '../src/kernels/arena.ts';
import type { KernelExports } from '../src/kernels/exports.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { crc32 } from '../src/reference/checksum.ts';
import { compare } from '../src/reference/compare.ts';
import * as matrix from '../src/reference/encode.ts';
import * as float from '../src/reference/float.ts';
import * as rotation from '../src/reference/hadamard.ts';
import { gridTable, nearest } from '../src/reference/nearest.ts';
import { pack, unpack } from '../src/reference/pack.ts';
import { normals, sameBits, uniform } from './bits.ts';

// Lengths that bracket a vector, a block of vectors, and a page of them.
const lengths = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 1023, 1024, 1025];
const widths = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 48, 172, 576, 1000, 1024];
const sizes = Array.from({ length: 13 }, (_, k) => 2 ** k);
const codeBits = [2, 3, 4, 5, 6, 8, 9, 10, 12];

function testKernels(build: string, kernels: KernelExports): void {
  const test = suite(`kernels (${build})`);
  const memory = arena(kernels.memory, kernels.heapBase());
  const { place, alloc, copy, bytes: view } = memory;
  test.before.each(() => memory.reset());

  test('f16ToF32() and bf16ToF32() equal their twins for all 65536 patterns', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const x = place(all);
    const y = alloc(65536 * 4);
    kernels.f16ToF32(x, y, 65536);
    sameBits(copy(Uint32Array, y, 65536), Uint32Array.from(all, float.f16ToF32Bits));
    kernels.bf16ToF32(x, y, 65536);
    sameBits(copy(Uint32Array, y, 65536), Uint32Array.from(all, float.bf16ToF32Bits));
  });

  test('f8ToF32() equals its twin for all 256 patterns', () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const x = place(all);
    const y = alloc(1024);
    kernels.f8ToF32(x, y, 256);
    sameBits(copy(Uint32Array, y, 256), Uint32Array.from(all, float.f8ToF32Bits));
  });

  test('f8ToF32() gives the literal values of the format', () => {
    const x = place(Uint8Array.of(0x00, 0x01, 0x07, 0x08, 0x38, 0x7e, 0xfe, 0x80));
    const y = alloc(32);
    kernels.f8ToF32(x, y, 8);
    sameBits(copy(Float32Array, y, 8), Float32Array.of(0, 2 ** -9, 7 * 2 ** -9, 2 ** -6, 1, 448, -448, -0));
  });

  test('f32ToF16() and f32ToBf16() equal their twins when rounding is a tie, a carry, subnormal, infinite or NaN', () => {
    const edges: number[] = [];
    for (let h = 0; h < 0x7c01; h += 1) {
      const u = float.f16ToF32Bits(h);
      edges.push(u, u + 0xfff, u + 0x1000, u + 0x1001, u + 0x80000000);
    }
    const next = uniform(7);
    for (let i = 0; i < 50000; i++) edges.push(Math.floor(next() * 2 ** 32));
    const bits = Uint32Array.from(edges);
    const x = place(bits);
    const y = alloc(bits.length * 2);
    kernels.f32ToF16(x, y, bits.length);
    sameBits(copy(Uint16Array, y, bits.length), Uint16Array.from(bits, float.f32ToF16));
    kernels.f32ToBf16(x, y, bits.length);
    sameBits(copy(Uint16Array, y, bits.length), Uint16Array.from(bits, float.f32ToBf16));
  });

  test('f32ToF16() tells whether a result is infinite or NaN', () => {
    for (const [values, expected] of [
      [[1, -65504, 65519], 0],
      [[1, 65520, 0, 0, 0, 0, 0, 0], 1],
      [[0, 0, 0, 0, 0, 0, 0, 0, Number.NaN], 1],
      [[0, 0, 0, Number.NEGATIVE_INFINITY], 1],
    ] as const) {
      const x = place(Float32Array.from(values));
      assert.is(kernels.f32ToF16(x, alloc(64), values.length), expected);
    }
  });

  test('conversions touch exactly count elements at any length', () => {
    for (const count of lengths) {
      memory.reset();
      const source = normals(count + 8, 3);
      const x = place(source);
      for (const [name, width] of [
        ['f32ToF16', 2],
        ['f32ToBf16', 2],
        ['f16ToF32', 4],
        ['bf16ToF32', 4],
        ['f8ToF32', 4],
      ] as const) {
        const y = alloc((count + 8) * width);
        memory.bytes(y, (count + 8) * width).fill(0xa5);
        kernels[name](x, y, count);
        const after = memory.bytes(y + count * width, 8 * width);
        assert.ok(
          after.every((byte) => byte === 0xa5),
          `${name} wrote beyond ${count}`,
        );
      }
    }
  });

  test('scaleBlocks() equals its twin', () => {
    for (const count of lengths) {
      memory.reset();
      const x = normals(count, 4);
      const factors = normals(Math.ceil(count / 128) + 1, 5);
      const address = place(x);
      kernels.scaleBlocks(address, count, place(factors), 128);
      float.scaleBlocks(x, factors, 128);
      sameBits(copy(Float32Array, address, count), x);
    }
  });

  test('signs() equals its twin, and half of the signs are negative', () => {
    for (const seed of [0, 1, 0xffffffff]) {
      memory.reset();
      const masks = alloc(4096 * 4);
      kernels.signs(seed, masks, 4096);
      const expected = rotation.signs(seed, 4096);
      sameBits(copy(Uint32Array, masks, 4096), expected);
      const negative = expected.reduce((sum, mask) => sum + (mask >>> 31), 0);
      assert.ok(Math.abs(negative - 2048) < 4 * 32, `${negative} of 4096`); // 4 standard deviations
    }
  });

  test('signs() gives the words that FORMAT.md lists', () => {
    for (const [seed, words] of [
      [0, [0x92ca2f0e, 0x3cd6e3f3]],
      [1, [0x50653bed, 0xcc56a2eb]],
    ] as const) {
      memory.reset();
      const masks = alloc(256);
      kernels.signs(seed, masks, 64);
      sameBits(
        copy(Uint32Array, masks, 64),
        Uint32Array.from({ length: 64 }, (_, i) => ((words[i >> 5] >>> (i & 31)) & 1) * 2 ** 31),
      );
    }
  });

  test('hadamard() equals its twin at every size', () => {
    for (const n of sizes) {
      memory.reset();
      const x = normals(n, n);
      const address = place(x);
      kernels.hadamard(address, n);
      rotation.hadamard(x);
      sameBits(copy(Float32Array, address, n), x, `hadamard(${n})`);
    }
  });

  test('hadamard() is the Sylvester matrix, and twice it is n times the identity', () => {
    for (const n of sizes) {
      for (const k of [0, 1, n >> 1, n - 1].filter((index) => index < n)) {
        memory.reset();
        const unit = new Float32Array(n);
        unit[k] = 1;
        const address = place(unit);
        kernels.hadamard(address, n);
        const column = copy(Float32Array, address, n);
        sameBits(
          column,
          column.map((_, i) => (parity(i & k) ? -1 : 1)),
        );
        kernels.hadamard(address, n);
        sameBits(
          copy(Float32Array, address, n),
          unit.map((value) => value * n),
        );
      }
    }
  });

  test('rotate() equals its twin at every width and keeps lengths', () => {
    for (const cols of widths) {
      memory.reset();
      const x = normals(cols, cols);
      const masks = rotation.signs(9, cols);
      const y = alloc(cols * 4);
      kernels.rotate(place(x), place(masks), cols, 256, y);
      const rotated = copy(Float32Array, y, cols);
      sameBits(rotated, rotation.rotate(x, masks, 256), `rotate(${cols})`);
      const [difference] = [sumSquares(rotated) / sumSquares(x) - 1];
      assert.ok(Math.abs(difference) < 1e-5, `${cols}: ${difference}`);
    }
  });

  // Only nearest2 takes scratch.
  const nearestBy = (p: 1 | 2 | 3 | 4) => kernels[`nearest${p}`] as KernelExports['nearest2'];

  test('nearest1() to nearest4() equal brute force, ties and far points included', () => {
    for (const p of [1, 2, 3, 4] as const) {
      for (const n of [4, 16, 256]) {
        memory.reset();
        const points = normals(n * p, p * n);
        points.copyWithin(p * 2, 0, p); // two equal points: the first must win
        const z = normals(p * 203, 11).map((value, i) => (i % 17 === 0 ? value * 100 : value));
        z.set(points.subarray(0, p), 0);
        z.fill(0, p, 2 * p);
        const table = alloc(kernels.gridTableBytes(p, n));
        kernels.gridTable(place(points), p, n, table);
        const codes = alloc(208 * 2);
        nearestBy(p)(place(z), 203, table, n, codes, alloc(208 * 2));
        sameBits(copy(Uint16Array, codes, 203), nearest(z, gridTable(points, p), p), `nearest${p}, n = ${n}`);
      }
    }
  });

  test('nearest1() to nearest4() find the same point with cells as without, near every border', () => {
    // The debug build takes seconds for the cells of the largest grids.
    const most = build === 'debug' ? 1024 : 4096;
    for (const grid of [...smallGrids, ...largeGrids].filter(({ n }) => n <= most)) {
      memory.reset();
      const { p, n, points, name } = grid;
      const table = alloc(kernels.gridTableBytes(p, n));
      kernels.gridTable(place(points), p, n, table);
      const [header] = new Uint32Array(copy(Uint8Array, table, 4).buffer);
      assert.ok(header > 0, `${name} has no cells`);
      // Samples; points halfway between two of the grid, give or take some units in the last place; far points.
      const next = uniform(n);
      const z: number[] = [...normals(20000, n)];
      for (let i = 0; i < 10000; i++) {
        const [j, k] = [Math.floor(next() * n), Math.floor(next() * n)];
        for (let d = 0; d < p; d++) {
          const middle = Math.fround((points[j * p + d] + points[k * p + d]) / 2);
          z.push(middle * (1 + (Math.floor(next() * 9) - 4) * 2 ** -24));
        }
      }
      const reach = Math.max(...points.map(Math.abs));
      for (let i = 0; i < 4000; i++) z.push((next() - 0.5) * 2.002 * reach, (next() - 0.5) * (i % 40 === 0 ? 300 : 2));
      // Borders of cells: multiples of fractions of the reach.
      for (let i = 0; i < 8000; i++) z.push(((Math.floor(next() * 2049) - 1024) / 1024) * 1.001 * Math.fround(reach));
      const values = Float32Array.from(z);
      const count = Math.floor(values.length / p / 8) * 8;
      const address = place(values);
      const [fast, every] = [alloc(count * 2), alloc(count * 2)];
      const scratch = alloc((count + 8) * 2);
      nearestBy(p)(address, count, table, n, fast, scratch);
      memory.bytes(table, 4).fill(0); // no cells: every point is compared
      nearestBy(p)(address, count, table, n, every, scratch);
      sameBits(copy(Uint16Array, fast, count), copy(Uint16Array, every, count), name);
    }
  });

  test('pack() and unpack() equal their twins and undo each other', () => {
    const next = uniform(21);
    for (const bits of codeBits) {
      for (const count of lengths) {
        memory.reset();
        const codes = Uint16Array.from({ length: count }, () => Math.floor(next() * 2 ** bits));
        const byteLength = Math.ceil((count * bits) / 8);
        const packed = alloc(byteLength + 16);
        memory.bytes(packed, byteLength + 16).fill(0xa5);
        kernels.pack(place(codes), count, bits, packed);
        sameBits(copy(Uint8Array, packed, byteLength), pack(codes, bits), `pack, ${bits} bits × ${count}`);
        assert.ok(
          memory.bytes(packed + byteLength, 16).every((byte) => byte === 0xa5),
          'wrote beyond the last byte',
        );
        const again = alloc(count * 2 + 16);
        kernels.unpack(packed, count, bits, again);
        sameBits(copy(Uint16Array, again, count), codes, `unpack, ${bits} bits × ${count}`);
        sameBits(unpack(copy(Uint8Array, packed, byteLength), count, bits), codes);
      }
    }
  });

  test('pack() gives the bytes of the drawing', () => {
    const packed = alloc(4);
    kernels.pack(place(Uint16Array.of(1, 2, 3, 4, 5, 6, 7, 0)), 8, 3, packed);
    sameBits(copy(Uint8Array, packed, 3), Uint8Array.of(0b11_010_001, 0b0_101_100_0, 0b000_111_11));
    kernels.pack(place(Uint16Array.of(0xa, 0x5)), 2, 4, packed);
    sameBits(copy(Uint8Array, packed, 1), Uint8Array.of(0x5a));
  });

  test('groupScale() equals its twin and is the RMS', () => {
    for (const n of sizes) {
      memory.reset();
      const x = normals(n, n + 1).map((value) => value * 0.02);
      const scale = kernels.groupScale(place(x), n);
      assert.is(scale, matrix.groupScale(x));
      const rms = Math.sqrt(sumSquares(x) / n);
      assert.ok(Math.abs(float.f16ToF32(scale) / rms - 1) <= 2 ** -11 + 1e-6);
    }
  });

  test('groupScale() is infinity when f16 cannot hold it, and zero when it rounds to nothing', () => {
    const scaleOf = (value: number) => kernels.groupScale(place(new Float32Array(16).fill(value)), 16);
    assert.is(scaleOf(65504), 0x7bff);
    assert.is(scaleOf(65520), 0x7c00);
    assert.is(scaleOf(1e30), 0x7c00);
    assert.is(scaleOf(Number.NaN), 0x7c00);
    assert.is(scaleOf(Number.NEGATIVE_INFINITY), 0x7c00);
    assert.is(scaleOf(2 ** -24), 1);
    assert.is(scaleOf(2 ** -26), 0);
    assert.is(scaleOf(1e-30), 0);
    assert.is(scaleOf(0), 0);
  });

  test('encode(), dequantize() and matvec() equal their twins for every p, code width, row width and group size', () => {
    for (const [p, bits] of [
      [1, 4],
      [1, 3],
      [2, 8],
      [2, 6],
      [3, 9],
      [4, 10],
    ] as const) {
      const points = normals(2 ** bits * p, bits);
      for (const [cols, groupSize] of [
        [1, 16],
        [2, 16],
        [3, 16],
        [17, 16],
        [33, 64],
        [172, 1024],
        [576, 1024],
        [1000, 256],
      ] as const) {
        memory.reset();
        const rows = 3;
        const w = normals(rows * cols, cols).map((value) => value * 0.03);
        w.fill(0, 0, Math.min(16, cols));
        const masks = rotation.signs(5, cols);
        const layout = { rows, cols, groupSize, p, bits, points, masks };
        const expected = matrix.encode(w, layout) as matrix.EncodedMatrix;
        const searched = matrix.encode(w, layout, true) as matrix.EncodedMatrix;

        const addresses = {
          masks: place(masks),
          w: place(w),
          points: place(points),
          table: alloc(kernels.gridTableBytes(p, 2 ** bits)),
        };
        kernels.gridTable(addresses.points, p, 2 ** bits, addresses.table);
        const packed = alloc(expected.packed.length);
        const scales = alloc(expected.scales.byteLength);
        const sums = alloc(rows * 16);
        const scratch = alloc((cols + 64) * 22);
        for (const [search, result] of [
          [true, searched],
          [false, expected],
        ] as const) {
          const done = kernels.encode(
            ...([addresses.w, 0, 0, rows, cols, addresses.masks, groupSize] as const),
            ...([addresses.table, p, bits, search, packed, scales, sums, scratch] as const),
          );
          const label = `p = ${p}, ${bits} bits, ${cols} columns${search ? ', scales searched' : ''}`;
          assert.is(done, rows);
          sameBits(copy(Uint8Array, packed, result.packed.length), result.packed, `packed, ${label}`);
          sameBits(copy(Uint16Array, scales, result.scales.length), result.scales, `scales, ${label}`);
          sameBits(copy(Float64Array, sums, rows * 2), result.sums, `sums, ${label}`);
        }
        const label = `p = ${p}, ${bits} bits, ${cols} columns`;

        // Step by step, for whoever rounds otherwise: the same bits as all at once.
        const vectors = Math.ceil(cols / p);
        const [z, rounded] = [alloc(rows * (cols + 64) * 4), alloc(rows * (cols + 64) * 4)];
        const codes = alloc((rows * vectors + 64) * 2);
        for (const address of [packed, scales, sums]) view(address, 16).fill(0xff);
        const steps = [addresses.w, 0, 0, rows, cols, addresses.masks, groupSize, z, scales, sums, scratch] as const;
        assert.is(kernels.rotateRows(...steps), rows);
        kernels.roundRows(z, rows, cols, groupSize, addresses.table, p, bits, scales, codes, rounded, sums, 0);
        kernels.packRows(codes, rows, vectors, bits, packed);
        sameBits(copy(Uint8Array, packed, expected.packed.length), expected.packed, `packed in steps, ${label}`);
        sameBits(copy(Uint16Array, scales, expected.scales.length), expected.scales, `scales in steps, ${label}`);
        sameBits(copy(Float64Array, sums, rows * 2), expected.sums, `sums in steps, ${label}`);

        const y = alloc(rows * cols * 4);
        kernels.dequantize(
          packed,
          scales,
          rows,
          cols,
          addresses.masks,
          groupSize,
          addresses.table,
          p,
          bits,
          y,
          scratch,
        );
        const weights = matrix.dequantize(expected.packed, expected.scales, layout);
        sameBits(copy(Float32Array, y, rows * cols), weights, `weights, ${label}`);

        const x = rotation.rotate(normals(cols, 77), masks, groupSize);
        const product = alloc(rows * 4);
        kernels.matvec(packed, scales, rows, cols, groupSize, addresses.table, p, bits, place(x), product, scratch);
        sameBits(
          copy(Float32Array, product, rows),
          matrix.matvec(expected.packed, expected.scales, x, layout),
          `y, ${label}`,
        );
      }
    }
  });

  test('encode() stops at the first row that has NaN, infinity or too large a group', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 1e6]) {
      memory.reset();
      const w = normals(4 * 32, 3);
      w.fill(bad, 2 * 32 + 5, 2 * 32 + 20);
      const table = alloc(kernels.gridTableBytes(1, 16));
      kernels.gridTable(place(normals(16, 1)), 1, 16, table);
      const [packed, scales, sums, scratch] = [alloc(64), alloc(64), alloc(64), alloc(2000)];
      const args = [
        place(w),
        0,
        0,
        4,
        32,
        place(new Uint32Array(32)),
        16,
        table,
        1,
        4,
        false,
        packed,
        scales,
        sums,
        scratch,
      ] as const;
      assert.is(kernels.encode(...args), 2);
    }
  });

  test('encode() takes every dtype, block-scaled too, as it takes the same weights in f32', () => {
    const [rows, cols, groups] = [3, 300, 4]; // 256 + 32 + 8 + 4
    const bytes = Uint8Array.from({ length: rows * cols * 2 }, (_, i) => (i * 37) & (i & 1 ? 0xbb : 0x7e)); // no infinity, no NaN
    const factors = normals(rows * Math.ceil(cols / 128), 9);
    for (const [dtype, widen] of [
      [1, float.bf16ToF32Bits],
      [2, float.f16ToF32Bits],
      [3, float.f8ToF32Bits],
    ] as const) {
      for (const scaled of [false, true]) {
        memory.reset();
        const values = dtype === 3 ? bytes.subarray(0, rows * cols) : new Uint16Array(bytes.buffer);
        const wide = new Float32Array(Uint32Array.from(values, widen).buffer);
        if (scaled) {
          for (let row = 0; row < rows; row++) {
            float.scaleBlocks(wide.subarray(row * cols, (row + 1) * cols), factors.subarray(row * 3, row * 3 + 3), 128);
          }
        }
        const points = normals(256 * 2, 1);
        const masks = place(rotation.signs(5, cols));
        const table = alloc(kernels.gridTableBytes(2, 256));
        kernels.gridTable(place(points), 2, 256, table);
        const encoded = [
          [place(values), dtype, scaled ? place(factors) : 0],
          [place(wide), 0, 0],
        ].map(([weights, type, factorsAt]) => {
          const [packed, scales, sums] = [alloc((rows * cols) / 2), alloc(rows * groups * 2), alloc(rows * 16)];
          const scratch = alloc((cols + 64) * 14);
          const shape = [rows, cols, masks, 1024, table, 2, 8, false, packed, scales, sums, scratch] as const;
          assert.is(kernels.encode(weights, type, factorsAt, ...shape), rows);
          return [
            copy(Uint8Array, packed, (rows * cols) / 2),
            copy(Uint8Array, scales, rows * groups * 2),
            copy(Uint8Array, sums, rows * 16),
          ];
        });
        for (const part of [0, 1, 2]) sameBits(encoded[0][part], encoded[1][part], `dtype ${dtype}, part ${part}`);
      }
    }
  });

  test('compare() equals its twin', () => {
    for (const count of lengths) {
      memory.reset();
      const x = normals(count, 31);
      const y = normals(count, 32);
      const sums = alloc(16);
      const [a, b] = [place(x), place(y)];
      kernels.compare(a, b, count, sums);
      sameBits(copy(Float64Array, sums, 2), Float64Array.from(compare(x, y)), `${count}`);
    }
  });

  test('crc32() equals its twin and the check value of the standard', () => {
    const table = alloc(kernels.crc32TableBytes());
    kernels.crc32Table(table);
    const digits = place(new TextEncoder().encode('123456789'));
    assert.is(kernels.crc32(0, digits, 9, table) >>> 0, 0xcbf43926);
    const bytes = new Uint8Array(normals(10000, 8).buffer);
    const address = place(bytes);
    for (const count of [...lengths, 79, 80, 81, 159, 160, 161, 16385, 40000])
      assert.is(kernels.crc32(123, address, count, table) >>> 0, crc32(123, bytes.subarray(0, count)));
  });

  test.run();
}

const contract = suite('kernel contract');

contract('the compiled modules import nothing', async () => {
  for (const bytes of [releaseBytes, debugBytes]) {
    assert.equal(WebAssembly.Module.imports(await WebAssembly.compile(bytes)), []);
  }
});

contract('the release build fits its size budget', () => {
  // 8.5 kB of it search trellises by labels, 14.3 kB are error feedback: factors, products, the searches of all trellises.
  // 2.1 kB fold what is checked.
  assert.ok(releaseBytes.length <= 69_300, `${releaseBytes.length} bytes`);
});

contract.run();

testKernels('release', await loadKernels());
testKernels('debug', await loadKernels(await WebAssembly.compile(debugBytes)));

function parity(x: number): number {
  let odd = 0;
  for (; x > 0; x &= x - 1) odd ^= 1;
  return odd;
}

function sumSquares(x: Float32Array): number {
  return x.reduce((sum, value) => sum + value * value, 0);
}
