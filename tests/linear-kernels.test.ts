// The kernels of linear layers against their scalar twins, bit by bit, in every build that this runtime takes.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { PointGrid } from '../src/grids/grid.ts';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { type Arena, arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { activationBytes, bandScratchBytes } from '../src/kernels/decoder/sizes.ts';
import { integerGrid, integerTable, isBanded, setForm } from '../src/kernels/decoder/table.ts';
import { bf16ToF32Bits, f16ToF32, f16ToF32Bits, f32ToBf16, f32ToF16, fromBits } from '../src/reference/float.ts';
import { groupsOf } from '../src/reference/hadamard.ts';
import * as twin from '../src/reference/linear.ts';
import { gridTable, nearest } from '../src/reference/nearest.ts';
import { pack } from '../src/reference/pack.ts';
import { dot } from '../src/reference/sum.ts';
import { normals, sameBits, uniform } from './bits.ts';
import {
  builds,
  type DenseDtype,
  type LinearPlan,
  multiply,
  planDense,
  planQuantized,
  type Scheme,
  scratchBytes,
  storeBanded,
  storeDense,
  storeQuantized,
} from './products.ts';

const grids = [...smallGrids, ...largeGrids];
// Sizes that a checkpoint may bring along and that no loop is made for: their points are only samples.
const otherGrids = [
  [1, 9],
  [2, 2],
  [2, 3],
  [2, 9],
  [3, 3],
  [3, 8],
  [4, 4],
  [4, 6],
].map(
  ([p, bits]) =>
    ({ name: `p${p}n${2 ** bits}`, p, bits, n: 2 ** bits, points: normals(p * 2 ** bits, 5), mse: 1 }) as PointGrid,
);
const gridOf = (name: string): PointGrid => grids.find((grid) => grid.name === name)!;
const widths = [1, 2, 3, 5, 15, 16, 17, 31, 32, 33, 63, 172, 576, 1000, 1024];

interface Example extends Scheme {
  rows: number;
  cols: number;
  codes: Uint16Array[]; // a row each
  packed: Uint8Array;
  scales: Uint16Array; // (rows, groups)
}

function exampleOf(grid: PointGrid, rows: number, cols: number, groupSize: number): Example {
  const next = uniform(rows * 31 + cols);
  const vectors = Math.ceil(cols / grid.p);
  const codes = Array.from({ length: rows }, () => Uint16Array.from({ length: vectors }, () => next() * grid.n));
  const packed = Uint8Array.from(codes.flatMap((row) => [...pack(row, grid.bits)]));
  const groups = groupsOf(cols, groupSize).length;
  const scales = Uint16Array.from({ length: rows * groups }, () => f32ToF16FromNumber(0.01 + next()));
  return { rows, cols, p: grid.p, bits: grid.bits, groupSize, codes, packed, scales };
}

function f32ToF16FromNumber(x: number): number {
  return f32ToF16(new Uint32Array(Float32Array.of(x).buffer)[0]);
}

// (count, rows) by the twin.
function expected(grid: PointGrid, example: Example, x: readonly Float32Array[]): Float32Array {
  const { step, integers, narrow } = integerGrid(grid);
  const rows = example.codes.map((codes) =>
    Int16Array.from(
      { length: codes.length * grid.p },
      (_, i) => integers[codes[Math.floor(i / grid.p)] * grid.p + (i % grid.p)],
    ),
  );
  const groups = example.scales.length / example.rows;
  return Float32Array.from(
    x.flatMap((activation) => {
      const quantized = twin.quantizeActivation(activation, example.groupSize, narrow);
      return rows.map((row, i) =>
        twin.multiply(row, step, example.scales.subarray(i * groups, (i + 1) * groups), quantized),
      );
    }),
  );
}

const joined = (x: readonly Float32Array[]): Float32Array => Float32Array.from(x.flatMap((part) => [...part]));
const activations = (count: number, cols: number): Float32Array[] =>
  Array.from({ length: count }, (_, i) => normals(cols, 100 + i).map((value) => value * (i + 0.5)));

async function instantiate(
  bytes: Uint8Array<ArrayBuffer>,
): Promise<{ kernels: DecoderExports; memory: Arena; buffer: () => ArrayBuffer }> {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  const kernels = instance.exports as unknown as DecoderExports;
  return { kernels, memory: arena(memory, kernels.heapBase()), buffer: () => memory.buffer };
}

for (const [build, bytes, form] of builds) {
  const isRelaxed = build.startsWith('relaxed');
  const { kernels, memory, buffer } = await instantiate(bytes);
  const { alloc, place, copy } = memory;
  const test = suite(`linear kernels (${build})`);
  test.before.each(() => memory.reset());

  // Rows of the product that are not computed keep the mark.
  function product(
    plan: LinearPlan,
    store: (address: number) => void,
    table: number,
    x: readonly Float32Array[],
    [fromRow, toRow] = [0, plan.rows],
  ): Float32Array {
    const count = x.length;
    const from = place(joined([...x, new Float32Array(32)]));
    const address = alloc(plan.bytes);
    store(address);
    let quantized = from;
    if (plan.type === 'quantized') {
      quantized = alloc(count * activationBytes(plan.cols, plan.groupSize));
      kernels.quantizeActivation(from, count, plan.cols, plan.groupSize, quantized);
    }
    const scratch = alloc(scratchBytes(plan, count));
    const y = place(new Float32Array(count * plan.rows + 8).fill(-7));
    multiply(kernels, plan, address, table, { x: quantized, count, y, fromRow, toRow, scratch });
    sameBits(
      copy(Float32Array, y + count * plan.rows * 4, 8),
      new Float32Array(8).fill(-7),
      'what is behind the product',
    );
    return copy(Float32Array, y, count * plan.rows);
  }

  function quantizedProduct(
    grid: PointGrid,
    example: Example,
    x: readonly Float32Array[],
    range?: [number, number],
  ): Float32Array {
    const plan = planQuantized(example, example);
    const bytes = integerTable(grid);
    if (isBanded(grid)) setForm(bytes, form);
    const table = place(bytes);
    const store = (address: number): void => {
      if (!isBanded(grid)) {
        storeQuantized(buffer(), plan, address, example.packed, example.scales, 0);
        return;
      }
      const packed = place(Uint8Array.from([...example.packed, ...new Array(16).fill(0xff)]));
      const [scales, scratch] = [place(example.scales), alloc(bandScratchBytes(plan.cols))];
      storeBanded(kernels, plan, address, plan.cols, grid.bits, packed, scales, scratch);
    };
    return product(plan, store, table, x, range);
  }

  test('the module imports its memory alone and has no globals, but for a size that the debug build tells', () => {
    const module = new WebAssembly.Module(bytes);
    assert.equal(WebAssembly.Module.imports(module), [{ module: 'env', name: 'memory', kind: 'memory' }]);
    const globals = WebAssembly.Module.exports(module).filter(({ kind }) => kind === 'global');
    assert.equal(
      globals.map(({ name }) => name),
      build === 'debug' ? ['TILE_STRIDE'] : [],
    );
  });

  test('quantizeActivation() writes the slots that activation.ts draws', () => {
    for (const [cols, groupSize] of [
      ...widths.map((cols) => [cols, 1024]),
      [44, 32],
      [100, 16],
      [4096, 4096],
      [8200, 2048],
    ] as const) {
      memory.reset();
      const x = normals(cols, cols);
      const groups = groupsOf(cols, groupSize);
      const slots = groups.reduce((sum, { size }) => sum + Math.max(32, size), 0);
      const byteLength = slots * 4 + groups.length * 16;
      assert.is(activationBytes(cols, groupSize), byteLength);
      const to = alloc(byteLength);
      memory.bytes(to, byteLength + 16).fill(0xa5);
      kernels.quantizeActivation(place(joined([x, new Float32Array(32).fill(1e9)])), 1, cols, groupSize, to);
      assert.equal([...memory.bytes(to + byteLength, 16)], new Array(16).fill(0xa5));

      const [wide, narrow] = [false, true].map((narrow) => twin.quantizeActivation(x, groupSize, narrow)) as [
        twin.QuantizedGroup[],
        twin.QuantizedGroup[],
      ];
      const inSlots = (quantized: twin.QuantizedGroup[]): number[] =>
        quantized.flatMap(({ values }, i) => {
          const run = new Array(Math.max(32, values.length)).fill(0);
          values.forEach((value, k) => {
            run[(groups[i].start % 32) * Number(values.length < 32) + k] = value;
          });
          return run;
        });
      assert.equal([...copy(Int16Array, to, slots)], inSlots(wide));
      const straight = inSlots(narrow);
      const stored = straight.map((_, index) => {
        const i = index % 4;
        if (isRelaxed) return straight[index - i + [0, 2, 1, 3][i]];
        return straight[index] - (i > 1 ? 256 * straight[index - 2] : 0);
      });
      const narrowAt = to + slots * 2;
      assert.equal([...(isRelaxed ? copy(Int8Array, narrowAt, slots) : copy(Int16Array, narrowAt, slots))], stored);
      groups.forEach((_, i) => {
        const entry = to + slots * 4 + i * 16;
        sameBits(copy(Float32Array, entry, 2), Float32Array.of(wide[i].scale, narrow[i].scale), 'scales');
        const [sum, wideSum] = [narrow, wide].map((form) => form[i].values.reduce((sum, value) => sum + value, 0));
        assert.equal([...copy(Int32Array, entry + 8, 2)], [sum, wideSum]);
      });
      if (!isRelaxed) continue;
      const starts = groups.map((_, i) => groups.slice(0, i).reduce((sum, { size }) => sum + Math.max(32, size), 0));
      const exceeding = starts.map((start, i) => Number(twin.exceedsPairs(straight.slice(start, starts[i + 1]))));
      assert.equal([...copy(Uint8Array, to + slots * 3, groups.length)], exceeding);
    }
  });

  test('quantizeActivation() takes a group below 2^-100 as zeros', () => {
    const x = normals(64).map((value) => value * 2 ** -110);
    const to = alloc(activationBytes(64, 64));
    memory.bytes(to, activationBytes(64, 64)).fill(0);
    kernels.quantizeActivation(place(x), 1, 64, 64, to);
    assert.ok(copy(Uint8Array, to, activationBytes(64, 64)).every((byte) => byte === 0));
  });

  test('quantizeActivation() of NaN or infinity writes zeros, whose products are not numbers, as its twin does', () => {
    for (const [cols, groupSize] of [
      [128, 64],
      [20, 16],
    ]) {
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        memory.reset();
        const x = normals(cols);
        x[cols - 1] = bad;
        const byteLength = activationBytes(cols, groupSize);
        const to = alloc(byteLength);
        memory.bytes(to, byteLength).fill(0xa5);
        kernels.quantizeActivation(place(joined([x, new Float32Array(32)])), 1, cols, groupSize, to);
        const groups = groupsOf(cols, groupSize).length;
        const slots = (byteLength - groups * 16) / 4;
        const last = slots - Math.max(32, groupsOf(cols, groupSize)[groups - 1].size);
        const [wide, narrow] = [copy(Int16Array, to, slots), copy(Uint8Array, to + slots * 2, slots * 2)];
        const { scale, values } = twin.quantizeActivation(x, groupSize, true)[groups - 1];
        assert.ok(values.every((value) => value === 0));
        assert.ok(wide.subarray(last).every((value) => value === 0));
        assert.ok(
          narrow.subarray(isRelaxed ? last : last * 2, isRelaxed ? slots : slots * 2).every((byte) => byte === 0),
        );
        const group = to + byteLength - 16;
        assert.equal([...copy(Float32Array, group, 2)].map(String), [scale, scale].map(String));
        assert.equal([...copy(Int32Array, group + 8, 2)], [0, 0]);
      }
    }
  });

  for (const grid of [...grids, ...otherGrids]) {
    test(`matmul() of ${grid.name} equals its twin for one activation and for several`, () => {
      for (const cols of widths) {
        for (const [rows, groupSize] of [
          [5, 1024],
          [2, 32],
          [3, 16],
        ] as const) {
          memory.reset();
          const example = exampleOf(grid, rows, cols, groupSize);
          const x = activations(6, cols);
          const label = `${rows} × ${cols}, groups of ${groupSize}`;
          for (const count of isBanded(grid) ? [1, 2, 3, 4, 5, 6] : [1, 3]) {
            memory.reset();
            const some = x.slice(0, count);
            sameBits(quantizedProduct(grid, example, some), expected(grid, example, some), `${count} times ${label}`);
          }
        }
      }
    });

    test(`matmul() of ${grid.name} equals its twin at 4864 columns and with groups of 2048 and 4096`, () => {
      for (const [cols, groupSize] of [
        [4864, 1024],
        [6144, 4096],
        [3000, 2048],
      ] as const) {
        memory.reset();
        const example = exampleOf(grid, 4, cols, groupSize);
        const x = activations(2, cols);
        sameBits(quantizedProduct(grid, example, x), expected(grid, example, x), `${cols}`);
        sameBits(quantizedProduct(grid, example, x.slice(1)), expected(grid, example, x.slice(1)), `${cols}`);
      }
    });
  }

  test('matmul() of p1n16 equals its twin when rows go by 32 and some are left', () => {
    const grid = gridOf('p1n16');
    for (const rows of [31, 32, 67]) {
      for (const [cols, groupSize] of [
        [20, 1024],
        [172, 32],
        [1056, 1024],
      ] as const) {
        memory.reset();
        const example = exampleOf(grid, rows, cols, groupSize);
        const x = activations(1, cols);
        sameBits(quantizedProduct(grid, example, x), expected(grid, example, x), `${rows} × ${cols}`);
      }
    }
  });

  for (const name of ['p1n16', 'p2n256', 'p3n512']) {
    test(`matmul() of ${name} computes the rows asked for and no others`, () => {
      const grid = gridOf(name);
      const example = exampleOf(grid, 19, 172, 1024);
      const x = activations(2, 172);
      const all = expected(grid, example, x);
      // Those in bands begin at multiples of eight.
      const more = isBanded(grid)
        ? [[8, 16]]
        : [
            [3, 8],
            [10, 11],
            [2, 11],
          ];
      for (const range of [[0, 0], [0, 3], [8, 11], [16, 19], [8, 19], ...more] as [number, number][]) {
        for (const count of [1, 2]) {
          memory.reset();
          const y = quantizedProduct(grid, example, x.slice(0, count), range);
          const [fromRow, toRow] = range;
          const computed = all
            .slice(0, count * 19)
            .map((value, i) => (i % 19 >= fromRow && i % 19 < toRow ? value : -7));
          sameBits(y, computed, `${range}`);
        }
      }
    });

    test(`matmul() of ${name} gives 64 activations the bits of one each`, () => {
      memory.reset();
      const grid = gridOf(name);
      const example = exampleOf(grid, 6, 1000, 256);
      const x = activations(64, 1000);
      const together = quantizedProduct(grid, example, x);
      const apart = joined(x.map((activation) => quantizedProduct(grid, example, [activation])));
      sameBits(together, apart);
    });

    test(`matmul() of ${name} does not overflow at the largest integers`, () => {
      const grid = gridOf(name);
      const { integers } = integerGrid(grid);
      const largest = integers.reduce((best, value, i) => (Math.abs(value) > Math.abs(integers[best]) ? i : best), 0);
      const code = Math.floor(largest / grid.p);
      for (const groupSize of [16, 1024, 4096]) {
        memory.reset();
        const example = exampleOf(grid, 4, 4096, groupSize);
        for (const row of example.codes) row.fill(code);
        example.packed = Uint8Array.from(example.codes.flatMap((row) => [...pack(row, grid.bits)]));
        // Every product of the same sign as far as the point allows.
        const x = Float32Array.from({ length: 4096 }, (_, i) => Math.sign(integers[code * grid.p + (i % grid.p)]) || 1);
        for (const activation of [x, x.map((value) => -value)]) {
          sameBits(quantizedProduct(grid, example, [activation]), expected(grid, example, [activation]));
          sameBits(quantizedProduct(grid, example, [activation, x]), expected(grid, example, [activation, x]));
        }
      }
    });
  }

  test('matmul() of p1n16 is exact where sums of two steps come to what i16 holds, and beyond', () => {
    const grid = gridOf('p1n16');
    const { integers } = integerGrid(grid);
    const [cols, groupSize] = [128, 64];
    for (const code of [integers.indexOf(Math.max(...integers)), integers.indexOf(Math.min(...integers))]) {
      const example = exampleOf(grid, 9, cols, groupSize);
      for (const row of example.codes) row.fill(code);
      example.packed = Uint8Array.from(example.codes.flatMap((row) => [...pack(row, grid.bits)]));
      // Integers as they are: each group has one of 127. Four columns of the first group come to `total`, of the second to its negative.
      const activation = (total: number): Float32Array => {
        const x = new Float32Array(cols);
        for (const [start, sign] of [
          [0, 1],
          [64, -1],
        ]) {
          x.set(
            [127, 0, 127].map((value) => value * sign),
            start,
          );
          x.set([sign * Math.min(127, total - 254), 0, sign * Math.max(0, total - 381)], start + 4);
        }
        return x;
      };
      const totals = [258, 259, 255, 262, 300, 381, 258, 508, 256];
      for (let count = 1; count <= totals.length; count++) {
        memory.reset();
        for (const some of [totals.slice(0, count), totals.slice(-count)]) {
          const x = some.map(activation);
          sameBits(quantizedProduct(grid, example, x), expected(grid, example, x));
        }
      }
    }
  });

  test('matmul() passes NaN and infinity of an activation on as NaN', () => {
    for (const name of ['p1n16', 'p2n256']) {
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        memory.reset();
        const grid = gridOf(name);
        const [x] = activations(1, 96);
        x[70] = value;
        const y = quantizedProduct(grid, exampleOf(grid, 4, 96, 32), [x]);
        assert.ok(
          y.every((value) => !Number.isFinite(value)),
          `${name}: ${y}`,
        );
      }
    }
  });

  const dtypes: Record<DenseDtype, { width: number; bits(x: number): number; back(u: number): number }> = {
    F32: { width: 4, bits: (x) => new Uint32Array(Float32Array.of(x).buffer)[0], back: fromBits },
    F16: { width: 2, bits: f32ToF16FromNumber, back: (h) => fromBits(f16ToF32Bits(h)) },
    BF16: {
      width: 2,
      bits: (x) => f32ToBf16(new Uint32Array(Float32Array.of(x).buffer)[0]),
      back: (h) => fromBits(bf16ToF32Bits(h)),
    },
  };

  for (const dtype of ['F32', 'F16', 'BF16'] as const) {
    test(`dense${dtype} equals its twin at any width, for any rows and any number of activations`, () => {
      const { width, bits, back } = dtypes[dtype];
      for (const cols of [...widths, 1025]) {
        memory.reset();
        const rows = 5;
        const raw = Array.from(normals(rows * cols, 7), bits);
        raw[Math.min(4, cols - 1)] = bits(1e-7); // a subnormal f16
        const stored = width === 4 ? Uint32Array.from(raw) : Uint16Array.from(raw);
        const plan = planDense({ rows, cols }, dtype);
        const store = (address: number): void => storeDense(buffer(), plan, address, new Uint8Array(stored.buffer), 0);
        const x = activations(3, cols);
        const twins = x.map((activation) =>
          Float32Array.from({ length: rows }, (_, row) =>
            dot(
              Float32Array.from({ length: cols }, (_, i) => back(raw[row * cols + i])),
              activation,
            ),
          ),
        );
        sameBits(product(plan, store, 0, x), joined(twins), `${cols}`);
        sameBits(product(plan, store, 0, x.slice(0, 1)), twins[0], `${cols}`);
        const part = product(plan, store, 0, x.slice(0, 1), [1, 4]);
        sameBits(
          part,
          twins[0].map((value, row) => (row >= 1 && row < 4 ? value : -7)),
          `${cols}`,
        );
      }
    });
  }

  test('denseF16 multiplies with all patterns as f16ToF32 widens them', () => {
    const patterns = Uint16Array.from({ length: 65536 }, (_, h) => h);
    const plan = planDense({ rows: 65536, cols: 1 }, 'F16');
    const store = (address: number): void => storeDense(buffer(), plan, address, new Uint8Array(patterns.buffer), 0);
    const y = product(plan, store, 0, [Float32Array.of(1)]);
    const expected = Float32Array.from(patterns, (h) => 0 + fromBits(f16ToF32Bits(h)));
    assert.ok(y.every((value, h) => Object.is(value, expected[h])));
  });

  test('dense weights behind a row do not matter, be they NaN', () => {
    const plan = planDense({ rows: 3, cols: 5 }, 'BF16');
    const weights = new Uint16Array(15).fill(0x3f80).fill(0x7fc0, 5);
    const store = (address: number): void => storeDense(buffer(), plan, address, new Uint8Array(weights.buffer), 0);
    sameBits(product(plan, store, 0, [new Float32Array(5).fill(1)], [0, 1]).subarray(0, 1), Float32Array.of(5));
  });

  test.run();
}

const numbers = suite('integers of a grid and of an activation');

for (const grid of grids) {
  numbers(`integerGrid() adds at most 1 % to the error of ${grid.name}`, () => {
    const { p, points } = grid;
    const { step, integers, narrow } = integerGrid(grid);
    const most = integers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    assert.ok(most <= 4095);
    if (narrow) assert.ok(Math.max(...integers) - Math.min(...integers) <= 127);
    // A point is the mean of its cell, so errors add; points are weighed by samples.
    const count = 4000;
    const codes = nearest(normals(count * p, 3), gridTable(points, p), p);
    let added = 0;
    for (const code of codes) {
      for (let k = 0; k < p; k++) added += (integers[code * p + k] * step - points[code * p + k]) ** 2;
    }
    assert.ok(added / (count * p) < 0.01 * grid.mse, `${((100 * added) / (count * p) / grid.mse).toFixed(3)} %`);
  });
}

numbers('an activation in groups of 1024 has a relative error of at most 1e-4 narrow, 1e-5 wide', () => {
  const x = normals(4096, 9);
  const norm = x.reduce((sum, value) => sum + value * value, 0);
  for (const [narrow, limit] of [
    [true, 1e-4],
    [false, 1e-5],
  ] as const) {
    const back = twin
      .quantizeActivation(x, 1024, narrow)
      .flatMap(({ scale, values }) => [...values].map((v) => v * scale));
    const error = back.reduce((sum, value, i) => sum + (value - x[i]) ** 2, 0) / norm;
    assert.ok(error < limit && error > limit / 100, `${error}`);
  }
});

numbers('a product differs from that in f64 by no more than the integers do', () => {
  for (const grid of grids) {
    const example = exampleOf(grid, 64, 1000, 512);
    const [x] = activations(1, 1000);
    const y = expected(grid, example, [x]);
    const groups = groupsOf(1000, 512);
    let error = 0;
    let norm = 0;
    example.codes.forEach((codes, row) => {
      let exact = 0;
      groups.forEach(({ start, size }, g) => {
        const sigma = f16ToF32(example.scales[row * groups.length + g]);
        for (let i = start; i < start + size; i++) {
          exact += sigma * x[i] * grid.points[codes[Math.floor(i / grid.p)] * grid.p + (i % grid.p)];
        }
      });
      error += (y[row] - exact) ** 2;
      norm += exact ** 2;
    });
    // Uniform codes are heavier at the ends than those of weights; p1n16 alone has 7 bits.
    assert.ok(error / norm < (grid.name === 'p1n16' ? 4e-4 : 2e-5), `${grid.name}: ${error / norm}`);
  }
});

numbers.run();
