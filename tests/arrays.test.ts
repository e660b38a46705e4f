// Arrays that quantize() and matvec() take: of another realm, over shared memory, and as wide as there is room for.

import { runInNewContext } from 'node:vm';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import binary from '../build/higgs.wasm';
import { load } from '../src/index.ts';
import { normals, sameBits } from './bits.ts';

const higgs = await load();

test('quantize() and matvec() take arrays of another realm, and of shared memory', () => {
  const weights = normals(64);
  const foreign = runInNewContext('new Float32Array(values)', { values: [...weights] });
  const shared = new Float32Array(new SharedArrayBuffer(256));
  shared.set(weights);
  const shape = { rows: 2, cols: 32 };
  const wanted = higgs.quantize(weights, shape);
  for (const values of [foreign, shared]) sameBits(higgs.quantize(values, shape).packed, wanted.packed);
  const x = runInNewContext('new Float32Array(32).fill(1)');
  sameBits(higgs.matvec(wanted, x), higgs.matvec(wanted, new Float32Array(32).fill(1)));
});

test('load() takes a module of another realm', async () => {
  const foreign = runInNewContext('new WebAssembly.Module(binary)', { binary });
  const loaded = await load(foreign);
  const [weights, shape] = [normals(64), { rows: 2, cols: 32 }];
  sameBits(loaded.quantize(weights, shape).packed, higgs.quantize(weights, shape).packed);
});

test('quantize() and matvec() name the limits of rows and columns before they need memory', () => {
  const wide = new Float32Array(2 ** 24);
  assert.throws(
    () => higgs.quantize(wide, { rows: 1, cols: 2 ** 24, grid: 't4' }),
    /^cols must be an integer from 0 to 4194304: got 16777216$/,
  );
  const matrix = { ...higgs.quantize(new Float32Array(0), { rows: 0, cols: 0 }), rows: 2 ** 40 };
  assert.throws(
    () => higgs.matvec(matrix, new Float32Array(0)),
    /^matrix\.rows must be an integer from 0 to 268435456: got 1099511627776$/,
  );
});

test('the widest row that is taken fits linear memory, with a trellis, too', () => {
  const cols = 2 ** 22;
  const { relativeError, grid } = higgs.quantize(normals(cols, 9), { rows: 1, cols, grid: 't2' });
  assert.ok(Math.abs(relativeError / grid.mse - 1) < 0.02, `${relativeError}`);
});

test.run();
