// load(): the embedded kernels, a module that the caller compiled, and a runtime without SIMD.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import bytes from '../build/higgs.wasm';
import { type Grid, load, type PointGrid, type Trellis, UnsupportedError } from '../src/index.ts';
import { type EncodedMatrix, encode } from '../src/reference/encode.ts';
import { signs } from '../src/reference/hadamard.ts';
import { normals, sameBits } from './bits.ts';

test('load() of a compiled module gives the codes that load() gives', async () => {
  const module = await WebAssembly.compile(bytes);
  assert.instance(module, WebAssembly.Module);
  const weights = normals(3 * 100);
  const [loaded, given] = [await load(), await load(module)].map((higgs) =>
    higgs.quantize(weights, { rows: 3, cols: 100 }),
  );
  sameBits(given.packed, loaded.packed);
  sameBits(given.scales, loaded.scales);
});

test('load() rejects with UnsupportedError "simd" when WebAssembly has no SIMD', async () => {
  const { validate } = WebAssembly;
  const compiled: BufferSource[] = [];
  WebAssembly.validate = (module) => {
    compiled.push(module);
    return false;
  };
  try {
    await load().then(
      () => assert.unreachable('load() went on'),
      (error) => {
        assert.instance(error, UnsupportedError);
        assert.is(error.feature, 'simd');
        assert.is(error.message, 'runtime must support WebAssembly SIMD of 128 bits: this one has none');
      },
    );
  } finally {
    WebAssembly.validate = validate;
  }
  assert.is(compiled.length, 1);
  assert.ok(validate(compiled[0]), 'what it asks is valid where SIMD is');
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
  for (const options of cases) {
    const { packed, scales } = higgs.quantize(weights, { rows: 2, cols: 64, grid: options, groupSize: 64 });
    const { p, bits, points } = options;
    const layout = { rows: 2, cols: 64, groupSize: 64, p, bits, points, masks: signs(0, 64) };
    const expected = encode(weights, layout) as EncodedMatrix;
    sameBits(packed, expected.packed, options.name);
    sameBits(scales, expected.scales, options.name);
  }
  const loaded = await load(undefined, { grids: new Set([cases[0]]).values() });
  assert.is(loaded.grids.get('p1n4'), cases[0]);
});

// By quantize() and by load().
async function refused(grid: Grid, message: RegExp): Promise<void> {
  const higgs = await load();
  assert.throws(() => higgs.quantize(new Float32Array(16), { rows: 1, cols: 16, grid }), message);
  await load(undefined, { grids: [grid] }).then(
    () => assert.unreachable('load() took it'),
    (error) => assert.match(error.message, message),
  );
}

test('load() and quantize() refuse grids that contradict themselves', async () => {
  const good: PointGrid = { name: 'p1n4', p: 1, n: 4, bits: 2, mse: 1, points: Float32Array.of(-1, 0, 1, 2) };
  const bad: [Partial<PointGrid>, RegExp][] = [
    [{ name: 'p1n5' }, /name of grids?\S* must be p<p>n<n>/],
    [{ name: 'mine' }, /name of grids?\S* must be/],
    [{ n: 8 }, /p, n and bits of grid p1n4 must be 1, 4, 2: got 1, 8, 2/],
    [{ points: new Float32Array(3) }, /must be 4 finite numbers/],
    [{ points: Float32Array.of(0, 1, 2, Number.NaN) }, /must be 4 finite numbers/],
    [{ points: [1, 2, 3, 4] as unknown as Float32Array }, /must be a Float32Array/],
  ];
  for (const [change, message] of bad) await refused({ ...good, ...change }, message);
});

test('load() and quantize() refuse trellises that contradict themselves, or that no kernel handles', async () => {
  const higgs = await load();
  const good = higgs.grids.get('t4') as Trellis;
  const changed = (change: (tables: Uint8Array) => void) => {
    const tables = good.tables.slice();
    change(tables);
    return { tables };
  };
  const bad: [Partial<Trellis>, RegExp][] = [
    [{ name: 't7' }, /name of grids?\S* must be p<p>n<n> .*, or t<bits>/],
    [{ name: 'p2n256' }, /name of a trellis must be t<bits>: got "p2n256"/],
    [{ bits: 3 }, /p and bits of trellis t4 must be 1, 4: got 1, 3/],
    [{ tables: [...good.tables] as unknown as Uint8Array }, /tables of trellis t4 must be a Uint8Array/],
    [{ tables: good.tables.slice(1) }, /tables of trellis t4 must have 48 bytes: got 47/],
    [{ step: 0.1 }, /step of trellis t4 must be an f32 above 0: got 0.1/],
    [{ step: 0 }, /step of trellis t4/],
    [{ step: Infinity }, /step of trellis t4/],
    [{ zero: 62.5 }, /zero of trellis t4 must be an integer from 0 to 127: got 62.5/],
    [{ zero: 128 }, /zero of trellis t4/],
    [changed((tables) => tables.fill(9, 32)), /tables of trellis t4 must sum to 127 at most: they reach 1\d\d/],
    [
      changed((tables) => tables.fill(0, 16)),
      /trellis t4 must remember \(2\), \(4\), .* bits of the codes before: got \(0\)/,
    ],
    [{ name: 't3', bits: 3 }, /tables of trellis t3 must repeat their first eight entries/],
  ];
  for (const [change, message] of bad) await refused({ ...good, ...change }, message);
});

test.run();
