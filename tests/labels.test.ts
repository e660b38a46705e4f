// Trellises by labels: the search against brute force, every kernel against its twin, bit by bit, and the errors that the tables promise.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/higgs.debug.wasm';
import { checkTrellis } from '../src/grids/trellis.ts';
import { trellises } from '../src/grids/trellises.ts';
import { arena } from '../src/kernels/arena.ts';
import type { KernelExports } from '../src/kernels/exports.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { encodeScratchBytes } from '../src/kernels/sizes.ts';
import { dequantize, type EncodedMatrix, encode, type MatrixLayout, matvec } from '../src/reference/encode.ts';
import { rotate, signs } from '../src/reference/hadamard.ts';
import {
  cheapestLabelCycle,
  type LabelTrellis,
  labelCodes,
  labelValues,
  statesOf,
  stepCosts,
} from '../src/reference/labels.ts';
import { normals, sameBits, uniform } from './bits.ts';

const stored = trellises.filter((one): one is typeof one & LabelTrellis => one.kept !== undefined);
// Bits of a code, bits kept of the codes before.
const shapes = [3, 4, 5, 6].flatMap((bits) =>
  [
    [3, 3],
    [3, 3, 2],
  ].map((kept) => ({ bits, kept })),
);
type Shape = (typeof shapes)[number];
const nameOf = ({ bits, kept }: Shape): string => `${bits} bits, labels of (${kept})`;

/** Any tables of a shape: sums reach the largest that there may be. */
function anyTrellis({ bits, kept }: Shape, seed: number): LabelTrellis {
  const next = uniform(seed);
  const most = (bits === 6 ? 255 : 127) - 16 * (2 ** Math.max(0, bits - 4) - 1);
  const second = 10 + Math.floor(next() * 50);
  const entries = (count: number, largest: number) => {
    const values = Array.from({ length: count }, () => Math.floor(next() * (largest + 1)));
    [values[Math.floor(next() * count)], values[0], values[1]] = [values[2], 0, largest];
    return Array.from({ length: 16 }, (_, i) => values[i % count]);
  };
  const tables = Uint8Array.from([...entries(2 ** Math.min(bits, 4), most - second), ...entries(8, second)]);
  return { bits, kept, tables, step: Math.fround(0.02 + next() * 0.05), zero: Math.floor(next() * 128) };
}

const twin = suite('twin of trellises by labels');

twin('labelValues() adds up what FORMAT.md draws', () => {
  const tables = Uint8Array.from({ length: 32 }, (_, i) => (i < 16 ? i : 3 * (i & 7)));
  const codes = Uint16Array.of(33, 0, 0, 0, 2, 0, 0, 0, 11, 0, 0, 0);
  const two = { bits: 6, kept: [3, 3], tables, step: 0.5, zero: 9 };
  // 33 = 16 · 2 + 1, after 11, 2: 3 · ((11 ^ 2) & 7); 2 after 33, 11; 11 after 2, 33.
  const firsts = (trellis: LabelTrellis) => labelValues(codes, trellis).filter((_, i) => i % 4 === 0);
  sameBits(firsts(two), Float32Array.of((33 + 3 - 9) / 2, (2 + 6 - 9) / 2, (11 + 9 - 9) / 2));
  // And the code before those, 33, 2 and 11, of which two bits count.
  sameBits(firsts({ ...two, kept: [3, 3, 2] }), Float32Array.of((33 + 0 - 9) / 2, (2 + 0 - 9) / 2, (11 + 0 - 9) / 2));
});

twin('cheapestLabelCycle() finds the least cost of all cycles through the seam', () => {
  for (const [k, shape] of shapes.entries()) {
    for (let length = 1; length <= 4; length++) {
      for (let seed = 0; seed < 3; seed++) {
        const trellis = anyTrellis(shape, 10 * k + seed);
        const z = seed === 0 ? new Float32Array(length) : normals(length, seed).map((value) => value * seed);
        const steps = [...z].map((value) => stepCosts(value, trellis));
        const { lows, seam, cost } = cheapestLabelCycle(steps, statesOf(trellis));
        const before = (path: readonly number[], i: number, lag: number) => path[(i + 3 * length - lag) % length];
        const labelAt = (path: readonly number[], i: number) =>
          trellis.kept.reduce((label, bits, lag) => label ^ (before(path, i, lag + 1) % 2 ** bits), 0);
        const stateOf = (path: readonly number[]) => {
          const [a, b, c] = [1, 2, 3].map((lag) => before(path, 0, lag));
          return trellis.kept.length === 2 ? 8 * a + b : 32 * a + 8 * (b & 3) + 4 * (b >> 2) + (c & 3);
        };
        const costOf = (path: readonly number[]) =>
          steps.reduce((sum, { costs }, i) => sum + costs[8 * labelAt(path, i) + path[i]], 0);
        assert.is(stateOf(lows), seam);
        assert.is(cost, Math.min(65535, costOf(lows)));
        let least = 65535;
        for (let i = 0; i < 8 ** length; i++) {
          const path = Array.from({ length }, (_, j) => (i >> (3 * j)) & 7);
          if (stateOf(path) === seam) least = Math.min(least, costOf(path));
        }
        assert.is(cost, least, `${nameOf(shape)}, ${length} steps`);
      }
    }
  }
});

twin('stepCosts() are squares of the distance to the nearest code of a label', () => {
  for (const shape of shapes) {
    const trellis = anyTrellis(shape, 5);
    const unit = (181 * 2 ** Math.min(shape.bits - 2, 3)) ** 2 / 32768; // of a squared step
    for (const y of [-3, 10.3, 64.5, 100]) {
      const { costs, highs } = stepCosts((y - trellis.zero) * trellis.step, trellis);
      for (let label = 0; label < 8; label++) {
        for (let low = 0; low < 8; low++) {
          const distances = Array.from({ length: 2 ** (shape.bits - 3) }, (_, high) => {
            const code = low + 8 * high;
            const u = trellis.tables[code % 16] + 16 * Math.floor(code / 16) + trellis.tables[16 + label];
            return Math.abs(y - u);
          });
          const least = Math.min(...distances);
          const cost = costs[8 * label + low];
          // Beyond 181 steps all codes are as far.
          assert.ok(least > 180 || Math.abs(distances[highs[8 * label + low]] - least) < 0.02);
          const exact = Math.min(32767, unit * least ** 2);
          assert.ok(Math.abs(cost - exact) < 0.6 + 0.02 * unit * least, `${cost}, ${exact}`);
        }
      }
    }
  }
});

twin.run();

// What the twin encodes, as it is and with scales searched; both builds are held to it.
const encodedBefore = new Map<string, EncodedMatrix>();
function twinOf(w: Float32Array, layout: MatrixLayout, search: boolean, key: string): EncodedMatrix {
  const encoded = encodedBefore.get(key) ?? (encode(w, layout, search) as EncodedMatrix);
  encodedBefore.set(key, encoded);
  return encoded;
}

function testKernels(build: string, kernels: KernelExports): void {
  const test = suite(`kernels of trellises by labels (${build})`);
  const memory = arena(kernels.memory, kernels.heapBase());
  const { place, alloc, copy } = memory;

  function tableOf({ bits, tables, step, zero, kept }: LabelTrellis): number {
    const table = alloc(kernels.labelTableBytes());
    kernels.labelTable(place(tables), step, zero, bits, 2 ** (kept[2] ?? 0) - 1, table);
    return table;
  }

  /** Encodes, decodes and multiplies by both, and compares. */
  function compare(w: Float32Array, rows: number, groupSize: number, trellis: LabelTrellis, label: string): void {
    const cols = w.length / rows;
    const { bits } = trellis;
    const masks = signs(5, cols);
    const layout: MatrixLayout = { rows, cols, groupSize, p: 1, bits, trellis, masks };
    for (const search of cols < 40 ? [false, true] : [false]) {
      memory.reset();
      const key = `${label}, groups of ${groupSize}, ${trellis.tables}, ${trellis.step}, ${trellis.kept}, ${search}`;
      const expected = twinOf(w, layout, search, key);
      const table = tableOf(trellis);
      const masksAt = place(masks);
      const { length } = expected.packed;
      const [packed, scales, sums] = [alloc(length + 16), alloc(expected.scales.byteLength), alloc(rows * 16)];
      memory.bytes(packed, length + 16).fill(0xa5);
      const scratchBytes = encodeScratchBytes(cols, { ...trellis, p: 1 }, search);
      const scratch = alloc(scratchBytes + 16);
      memory.bytes(scratch, scratchBytes + 16).fill(0xa5);
      const done = kernels.encode(
        ...([place(w), 0, 0, rows, cols, masksAt, groupSize] as const),
        ...([table, 5, bits, search, packed, scales, sums, scratch] as const),
      );
      assert.is(done, rows);
      sameBits(copy(Uint8Array, packed, length), expected.packed, `packed, ${label}, ${search}`);
      assert.ok(copy(Uint8Array, packed + length, 16).every((byte) => byte === 0xa5));
      assert.ok(copy(Uint8Array, scratch + scratchBytes, 16).every((byte) => byte === 0xa5));
      sameBits(copy(Uint16Array, scales, expected.scales.length), expected.scales, `scales, ${label}, ${search}`);
      sameBits(copy(Float64Array, sums, rows * 2), expected.sums, `sums, ${label}, ${search}`);
      if (search) continue;
      const y = alloc(rows * cols * 4 + 64);
      kernels.dequantize(packed, scales, rows, cols, masksAt, groupSize, table, 5, bits, y, scratch);
      const weights = dequantize(expected.packed, expected.scales, layout);
      sameBits(copy(Float32Array, y, rows * cols), weights, `weights, ${label}`);
      const x = rotate(normals(cols, 77), masks, groupSize);
      kernels.matvec(packed, scales, rows, cols, groupSize, table, 5, bits, place(x), y, scratch);
      sameBits(copy(Float32Array, y, rows), matvec(expected.packed, expected.scales, x, layout), `y, ${label}`);
    }
  }

  for (const shape of shapes) {
    test(`encode(), dequantize() and matvec() equal their twins for ${nameOf(shape)}`, () => {
      for (let cols = 1; cols <= 70; cols += cols < 20 ? 1 : 7) {
        const rows = 1 + (cols % 3);
        compare(normals(rows * cols, cols), rows, [16, 64, 1024][cols % 3], anyTrellis(shape, cols), `${cols} columns`);
      }
      for (const cols of [576, 1000]) {
        compare(normals(cols, cols), 1, 1024, anyTrellis(shape, cols), `${cols} columns`);
      }
    });

    test(`encode() equals its twin in ties and far outside for ${nameOf(shape)}`, () => {
      const impulse = new Float32Array(256);
      impulse[3] = 1; // every z has the same magnitude
      const heavy = normals(260, 8).map((value) => value ** 5);
      const trellis = anyTrellis(shape, 2);
      compare(new Float32Array(50), 2, 16, trellis, 'zeros');
      compare(new Float32Array(256).fill(0.01), 1, 256, trellis, 'constant');
      compare(impulse, 1, 256, trellis, 'impulse');
      compare(heavy, 1, 1024, trellis, 'heavy tails');
      // Steps so small that all inputs are far outside, and so large that all have one value.
      compare(normals(260, 9), 1, 1024, { ...trellis, step: 2 ** -20 }, 'tiny step');
      compare(normals(260, 9), 1, 1024, { ...trellis, step: 2 ** 20 }, 'huge step');
    });
  }

  test('labelPaths() gives a row the same codes whatever row goes with it', () => {
    for (const shape of shapes) {
      const trellis = anyTrellis(shape, 9);
      const [steps, length] = [40, 160];
      const rows = [1, 2].map((seed) => normals(length, seed));
      for (const [first, second] of [
        [0, 1],
        [1, 0],
        [1, 1],
      ]) {
        memory.reset();
        const table = tableOf(trellis);
        const [z0, z1] = [first, second].map((row) =>
          place(Float32Array.from([...rows[row], ...new Float32Array(64)])),
        );
        const [codes0, codes1] = [alloc(length * 2), alloc(length * 2)];
        kernels.labelPaths(z0, z1, steps, table, codes0, codes1, alloc(1280 + 32 * steps + (16 * 256 + 16) * 65));
        sameBits(copy(Uint16Array, codes0, length), labelCodes(rows[first], trellis), nameOf(shape));
        sameBits(copy(Uint16Array, codes1, length), labelCodes(rows[second], trellis), nameOf(shape));
      }
    }
  });

  if (build === 'release') {
    test('encode() errs on N(0, 1) as much as the tables promise', () => {
      const [rows, cols] = [256, 1024]; // standard errors of about 0.3 %
      const typed = wrapKernels(kernels);
      const w = normals(rows * cols, 12);
      for (const trellis of stored) {
        const matrix = { rows, cols, grid: trellis, groupSize: 1024, seed: 0 };
        const { sums } = typed.encode(matrix, { bytes: new Uint8Array(w.buffer), dtype: 'F32' });
        const [error, norm] = [0, 1].map((k) => sums.reduce((sum, value, i) => (i % 2 === k ? sum + value : sum), 0));
        const ratio = error / norm / trellis.mse;
        assert.ok(Math.abs(ratio - 1) < 0.012, `${trellis.name}: ${ratio} of its mse`);
      }
    });

    test('steps by steps the bits are those of encode(), and tables that change are seen', () => {
      const typed = wrapKernels(kernels);
      const [rows, cols] = [3, 90];
      const w = normals(rows * cols, 4);
      for (const shape of shapes) {
        const trellis = { p: 1, ...anyTrellis(shape, 3) } as const;
        const matrix = { rows, cols, grid: trellis, groupSize: 64, seed: 5 };
        for (let turn = 0; turn < 2; turn++) {
          const weights = { bytes: new Uint8Array(w.buffer), dtype: 'F32' } as const;
          const encoded = typed.encode(matrix, weights);
          const rotated = typed.rotateRows(matrix, weights);
          const rounded = typed.roundRows(matrix, rotated);
          sameBits(typed.packRows(matrix, rounded.codes), encoded.packed, nameOf(shape));
          sameBits(rounded.sums, encoded.sums, nameOf(shape));
          const layout = { ...matrix, p: 1, bits: shape.bits, trellis, masks: signs(5, cols) };
          sameBits(encoded.packed, (encode(w, layout) as EncodedMatrix).packed, nameOf(shape));
          trellis.tables[5] ^= 1;
          if (shape.bits === 3) trellis.tables[13] ^= 1;
        }
      }
    });
  } else {
    test('labelTable() refuses what it cannot hold', () => {
      const trellis = anyTrellis(shapes[0], 1);
      assert.throws(() => tableOf({ ...trellis, bits: 2 }));
      assert.throws(() => tableOf({ ...trellis, bits: 7 }));
      assert.throws(() => tableOf({ ...trellis, kept: [3, 3, 1] }));
    });
  }

  test.run();
}

testKernels('release', await loadKernels());
testKernels('debug', await loadKernels(await WebAssembly.compile(debugBytes)));

const given = suite('trellises by labels that are given');

given('checkTrellis() refuses tables that no kernel takes', () => {
  const sound = { name: 't5', p: 1, mse: 1, ...anyTrellis({ bits: 5, kept: [3, 3] }, 1) } as const;
  checkTrellis(sound);
  const changed = (change: (tables: Uint8Array) => void) => {
    const tables = sound.tables.slice();
    change(tables);
    return { ...sound, tables };
  };
  const label = 16 + sound.tables.subarray(16, 24).indexOf(0);
  const least = sound.tables.subarray(0, 16).indexOf(0);
  for (const [trellis, message] of [
    [{ ...sound, kept: [3, 2] }, 'kept of trellis t5 must be [3, 3] or [3, 3, 2]: got [3, 2]'],
    [{ ...sound, tables: new Uint8Array(48) }, 'tables of trellis t5 must have 32 bytes: got 48'],
    [
      changed((tables) => tables.fill(1, 16)),
      'tables of trellis t5 must each have 0 as their least entry: one has more',
    ],
    [changed((tables) => tables.fill(1, least, 16)), 'tables of trellis t5 must'],
    [
      changed((tables) => tables.fill(1, label + 8, label + 9)),
      'labels of trellis t5 must repeat their first eight entries: one differs',
    ],
    [
      changed((tables) => tables.fill(120, least, least + 1)),
      'tables of trellis t5 must sum to 127 at most: they reach',
    ],
    [{ ...sound, zero: 128 }, 'zero of trellis t5 must be an integer from 0 to 127: got 128'],
    [
      { ...sound, kept: undefined, tables: new Uint8Array(48) },
      'trellis t5 must have labels above four bits: it has 5 bits and none',
    ],
  ] as const) {
    let said = 'nothing';
    try {
      checkTrellis(trellis);
    } catch (error) {
      said = (error as Error).message;
    }
    assert.ok(said.startsWith(message), `${message}: said ${said}`);
  }
});

given.run();
