// The stored grids, judged without the maker's code: p = 1 by Simpson's rule on every cell, p = 2 by sweeping a line over
// the plane (its cells are the lower envelope of parabolas, integrated in closed form), p = 3, 4 by sampled vectors.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import errors from '../src/grids/data/mse.json';
import type { PointGrid } from '../src/grids/grid.ts';
import { largeGrids } from '../src/grids/large.ts';
import { make, makeLine } from '../src/grids/maker/make.ts';
import { RECIPES } from '../src/grids/maker/recipes.ts';
import { smallGrids } from '../src/grids/small.ts';

/** MSE per weight a grid must reach: the optimum (p = 1), the best seen × 1.0005 (p = 2), the published grid's (p = 3, 4). */
const LIMITS: Readonly<Record<string, number>> = {
  p1n4: 0.1174818478 * 1.0000001,
  p1n8: 0.0345477608 * 1.0000001,
  p1n16: 0.009501008 * 1.0000001,
  p1n32: 0.0025046684 * 1.0000001,
  p1n64: 0.0006442397 * 1.0000001,
  p1n256: 4.1185e-5 * 1.00001,
  p2n16: 0.1075981 * 1.0005,
  p2n64: 0.0296012 * 1.0005,
  p2n256: 0.0077439 * 1.0005,
  p2n1024: 0.0020367 * 1.0005,
  p3n512: 0.0270619,
  p3n4096: 0.0069738,
  p4n256: 0.0959536,
  p4n1024: 0.0498937,
  p4n4096: 0.0255392,
};

const grids = [...smallGrids, ...largeGrids];
const ofDimension = (...dimensions: number[]) => grids.filter(({ p }) => dimensions.includes(p));
const density = (x: number) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

interface Weighed {
  readonly mse: number;
  readonly mass: Float64Array; // (n)
  readonly moment: Float64Array; // (n, p)
}

/** ∫ f over [a, b] by Simpson's rule on 1024 panels. */
function integral(f: (x: number) => number, a: number, b: number): number {
  const step = (b - a) / 2048;
  let sum = f(a) + f(b);
  for (let i = 1; i < 2048; i++) sum += (i % 2 === 1 ? 4 : 2) * f(a + i * step);
  return (sum * step) / 3;
}

function weighLine({ n, points }: PointGrid): Weighed {
  const mass = new Float64Array(n);
  const moment = new Float64Array(n);
  let mse = 0;
  for (let i = 0; i < n; i++) {
    const g = points[i];
    const a = i === 0 ? -12 : (points[i - 1] + g) / 2;
    const b = i === n - 1 ? 12 : (points[i + 1] + g) / 2;
    mass[i] = integral(density, a, b);
    moment[i] = integral((x) => x * density(x), a, b);
    mse += integral((x) => (x - g) ** 2 * density(x), a, b);
  }
  return { mse, mass, moment };
}

/** Φ at multiples of 1/64 from −9 to 9, by Simpson's rule on each step. */
const PHI = new Float64Array(18 * 64 + 1);
for (let i = 1; i < PHI.length; i++) {
  const [a, b] = [(i - 1) / 64 - 9, i / 64 - 9];
  PHI[i] = PHI[i - 1] + (density(a) + 4 * density((a + b) / 2) + density(b)) / 384;
}

/** Φ(x) by Taylor's series at the nearest entry; |h| ≤ 1/128, so that the h⁶ term is below 1e−14. */
function phi(x: number): number {
  if (Math.abs(x) >= 9) return x > 0 ? 1 : 0;
  const i = Math.round((x + 9) * 64);
  const a = i / 64 - 9;
  const h = x - a;
  const hermite =
    1 + h * (-a / 2 + h * ((a * a - 1) / 6 + h * ((3 * a - a ** 3) / 24 + (h * (a ** 4 - 6 * a * a + 3)) / 120)));
  return PHI[i] + density(a) * h * hermite;
}

/** Sweeps x in steps of 1/2048; at each, the points' parabolas (y − g_y)² + (x − g_x)² have a lower envelope in y. */
function weighPlane({ n, points }: PointGrid): Weighed {
  const order = Array.from({ length: n }, (_, j) => j).sort((i, j) => points[2 * i + 1] - points[2 * j + 1]);
  const mass = new Float64Array(n);
  const moment = new Float64Array(2 * n);
  const stack = new Int32Array(n);
  const from = new Float64Array(n + 1);
  const height = new Float64Array(n);
  let mse = 0;
  for (let step = -8 * 2048; step <= 8 * 2048; step++) {
    const x = step / 2048;
    const weight = density(x) / 2048;
    let size = 0;
    for (const j of order) {
      const y = points[2 * j + 1];
      height[j] = y * y + (x - points[2 * j]) ** 2;
      let start = -Infinity;
      while (size > 0) {
        const top = stack[size - 1];
        const below = points[2 * top + 1];
        if (y > below) start = (height[j] - height[top]) / (2 * (y - below));
        else start = height[j] < height[top] ? -Infinity : Infinity;
        if (start > from[size - 1]) break;
        size--;
        start = -Infinity;
      }
      if (start === Infinity) continue;
      from[size] = start;
      stack[size++] = j;
    }
    let a = -Infinity;
    let [phiA, densityA, slopeA] = [0, 0, 0];
    for (let k = 0; k < size; k++) {
      const j = stack[k];
      const [gx, gy] = [points[2 * j], points[2 * j + 1]];
      const b = k + 1 < size ? from[k + 1] : Infinity;
      const [phiB, densityB] = [b < Infinity ? phi(b) : 1, b < Infinity ? density(b) : 0];
      const slopeB = b < Infinity ? b * densityB : 0;
      const m = phiB - phiA;
      const first = densityA - densityB;
      mass[j] = mass[j] + weight * m;
      moment[2 * j] = moment[2 * j] + weight * m * x;
      moment[2 * j + 1] = moment[2 * j + 1] + weight * first;
      mse += weight * (m * ((x - gx) ** 2 + 1 + gy * gy) + slopeA - slopeB - 2 * gy * first);
      [a, phiA, densityA, slopeA] = [b, phiB, densityB, slopeB];
    }
    assert.is(a, Infinity);
  }
  return { mse: mse / 2, mass, moment };
}

const weighed = new Map(ofDimension(1, 2).map((grid) => [grid, grid.p === 1 ? weighLine(grid) : weighPlane(grid)]));

test('smallGrids and largeGrids hold every grid once when listed by name', () => {
  assert.equal(
    grids.map(({ name }) => name),
    'p1n4 p1n8 p1n16 p1n32 p1n64 p1n256 p2n16 p2n64 p2n256 p2n1024 p3n512 p3n4096 p4n256 p4n1024 p4n4096'.split(' '),
  );
  for (const { name, p, n, bits, points, mse } of grids) {
    assert.is(name, `p${p}n${n}`);
    assert.is(2 ** bits, n, name);
    assert.is(points.length, n * p, name);
    assert.ok(points.every(Number.isFinite), name);
    assert.ok(mse > 0, name);
  }
  assert.equal(Object.keys(errors), Object.keys(LIMITS));
});

test('p1n4, p1n8 and p1n16 hold the Lloyd–Max levels when compared with the literature', () => {
  const upper = (name: string) => {
    const { n, points } = grids.find((grid) => grid.name === name)!;
    return [...points.subarray(n / 2)];
  };
  assert.equal(upper('p1n4'), [0.4527800398860679, 1.510417608711489].map(Math.fround));
  // Max, "Quantizing for minimum distortion", 1960, table I.
  const rounded = (name: string) => upper(name).map((v) => v.toFixed(3));
  assert.equal(rounded('p1n8'), ['0.245', '0.756', '1.344', '2.152']);
  assert.equal(rounded('p1n16'), ['0.128', '0.388', '0.657', '0.942', '1.256', '1.618', '2.069', '2.733']);
});

test('grid.points is symmetric about 0 when p = 1', () => {
  for (const { name, n, points } of ofDimension(1)) {
    for (let i = 0; i < n / 2; i++) assert.is(points[i], -points[n - 1 - i], name);
  }
});

test('grid.points ascends row by row without duplicates when compared with the row before', () => {
  for (const { name, p, n, points } of grids) {
    for (let i = 1; i < n; i++) {
      let k = 0;
      while (k < p && points[(i - 1) * p + k] === points[i * p + k]) k++;
      assert.ok(k < p && points[(i - 1) * p + k] < points[i * p + k], `${name} row ${i}`);
    }
  }
});

for (const grid of ofDimension(1, 2)) {
  const { name, p, n, points } = grid;
  const { mse, mass, moment } = weighed.get(grid)!;

  test(`${name} reaches its limit when its error is integrated`, () => {
    assert.ok(mse <= LIMITS[name], `MSE ${mse} above ${LIMITS[name]}`);
  });

  test(`${name}.mse is the integrated error when compared to 1e-6`, () => {
    assert.ok(Math.abs(grid.mse / mse - 1) < 1e-6, `stored ${grid.mse}, integrated ${mse}`);
  });

  test(`${name}.points are the means of their cells when N(0, 1)^p is split among them`, () => {
    const total = mass.reduce((sum, m) => sum + m);
    assert.ok(Math.abs(total - 1) < 1e-9, `total mass ${total}`);
    // f32 rounds a point and its neighbours; the sweep's step blurs a plane's cells, which are about √mse wide.
    const tolerance = 2 ** -20 + (p === 1 ? 0 : 2e-3 * Math.sqrt(mse));
    const mean = new Float64Array(p);
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < p; k++) {
        const off = Math.abs(moment[i * p + k] / mass[i] - points[i * p + k]);
        assert.ok(off < tolerance, `point ${i} is ${off} off`);
        mean[k] = mean[k] + mass[i] * points[i * p + k];
      }
    }
    assert.ok(
      mean.every((v) => Math.abs(v) < 1e-5),
      `mean ${mean}`,
    );
  });
}

/** Squared distance to the nearest row; rows ascend in their first coordinate, so the search walks outwards from there. */
function nearestSquare(points: Float32Array, p: number, n: number, v: Float64Array): number {
  let [low, high] = [0, n];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle * p] < v[0]) low = middle + 1;
    else high = middle;
  }
  let best = Infinity;
  for (let i = low; i < n; i++) {
    const first = points[i * p] - v[0];
    let square = first * first;
    if (square >= best) break;
    for (let k = 1; k < p; k++) square += (points[i * p + k] - v[k]) ** 2;
    if (square < best) best = square;
  }
  for (let i = low - 1; i >= 0; i--) {
    const first = points[i * p] - v[0];
    let square = first * first;
    if (square >= best) break;
    for (let k = 1; k < p; k++) square += (points[i * p + k] - v[k]) ** 2;
    if (square < best) best = square;
  }
  return best;
}

/**
 * Mean error of `turns · count` vectors: Roberts's low-discrepancy sequence in four dimensions, through Box and Muller's
 * transform, shifted anew every turn; the turns' spread gives the standard error.
 */
function sampled({ p, n, points }: PointGrid, turns: number, count: number): { mse: number; error: number } {
  const ratio = 1.1673039782614187; // the root of x⁵ = x + 1
  const v = new Float64Array(4);
  const u = new Float64Array(4);
  const values = Array.from({ length: turns }, (_, turn) => {
    let sum = 0;
    for (let i = 1; i <= count; i++) {
      for (let k = 0; k < 4; k++) {
        const t = i * ratio ** -(k + 1) + (turn + 1) * Math.sqrt([2, 3, 5, 7][k]);
        u[k] = t - Math.floor(t);
      }
      for (let k = 0; k < 4; k += 2) {
        const r = Math.sqrt(-2 * Math.log(1 - u[k]));
        v[k] = r * Math.cos(2 * Math.PI * u[k + 1]);
        v[k + 1] = r * Math.sin(2 * Math.PI * u[k + 1]);
      }
      sum += nearestSquare(points, p, n, v);
    }
    return sum / count / p;
  });
  const mse = values.reduce((sum, value) => sum + value) / turns;
  const spread = values.reduce((sum, value) => sum + (value - mse) ** 2, 0) / (turns - 1);
  return { mse, error: Math.sqrt(spread / turns) };
}

for (const grid of ofDimension(3, 4)) {
  const { name, n } = grid;
  test(`${name} reaches its limit and its stored error when vectors are sampled`, () => {
    const { mse, error } = sampled(grid, 16, n > 1024 ? 2 ** 15 : 2 ** 16);
    assert.ok(mse <= LIMITS[name], `MSE ${mse} ± ${error} above ${LIMITS[name]}`);
    assert.ok(Math.abs(grid.mse - mse) < 4 * error, `stored ${grid.mse}, sampled ${mse} ± ${error}`);
  });
}

test('makeLine() and make() give the stored points when run again', () => {
  const close = (name: string, { points }: { points: Float32Array }) => {
    const stored = grids.find((grid) => grid.name === name)!.points;
    // Bytes agree on one engine; another one's Math.exp may differ in the last bit.
    stored.forEach((v, i) => {
      assert.ok(Math.abs(points[i] - v) < 1e-6, `${name}[${i}] is ${v}, made ${points[i]}`);
    });
  };
  for (const { name, n } of ofDimension(1)) close(name, makeLine(n));
  for (const name of ['p2n16', 'p2n64']) close(name, make(RECIPES[name]));
});

test.run();
