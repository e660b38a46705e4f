// load(): the embedded kernels, a module that the caller compiled, and a runtime without SIMD.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import bytes from '../build/higgs.wasm';
import { load, type PointGrid, UnsupportedError } from '../src/index.ts';
import { type Encoded, encode } from '../src/reference/encode.ts';
import { signs } from '../src/reference/hadamard.ts';
import { normals, sameBits } from './bits.ts';

test('load() of a compiled module gives the codes that load() gives', async () => {
  const module = await WebAssembly.compile(bytes);
  assert.instance(module, WebAssembly.Module);
  const weights = normals(3 * 100);
  const [own, given] = [await load(), await load(module)].map((higgs) =>
    higgs.quantize(weights, { rows: 3, cols: 100 }),
  );
  sameBits(given.packed, own.packed);
  sameBits(given.scales, own.scales);
});

test('load() rejects with UnsupportedError "simd" when WebAssembly has no SIMD', async () => {
  const { validate } = WebAssembly;
  const seen: BufferSource[] = [];
  WebAssembly.validate = (module) => {
    seen.push(module);
    return false;
  };
  try {
    await load().then(
      () => assert.unreachable('load() went on'),
      (error) => {
        assert.instance(error, UnsupportedError);
        assert.is(error.feature, 'simd');
        assert.is(error.message, 'this runtime must support WebAssembly SIMD (128 bit): it does not');
      },
    );
  } finally {
    WebAssembly.validate = validate;
  }
  assert.is(seen.length, 1);
  assert.ok(validate(seen[0]), 'what it asks is valid where SIMD is');
});

test('load() and quantize() take grids of the caller, whatever their points', async () => {
  const grid = (name: string, points: ArrayLike<number>): PointGrid => {
    const [p, n] = name.slice(1).split('n').map(Number) as [1 | 2 | 3 | 4, number];
    return { name, p, n, bits: Math.log2(n), mse: 1, points: Float32Array.from(points) };
  };
  const weights = normals(2 * 64, 3);
  const higgs = await load();
  // Not sorted, with equal points, all zero, far out, and so many that no cells hold them: all must be searched exactly.
  const cases = [
    grid('p1n4', [1, -1, 1, 0]),
    grid('p1n16', new Float32Array(16)),
    grid('p1n4096', normals(4096, 5)),
    grid('p2n4', new Float32Array(8)),
    grid('p2n4', [1e30, 0, -1e30, 0, 0, 1, 0, -1]),
    grid('p2n4096', normals(8192, 6)),
    grid('p3n8', new Float32Array(24).fill(7)),
    grid(
      'p4n16',
      normals(64, 7).map((x) => x * 1e-20),
    ),
    grid('p4n4096', new Float32Array(16384)),
  ];
  for (const own of cases) {
    const { packed, scales } = higgs.quantize(weights, { rows: 2, cols: 64, grid: own, groupSize: 64 });
    const { p, bits, points } = own;
    const layout = { rows: 2, cols: 64, groupSize: 64, p, bits, points, masks: signs(0, 64) };
    const expected = encode(weights, layout) as Encoded;
    sameBits(packed, expected.packed, own.name);
    sameBits(scales, expected.scales, own.name);
  }
  const loaded = await load(undefined, { grids: new Set([cases[0]]).values() });
  assert.is(loaded.grids.get('p1n4'), cases[0]);
});

test('load() and quantize() refuse grids that contradict themselves', async () => {
  const good: PointGrid = { name: 'p1n4', p: 1, n: 4, bits: 2, mse: 1, points: Float32Array.of(-1, 0, 1, 2) };
  const higgs = await load();
  const bad: [Partial<PointGrid>, RegExp][] = [
    [{ name: 'p1n5' }, /name of a grid must be p<p>n<n>/],
    [{ name: 'mine' }, /name of a grid must be/],
    [{ n: 8 }, /p, n and bits of grid p1n4 must be 1, 4, 2: got 1, 8, 2/],
    [{ points: new Float32Array(3) }, /must be 4 finite numbers/],
    [{ points: Float32Array.of(0, 1, 2, Number.NaN) }, /must be 4 finite numbers/],
    [{ points: [1, 2, 3, 4] as unknown as Float32Array }, /must be a Float32Array/],
  ];
  for (const [change, message] of bad) {
    const grid = { ...good, ...change };
    assert.throws(() => higgs.quantize(new Float32Array(16), { rows: 1, cols: 16, grid }), message);
    await load(undefined, { grids: [grid] }).then(
      () => assert.unreachable('load() took it'),
      (error) => assert.match(error.message, message),
    );
  }
});

test.run();
