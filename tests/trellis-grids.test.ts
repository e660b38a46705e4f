// The stored trellises, judged by the kernel's codes and the scalar twin's values; and the steps of their maker.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { random } from '../src/grids/maker/gaussian.ts';
import { newCoder } from '../src/grids/maker/trellis/coder.ts';
import { polish } from '../src/grids/maker/trellis/polish.ts';
import { TRELLIS_RECIPES } from '../src/grids/maker/trellis/recipes.ts';
import { refit } from '../src/grids/maker/trellis/refit.ts';
import { draws, quantiles, shuffle } from '../src/grids/maker/trellis/sample.ts';
import { search } from '../src/grids/maker/trellis/search.ts';
import {
  firsts,
  largestInteger,
  largestSum,
  scattered,
  toIntegers,
  toReals,
} from '../src/grids/maker/trellis/tables.ts';
import { tableError, tally } from '../src/grids/maker/trellis/tally.ts';
import { checkTrellis, memoryOf } from '../src/grids/trellis.ts';
import { trellises } from '../src/grids/trellises.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { type LabelTrellis, labelValues } from '../src/reference/labels.ts';
import { trellisValues } from '../src/reference/trellis.ts';

/** Errors that the trellises must reach: those of the best tables found, and 0.5 %. */
const LIMITS: Readonly<Record<string, number>> = {
  t4: 0.00586,
  t4c: 0.00568,
  t4f: 0.00664,
  t4q: 0.00525,
  t3: 0.02103,
  t3c: 0.0221,
  t3f: 0.02408,
  t2: 0.0804,
  t2c: 0.0842,
  t2q: 0.0802,
  t3z: 0.0201,
  t4x: 0.0053,
  t4z: 0.00502,
  t5: 0.001366,
  t5z: 0.001293,
  t6: 0.00036,
  t6z: 0.000337,
};

/** Tables of (3, 16), as the maker has them. */
function withOffsets({ tables }: { tables: Uint8Array }): Uint8Array {
  return Uint8Array.from({ length: 48 }, (_, i) => tables[i] ?? 0);
}

const code = newCoder(await loadKernels());
const recipes = Object.entries(TRELLIS_RECIPES);

test('trellises hold tables that the kernels handle, and remember what their recipes say', () => {
  assert.equal(
    trellises.map(({ name }) => name),
    't4 t4c t4f t4q t4x t4z t5 t5z t6 t6z t3 t3c t3f t3z t2 t2c t2q'.split(' '),
  );
  assert.equal(
    recipes.map(([name]) => name),
    trellises.map(({ name }) => name),
  );
  for (const trellis of trellises) {
    const { name, bits, tables, mse } = trellis;
    checkTrellis(trellis);
    assert.ok(largestSum(tables) <= largestInteger(bits), name);
    assert.ok(mse <= LIMITS[name], name);
    const { shape } = TRELLIS_RECIPES[name];
    assert.is(bits, shape.bits);
    const [, second, third] = shape.used;
    if (shape.kept) {
      assert.equal(trellis.kept, shape.kept, name);
      continue;
    }
    const memory = bits === 2 ? (third > 0 ? [2, 2, 2] : [2, 2]) : third > 0 ? [second, third] : [second];
    assert.equal(memoryOf(trellis), memory, name);
    firsts(shape).forEach((first, i) => {
      assert.is(tables[i], first < 0 ? 0 : tables[first], `${name} entry ${i}`);
    });
  }
});

for (const trellis of trellises) {
  const { name, mse } = trellis;
  test(`${name}.mse is the error of fresh draws when rows of 1024 are encoded`, () => {
    const rows = draws(256, 256, random(31));
    const codes = code(rows, { ...trellis, tables: withOffsets(trellis) });
    const errors = Array.from({ length: rows.count }, (_, row) => {
      const rowCodes = codes.slice(row * 1024, (row + 1) * 1024);
      const values = trellis.kept ? labelValues(rowCodes, trellis as LabelTrellis) : trellisValues(rowCodes, trellis);
      return values.reduce((sum, v, i) => sum + (rows.weights[row * 1024 + i] - v) ** 2, 0) / 1024;
    });
    const mean = errors.reduce((sum, v) => sum + v, 0) / rows.count;
    const spread = errors.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (rows.count - 1);
    const error = Math.sqrt(spread / rows.count);
    assert.ok(Math.abs(mean - mse) < 4 * error, `stored ${mse}, measured ${mean} ± ${error}`);
  });
}

test('quantiles() have the moments of N(0, 1) when there are 65536', () => {
  const { weights } = quantiles(16, 1024);
  const moment = (k: number) => weights.reduce((sum, v) => sum + v ** k, 0) / weights.length;
  assert.ok(Math.abs(moment(1)) < 1e-9);
  // The tails are cut at the last quantiles: their halves of a cell lose about 1 / count.
  assert.ok(Math.abs(moment(2) - 1) < 1e-4, `${moment(2)}`);
  assert.ok(Math.abs(moment(4) - 3) < 1e-2, `${moment(4)}`);
  assert.ok(weights.every((v, i) => i === 0 || v > weights[i - 1]));
});

test('toIntegers() is within half a step of the reals and sums to 127 at most when tables are random', () => {
  const uniform = random(5);
  for (const [name, { shape }] of recipes) {
    const tables = scattered(shape, [0.7, 0.4, 0.4], uniform);
    const integers = toIntegers(shape, tables);
    const most = largestInteger(shape.bits);
    assert.ok(largestSum(integers.tables) <= most, name);
    // Offsets have a step of their own.
    if (shape.bits <= 4) assert.ok(largestSum(integers.tables) >= most - 2, name);
    const reals = toReals(integers);
    // Where a table begins is up to `zero`: the sums agree, each table's differences do.
    for (const [start, end] of [
      [0, 16],
      [16, 32],
      [32, shape.kept ? 32 : 48],
    ] as const) {
      const off = tables.slice(start, end).map((v, i) => v - reals[start + i]);
      const width = Math.max(...off) - Math.min(...off);
      assert.ok(width <= integers.step * 1.0001, `${name}: entries ${width / integers.step} steps apart`);
    }
  }
});

test('refit() never raises the error of the codes that it is given', () => {
  const uniform = random(6);
  for (const [name, { shape }] of recipes) {
    const sample = draws(4, 256, uniform);
    const integers = toIntegers(shape, scattered(shape, [0.7, 0.4, 0.4], uniform));
    const counts = tally(sample, code(sample, integers), shape);
    const before = toReals(integers);
    const after = refit(shape, counts, before);
    assert.ok(tableError(counts, after) < tableError(counts, before), name);
    // No other table of the shape is better: a move of any entry raises the error.
    const first = firsts(shape);
    for (let i = 0; i < 48; i++) {
      if (first[i] !== i) continue;
      for (const by of [-1e-3, 1e-3]) {
        const moved = after.map((v, j) => (first[j] === i ? v + by : v));
        assert.ok(tableError(counts, moved) >= tableError(counts, after) - 1e-9, `${name} entry ${i}`);
      }
    }
  }
});

test('polish() never raises the error and keeps the shape when it starts from random integers', () => {
  for (const [name, { shape }] of recipes) {
    const uniform = random(7);
    const sample = quantiles(2, 64);
    shuffle(sample, uniform);
    const start = toIntegers(shape, scattered(shape, [0.7, 0.4, 0.4], uniform));
    const before = tableError(tally(sample, code(sample, start), shape), toReals(start));
    const { trellis, error } = polish(shape, start, sample, code, 2);
    assert.ok(error < before, name);
    assert.is(error, tableError(tally(sample, code(sample, trellis), shape), toReals(trellis)), name);
    const tables = trellis.tables.slice(0, shape.kept ? 32 : 48);
    checkTrellis({ ...trellis, tables, name, p: 1, mse: error });
    firsts(shape).forEach((first, i) => {
      if (first >= 0 || !shape.kept)
        assert.is(trellis.tables[i], first < 0 ? 0 : trellis.tables[first], `${name} entry ${i}`);
    });
  }
});

test('search() gives the same integers when it runs again, and better ones than a random start', () => {
  const rounds = [
    { tables: 3, steps: 20, heat: 0.03 },
    { tables: 1, steps: 30, heat: 0.03 },
  ];
  for (const name of ['t4f', 't3f', 't2c']) {
    const { shape, spread } = TRELLIS_RECIPES[name];
    const candidates = search(shape, spread, rounds, code, random(9));
    assert.equal(search(shape, spread, rounds, code, random(9)), candidates, name);
    const start = toIntegers(shape, scattered(shape, spread, random(9)));
    const fresh = draws(16, 256, random(8));
    const error = (trellis: typeof candidates) =>
      tableError(tally(fresh, code(fresh, trellis), shape), toReals(trellis));
    assert.ok(error(candidates) < 0.8 * error(start), `${name}: ${error(start)} to ${error(candidates)}`);
  }
});

test.run();
